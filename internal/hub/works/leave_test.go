package works

import (
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// TestLeave: what a work is to leave on its cluster is written before it is deleted, beside what it leaves already.
func TestLeave(t *testing.T) {
	claim := fleet.ObjectKey{Version: "v1", Kind: "PersistentVolumeClaim", Resource: "persistentvolumeclaims", Namespace: "shop", Name: "data"}
	definition := workv1.OrphaningRule{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions", Name: "lamps.example.com"}
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "web", UID: "u", Generation: 1}}
	w.Spec.DeleteOption = &workv1.DeleteOption{
		PropagationPolicy: workv1.DeletePropagationPolicyTypeSelectivelyOrphan,
		SelectivelyOrphan: &workv1.SelectivelyOrphan{OrphaningRules: []workv1.OrphaningRule{definition}},
	}
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(w).Build()
	writer := Writer{Client: api, Reader: api}
	lw := work.Live(w)
	if err := writer.write(t.Context(), work.Change{Action: work.Orphan, Cluster: "one", Name: "web", Live: &lw, Leave: []fleet.ObjectKey{claim}}); err != nil {
		t.Fatal(err)
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(w), w); err != nil {
		t.Fatal(err)
	}
	rules := w.Spec.DeleteOption.SelectivelyOrphan
	want := workv1.OrphaningRule{Resource: "persistentvolumeclaims", Namespace: "shop", Name: "data"}
	if rules == nil || len(rules.OrphaningRules) != 2 || rules.OrphaningRules[0] != want || rules.OrphaningRules[1] != definition {
		t.Errorf("it leaves %+v", w.Spec.DeleteOption)
	}
}

// TestReplaceTakesOff: an annotation of ours that a work is to carry no more goes, so that it does not differ from the plan for ever; what others
// have put on it stays.
func TestReplaceTakesOff(t *testing.T) {
	live := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "web", UID: "u", Generation: 1,
		Labels: map[string]string{musterv1alpha1.OwnerLabel: "o"},
		Annotations: map[string]string{
			musterv1alpha1.DriftAnnotation: "Correct", musterv1alpha1.OnImmutableAnnotation: "Recreate", musterv1alpha1.CanaryAnnotation: "steps", "example.com/other": "x",
		}}}
	wanted := live.DeepCopy()
	wanted.Annotations = map[string]string{musterv1alpha1.DriftAnnotation: "Report"}
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(live).Build()
	writer := Writer{Client: api, Reader: api}
	lw := work.Live(live)
	lw.OwnerDigest = "o"
	if err := writer.write(t.Context(), work.Change{Action: work.Update, Cluster: "one", Name: "web", Live: &lw, Wanted: wanted}); err != nil {
		t.Fatal(err)
	}
	var is workv1.ManifestWork
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(live), &is); err != nil {
		t.Fatal(err)
	}
	if len(is.Annotations) != 2 || is.Annotations["example.com/other"] != "x" || work.MetaDigest(&is) != work.MetaDigest(wanted) {
		t.Errorf("it has %v", is.Annotations)
	}
}
