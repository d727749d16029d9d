package fleetrepository

import (
	"context"
	"sync"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// wakeUp lets a webhook wake the reconciler. What is sent before it runs is dropped: it looks at every repository when it
// starts.
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

// Setup registers the controller: it wakes for its repositories, for webhooks, and for the placements that a delivery waits for.
func (r *Repositories) Setup(mgr ctrl.Manager) error {
	changed := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	toRepository := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		key, ok := hub.RepositoryOf(o)
		if !ok {
			return nil
		}
		return []reconcile.Request{{NamespacedName: key}}
	})
	webhooks := handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, key types.NamespacedName) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: key}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("fleetrepository").
		For(&musterv1alpha1.FleetRepository{}, changed).
		Watches(&clusterv1beta1.Placement{}, toRepository).
		Watches(&musterv1alpha1.Application{}, toRepository, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.TypedChannel(r.wake.channel(), webhooks)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 16}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}
