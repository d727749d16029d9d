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

// change says what would have to change for a cluster to be chosen: everything that stands against it, not only what the
// pipeline found first.
func (e *explainer) change(name, step string) string {
	at, exists := e.index.position[name]
	switch {
	case e.result.wrong != nil:
		return "correct the placement: " + e.result.wrong.Error()
	case !exists:
		return "a cluster of this name has to join"
	case !e.index.clusters[at].DeletionTimestamp.IsZero():
		return "nothing can: the cluster is being deleted"
	case step == StepScores || step == StepSpread:
		return e.higher(e.candidate[name])
	}
	var needs []string
	if step == StepSets {
		needs = append(needs, e.intoSets(at))
	}
	needs = append(needs, e.pastFilters(at)...)
	text := strings.Join(needs, "; and ")
	if e.placement.Spec.NumberOfClusters != nil {
		text += "; then it competes for one of " + strconv.Itoa(int(*e.placement.Spec.NumberOfClusters)) + " places"
	}
	return text
}

// intoSets says how a cluster gets into an eligible set: by its own set, if it has one, else by a label.
func (e *explainer) intoSets(at int) string {
	cluster := e.index.clusters[at]
	var ways []string
	for _, set := range e.index.setNames() {
		if _, in := slices.BinarySearch(e.index.membersOf(set), at); !in {
			continue
		}
		var acts []string
		if !slices.Contains(e.sets.bound, set) {
			acts = append(acts, "bind its set "+set+" to namespace "+e.placement.Namespace)
		}
		if named := e.placement.Spec.ClusterSets; len(named) > 0 && !slices.Contains(named, set) {
			acts = append(acts, "add its set "+set+" to spec.clusterSets")
		}
		ways = append(ways, strings.Join(acts, " and "))
		break
	}
	if len(e.sets.eligible) > 0 {
		set := e.index.sets[e.sets.eligible[0]]
		ways = append(ways, "to be in set "+set.Name+", "+strings.Join(setNeeds(set, cluster.Labels), " and "))
	}
	if len(ways) == 0 {
		return "put it into a set that is bound to namespace " + e.placement.Namespace
	}
	return strings.Join(ways, ", or ")
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
	selector := set.Spec.ClusterSelector.LabelSelector
	if t := set.Spec.ClusterSelector.SelectorType; t == "" || t == clusterv1beta2.ExclusiveClusterSetLabel {
		selector = &metav1.LabelSelector{MatchLabels: map[string]string{clusterv1beta2.ClusterSetLabel: set.Name}}
	}
	s, err := NewSelector(selector)
	if err != nil || selector == nil {
		return []string{"its selector has to be corrected"}
	}
	return s.needs(labels)
}

// pastFilters are what stands against a cluster in the predicates and the taints.
func (e *explainer) pastFilters(at int) []string {
	var needs []string
	switch {
	case e.unseen[at]:
		needs = append(needs, e.overBudget().String()+" costs too much over all clusters: "+costLess)
	case e.firstMatch(at) < 0 && len(e.selectors) > 0:
		ways := make([]string, len(e.selectors))
		for i := range e.selectors {
			ways[i] = strings.Join(e.selectors[i].needs(e.index, at), " and ")
		}
		needs = append(needs, strings.Join(ways, ", or "))
	}
	cluster := e.index.clusters[at]
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
		text += " for longer than " + strconv.FormatInt(*expired, 10) + "s"
	}
	if taint.Key == clusterv1.ManagedClusterTaintUnreachable || taint.Key == clusterv1.ManagedClusterTaintUnavailable {
		return text + ", or the cluster has to be available again"
	}
	return text + ", or remove it"
}

// higher says what would bring a ranked cluster among the chosen ones: more places, a better score, or softer spreading.
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
	if len(e.placement.Spec.SpreadPolicy.SpreadConstraints) == 0 && 0 < wanted && wanted < len(e.order) {
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

// hardKeys are the topology keys of the constraints that can keep a cluster out.
func (e *explainer) hardKeys() string {
	var keys []string
	for _, c := range e.placement.Spec.SpreadPolicy.SpreadConstraints {
		if c.WhenUnsatisfiable == clusterv1beta1.DoNotSchedule {
			keys = append(keys, c.TopologyKey)
		}
	}
	return strings.Join(keys, " and ")
}

// needs are the unmet terms of a selector as demands.
func (s Selector) needs(m map[string]string) []string {
	var list []string
	for i := range s.terms {
		if t := &s.terms[i]; !t.matches(m) {
			list = append(list, t.need(m))
		}
	}
	return list
}

// need is an unmet term as a demand, with what is there.
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

// needs are the unmet parts of a predicate as demands.
func (s *clusterSelector) needs(x *Index, at int) []string {
	list := slices.Concat(s.labels.needs(x.clusters[at].Labels), s.claims.needs(x.claimsOf(at)))
	budget := celBudget
	for _, e := range s.cel {
		if ok, text := e.eval(x, at, &budget); !ok {
			return append(list, e.String()+" has to be true ("+strings.TrimPrefix(text, e.String()+": ")+")")
		}
	}
	return list
}
