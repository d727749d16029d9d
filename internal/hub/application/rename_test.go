package application

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
)

// TestTakeOver: an application has the works and the removals of its former name, and a work of that name wakes it.
func TestTakeOver(t *testing.T) {
	lost := []musterv1alpha1.Removal{{At: metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), Clusters: []string{"gone"}}}
	shop := &musterv1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shop"}, Status: musterv1alpha1.ApplicationStatus{RecentRemovals: lost},
	}
	store := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "store"}}
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: "one", Name: "shop-0", Annotations: map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/shop"},
	}}
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(shop, store, w).Build()
	r := &Applications{Client: api, Works: indexOf(t, w), Reader: api}
	out := &report{app: store, renames: fleet.Renames{"retail/shop": "retail/store"}, planned: &plan.Application{Application: store}}
	world := &fleet.World{Applications: []musterv1alpha1.Application{*store}}
	if err := r.takeOver(t.Context(), store, world, out); err != nil {
		t.Fatal(err)
	}
	if works := world.Works; len(works) != 1 || works[0].Name != "shop-0" || works[0].Owner != fleet.OwnerOf(store) {
		t.Errorf("works %+v", works)
	}
	if diff := cmp.Diff(lost, out.renames.RecentRemovals(store, out.former)); diff != "" {
		t.Errorf("removals (-want +have):\n%s", diff)
	}
	r.states.keep(r.states.get(client.ObjectKeyFromObject(store)), out)
	if woken := r.ofWork(hub.WorkEvent{After: &r.Works.Of(fleet.OwnerOf(shop))[0]}); len(woken) != 2 || woken[1].Name != "store" {
		t.Errorf("a work of the old name wakes %v", woken)
	}
}
