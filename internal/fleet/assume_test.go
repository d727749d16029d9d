package fleet_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestAssumed: what a cluster reports goes over what its file says, and that over what is assumed of all.
func TestAssumed(t *testing.T) {
	lamp := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Lamp"}
	c := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "c", Annotations: map[string]string{
		musterv1alpha1.AssumeAnnotation: `{"kubernetesVersion": "1.33.0", "claims": {"b": "2", "a": "1"}, "apis": [{"group": "example.com", "version": "v1", "kind": "Lamp", "resource": "lamps", "namespaced": true}]}`,
	}}}
	w := &fleet.World{Assumed: &musterv1alpha1.APISet{KubernetesVersion: "v1.31.0"}}
	apis := w.APIsOf(c)
	if _, ok := apis.Lookup(lamp); !ok || apis.KubernetesVersion != "v1.33.0" {
		t.Errorf("assumed %s, %v", apis.KubernetesVersion, ok)
	}
	if _, ok := apis.Lookup(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}); !ok {
		t.Error("Kubernetes' own kinds are missing")
	}
	c.Status.Version.Kubernetes = "v1.35.0"
	if got := w.APIsOf(c).KubernetesVersion; got != "v1.35.0" {
		t.Errorf("the cluster reports v1.35.0, and %s is assumed", got)
	}
	fleet.AssumeClaims(c)
	if got := fleet.ClaimsOf(c); len(got) != 2 || got["a"] != "1" {
		t.Errorf("claims %v", got)
	}
	c.Status.ClusterClaims = c.Status.ClusterClaims[:1]
	if fleet.AssumeClaims(c); len(c.Status.ClusterClaims) != 1 {
		t.Error("a cluster that reports claims gets others")
	}
	delete(c.Annotations, musterv1alpha1.AssumeAnnotation)
	c.Status = clusterv1.ManagedClusterStatus{}
	if got := w.APIsOf(c).KubernetesVersion; got != "v1.31.0" {
		t.Errorf("%s is assumed", got)
	}
}
