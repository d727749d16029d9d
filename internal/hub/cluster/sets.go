package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/registration"
)

// sets counts the members of each ManagedClusterSet, and keeps the sets default and global as they are meant.
type sets struct{ client client.Client }

func setupSets(mgr ctrl.Manager, o Options) error {
	r := &sets{client: mgr.GetClient()}
	start := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		for _, name := range []string{clusterv1beta2.DefaultClusterSet, clusterv1beta2.GlobalClusterSet} {
			queue.Add(reconcile.Request{NamespacedName: client.ObjectKey{Name: name}})
		}
		return nil
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named(o.ControllerPrefix+"sets").
		For(&clusterv1beta2.ManagedClusterSet{}).
		Watches(&clusterv1.ManagedCluster{}, handler.Funcs{
			CreateFunc: func(ctx context.Context, _ event.CreateEvent, q setQueue) { r.countSoon(ctx, q) },
			UpdateFunc: func(ctx context.Context, _ event.UpdateEvent, q setQueue) { r.countSoon(ctx, q) },
			DeleteFunc: func(ctx context.Context, _ event.DeleteEvent, q setQueue) { r.countSoon(ctx, q) },
		}, builder.WithPredicates(labelsChanged())).
		WatchesRawSource(start).
		Complete(reconcile.Func(r.Reconcile))
}

type setQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// countDelay is how long the members of a set are not counted again after a cluster has changed, so that many clusters that join
// at once are counted together.
const countDelay = 500 * time.Millisecond

// countSoon enqueues all sets.
func (r *sets) countSoon(ctx context.Context, queue setQueue) {
	var list clusterv1beta2.ManagedClusterSetList
	if err := r.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list cluster sets")
		return
	}
	for i := range list.Items {
		queue.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}, countDelay)
	}
}

// labelsChanged lets clusters through that came, went or changed their labels.
func labelsChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels())
	}}
}

// Reconcile keeps one set.
func (r *sets) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	set := &clusterv1beta2.ManagedClusterSet{}
	err := r.client.Get(ctx, request.NamespacedName, set)
	spec, own := registration.WantSet(request.Name)
	switch {
	case apierrors.IsNotFound(err) && own:
		set = &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: request.Name}, Spec: spec}
		return reconcile.Result{}, r.client.Create(ctx, set)
	case err != nil:
		return reconcile.Result{}, client.IgnoreNotFound(err)
	case !set.DeletionTimestamp.IsZero():
		return reconcile.Result{}, nil
	case own && set.Annotations[clusterv1beta2.AutoUpdateAnnotation] != "false" &&
		!equality.Semantic.DeepEqual(set.Spec.ClusterSelector, spec.ClusterSelector):
		set.Spec.ClusterSelector = spec.ClusterSelector
		return retryConflict(reconcile.Result{}, r.client.Update(ctx, set))
	}
	return retryConflict(reconcile.Result{}, r.count(ctx, set))
}

// count says in the status of a set whether it has members.
func (r *sets) count(ctx context.Context, set *clusterv1beta2.ManagedClusterSet) error {
	selector, err := registration.SetSelector(set)
	if err != nil {
		return reconcile.TerminalError(err)
	}
	var members clusterv1.ManagedClusterList
	if err := r.client.List(ctx, &members, client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the clusters of set %s: %w", set.Name, err)
	}
	base := set.DeepCopy()
	if !meta.SetStatusCondition(&set.Status.Conditions, registration.SetCondition(set, len(members.Items))) {
		return nil
	}
	return r.client.Status().Patch(ctx, set, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
}

func namespacesOf(o client.Object) []clusterv1.ManagedNamespaceConfig {
	if set, ok := o.(*clusterv1beta2.ManagedClusterSet); ok {
		return set.Spec.ManagedNamespaces
	}
	return nil
}

// bindings says of each ManagedClusterSetBinding whether its set exists.
type bindings struct{ client client.Client }

func setupBindings(mgr ctrl.Manager, o Options) error {
	r := &bindings{client: mgr.GetClient()}
	comesOrGoes := predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
	return ctrl.NewControllerManagedBy(mgr).
		Named(o.ControllerPrefix+"bindings").
		For(&clusterv1beta2.ManagedClusterSetBinding{}).
		Watches(&clusterv1beta2.ManagedClusterSet{}, handler.EnqueueRequestsFromMapFunc(r.ofSet), builder.WithPredicates(comesOrGoes)).
		Complete(reconcile.AsReconciler[*clusterv1beta2.ManagedClusterSetBinding](r.client, r))
}

func (r *bindings) ofSet(ctx context.Context, set client.Object) []reconcile.Request {
	var list clusterv1beta2.ManagedClusterSetBindingList
	if err := r.client.List(ctx, &list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list bindings")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if list.Items[i].Spec.ClusterSet == set.GetName() {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// Reconcile keeps the Bound condition of one binding.
func (r *bindings) Reconcile(ctx context.Context, binding *clusterv1beta2.ManagedClusterSetBinding) (reconcile.Result, error) {
	set := &clusterv1beta2.ManagedClusterSet{}
	err := r.client.Get(ctx, client.ObjectKey{Name: binding.Spec.ClusterSet}, set)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	base := binding.DeepCopy()
	if !meta.SetStatusCondition(&binding.Status.Conditions, registration.BoundCondition(binding, err == nil)) {
		return reconcile.Result{}, nil
	}
	err = r.client.Status().Patch(ctx, binding, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	return retryConflict(reconcile.Result{}, errors.Join(err))
}
