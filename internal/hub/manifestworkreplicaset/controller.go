// Package manifestworkreplicaset makes the works of each ManifestWorkReplicaSet, as OCM's work manager does.
//
// In go the ManifestWorkReplicaSet, the decisions of the placements that it names, and the works that are there with what their
// clusters report. Out come one work for each chosen cluster, in the order that each placement's rollout strategy allows, and the
// counts and conditions of OCM. The works carry OCM's labels and no mark of Muster: those that OCM's hub made are taken over as
// they are.
package manifestworkreplicaset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/works"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/work"
)

// ReplicaSets reconciles ManifestWorkReplicaSets.
type ReplicaSets struct {
	// Client reads from the hub's cache, which holds no works, and writes. Reader reads past the cache.
	Client client.Client
	Reader client.Reader
	// Works is the index of live works.
	Works *hub.Works
	// HubCluster is the name of the cluster that is the hub itself, if it is managed.
	HubCluster string
	// Writers bounds the writes that run side by side.
	Writers int
	// StatusInterval is the least time between two status writes of one ManifestWorkReplicaSet.
	StatusInterval time.Duration
	// Now is the clock.
	Now func() time.Time

	mu     sync.Mutex
	states map[types.NamespacedName]*state
}

// state is what the controller knows of a ManifestWorkReplicaSet between two reconciliations, of which there is one at a time.
type state struct {
	made made
	// published is when the status was written last.
	published time.Time
	// blockedSince is when something that may pass began to block; zero while nothing does.
	blockedSince time.Time
}

// made is a template with what it was made of.
type made struct {
	template
	uid        types.UID
	generation int64
	labels     map[string]string
}

// Reconcile keeps the works of one ManifestWorkReplicaSet equal to its template.
func (r *ReplicaSets) Reconcile(ctx context.Context, set *workv1alpha1.ManifestWorkReplicaSet) (reconcile.Result, error) {
	if !set.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, set)
	}
	if err := r.setFinalizer(ctx, set, controllerutil.AddFinalizer); err != nil {
		return reconcile.Result{}, err
	}
	placements, err := r.choose(ctx, set)
	if err != nil {
		return reconcile.Result{}, err
	}
	st := r.state(client.ObjectKeyFromObject(set))
	t := st.template(set)
	if t.hubs, err = r.hubs(ctx, t); err != nil {
		return reconcile.Result{}, err
	}
	out := decide(set, t, placements, r.Works.Of(ownerOf(set)), r.Now())
	if wait := st.grace(out, r.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	err = r.write(ctx, out)
	again, perr := r.publish(ctx, set, st, statusOf(set, out))
	return resultOf(out, r.Now(), again, errors.Join(err, perr))
}

// hubs are the clusters that are the hub itself, for a template that could steer it.
func (r *ReplicaSets) hubs(ctx context.Context, t template) (map[string]bool, error) {
	if t.steers == "" {
		return nil, nil
	}
	var local clusterv1.ManagedClusterList
	if err := r.Client.List(ctx, &local, client.MatchingLabels{plan.LocalClusterLabel: "true"}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("look for the hub's own cluster: %w", err)
	}
	hubs := map[string]bool{r.HubCluster: true}
	for i := range local.Items {
		hubs[local.Items[i].Name] = true
	}
	return hubs, nil
}

// choose reads the placements that the ManifestWorkReplicaSet names.
func (r *ReplicaSets) choose(ctx context.Context, set *workv1alpha1.ManifestWorkReplicaSet) ([]chosen, error) {
	var decisions clusterv1beta1.PlacementDecisionList
	if err := r.Client.List(ctx, &decisions, client.InNamespace(set.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the decisions of placements: %w", err)
	}
	placements := make([]chosen, len(set.Spec.PlacementRefs))
	for i, ref := range set.Spec.PlacementRefs {
		p := &clusterv1beta1.Placement{}
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: set.Namespace, Name: ref.Name}, p)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read placement %s: %w", ref.Name, err)
		}
		if err != nil {
			p = nil
		}
		placements[i] = choose(ref.Name, p, decisions.Items)
	}
	return placements, nil
}

// state is made when it is needed first.
func (r *ReplicaSets) state(set types.NamespacedName) *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.states == nil {
		r.states = map[types.NamespacedName]*state{}
	}
	if r.states[set] == nil {
		r.states[set] = &state{}
	}
	return r.states[set]
}

func (r *ReplicaSets) forget(set types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.states, set)
}

// template is made again when the spec or the labels change.
func (s *state) template(set *workv1alpha1.ManifestWorkReplicaSet) template {
	if m := &s.made; m.uid != set.UID || m.generation != set.Generation || !maps.Equal(m.labels, set.Labels) {
		s.made = made{template: templateOf(set), uid: set.UID, generation: set.Generation, labels: set.Labels}
	}
	return s.made.template
}

// gracePeriod is how long the pages of a placement may be no complete set before the status says so: they are none for a moment
// whenever a placement changes.
const gracePeriod = 10 * time.Second

// grace is how long the status stays as it is although nothing can be decided.
func (s *state) grace(out *report, now time.Time) time.Duration {
	if out.preventing == nil || !out.preventing.mayPass {
		s.blockedSince = time.Time{}
		return 0
	}
	if s.blockedSince.IsZero() {
		s.blockedSince = now
	}
	return s.blockedSince.Add(gracePeriod).Sub(now)
}

// write makes the changes. What the API server refuses on one cluster keeps no other from its change, and no work that is not
// wanted from going: unlike the parts of an application, works of different clusters hand nothing over.
func (r *ReplicaSets) write(ctx context.Context, out *report) error {
	writer := works.Writer{Client: r.Client, Reader: r.Reader, Concurrency: r.Writers}
	unrecorded := func(context.Context) (bool, error) { return true, nil }
	refused, err := writer.Write(ctx, out.gains, unrecorded)
	maps.Copy(out.refused, refused)
	_, lerr := writer.Write(ctx, out.losses, unrecorded)
	return errors.Join(err, lerr)
}

// publish writes the status if it has changed, at most once an interval. It says when to try again.
func (r *ReplicaSets) publish(ctx context.Context, set *workv1alpha1.ManifestWorkReplicaSet, st *state, status workv1alpha1.ManifestWorkReplicaSetStatus) (time.Duration, error) {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return 0, nil
	}
	if wait := st.published.Add(r.StatusInterval).Sub(r.Now()); wait > 0 {
		return wait, nil
	}
	set.Status = status
	err := r.Client.Status().Update(ctx, set)
	if apierrors.IsConflict(err) {
		return max(r.StatusInterval, 100*time.Millisecond), nil // the cache is stale
	}
	if err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	st.published = r.Now()
	return 0, nil
}

// refusedAgain is when a work is tried again that the API server has refused.
const refusedAgain = 15 * time.Second

// resultOf says when to look again: changes are watched, so only a status that waits, a refusal and the time need a clock.
func resultOf(out *report, now time.Time, again time.Duration, err error) (reconcile.Result, error) {
	if err != nil {
		return reconcile.Result{}, err
	}
	sooner := func(d time.Duration) {
		if again == 0 || d < again {
			again = d
		}
	}
	if len(out.refused) > 0 {
		sooner(refusedAgain)
	}
	for _, share := range out.shares {
		if !share.NextLook.IsZero() {
			sooner(max(share.NextLook.Sub(now), time.Second))
		}
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// finalize deletes the works. With the policy Foreground the ManifestWorkReplicaSet stays until they are gone; with Background it
// goes at once. The API server says which works there are: the index may be behind.
func (r *ReplicaSets) finalize(ctx context.Context, set *workv1alpha1.ManifestWorkReplicaSet) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(set, workv1alpha1.ManifestWorkReplicaSetFinalizer) {
		return reconcile.Result{}, nil
	}
	var left metav1.PartialObjectMetadataList
	left.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWorkList"))
	if err := r.Reader.List(ctx, &left, client.MatchingLabels(work.OwnerSelector(ownerOf(set)))); err != nil {
		return reconcile.Result{}, fmt.Errorf("list the works that are left: %w", err)
	}
	for i := range left.Items {
		w := &left.Items[i]
		if w.DeletionTimestamp.IsZero() {
			if err := r.Client.Delete(ctx, w, client.Preconditions{UID: &w.UID}); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
				return reconcile.Result{}, fmt.Errorf("delete work %s/%s: %w", w.Namespace, w.Name, err)
			}
		}
	}
	if len(left.Items) > 0 && set.Spec.CascadeDeletionPolicy == workv1alpha1.Foreground {
		return reconcile.Result{RequeueAfter: time.Second}, nil // a work that is gone wakes us sooner
	}
	r.forget(client.ObjectKeyFromObject(set))
	return reconcile.Result{}, r.setFinalizer(ctx, set, controllerutil.RemoveFinalizer)
}

// setFinalizer adds or removes the finalizer by a patch of nothing else.
func (r *ReplicaSets) setFinalizer(ctx context.Context, set *workv1alpha1.ManifestWorkReplicaSet, change func(client.Object, string) bool) error {
	was := set.DeepCopy()
	if !change(set, workv1alpha1.ManifestWorkReplicaSetFinalizer) {
		return nil
	}
	return client.IgnoreNotFound(r.Client.Patch(ctx, set, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})))
}
