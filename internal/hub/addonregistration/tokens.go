package addonregistration

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// tokens makes the service accounts of agents that authenticate by token, and lets the cluster's agent ask for their tokens.
type tokens struct{ shared }

func setupTokens(mgr ctrl.Manager, s shared) error {
	r := &tokens{s}
	of, changed := madeFor(addonv1alpha1.TokenInfrastructureNameLabel)
	return ctrl.NewControllerManagedBy(mgr).
		Named("addon-token").
		For(&addonv1alpha1.ManagedClusterAddOn{}).
		Watches(&corev1.ServiceAccount{}, of, changed).
		Watches(&rbacv1.Role{}, of, changed).
		Watches(&rbacv1.RoleBinding{}, of, changed).
		WithOptions(controller.Options{MaxConcurrentReconciles: sideBySide}).
		Complete(r)
}

// Reconcile makes what the agent of one add-on on one cluster needs, or removes it.
func (r *tokens) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	addon := &addonv1alpha1.ManagedClusterAddOn{}
	err := r.client.Get(ctx, request.NamespacedName, addon)
	switch {
	case apierrors.IsNotFound(err):
		return reconcile.Result{}, r.remove(ctx, request.Namespace, request.Name)
	case err != nil:
		return reconcile.Result{}, err
	case registration.ByToken(addon) && addon.DeletionTimestamp.IsZero():
		condition, err := r.make(ctx, addon)
		return reconcile.Result{}, errors.Join(err, r.report(ctx, request.NamespacedName, func(status *addonv1alpha1.ManagedClusterAddOnStatus) {
			meta.SetStatusCondition(&status.Conditions, condition)
		}))
	case registration.ByToken(addon), meta.FindStatusCondition(addon.Status.Conditions, addonv1alpha1.ConditionTokenInfrastructureReady) == nil:
		return reconcile.Result{}, nil // an agent of an add-on that is being deleted may have to clean up on the hub
	}
	if err := r.remove(ctx, addon.Namespace, addon.Name); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, r.report(ctx, request.NamespacedName, func(status *addonv1alpha1.ManagedClusterAddOnStatus) {
		meta.RemoveStatusCondition(&status.Conditions, addonv1alpha1.ConditionTokenInfrastructureReady)
	})
}

// make makes the account with its rights, and says so.
func (r *tokens) make(ctx context.Context, addon *addonv1alpha1.ManagedClusterAddOn) (metav1.Condition, error) {
	account, role, binding := registration.WantTokenInfrastructure(addon.Namespace, addon.Name)
	var uid client.Object
	var errs []error
	for _, o := range []client.Object{account, role, binding} {
		live, err := r.ensure(ctx, o, addonv1alpha1.TokenInfrastructureLabel)
		errs = append(errs, err)
		if o == client.Object(account) {
			uid = live
		}
	}
	err := errors.Join(errs...)
	if slices.ContainsFunc(errs, apierrors.IsForbidden) {
		err = fmt.Errorf("%w; to let the hub make accounts of add-ons: kubectl label clusterrole %s %s=true", err, hub.TokenRole, hub.PermissionLabel)
	}
	if err != nil {
		return metav1.Condition{
			Type: addonv1alpha1.ConditionTokenInfrastructureReady, Status: metav1.ConditionFalse, Reason: addonv1alpha1.ReasonTokenInfrastructureApplyFailed,
			Message: fmt.Sprintf("Failed to apply token infrastructure: %v", err),
		}, err
	}
	return registration.TokenReady(addon.Namespace, addon.Name, uid.GetUID()), nil
}

// remove deletes what was made for the agent of an add-on on a cluster. What does not carry our label is somebody else's.
func (r *tokens) remove(ctx context.Context, cluster, addon string) error {
	account, role, binding := registration.WantTokenInfrastructure(cluster, addon)
	var errs []error
	for _, o := range []client.Object{binding, role, account} {
		err := r.client.Get(ctx, client.ObjectKeyFromObject(o), o)
		if err == nil && o.GetLabels()[addonv1alpha1.TokenInfrastructureLabel] == "true" {
			err = r.client.Delete(ctx, o)
		}
		if client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("delete %T %s/%s: %w", o, cluster, o.GetName(), err))
		}
	}
	return errors.Join(errs...)
}
