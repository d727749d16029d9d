package registration

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
)

// SetSelector selects the clusters of a set by their labels.
func SetSelector(set *clusterv1beta2.ManagedClusterSet) (labels.Selector, error) {
	switch selector := set.Spec.ClusterSelector; selector.SelectorType {
	case clusterv1beta2.ExclusiveClusterSetLabel, "":
		return labels.SelectorFromSet(labels.Set{clusterv1beta2.ClusterSetLabel: set.Name}), nil
	case clusterv1beta2.LabelSelector:
		if selector.LabelSelector == nil {
			return labels.Nothing(), nil
		}
		s, err := metav1.LabelSelectorAsSelector(selector.LabelSelector)
		if err != nil {
			return nil, fmt.Errorf("cluster set %s: %w", set.Name, err)
		}
		return s, nil
	default:
		return nil, fmt.Errorf("cluster set %s: unknown selector type %q", set.Name, selector.SelectorType)
	}
}

// SetCondition says whether a set has clusters.
func SetCondition(set *clusterv1beta2.ManagedClusterSet, members int) metav1.Condition {
	condition := metav1.Condition{
		Type: clusterv1beta2.ManagedClusterSetConditionEmpty, Status: metav1.ConditionFalse,
		Reason: clusterv1beta2.ReasonClustersSelected, Message: fmt.Sprintf("%d ManagedClusters selected", members),
		ObservedGeneration: set.Generation,
	}
	if members == 0 {
		condition.Status, condition.Reason = metav1.ConditionTrue, clusterv1beta2.ReasonNoClusterMatched
		condition.Message = "No ManagedCluster selected"
	}
	return condition
}

// BoundCondition says whether the set of a binding exists.
func BoundCondition(binding *clusterv1beta2.ManagedClusterSetBinding, exists bool) metav1.Condition {
	if exists {
		return metav1.Condition{
			Type: clusterv1beta2.ClusterSetBindingBoundType, Status: metav1.ConditionTrue,
			Reason: clusterv1beta2.ReasonClusterSetBound, ObservedGeneration: binding.Generation,
		}
	}
	return metav1.Condition{
		Type: clusterv1beta2.ClusterSetBindingBoundType, Status: metav1.ConditionFalse,
		Reason: clusterv1beta2.ReasonClusterSetNotFound, ObservedGeneration: binding.Generation,
		Message: fmt.Sprintf("there is no ManagedClusterSet %s", binding.Spec.ClusterSet),
	}
}

// WantSet is one of the two sets that every hub has, as it should be; false for any other name.
func WantSet(name string) (clusterv1beta2.ManagedClusterSetSpec, bool) {
	switch name {
	case clusterv1beta2.DefaultClusterSet:
		return clusterv1beta2.ManagedClusterSetSpec{ClusterSelector: clusterv1beta2.ManagedClusterSelector{
			SelectorType: clusterv1beta2.ExclusiveClusterSetLabel,
		}}, true
	case clusterv1beta2.GlobalClusterSet:
		return clusterv1beta2.ManagedClusterSetSpec{ClusterSelector: clusterv1beta2.ManagedClusterSelector{
			SelectorType: clusterv1beta2.LabelSelector, LabelSelector: &metav1.LabelSelector{},
		}}, true
	}
	return clusterv1beta2.ManagedClusterSetSpec{}, false
}

// ManagedNamespaces are the namespaces that the sets ask one cluster for, sorted by set, then name. What the cluster
// reported about each stays.
func ManagedNamespaces(cluster *clusterv1.ManagedCluster, sets []clusterv1beta2.ManagedClusterSet) []clusterv1.ClusterSetManagedNamespaceConfig {
	type key struct{ set, name string }
	reported := map[key][]metav1.Condition{}
	for _, n := range cluster.Status.ManagedNamespaces {
		reported[key{n.ClusterSet, n.Name}] = n.Conditions
	}
	var wanted []clusterv1.ClusterSetManagedNamespaceConfig
	for i := range sets {
		selector, err := SetSelector(&sets[i])
		if err != nil || !sets[i].DeletionTimestamp.IsZero() || !selector.Matches(labels.Set(cluster.Labels)) {
			continue // a set with a broken selector has no members
		}
		for _, n := range sets[i].Spec.ManagedNamespaces {
			wanted = append(wanted, clusterv1.ClusterSetManagedNamespaceConfig{
				ManagedNamespaceConfig: n, ClusterSet: sets[i].Name, Conditions: reported[key{sets[i].Name, n.Name}],
			})
		}
	}
	slices.SortFunc(wanted, func(a, b clusterv1.ClusterSetManagedNamespaceConfig) int {
		return cmp.Or(cmp.Compare(a.ClusterSet, b.ClusterSet), cmp.Compare(a.Name, b.Name))
	})
	return wanted
}
