package registration

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestAPIsAreToldAgain: a set that the hub drops in the moment in which it is claimed comes back; but the hub is not asked each
// time.
func TestAPIsAreToldAgain(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := musterv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	hub := fake.NewClientBuilder().WithScheme(scheme).Build()
	s := &session{hub: hub}
	set := &musterv1alpha1.APISet{ObjectMeta: metav1.ObjectMeta{Name: "digest"}, KubernetesVersion: "v1.36.3"}
	there := func() bool {
		return hub.Get(t.Context(), client.ObjectKeyFromObject(set), &musterv1alpha1.APISet{}) == nil
	}
	tell := func() {
		t.Helper()
		if ok, err := s.publishAPIs(t.Context(), set); err != nil || !ok {
			t.Fatalf("the set is not told: %v %v", ok, err)
		}
	}
	tell()
	if !there() {
		t.Fatal("the hub has no set")
	}
	if err := hub.Delete(t.Context(), set.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	tell()
	if there() {
		t.Error("the hub is asked each time")
	}
	s.apiSetTold = s.apiSetTold.Add(-retellAPIs)
	tell()
	if !there() {
		t.Error("the set does not come back")
	}
	s.apiSetTold = s.apiSetTold.Add(-retellAPIs)
	tell() // one that is there is no trouble
}
