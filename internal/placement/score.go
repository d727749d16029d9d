package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// Bounds of one prioritizer's score, and of a weight.
const (
	maxScore  = 100
	maxWeight = 10
)

// preferNoSelect names the prioritizer that lowers clusters with an untolerated taint PreferNoSelect.
const preferNoSelect = "PreferNoSelect"

// prioritizer scores every candidate; a missing score is 0.
type prioritizer struct {
	name   string
	weight int32
	score  func(r *run, scores []int64)
}

// prioritize ranks the candidates by the weighted sum of the prioritizers, then by name.
func prioritize(r *run) error {
	list, err := prioritizers(r.placement.Spec.PrioritizerPolicy)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(r.candidates, func(c candidate) bool { return c.avoid }) {
		list = append(list, avoidance(list))
	}
	totals := make([]int64, len(r.candidates))
	for _, p := range list {
		if p.weight == 0 {
			continue
		}
		scores := make([]int64, len(r.candidates))
		plugin, _, _ := strings.Cut(p.name, "/")
		end := r.trace(PrioritizerPlugin, plugin)
		p.score(r, scores)
		end()
		for i, s := range scores {
			totals[i] += s * int64(p.weight)
		}
		r.result.Prioritizers = append(r.result.Prioritizers, Prioritizer{Name: p.name, Weight: p.weight, Scores: scores})
	}
	r.result.Candidates, r.result.Totals = r.names(), totals
	r.order = make([]int, len(r.candidates))
	for i := range r.order {
		r.order[i] = i
	}
	slices.SortFunc(r.order, func(a, b int) int { // candidates are sorted by name already
		if totals[a] != totals[b] {
			if totals[a] > totals[b] {
				return -1
			}
			return 1
		}
		return a - b
	})
	return nil
}

// prioritizers are those of a policy: Additive adds to Balance and Steady or changes their weights, Exact uses only what
// is configured. Of two configurations of one built-in prioritizer the later one counts; each configuration of an AddOn score counts.
func prioritizers(policy clusterv1beta1.PrioritizerPolicy) ([]prioritizer, error) {
	var list []prioritizer
	switch policy.Mode {
	case "", clusterv1beta1.PrioritizerPolicyModeAdditive:
		list = []prioritizer{
			{clusterv1beta1.PrioritizerBalance, 1, balance},
			{clusterv1beta1.PrioritizerSteady, 1, steady},
		}
	case clusterv1beta1.PrioritizerPolicyModeExact:
	default:
		return nil, &misconfigured{field: "spec.prioritizerPolicy.mode", message: fmt.Sprintf("incorrect prioritizer policy mode: %s", policy.Mode)}
	}
	for i, c := range policy.Configurations {
		p, err := configured(c, fmt.Sprintf("spec.prioritizerPolicy.configurations[%d]", i))
		if err != nil {
			return nil, err
		}
		same := func(q prioritizer) bool { return q.name == p.name }
		if earlier := slices.IndexFunc(list, same); earlier >= 0 && c.ScoreCoordinate.Type != clusterv1beta1.ScoreCoordinateTypeAddOn {
			list[earlier] = p
			continue
		}
		list = append(list, p)
	}
	return list, nil
}

// configured is the prioritizer of one configuration; field is the place of the configuration in the placement.
func configured(c clusterv1beta1.PrioritizerConfig, field string) (prioritizer, error) {
	score := c.ScoreCoordinate
	switch {
	case score == nil:
		return prioritizer{}, &misconfigured{field: field, message: "scoreCoordinate field is required"}
	case c.Weight < -maxWeight || c.Weight > maxWeight:
		return prioritizer{}, &misconfigured{field: field + ".weight", message: fmt.Sprintf("weight %d is not between -%d and %d", c.Weight, maxWeight, maxWeight)}
	case score.Type == clusterv1beta1.ScoreCoordinateTypeAddOn && score.AddOn == nil && c.Weight == 0:
		return prioritizer{}, nil // a weight of 0 turns it off, whatever it names
	case score.Type == clusterv1beta1.ScoreCoordinateTypeAddOn && score.AddOn == nil:
		return prioritizer{}, &misconfigured{field: field + ".scoreCoordinate", message: "addOn should not be empty"}
	case score.Type == clusterv1beta1.ScoreCoordinateTypeAddOn:
		name := "AddOn/" + score.AddOn.ResourceName + "/" + score.AddOn.ScoreName
		return prioritizer{name, c.Weight, addOn(name, *score.AddOn)}, nil
	}
	switch score.BuiltIn {
	case clusterv1beta1.PrioritizerBalance:
		return prioritizer{score.BuiltIn, c.Weight, balance}, nil
	case clusterv1beta1.PrioritizerSteady:
		return prioritizer{score.BuiltIn, c.Weight, steady}, nil
	case clusterv1beta1.PrioritizerResourceAllocatableCPU:
		return prioritizer{score.BuiltIn, c.Weight, allocatable(clusterv1.ResourceCPU)}, nil
	case clusterv1beta1.PrioritizerResourceAllocatableMemory:
		return prioritizer{score.BuiltIn, c.Weight, allocatable(clusterv1.ResourceMemory)}, nil
	default:
		if c.Weight == 0 { // a weight of 0 turns it off, whatever it names
			return prioritizer{name: score.BuiltIn}, nil
		}
		return prioritizer{}, &misconfigured{field: field + ".scoreCoordinate.builtIn", message: fmt.Sprintf("incorrect builtin prioritizer: %s", score.BuiltIn)}
	}
}

// balance is 2·int(100·(0.5 − n/max)) with n the decisions of other placements on the cluster, 100 when there are none.
func balance(r *run, scores []int64) {
	counts, most := r.index.history.others(r.placement, r.candidates)
	for i, n := range counts {
		scores[i] = maxScore
		if n > 0 {
			scores[i] = 2 * int64(maxScore*(0.5-float64(n)/float64(most)))
		}
	}
}

// steady is 100 for the clusters that are chosen already.
func steady(r *run, scores []int64) {
	if len(r.previous) == 0 {
		return
	}
	for i := range r.candidates {
		if r.previous[r.candidates[i].cluster.Name] {
			scores[i] = maxScore
		}
	}
}

// allocatable is linear from -100 for the candidate with the least to 100 for the one with the most; 100 when all have
// the same. A cluster that does not report both allocatable and capacity scores 0.
func allocatable(resource clusterv1.ResourceName) func(*run, []int64) {
	return func(r *run, scores []int64) {
		amounts := make([]float64, len(r.candidates))
		known := make([]bool, len(r.candidates))
		var least, most float64
		first := true
		for i := range r.candidates {
			status := &r.candidates[i].cluster.Status
			amount, has := status.Allocatable[resource]
			if _, capacity := status.Capacity[resource]; !has || !capacity {
				continue
			}
			amounts[i], known[i] = amount.AsApproximateFloat64(), true
			if first {
				least, most, first = amounts[i], amounts[i], false
			}
			least, most = min(least, amounts[i]), max(most, amounts[i])
		}
		for i := range amounts {
			switch {
			case !known[i]:
			case most == least:
				scores[i] = maxScore
			default:
				scores[i] = int64(((amounts[i]-least)/(most-least) - 0.5) * 2 * maxScore)
			}
		}
	}
}

// addOn is the value of a score in the cluster's AddOnPlacementScore; 0 when it is missing or no longer valid.
func addOn(plugin string, of clusterv1beta1.AddOnScore) func(*run, []int64) {
	return func(r *run, scores []int64) {
		var expired []string
		for i := range r.candidates {
			name := r.candidates[i].cluster.Name
			object := r.index.score(name, of.ResourceName)
			if object == nil {
				continue
			}
			if until := object.Status.ValidUntil; until != nil {
				if r.now.After(until.Time) {
					expired = append(expired, name+"/"+of.ResourceName)
					continue
				}
				r.requeueAt(until.Time)
			}
			for _, s := range object.Status.Scores {
				if s.Name == of.ScoreName {
					scores[i] = int64(s.Value)
				}
			}
		}
		if len(expired) > 0 {
			r.result.Warnings = append(r.result.Warnings, Warning{plugin, "AddOnPlacementScores " + few(expired, " ") + " expired"})
		}
	}
}

// avoidance ranks a cluster with an untolerated taint PreferNoSelect below every other, regardless of the other scores.
// With Steady, a chosen cluster keeps its rank, except with spread constraints: there a cluster that rises changes
// which others fit the constraints, and the choice would change with each run. OCM declares the effect and does not implement it.
func avoidance(others []prioritizer) prioritizer {
	weight, keep := int32(1), false
	for _, p := range others {
		weight += 2 * max(p.weight, -p.weight)
		keep = keep || p.name == clusterv1beta1.PrioritizerSteady && p.weight > 0
	}
	return prioritizer{preferNoSelect, weight, func(r *run, scores []int64) {
		lifted := keep && len(r.placement.Spec.SpreadPolicy.SpreadConstraints) == 0
		for i := range r.candidates {
			if c := &r.candidates[i]; c.avoid && !(lifted && r.previous[c.cluster.Name]) {
				scores[i] = -maxScore
			}
		}
	}}
}

// appendScore writes "score 120 (Balance 20, Steady 100)"; a weight other than 1 stands before its score.
func (r *run) appendScore(b []byte, i int) []byte {
	b = append(b, "score "...)
	b = strconv.AppendInt(b, r.result.Totals[i], 10)
	for n := range r.result.Prioritizers {
		p := &r.result.Prioritizers[n]
		if n == 0 {
			b = append(b, " ("...)
		} else {
			b = append(b, ", "...)
		}
		b = append(append(b, p.Name...), ' ')
		if p.Weight != 1 {
			b = append(strconv.AppendInt(b, int64(p.Weight), 10), "×"...)
		}
		b = strconv.AppendInt(b, p.Scores[i], 10)
	}
	if len(r.result.Prioritizers) > 0 {
		b = append(b, ')')
	}
	return b
}
