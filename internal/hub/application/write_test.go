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
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

// TestWriteGainsBeforeLosses: nothing is taken from one cluster before the others have it, before it is on record, and before
// what has taken over its objects was looked at on the API server.
func TestWriteGainsBeforeLosses(t *testing.T) {
	live := func(cluster, name string) *workv1.ManifestWork {
		return &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: name, UID: types.UID(cluster + name), Generation: 2}}
	}
	gain := work.Change{Action: work.Create, Cluster: "gains", Name: "web", Wanted: &workv1.ManifestWork{
		ObjectMeta: metav1.ObjectMeta{Namespace: "gains", Name: "web"},
	}}
	lost := work.Live(live("loses", "web"))
	lost.UID = "losesweb"
	loss := work.Change{Action: work.Delete, Cluster: "loses", Name: "web", Live: &lost}
	moved := loss
	moved.Preconditions = []work.Precondition{{Name: "other", UID: "losesother", Generation: 2}}
	outdated := loss
	outdated.Preconditions = []work.Precondition{{Name: "other", UID: "losesother", Generation: 1}}
	replaced := loss
	replaced.Preconditions = []work.Precondition{{Name: "other", UID: "another one", Generation: 2}}
	gone := loss
	gone.Preconditions = []work.Precondition{{Name: "nosuch", UID: "x", Generation: 2}}

	cases := map[string]struct {
		why     string
		now     []work.Change
		refuse  bool // the gain
		behind  bool // what this hub knows of the application
		order   []string
		refused []string
	}{
		"Both":            {why: "the gain is made first", now: []work.Change{loss, gain}, order: []string{"create gains/web", "record loses", "delete loses/web"}},
		"Refused":         {why: "who cannot gain must not lose", now: []work.Change{loss, gain}, refuse: true, order: []string{"create gains/web"}, refused: []string{"gains"}},
		"Behind":          {why: "the guard would not count it", now: []work.Change{loss}, behind: true},
		"WitnessHolds":    {why: "its objects are in the other work", now: []work.Change{moved}, order: []string{"record loses", "delete loses/web"}},
		"WitnessOutdated": {why: "the other work may have let the objects go since", now: []work.Change{outdated}, order: []string{"record loses"}},
		"WitnessReplaced": {why: "it is another work of that name", now: []work.Change{replaced}, order: []string{"record loses"}},
		"WitnessGone":     {why: "nobody has the objects", now: []work.Change{gone}, order: []string{"record loses"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var order []string
			app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web"}}
			api := fake.NewClientBuilder().WithScheme(scheme(t)).WithStatusSubresource(app).
				WithObjects(app, live("loses", "web"), live("loses", "other")).
				WithInterceptorFuncs(interceptor.Funcs{
					Create: func(ctx context.Context, api client.WithWatch, o client.Object, opts ...client.CreateOption) error {
						order = append(order, "create "+o.GetNamespace()+"/"+o.GetName())
						if c.refuse {
							return apierrors.NewForbidden(schema.GroupResource{Resource: "manifestworks"}, o.GetName(), errors.New("no"))
						}
						return api.Create(ctx, o, opts...)
					},
					Delete: func(ctx context.Context, api client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
						order = append(order, "delete "+o.GetNamespace()+"/"+o.GetName())
						return api.Delete(ctx, o, opts...)
					},
					SubResourceUpdate: func(ctx context.Context, api client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
						err := api.SubResource(sub).Update(ctx, o, opts...)
						for _, l := range o.(*musterv1alpha1.Application).Status.RecentRemovals {
							if err == nil {
								order = append(order, "record "+strings.Join(l.Clusters, " "))
							}
						}
						return err
					},
				}).Build()
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(app), app); err != nil {
				t.Fatal(err)
			}
			if c.behind {
				app.ResourceVersion = "1"
			}
			r := &Applications{Client: api, Reader: api, Writers: 2}
			out := &report{world: &fleet.World{Time: time.Now()}, step: rollout.Step{Now: c.now, Removal: &musterv1alpha1.Removal{Clusters: []string{"loses"}}}}
			refused, err := r.write(t.Context(), app, out)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.order, order); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
			if diff := cmp.Diff(c.refused, slices.Sorted(maps.Keys(refused))); diff != "" {
				t.Errorf("%s: refused (-want +got):\n%s", c.why, diff)
			}
			if out.behind != c.behind {
				t.Errorf("%s: behind is %t", c.why, out.behind)
			}
		})
	}
}

// TestCreateMeetsAWork: a work that is there under the name of one that is to be made is never forced.
func TestCreateMeetsAWork(t *testing.T) {
	mine := map[string]string{musterv1alpha1.OwnerLabel: "me"}
	for name, c := range map[string]struct {
		why         string
		labels      map[string]string
		annotations map[string]string
		refused     fleet.Reason
		application string // that it says it is of, afterwards
	}{
		"Foreign":  {why: "somebody else's stays as it is", labels: map[string]string{musterv1alpha1.OwnerLabel: "other"}, refused: fleet.WorkForeign},
		"Unmarked": {why: "one without marks is somebody else's", refused: fleet.WorkForeign},
		"LostMark": {why: "our own is marked again", labels: mine, application: "retail/web"},
		"LostOwner": {
			why:         "one that says it is ours and has no owner is marked again",
			annotations: map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/web"}, application: "retail/web",
		},
		"Others": {
			why:         "one that says it is another's is not",
			annotations: map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/shop"}, application: "retail/shop", refused: fleet.WorkForeign,
		},
		"Behind": {
			why: "our own, of which the cache does not know yet", labels: mine,
			annotations: map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/web"}, application: "retail/web",
		},
	} {
		t.Run(name, func(t *testing.T) {
			there := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "web", Labels: c.labels, Annotations: c.annotations}}
			api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(there).Build()
			wanted := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "web", Labels: mine}}
			out := &report{step: rollout.Step{Now: work.Changes{{Action: work.Create, Cluster: "one", Name: "web", Owner: fleet.ApplicationOwner("retail", "web"), Wanted: wanted}}}}
			refused, err := (&Applications{Client: api, Reader: api}).write(t.Context(), &musterv1alpha1.Application{}, out)
			if err != nil {
				t.Fatal(err)
			}
			if fault, _ := fleet.AsFault(refused["one"]); fault.Reason != c.refused {
				t.Errorf("refused %v, want %q: %s", refused, c.refused, c.why)
			}
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(there), there); err != nil {
				t.Fatal(err)
			}
			if got := there.Annotations[musterv1alpha1.ApplicationAnnotation]; got != c.application {
				t.Errorf("the work says that it is of %q, want %q: %s", got, c.application, c.why)
			}
			if mine := there.Labels[musterv1alpha1.OwnerLabel] == "me"; mine == (c.refused != "") {
				t.Errorf("it has the labels %v: %s", there.Labels, c.why)
			}
		})
	}
}

// TestPublishBehind: a status that is right again before the cache has seen that it was wrong is written all the same.
func TestPublishBehind(t *testing.T) {
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web", UID: "u"}}
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithStatusSubresource(app).WithObjects(app).Build()
	clock := time.Now()
	r := &Applications{Client: api, Reader: api, Now: func() time.Time { return clock }, StatusInterval: time.Second}
	cached := func() *musterv1alpha1.Application {
		var a musterv1alpha1.Application
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(app), &a); err != nil {
			t.Fatal(err)
		}
		return &a
	}
	publish := func(from *musterv1alpha1.Application, plan string) time.Duration {
		t.Helper()
		again, err := r.publish(t.Context(), from, musterv1alpha1.ApplicationStatus{Plan: plan})
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	if publish(cached(), "good") != 0 {
		t.Fatal("the first status waits")
	}
	clock = clock.Add(time.Minute)
	before := cached()
	if publish(before.DeepCopy(), "incomplete") != 0 || cached().Status.Plan != "incomplete" {
		t.Fatal("the second status waits")
	}
	clock = clock.Add(time.Minute)
	if publish(before.DeepCopy(), "incomplete") != 0 {
		t.Error("what is written already is tried again")
	}
	if publish(before.DeepCopy(), "good") == 0 {
		t.Error("the cache still says good, and nobody looks again")
	}
	if publish(cached(), "good") != 0 || cached().Status.Plan != "good" {
		t.Error("the status stays wrong although the cache has caught up")
	}
	if again := publish(cached(), "next"); again != time.Second {
		t.Errorf("the next status waits for %s, want the interval", again)
	}
}

// TestApprovalOutlivesFlicker: while the decisions of a placement are incomplete nothing is planned, and an approval is not used.
func TestApprovalOutlivesFlicker(t *testing.T) {
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{musterv1alpha1.ApprovedPlanAnnotation: "abc"}}}
	out := &report{planned: &plan.Application{Digest: "abc"}}
	if !usedUp(app, out) {
		t.Error("nothing is left to do, and the approval stays")
	}
	out.planned.Faults = []fleet.Fault{{Reason: fleet.DecisionsIncomplete}}
	if usedUp(app, out) {
		t.Error("nothing was planned, and the approval is withdrawn")
	}
}

// TestAbsent: an application that its repository does not define has left it, or was never in it.
func TestAbsent(t *testing.T) {
	repo := types.NamespacedName{Namespace: "muster-system", Name: "fleet"}
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "web"}}
	delivery := &hub.Delivery{Definitions: &fleet.Definitions{AbsenceProven: true}}
	if text := absent(app, repo, delivery, nil); !strings.Contains(text, "made by hand") {
		t.Errorf("one that never was in the repository: %s", text)
	}
	app.Labels = map[string]string{musterv1alpha1.OwnerLabel: (fleet.Owner{Kind: "FleetRepository", Namespace: repo.Namespace, Name: repo.Name}).Digest()}
	if text := absent(app, repo, delivery, nil); !strings.Contains(text, "its removal is held") {
		t.Errorf("one that has left it: %s", text)
	}
	if text := absent(app, repo, delivery, fleet.Renames{"retail/web": "retail/site"}); !strings.Contains(text, "calls it retail/site, which takes over its works") {
		t.Errorf("one that was renamed: %s", text)
	}
	delivery.Definitions.AbsenceProven = false
	if text := absent(app, repo, delivery, nil); !strings.Contains(text, "cannot be read") {
		t.Errorf("one of which nobody knows: %s", text)
	}
}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, workv1.AddToScheme, musterv1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}
