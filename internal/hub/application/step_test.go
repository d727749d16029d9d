package application

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/work"
)

// tracked is a hub whose clusters answer, with one application on edge-1 and edge-2. Its index follows when the test says so.
type tracked struct {
	t   *testing.T
	api client.Client
	r   *Applications
	key types.NamespacedName
	now time.Time
}

func track(t *testing.T) *tracked {
	t.Helper()
	planner, snapshot, p := planText(t, fleetText("web from shared"), fleet.World{})
	app := p.Definitions.Find("muster.dev", "Application", "retail", "web").Object.DeepCopyObject().(*musterv1alpha1.Application)
	app.Annotations = map[string]string{musterv1alpha1.RepositoryAnnotation: "muster-system/fleet"}
	repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
	repo.Status.Revision = snapshot.Revision
	all := p.Placements[0].Placement.DeepCopy()
	all.Status.NumberOfSelectedClusters = 2
	all.Status.Conditions = []metav1.Condition{{Type: clusterv1beta1.PlacementConditionSatisfied, Status: metav1.ConditionTrue}}
	page := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{
		Namespace: "retail", Name: "all-1", Labels: map[string]string{clusterv1beta1.PlacementLabel: "all"},
	}}
	page.Status.Decisions = []clusterv1beta1.ClusterDecision{{ClusterName: "edge-1"}, {ClusterName: "edge-2"}}
	objects := []client.Object{app, repo, all, page}
	for i := range p.World.Clusters {
		c := &p.World.Clusters[i]
		c.Status.Conditions = []metav1.Condition{{Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionTrue}}
		objects = append(objects, c)
	}
	for i := range p.World.ClusterSets {
		objects = append(objects, &p.World.ClusterSets[i])
	}
	for i := range p.World.Bindings {
		objects = append(objects, &p.World.Bindings[i])
	}
	api := hubWith(t, objects...).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, api client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			o.SetUID(types.UID(o.GetNamespace()))
			o.SetGeneration(1)
			return api.Create(ctx, o, opts...)
		},
	}).Build()
	h := &tracked{t: t, api: api, key: client.ObjectKeyFromObject(app), now: time.Unix(2e9, 0)}
	deliveries := &hub.Deliveries{}
	deliveries.Remember(repo, &hub.Delivery{Snapshot: snapshot, Definitions: p.Definitions, Plan: p})
	h.r = &Applications{
		Client: api, Works: hub.NewWorks(), Reader: api, Planner: planner, Deliveries: deliveries, Writers: 1,
		Now: func() time.Time { h.now = h.now.Add(time.Minute); return h.now },
	}
	return h
}

func (h *tracked) application() *musterv1alpha1.Application {
	h.t.Helper()
	var app musterv1alpha1.Application
	if err := h.api.Get(h.t.Context(), h.key, &app); err != nil {
		h.t.Fatal(err)
	}
	return &app
}

// reconcile says whether the application was planned, and what its status is then.
func (h *tracked) reconcile() (planned bool, status musterv1alpha1.ApplicationStatus) {
	h.t.Helper()
	before := h.r.states.get(h.key).report
	if _, err := h.r.Reconcile(h.t.Context(), h.application()); err != nil {
		h.t.Fatal(err)
	}
	return h.r.states.get(h.key).report != before, h.application().Status
}

// work changes the work of a cluster on the API server, and tells the index and the controller.
func (h *tracked) work(cluster string, change func(*workv1.ManifestWork)) {
	h.t.Helper()
	var list workv1.ManifestWorkList
	if err := h.api.List(h.t.Context(), &list, client.InNamespace(cluster)); err != nil || len(list.Items) != 1 {
		h.t.Fatalf("%s has %d works: %v", cluster, len(list.Items), err)
	}
	w := &list.Items[0]
	before := h.r.Works.Get(cluster, w.Name)
	change(w)
	if err := h.api.Update(h.t.Context(), w); err != nil {
		h.t.Fatal(err)
	}
	if err := h.r.Works.Set(w); err != nil {
		h.t.Fatal(err)
	}
	h.r.ofWork(hub.WorkEvent{Before: before, After: h.r.Works.Get(cluster, w.Name)})
}

func unchanged(*workv1.ManifestWork) {}

// healthy is what a cluster reports that has applied a work.
func healthy(w *workv1.ManifestWork) {
	condition := func(kind string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, ObservedGeneration: w.Generation}
	}
	w.Status.Conditions = []metav1.Condition{condition(workv1.WorkApplied)}
	w.Status.ResourceStatus.Manifests = []workv1.ManifestCondition{{
		ResourceMeta: workv1.ManifestResourceMeta{Version: "v1", Kind: "ConfigMap", Namespace: "retail", Name: "shared"},
		Conditions:   []metav1.Condition{condition(workv1.ManifestApplied), condition(workv1.ManifestAvailable)},
	}}
}

// TestStepsDoNotPlan: what the plan foresees, a report, an approval and the time make a step; an input of the plan, and a work
// that somebody changed, make a plan.
func TestStepsDoNotPlan(t *testing.T) {
	h := track(t)
	annotate := func(key, value string) {
		app := h.application()
		app.Annotations[key] = value
		if err := h.api.Update(t.Context(), app); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		why     string
		happens func()
		planned bool
		current int32
		healthy int32
	}{
		{"it is new", func() {}, true, 0, 0},
		{"nothing has happened", func() {}, false, 0, 0},
		{"the works are as they were written", func() { h.work("edge-1", unchanged); h.work("edge-2", unchanged) }, false, 0, 0},
		{"a cluster reports", func() { h.work("edge-1", healthy) }, false, 1, 1},
		{"the other one does", func() { h.work("edge-2", healthy) }, false, 2, 2},
		{"a plan is approved", func() { annotate(musterv1alpha1.ApprovedPlanAnnotation, "some") }, false, 2, 2},
		{"a cluster changes that it is planned for", func() { h.r.states.needPlan(requestsOf(fleet.ApplicationOwner("retail", "web"))) }, true, 2, 2},
		{"somebody edits a work", func() {
			h.work("edge-2", func(w *workv1.ManifestWork) { w.Generation, w.Spec.Workload.Manifests = 2, nil })
		}, true, 1, 1},
		{"and it is as planned again", func() { h.work("edge-2", func(w *workv1.ManifestWork) { w.Generation = 3 }) }, false, 1, 1},
		{"and applied", func() { h.work("edge-2", healthy) }, false, 2, 2},
		{"an annotation changes", func() { annotate("example.com/x", "y") }, true, 2, 2},
	} {
		step.happens()
		planned, status := h.reconcile()
		if planned != step.planned {
			t.Errorf("%s: planned is %t", step.why, planned)
		}
		if s := status.Summary; s.Clusters != 2 || s.Current != step.current || s.Healthy != step.healthy {
			t.Errorf("%s: %+v, want %d current and %d healthy of 2", step.why, s, step.current, step.healthy)
		}
	}
	var edited workv1.ManifestWorkList
	if err := h.api.List(t.Context(), &edited, client.InNamespace("edge-2")); err != nil || len(edited.Items[0].Spec.Workload.Manifests) == 0 {
		t.Errorf("the edit is still there (%v)", err)
	}
}

// TestRefusedWorksAreTriedAgain: a work that the API server refuses is pending, and the next step creates it.
func TestRefusedWorksAreTriedAgain(t *testing.T) {
	h := track(t)
	foreign := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: "edge-2", Name: work.Name(fleet.ApplicationOwner("retail", "web"), 0), Labels: map[string]string{musterv1alpha1.OwnerLabel: "other"},
	}}
	if err := h.api.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	_, status := h.reconcile()
	if i := slices.IndexFunc(status.Clusters, func(c musterv1alpha1.ClusterStatus) bool { return c.Cluster == "edge-2" }); i < 0 || status.Clusters[i].State != StateFailed {
		t.Fatalf("edge-2 is not Failed: %+v", status.Clusters)
	}
	if err := h.api.Delete(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	planned, status := h.reconcile()
	if i := slices.IndexFunc(status.Clusters, func(c musterv1alpha1.ClusterStatus) bool { return c.Cluster == "edge-2" }); planned || i < 0 || status.Clusters[i].State != StatePending {
		t.Errorf("planned %t, and the rows are %+v", planned, status.Clusters)
	}
}

// BenchmarkReport is what one report of one cluster costs the hub, once an application is everywhere as planned: it must not
// depend on the number of clusters.
func BenchmarkReport(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			app := named("web")
			out := &report{app: app, planned: &plan.Application{Application: app}}
			r := &Applications{Works: hub.NewWorks(), Now: time.Now}
			for i := range n {
				name := fmt.Sprintf("edge-%05d", i)
				out.planned.Clusters = append(out.planned.Clusters, plan.Cluster{Name: name, SetDigest: "set"})
				w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "web-0", Generation: 1, Annotations: map[string]string{
					musterv1alpha1.ApplicationAnnotation: "retail/web", musterv1alpha1.SetDigestAnnotation: "set", musterv1alpha1.SetSizeAnnotation: "1",
				}}}
				healthy(w)
				if err := r.Works.Set(w); err != nil {
					b.Fatal(err)
				}
			}
			out.pending, out.input = map[string]work.Changes{}, out.planned.RolloutInput(nil)
			for _, c := range out.planned.Clusters {
				r.countCluster(out, c.Name)
			}
			report := func() {
				if !r.refresh(out, map[string]bool{"edge-00042": false}) || r.step(b.Context(), app, out) != nil {
					b.Fatal("the report needs a plan")
				}
				if s := statusOf(app, out, nil); s.Summary.Current != int32(n) {
					b.Fatalf("the summary is %+v", s.Summary)
				}
			}
			report() // the first step looks at all clusters
			for b.Loop() {
				report()
			}
		})
	}
}

// TestNoStepBeforeTheLastIsSeen: while the index of works does not show what was written, there is no step, also of a new plan, and
// the status keeps what it says of the rollout.
func TestNoStepBeforeTheLastIsSeen(t *testing.T) {
	h := track(t)
	h.reconcile()
	h.work("edge-1", unchanged)
	h.work("edge-2", healthy)
	app := h.application()
	app.Status.Rollout = &musterv1alpha1.RolloutStatus{Revision: "of before", Phase: musterv1alpha1.RolloutProgressing}
	if err := h.api.Status().Update(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	name := work.Name(fleet.ApplicationOwner("retail", "web"), 0)
	h.r.states.get(h.key).wrote = wrote(work.Changes{
		{Action: work.Update, Cluster: "edge-1", Name: name, Live: h.r.Works.Get("edge-1", name)},
		{Action: work.Update, Cluster: "edge-2", Name: name, Live: h.r.Works.Get("edge-2", name)},
	}, map[string]error{"edge-2": fmt.Errorf("refused")}, false, h.now.Add(time.Hour))
	h.r.states.needPlan(requestsOf(fleet.ApplicationOwner("retail", "web")))
	if _, status := h.reconcile(); status.Rollout == nil {
		t.Error("the status forgets the rollout of which the last write is not seen")
	}
	h.work("edge-1", func(w *workv1.ManifestWork) { w.Generation = 2 })
	if _, status := h.reconcile(); status.Rollout != nil || len(h.r.states.get(h.key).wrote) > 0 {
		t.Errorf("still waits: %+v", status.Rollout)
	}
}

// TestStaleCacheWritesNoLoss: with a stale cache the gains of a step are written, and what drops objects is not, so that nobody waits to
// see it.
func TestStaleCacheWritesNoLoss(t *testing.T) {
	changes := work.Changes{{Action: work.Create, Cluster: "gains"}, {Action: work.Update, Cluster: "drops", Drops: true}, {Action: work.Delete, Cluster: "loses"}}
	for stale, want := range map[bool]string{false: "gains drops", true: "gains"} {
		var got []string
		for _, w := range wrote(changes, nil, stale, time.Time{}) {
			got = append(got, w.Cluster)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("stale %v: waits for %q, want %q", stale, text, want)
		}
	}
}
