package placement

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// Interest is what a placement reads of a cluster: a change of anything else cannot change its result. Every placement reads
// taints, deletion and membership in at least one set.
type Interest struct {
	labels    map[string]bool
	claims    map[string]bool
	resources map[clusterv1.ResourceName]bool
	scores    map[string]bool // names of AddOnPlacementScores
	all       bool            // a CEL expression can read everything
	sets      bool            // the decisions name the set that holds a cluster

	predicates []clusterSelector // nil where there are none, or where they need more than the cluster to decide
}

// InterestOf computes what a placement reads.
func InterestOf(p *clusterv1beta1.Placement) Interest {
	i := Interest{labels: map[string]bool{}, claims: map[string]bool{}, resources: map[clusterv1.ResourceName]bool{}, scores: map[string]bool{}}
	i.sets = len(p.Spec.Predicates) == 0
	for n := range p.Spec.Predicates {
		s := &p.Spec.Predicates[n].RequiredClusterSelector
		i.selector(&s.LabelSelector, s.ClaimSelector.MatchExpressions)
		i.all = i.all || len(s.CelSelector.CelExpressions) > 0
		i.sets = i.sets || equality.Semantic.DeepEqual(*s, clusterv1beta1.ClusterSelector{})
	}
	for n := range p.Spec.DecisionStrategy.GroupStrategy.DecisionGroups {
		s := &p.Spec.DecisionStrategy.GroupStrategy.DecisionGroups[n].ClusterSelector
		i.selector(&s.LabelSelector, s.ClaimSelector.MatchExpressions)
	}
	for _, c := range p.Spec.SpreadPolicy.SpreadConstraints {
		if c.TopologyKeyType == clusterv1beta1.TopologyKeyTypeClaim {
			i.claims[c.TopologyKey] = true
		} else {
			i.labels[c.TopologyKey] = true
		}
	}
	for _, c := range p.Spec.PrioritizerPolicy.Configurations {
		i.prioritizer(c)
	}
	if !i.all {
		if selectors, err := compilePredicates(p.Spec.Predicates); err == nil {
			i.predicates = selectors
		}
	}
	return i
}

// excludes is true when the predicates exclude a cluster.
func (i Interest) excludes(cluster *clusterv1.ManagedCluster) bool {
	if len(i.predicates) == 0 {
		return false
	}
	var claims map[string]string
	if len(i.claims) > 0 {
		claims = claimMap(cluster)
	}
	return !slices.ContainsFunc(i.predicates, func(s clusterSelector) bool {
		return s.labels.matches(cluster.Labels) && s.claims.matches(claims)
	})
}

func (i *Interest) selector(labels *metav1.LabelSelector, claims []metav1.LabelSelectorRequirement) {
	for key := range labels.MatchLabels {
		i.labels[key] = true
	}
	for _, e := range labels.MatchExpressions {
		i.labels[e.Key] = true
	}
	for _, e := range claims {
		i.claims[e.Key] = true
	}
}

func (i *Interest) prioritizer(c clusterv1beta1.PrioritizerConfig) {
	switch score := c.ScoreCoordinate; {
	case score == nil || c.Weight == 0:
	case score.AddOn != nil:
		i.scores[score.AddOn.ResourceName] = true
	case score.BuiltIn == clusterv1beta1.PrioritizerResourceAllocatableCPU:
		i.resources[clusterv1.ResourceCPU] = true
	case score.BuiltIn == clusterv1beta1.PrioritizerResourceAllocatableMemory:
		i.resources[clusterv1.ResourceMemory] = true
	}
}

// InCluster says whether the difference between two states of a cluster can change the placement's result. Membership in
// sets is not compared: the caller maps clusters to placements by the sets of both states.
func (i Interest) InCluster(before, after *clusterv1.ManagedCluster) bool {
	switch {
	case before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero():
		return true
	case i.excludes(before) && i.excludes(after):
		return false // excluded before and after
	case !equality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints):
		return true
	case i.all && !sameButRevision(before, after):
		return true
	}
	for key := range i.labels {
		if !sameEntry(before.Labels, after.Labels, key) {
			return true
		}
	}
	if len(i.claims) > 0 {
		had, has := claimMap(before), claimMap(after)
		for key := range i.claims {
			if !sameEntry(had, has, key) {
				return true
			}
		}
	}
	for name := range i.resources {
		if !sameAmount(before.Status.Allocatable, after.Status.Allocatable, name) || !sameAmount(before.Status.Capacity, after.Status.Capacity, name) {
			return true
		}
	}
	return false
}

// InSet says whether the decision about a cluster changes when another eligible set holds it: the reason of a chosen cluster
// names the set where no predicate gives a better reason. Of several sets, the first by name counts.
func (i Interest) InSet(before, after string) bool { return i.sets && before != after }

// InScore says whether the difference between two states of an AddOnPlacementScore can change the placement's result. A
// score that did not exist before, or does not any more, is the empty one.
func (i Interest) InScore(name string, before, after *clusterv1alpha1.AddOnPlacementScore) bool {
	if !i.all && !i.scores[name] {
		return false
	}
	return !equality.Semantic.DeepEqual(before.Status.Scores, after.Status.Scores) || !before.Status.ValidUntil.Equal(after.Status.ValidUntil)
}

// sameButRevision compares everything except the fields that every write changes.
func sameButRevision(a, b *clusterv1.ManagedCluster) bool {
	return maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations) && slices.Equal(a.Finalizers, b.Finalizers) &&
		equality.Semantic.DeepEqual(a.Spec, b.Spec) && equality.Semantic.DeepEqual(a.Status, b.Status)
}

func sameEntry(a, b map[string]string, key string) bool {
	x, inA := a[key]
	y, inB := b[key]
	return inA == inB && x == y
}

func sameAmount(a, b clusterv1.ResourceList, name clusterv1.ResourceName) bool {
	x, inA := a[name]
	y, inB := b[name]
	return inA == inB && x.Cmp(y) == 0
}
