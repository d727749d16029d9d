package hollow

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/work"
)

// answered is the highest generation of a work that an answer was sent for.
type answered struct {
	uid        types.UID
	generation int64
}

// Answer says of each work, as soon as it comes or its spec changes, that it is applied and that its objects are healthy,
// until the context ends: one status write per generation, as an agent does when nothing has to be waited for.
func (c *Clusters) Answer(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	queue := make(chan *metav1.PartialObjectMetadata, 1<<16)
	for range max(1, c.Writers) {
		group.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case w := <-queue:
					if err := c.answer(ctx, w); client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
						return fmt.Errorf("answer work %s/%s: %w", w.Namespace, w.Name, err)
					}
				}
			}
		})
	}
	done := map[types.NamespacedName]answered{}
	note := func(o any) {
		w, ok := o.(*metav1.PartialObjectMetadata)
		if !ok || w.DeletionTimestamp != nil {
			return
		}
		key, now := client.ObjectKeyFromObject(w), answered{w.UID, w.Generation}
		if done[key] != now {
			done[key] = now
			queue <- w
		}
	}
	informer := c.watchMetadata()
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: note, UpdateFunc: func(_, after any) { note(after) },
	}); err != nil {
		return err
	}
	group.Go(func() error { informer.RunWithContext(ctx); return nil })
	return group.Wait()
}

// Answers is how many answers were written so far.
func (c *Clusters) Answers() int64 { return c.answers.Load() }

func (c *Clusters) watchMetadata() toolscache.SharedIndexInformer {
	list := func() *metav1.PartialObjectMetadataList {
		l := &metav1.PartialObjectMetadataList{}
		l.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWorkList"))
		return l
	}
	informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			l := list()
			return l, c.client.List(ctx, l, &client.ListOptions{Raw: &o, Limit: o.Limit, Continue: o.Continue})
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return c.client.Watch(ctx, list(), &client.ListOptions{Raw: &o})
		},
	}, &metav1.PartialObjectMetadata{}, 0, nil)
	_ = informer.SetTransform(func(o any) (any, error) { // it is not running
		if w, ok := o.(*metav1.PartialObjectMetadata); ok {
			w.ManagedFields = nil
		}
		return o, nil
	})
	return informer
}

// answer writes the status that an agent writes when it has applied a work and all of its objects are healthy.
func (c *Clusters) answer(ctx context.Context, w *metav1.PartialObjectMetadata) error {
	status, err := statusOf(w)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	target := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name}}
	if err := c.client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	c.answers.Add(1)
	return nil
}

func statusOf(w *metav1.PartialObjectMetadata) (workv1.ManifestWorkStatus, error) {
	var status workv1.ManifestWorkStatus
	objects, err := work.ParseObjects(w.Annotations[musterv1alpha1.ObjectsAnnotation])
	if err != nil {
		return status, err
	}
	condition := func(list *[]metav1.Condition, kind, reason string, is metav1.ConditionStatus) {
		meta.SetStatusCondition(list, metav1.Condition{
			Type: kind, Status: is, Reason: reason, Message: "a hollow cluster says so", ObservedGeneration: w.Generation,
		})
	}
	healthy := func(list *[]metav1.Condition) {
		condition(list, workv1.WorkApplied, "AppliedManifestComplete", metav1.ConditionTrue)
		condition(list, workv1.WorkAvailable, "ResourceAvailable", metav1.ConditionTrue)
		condition(list, workv1.WorkProgressing, "Completed", metav1.ConditionFalse)
		condition(list, workv1.WorkDegraded, "Healthy", metav1.ConditionFalse)
	}
	healthy(&status.Conditions)
	for i, o := range objects {
		m := workv1.ManifestCondition{ResourceMeta: workv1.ManifestResourceMeta{
			Ordinal: int32(i), Group: o.Group, Version: o.Version, Kind: o.Kind, Resource: o.Resource, Namespace: o.Namespace, Name: o.Name,
		}}
		healthy(&m.Conditions)
		status.ResourceStatus.Manifests = append(status.ResourceStatus.Manifests, m)
	}
	return status, nil
}
