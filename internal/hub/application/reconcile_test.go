package application

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/test/archive"
)

// fleetText is a repository with two clusters, and applications that want the ConfigMap of their source there.
func fleetText(applications ...string) string {
	var b strings.Builder
	b.WriteString(archive.Retail + archive.Cluster("edge-1", "") + archive.Cluster("edge-2", "") + archive.Placement("all", "{}") +
		archive.ConfigMap("manifests/shared/shared.yaml", "shared", "key", "value") + archive.ConfigMap("manifests/other/other.yaml", "other", "key", "value"))
	for _, a := range applications {
		name, source, _ := strings.Cut(a, " from ")
		b.WriteString("-- applications/" + name + ".yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: " + name +
			", namespace: retail}\nspec: {placementRef: {name: all}, source: {path: manifests/" + source + "}}\n")
	}
	return b.String()
}

// planText is the plan of a repository in a world.
func planText(t *testing.T, text string, w fleet.World) (*plan.Planner, fleet.Snapshot, *plan.Plan) {
	t.Helper()
	files, err := txtar.FS(txtar.Parse([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	planner := &plan.Planner{Renderer: render.New(1 << 20)}
	s := fleet.Snapshot{Repository: "muster-system/fleet", Revision: "0123456789abcdef", Tree: fleet.TreeOf(files)}
	p, err := planner.Build(t.Context(), s, w)
	if err != nil {
		t.Fatal(err)
	}
	return planner, s, p
}

// hubWith is an API server that knows the hub's kinds.
func hubWith(t *testing.T, objects ...client.Object) *fake.ClientBuilder {
	t.Helper()
	s := scheme(t)
	for _, add := range []func(*runtime.Scheme) error{clusterv1.AddToScheme, clusterv1beta1.AddToScheme, clusterv1beta2.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).WithStatusSubresource(&musterv1alpha1.Application{})
}

// indexOf is the index of the works among some objects.
func indexOf(t *testing.T, objects ...client.Object) *hub.Works {
	t.Helper()
	works := hub.NewWorks()
	for _, o := range objects {
		if w, ok := o.(*workv1.ManifestWork); ok {
			if err := works.Set(w); err != nil {
				t.Fatal(err)
			}
		}
	}
	return works
}

// TestReviewAndHubAgreeOnClaims: who may not have an object is the same to a plan of all, as a review makes it, and to the hub,
// which plans one application and looks the holder up.
func TestReviewAndHubAgreeOnClaims(t *testing.T) {
	applications := []string{"a from shared", "b from shared", "c from shared", "d from other"}
	for name, row := range map[string]struct {
		why  string
		live []string // application cluster
		born map[string]int
		want []string
	}{
		"nobody has it": {"the first by name", nil, nil, []string{"b edge-1 a", "b edge-2 a", "c edge-1 a", "c edge-2 a"}},
		"one is older":  {"it is given to the oldest", nil, map[string]int{"a": 3, "b": 1, "c": 2}, []string{"a edge-1 b", "a edge-2 b", "c edge-1 b", "c edge-2 b"}},
		"one has it": {
			"it stays its own, however old the others are", []string{"c edge-1"}, map[string]int{"a": 1, "b": 2, "c": 3},
			[]string{"a edge-1 c", "b edge-1 c", "b edge-2 a", "c edge-2 a"},
		},
		"two have it": {
			"the older one keeps it", []string{"b edge-1", "c edge-1"}, map[string]int{"a": 1, "b": 3, "c": 2},
			[]string{"a edge-1 c", "b edge-1 c", "b edge-2 a", "c edge-2 a"},
		},
		"one that is gone has it": {
			"nobody knows its age", []string{"gone edge-1"}, nil,
			[]string{"a edge-1 gone", "b edge-1 gone", "b edge-2 a", "c edge-1 gone", "c edge-2 a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			world := fleet.World{Time: time.Unix(1e9, 0)}
			var objects []client.Object
			for app, at := range row.born {
				a := musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: app, CreationTimestamp: metav1.Unix(int64(at), 0)}}
				world.Applications = append(world.Applications, a)
				objects = append(objects, &a)
			}
			for _, holding := range row.live {
				app, cluster, _ := strings.Cut(holding, " ")
				_, _, alone := planText(t, fleetText(app+" from shared"), fleet.World{})
				for _, set := range alone.Works() {
					for _, w := range set.Works {
						if w.Namespace == cluster {
							world.Works = append(world.Works, hub.LiveWork(w))
							objects = append(objects, w)
						}
					}
				}
			}
			planner, snapshot, review := planText(t, fleetText(applications...), world)
			r := &Applications{Client: hubWith(t, objects...).Build(), Works: indexOf(t, objects...)}
			var reviewed, found []fleet.Fault
			for _, a := range review.Applications {
				reviewed = append(reviewed, a.Faults...)
				onHub := a.Application.DeepCopy()
				if at, ok := row.born[onHub.Name]; ok {
					onHub.CreationTimestamp = metav1.Unix(int64(at), 0)
				}
				alone, err := planner.Application(t.Context(), plan.Job{
					Application: onHub, File: a.File, Line: a.Line, LineOf: func(string) int { return 0 },
					Snapshot: snapshot, Decided: a.Decided, World: review.World,
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := r.claims(t.Context(), alone, review, review.Renames); err != nil {
					t.Fatal(err)
				}
				found = append(found, alone.Faults...)
				if diff := cmp.Diff(clustersOf(a), clustersOf(alone)); diff != "" {
					t.Errorf("%s is planned for others (-review +hub):\n%s", a.Key(), diff)
				}
			}
			if diff := cmp.Diff(reviewed, found); diff != "" {
				t.Errorf("(-review +hub):\n%s", diff)
			}
			var told []string
			for _, f := range reviewed {
				holder, _, _ := strings.Cut(strings.TrimPrefix(f.Message, "application retail/"), " ")
				told = append(told, strings.TrimPrefix(f.Application, "retail/")+" "+f.Cluster+" "+holder)
			}
			if diff := cmp.Diff(row.want, told); diff != "" {
				t.Errorf("%s (-want +review):\n%s", row.why, diff)
			}
		})
	}
}

func clustersOf(a *plan.Application) []string {
	var clusters []string
	for _, c := range a.Clusters {
		clusters = append(clusters, c.Name+" "+c.SetDigest)
	}
	return clusters
}

// TestApprovalGoesAfterTheStatus: an approval that is used up is withdrawn only when the status is written, which forgets the
// losses that it covers: the next pass knows of no approval.
func TestApprovalGoesAfterTheStatus(t *testing.T) {
	now := time.Unix(2e9, 0)
	key := types.NamespacedName{Namespace: "retail", Name: "web"}
	for name, row := range map[string]struct {
		why       string
		published time.Time // the last status
		refuse    error     // the status
		withdrawn bool
		wrong     bool
	}{
		"written":   {why: "all is done", withdrawn: true},
		"throttled": {why: "the status waits for its interval", published: now},
		"conflict":  {why: "the cache is stale", refuse: apierrors.NewConflict(schema.GroupResource{Resource: "applications"}, "web", errors.New("stale"))},
		"refused":   {why: "the API server is away", refuse: errors.New("away"), wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			planner, snapshot, p := planText(t, strings.Replace(fleetText("web from shared"), "spec: {}", "spec: {numberOfClusters: 0}", 1), fleet.World{})
			definition := p.Definitions.Find("muster.dev", "Application", "retail", "web")
			app := definition.Object.DeepCopyObject().(*musterv1alpha1.Application)
			app.Annotations = map[string]string{
				musterv1alpha1.RepositoryAnnotation: "muster-system/fleet", musterv1alpha1.ApprovedPlanAnnotation: p.Find("retail/web").Digest,
			}
			app.Finalizers = []string{musterv1alpha1.ApplicationFinalizer}
			app.Status.RecentRemovals = []musterv1alpha1.Removal{{At: metav1.NewTime(now.Add(-time.Hour)), Clusters: []string{"edge-1"}}}
			repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
			repo.Status.Revision = snapshot.Revision
			placement := p.Placements[0].Placement.DeepCopy()
			placement.Status.Conditions = []metav1.Condition{{Type: clusterv1beta1.PlacementConditionSatisfied, Status: metav1.ConditionTrue}}
			page := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{
				Namespace: "retail", Name: "all-1", Labels: map[string]string{clusterv1beta1.PlacementLabel: "all"},
			}}
			api := hubWith(t, app, repo, placement, page).WithInterceptorFuncs(interceptor.Funcs{
				SubResourceUpdate: func(ctx context.Context, api client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
					if row.refuse != nil {
						return row.refuse
					}
					return api.SubResource(sub).Update(ctx, o, opts...)
				},
			}).Build()
			deliveries := &hub.Deliveries{}
			deliveries.Remember(repo, &hub.Delivery{Snapshot: snapshot, Definitions: p.Definitions, Plan: p})
			r := &Applications{
				Client: api, Works: hub.NewWorks(), Reader: api, Planner: planner, Deliveries: deliveries, StatusInterval: time.Second, Writers: 1,
				Now: func() time.Time { return now },
			}
			r.states.get(key).published.writtenAt = row.published
			live := func() *musterv1alpha1.Application {
				var a musterv1alpha1.Application
				if err := api.Get(t.Context(), key, &a); err != nil {
					t.Fatal(err)
				}
				return &a
			}
			result, err := r.Reconcile(t.Context(), live())
			if (err != nil) != row.wrong {
				t.Fatalf("%s: %v", row.why, err)
			}
			after := live()
			if _, approved := after.Annotations[musterv1alpha1.ApprovedPlanAnnotation]; approved == row.withdrawn {
				t.Errorf("%s: the annotations are %v", row.why, slices.Sorted(maps.Keys(after.Annotations)))
			}
			if (len(after.Status.RecentRemovals) == 0) != row.withdrawn {
				t.Errorf("%s: the losses are %v", row.why, after.Status.RecentRemovals)
			}
			if !row.withdrawn && !row.wrong && result.RequeueAfter == 0 {
				t.Errorf("%s: nobody looks again", row.why)
			}
		})
	}
}

// contents is a repository whose applications have the named ConfigMaps.
func contents(of map[string]string) string {
	var applications []string
	var manifests strings.Builder
	for _, app := range slices.Sorted(maps.Keys(of)) {
		applications = append(applications, app+" from "+app)
		for _, name := range strings.Fields(of[app]) {
			manifests.WriteString("-- manifests/" + app + "/" + name + ".yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\n")
		}
	}
	return fleetText(applications...) + manifests.String()
}

// TestReviewAndHubAgreeOnMoves: so it is with objects that go from one application to another in one commit.
func TestReviewAndHubAgreeOnMoves(t *testing.T) {
	for name, row := range map[string]struct {
		why          string
		before, then map[string]string // ConfigMaps by application
		want         []string          // faults on edge-1
		held         []string          // applications that wait for another one
	}{
		"moves":  {"b has it first", map[string]string{"a": "p k", "b": "q"}, map[string]string{"a": "k", "b": "p q"}, nil, []string{"a"}},
		"chain":  {"from hand to hand", map[string]string{"a": "p k", "b": "q", "c": "r"}, map[string]string{"a": "k", "b": "p", "c": "q r"}, nil, []string{"a", "b"}},
		"circle": {"each would wait for the other", map[string]string{"a": "p", "b": "q"}, map[string]string{"a": "q", "b": "p"}, []string{"a", "b"}, nil},
		"giver stays": {
			"a keeps p while it has a fault, and b has one then", map[string]string{"a": "p", "b": "q", "c": "r"},
			map[string]string{"a": "r", "b": "p q", "c": "r"}, []string{"a", "b"}, nil,
		},
		"begun": {"b has p already, so that nothing waits for a", map[string]string{"a": "p", "b": "p q"}, map[string]string{"a": "q", "b": "p"}, nil, []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			world := fleet.World{Time: time.Unix(1e9, 0)}
			var objects []client.Object
			for _, app := range slices.Sorted(maps.Keys(row.before)) {
				_, _, alone := planText(t, contents(map[string]string{app: row.before[app]}), fleet.World{})
				for _, set := range alone.Works() {
					for _, w := range set.Works {
						if w.Namespace == "edge-1" {
							world.Works = append(world.Works, hub.LiveWork(w))
							objects = append(objects, w)
						}
					}
				}
			}
			planner, snapshot, review := planText(t, contents(row.then), world)
			r := &Applications{Client: hubWith(t, objects...).Build(), Works: indexOf(t, objects...)}
			var faulty, held []string
			for _, a := range review.Applications {
				alone, err := planner.Application(t.Context(), plan.Job{
					Application: a.Application, File: a.File, Line: a.Line, LineOf: func(string) int { return 0 },
					Snapshot: snapshot, Decided: a.Decided, World: review.World,
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := r.claims(t.Context(), alone, review, review.Renames); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(clustersOf(a), clustersOf(alone)); diff != "" {
					t.Errorf("%s is planned for others (-review +hub):\n%s", a.Key(), diff)
				}
				for _, f := range a.Faults {
					if inReturn := strings.Contains(f.Message, "gives objects in return"); f.Cluster == "edge-1" && inReturn != (name == "circle") {
						t.Errorf("%s is told %s", a.Key(), f.Message)
					}
				}
				for _, f := range alone.Faults {
					if f.Cluster == "edge-1" && !slices.Contains(faulty, a.Application.Name) {
						faulty = append(faulty, a.Application.Name)
					}
				}
				changes, err := alone.Changes()
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range rollout.Next(changes, alone.ReviewInput(review.World)).Held {
					if h.Reason == rollout.HandoverPending {
						held = append(held, a.Application.Name)
					}
				}
			}
			if diff := cmp.Diff(row.want, faulty); diff != "" {
				t.Errorf("%s: faults (-want +have):\n%s", row.why, diff)
			}
			if diff := cmp.Diff(row.held, held); diff != "" {
				t.Errorf("%s: waits (-want +have):\n%s", row.why, diff)
			}
		})
	}
}
