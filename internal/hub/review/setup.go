package review

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"

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

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	hubsource "github.com/muster-io/muster/internal/hub/source"
)

// wakeUp lets a webhook wake the reconciler.
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

// Setup registers the controller. It wakes for webhooks, for repositories whose spec, or delivered or fetched commit, changes, for
// policies, and for applications of a repository: they tell how a merged commit goes.
func (r *Reviews) Setup(mgr ctrl.Manager) error {
	r.redact = fleet.Redactor{Key: []byte(rand.Text())}
	if r.ReplanInterval == 0 {
		r.ReplanInterval = ReplanInterval
	}
	if err := r.changes.Watch(context.Background(), mgr.GetCache(), r.Works); err != nil {
		return err
	}
	asked := handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, key types.NamespacedName) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: key}}
	})
	b := ctrl.NewControllerManagedBy(mgr).
		Named("review").
		For(&musterv1alpha1.FleetRepository{}, builder.WithPredicates(moved)).
		Watches(&musterv1alpha1.ReviewPolicy{}, handler.EnqueueRequestsFromMapFunc(r.all)).
		Watches(&musterv1alpha1.Application{}, handler.EnqueueRequestsFromMapFunc(r.delivered)).
		WatchesRawSource(source.TypedChannel(r.wake.channel(), asked)).
		WatchesRawSource(r.Repositories.Sources.Source(r.ofSource)).
		WatchesRawSource(r.Works.Source(func(hub.WorkEvent) []reconcile.Request { return nil })). // plan when the index is complete, as changes counts the rest
		WithOptions(controller.Options{MaxConcurrentReconciles: 4})
	return b.Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// sourceUser is a pull request as a user of sources.
func sourceUser(count types.NamespacedName) hubsource.User {
	return hubsource.User{Kind: "PullRequest", NamespacedName: count}
}

// ofSource wakes the repository of a pull request whose sources have changed.
func (r *Reviews) ofSource(user hubsource.User) []reconcile.Request {
	if user.Kind != "PullRequest" {
		return nil
	}
	r.changes.Add(user.NamespacedName)
	name, _, _ := strings.Cut(user.Name, "#")
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: user.Namespace, Name: name}}}
}

// moved: what the repository's controller reports on the way is no reason to look.
var moved = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*musterv1alpha1.FleetRepository)
	after, too := e.ObjectNew.(*musterv1alpha1.FleetRepository)
	if !ok || !too {
		return true
	}
	digest := func(h *musterv1alpha1.Held) string {
		if h == nil {
			return ""
		}
		return h.Plan
	}
	return before.Generation != after.Generation || before.Status.FetchedRevision != after.Status.FetchedRevision ||
		before.Status.Revision != after.Status.Revision || digest(before.Status.Held) != digest(after.Status.Held) ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero()
}}

// all wakes every repository that is reviewed.
func (r *Reviews) all(ctx context.Context, _ client.Object) []reconcile.Request {
	var list musterv1alpha1.FleetRepositoryList
	if err := r.Client.List(ctx, &list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list the repositories for a changed policy")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if list.Items[i].Spec.Review != nil {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// delivered wakes the repository of an application, if it waits for how a merged commit goes.
func (r *Reviews) delivered(_ context.Context, o client.Object) []reconcile.Request {
	key, ok := hub.RepositoryOf(o)
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[key] == nil {
		return nil
	}
	return []reconcile.Request{{NamespacedName: key}}
}
