package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// apiSets deletes every APISet whose name is not the digest of its content: clusters share these objects, and none may say
// for another what it serves. A set that no cluster claims any more, as after an upgrade of all, goes too.
type apiSets struct {
	client client.Client
	now    func() time.Time
}

// claimDelay is how old a set must be to count as unused: an agent makes it before it claims it. Agents tell their set again
// more often than that, so that one which goes in the moment it is claimed comes back.
const claimDelay = 24 * time.Hour

func setupAPISets(mgr ctrl.Manager, o Options) error {
	r := &apiSets{client: mgr.GetClient(), now: o.Now}
	return ctrl.NewControllerManagedBy(mgr).
		Named(o.ControllerPrefix + "apisets").
		For(&musterv1alpha1.APISet{}).
		Complete(reconcile.AsReconciler[*musterv1alpha1.APISet](r.client, r))
}

// Reconcile checks one set, now and every day.
func (r *apiSets) Reconcile(ctx context.Context, set *musterv1alpha1.APISet) (reconcile.Result, error) {
	if !set.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	reason := "its name is not its digest"
	if set.Name == fleet.APISetDigest(set.KubernetesVersion, set.Resources) {
		used, err := r.used(ctx, set)
		if err != nil || used {
			return reconcile.Result{RequeueAfter: claimDelay}, err
		}
		reason = "no cluster claims it"
	}
	ctrl.LoggerFrom(ctx).Info("deleting an APISet", "name", set.Name, "reason", reason)
	err := r.client.Delete(ctx, set, client.Preconditions{UID: &set.UID, ResourceVersion: &set.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return retryConflict(reconcile.Result{}, fmt.Errorf("delete APISet %s: %w", set.Name, err))
	}
	return reconcile.Result{}, nil
}

// used is true when a cluster claims the set, or may be about to.
func (r *apiSets) used(ctx context.Context, set *musterv1alpha1.APISet) (bool, error) {
	if r.now().Before(set.CreationTimestamp.Add(claimDelay)) {
		return true, nil
	}
	var clusters clusterv1.ManagedClusterList
	if err := r.client.List(ctx, &clusters, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("look for clusters that claim APISet %s: %w", set.Name, err)
	}
	return slices.ContainsFunc(clusters.Items, func(c clusterv1.ManagedCluster) bool {
		return slices.Contains(c.Status.ClusterClaims, clusterv1.ManagedClusterClaim{Name: musterv1alpha1.APISetClaim, Value: set.Name})
	}), nil
}
