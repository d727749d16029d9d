package fleetrepository

import (
	"context"
	"sync"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// wakeUp lets a webhook wake the reconciler. What is sent before it runs is dropped: it reconciles every repository at its
// start.
type wakeUp struct {
	once   sync.Once
	events chan event.TypedGenericEvent[types.NamespacedName]
}

func (w *wakeUp) channel() chan event.TypedGenericEvent[types.NamespacedName] {
	w.once.Do(func() { w.events = make(chan event.TypedGenericEvent[types.NamespacedName], 1024) })
	return w.events
}

func (w *wakeUp) send(key types.NamespacedName) {
	select {
	case w.channel() <- event.TypedGenericEvent[types.NamespacedName]{Object: key}:
	default:
	}
}

// Setup registers the controller. It wakes for repositories, webhooks, the placements that a delivery waits for, and changes of
// objects that a repository has applied.
func (r *Repositories) Setup(mgr ctrl.Manager) error {
	if err := r.observe(mgr); err != nil {
		return err
	}
	if err := mgr.Add(manager.RunnableFunc(r.collectAtStart)); err != nil {
		return err
	}
	changed := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	webhooks := handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, key types.NamespacedName) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: key}}
	})
	b := ctrl.NewControllerManagedBy(mgr).
		Named("fleetrepository").
		For(&musterv1alpha1.FleetRepository{}, changed).
		Watches(&clusterv1beta1.Placement{}, handler.EnqueueRequestsFromMapFunc(r.touched)).
		WatchesRawSource(source.TypedChannel(r.wake.channel(), webhooks)).
		WatchesRawSource(r.Sources.Source(r.ofSource)).
		WatchesRawSource(r.Works.Source(func(hub.WorkEvent) []reconcile.Request { return nil })).
		WithOptions(controller.Options{MaxConcurrentReconciles: 16})
	applied := handler.TypedEnqueueRequestsFromMapFunc(func(ctx context.Context, o *metav1.PartialObjectMetadata) []reconcile.Request {
		return r.touched(ctx, o)
	})
	for _, kind := range fleet.Kinds {
		b = b.WatchesRawSource(source.Kind(r.applied, metadataOf(kind.GroupVersionKind), applied, touches))
	}
	return b.Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// observe starts counting changes and caching the applied objects.
func (r *Repositories) observe(mgr ctrl.Manager) error {
	if err := r.changes.Watch(context.Background(), mgr.GetCache(), r.Works); err != nil {
		return err
	}
	var err error
	if r.applied, err = newApplied(mgr); err != nil {
		return err
	}
	return mgr.Add(r.applied)
}

func (r *Repositories) collectAtStart(ctx context.Context) error {
	if err := r.collectMirrors(ctx, ""); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "remove unused mirrors; they stay until the next start")
	}
	return nil
}

// touched wakes the repository of a changed object or of a decided placement. Increment the counter
// before enqueueing, so that the reconciliation is not skipped: the handler that counts all changes may be called later.
func (r *Repositories) touched(_ context.Context, o client.Object) []reconcile.Request {
	key, ok := hub.RepositoryOf(o)
	if !ok {
		return nil
	}
	r.changes.Add(key)
	return []reconcile.Request{{NamespacedName: key}}
}

// touches ignores changes of nothing but the status.
var touches = predicate.TypedFuncs[*metav1.PartialObjectMetadata]{
	UpdateFunc: func(e event.TypedUpdateEvent[*metav1.PartialObjectMetadata]) bool {
		return fingerprintOf(e.ObjectOld) != fingerprintOf(e.ObjectNew)
	},
}
