package addonregistration

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// CANamespace holds the CAs of signers, unless a template names another namespace.
const CANamespace = "open-cluster-management-hub"

// requests answers the signing requests of add-ons with a template.
type requests struct{ shared }

// requestIndex finds the signing requests of an add-on on a cluster that wait for an answer.
const requestIndex = "muster.addon"

func requestOf(o client.Object) []string {
	cluster, addon, ok := registration.OfAddOn(o.GetLabels())
	if !ok || !waits(o.(*certificatesv1.CertificateSigningRequest)) {
		return nil
	}
	return []string{cluster + "/" + addon}
}

// waits says that the hub may still have something to do for a request.
func waits(csr *certificatesv1.CertificateSigningRequest) bool {
	return len(csr.Status.Certificate) == 0 && !registration.Denied(csr)
}

func setupRequests(mgr ctrl.Manager, s shared) error {
	r := &requests{s}
	ofAddOn := predicate.NewPredicateFuncs(func(o client.Object) bool {
		_, _, ok := registration.OfAddOn(o.GetLabels())
		return ok
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("addon-requests").
		For(&certificatesv1.CertificateSigningRequest{}, builder.WithPredicates(ofAddOn)).
		Watches(&addonv1alpha1.ManagedClusterAddOn{}, handler.EnqueueRequestsFromMapFunc(r.waiting)).
		WithOptions(controller.Options{MaxConcurrentReconciles: sideBySide}).
		Complete(reconcile.AsReconciler(s.client, r))
}

// waiting enqueues the requests of an add-on that wait.
func (r *requests) waiting(ctx context.Context, o client.Object) []reconcile.Request {
	var list certificatesv1.CertificateSigningRequestList
	if err := r.client.List(ctx, &list, client.MatchingFields{requestIndex: o.GetNamespace() + "/" + o.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list the signing requests of add-ons")
		return nil
	}
	all := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		all[i].Name = list.Items[i].Name
	}
	return all
}

// Reconcile approves one request, and signs it when the hub is its signer.
func (r *requests) Reconcile(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) (reconcile.Result, error) {
	if !waits(csr) {
		return reconcile.Result{}, nil
	}
	known, template, err := r.known(ctx, csr)
	if err != nil || template == nil {
		return reconcile.Result{}, err
	}
	if registration.Unanswered(csr) {
		if why := registration.DecideAddOn(csr, known); why != nil {
			r.Events.Eventf(csr, nil, corev1.EventTypeWarning, registration.ReasonInvalidRequest, "Wait", "the hub does not approve it: %v", why)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, r.approve(ctx, csr)
	}
	return reconcile.Result{}, r.sign(ctx, csr, template)
}

// known is what the hub knows of whom a request is about; the template is nil when the add-on has none.
func (r *requests) known(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) (registration.AddOnAgents, *addonv1alpha1.AddOnTemplate, error) {
	cluster, name, _ := registration.OfAddOn(csr.Labels)
	addon := &addonv1alpha1.ManagedClusterAddOn{}
	if err := r.client.Get(ctx, client.ObjectKey{Namespace: cluster, Name: name}, addon); err != nil {
		return registration.AddOnAgents{}, nil, client.IgnoreNotFound(err)
	}
	template, err := r.template(ctx, addon)
	if err != nil || template == nil {
		return registration.AddOnAgents{}, nil, client.IgnoreNotFound(err)
	}
	known := registration.AddOnAgents{AddOn: addon, Cluster: &clusterv1.ManagedCluster{}, Registrations: template.Spec.Registration}
	err = r.client.Get(ctx, client.ObjectKey{Name: cluster}, known.Cluster)
	if apierrors.IsNotFound(err) {
		known.Cluster, err = nil, nil
	}
	return known, template, err
}

func (r *requests) approve(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: registration.ApprovedReason,
		Message: "Auto approving addon agent certificate.",
	})
	err := r.client.SubResource("approval").Update(ctx, csr)
	if apierrors.IsForbidden(err) {
		err = r.unpermitted(csr, "approve", err)
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("approve %s: %w", csr.Name, err)
	}
	return nil
}

// sign issues the certificate of an approved request for whose signer the template names a CA.
func (r *requests) sign(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, template *addonv1alpha1.AddOnTemplate) error {
	ref := registration.SigningCA(csr.Spec.SignerName, template.Spec.Registration)
	if ref == nil {
		return nil
	}
	key := client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
	if key.Namespace == "" {
		key.Namespace = CANamespace
	}
	var ca corev1.Secret
	err := r.live.Get(ctx, key, &ca)
	if apierrors.IsForbidden(err) {
		err = fmt.Errorf("read the CA of signer %s: %w; to let the hub: kubectl create rolebinding muster-addon-signers -n %s --clusterrole=%s --serviceaccount=%s:%s",
			csr.Spec.SignerName, err, key.Namespace, hub.SignerRole, registration.SystemNamespace, hub.Account)
	} else if err != nil {
		err = fmt.Errorf("read the CA of signer %s: %w", csr.Spec.SignerName, err)
	} else if csr.Status.Certificate, err = registration.Sign(csr, ca.Data, r.Now()); err != nil {
		err = fmt.Errorf("sign with the CA in Secret %s: %w", key, err)
	}
	if err != nil {
		r.Events.Eventf(csr, nil, corev1.EventTypeWarning, "SigningFailed", "Sign", "%v", err)
		return err
	}
	err = r.client.Status().Update(ctx, csr)
	if apierrors.IsForbidden(err) {
		err = r.unpermitted(csr, "sign", err)
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("issue the certificate of %s: %w", csr.Name, err)
	}
	return nil
}

// unpermitted says what an administrator does who lets the hub answer the requests of a signer.
func (r *requests) unpermitted(csr *certificatesv1.CertificateSigningRequest, verb string, err error) error {
	err = fmt.Errorf("%w; to let the hub: a ClusterRole with label %s=true that allows to approve and sign signers %s of %s",
		err, hub.PermissionLabel, csr.Spec.SignerName, certificatesv1.GroupName)
	r.Events.Eventf(csr, nil, corev1.EventTypeWarning, "NotPermitted", "Answer", "the hub may not %s it: %v", verb, err)
	return err
}
