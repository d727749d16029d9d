package hub

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// workOf is a work of retail/shop that holds a ConfigMap.
func workOf(cluster, object string, change func(*workv1.ManifestWork)) *workv1.ManifestWork {
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: cluster, Name: "shop-0", UID: "u", Generation: 3,
		Labels:      map[string]string{musterv1alpha1.OwnerLabel: "owner"},
		Annotations: map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/shop"},
	}}
	w.Spec.Workload.Manifests = []workv1.Manifest{{RawExtension: runtime.RawExtension{
		Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + object + `"}}`),
	}}}
	if change != nil {
		change(w)
	}
	return w
}

func reportsApplied(w *workv1.ManifestWork) {
	w.Status.Conditions = []metav1.Condition{{Type: workv1.WorkApplied, Status: metav1.ConditionTrue, ObservedGeneration: 3}}
}

func TestWorksAreFound(t *testing.T) {
	works := NewWorks()
	for _, w := range []*workv1.ManifestWork{
		workOf("edge-1", "shop", reportsApplied), workOf("edge-2", "shop", nil),
		workOf("edge-1", "till", func(w *workv1.ManifestWork) {
			w.Name, w.Annotations[musterv1alpha1.ApplicationAnnotation] = "till-0", "retail/till"
		}),
		workOf("edge-1", "theirs", func(w *workv1.ManifestWork) { w.Name, w.Annotations = "theirs", nil }),
	} {
		want := LiveWork(w)
		if err := works.Set(w); err != nil {
			t.Fatal(err)
		}
		all := works.All()
		i := slices.IndexFunc(all, func(lw fleet.LiveWork) bool { return lw.Cluster == w.Namespace && lw.Name == w.Name })
		if diff := cmp.Diff(want, all[i]); diff != "" {
			t.Errorf("the index changed the facts (-want +have):\n%s", diff)
		}
	}
	shop := fleet.ObjectKey{Version: "v9", Kind: "ConfigMap", Name: "shop"}
	for name, row := range map[string]struct {
		found []fleet.LiveWork
		want  []string
	}{
		"all":                          {works.All(), []string{"edge-1/shop-0", "edge-1/theirs", "edge-1/till-0", "edge-2/shop-0"}},
		"of an application":            {works.Of(fleet.ApplicationOwner("retail", "shop")), []string{"edge-1/shop-0", "edge-2/shop-0"}},
		"of nothing":                   {works.Of(fleet.Owner{}), nil},
		"on a cluster":                 {works.On("edge-1", fleet.ApplicationOwner("retail", "till")), []string{"edge-1/till-0"}},
		"of another object":            {works.Holding("edge-2", fleet.ObjectKey{Kind: "ConfigMap", Name: "till"}), nil},
		"of an object at any version":  {works.Holding("edge-1", shop), []string{"edge-1/shop-0"}},
		"of the same on another place": {works.Holding("edge-2", shop), []string{"edge-2/shop-0"}},
	} {
		var have []string
		for _, lw := range row.found {
			have = append(have, lw.Cluster+"/"+lw.Name)
		}
		slices.Sort(have)
		if diff := cmp.Diff(row.want, have); diff != "" {
			t.Errorf("works %s (-want +have):\n%s", name, diff)
		}
	}
	if err := works.Delete(workOf("edge-1", "shop", nil)); err != nil {
		t.Fatal(err)
	}
	if left := works.Holding("edge-1", shop); len(left) > 0 {
		t.Errorf("a work that is gone is found: %+v", left)
	}
}

// TestWorksShareMemory: the works of one application hold one list of objects, not a copy each.
func TestWorksShareMemory(t *testing.T) {
	works := NewWorks()
	for _, cluster := range []string{"edge-1", "edge-2"} {
		if err := works.Set(workOf(cluster, "shop", nil)); err != nil {
			t.Fatal(err)
		}
	}
	if all := works.All(); &all[0].Objects[0] != &all[1].Objects[0] {
		t.Error("two works hold two lists of the same objects")
	}
}

func TestWorkEvents(t *testing.T) {
	event := func(before, after func(*workv1.ManifestWork)) WorkEvent {
		b, a := LiveWork(workOf("edge-1", "shop", before)), LiveWork(workOf("edge-1", "shop", after))
		return WorkEvent{Before: &b, After: &a}
	}
	one := LiveWork(workOf("edge-1", "shop", nil))
	for name, row := range map[string]struct {
		event                    WorkEvent
		planChanged, specChanged bool
	}{
		"came":     {WorkEvent{After: &one}, true, true},
		"went":     {WorkEvent{Before: &one}, true, true},
		"reported": {event(nil, reportsApplied), false, false},
		"taken up": {event(nil, func(w *workv1.ManifestWork) { // an agent adds its finalizer, and the API server notes the time
			now := metav1.Now()
			w.Finalizers, w.ManagedFields = []string{workv1.ManifestWorkFinalizer}, []metav1.ManagedFieldsEntry{{Manager: "agent", Time: &now}}
		}), false, false},
		"rewritten": {event(nil, func(w *workv1.ManifestWork) { w.Generation = 4 }), true, true},
		"marked":    {event(nil, func(w *workv1.ManifestWork) { w.Labels = nil }), true, false},
		"deleting":  {event(nil, func(w *workv1.ManifestWork) { now := metav1.Now(); w.DeletionTimestamp = &now }), true, false},
	} {
		if got := row.event.PlanChanged(); got != row.planChanged {
			t.Errorf("%s: the plan has changed is %v", name, got)
		}
		if got := row.event.SpecChanged(); got != row.specChanged {
			t.Errorf("%s: the spec has changed is %v", name, got)
		}
	}
}

// listing is a client of an API server that lists before it watches, as the fake one does.
type listing struct{ client.WithWatch }

func (listing) IsWatchListSemanticsUnSupported() bool { return true }

// TestWorksFollowTheAPIServer: the informer stores facts, and tells of each change with what was before and what is.
func TestWorksFollowTheAPIServer(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := workv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(workOf("edge-1", "shop", nil)).WithStatusSubresource(&workv1.ManifestWork{}).Build()
	works := NewWorks()
	var err error
	if works.informer, err = works.newInformer(listing{api}); err != nil {
		t.Fatal(err)
	}
	works.indexer = works.informer.GetIndexer()
	events := make(chan WorkEvent, 10)
	hasSynced, err := works.Handle(func(e WorkEvent) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = works.Start(t.Context()) }()
	if !toolscache.WaitForCacheSync(t.Context().Done(), hasSynced) {
		t.Fatal("the works are not listed")
	}
	if e := <-events; e.Before != nil || e.After.Name != "shop-0" || len(works.Of(fleet.ApplicationOwner("retail", "shop"))) != 1 {
		t.Errorf("listed: %+v", e)
	}
	w := workOf("edge-1", "shop", nil)
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(w), w); err != nil {
		t.Fatal(err)
	}
	reportsApplied(w)
	if err := api.Status().Update(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Before.Status.Applied || !e.After.Status.Applied || e.PlanChanged() {
		t.Errorf("reported: %+v", e)
	}
	if err := api.Delete(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.After != nil || e.Work().Name != "shop-0" || len(works.All()) != 0 {
		t.Errorf("deleted: %+v", e)
	}
}
