package hub

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestMatters: what changes a plan counts, and what clusters and the hub report all the time does not.
func TestMatters(t *testing.T) {
	app := func(change func(*musterv1alpha1.Application)) client.Object {
		a := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shop", Generation: 1}}
		change(a)
		return a
	}
	for name, row := range map[string]struct {
		before, after client.Object
		want          bool
	}{
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
