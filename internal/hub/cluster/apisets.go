package cluster

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// apiSets deletes every APISet whose name is not the digest of its content: clusters share these objects, and none may say
// for another what it serves.
type apiSets struct{ client client.Client }

func setupAPISets(mgr ctrl.Manager, o Options) error {
	r := &apiSets{client: mgr.GetClient()}
	return ctrl.NewControllerManagedBy(mgr).
		Named(o.ControllerPrefix + "apisets").
		For(&musterv1alpha1.APISet{}).
		Complete(reconcile.AsReconciler[*musterv1alpha1.APISet](r.client, r))
}

// Reconcile checks one set.
func (r *apiSets) Reconcile(ctx context.Context, set *musterv1alpha1.APISet) (reconcile.Result, error) {
	digest := fleet.APISetDigest(set.KubernetesVersion, set.Resources)
	if set.Name == digest || !set.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	ctrl.LoggerFrom(ctx).Info("deleting an APISet whose name is not its digest", "name", set.Name, "digest", digest)
	err := r.client.Delete(ctx, set, client.Preconditions{UID: &set.UID, ResourceVersion: &set.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return settle(reconcile.Result{}, fmt.Errorf("delete APISet %s: %w", set.Name, err))
	}
	return reconcile.Result{}, nil
}
