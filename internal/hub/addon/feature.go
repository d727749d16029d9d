package addon

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// Features label each ManagedCluster with the add-ons that it has, so that placements can select clusters by them.
type Features struct {
	// Client reads from the hub's cache and writes.
	Client client.Client
}

// featureDelay is how long changes of a cluster's add-ons are gathered into one write of its labels, each of which wakes placements.
const featureDelay = time.Second

// Setup registers the controller. A cluster wakes for its labels and for its add-ons.
func (r *Features) Setup(mgr ctrl.Manager) error {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	later := func(o client.Object, q queue) {
		q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: o.GetNamespace()}}, featureDelay)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named(FeatureName).
		For(&clusterv1.ManagedCluster{}, builder.WithPredicates(predicate.LabelChangedPredicate{})).
		Watches(&addonv1alpha1.ManagedClusterAddOn{}, handler.Funcs{
			CreateFunc: func(_ context.Context, e ctrlevent.CreateEvent, q queue) { later(e.Object, q) },
			DeleteFunc: func(_ context.Context, e ctrlevent.DeleteEvent, q queue) { later(e.Object, q) },
			UpdateFunc: func(_ context.Context, e ctrlevent.UpdateEvent, q queue) {
				if feature(e.ObjectOld.(*addonv1alpha1.ManagedClusterAddOn)) != feature(e.ObjectNew.(*addonv1alpha1.ManagedClusterAddOn)) {
					later(e.ObjectNew, q)
				}
			},
		}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// Reconcile labels one cluster.
func (r *Features) Reconcile(ctx context.Context, cluster *clusterv1.ManagedCluster) (reconcile.Result, error) {
	if !cluster.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	var list addonv1alpha1.ManagedClusterAddOnList
	if err := r.Client.List(ctx, &list, client.InNamespace(cluster.Name), client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list the add-ons of cluster %s: %w", cluster.Name, err)
	}
	wanted := withFeatures(cluster.Labels, list.Items)
	if maps.Equal(wanted, cluster.Labels) {
		return reconcile.Result{}, nil
	}
	was := cluster.DeepCopy()
	cluster.Labels = wanted
	if err := r.Client.Patch(ctx, cluster, client.MergeFrom(was)); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("label cluster %s with its add-ons: %w", cluster.Name, err)
	}
	return reconcile.Result{}, nil
}

// withFeatures are a cluster's labels with those of its add-ons, and no others of this prefix.
func withFeatures(has map[string]string, addons []addonv1alpha1.ManagedClusterAddOn) map[string]string {
	out := map[string]string{}
	for key, value := range has {
		if !strings.HasPrefix(key, addonv1alpha1.FeatureLabelPrefix) {
			out[key] = value
		}
	}
	for i := range addons {
		key := addonv1alpha1.FeatureLabelPrefix + addons[i].Name
		if value := feature(&addons[i]); value != "" && len(validation.IsQualifiedName(key)) == 0 { // a long name fits in no label
			out[key] = value
		}
	}
	return out
}

// feature is what the label of an add-on says; "" for one that goes, which has none.
func feature(mca *addonv1alpha1.ManagedClusterAddOn) string {
	available := meta.FindStatusCondition(mca.Status.Conditions, addonv1alpha1.ConditionAvailable)
	switch {
	case !mca.DeletionTimestamp.IsZero():
		return ""
	case available == nil || available.Status == metav1.ConditionUnknown:
		return addonv1alpha1.FeatureUnreachable
	case available.Status == metav1.ConditionTrue:
		return addonv1alpha1.FeatureAvailable
	}
	return addonv1alpha1.FeatureUnhealthy
}
