package hub

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// TestMatters: what changes a plan counts, and what clusters and the hub report all the time does not.
func TestMatters(t *testing.T) {
	stripped := func(change func(*workv1.ManifestWork)) client.Object {
		w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "edge-1", Name: "shop-0", Generation: 1}}
		change(w)
		if _, err := StripWork(w); err != nil {
			t.Fatal(err)
		}
		return w
	}
	applied := func(w *workv1.ManifestWork) {
		w.Status.Conditions = []metav1.Condition{{Type: workv1.WorkApplied, Status: metav1.ConditionTrue, ObservedGeneration: 1}}
	}
	app := func(change func(*musterv1alpha1.Application)) client.Object {
		a := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shop", Generation: 1}}
		change(a)
		return a
	}
	nothing := stripped(func(*workv1.ManifestWork) {})
	for name, row := range map[string]struct {
		before, after client.Object
		want          bool
	}{
		"work reported":    {nothing, stripped(applied), false},
		"work rewritten":   {nothing, stripped(func(w *workv1.ManifestWork) { w.Generation = 2 }), true},
		"work marked":      {nothing, stripped(func(w *workv1.ManifestWork) { w.Labels = map[string]string{musterv1alpha1.OwnerLabel: "x"} }), true},
		"work dying":       {nothing, stripped(func(w *workv1.ManifestWork) { now := metav1.Now(); w.DeletionTimestamp = &now }), true},
		"status of an app": {app(func(*musterv1alpha1.Application) {}), app(func(a *musterv1alpha1.Application) { a.Status.Revision = "x" }), false},
		"spec of an app":   {app(func(*musterv1alpha1.Application) {}), app(func(a *musterv1alpha1.Application) { a.Generation = 2 }), true},
		"approved app": {app(func(*musterv1alpha1.Application) {}), app(func(a *musterv1alpha1.Application) {
			a.Annotations = map[string]string{musterv1alpha1.ApprovedPlanAnnotation: "x"}
		}), true},
		"cluster":    {&clusterv1.ManagedCluster{}, &clusterv1.ManagedCluster{}, true},
		"repository": {&musterv1alpha1.FleetRepository{}, &musterv1alpha1.FleetRepository{}, false},
	} {
		row.before.SetResourceVersion("1")
		row.after.SetResourceVersion("2")
		if got := matters(row.before, row.after); got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
		row.after.SetResourceVersion("1")
		if matters(row.before, row.after) {
			t.Errorf("%s: an update that is told again counts", name)
		}
	}
}
