package hub_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/hub"
)

// TestStripWorkKeepsTheFacts: the facts of a work are the same before it is stripped, after, and after a second time; an
// informer strips the objects of its first list twice.
func TestStripWorkKeepsTheFacts(t *testing.T) {
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: "edge-1", Name: "shop-0", UID: "u", Generation: 3,
		Labels: map[string]string{musterv1alpha1.OwnerLabel: "owner"},
		Annotations: map[string]string{
			musterv1alpha1.ApplicationAnnotation: "retail/shop",
			"muster.dev/observed":                `{"application":"retail/other"}`,
		},
	}}
	w.Spec.Workload.Manifests = []workv1.Manifest{{RawExtension: runtime.RawExtension{
		Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"shop"}}`),
	}}}
	want := hub.LiveWork(w)
	if want.Owner.String() != "retail/shop" || len(want.Objects) != 1 {
		t.Fatalf("facts %+v", want)
	}
	for _, time := range []string{"first", "second"} {
		if _, err := hub.StripWork(w); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, hub.LiveWork(w)); diff != "" {
			t.Errorf("stripped for the %s time (-before +after):\n%s", time, diff)
		}
		if len(w.Spec.Workload.Manifests) > 0 {
			t.Error("the manifests are still there")
		}
	}
}
