package cluster_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/klusterlet/registration"
)

// TestManagedNamespaces: a set's namespace is made on its clusters, and released, not deleted, when the set stops asking.
func TestManagedNamespaces(t *testing.T) {
	h := started(t)
	joiner := h.joiner("joiner-n")
	set := &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: "spaces"}}
	set.Spec.ManagedNamespaces = []clusterv1.ManagedNamespaceConfig{{Name: "set-space"}}
	c := named("spacious", joiner)
	c.Labels = map[string]string{clusterv1beta2.ClusterSetLabel: "spaces"}
	h.create(set, c)
	h.agent("spacious", "first", joiner).hub()
	eventually(t, func() string {
		spaces := h.cluster("spacious").Status.ManagedNamespaces
		return unless(len(spaces) == 1 && meta.IsStatusConditionTrue(spaces[0].Conditions, clusterv1.ManagedNamespaceConditionAvailable),
			"the namespace is not reported as there")
	})
	label := clusterv1.ManagedNamespaceLabelPrefix + registration.HubHash(h.URL())[:63]
	expect := func(value string) {
		t.Helper()
		eventually(t, func() string {
			space := &corev1.Namespace{}
			mustGet(t, h, client.ObjectKey{Name: "set-space"}, space)
			return unless(space.Labels[label] == value, "the label is not "+value)
		})
	}
	expect("true")
	eventually(t, func() string { // again when the controller wrote the status in between
		mustGet(t, h, client.ObjectKeyFromObject(set), set)
		set.Spec.ManagedNamespaces = nil
		if err := h.Update(t.Context(), set); err != nil {
			return err.Error()
		}
		return ""
	})
	expect("false")
}
