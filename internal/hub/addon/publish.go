package addon

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

// RefusedAgain is the time until works are written again that the API server has refused: it may take them later.
const RefusedAgain = 15 * time.Second

// PublishStatus writes the status of an add-on on a cluster if it differs from what it was before, and looks again after a time, unless that
// is zero.
func PublishStatus(ctx context.Context, c client.Client, before, after *addonv1alpha1.ManagedClusterAddOn, again time.Duration) (reconcile.Result, error) {
	if !equality.Semantic.DeepEqual(before.Status, after.Status) {
		was := after.DeepCopy()
		was.Status = before.Status
		if err := c.Status().Patch(ctx, after, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})); err != nil {
			return Conflicted(err)
		}
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// Conflicted tries again soon when the cache is stale, and not at all when the object is gone.
func Conflicted(err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: 200 * time.Millisecond}, nil
	}
	return reconcile.Result{}, client.IgnoreNotFound(err)
}
