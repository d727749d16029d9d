package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
)

// change says what would have to change for a cluster to be chosen: all the obstacles, not only the one that the pipeline
// found first.
func (e *explainer) change(name, step string) string {
	position, exists := e.index.position[name]
	switch {
	case e.result.wrong != nil:
		return "correct the placement: " + e.result.problem()
	case !exists:
		return "a cluster of this name has to join"
	case !e.index.clusters[position].DeletionTimestamp.IsZero():
		return "nothing can: the cluster is being deleted"
	case step == StepScores || step == StepSpread:
		return e.higher(e.candidate[name])
	}
	var needs []string
	if step == StepSets {
		needs = append(needs, e.intoSets(position))
	}
	needs = append(needs, e.pastFilters(position)...)
	needs = append(needs, e.topologyNeeds(position)...)
	number := e.placement.Spec.NumberOfClusters
	if number != nil && *number == 0 {
		needs = append(needs, "raise numberOfClusters from 0")
	}
	text := strings.Join(needs, "; and ")
	if number != nil && *number > 0 {
		text += "; then it competes for one of " + strconv.Itoa(int(*number)) + " places"
	}
	if keys := e.hardKeys(); keys != "" {
		text += "; then the spread over " + keys + " decides"
	}
	return text
}

// topologyNeeds are the topology keys that a cluster lacks and that a hard spread constraint requires.
func (e *explainer) topologyNeeds(position int) []string {
	var needs []string
	for _, c := range e.placement.Spec.SpreadPolicy.SpreadConstraints {
		if _, has := e.index.topologyOf(&c, position); !has && c.WhenUnsatisfiable == clusterv1beta1.DoNotSchedule {
			needs = append(needs, strings.ToLower(string(c.TopologyKeyType))+" "+c.TopologyKey+" is needed, which the choice is spread over")
		}
	}
	return needs
}

// intoSets says how a cluster gets into an eligible set: by labels, after a set is bound or created where none is eligible; or by
// making its own set eligible.
func (e *explainer) intoSets(position int) string {
	own := e.ownSet(position)
	var ways []string
	switch {
	case len(e.sets.eligible) > 0:
		set := e.joinable()
		ways = append(ways, "to be in set "+set.Name+", "+strings.Join(setNeeds(set, e.index.clusters[position].Labels), " and "))
	case own != nil && slices.Contains(e.sets.unbound, own.Name): // it only has to be bound
	case len(e.sets.unbound) > 0:
		set := e.index.sets[e.sets.unbound[0]]
		ways = append(ways, "bind set "+set.Name+" to namespace "+e.placement.Namespace+", and to be in it, "+
			strings.Join(setNeeds(set, e.index.clusters[position].Labels), " and "))
	case len(e.sets.vanished) > 0:
		ways = append(ways, "the bound set "+e.sets.vanished[0]+" has to exist and to hold the cluster")
	case len(e.sets.missing) > 0:
		ways = append(ways, "set "+e.sets.missing[0]+" has to exist, to be bound to namespace "+e.placement.Namespace+" and to hold the cluster")
	}
	if own != nil {
		ways = append(ways, e.admit(own))
	}
	if len(ways) == 0 {
		return "bind a set to namespace " + e.placement.Namespace + " and put the cluster into it"
	}
	return strings.Join(ways, ", or ")
}

// joinable is an eligible set, if possible one whose selector can be met.
func (e *explainer) joinable() *clusterv1beta2.ManagedClusterSet {
	for _, name := range e.sets.eligible {
		if set := e.index.sets[name]; selectorOf(set) != nil {
			if _, err := membership(set); err == nil {
				return set
			}
		}
	}
	return e.index.sets[e.sets.eligible[0]]
}

// ownSet is a set that holds the cluster and is not eligible. A set that the placement names is preferred; a set that selects
// every cluster comes last, because binding it would bring in all clusters. It is nil for a cluster without a set.
func (e *explainer) ownSet(position int) *clusterv1beta2.ManagedClusterSet {
	var best *clusterv1beta2.ManagedClusterSet
	rank := func(set *clusterv1beta2.ManagedClusterSet) int {
		switch s := selectorOf(set); {
		case slices.Contains(e.sets.unbound, set.Name):
			return 2
		case len(s.MatchLabels)+len(s.MatchExpressions) > 0:
			return 1
		}
		return 0
	}
	for _, name := range e.index.setNames() {
		set := e.index.sets[name]
		if _, in := slices.BinarySearch(e.index.membersOf(name), position); in && (best == nil || rank(set) > rank(best)) {
			best = set
		}
	}
	return best
}

// admit says what makes a set eligible.
func (e *explainer) admit(set *clusterv1beta2.ManagedClusterSet) string {
	var acts []string
	if !slices.Contains(e.sets.bound, set.Name) {
		acts = append(acts, "bind its set "+set.Name+" to namespace "+e.placement.Namespace)
	}
	if named := e.placement.Spec.ClusterSets; len(named) > 0 && !slices.Contains(named, set.Name) {
		acts = append(acts, "add its set "+set.Name+" to spec.clusterSets")
	}
	return strings.Join(acts, " and ")
}

func (x *Index) setNames() []string {
	names := make([]string, 0, len(x.sets))
	for name := range x.sets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// setNeeds are the labels that a cluster lacks for a set.
func setNeeds(set *clusterv1beta2.ManagedClusterSet, labels map[string]string) []string {
	selector := selectorOf(set)
	s, err := NewSelector(selector)
	if err != nil || selector == nil {
		return []string{"its selector has to be corrected"}
	}
	return s.needs(labels)
}

// selectorOf is the selector of a set; nil when it selects no cluster.
func selectorOf(set *clusterv1beta2.ManagedClusterSet) *metav1.LabelSelector {
	if t := set.Spec.ClusterSelector.SelectorType; t == "" || t == clusterv1beta2.ExclusiveClusterSetLabel {
		return &metav1.LabelSelector{MatchLabels: map[string]string{clusterv1beta2.ClusterSetLabel: set.Name}}
	}
	return set.Spec.ClusterSelector.LabelSelector
}

// pastFilters says which predicates and taints exclude a cluster.
func (e *explainer) pastFilters(position int) []string {
	var needs []string
	switch {
	case e.unevaluated[position]:
		needs = append(needs, e.overBudget().String()+" costs too much over all clusters: "+costLess)
	case e.firstMatch(position) < 0 && len(e.selectors) > 0:
		ways := make([]string, len(e.selectors))
		for i := range e.selectors {
			ways[i] = strings.Join(e.selectors[i].needs(e.index, position), " and ")
		}
		needs = append(needs, strings.Join(ways, ", or "))
	}
	cluster := e.index.clusters[position]
	for i := range cluster.Spec.Taints {
		taint := &cluster.Spec.Taints[i]
		if taint.Effect == clusterv1.TaintEffectPreferNoSelect || taint.Effect == clusterv1.TaintEffectNoSelectIfNew && e.previous[cluster.Name] {
			continue
		}
		if ok, _, expired := tolerate(taint, e.placement.Spec.Tolerations, e.now); !ok {
			needs = append(needs, taintNeed(taint, expired))
		}
	}
	return needs
}

func taintNeed(taint *clusterv1.Taint, expired *int64) string {
	text := "tolerate taint " + taintText(taint)
	if expired != nil {
		text += " for longer than " + strconv.FormatInt(max(0, *expired), 10) + "s"
	}
	if taint.Key == clusterv1.ManagedClusterTaintUnreachable || taint.Key == clusterv1.ManagedClusterTaintUnavailable {
		return text + ", or the cluster has to be available again"
	}
	return text + ", or remove it"
}

// higher says what would make a ranked cluster one of the chosen: more places, a better score, or softer spread constraints.
func (e *explainer) higher(i int) string {
	wanted := len(e.order)
	if n := e.placement.Spec.NumberOfClusters; n != nil {
		wanted = int(*n)
	}
	var ways []string
	switch {
	case e.place[i] > wanted:
		ways = append(ways, "raise numberOfClusters to "+strconv.Itoa(e.place[i]))
	case e.place[i] == 0:
		text := "set whenUnsatisfiable of " + e.hardKeys() + " to " + string(clusterv1beta1.ScheduleAnyway)
		if e.relaxed[i] > wanted {
			text += " and raise numberOfClusters to " + strconv.Itoa(e.relaxed[i])
		}
		ways = append(ways, text)
	}
	if len(e.placement.Spec.SpreadPolicy.SpreadConstraints) == 0 && e.scored() && 0 < wanted && wanted < len(e.order) {
		last := e.order[wanted-1]
		least := e.result.Totals[last]
		if i > last { // of equal scores the first name wins
			least++
		}
		ways = append(ways, fmt.Sprintf("it needs a score of %d (has %d)", least, e.result.Totals[i]))
	}
	if e.candidates[i].avoid {
		for n := range e.candidates[i].cluster.Spec.Taints {
			taint := &e.candidates[i].cluster.Spec.Taints[n]
			if ok, _, _ := tolerate(taint, e.placement.Spec.Tolerations, e.now); !ok && taint.Effect == clusterv1.TaintEffectPreferNoSelect {
				ways = append(ways, "to rank higher, tolerate taint "+taintText(taint)+" or remove it")
			}
		}
	}
	return strings.Join(ways, ", or ")
}

// scored says whether anything but a taint gives clusters different scores.
func (e *explainer) scored() bool {
	return slices.ContainsFunc(e.result.Prioritizers, func(p Prioritizer) bool { return p.Name != preferNoSelect })
}

// hardKeys are the topology keys of the constraints that can exclude a cluster.
func (e *explainer) hardKeys() string {
	var keys []string
	for _, c := range e.placement.Spec.SpreadPolicy.SpreadConstraints {
		if c.WhenUnsatisfiable == clusterv1beta1.DoNotSchedule {
			keys = append(keys, c.TopologyKey)
		}
	}
	return strings.Join(keys, " and ")
}

// needs are the unmet terms of a selector, each as what is needed.
func (s Selector) needs(m map[string]string) []string {
	var list []string
	for i := range s.terms {
		if t := &s.terms[i]; !t.matches(m) {
			list = append(list, t.need(m))
		}
	}
	return list
}

// need is an unmet term as what is needed, with the value that is there.
func (t *term) need(m map[string]string) string {
	value, has := m[t.key]
	there := " (has " + t.key + "=" + value + ")"
	if !has {
		there = " (has none)"
	}
	switch t.op {
	case metav1.LabelSelectorOpDoesNotExist:
		return t.kind + " " + t.key + " has to go" + there
	case metav1.LabelSelectorOpNotIn:
		return t.kind + " " + t.key + " has to go or to change" + there
	default:
		return t.String() + " is needed" + there
	}
}

// needs are the unmet parts of a predicate, each as what is needed.
func (s *clusterSelector) needs(x *Index, position int) []string {
	list := slices.Concat(s.labels.needs(x.clusters[position].Labels), s.claims.needs(x.claimsOf(position)))
	budget := celBudget
	for _, e := range s.cel {
		if ok, text := e.eval(x, position, &budget); !ok {
			return append(list, e.String()+" has to be true ("+strings.TrimPrefix(text, e.String()+": ")+")")
		}
	}
	return list
}
