package work

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// wantedByAnother says that another work of the hub holds the object in its manifests, and applies it.
func (e *engine) wantedByAnother(record *workv1.AppliedManifestWork, live *unstructured.Unstructured, key objectKey) bool {
	if record.Spec.HubHash != e.HubHash {
		return false
	}
	wanted := claim{live.GroupVersionKind().GroupKind(), live.GetNamespace(), live.GetName()}
	for _, name := range e.claims.others(wanted, record.Spec.ManifestWorkName) {
		var work workv1.ManifestWork
		if err := e.works.Get(context.Background(), client.ObjectKey{Namespace: e.ClusterName, Name: name}, &work); err != nil {
			return true // it was claimed a moment ago: better to wait
		}
		config := target{config: configFor(work.Spec.ManifestConfigs, key)}
		if work.DeletionTimestamp.IsZero() && config.strategy() != workv1.UpdateStrategyTypeReadOnly {
			return true
		}
	}
	return false
}

// handOver leaves an object to the work that gains it. When that one is another application's it applies under another field
// manager: what only ours has set would stay for ever, and is removed.
func (e *engine) handOver(ctx context.Context, gvr schema.GroupVersionResource, live *unstructured.Unstructured,
	record *workv1.AppliedManifestWork, key objectKey) error {
	manager, err := e.managerToEnd(ctx, record, live, key)
	if err != nil {
		return err
	}
	if manager != "" {
		nothing := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": live.GetAPIVersion(), "kind": live.GetKind(), "metadata": map[string]any{
				"name": live.GetName(), "uid": string(live.GetUID()), "resourceVersion": live.GetResourceVersion(),
			},
		}}
		body := must(nothing.MarshalJSON())
		force := true
		left, err := e.resource(gvr, live.GetNamespace()).Patch(ctx, live.GetName(), types.ApplyPatchType, body,
			metav1.PatchOptions{FieldManager: manager, Force: &force})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("leave the fields of %s %s: %w", live.GetKind(), live.GetName(), err)
		}
		live = left
	}
	if !owns(record, live) {
		return nil
	}
	return e.disown(ctx, gvr, live, record)
}

// managerToEnd is the field manager of a record's work, if the work is one of a plan and applies under another name than those
// that hold the object now; else "". OCM's works leave their fields as they are.
func (e *engine) managerToEnd(ctx context.Context, record *workv1.AppliedManifestWork, live *unstructured.Unstructured, key objectKey) (string, error) {
	if record.Spec.HubHash != e.HubHash {
		return "", nil
	}
	var mine workv1.ManifestWork
	err := e.works.Get(ctx, client.ObjectKey{Namespace: e.ClusterName, Name: record.Spec.ManifestWorkName}, &mine)
	if err != nil || mine.Annotations[musterv1alpha1.DriftAnnotation] == "" || len(mine.Spec.ManifestConfigs) == 0 {
		return "", client.IgnoreNotFound(err)
	}
	manager := target{config: mine.Spec.ManifestConfigs[0]}.serverSide().FieldManager // the application's, the same for all
	others := e.claims.others(claim{live.GroupVersionKind().GroupKind(), live.GetNamespace(), live.GetName()}, mine.Name)
	if len(others) == 0 {
		return "", nil // another hub's agent has it
	}
	for _, name := range others {
		var other workv1.ManifestWork
		if err := e.works.Get(ctx, client.ObjectKey{Namespace: e.ClusterName, Name: name}, &other); err != nil {
			return "", fmt.Errorf("read work %s, which gains the object: %w", name, err)
		}
		if (target{config: configFor(other.Spec.ManifestConfigs, key)}).serverSide().FieldManager == manager {
			return "", nil
		}
	}
	return manager, nil
}

// finish removes what a deleted work applied, then lets the work go: its finalizer is the last thing to be removed.
func (e *engine) finish(ctx context.Context, work *workv1.ManifestWork, m *memory) error {
	e.watches.want(work.Name, nil)
	if !slices.Contains(work.Finalizers, workv1.ManifestWorkFinalizer) {
		return nil
	}
	perr := e.publishDeleting(ctx, work, m, "")
	record := &workv1.AppliedManifestWork{}
	err := e.spoke.Get(ctx, client.ObjectKey{Name: e.recordName(work.Name)}, record)
	if apierrors.IsNotFound(err) {
		e.reached("record gone")
		return e.releaseWork(ctx, work)
	}
	if err != nil {
		return errors.Join(perr, fmt.Errorf("read AppliedManifestWork %s: %w", e.recordName(work.Name), err))
	}
	e.reached("deleting")
	if err := e.adoptRecord(ctx, record); err != nil {
		return errors.Join(perr, err)
	}
	if !record.DeletionTimestamp.IsZero() {
		e.queue.Add(request{record: true, name: record.Name})
		return perr
	}
	if err := e.orphanObjects(ctx, work, record, record.Status.AppliedResources); err != nil {
		return errors.Join(perr, err)
	}
	err = e.spoke.Delete(ctx, record, client.Preconditions{UID: &record.UID})
	if client.IgnoreNotFound(err) != nil {
		return errors.Join(perr, fmt.Errorf("delete AppliedManifestWork %s: %w", record.Name, err))
	}
	return perr
}

// releaseWork removes the finalizer from a work.
func (e *engine) releaseWork(ctx context.Context, work *workv1.ManifestWork) error {
	before := work.DeepCopy()
	work.Finalizers = nil
	for _, f := range before.Finalizers {
		if f != workv1.ManifestWorkFinalizer {
			work.Finalizers = append(work.Finalizers, f)
		}
	}
	err := e.hub.Patch(ctx, work, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove the finalizer from the work: %w", err)
	}
	return nil
}

// orphanObjects removes our ownerReference from those of a record's objects that stay when their manifest or the work goes. It
// is done before the record is deleted: the garbage collector would delete them with it.
func (e *engine) orphanObjects(ctx context.Context, work *workv1.ManifestWork, record *workv1.AppliedManifestWork,
	entries []workv1.AppliedManifestResourceMeta) error {
	var errs []error
	for _, entry := range entries {
		if orphaned(work.Spec.DeleteOption, keyOf(entry)) {
			errs = append(errs, e.orphan(ctx, record, entry))
		}
	}
	return errors.Join(errs...)
}

// reconcileRecord ends a record that is being deleted, and evicts one whose work is gone.
func (e *engine) reconcileRecord(ctx context.Context, name string) (time.Duration, error) {
	m := e.remembered(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	record := &workv1.AppliedManifestWork{}
	err := e.spoke.Get(ctx, client.ObjectKey{Name: name}, record)
	if apierrors.IsNotFound(err) {
		e.forget(name, m)
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the AppliedManifestWork: %w", err)
	}
	if record.Spec.AgentID != e.AgentID {
		return 0, nil // another agent's
	}
	if record.DeletionTimestamp.IsZero() {
		return e.evict(ctx, record)
	}
	if h := e.heldRecord(ctx, record); h != nil {
		return h.left(time.Now()), nil
	}
	e.reached("record deleted")
	left := e.prune(actedAs(ctx, record), record, record.Status.AppliedResources)
	if err := errors.Join(e.keepEntries(ctx, record, left.rest), e.reportLeft(ctx, record, m, left)); err != nil {
		return 0, err
	}
	if left.err != nil || len(left.rest) > 0 {
		logr.FromContextOrDiscard(ctx).V(1).Info("Wait for objects to go", "left", leftMessage(left))
		return e.patience(request{record: true, name: name}), nil
	}
	e.reached("emptied")
	before := record.DeepCopy()
	record.Finalizers = nil
	for _, f := range before.Finalizers {
		if f != workv1.AppliedManifestWorkFinalizer {
			record.Finalizers = append(record.Finalizers, f)
		}
	}
	if err := e.spoke.Patch(ctx, record, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("remove the finalizer from the AppliedManifestWork: %w", err)
	}
	return 0, nil
}

// heldRecord gives the hold of a record that is being deleted.
func (e *engine) heldRecord(ctx context.Context, record *workv1.AppliedManifestWork) *hold {
	work := &workv1.ManifestWork{}
	_ = e.works.Get(ctx, client.ObjectKey{Namespace: e.ClusterName, Name: record.Spec.ManifestWorkName}, work) // a work that is gone has no application
	return e.heldBy(work, record, time.Now())
}

// keepEntries writes down which objects of a record are still there: those that are gone leave its status as they go.
func (e *engine) keepEntries(ctx context.Context, record *workv1.AppliedManifestWork, rest []workv1.AppliedManifestResourceMeta) error {
	if len(rest) == len(record.Status.AppliedResources) {
		return nil
	}
	before := record.DeepCopy()
	record.Status.AppliedResources = rest
	if err := e.spoke.Status().Patch(ctx, record, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write down what is left of AppliedManifestWork %s: %w", record.Name, err)
	}
	return nil
}

// reportLeft tells in the status of a deleted work which of its objects are not gone yet, and what keeps them.
func (e *engine) reportLeft(ctx context.Context, record *workv1.AppliedManifestWork, m *memory, left pruned) error {
	if record.Spec.HubHash != e.HubHash || len(left.left) == 0 {
		return nil
	}
	var work workv1.ManifestWork
	err := e.works.Get(ctx, client.ObjectKey{Namespace: e.ClusterName, Name: record.Spec.ManifestWorkName}, &work)
	if err != nil || work.DeletionTimestamp.IsZero() {
		return client.IgnoreNotFound(err)
	}
	return e.publishDeleting(ctx, &work, m, leftMessage(left))
}

// patience grows from 50 ms to the retry delay for something that is slow without being wrong.
func (e *engine) patience(r request) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.waits[r]
	e.waits[r] = min(n+1, 12)
	return min(50*time.Millisecond<<n, e.RetryDelay)
}

// noPatience forgets how long something was waited for that is over.
func (e *engine) noPatience(r request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waits, r)
}

// forget drops what is remembered of a record that is gone, unless its work goes on.
func (e *engine) forget(record string, m *memory) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waits, request{record: true, name: record})
	if m.uid == "" {
		delete(e.memory, record)
	}
}
