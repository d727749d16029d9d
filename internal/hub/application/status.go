package application

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/works"
	"github.com/muster-io/muster/internal/rollout"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The conditions of an Application. True is good; Ready is derived from the others.
const (
	ConditionPlanned = "Planned" // every chosen cluster has a plan
	ConditionApplied = "Applied" // every planned cluster has applied it
	ConditionHealthy = "Healthy" // and its objects do well
	ConditionInSync  = "InSync"  // and nobody has changed them
	ConditionReady   = "Ready"
	// ConditionProgressing is of an application with a rollout, and says what that of a Deployment does: True while a change is rolled out,
	// and when it is; False when it is stopped or taken back; Unknown while a person pauses it.
	ConditionProgressing = "Progressing"
)

// The reasons of those conditions, besides the reasons of faults.
const (
	ReasonSucceeded      = "Succeeded"
	ReasonWaiting        = "Waiting"        // for a commit or a decision
	ReasonFaults         = "Faults"         // some clusters could not be planned; the rest went on
	ReasonRefused        = "Refused"        // the API server or a cluster refused an object
	ReasonRolloutStopped = "RolloutStopped" // too many clusters have failed: no other one changes
	ReasonRolledBack     = "RolledBack"     // the change failed: the clusters return, or have returned, to the last good revision
	ReasonProgressing    = "Progressing"    // clusters have not applied it yet
	ReasonDegraded       = "Degraded"       // an object does not do well
	ReasonOffline        = "Offline"        // all that is missing are clusters that do not answer
	ReasonKept           = "Kept"           // the placement dropped the cluster only because it does not answer: its works stay
	ReasonHeld           = "Held"           // deletions wait for an approval
	ReasonOnHold         = "OnHold"         // a person keeps it as it is, or at a revision
	ReasonSwapped        = "Swapped"        // of a cluster: the scheduler has chosen another one in its place
	ReasonDrifted        = "Drifted"        // a field is not what was applied
	ReasonFailed         = "Failed"         // the hub failed; it is retried
	ReasonNoClusters     = "NoClusters"     // the placement chose none
	ReasonRemoving       = "Removing"       // the works are being deleted
)

// The states of a cluster's row, from worst to best.
const (
	StateFaulty   = "Faulty"
	StateFailed   = "Failed"
	StateHeld     = "Held"
	StateDegraded = "Degraded"
	StateDrifted  = "Drifted"
	StatePending  = "Pending"
	StateOffline  = "Offline"
	StateApplied  = "Applied" // and not healthy yet
	StateHealthy  = "Healthy"
)

// rankedStates are the states from worst to best.
var rankedStates = []string{
	StateFaulty, StateFailed, StateHeld, StateDegraded, StateDrifted, StatePending, StateOffline, StateApplied, StateHealthy,
}

// row is one cluster and what counts about it; more may be true than its one state, the worst, says.
type row struct {
	musterv1alpha1.ClusterStatus
	current, healthy, offline, drifted bool
}

// statusOf is the status that a report amounts to. While nothing could be planned, what the clusters say stays as it was.
func statusOf(app *musterv1alpha1.Application, out *report, err error) musterv1alpha1.ApplicationStatus {
	status := *app.Status.DeepCopy()
	status.ObservedGeneration = app.Generation
	if out.planned != nil && err == nil {
		status.Revision = out.revision
		status.Plan = out.planned.Digest
		status.Summary = out.clusters.summary
		status.Clusters = out.clusters.worst()
		status.Held = heldOf(out)
		status.Rollout = rolloutOf(out)
		status.Sources = sourcesOf(out.planned.Sources)
		status.RecentRemovals = out.removals
		status.Settled, status.Left = out.step.Settled, out.step.Left
		if out.step.Approved {
			status.RecentRemovals = nil
		}
		status.RolledBack, status.OnHold, status.Follows = out.rolledBack, onHoldOf(out), followsOf(app, out)
		if out.good {
			status.LastGoodRevision, status.LastGoodPlan = out.revision, out.planned.Digest
		}
	}
	for _, c := range conditionsOf(out, status, err) {
		c.ObservedGeneration = app.Generation
		meta.SetStatusCondition(&status.Conditions, c)
	}
	switch {
	case app.Spec.Rollout == nil:
		meta.RemoveStatusCondition(&status.Conditions, ConditionProgressing)
	case out.planned != nil && err == nil:
		c := progressingCondition(status)
		c.ObservedGeneration = app.Generation
		meta.SetStatusCondition(&status.Conditions, c)
	}
	return status
}

// maxSources is how many sources a status names.
const maxSources = 20

// sourcesOf are what the sources of an application resolved to.
func sourcesOf(used []fleet.UsedSource) []musterv1alpha1.SourceStatus {
	var list []musterv1alpha1.SourceStatus
	for _, u := range used[:min(len(used), maxSources)] {
		list = append(list, u.Status())
	}
	return list
}

// removing is the status of an application that is deleted: how many of its works are left, and how many of them wait for
// clusters that do not answer.
func removing(app *musterv1alpha1.Application, left works.Remaining) musterv1alpha1.ApplicationStatus {
	status := *app.Status.DeepCopy()
	message := fmt.Sprintf("is being removed: %d works are left", left.Works)
	if left.Waiting > 0 {
		message += fmt.Sprintf(", %d of them on clusters that do not answer: they stay until those are back", left.Waiting)
	}
	if left.OnHold > 0 {
		message += fmt.Sprintf(", %d of them on hold: muster resume", left.OnHold)
	}
	if left.WaitsFor != "" {
		message += "; " + left.WaitsFor
	}
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: ConditionReady, Status: metav1.ConditionFalse, Reason: ReasonRemoving, Message: message, ObservedGeneration: app.Generation,
	})
	return status
}

// countCluster brings the share of one cluster in the counts up to date.
func (r *Applications) countCluster(out *report, cluster string) {
	out.clusters.set(cluster, rowsOn(out, cluster, r.worksOn(out, cluster)))
}

// rowsOn are the rows of a cluster that is planned, faulty or still has works.
func rowsOn(out *report, cluster string, live []fleet.LiveWork) []row {
	var rows []row
	faults := out.faults[cluster]
	if len(live) > 0 { // a fault of no cluster is of all: each keeps what it has
		faults = slices.Concat(out.faults[""], faults)
	}
	for _, f := range faults {
		f.Cluster = cluster
		r := rowOfFault(f)
		r.offline = out.offline[cluster]
		if !slices.Contains(rows, r) {
			rows = append(rows, r)
		}
	}
	if len(rows) > 0 {
		return rows
	}
	held := heldOn(&out.step, cluster)
	if c := out.planned.On(cluster); c != nil {
		r := rowOfWorks(cluster, live, c.SetDigest, out.offline[cluster], out.refused[cluster])
		if c.Kept && r.State == StateOffline {
			r.Reason, r.Message = ReasonKept, "its placement has dropped it, and only because it does not answer: its works stay until it is back"
		}
		if held != nil && r.State == StatePending && r.Message == "" {
			r.Reason, r.Message = string(held.Reason), held.Message
		}
		return []row{r}
	}
	if len(live) == 0 {
		return nil
	}
	r := rowOfRemoval(cluster, &out.step)
	r.offline = out.offline[cluster]
	if r.Message == "" {
		r.Message = removalWaits(live)
	}
	return []row{r}
}

// removalWaits is what an agent says of works that it is removing: the objects that do not go, with their finalizers.
func removalWaits(live []fleet.LiveWork) string {
	for i := range live {
		if waits := live[i].Status.Waits; len(waits) > 0 {
			return waits[0].Message
		}
	}
	return ""
}

// endedByPeople are the reasons for which a removal is held until a person does something. What waits for a window, for a hold that says
// when it ends, or for another cluster goes on by itself; a hold that is open asks for its end in the conditions.
var endedByPeople = []rollout.HeldReason{rollout.ApprovalNeeded, rollout.AbsenceUnproven, rollout.WorkForeign, rollout.RolloutStopped}

// rowOfRemoval is the row of a cluster that the application is to leave.
func rowOfRemoval(cluster string, step *rollout.Step) row {
	r := row{ClusterStatus: musterv1alpha1.ClusterStatus{Cluster: cluster, State: StatePending, Reason: ReasonRemoving, ActionRequiredBy: string(fleet.Controller)}}
	switch held := heldOn(step, cluster); {
	case held != nil && held.Reason == rollout.ClusterUnreachable: // it ends when the cluster is back
		r.State, r.Reason, r.Message = StateOffline, string(held.Reason), held.Message
	case held != nil && slices.Contains(endedByPeople, held.Reason):
		r.State, r.Reason, r.Message = StateHeld, string(held.Reason), held.Message
		r.ActionRequiredBy = string(fleet.User)
	case held != nil:
		r.Reason, r.Message = string(held.Reason), held.Message
	case slices.Contains(step.Swapped, cluster):
		r.Reason, r.Message = ReasonSwapped, "swapped: the placement chose another cluster in its place, on which the application is healthy"
		if objects := rollout.LeftOn(step.Left, cluster); objects != "" {
			r.Message += "; " + objects + " stay here, since they hold data"
		}
	}
	return r
}

// heldOn is the first change of a cluster that waits, or nil. A step sorts what it holds by cluster.
func heldOn(step *rollout.Step, cluster string) *rollout.Held {
	i, found := slices.BinarySearchFunc(step.Held, cluster, func(h rollout.Held, cluster string) int { return cmp.Compare(h.Change.Cluster, cluster) })
	if !found {
		return nil
	}
	return &step.Held[i]
}

// maxFailed is how many failed clusters a rollout's status names.
const maxFailed = 20

// rolloutOf is how far the rollout is, or nil when none goes on.
func rolloutOf(out *report) *musterv1alpha1.RolloutStatus {
	r := out.step.Rollout
	if r == nil || r.Started.IsZero() {
		return nil
	}
	status := &musterv1alpha1.RolloutStatus{
		Revision: out.origin, Plan: out.planned.Digest, WaitsForApproval: r.Unapproved, Canary: canaryStatusOf(r.Canary), Approvals: out.approvals, Analysis: analysisOf(out),
		StartedAt: metav1.NewTime(r.Started), Phase: musterv1alpha1.RolloutProgressing, Group: r.Group, Clusters: int32(r.Clusters), Updated: int32(r.Updated),
		InFlight: int32(len(r.InFlight)), Waiting: int32(r.Waiting), Failed: slices.Sorted(slices.Values(slices.Concat(r.Failed, r.TimedOut))), Message: r.Message(),
	}
	status.Steps = stepsOf(r.Progress)
	status.WaitsForApproval = status.WaitsForApproval || status.Canary != nil && status.Canary.WaitsForApproval != ""
	switch {
	case out.returning:
		status.Phase = musterv1alpha1.RolloutReturning
	case r.Stopped:
		status.Phase = musterv1alpha1.RolloutStopped
	}
	if out.noReturn != "" {
		status.Message += "; it does not return by itself: " + out.noReturn
	}
	if len(status.Failed) > maxFailed {
		status.Failed = status.Failed[:maxFailed]
	}
	return status
}

// maxSteps is the CRD's bound on the steps that a status names.
const maxSteps = 40

func stepsOf(all []rollout.Progress) []musterv1alpha1.StepProgress {
	var list []musterv1alpha1.StepProgress
	for _, p := range all[:min(len(all), maxSteps)] {
		step := musterv1alpha1.StepProgress{Name: p.Name, Clusters: int32(p.Clusters), Updated: int32(p.Updated), Failed: int32(p.Failed)}
		if !p.SoakUntil.IsZero() {
			step.SoakUntil = &metav1.Time{Time: p.SoakUntil}
		}
		list = append(list, step)
	}
	return list
}

// canaryStatusOf is where the clusters are that are at a step of a canary.
func canaryStatusOf(c *rollout.CanaryProgress) *musterv1alpha1.CanaryStatus {
	if c == nil {
		return nil
	}
	status := &musterv1alpha1.CanaryStatus{Step: int32(c.Step), Steps: int32(c.Steps), Clusters: int32(c.Clusters)}
	if c.Unapproved > 0 {
		status.WaitsForApproval = musterv1alpha1.CanaryStepName(c.Unapproved)
	}
	return status
}

func rowOfFault(f fleet.Fault) row {
	message := f.Message
	if f.Object != "" {
		message = f.Object + ": " + message
	}
	return row{ClusterStatus: musterv1alpha1.ClusterStatus{
		Cluster: f.Cluster, State: StateFaulty, Reason: string(f.Reason), Message: message,
		File: f.File, Line: int32(f.Line), ActionRequiredBy: string(f.ActionRequiredBy),
	}}
}

// rowOfWorks counts a cluster as current only when all works of one set, and of the wanted one, say so at their generation.
func rowOfWorks(cluster string, works []fleet.LiveWork, set string, offline bool, refused error) row {
	r := row{ClusterStatus: musterv1alpha1.ClusterStatus{Cluster: cluster, ActionRequiredBy: string(fleet.Controller)}, offline: offline}
	ofSet, applied, health := 0, 0, fleet.HealthHealthy
	size := -1
	var since time.Time
	for _, lw := range works {
		if lw.SetDigest == set && !lw.Deleting {
			ofSet++
			size = lw.SetSize
			if lw.Status.Observed && lw.Status.Applied {
				applied++
			}
			health = worseHealth(health, lw.Status.Health)
			if lw.Status.Since.After(since) {
				since = lw.Status.Since
			}
		}
		r.note(lw)
	}
	r.current = applied == size && ofSet == size
	r.healthy = r.current && health == fleet.HealthHealthy
	if !since.IsZero() {
		r.Since = &metav1.Time{Time: since}
	}
	r.setState(refused, health)
	return r
}

var healths = []fleet.Health{fleet.HealthDegraded, fleet.HealthProgressing, fleet.HealthUnknown, fleet.HealthHealthy}

func worseHealth(a, b fleet.Health) fleet.Health {
	if b == "" {
		b = fleet.HealthUnknown
	}
	return healths[min(slices.Index(healths, a), slices.Index(healths, b))]
}

// note adds the worst problem of a work to the row.
func (r *row) note(lw fleet.LiveWork) {
	for _, p := range lw.Status.Problems {
		if p.State == StateDrifted {
			r.drifted = true
		}
		if r.Message == "" || p.State == string(fleet.ApplyFailed) && r.Reason != string(fleet.ApplyFailed) {
			r.Reason, r.Message = p.State, p.Object.String()+": "+p.Message
		}
	}
	for _, wait := range lw.Status.Waits {
		if r.Message == "" {
			r.Reason, r.Message = wait.Reason, wait.Message
		}
	}
}

// setState gives the row its one state: the worst that is true of it.
func (r *row) setState(refused error, health fleet.Health) {
	switch {
	case refused != nil:
		r.State, r.Reason, r.Message, r.ActionRequiredBy = StateFailed, ReasonRefused, "the API server refused the work: "+refused.Error(), string(fleet.User)
	case r.Reason == string(fleet.ApplyFailed):
		r.State, r.ActionRequiredBy = StateFailed, string(fleet.User)
	case r.current && health == fleet.HealthDegraded:
		r.State, r.ActionRequiredBy = StateDegraded, string(fleet.User)
	case r.drifted:
		r.State = StateDrifted
	case r.offline:
		r.State, r.Reason = StateOffline, cmp.Or(r.Reason, ReasonOffline)
	case !r.current:
		r.State, r.Reason = StatePending, cmp.Or(r.Reason, ReasonProgressing)
	case !r.healthy:
		r.State = StateApplied
	default:
		r.State = StateHealthy
	}
}

func heldOf(out *report) *musterv1alpha1.Held {
	g := out.step.Guard
	if g == nil {
		return nil
	}
	return &musterv1alpha1.Held{
		Plan: out.planned.Digest, Deletions: int32(g.Deletions), Items: g.Items[:min(len(g.Items), 20)], Message: g.Message,
	}
}

func conditionsOf(out *report, status musterv1alpha1.ApplicationStatus, err error) []metav1.Condition {
	planned := plannedCondition(out, err)
	s := status.Summary
	missing := func(kind string, n int32, what string) metav1.Condition {
		c := metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: ReasonSucceeded, Message: fmt.Sprintf("%d of %d clusters %s", n, s.Clusters, what)}
		if n == s.Clusters {
			return c
		}
		c.Status, c.Reason = metav1.ConditionFalse, ReasonProgressing
		switch {
		case s.Faulty > 0:
			c.Reason = ReasonRefused
		case s.Held > 0:
			c.Reason = ReasonHeld
		case n+s.Offline >= s.Clusters:
			c.Reason = ReasonOffline
		}
		return c
	}
	applied := missing(ConditionApplied, s.Current, "have applied "+fleet.ShortRevision(status.Revision))
	healthy := missing(ConditionHealthy, s.Healthy, "are healthy")
	inSync := metav1.Condition{Type: ConditionInSync, Status: metav1.ConditionTrue, Reason: ReasonSucceeded, Message: "nothing has drifted"}
	if s.Drifted > 0 {
		inSync.Status, inSync.Reason = metav1.ConditionFalse, ReasonDrifted
		inSync.Message = fmt.Sprintf("drift on %d of %d clusters: muster drift", s.Drifted, s.Clusters)
	}
	return []metav1.Condition{planned, applied, healthy, inSync, readyCondition(status, planned, applied, healthy, inSync)}
}

// progressingCondition says how the rollout does, as that of a Deployment.
func progressingCondition(status musterv1alpha1.ApplicationStatus) metav1.Condition {
	c := metav1.Condition{Type: ConditionProgressing, Status: metav1.ConditionTrue, Reason: ReasonProgressing}
	onHold := onHoldCondition(status.OnHold)
	switch r := status.Rollout; {
	case status.RolledBack != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, ReasonRolledBack, rolledBackMessage(status.RolledBack, r)
	case r == nil:
		c.Reason, c.Message = ReasonSucceeded, fleet.ShortRevision(status.Revision)+" is rolled out"
	case onHold.Status != metav1.ConditionTrue:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, ReasonOnHold, onHold.Message
	case r.Phase == musterv1alpha1.RolloutStopped:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, ReasonRolloutStopped, r.Message
	default:
		c.Message = fmt.Sprintf("%d of %d clusters are updated: %s", r.Updated, r.Clusters, r.Message)
	}
	return c
}

// rolledBackMessage says what failed, and how far the return is.
func rolledBackMessage(back *musterv1alpha1.RolledBack, returning *musterv1alpha1.RolloutStatus) string {
	how := "every cluster that answers is asked to have"
	if returning != nil {
		how = fmt.Sprintf("%d of %d clusters are asked to have", returning.Updated, returning.Clusters)
	}
	return fmt.Sprintf("%s is refused: %s; %s %s again; push a commit that corrects it",
		fleet.ShortRevision(back.Refused), back.Message, how, fleet.ShortRevision(back.To))
}

func plannedCondition(out *report, err error) metav1.Condition {
	c := metav1.Condition{Type: ConditionPlanned, Status: metav1.ConditionFalse}
	switch {
	case err != nil:
		c.Reason, c.Message = ReasonFailed, err.Error()
	case out.planned == nil:
		c.Reason, c.Message = ReasonWaiting, out.waiting
	case len(out.planned.Faults) > 0:
		c.Reason = ReasonFaults
		c.Message = fleet.Headline(out.planned.Faults)
	default:
		c.Status, c.Reason = metav1.ConditionTrue, ReasonSucceeded
		c.Message = fmt.Sprintf("planned %s for %d clusters", fleet.ShortRevision(out.revision), len(out.planned.Clusters))
		for _, w := range out.planned.Warnings {
			c.Message += "; warning: " + w.Position() + ": " + w.Message
		}
	}
	return c
}

// readyCondition is the first of these that is not as it should be: the plan, an approval that is needed, a hold, a change that was
// taken back, the rollout, the other conditions.
func readyCondition(status musterv1alpha1.ApplicationStatus, planned metav1.Condition, others ...metav1.Condition) metav1.Condition {
	held := metav1.Condition{Status: metav1.ConditionTrue}
	if status.Held != nil {
		held = metav1.Condition{Status: metav1.ConditionFalse, Reason: ReasonHeld, Message: status.Held.Message}
	}
	onHold := onHoldCondition(status.OnHold)
	rolling := metav1.Condition{Status: metav1.ConditionTrue}
	if back := status.RolledBack; back != nil {
		rolling = metav1.Condition{Status: metav1.ConditionFalse, Reason: ReasonRolledBack, Message: rolledBackMessage(back, status.Rollout)}
	} else if r := status.Rollout; r != nil && r.Phase == musterv1alpha1.RolloutStopped {
		rolling = metav1.Condition{Status: metav1.ConditionFalse, Reason: ReasonRolloutStopped, Message: r.Message}
	} else if r != nil && r.Waiting > 0 {
		rolling = metav1.Condition{Status: metav1.ConditionFalse, Reason: ReasonProgressing, Message: fmt.Sprintf("%d of %d clusters are updated: %s", r.Updated, r.Clusters, r.Message)}
	}
	for _, c := range append([]metav1.Condition{planned, held, onHold, rolling}, others...) {
		if c.Status != metav1.ConditionTrue {
			c.Type = ConditionReady
			return c
		}
	}
	c := metav1.Condition{Type: ConditionReady, Status: metav1.ConditionTrue, Reason: ReasonSucceeded}
	switch {
	case status.Summary.Clusters == 0:
		c.Reason, c.Message = ReasonNoClusters, "its placement chose no cluster"
	case status.Summary.Clusters == 1:
		c.Message = "healthy on 1 cluster at " + fleet.ShortRevision(status.Revision)
	default:
		c.Message = fmt.Sprintf("healthy on %d clusters at %s", status.Summary.Clusters, fleet.ShortRevision(status.Revision))
	}
	if f := status.Follows; f != nil && f.Message != "" {
		c.Message += "; " + fleet.ShortRevision(f.Waiting) + " " + f.Message
	}
	return c
}
