package fleetrepository

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestSettleBeginsWithAChange: placements follow what has changed on the hub; a write that changes nothing begins no new wait.
func TestSettleBeginsWithAChange(t *testing.T) {
	placement := func(generation int64) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "cluster.open-cluster-management.io/v1beta1", "kind": "Placement"}}
		o.SetNamespace("retail")
		o.SetName("edge")
		o.SetGeneration(generation)
		o.SetAnnotations(map[string]string{musterv1alpha1.RepositoryAnnotation: "retail/shops"})
		return o
	}
	d := &fleet.Definition{Source: placement(0), Key: fleet.ObjectKey{
		Group: "cluster.open-cluster-management.io", Version: "v1beta1", Kind: "Placement", Resource: "placements", Namespace: "retail", Name: "edge",
	}}
	for name, row := range map[string]struct {
		live    []runtime.Object
		after   int64 // generation
		changed bool
	}{
		"as it was": {[]runtime.Object{placement(3)}, 3, false},
		"changed":   {[]runtime.Object{placement(3)}, 4, true},
		"new":       {nil, 1, true},
	} {
		began := now.Add(-time.Minute)
		c := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme(), row.live...)
		c.PrependReactor("patch", "placements", func(clienttesting.Action) (bool, runtime.Object, error) { return true, placement(row.after), nil })
		w := &writes{client: c, done: map[fleet.ObjectKey]written{}, changed: began}
		r := &Repositories{Now: func() time.Time { return now }}
		repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shops"}}
		if err := r.applyOne(t.Context(), repo, w, d); err != nil {
			t.Fatal(err)
		}
		if w.done[d.Key].generation != row.after || w.changed.Equal(began) == row.changed {
			t.Errorf("%s: written %+v, changed at %s", name, w.done[d.Key], w.changed)
		}
	}
}
