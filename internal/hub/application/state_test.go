package application

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
)

func named(name string) *musterv1alpha1.Application {
	return &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: name}}
}

func requestFor(name string) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: "retail", Name: name}}}
}

// reportOf is the report of an application that is planned with faults.
func reportOf(t *testing.T, name string, faults ...fleet.Fault) *report {
	t.Helper()
	app := named(name)
	out := &report{app: app, planned: &plan.Application{Application: app, Faults: faults}}
	r := &Applications{Works: hub.NewWorks()}
	if err := r.begin(out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWaitingApplicationsAreWoken: a work that changes wakes the applications that wait for an object on its cluster, until they
// do not wait any more.
func TestWaitingApplicationsAreWoken(t *testing.T) {
	claimed := func(cluster string) fleet.Fault { return fleet.Fault{Reason: fleet.ObjectClaimed, Cluster: cluster} }
	var s states
	keep := func(name string, faults ...fleet.Fault) {
		s.keep(s.get(types.NamespacedName{Namespace: "retail", Name: name}), reportOf(t, name, faults...))
	}
	woken := func(cluster string) []string {
		var names []string
		for _, r := range s.waitingOnObject(cluster) {
			names = append(names, r.String())
		}
		return names
	}
	keep("b", claimed("one"), claimed("two"))
	keep("a", claimed("one"), fleet.Fault{Reason: fleet.RenderFailed, Cluster: "two"})
	for _, step := range []struct {
		why      string
		change   func()
		one, two []string
	}{
		{"both wait on one, and a fault of another kind waits for nothing", func() {}, []string{"retail/a", "retail/b"}, []string{"retail/b"}},
		{"b has its object on one", func() { keep("b", claimed("two")) }, []string{"retail/a"}, []string{"retail/b"}},
		{"nobody waits any more on two", func() { keep("b") }, []string{"retail/a"}, nil},
	} {
		step.change()
		if diff := cmp.Diff(step.one, woken("one")); diff != "" {
			t.Errorf("%s: on one (-want +have):\n%s", step.why, diff)
		}
		if diff := cmp.Diff(step.two, woken("two")); diff != "" {
			t.Errorf("%s: on two (-want +have):\n%s", step.why, diff)
		}
	}
}

// TestEventsAreNotLost: what happens during a reconciliation is for the next one.
func TestEventsAreNotLost(t *testing.T) {
	var s states
	key, web := requestFor("web")[0].NamespacedName, requestFor("web")
	s.noteReport(web, "unknown", true)
	st, reported := s.begin(key)
	if len(reported) > 0 {
		t.Errorf("before the first plan nothing has to be noted: %v", reported)
	}
	s.keep(st, reportOf(t, "web"))
	s.noteReport(web, "one", true)
	s.noteReport(web, "one", false)
	s.noteReport(web, "two", false)
	_, reported = s.begin(key)
	if diff := cmp.Diff(map[string]bool{"one": true, "two": false}, reported); diff != "" {
		t.Errorf("a status does not hide that a spec has changed (-want +have):\n%s", diff)
	}
	s.needPlan(web)
	s.keep(st, reportOf(t, "web"))
	if st, _ := s.begin(key); st.report != nil {
		t.Error("an input has changed while the application was planned, and it is not planned again")
	}
}

// TestClustersOfAnApplication: a cluster wakes the applications whose plans it is part of.
func TestClustersOfAnApplication(t *testing.T) {
	var s states
	key := requestFor("web")[0].NamespacedName
	out := reportOf(t, "web", fleet.Fault{Reason: fleet.RenderFailed, Cluster: "faulty"})
	out.planned.Clusters = []plan.Cluster{{Name: "chosen"}}
	for name, want := range map[string]bool{"chosen": true, "faulty": true, "other": true} {
		if got := s.plansFor(key, name); got != want {
			t.Errorf("%s before the first plan: %t", name, got)
		}
	}
	s.keep(s.get(key), out)
	for name, want := range map[string]bool{"chosen": true, "faulty": true, "other": false} {
		if got := s.plansFor(key, name); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
	s.keep(s.get(key), reportOf(t, "web", fleet.Fault{Reason: fleet.PlacementMissing}))
	if !s.plansFor(key, "other") {
		t.Error("any cluster may end a fault of the complete application")
	}
}

// TestSameInputs: an approval changes what may be done, and not the plan.
func TestSameInputs(t *testing.T) {
	before := named("web")
	before.Annotations = map[string]string{musterv1alpha1.RepositoryAnnotation: "muster-system/fleet"}
	for name, row := range map[string]struct {
		change func(*musterv1alpha1.Application)
		same   bool
	}{
		"status":     {func(a *musterv1alpha1.Application) { a.Status.Plan, a.ResourceVersion = "x", "2" }, true},
		"approval":   {func(a *musterv1alpha1.Application) { a.Annotations[musterv1alpha1.ApprovedPlanAnnotation] = "x" }, true},
		"annotation": {func(a *musterv1alpha1.Application) { a.Annotations[musterv1alpha1.MovedFromAnnotation] = "x" }, false},
		"spec":       {func(a *musterv1alpha1.Application) { a.Generation = 7 }, false},
		"another":    {func(a *musterv1alpha1.Application) { a.UID = "x" }, false},
	} {
		now := before.DeepCopy()
		row.change(now)
		if got := sameInputs(before, now); got != row.same {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestForgetsDeletedApplications: of an application whose last work is gone nothing is left.
func TestForgetsDeletedApplications(t *testing.T) {
	app := named("web")
	app.Finalizers = []string{musterv1alpha1.ApplicationFinalizer}
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(app).Build()
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(app), app); err != nil {
		t.Fatal(err)
	}
	r := &Applications{Client: api, Works: hub.NewWorks(), Reader: api, Now: time.Now}
	r.states.keep(r.states.get(client.ObjectKeyFromObject(app)), reportOf(t, "web"))
	if _, err := r.finalize(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	if len(r.states.of) > 0 {
		t.Errorf("left: %v", r.states.of)
	}
}
