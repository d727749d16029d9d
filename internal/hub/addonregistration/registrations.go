package addonregistration

import (
	"context"
	"errors"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// registrations says what the agents of add-ons with a template ask for, and gives them their rights on the hub.
type registrations struct{ shared }

func setupRegistrations(mgr ctrl.Manager, s shared) error {
	r := &registrations{s}
	binding, changed := madeFor(addonv1alpha1.AddonNameLabel)
	return ctrl.NewControllerManagedBy(mgr).
		Named("addon-registration").
		For(&addonv1alpha1.ManagedClusterAddOn{}).
		Watches(&addonv1alpha1.AddOnTemplate{}, s.withConfig(addon.Template)).
		Watches(&addonv1alpha1.AddOnDeploymentConfig{}, s.withConfig(addon.DeploymentConfig)).
		Watches(&rbacv1.RoleBinding{}, binding, changed).
		WithOptions(controller.Options{MaxConcurrentReconciles: sideBySide}).
		Complete(r)
}

// Reconcile does everything for one add-on on one cluster.
func (r *registrations) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	addon := &addonv1alpha1.ManagedClusterAddOn{}
	err := r.client.Get(ctx, request.NamespacedName, addon)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, r.release(ctx, request.Namespace, request.Name, nil)
	}
	if err != nil || !addon.DeletionTimestamp.IsZero() { // its agent may have to clean up on the hub
		return reconcile.Result{}, err
	}
	template, err := r.template(ctx, addon)
	switch {
	case err != nil:
		return reconcile.Result{}, client.IgnoreNotFound(err) // the template's coming wakes us
	case template == nil: // it has a manager of its own, perhaps since just now
		return reconcile.Result{}, r.release(ctx, addon.Namespace, addon.Name, nil)
	}
	namespace, err := r.namespace(ctx, addon)
	if err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	wanted := registration.RegistrationsOf(addon.Namespace, addon.Name, template.Spec.Registration)
	addon = addon.DeepCopy()
	addon.Status.Registrations = registration.MergeRegistrations(wanted, addon.Status)
	condition, err := r.permit(ctx, addon, template)
	return reconcile.Result{}, errors.Join(err, r.report(ctx, request.NamespacedName, func(status *addonv1alpha1.ManagedClusterAddOnStatus) {
		status.Registrations = registration.MergeRegistrations(wanted, *status)
		status.Namespace = namespace
		meta.SetStatusCondition(&status.Conditions, condition)
	}))
}

// namespace is where the agent runs on the cluster, as its works are rendered.
func (r *registrations) namespace(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn) (string, error) {
	var configs []*addonv1alpha1.AddOnDeploymentConfig
	for _, referent := range desired(mca, addon.DeploymentConfig) {
		config := &addonv1alpha1.AddOnDeploymentConfig{}
		if err := r.client.Get(ctx, client.ObjectKey{Namespace: referent.Namespace, Name: referent.Name}, config); err != nil {
			return "", fmt.Errorf("read the configuration of add-on %s on %s: %w", mca.Name, mca.Namespace, err)
		}
		configs = append(configs, config)
	}
	return addon.InstallNamespaceOf(mca, configs), nil
}

// permit gives the agent its rights, and says so.
func (r *registrations) permit(ctx context.Context, addon *addonv1alpha1.ManagedClusterAddOn, template *addonv1alpha1.AddOnTemplate) (metav1.Condition, error) {
	condition := metav1.Condition{
		Type: addonv1alpha1.ConditionRegistrationApplied, Status: metav1.ConditionTrue, Reason: addonv1alpha1.ReasonSetPermissionApplied,
		Message: "Registration of the addon agent is configured",
	}
	if len(addon.Status.Registrations) == 0 {
		condition.Reason = addonv1alpha1.ReasonNilRegistration
	}
	bindings, err := registration.WantAddOnBindings(addon, template.Spec.Registration)
	if err == nil && len(bindings) > 0 && len(bindings[0].Subjects) == 0 {
		condition.Status, condition.Reason = metav1.ConditionFalse, addonv1alpha1.ReasonPermissionConfigPending
		condition.Message = "the agent of the cluster has not said yet who the add-on's agent is"
		return condition, nil
	}
	var errs []error
	for _, b := range bindings {
		errs = append(errs, r.bind(ctx, addon, b))
	}
	errs = append(errs, err, r.release(ctx, addon.Namespace, addon.Name, bindings))
	if err = errors.Join(errs...); err != nil {
		condition.Status, condition.Reason = metav1.ConditionFalse, addonv1alpha1.ReasonSetPermissionFailed
		condition.Message = err.Error()
	}
	return condition, err
}

// bind gives the agent of one cluster one role.
func (r *registrations) bind(ctx context.Context, addon *addonv1alpha1.ManagedClusterAddOn, wanted *rbacv1.RoleBinding) error {
	if wanted.Namespace != addon.Namespace {
		live := &rbacv1.RoleBinding{}
		err := r.live.Get(ctx, client.ObjectKeyFromObject(wanted), live) // agents of other clusters are in it
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		wanted.Subjects = registration.Share(live.Subjects, addon.Namespace, addon.Name, wanted.Subjects)
	}
	_, err := r.ensure(ctx, wanted, addonv1alpha1.AddonTemplateNameLabel)
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("give the add-on's agent %s %s in namespace %s: the hub does not hold its rights, and gives none that it does not hold; "+
			"to let it give them: kubectl label clusterrole %s %s=true, or bind it to the hub's account there: %w",
			wanted.RoleRef.Kind, wanted.RoleRef.Name, wanted.Namespace, wanted.RoleRef.Name, hub.PermissionLabel, err)
	}
	return err
}

// release takes from the agent of one cluster what it has in other bindings than those kept.
func (r *registrations) release(ctx context.Context, cluster, addon string, kept []*rbacv1.RoleBinding) error {
	var list rbacv1.RoleBindingList
	if err := r.client.List(ctx, &list, client.MatchingFields{agentIndex: agentKey(cluster, addon)}); err != nil {
		return fmt.Errorf("list the rights of add-on %s: %w", addon, err)
	}
	var errs []error
	for i := range list.Items {
		b := &list.Items[i]
		if !b.DeletionTimestamp.IsZero() || slices.ContainsFunc(kept, func(k *rbacv1.RoleBinding) bool { return k.Namespace == b.Namespace && k.Name == b.Name }) {
			continue
		}
		if b.Subjects = registration.Share(b.Subjects, cluster, addon, nil); len(b.Subjects) > 0 {
			errs = append(errs, client.IgnoreNotFound(r.client.Update(ctx, b)))
		} else {
			errs = append(errs, client.IgnoreNotFound(r.client.Delete(ctx, b, client.Preconditions{ResourceVersion: &b.ResourceVersion})))
		}
	}
	return errors.Join(errs...)
}

// agentIndex finds the bindings with which the hub gives the agents of add-ons their rights.
const agentIndex = "muster.addon-agent"

func agentKey(cluster, addon string) string { return cluster + "/" + addon }

func agentsOf(o client.Object) []string {
	b := o.(*rbacv1.RoleBinding)
	if _, ours := b.Labels[addonv1alpha1.AddonTemplateNameLabel]; !ours {
		return nil
	}
	var keys []string
	for _, s := range b.Subjects {
		if cluster, addon, ok := registration.AddOnAgentOf(s); ok && addon == b.Labels[addonv1alpha1.AddonNameLabel] {
			keys = append(keys, agentKey(cluster, addon))
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(keys)))
}
