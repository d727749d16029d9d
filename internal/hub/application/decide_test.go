package application

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/fleet"
)

// TestInBoundSets: pages of decisions that somebody else wrote reach no cluster outside the sets that the namespace is bound to.
func TestInBoundSets(t *testing.T) {
	world := &fleet.World{}
	for name, set := range map[string]string{"edge": "retail", "core": "platform", "lone": ""} {
		c := clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{clusterv1beta2.ClusterSetLabel: set}}}
		c.Spec.HubAcceptsClient = true
		world.Clusters = append(world.Clusters, c)
	}
	for namespace, set := range map[string]string{"shop": "retail", "infra": "platform", "lost": "nosuch"} {
		world.ClusterSets = append(world.ClusterSets, clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: set}})
		world.Bindings = append(world.Bindings, clusterv1beta2.ManagedClusterSetBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: set}, Spec: clusterv1beta2.ManagedClusterSetBindingSpec{ClusterSet: set},
		})
	}
	chosen := []string{"core", "edge", "lone"}
	for namespace, want := range map[string][]string{"shop": {"edge"}, "infra": {"core"}, "lost": {}, "unbound": {}} {
		if diff := cmp.Diff(want, inBoundSets(world, namespace, chosen)); diff != "" {
			t.Errorf("namespace %s reaches other clusters (-want +got):\n%s", namespace, diff)
		}
	}
	if diff := cmp.Diff([]string{"core", "edge", "lone"}, chosen); diff != "" {
		t.Errorf("the decisions themselves were changed: %s", diff)
	}
}
