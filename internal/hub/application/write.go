package application

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/work"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// write makes the changes that may be made now: gains before losses. What the hub refuses stays with its cluster; the result
// names it. An error is the hub's trouble, and is retried.
func (r *Applications) write(ctx context.Context, app *musterv1alpha1.Application, out *report) (map[string]error, error) {
	var gains, losses []work.Change
	for _, c := range out.step.Now {
		switch c.Action {
		case work.Create, work.Update:
			gains = append(gains, c)
		case work.Orphan, work.Delete:
			losses = append(losses, c)
		}
	}
	refused := map[string]error{}
	if err := r.writeAll(ctx, gains, refused); err != nil {
		return refused, err
	}
	if len(refused) > 0 {
		return refused, nil // what could not be gained elsewhere is not lost here
	}
	if recorded, err := r.recordBeforeLoss(ctx, app, out); err != nil || !recorded {
		return refused, err
	}
	return refused, r.writeAll(ctx, losses, refused)
}

// recordBeforeLoss writes down which clusters the application is about to leave, so that the guard counts them whatever becomes
// of this hub. It is false when the cache is behind: nothing is taken away then.
func (r *Applications) recordBeforeLoss(ctx context.Context, app *musterv1alpha1.Application, out *report) (bool, error) {
	if out.step.Removal == nil {
		return true, nil
	}
	next := app.DeepCopy()
	next.Status.RecentRemovals = out.step.Recorded()
	err := r.Client.Status().Update(ctx, next)
	if apierrors.IsConflict(err) {
		out.behind = true
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("record what the application leaves: %w", err)
	}
	app.ResourceVersion, app.Status, out.removals = next.ResourceVersion, next.Status, next.Status.RecentRemovals
	return true, nil
}

// writeAll makes changes side by side. One that fails stops no other.
func (r *Applications) writeAll(ctx context.Context, changes []work.Change, refused map[string]error) error {
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(max(1, r.Writers))
	for _, c := range changes {
		group.Go(func() error {
			err := r.writeOne(ctx, c)
			if err == nil {
				return nil
			}
			if isRefusal(err) {
				mu.Lock()
				defer mu.Unlock()
				refused[c.Cluster] = err
				return nil
			}
			return fmt.Errorf("%s work %s/%s: %w", c.Action, c.Cluster, c.Name, err)
		})
	}
	return group.Wait()
}

// isRefusal: the hub's answer is no, and will be: the work is wrong, foreign, or its cluster has no namespace yet.
func isRefusal(err error) bool {
	_, fault := fleet.AsFault(err)
	return fault || apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsNotFound(err) ||
		apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsBadRequest(err)
}

// writeOne makes one change, if nothing has moved under it: the work is at the generation that the change was decided on,
// and so are the works that hold what this one lets go.
func (r *Applications) writeOne(ctx context.Context, c work.Change) error {
	if c.Action == work.Create {
		err := r.Client.Create(ctx, c.Wanted.DeepCopy())
		if apierrors.IsAlreadyExists(err) {
			return r.taken(ctx, c)
		}
		return err
	}
	ok, err := r.witnessed(ctx, c)
	if err != nil || !ok {
		return err
	}
	switch c.Action {
	case work.Update:
		if c.Live.OwnerDigest == "" { // and maybe no labels at all, to which a JSON patch cannot add
			if err := r.relabel(ctx, c); err != nil {
				return err
			}
		}
		return r.replace(ctx, c)
	case work.Orphan:
		return r.orphan(ctx, *c.Live)
	case work.Delete:
		return r.remove(ctx, *c.Live)
	}
	return nil
}

// taken looks at the work that has the name of one that is to be made. Ours is there because the cache is behind: it will
// tell, and the next look compares. One that has lost our marks gets them back. A foreign one is never forced.
func (r *Applications) taken(ctx context.Context, c work.Change) error {
	current, err := r.current(ctx, c.Cluster, c.Name)
	if err != nil || current == nil {
		return err
	}
	says := work.OwnerOf(current.Annotations)
	owner := current.Labels[musterv1alpha1.OwnerLabel]
	switch {
	case owner == "" && !says.IsZero() && says == c.Owner:
		return r.relabel(ctx, c)
	case owner != c.Wanted.Labels[musterv1alpha1.OwnerLabel]:
		return fleet.Fault{
			Reason: fleet.WorkForeign, ActionRequiredBy: fleet.User, Application: c.Owner.String(), Cluster: c.Cluster,
			Message: fmt.Sprintf("work %s is there and is not this application's: remove it, or rename the application", c.Name),
		}
	case says != c.Owner:
		key, value := work.OwnerAnnotation(c.Owner)
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value)
		return r.Client.Patch(ctx, current, client.RawPatch(types.MergePatchType, patch))
	}
	return nil
}

// relabel gives a work that says it is this application's, and has no owner, its label back.
func (r *Applications) relabel(ctx context.Context, c work.Change) error {
	current, err := r.current(ctx, c.Cluster, c.Name)
	if err != nil || current == nil || current.Labels[musterv1alpha1.OwnerLabel] != "" ||
		work.OwnerOf(current.Annotations) != c.Owner {
		return err // it has moved: the cache will tell, and the next look compares
	}
	patch := fmt.Appendf(nil, `{"metadata":{"resourceVersion":%q,"labels":{%q:%q}}}`,
		current.ResourceVersion, musterv1alpha1.OwnerLabel, c.Wanted.Labels[musterv1alpha1.OwnerLabel])
	err = r.Client.Patch(ctx, current, client.RawPatch(types.MergePatchType, patch))
	if apierrors.IsConflict(err) {
		return nil // a status came in between: the next look tries again
	}
	return client.IgnoreNotFound(err)
}

// witnessed reads the witnesses of a change from the API server, not from the cache.
func (r *Applications) witnessed(ctx context.Context, c work.Change) (bool, error) {
	for _, p := range c.Preconditions {
		current, err := r.current(ctx, c.Cluster, p.Name)
		if err != nil || current == nil || string(current.UID) != p.UID || current.Generation != p.Generation || current.DeletionTimestamp != nil {
			return false, err
		}
	}
	return true, nil
}

// current is a work's metadata as the API server has it; nil when there is none.
func (r *Applications) current(ctx context.Context, cluster, name string) (*metav1.PartialObjectMetadata, error) {
	var current metav1.PartialObjectMetadata
	current.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWork"))
	err := r.Reader.Get(ctx, types.NamespacedName{Namespace: cluster, Name: name}, &current)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return &current, err
}

// operation of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// unmoved are the tests that a work is the one, at the generation, that a change was decided on.
func unmoved(lw fleet.LiveWork) []operation {
	return []operation{
		{Op: "test", Path: "/metadata/uid", Value: lw.UID},
		{Op: "test", Path: "/metadata/generation", Value: lw.Generation},
	}
}

func (r *Applications) patch(ctx context.Context, cluster, name string, operations []operation) error {
	patch, err := json.Marshal(operations)
	if err != nil {
		return err
	}
	var target metav1.PartialObjectMetadata // so that the answer is without the manifests
	target.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWork"))
	target.Namespace, target.Name = cluster, name
	err = r.Client.Patch(ctx, &target, client.RawPatch(types.JSONPatchType, patch))
	if apierrors.IsNotFound(err) || isFailedTest(err) {
		return nil // it has moved: the cache will tell, and the next look compares
	}
	return err
}

// isFailedTest: the API server answers a JSON patch whose test fails as it answers an invalid object, with no field named.
func isFailedTest(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && apierrors.IsInvalid(err) &&
		(status.Status().Details == nil || len(status.Status().Details.Causes) == 0)
}

// replace writes the whole spec and our marks, and leaves finalizers and others' marks: what somebody added to the spec is
// gone afterwards, which an apply would not do.
func (r *Applications) replace(ctx context.Context, c work.Change) error {
	operations := append(unmoved(*c.Live), operation{Op: "replace", Path: "/spec", Value: c.Wanted.Spec})
	for _, k := range slices.Sorted(maps.Keys(c.Wanted.Annotations)) {
		operations = append(operations, operation{Op: "add", Path: "/metadata/annotations/" + pointer(k), Value: c.Wanted.Annotations[k]})
	}
	for _, k := range slices.Sorted(maps.Keys(c.Wanted.Labels)) {
		operations = append(operations, operation{Op: "add", Path: "/metadata/labels/" + pointer(k), Value: c.Wanted.Labels[k]})
	}
	return r.patch(ctx, c.Cluster, c.Name, operations)
}

// orphan makes a work that is about to go leave its objects on the cluster.
func (r *Applications) orphan(ctx context.Context, lw fleet.LiveWork) error {
	option := workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan}
	return r.patch(ctx, lw.Cluster, lw.Name, append(unmoved(lw), operation{Op: "add", Path: "/spec/deleteOption", Value: option}))
}

// remove deletes a work while it is at the generation that its deletion was decided on.
func (r *Applications) remove(ctx context.Context, lw fleet.LiveWork) error {
	current, err := r.current(ctx, lw.Cluster, lw.Name)
	if err != nil || current == nil {
		return err
	}
	if string(current.UID) != lw.UID || current.Generation != lw.Generation || current.DeletionTimestamp != nil {
		return nil
	}
	err = r.Client.Delete(ctx, current, client.Preconditions{UID: &current.UID, ResourceVersion: &current.ResourceVersion})
	if apierrors.IsConflict(err) {
		return nil // a status came in between: the next look tries again
	}
	return client.IgnoreNotFound(err)
}

// finalize takes the works away as the deletion policy says, and lets the application go when none is left.
func (r *Applications) finalize(ctx context.Context, app *musterv1alpha1.Application) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(app, musterv1alpha1.ApplicationFinalizer) {
		return reconcile.Result{}, nil
	}
	works := r.Works.Of(fleet.OwnerOf(app))
	waiting := 0
	for _, lw := range works {
		waits, err := r.removeLast(ctx, app, lw)
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("delete work %s/%s: %w", lw.Cluster, lw.Name, err)
		}
		if waits {
			waiting++
		}
	}
	if len(works) > 0 {
		again, err := r.publish(ctx, app, removing(app, len(works), waiting))
		return reconcile.Result{RequeueAfter: max(again, time.Second)}, err // a work that goes wakes us sooner
	}
	// The cache may be behind: the last look is at the API server.
	var left metav1.PartialObjectMetadataList
	left.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWorkList"))
	owner := client.MatchingLabels{musterv1alpha1.OwnerLabel: fleet.OwnerOf(app).Digest()}
	if err := r.Reader.List(ctx, &left, owner); err != nil {
		return reconcile.Result{}, fmt.Errorf("look for works that are left: %w", err)
	}
	if len(left.Items) > 0 {
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	r.forget(client.ObjectKeyFromObject(app))
	return reconcile.Result{}, r.setFinalizer(ctx, app, controllerutil.RemoveFinalizer)
}

// forget lets go of all that was remembered of an application that is gone.
func (r *Applications) forget(key types.NamespacedName) {
	r.blocked.forget(key.String())
	r.concerns.forget(key.String())
	r.followed.forget(key)
	r.renamed.note(key, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.published, key)
	delete(r.undecided, key)
}

// removeLast takes a work of an application that goes away as its deletion policy says. A deletion is not begun on a cluster
// that cannot hear it: what its agent has taken up waits until the cluster is back.
func (r *Applications) removeLast(ctx context.Context, app *musterv1alpha1.Application, lw fleet.LiveWork) (waits bool, err error) {
	if lw.Deleting {
		return false, nil
	}
	if waits, err = r.waitsForCluster(ctx, lw); err != nil || waits {
		return waits, err
	}
	if app.Spec.Deletion.Application == musterv1alpha1.DeletionOrphan && !lw.Orphan {
		return false, r.orphan(ctx, lw) // its deletion follows when the cache has seen it
	}
	return false, r.remove(ctx, lw)
}

// waitsForCluster: the cluster does not answer, and its agent has put its finalizer on the work.
func (r *Applications) waitsForCluster(ctx context.Context, lw fleet.LiveWork) (bool, error) {
	var cluster clusterv1.ManagedCluster
	err := r.Client.Get(ctx, types.NamespacedName{Name: lw.Cluster}, &cluster)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil || !plan.Unreachable(&cluster) {
		return false, err
	}
	current, err := r.current(ctx, lw.Cluster, lw.Name)
	return current != nil && controllerutil.ContainsFinalizer(current, workv1.ManifestWorkFinalizer), err
}

// pointer escapes a key for a JSON pointer.
func pointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
