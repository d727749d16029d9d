package addon

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	rules "github.com/muster-io/muster/internal/registration"
)

// leaseGrace is how long an agent may not renew its lease: five times the minute in which it should.
const leaseGrace = 5 * time.Minute

// leases tells the hub from the leases of add-ons whether their agents live.
type leases struct {
	*Agent
	hubClient
	clusters map[bool]client.Client
}

// Reconcile looks at the lease of one add-on.
func (l *leases) Reconcile(ctx context.Context, addon *addonv1alpha1.ManagedClusterAddOn) (reconcile.Result, error) {
	if addon.Status.HealthCheck.Mode == addonv1alpha1.HealthCheckCustomized {
		return reconcile.Result{}, nil // who manages the add-on says how it is
	}
	key := client.ObjectKey{Namespace: rules.AddOnNamespace(addon), Name: addon.Name}
	lease := &coordinationv1.Lease{}
	err := l.clusters[l.isOnManagement(rules.Hosted(addon))].Get(ctx, key, lease)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("read Lease %s of add-on %s: %w", key, addon.Name, err)
	}
	if err != nil {
		lease = nil
	}
	condition := availability(addon.Name, key, lease, l.now())
	err = l.report(ctx, client.ObjectKeyFromObject(addon), func(status *addonv1alpha1.ManagedClusterAddOnStatus) {
		if status.HealthCheck.Mode != addonv1alpha1.HealthCheckCustomized {
			meta.SetStatusCondition(&status.Conditions, condition)
		}
	})
	return reconcile.Result{RequeueAfter: l.Periods.Lease}, err
}

// availability is what a lease, nil when there is none, says about the agent of an add-on.
func availability(addon string, key client.ObjectKey, lease *coordinationv1.Lease, now time.Time) metav1.Condition {
	c := metav1.Condition{Type: addonv1alpha1.ConditionAvailable}
	switch {
	case lease == nil:
		c.Status, c.Reason = metav1.ConditionUnknown, addonv1alpha1.ReasonLeaseNotFound
		c.Message = fmt.Sprintf("The status of %s add-on is unknown: its agent has not made Lease %s yet.", addon, key)
	case lease.Spec.RenewTime != nil && now.Before(lease.Spec.RenewTime.Add(leaseGrace)):
		c.Status, c.Reason = metav1.ConditionTrue, addonv1alpha1.ReasonLeaseUpdated
		c.Message = fmt.Sprintf("%s add-on is available.", addon)
	default:
		c.Status, c.Reason = metav1.ConditionFalse, addonv1alpha1.ReasonLeaseUpdateStopped
		c.Message = fmt.Sprintf("%s add-on is not available: its agent does not renew Lease %s.", addon, key)
	}
	return c
}
