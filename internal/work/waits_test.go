package work

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestWaits: what an agent waits for is known on the hub before it has tried the newest generation, and only while it waits.
func TestWaits(t *testing.T) {
	obj := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	obj.Status.Conditions = []metav1.Condition{
		{Type: musterv1alpha1.ConditionHeld, Status: "True", Reason: "HeldOnCluster", Message: "until noon", ObservedGeneration: 3},
		{Type: musterv1alpha1.ConditionWaves, Status: "False", Reason: "WaitingForWave", Message: "a Job"},
		{Type: musterv1alpha1.ConditionPruned, Status: "True"},
	}
	want := []fleet.Wait{{Reason: "HeldOnCluster", Message: "until noon"}, {Reason: "WaitingForWave", Message: "a Job"}}
	if diff := cmp.Diff(want, Live(obj).Status.Waits); diff != "" {
		t.Error(diff)
	}
}
