package manifestworkreplicaset

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/rollout"
)

// statusOf counts the works and says what the conditions of OCM say, in OCM's reasons. While nothing could be decided, the counts
// stay as they were.
func statusOf(set *workv1alpha1.ManifestWorkReplicaSet, out *report) workv1alpha1.ManifestWorkReplicaSetStatus {
	status := *set.Status.DeepCopy()
	say := func(kind, reason, message string) {
		c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: set.Generation}
		if reason == workv1alpha1.ReasonAsExpected || reason == workv1alpha1.ReasonComplete {
			c.Status = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&status.Conditions, c)
	}
	if b := out.preventing; b != nil {
		say(b.condition, b.reason, b.message)
		if b.reason == workv1alpha1.ReasonPlacementDecisionEmpty && len(out.works) == 0 {
			say(workv1alpha1.ManifestWorkReplicaSetConditionManifestworkApplied, b.reason, b.message)
		}
		return status
	}
	status.Summary, status.PlacementsSummary = workv1alpha1.ManifestWorkReplicaSetSummary{}, nil
	for i, p := range out.chosen {
		summary, share := out.summaryOf(p, &out.shares[i])
		status.PlacementsSummary = append(status.PlacementsSummary, summary)
		add(&status.Summary, share)
	}
	reason, message := out.placementVerified(status.Summary)
	say(workv1alpha1.ManifestWorkReplicaSetConditionPlacementVerified, reason, message)
	reason, message = out.rolledOut(status.Summary)
	say(workv1alpha1.ManifestWorkReplicaSetConditionPlacementRolledOut, reason, message)
	reason, message = out.applied(status.Summary)
	say(workv1alpha1.ManifestWorkReplicaSetConditionManifestworkApplied, reason, message)
	return status
}

// summaryOf counts the works on all clusters of a placement, and on those that belong to it: the sum of the latter counts each
// cluster once.
func (o *report) summaryOf(p chosen, share *rollout.Share) (workv1alpha1.PlacementSummary, workv1alpha1.ManifestWorkReplicaSetSummary) {
	var own workv1alpha1.ManifestWorkReplicaSetSummary
	for _, c := range share.Clusters {
		o.count(&own, c.Name)
	}
	complete := own
	for cluster := range share.OtherPlacement {
		o.count(&complete, cluster)
	}
	return workv1alpha1.PlacementSummary{
		Name:                    p.name,
		AvailableDecisionGroups: fmt.Sprintf("%d (%d / %d clusters applied)", len(p.groups), complete.Updated, complete.DesiredTotal),
		Summary:                 complete,
	}, own
}

func (o *report) count(s *workv1alpha1.ManifestWorkReplicaSetSummary, cluster string) {
	s.DesiredTotal++
	lw := o.works[cluster]
	if lw == nil || lw.Deleting {
		return
	}
	s.Total++
	if o.updated[cluster] {
		s.Updated++
	}
	for said, counter := range map[*fleet.Condition]*int{
		&lw.Status.Conditions.Applied: &s.Applied, &lw.Status.Conditions.Available: &s.Available,
		&lw.Status.Conditions.Progressing: &s.Progressing, &lw.Status.Conditions.Degraded: &s.Degraded,
	} {
		if said.IsTrue() {
			*counter++
		}
	}
}

func add(to *workv1alpha1.ManifestWorkReplicaSetSummary, s workv1alpha1.ManifestWorkReplicaSetSummary) {
	to.DesiredTotal += s.DesiredTotal
	to.Total += s.Total
	to.Updated += s.Updated
	to.Applied += s.Applied
	to.Available += s.Available
	to.Progressing += s.Progressing
	to.Degraded += s.Degraded
}

func (o *report) placementVerified(s workv1alpha1.ManifestWorkReplicaSetSummary) (reason, message string) {
	if s.DesiredTotal == 0 {
		return workv1alpha1.ReasonPlacementDecisionEmpty, "no placement chooses a cluster"
	}
	return workv1alpha1.ReasonAsExpected, o.shared()
}

// maxNamed is how many clusters a message names.
const maxNamed = 5

// shared says which clusters more than one placement chooses.
func (o *report) shared() string {
	var parts []string
	for i, share := range o.shares {
		for _, cluster := range slices.Sorted(maps.Keys(share.OtherPlacement)) {
			parts = append(parts, fmt.Sprintf("%s is chosen by %s too, and belongs to %s", cluster, o.chosen[i].name, share.OtherPlacement[cluster]))
		}
	}
	if more := len(parts) - maxNamed; more > 0 {
		parts = append(parts[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}

func (o *report) rolledOut(s workv1alpha1.ManifestWorkReplicaSetSummary) (reason, message string) {
	succeeded := 0
	for i := range o.shares {
		share := &o.shares[i]
		for _, c := range share.Clusters {
			if _, inFlight := slices.BinarySearch(share.InFlight, c.Name); c.State == rollout.Succeeded && !inFlight {
				succeeded++
			}
		}
		if r := (rollout.Rollout{Selection: share.Selection}); message == "" && share.Waiting > 0 {
			message = "placement " + o.chosen[i].name + ": " + r.Message()
		}
	}
	if succeeded == s.DesiredTotal {
		return workv1alpha1.ReasonComplete, ""
	}
	progress := fmt.Sprintf("%d of %d clusters are done", succeeded, s.DesiredTotal)
	if message == "" {
		return workv1alpha1.ReasonProgressing, progress
	}
	return workv1alpha1.ReasonProgressing, progress + "; " + message
}

// applied is OCM's verdict over the counts, and why a work could not be written.
func (o *report) applied(s workv1alpha1.ManifestWorkReplicaSetSummary) (reason, message string) {
	message = fmt.Sprintf("%d of %d works are available", s.Available, s.DesiredTotal)
	if len(o.refused) > 0 {
		cluster := slices.Min(slices.Collect(maps.Keys(o.refused)))
		return workv1alpha1.ReasonNotAsExpected, fmt.Sprintf("%d works cannot be written; on %s: %v", len(o.refused), cluster, o.refused[cluster])
	}
	switch {
	case s.DesiredTotal == 0:
		return workv1alpha1.ReasonPlacementDecisionEmpty, "no placement chooses a cluster"
	case s.Total > 0 && s.Available == s.Total && s.Progressing+s.Degraded == 0:
		return workv1alpha1.ReasonAsExpected, message
	case s.Progressing > 0 && s.Degraded == 0:
		return workv1alpha1.ReasonProcessing, message
	}
	return workv1alpha1.ReasonNotAsExpected, message
}
