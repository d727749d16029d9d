package placement

import (
	"fmt"
	"strconv"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// choose picks the first numberOfClusters of the ranking, or all without a number, as far as the spread constraints permit.
func choose(r *run) error {
	wanted := len(r.order)
	if n := r.placement.Spec.NumberOfClusters; n != nil {
		if *n < 0 {
			return &misconfigured{field: "spec.numberOfClusters", message: fmt.Sprintf("numberOfClusters %d is negative", *n)}
		}
		wanted = int(*n)
	}
	picked := r.order[:min(wanted, len(r.order))]
	var excluded map[int]string
	if len(r.placement.Spec.SpreadPolicy.SpreadConstraints) > 0 {
		var err error
		if picked, excluded, err = r.spread(wanted); err != nil {
			return err
		}
	}
	if r.placement.Spec.NumberOfClusters != nil {
		r.result.missing = wanted - len(picked)
	}
	r.conclude(picked, excluded, wanted)
	return nil
}

// conclude records the decision about each candidate.
func (r *run) conclude(picked []int, excluded map[int]string, wanted int) {
	chosen := make([]bool, len(r.candidates))
	for _, i := range picked {
		chosen[i] = true
	}
	limited := r.placement.Spec.NumberOfClusters != nil
	buffer := make([]byte, 0, 256)
	for rank, i := range r.order {
		c := &r.candidates[i]
		switch {
		case chosen[i]: // below
		case excluded[i] != "":
			r.drop(c, StepSpread, excluded[i])
		case limited:
			buffer = append(buffer[:0], "ranked "...)
			buffer = append(appendOrdinal(buffer, rank+1), ", "...)
			buffer = append(strconv.AppendInt(buffer, int64(wanted), 10), " wanted, "...)
			r.drop(c, StepScores, string(r.appendScore(buffer, i)))
		}
	}
	r.picked = make([]int, 0, len(picked))
	for i, ok := range chosen {
		if ok {
			r.picked = append(r.picked, i)
		}
	}
	r.result.Chosen = make([]string, len(r.picked))
	r.result.chosen = make([]clusterv1beta1.ClusterDecision, len(r.picked))
	for n, i := range r.picked {
		r.result.chosen[n] = r.decision(i)
		r.result.Chosen[n] = r.result.chosen[n].ClusterName
	}
	r.reasonsOfChosen(wanted, limited)
}

// decision is a chosen cluster as its PlacementDecision lists it. The score is listed only with sortBy Score: otherwise each decision
// of one placement would change the decisions of all others.
func (r *run) decision(i int) clusterv1beta1.ClusterDecision {
	c := &r.candidates[i]
	d := clusterv1beta1.ClusterDecision{ClusterName: c.cluster.Name, Reason: r.why(c)}
	if r.placement.Spec.SortBy == clusterv1beta1.SortByScore {
		d.Score = &r.result.Totals[i]
	}
	return d
}

// reasonsOfChosen adds the chosen to the decisions, with their rank where there was a choice.
func (r *run) reasonsOfChosen(wanted int, limited bool) {
	rank := make([]int, len(r.candidates))
	for n, i := range r.order {
		rank[i] = n + 1
	}
	buffer := make([]byte, 0, 256)
	for n, i := range r.picked {
		reason := r.result.chosen[n].Reason
		if limited {
			buffer = append(append(buffer[:0], reason...), "; ranked "...)
			buffer = append(appendOrdinal(buffer, rank[i]), ", "...)
			buffer = append(strconv.AppendInt(buffer, int64(wanted), 10), " wanted, "...)
			reason = string(r.appendScore(buffer, i))
		}
		r.drop(&r.candidates[i], StepChosen, reason).Chosen = true
	}
}
