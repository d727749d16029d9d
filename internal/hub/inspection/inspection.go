// Package inspection deletes Inspections whose time is over: the hub keeps nothing of what a cluster has answered.
package inspection

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Name of the controller, for --controllers.
const Name = "inspection"

// Lifetime of an Inspection, answered or not.
const Lifetime = 2 * time.Minute

// Collector deletes Inspections. It looks at their metadata only: answers are not in the hub's memory.
type Collector struct {
	Client client.Client
	// Now is the clock.
	Now func() time.Time
}

// Setup registers the controller.
func (c *Collector) Setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named(Name).For(&musterv1alpha1.Inspection{}, builder.OnlyMetadata).Complete(c)
}

// Reconcile deletes one Inspection whose time is over, or looks again when it is.
func (c *Collector) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	i := &metav1.PartialObjectMetadata{}
	i.SetGroupVersionKind(musterv1alpha1.GroupVersion.WithKind("Inspection"))
	if err := c.Client.Get(ctx, request.NamespacedName, i); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if left := i.CreationTimestamp.Add(Lifetime).Sub(c.Now()); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	if err := c.Client.Delete(ctx, i, client.Preconditions{UID: &i.UID}); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("delete Inspection %s, whose time is over: %w", request, err)
	}
	return reconcile.Result{}, nil
}
