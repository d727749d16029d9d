package addon

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// BuiltIns tell the klusterlets which of their roles are wanted as add-ons, and give them the rights on the hub that the role needs, where the hub
// may.
type BuiltIns struct {
	// Client reads from the hub's cache and writes.
	Client client.Client
}

// Setup registers the controller.
func (r *BuiltIns) Setup(mgr ctrl.Manager) error {
	ofDefinition := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		have, err := onClusters(ctx, r.Client, o.GetName())
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list the clusters that have an add-on")
		}
		requests := make([]reconcile.Request, len(have))
		for i := range have {
			requests[i].NamespacedName = client.ObjectKeyFromObject(&have[i])
		}
		return requests
	})
	ofBinding := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: addonv1alpha1.ManagedServiceAccountName}}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named(BuiltInName).
		For(&addonv1alpha1.ManagedClusterAddOn{}).
		Watches(&addonv1alpha1.ClusterManagementAddOn{}, ofDefinition, builder.WithPredicates(predicate.AnnotationChangedPredicate{})).
		Watches(&rbacv1.RoleBinding{}, ofBinding, builder.WithPredicates(predicate.NewPredicateFuncs(
			func(o client.Object) bool { return o.GetName() == hub.ServiceAccountRole }))).
		Complete(r)
}

// Reconcile does everything for one add-on on one cluster.
func (r *BuiltIns) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	mca := &addonv1alpha1.ManagedClusterAddOn{}
	err := r.Client.Get(ctx, request.NamespacedName, mca)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, r.forbid(ctx, request.NamespacedName)
	}
	if err != nil || !mca.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, err
	}
	cma := &addonv1alpha1.ClusterManagementAddOn{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: mca.Name}, cma); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	role := cma.Annotations[musterv1alpha1.AgentRoleAnnotation]
	if had := mca.Annotations[musterv1alpha1.AgentRoleAnnotation]; had != role {
		return Conflicted(r.tell(ctx, mca, role))
	}
	if role == "" {
		return reconcile.Result{}, nil
	}
	perr := r.permit(ctx, mca, role)
	before := mca.DeepCopy()
	sayBuiltIn(mca, role, perr)
	if result, err := PublishStatus(ctx, r.Client, before, mca, 0); err != nil || result.RequeueAfter > 0 {
		return result, err
	}
	return reconcile.Result{}, perr
}

// tell writes on the ManagedClusterAddOn which role of the klusterlet is wanted.
func (r *BuiltIns) tell(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn, role string) error {
	was := mca.DeepCopy()
	if role == "" {
		delete(mca.Annotations, musterv1alpha1.AgentRoleAnnotation)
	} else {
		metav1.SetMetaDataAnnotation(&mca.ObjectMeta, musterv1alpha1.AgentRoleAnnotation, role)
	}
	return r.Client.Patch(ctx, mca, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{}))
}

// sayBuiltIn says in the status what a manager of the add-on would: where its agent has its Lease, which the klusterlet looks at.
func sayBuiltIn(mca *addonv1alpha1.ManagedClusterAddOn, role string, failure error) {
	mca.Status.Namespace = addonv1alpha1.DefaultInstallNamespace
	mca.Status.HealthCheck.Mode = addonv1alpha1.HealthCheckLease
	c := metav1.Condition{
		Type: addonv1alpha1.ConditionRegistrationApplied, Status: metav1.ConditionTrue, Reason: addonv1alpha1.ReasonSetPermissionApplied,
		Message: "the cluster's agent has the rights on the hub that its role " + role + " needs",
	}
	if failure != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, addonv1alpha1.ReasonSetPermissionFailed, failure.Error()
	}
	meta.SetStatusCondition(&mca.Status.Conditions, c)
}

// permit gives the cluster's agents what the role needs on the hub, unless who has enabled the add-on did. The proxy needs nothing but to be an
// agent.
func (r *BuiltIns) permit(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn, role string) error {
	if role != musterv1alpha1.AgentRoleServiceAccount {
		return nil
	}
	wanted := registration.WantServiceAccountBinding(mca)
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(wanted), &rbacv1.RoleBinding{})
	if apierrors.IsNotFound(err) {
		err = client.IgnoreAlreadyExists(r.Client.Create(ctx, wanted))
	}
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("the hub does not hold the rights of ClusterRole %s, and gives none that it does not hold: muster addon enable %s --clusters %s gives them, or let the hub: "+
			"kubectl label clusterrole %s %s=true: %w", hub.ServiceAccountRole, mca.Name, mca.Namespace, hub.ServiceAccountRole, hub.PermissionLabel, err)
	}
	if err != nil {
		return fmt.Errorf("give the agent of cluster %s the rights of ClusterRole %s: %w", mca.Namespace, hub.ServiceAccountRole, err)
	}
	return nil
}

// forbid takes back what permit gave, where no garbage collector does.
func (r *BuiltIns) forbid(ctx context.Context, of client.ObjectKey) error {
	b := &rbacv1.RoleBinding{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: of.Namespace, Name: hub.ServiceAccountRole}, b)
	for _, o := range b.OwnerReferences {
		if err == nil && o.Kind == "ManagedClusterAddOn" && o.Name == of.Name {
			err = r.Client.Delete(ctx, b, client.Preconditions{UID: &b.UID})
		}
	}
	return client.IgnoreNotFound(err)
}
