package placement

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// Outcome has the writes for a result: the pages in this sequence, then the status.
type Outcome struct {
	Writes []Write
	Status clusterv1beta1.PlacementStatus
	// Again is when to schedule the placement again without any change; zero for never.
	Again time.Time
}

// Next is the outcome that changes the existing pages to a result.
//
// A placement that is sorted by score shows the scores in its decisions, and they change often. A change that
// only scores cause is therefore written at most once in spec.scoreRateLimit, counted from status.lastScoreUpdateTime; until
// that time the pages stay as they are. Every other change (of the spec, of the clusters that match the filters, of the
// number) is written immediately, with the current scores. A placement that is sorted by name shows no
// scores: its decisions follow the scores immediately, as in OCM, which declares the three fields and implements none.
func Next(p *clusterv1beta1.Placement, r *Result, existing []clusterv1beta1.PlacementDecision) Outcome {
	wanted := Objects(p, r, existing)
	u := Outcome{Writes: Writes(p, existing, wanted), Status: Status(p, r), Again: r.RequeueAt}
	if p.Spec.SortBy != clusterv1beta1.SortByScore {
		u.Status.LastScoreUpdateTime = nil
		return u
	}
	if len(u.Writes) == 0 {
		return u
	}
	last, byScore := p.Status.LastScoreUpdateTime, r.onlyScores(p, existing, wanted)
	limit, err := scoreRateLimit(p)
	if due := timeOf(last).Add(limit); err == nil && byScore && last != nil && r.now.Before(due) {
		u.Writes = nil
		if u.Again.IsZero() || due.Before(u.Again) {
			u.Again = due
		}
		return u
	}
	if byScore || last == nil {
		now := metav1.NewTime(r.now)
		u.Status.LastScoreUpdateTime = &now
	}
	return u
}

// onlyScores says whether only scores can be the reason why the pages change: the placement has not changed since it was
// scheduled, each page keeps its group and its number of clusters, and every cluster that was chosen could be chosen
// again. With spread constraints a label can change the choice too, so that the clusters have to be the same.
func (r *Result) onlyScores(p *clusterv1beta1.Placement, existing, wanted []clusterv1beta1.PlacementDecision) bool {
	if !Scheduled(p) || len(existing) != len(wanted) {
		return false
	}
	have := map[string]*clusterv1beta1.PlacementDecision{}
	for i := range existing {
		have[existing[i].Name] = &existing[i]
	}
	was, is := map[string]string{}, map[string]string{} // cluster -> name of its group
	for i := range wanted {
		old := have[wanted[i].Name]
		if old == nil || !SameMetadata(old, &wanted[i]) || len(old.Status.Decisions) != len(wanted[i].Status.Decisions) {
			return false
		}
		for _, c := range clusterNames(old) {
			was[c] = old.Labels[clusterv1beta1.DecisionGroupNameLabel]
		}
		for _, c := range clusterNames(&wanted[i]) {
			is[c] = wanted[i].Labels[clusterv1beta1.DecisionGroupNameLabel]
		}
	}
	for c, group := range was {
		now, stays := is[c]
		if _, possible := slices.BinarySearch(r.Candidates, c); !possible || stays && now != group {
			return false
		}
		if !stays && len(p.Spec.SpreadPolicy.SpreadConstraints) > 0 {
			return false
		}
	}
	return true
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
