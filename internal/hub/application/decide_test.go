package application

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
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

// TestBackIsNotDeselected: between the moment in which a cluster answers again and the one in which its placement has it again,
// nothing is against it and no decision has it. Its works stay.
func TestBackIsNotDeselected(t *testing.T) {
	taint := clusterv1.Taint{Key: clusterv1.ManagedClusterTaintUnreachable, Effect: clusterv1.TaintEffectNoSelect}
	cases := map[string]struct {
		why         string
		taints      []clusterv1.Taint
		label       string
		annotations map[string]string
		chosen      []string // of the one that is wanted
		unreachable bool
	}{
		"Full":     {why: "the placement has another one, by scores that the application does not see", label: "edge", chosen: []string{"two"}},
		"Away":     {why: "it does not answer", taints: []clusterv1.Taint{taint}, label: "edge", unreachable: true},
		"Back":     {why: "it answers, and the decisions are those of before", label: "edge", unreachable: true},
		"Unwanted": {why: "it answers, and the placement does not select it any more", label: "core"},
		"Theirs": {
			why: "somebody else decides, and has dropped it for reasons of their own", label: "edge",
			annotations: map[string]string{clusterv1beta1.PlacementDisableAnnotation: "true"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cluster := clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one", Labels: map[string]string{
				clusterv1beta2.ClusterSetLabel: "edge", "tier": c.label,
			}}}
			cluster.Spec.HubAcceptsClient, cluster.Spec.Taints = true, c.taints
			set := clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: "edge"}}
			set.Spec.ClusterSelector.SelectorType = clusterv1beta2.ExclusiveClusterSetLabel
			binding := clusterv1beta2.ManagedClusterSetBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "edge"}}
			binding.Spec.ClusterSet = "edge"
			p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shops", Annotations: c.annotations}}
			p.Spec.Predicates = []clusterv1beta1.ClusterPredicate{{RequiredClusterSelector: clusterv1beta1.ClusterSelector{
				LabelSelector: metav1.LabelSelector{MatchLabels: map[string]string{"tier": "edge"}},
			}}}
			world := &fleet.World{
				Clusters: []clusterv1.ManagedCluster{cluster}, ClusterSets: []clusterv1beta2.ManagedClusterSet{set},
				Bindings: []clusterv1beta2.ManagedClusterSetBinding{binding}, Works: []fleet.LiveWork{{Cluster: "one"}},
			}
			if len(c.chosen) > 0 {
				p.Spec.NumberOfClusters = new(int32(1))
			}
			got := decisionsOf(p, world, c.chosen)[len(c.chosen):]
			if len(c.chosen) > 0 && !got[0].Outranked() {
				t.Errorf("%+v, want outranked", got)
			}
			if len(got) != 1 || got[0].Chosen || got[0].Unreachable != c.unreachable {
				t.Errorf("%+v, want not chosen and unreachable %t: %s", got, c.unreachable, c.why)
			}
		})
	}
}
