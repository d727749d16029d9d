package works

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, clusterv1.AddToScheme, workv1.AddToScheme, musterv1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestWriteGainsBeforeLosses: nothing is removed from a cluster before the gains are written, before the loss is recorded, and
// before the API server says that the work which gets the objects has them.
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
	dropping := work.Live(live("loses", "other"))
	dropping.UID, dropping.OwnerDigest = "losesother", "me"
	drop := work.Change{Action: work.Update, Drops: true, Cluster: "loses", Name: "other", Live: &dropping, Wanted: live("loses", "other")}
	handedOver := loss
	handedOver.Preconditions = []work.Precondition{{Name: "other", UID: "losesother", Generation: 2}}
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
		stale   bool // the loss cannot be recorded
		order   []string
		refused []string
	}{
		"Drops":          {why: "an update that drops objects is a loss too, which no refusal elsewhere stops", now: []work.Change{loss, drop, gain}, refuse: true, order: []string{"create gains/web", "record", "patch loses/other"}, refused: []string{"gains"}},
		"DropsStale":     {why: "the guard would not count it", now: []work.Change{drop, gain}, stale: true, order: []string{"create gains/web"}},
		"Both":           {why: "the gain is made first", now: []work.Change{loss, gain}, order: []string{"create gains/web", "record", "delete loses/web"}},
		"Refused":        {why: "who cannot gain must not lose", now: []work.Change{loss, gain}, refuse: true, order: []string{"create gains/web"}, refused: []string{"gains"}},
		"Stale":          {why: "the guard would not count it", now: []work.Change{loss}, stale: true},
		"HolderStays":    {why: "its objects are in the other work", now: []work.Change{handedOver}, order: []string{"record", "delete loses/web"}},
		"HolderOutdated": {why: "the other work may have let the objects go since", now: []work.Change{outdated}, order: []string{"record"}},
		"HolderReplaced": {why: "it is another work of that name", now: []work.Change{replaced}, order: []string{"record"}},
		"HolderGone":     {why: "nobody has the objects", now: []work.Change{gone}, order: []string{"record"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var order []string
			api := fake.NewClientBuilder().WithScheme(scheme(t)).
				WithObjects(live("loses", "web"), live("loses", "other")).
				WithInterceptorFuncs(interceptor.Funcs{
					Create: func(ctx context.Context, api client.WithWatch, o client.Object, opts ...client.CreateOption) error {
						order = append(order, "create "+o.GetNamespace()+"/"+o.GetName())
						if c.refuse {
							return apierrors.NewForbidden(schema.GroupResource{Resource: "manifestworks"}, o.GetName(), errors.New("no"))
						}
						return api.Create(ctx, o, opts...)
					},
					Patch: func(_ context.Context, _ client.WithWatch, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
						order = append(order, "patch "+o.GetNamespace()+"/"+o.GetName())
						return nil
					},
					Delete: func(ctx context.Context, api client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
						order = append(order, "delete "+o.GetNamespace()+"/"+o.GetName())
						return api.Delete(ctx, o, opts...)
					},
				}).Build()
			w := Writer{Client: api, Reader: api, Concurrency: 2}
			refused, err := w.Write(t.Context(), c.now, func(context.Context) (bool, error) {
				if !c.stale {
					order = append(order, "record")
				}
				return !c.stale, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.order, order); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
			if diff := cmp.Diff(c.refused, slices.Sorted(maps.Keys(refused))); diff != "" {
				t.Errorf("%s: refused (-want +got):\n%s", c.why, diff)
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
		"Stale": {
			why: "our own, which the cache does not have yet", labels: mine,
			annotations: map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/web"}, application: "retail/web",
		},
	} {
		t.Run(name, func(t *testing.T) {
			there := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "web", Labels: c.labels, Annotations: c.annotations}}
			api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(there).Build()
			wanted := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "web", Labels: mine}}
			create := work.Changes{{Action: work.Create, Cluster: "one", Name: "web", Owner: fleet.ApplicationOwner("retail", "web"), Wanted: wanted}}
			w := Writer{Client: api, Reader: api}
			refused, err := w.Write(t.Context(), create, func(context.Context) (bool, error) { return true, nil })
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

// TestFinalize: the works of a deleted owner go as its policy says, and not on clusters that cannot hear it.
func TestFinalize(t *testing.T) {
	owner := fleet.Owner{Kind: "ClusterManagementAddOn", Namespace: "retail", Name: "web"}
	applied := []string{workv1.ManifestWorkFinalizer}
	for name, row := range map[string]struct {
		why        string
		silent     bool
		finalizers []string
		policy     musterv1alpha1.DeletionPolicy
		orphaned   bool
		stale      bool // the index does not have the work
		want       Remaining
		left       string // "", "as it was", "orphaned"
	}{
		"delete":            {why: "its cluster hears it", finalizers: applied, want: Remaining{Works: 1}, left: "deleting"},
		"orphan first":      {why: "its objects are to stay", finalizers: applied, policy: musterv1alpha1.DeletionOrphan, want: Remaining{Works: 1}, left: "orphaned"},
		"orphaned":          {why: "the option is there", finalizers: applied, policy: musterv1alpha1.DeletionOrphan, orphaned: true, want: Remaining{Works: 1}, left: "deleting"},
		"silent":            {why: "a deletion is not begun there", silent: true, finalizers: applied, want: Remaining{Works: 1, Waiting: 1}, left: "as it was"},
		"silent and unread": {why: "no agent has seen it", silent: true, want: Remaining{Works: 1}},
		"stale":             {why: "the API server has the last word", finalizers: applied, stale: true, want: Remaining{Works: 1}, left: "as it was"},
	} {
		t.Run(name, func(t *testing.T) {
			key, value := work.OwnerAnnotation(owner)
			w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
				Namespace: "one", Name: "web", UID: "u", Finalizers: row.finalizers, Generation: 1,
				Labels: map[string]string{musterv1alpha1.OwnerLabel: owner.Digest()}, Annotations: map[string]string{key: value},
			}}
			if row.orphaned {
				w.Spec.DeleteOption = &workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan}
			}
			cluster := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
			if !row.silent {
				meta.SetStatusCondition(&cluster.Status.Conditions, metav1.Condition{
					Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionTrue, Reason: "Heard",
				})
			}
			api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(w, cluster).Build()
			var live []fleet.LiveWork
			if !row.stale {
				live = append(live, work.Live(w))
			}
			writer := Writer{Client: api, Reader: api}
			got, err := writer.Finalize(t.Context(), owner, live, row.policy)
			if err != nil {
				t.Fatal(err)
			}
			if got != row.want {
				t.Errorf("%+v, want %+v: %s", got, row.want, row.why)
			}
			var after workv1.ManifestWork
			left := "as it was"
			err = api.Get(t.Context(), client.ObjectKeyFromObject(w), &after)
			switch {
			case apierrors.IsNotFound(err):
				left = ""
			case err != nil:
				t.Fatal(err)
			case after.DeletionTimestamp != nil:
				left = "deleting"
			case after.Spec.DeleteOption != nil && !row.orphaned:
				left = "orphaned"
			}
			if left != row.left {
				t.Errorf("the work is %q, want %q: %s", left, row.left, row.why)
			}
		})
	}
}
