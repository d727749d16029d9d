package placement

import (
	"fmt"
	"slices"
	"strings"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/fleet"
)

// Sets are the names of each set's clusters, sorted. A cluster that is being deleted is still in its set. A set whose
// selector cannot be read has none.
func Sets(w *fleet.World) map[string][]string {
	x := NewIndex(w)
	members := make(map[string][]string, len(x.sets))
	for name := range x.sets {
		list := []string{}
		for _, i := range x.membersOf(name) {
			list = append(list, x.clusters[i].Name)
		}
		members[name] = list
	}
	return members
}

// MissingSets are the sets that a placement names and that do not exist, sorted.
func MissingSets(p *clusterv1beta1.Placement, w *fleet.World) []string {
	var missing []string
	for _, name := range p.Spec.ClusterSets {
		if !slices.ContainsFunc(w.ClusterSets, func(s clusterv1beta2.ManagedClusterSet) bool { return s.Name == name }) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// InSet says whether a cluster belongs to a set. An unset selector type is the exclusive label, as the API defaults it.
func InSet(set *clusterv1beta2.ManagedClusterSet, cluster *clusterv1.ManagedCluster) (bool, error) {
	in, err := membership(set)
	if err != nil {
		return false, err
	}
	return in(cluster), nil
}

func membership(set *clusterv1beta2.ManagedClusterSet) (func(*clusterv1.ManagedCluster) bool, error) {
	switch set.Spec.ClusterSelector.SelectorType {
	case "", clusterv1beta2.ExclusiveClusterSetLabel:
		return func(c *clusterv1.ManagedCluster) bool { return c.Labels[clusterv1beta2.ClusterSetLabel] == set.Name }, nil
	case clusterv1beta2.LabelSelector:
		if set.Spec.ClusterSelector.LabelSelector == nil { // selects nothing, as in metav1
			return func(*clusterv1.ManagedCluster) bool { return false }, nil
		}
		s, err := NewSelector(set.Spec.ClusterSelector.LabelSelector)
		if err != nil {
			return nil, fmt.Errorf("selector of set %s: %w", set.Name, err)
		}
		return func(c *clusterv1.ManagedCluster) bool { return s.matches(c.Labels) }, nil
	default:
		return nil, fmt.Errorf("set %s: unknown selector type %q", set.Name, set.Spec.ClusterSelector.SelectorType)
	}
}

// membersOf are the indices of a set's clusters, ascending, made once.
func (x *Index) membersOf(name string) []int {
	x.mu.Lock()
	defer x.mu.Unlock()
	if list, ok := x.members[name]; ok {
		return list
	}
	var list []int
	if set := x.sets[name]; set != nil {
		in, err := membership(set)
		if err != nil {
			x.errors[name] = err
			in = func(*clusterv1.ManagedCluster) bool { return false }
		}
		for i, c := range x.clusters {
			if in(c) {
				list = append(list, i)
			}
		}
	}
	x.members[name] = list
	return list
}

// setFacts are the result of the Sets step.
type setFacts struct {
	bound    []string // bound to the namespace and existing
	eligible []string // of those, the ones the placement names
	missing  []string // named, and not existing
	unbound  []string // named and existing, and not bound
	vanished []string // bound, and not existing
	broken   []string // eligible, with a selector that cannot be read
}

func (x *Index) setsOf(p *clusterv1beta1.Placement) setFacts {
	var f setFacts
	for _, name := range x.bound[p.Namespace] {
		if x.sets[name] == nil {
			f.vanished = append(f.vanished, name)
			continue
		}
		f.bound = append(f.bound, name)
	}
	if len(p.Spec.ClusterSets) == 0 {
		f.eligible = f.bound
		return f
	}
	for _, name := range sortedSet(p.Spec.ClusterSets) {
		switch {
		case x.sets[name] == nil:
			f.missing = append(f.missing, name)
		case slices.Contains(f.bound, name):
			f.eligible = append(f.eligible, name)
		default:
			f.unbound = append(f.unbound, name)
		}
	}
	f.vanished = slices.DeleteFunc(f.vanished, func(name string) bool { return !slices.Contains(f.missing, name) })
	return f
}

// complaints says what is wrong with the sets themselves, for the condition's message.
func (f setFacts) complaints() []string {
	var list []string
	for _, name := range f.missing {
		list = append(list, fmt.Sprintf("ManagedClusterSet %s does not exist", name))
	}
	for _, name := range f.unbound {
		list = append(list, fmt.Sprintf("ManagedClusterSet %s is not bound to the namespace", name))
	}
	for _, name := range f.vanished {
		if !slices.Contains(f.missing, name) {
			list = append(list, fmt.Sprintf("the bound ManagedClusterSet %s does not exist", name))
		}
	}
	return append(list, f.broken...)
}

// boundSets is the first step: the clusters of the eligible sets that are not being deleted.
func boundSets(r *run) error {
	r.sets = r.index.setsOf(r.placement)
	members := r.members()
	r.result.Decisions = make([]fleet.Decision, len(members))
	r.candidates = make([]candidate, 0, len(members))
	for slot, i := range members {
		c := candidate{cluster: r.index.clusters[i], index: i, slot: slot, predicate: -1}
		if !c.cluster.DeletionTimestamp.IsZero() {
			r.drop(&c, StepSets, "the cluster is being deleted")
			continue
		}
		r.candidates = append(r.candidates, c)
	}
	for name := range r.previous {
		i, exists := r.index.position[name]
		if _, member := slices.BinarySearch(members, i); !exists || !member {
			r.extra = append(r.extra, r.outside(name))
		}
	}
	r.inSets = len(r.candidates)
	return nil
}

// members are the indices of the clusters of all eligible sets, ascending, each once. The members of a set whose
// selector cannot be read are unknown: the chosen clusters count as members, as OCM leaves the decisions as they are.
func (r *run) members() []int {
	var all []int
	for _, name := range r.sets.eligible {
		all = append(all, r.index.membersOf(name)...)
		r.index.mu.Lock()
		if err := r.index.errors[name]; err != nil {
			r.sets.broken = append(r.sets.broken, err.Error())
		}
		r.index.mu.Unlock()
	}
	if len(r.sets.broken) > 0 {
		for name := range r.previous {
			if i, exists := r.index.position[name]; exists {
				all = append(all, i)
			}
		}
	}
	if len(r.sets.eligible) > 1 || len(r.sets.broken) > 0 {
		slices.Sort(all)
		all = slices.Compact(all)
	}
	return all
}

// outside is the decision about a cluster that is in no eligible set.
func (r *run) outside(name string) fleet.Decision {
	reason := "the cluster does not exist"
	if _, exists := r.index.position[name]; exists {
		reason = r.notInSets()
	}
	return fleet.Decision{Cluster: name, Step: StepSets, Reason: reason}
}

// notInSets says why a cluster is in no eligible set.
func (r *run) notInSets() string {
	if len(r.sets.eligible) == 0 {
		return "not in any bound set: none is"
	}
	if len(r.placement.Spec.ClusterSets) > 0 {
		return "not in any bound set: the placement takes " + strings.Join(r.sets.eligible, ", ")
	}
	return "not in any bound set: the namespace has " + strings.Join(r.sets.eligible, ", ")
}

// setOf names an eligible set that holds the cluster.
func (r *run) setOf(index int) string {
	if len(r.sets.eligible) == 1 {
		return r.sets.eligible[0]
	}
	for _, name := range r.sets.eligible {
		if _, ok := slices.BinarySearch(r.index.membersOf(name), index); ok {
			return name
		}
	}
	return ""
}

func sortedSet(names []string) []string {
	list := slices.Clone(names)
	slices.Sort(list)
	return slices.Compact(list)
}
