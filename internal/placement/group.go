package placement

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// divideIntoGroups divides the chosen clusters: each goes to the first named group whose selector matches it, the rest to
// groups without a name; no group is larger than clustersPerDecisionGroup, so that one name may have several groups.
func divideIntoGroups(r *run) error {
	strategy := &r.placement.Spec.DecisionStrategy.GroupStrategy
	size, err := groupSize(strategy.ClustersPerDecisionGroup, len(r.picked))
	if err != nil {
		return err
	}
	rest := slices.Clone(r.picked)
	if r.placement.Spec.SortBy == clusterv1beta1.SortByScore {
		rest = slices.DeleteFunc(slices.Clone(r.order), func(i int) bool {
			_, found := slices.BinarySearch(r.picked, i)
			return !found
		})
	}
	inOther := map[string][]int{} // candidates by the named group that they are in
	for n, group := range strategy.DecisionGroups {
		selector, err := compileSelector(group.ClusterSelector)
		if err != nil {
			field := fmt.Sprintf("spec.decisionStrategy.groupStrategy.decisionGroups[%d].groupClusterSelector", n)
			return &misconfigured{field: field, message: fmt.Sprintf("decision group %s: %s", group.GroupName, err)}
		}
		var members, others []int
		for _, i := range rest {
			if ok, _ := selector.match(r.index, r.candidates[i].index, false); ok {
				members = append(members, i)
			} else {
				others = append(others, i)
			}
		}
		r.conflict(group.GroupName, &selector, inOther)
		inOther[group.GroupName] = members
		r.addGroups(group.GroupName, members, size)
		rest = others
	}
	r.addGroups("", rest, size)
	r.nameGroups()
	return nil
}

// conflict notes an earlier group with the same name, and the clusters that earlier groups have although this selector matches them.
func (r *run) conflict(name string, selector *clusterSelector, before map[string][]int) {
	if _, twice := before[name]; twice {
		r.conflicts = append(r.conflicts, fmt.Sprintf("there are two decision groups %s", name))
	}
	for _, other := range slices.Sorted(maps.Keys(before)) {
		n := 0
		for _, i := range before[other] {
			if ok, _ := selector.match(r.index, r.candidates[i].index, false); ok {
				n++
			}
		}
		if n > 0 {
			r.conflicts = append(r.conflicts, fmt.Sprintf("decision groups %s and %s both match %d clusters: the first has them", other, name, n))
		}
	}
}

func (r *run) addGroups(name string, members []int, size int) {
	for part := range slices.Chunk(members, max(size, 1)) {
		clusters := make([]string, len(part))
		for n, i := range part {
			clusters[n] = r.candidates[i].cluster.Name
		}
		r.result.Groups = append(r.result.Groups, Group{Name: name, Index: len(r.result.Groups), Clusters: clusters})
	}
}

// nameGroups adds the group to the chosen clusters, and to their reasons where there is more than one.
func (r *run) nameGroups() {
	of := make(map[string]*Group, len(r.picked))
	for i := range r.result.Groups {
		for _, c := range r.result.Groups[i].Clusters {
			of[c] = &r.result.Groups[i]
		}
	}
	for i := range r.result.Decisions {
		d := &r.result.Decisions[i]
		g := of[d.Cluster]
		if !d.Chosen || g == nil {
			continue
		}
		d.Group, d.GroupIndex = g.Name, g.Index
		if len(r.result.Groups) > 1 {
			d.Reason += strings.TrimSuffix("; group "+strconv.Itoa(g.Index)+" "+g.Name, " ")
		}
	}
}

// groupSize is clustersPerDecisionGroup for so many clusters: a number, or a percentage that is rounded up. Out of range
// means all in one.
func groupSize(per intstr.IntOrString, total int) (int, error) {
	size := total
	switch per.Type {
	case intstr.Int:
		size = per.IntValue()
	case intstr.String:
		percent, found := strings.CutSuffix(per.StrVal, "%")
		f, err := strconv.ParseFloat(percent, 64)
		if !found || err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return 0, &misconfigured{
				field:   "spec.decisionStrategy.groupStrategy.clustersPerDecisionGroup",
				message: fmt.Sprintf("%v invalid type: string is not a percentage", per.String()),
			}
		}
		size = int(math.Ceil(f / 100 * float64(total)))
	}
	if size <= 0 || size > total {
		size = total
	}
	return size, nil
}
