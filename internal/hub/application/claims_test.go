package application

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
)

// TestBlockedAreWokenWhereTheyWait: a work that changes wakes those that wait for an object on its cluster, until they do not
// wait any more.
func TestBlockedAreWokenWhereTheyWait(t *testing.T) {
	planned := func(name string, faults ...fleet.Fault) *plan.Application {
		app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: name}}
		return &plan.Application{Application: app, Faults: faults}
	}
	claimed := func(cluster string) fleet.Fault { return fleet.Fault{Reason: fleet.ObjectClaimed, Cluster: cluster} }
	woken := func(b *blocked, cluster string) []string {
		var names []string
		for _, r := range b.requests(cluster) {
			names = append(names, r.String())
		}
		return names
	}
	var b blocked
	b.note(planned("b", claimed("one"), claimed("two")))
	b.note(planned("a", claimed("one"), fleet.Fault{Reason: fleet.RenderFailed, Cluster: "two"}))
	for _, step := range []struct {
		why      string
		note     *plan.Application
		one, two []string
	}{
		{"both wait on one, and a fault of another kind waits for nothing", nil, []string{"retail/a", "retail/b"}, []string{"retail/b"}},
		{"b has got its object on one", planned("b", claimed("two")), []string{"retail/a"}, []string{"retail/b"}},
		{"nobody waits any more on two", planned("b"), []string{"retail/a"}, nil},
	} {
		if step.note != nil {
			b.note(step.note)
		}
		if diff := cmp.Diff(step.one, woken(&b, "one")); diff != "" {
			t.Errorf("%s: on one (-want +have):\n%s", step.why, diff)
		}
		if diff := cmp.Diff(step.two, woken(&b, "two")); diff != "" {
			t.Errorf("%s: on two (-want +have):\n%s", step.why, diff)
		}
	}
}

// TestTheGoneAreForgotten: of an application whose last work is gone nothing is remembered.
func TestTheGoneAreForgotten(t *testing.T) {
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web", Finalizers: []string{musterv1alpha1.ApplicationFinalizer}}}
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(app).Build()
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(app), app); err != nil {
		t.Fatal(err)
	}
	r := &Applications{Client: api, Works: hub.NewWorks(), Reader: api, published: map[types.NamespacedName]published{client.ObjectKeyFromObject(app): {}}}
	planned := &plan.Application{Application: app, Faults: []fleet.Fault{{Reason: fleet.ObjectClaimed, Cluster: "one"}}}
	r.blocked.note(planned)
	r.concerns.note(planned)
	key := client.ObjectKeyFromObject(app)
	r.followed.settle(app, r.followed.begin(key), &report{planned: planned})
	r.renamed.note(key, []string{"retail/site"})
	if _, err := r.finalize(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	if len(r.blocked.on)+len(r.concerns.of)+len(r.published)+len(r.followed.of)+len(r.renamed.by) > 0 {
		t.Errorf("remembered: %v, %v, %v, %v, %v", r.blocked.on, r.concerns.of, r.published, r.followed.of, r.renamed.by)
	}
}
