package works

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// write makes one change, if its preconditions hold. A change that comes too late is no error: the watch brings what has
// changed, and the next step compares.
func (w *Writer) write(ctx context.Context, c work.Change) error {
	if c.Action == work.Create {
		err := w.Client.Create(ctx, c.Wanted.DeepCopy())
		if apierrors.IsAlreadyExists(err) {
			return w.claimExisting(ctx, c)
		}
		return err
	}
	ok, err := w.preconditionsHold(ctx, c)
	if err != nil || !ok {
		return err
	}
	switch c.Action {
	case work.Update:
		if c.Live.OwnerDigest == "" { // it may have no labels at all, to which a JSON patch cannot add
			if err := w.relabel(ctx, c); err != nil {
				return err
			}
		}
		return w.replace(ctx, c)
	case work.Orphan:
		return w.orphan(ctx, *c.Live, c.Leave)
	case work.Delete:
		return w.remove(ctx, *c.Live)
	}
	return nil
}

// claimExisting looks at the work that has the name of a new one. The owner's own is there because the cache is stale. One
// that lost the owner's label or annotation gets it back. A work of somebody else is never overwritten.
func (w *Writer) claimExisting(ctx context.Context, c work.Change) error {
	current, err := w.current(ctx, c.Cluster, c.Name)
	if err != nil || current == nil {
		return err
	}
	named := work.OwnerOf(current)
	label := work.OwnerDigest(current)
	switch {
	case label == "" && !named.IsZero() && named == c.Owner:
		return w.relabel(ctx, c)
	case label != work.OwnerDigest(c.Wanted):
		return fleet.Fault{
			Reason: fleet.WorkForeign, ActionRequiredBy: fleet.User, Application: c.Owner.String(), Cluster: c.Cluster,
			Message: fmt.Sprintf("work %s exists and does not belong to %s: remove it, or use another name", c.Name, c.Owner.WithKind()),
		}
	case named != c.Owner:
		key, value := work.OwnerAnnotation(c.Owner)
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value)
		return w.Client.Patch(ctx, current, client.RawPatch(types.MergePatchType, patch))
	}
	return nil
}

// relabel gives a work that names the owner, and has no owner label, its label back.
func (w *Writer) relabel(ctx context.Context, c work.Change) error {
	current, err := w.current(ctx, c.Cluster, c.Name)
	if err != nil || current == nil || current.Labels[musterv1alpha1.OwnerLabel] != "" ||
		work.OwnerOf(current) != c.Owner {
		return err
	}
	patch := fmt.Appendf(nil, `{"metadata":{"resourceVersion":%q,"labels":{%q:%q}}}`,
		current.ResourceVersion, musterv1alpha1.OwnerLabel, c.Wanted.Labels[musterv1alpha1.OwnerLabel])
	err = w.Client.Patch(ctx, current, client.RawPatch(types.MergePatchType, patch))
	if apierrors.IsConflict(err) {
		return nil // a status was written in between: the next step tries again
	}
	return client.IgnoreNotFound(err)
}

// preconditionsHold reads the works that get the objects of a change from the API server, not from the cache.
func (w *Writer) preconditionsHold(ctx context.Context, c work.Change) (bool, error) {
	for _, p := range c.Preconditions {
		current, err := w.current(ctx, c.Cluster, p.Name)
		if err != nil || current == nil || string(current.UID) != p.UID || current.Generation != p.Generation || current.DeletionTimestamp != nil {
			return false, err
		}
	}
	return true, nil
}

// current is a work's metadata as the API server has it; nil when there is none.
func (w *Writer) current(ctx context.Context, cluster, name string) (*metav1.PartialObjectMetadata, error) {
	var current metav1.PartialObjectMetadata
	current.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWork"))
	err := w.Reader.Get(ctx, types.NamespacedName{Namespace: cluster, Name: name}, &current)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return &current, err
}

// operation of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// unchanged are the tests that a work is the one, at the generation, that a change was decided on.
func unchanged(lw fleet.LiveWork) []operation {
	return []operation{
		{Op: "test", Path: "/metadata/uid", Value: lw.UID},
		{Op: "test", Path: "/metadata/generation", Value: lw.Generation},
	}
}

func (w *Writer) patch(ctx context.Context, cluster, name string, operations []operation) error {
	patch, err := json.Marshal(operations)
	if err != nil {
		return err
	}
	var target metav1.PartialObjectMetadata // so that the answer is without the manifests
	target.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWork"))
	target.Namespace, target.Name = cluster, name
	err = w.Client.Patch(ctx, &target, client.RawPatch(types.JSONPatchType, patch))
	if apierrors.IsNotFound(err) || isFailedTest(err) {
		return nil // the work has changed
	}
	return err
}

// isFailedTest: the API server answers a JSON patch whose test fails as it answers an invalid object, with no field named.
func isFailedTest(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && apierrors.IsInvalid(err) &&
		(status.Status().Details == nil || len(status.Status().Details.Causes) == 0)
}

// replace writes the complete spec and the owner's labels and annotations, takes off those of its annotations that are not wanted any more,
// and keeps finalizers and the labels and annotations of others. What somebody added to the spec is gone afterwards; an apply would keep it.
func (w *Writer) replace(ctx context.Context, c work.Change) error {
	operations := append(unchanged(*c.Live), operation{Op: "replace", Path: "/spec", Value: c.Wanted.Spec})
	for _, k := range slices.Sorted(maps.Keys(c.Wanted.Annotations)) {
		operations = append(operations, operation{Op: "add", Path: "/metadata/annotations/" + pointer(k), Value: c.Wanted.Annotations[k]})
	}
	if len(c.Wanted.Annotations) > 0 {
		for _, k := range work.Unset(c.Wanted) { // added first, since what is not there cannot be removed
			path := "/metadata/annotations/" + pointer(k)
			operations = append(operations, operation{Op: "add", Path: path, Value: ""}, operation{Op: "remove", Path: path})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.Wanted.Labels)) {
		operations = append(operations, operation{Op: "add", Path: "/metadata/labels/" + pointer(k), Value: c.Wanted.Labels[k]})
	}
	return w.patch(ctx, c.Cluster, c.Name, operations)
}

// PassCanaries lets agents leave a step of a canary. A work that has changed since is left alone.
func (w *Writer) PassCanaries(ctx context.Context, passes []rollout.CanaryPass) error {
	var group errgroup.Group
	group.SetLimit(max(1, w.Concurrency))
	for _, p := range passes {
		group.Go(func() error {
			err := w.patch(ctx, p.Cluster, p.Work, append(unchanged(fleet.LiveWork{UID: p.UID, Generation: p.Generation}), operation{
				Op: "add", Path: "/metadata/annotations/" + pointer(musterv1alpha1.CanaryPassedAnnotation), Value: work.CanaryPass(p.Generation, p.Step),
			}))
			if err != nil {
				return fmt.Errorf("let work %s/%s leave step %d of its canary: %w", p.Cluster, p.Work, p.Step, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// orphan makes a work that is about to be deleted leave its objects on the cluster, or those of them that are named.
func (w *Writer) orphan(ctx context.Context, lw fleet.LiveWork, leave []fleet.ObjectKey) error {
	return w.patch(ctx, lw.Cluster, lw.Name, append(unchanged(lw), operation{Op: "add", Path: "/spec/deleteOption", Value: work.Leaving(lw, leave)}))
}

// remove deletes a work while it is at the generation that its deletion was decided on.
func (w *Writer) remove(ctx context.Context, lw fleet.LiveWork) error {
	current, err := w.current(ctx, lw.Cluster, lw.Name)
	if err != nil || current == nil {
		return err
	}
	if string(current.UID) != lw.UID || current.Generation != lw.Generation || current.DeletionTimestamp != nil {
		return nil
	}
	err = w.Client.Delete(ctx, current, client.Preconditions{UID: &current.UID, ResourceVersion: &current.ResourceVersion})
	if apierrors.IsConflict(err) {
		return nil // a status was written in between: the next step tries again
	}
	return client.IgnoreNotFound(err)
}

// pointer escapes a key for a JSON pointer.
func pointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
