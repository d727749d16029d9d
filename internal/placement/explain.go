package placement

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/fleet"
)

// Explanation is the pipeline of one placement as a table.
type Explanation struct {
	// Summary says how many clusters each step removed.
	Summary string `json:"summary"`
	// Problem is what is wrong with the placement itself, and in which field, on one line; "" when nothing is.
	Problem string `json:"problem,omitempty"`
	// Condition is the sentence of the condition PlacementSatisfied while it is False; "" for a placement that is wrong itself.
	Condition string `json:"condition,omitempty"`
	// Complaints are what is wrong and does not stop the scheduling, such as sets that do not exist.
	Complaints []string `json:"complaints,omitempty"`
	// Clusters by name.
	Clusters []Explained `json:"clusters"`
}

// Explained is the explanation of one cluster.
type Explained struct {
	fleet.Decision
	// Change says in one line what would have to change for the cluster to be chosen; "" when it is.
	Change string `json:"change,omitempty"`
	// Rank among the clusters that no filter removed, from 1; 0 for one that a filter removed.
	Rank int `json:"rank,omitempty"`
	// Total is the weighted sum of the Scores; nil for a cluster without a rank.
	Total  *int64  `json:"total,omitempty"`
	Scores []Score `json:"scores,omitempty"`
	// Topology is the cluster's place in each spread constraint, "zone=a", or "zone" when it has none.
	Topology []string `json:"topology,omitempty"`
	// Group is the decision group of a chosen cluster: its index, with its name if it has one.
	Group string `json:"group,omitempty"`
}

// Score is what one prioritizer gives a cluster.
type Score struct {
	Prioritizer string `json:"prioritizer"`
	Weight      int32  `json:"weight"`
	Score       int64  `json:"score"`
}

// Why explains the named clusters, or those that Schedule decides about when none is named.
func (x *Index) Why(p *clusterv1beta1.Placement, clusters ...string) Explanation {
	e := &explainer{run: x.run(p, x.now, nil), candidate: map[string]int{}, group: map[string]string{}}
	e.prepare()
	if len(clusters) == 0 {
		for i := range e.result.Decisions {
			clusters = append(clusters, e.result.Decisions[i].Cluster)
		}
	}
	explanation := Explanation{Summary: strings.TrimPrefix(e.counts(), ": "), Problem: e.result.problem(), Complaints: e.complaints()}
	if reason, sentence := e.satisfied(); explanation.Problem == "" && reason != clusterv1beta1.ReasonAllDecisionsScheduled {
		explanation.Condition = sentence
	}
	for _, name := range sortedSet(clusters) {
		explanation.Clusters = append(explanation.Clusters, e.explain(name))
	}
	return explanation
}

// explainer answers questions about a finished run.
type explainer struct {
	*run
	candidate map[string]int // by cluster
	rank      []int          // by candidate, from 1
	group     map[string]string

	// place is, by candidate, the least numberOfClusters with which it would be chosen, 0 for none; relaxed is the same if no
	// spread constraint were hard.
	place, relaxed []int
}

func (e *explainer) prepare() {
	for i := range e.candidates {
		e.candidate[e.candidates[i].cluster.Name] = i
	}
	if e.result.wrong != nil {
		e.order = nil
	}
	e.rank = positions(len(e.candidates), e.order)
	e.place, e.relaxed = e.rank, e.rank
	if constraints, err := e.topologies(); err == nil && len(constraints) > 0 {
		picked, _ := e.pick(constraints, len(e.order))
		e.place = positions(len(e.candidates), picked)
		soft, _ := e.topologies()
		for i := range soft {
			soft[i].WhenUnsatisfiable = clusterv1beta1.ScheduleAnyway
		}
		picked, _ = e.pick(soft, len(e.order))
		e.relaxed = positions(len(e.candidates), picked)
	}
	for _, g := range e.result.Groups {
		text := strings.TrimSpace(strconv.Itoa(g.Index) + " " + g.Name)
		for _, c := range g.Clusters {
			e.group[c] = text
		}
	}
}

// positions are the positions of n things in a list, from 1; 0 for those that are not in it.
func positions(n int, list []int) []int {
	positions := make([]int, n)
	for position, i := range list {
		positions[i] = position + 1
	}
	return positions
}

func (e *explainer) explain(name string) Explained {
	x := Explained{Decision: e.decisionAbout(name), Group: e.group[name]}
	if i, ok := e.candidate[name]; ok {
		x.Rank, x.Total = e.rank[i], &e.result.Totals[i]
		for _, p := range e.result.Prioritizers {
			x.Scores = append(x.Scores, Score{p.Name, p.Weight, p.Scores[i]})
		}
		for _, c := range e.placement.Spec.SpreadPolicy.SpreadConstraints {
			text := c.TopologyKey
			if value, has := e.index.topologyOf(&c, e.candidates[i].index); has {
				text += "=" + value
			}
			x.Topology = append(x.Topology, text)
		}
	}
	if !x.Chosen {
		x.Change = e.change(name, x.Step)
	}
	return x
}

// decisionAbout is the run's decision about a cluster, also about one that no bound set holds.
func (r *run) decisionAbout(name string) fleet.Decision {
	i, found := slices.BinarySearchFunc(r.result.Decisions, name, func(d fleet.Decision, name string) int {
		return cmp.Compare(d.Cluster, name)
	})
	if found {
		return r.result.Decisions[i]
	}
	return r.outside(name)
}
