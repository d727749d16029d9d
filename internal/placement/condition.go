package placement

import (
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// conditions summarizes a run with OCM's types and reasons. The messages begin with OCM's own text.
func (r *run) conditions() []metav1.Condition {
	list := []metav1.Condition{r.misconfiguredCondition(), r.satisfiedCondition()}
	for i := range list {
		list[i].ObservedGeneration = r.placement.Generation
	}
	return list
}

func (r *run) misconfiguredCondition() metav1.Condition {
	c := metav1.Condition{
		Type:    clusterv1beta1.PlacementConditionMisconfigured,
		Status:  metav1.ConditionFalse,
		Reason:  clusterv1beta1.ReasonPlacementSucceedConfigured,
		Message: "Placement configurations check pass",
	}
	if r.result.wrong != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, clusterv1beta1.ReasonPlacementMisconfigured, clip(r.result.wrong.Error(), maxMessage)
	}
	return c
}

func (r *run) satisfiedCondition() metav1.Condition {
	reason, sentence := r.satisfied()
	c := metav1.Condition{Type: clusterv1beta1.PlacementConditionSatisfied, Status: metav1.ConditionFalse, Reason: reason, Message: sentence}
	if reason == clusterv1beta1.ReasonAllDecisionsScheduled {
		c.Status = metav1.ConditionTrue
	}
	if r.inSets > 0 || len(r.sets.broken) > 0 {
		c.Message += r.counts()
	}
	if complaints := r.complaints(); len(complaints) > 0 {
		c.Message += "; " + strings.Join(complaints, "; ")
	}
	c.Message = clip(c.Message, maxMessage)
	return c
}

// satisfied checks what can be missing, from the sets to the number, and returns OCM's reason and OCM's sentence.
func (r *run) satisfied() (reason, sentence string) {
	switch {
	case len(r.sets.bound) == 0:
		return clusterv1beta1.ReasonNoManagedClusterSetBindings, "No valid ManagedClusterSetBindings found in placement namespace"
	case len(r.sets.eligible) == 0:
		return clusterv1beta1.ReasonNoIntersection,
			fmt.Sprintf("None of ManagedClusterSets [%s] is bound to placement namespace", strings.Join(r.placement.Spec.ClusterSets, ","))
	case len(r.sets.broken) > 0 || len(r.unevaluated) > 0: // OCM's reason for an error that is not the placement's
		return clusterv1beta1.ReasonNotAllDecisionsScheduled, "What is chosen stays"
	case r.inSets == 0:
		return clusterv1beta1.ReasonAllManagedClusterSetsEmpty,
			fmt.Sprintf("All ManagedClusterSets [%s] have no member ManagedCluster", strings.Join(r.sets.eligible, ","))
	case len(r.result.Chosen) == 0:
		return clusterv1beta1.ReasonNoManagedClusterMatched, "No ManagedCluster matches any of the cluster predicate"
	case r.result.missing == 0:
		return clusterv1beta1.ReasonAllDecisionsScheduled, "All cluster decisions scheduled"
	default:
		return clusterv1beta1.ReasonNotAllDecisionsScheduled, strconv.Itoa(r.result.missing) + " cluster decisions unscheduled"
	}
}

// costLess is what to do about expressions that cost too much over all clusters.
const costLess = "write it so that it costs less, or name fewer sets in spec.clusterSets"

// complaints are what is wrong and does not stop the scheduling: sets, costly expressions, groups, expired scores.
func (r *run) complaints() []string {
	list := r.sets.complaints()
	for i := range r.selectors {
		for _, e := range r.selectors[i].cel {
			if n := len(e.costly); n > 0 && r.result.wrong == nil {
				list = append(list, fmt.Sprintf("%s costs too much for %d clusters", clip(e.String(), maxReason), n))
			}
		}
	}
	if n := len(r.unevaluated); n > 0 && r.result.wrong == nil {
		list = append(list, fmt.Sprintf("%s costs too much over all clusters, and %d were not looked at: %s", clip(r.overBudget().String(), maxReason), n, costLess))
	}
	list = append(list, r.conflicts...)
	for _, w := range r.result.Warnings {
		list = append(list, w.Message)
	}
	return list
}

// counts says how many clusters each step removed: ": 12 in bound sets, 5 not matching tier=edge, 4 tainted, 3 selected".
func (r *run) counts() string {
	parts := []string{fmt.Sprintf("%d in bound sets", r.inSets)}
	add := func(n int, text string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, text))
		}
	}
	ranked, spread := 0, 0
	for i := range r.result.Decisions {
		switch r.result.Decisions[i].Step {
		case StepScores:
			ranked++
		case StepSpread:
			spread++
		}
	}
	add(r.unmatched, "not matching "+r.predicateText())
	add(len(r.unevaluated), "not looked at")
	add(r.tainted, "tainted")
	if r.result.wrong == nil {
		add(spread, "kept out by the spread")
		add(ranked, "ranked lower")
	}
	parts = append(parts, fmt.Sprintf("%d selected", len(r.result.Chosen)))
	return ": " + strings.Join(parts, ", ")
}

// How long texts may be, in bytes: a message of a condition, all that is said about a cluster, and why it was chosen, of
// which a page of decisions holds a hundred.
const (
	maxMessage     = 4096
	maxExplanation = 2048
	maxReason      = 256
)

// clip shortens a text to a limit.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
