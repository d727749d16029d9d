package manifestworkreplicaset

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
)

// Name of the controller, for --controllers.
const Name = "manifestworkreplicaset"

// Setup registers the controller. A ManifestWorkReplicaSet wakes for its own spec and labels, for its placements and their
// decisions, and for its works.
func (r *ReplicaSets) Setup(mgr ctrl.Manager) error {
	own := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))
	changed := builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		For(&workv1alpha1.ManifestWorkReplicaSet{}, own).
		WatchesRawSource(r.Works.Source(ofWork)).
		Watches(&clusterv1beta1.Placement{}, r.inNamespace(), changed).
		Watches(&clusterv1beta1.PlacementDecision{}, r.inNamespace(), changed).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// ofWork wakes the ManifestWorkReplicaSet that a work is of, and the one that it was of.
func ofWork(e hub.WorkEvent) []reconcile.Request {
	var requests []reconcile.Request
	owner := e.Work().Owner
	if owner.IsReplicaSet() {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}})
	}
	if e.Before != nil && e.Before.Owner != owner && e.Before.Owner.IsReplicaSet() {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: e.Before.Owner.Namespace, Name: e.Before.Owner.Name}})
	}
	return requests
}

// inNamespace wakes those of the object's namespace that name the placement.
func (r *ReplicaSets) inNamespace() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		name := o.GetName()
		if p := o.GetLabels()[clusterv1beta1.PlacementLabel]; p != "" {
			name = p
		}
		var list workv1alpha1.ManifestWorkReplicaSetList
		if err := r.Client.List(ctx, &list, client.InNamespace(o.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list ManifestWorkReplicaSets")
			return nil
		}
		var requests []reconcile.Request
		for i := range list.Items {
			set := &list.Items[i]
			for _, ref := range set.Spec.PlacementRefs {
				if ref.Name == name {
					requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(set)})
					break
				}
			}
		}
		return requests
	})
}
