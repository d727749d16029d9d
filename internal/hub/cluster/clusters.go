package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/registration"
)

// clusters gives each accepted ManagedCluster its namespace and rights on the hub, and keeps its conditions and taints correct.
type clusters struct {
	Options
	client client.Client
	live   client.Reader // not cached: leases change too often to be watched, works are too large
	// silence says whether a cluster whose lease has expired may be called silent.
	silence *silence
}

func setupClusters(mgr ctrl.Manager, o Options) error {
	silence, err := setupSilence(mgr, o)
	if err != nil {
		return err
	}
	r := &clusters{
		Options: o, client: mgr.GetClient(), live: mgr.GetAPIReader(), silence: silence,
	}
	owner := handler.EnqueueRequestsFromMapFunc(ownerCluster)
	// The controller creates these objects itself, so that creations do not wake it. What somebody else created is corrected by ensure.
	changed := builder.WithPredicates(predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }})
	return ctrl.NewControllerManagedBy(mgr).
		Named(o.ControllerPrefix+"clusters").
		For(&clusterv1.ManagedCluster{}, builder.WithPredicates(moreThanReported())).
		Watches(&rbacv1.ClusterRole{}, owner, changed).
		Watches(&rbacv1.ClusterRoleBinding{}, owner, changed).
		Watches(&rbacv1.RoleBinding{}, owner, changed).
		Watches(&corev1.Namespace{}, owner, changed).
		Watches(&clusterv1beta2.ManagedClusterSet{}, handler.EnqueueRequestsFromMapFunc(r.clustersOfHub),
			builder.WithPredicates(managedNamespacesChanged())).
		WatchesRawSource(source.Channel(silence.changed, handler.EnqueueRequestsFromMapFunc(r.silentClusters))).
		WithOptions(o.controller()).
		Complete(reconcile.AsReconciler[*clusterv1.ManagedCluster](r.client, r))
}

// moreThanReported drops updates in which the agent reports nothing but its version, capacity and claims: nothing here follows from them.
func moreThanReported() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*clusterv1.ManagedCluster).DeepCopy(), e.ObjectNew.(*clusterv1.ManagedCluster).DeepCopy()
		for _, c := range []*clusterv1.ManagedCluster{before, after} {
			c.ResourceVersion, c.ManagedFields = "", nil
			c.Status.Allocatable, c.Status.Capacity, c.Status.Version, c.Status.ClusterClaims = nil, nil, clusterv1.ManagedClusterVersion{}, nil
		}
		return !equality.Semantic.DeepEqual(before, after)
	}}
}

// ownerCluster enqueues the cluster that an object on the hub belongs to.
func ownerCluster(_ context.Context, o client.Object) []reconcile.Request {
	if name := o.GetLabels()[clusterv1.ClusterNameLabelKey]; name != "" {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: name}}}
	}
	return nil
}

func (r *clusters) clustersOfHub(ctx context.Context, _ client.Object) []reconcile.Request {
	var list clusterv1.ManagedClusterList
	if err := r.client.List(ctx, &list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list clusters")
		return nil
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i].Name = list.Items[i].Name
	}
	return requests
}

// silentClusters enqueues the clusters that are called silent: a mass silence that begins spares some of them.
func (r *clusters) silentClusters(ctx context.Context, _ client.Object) []reconcile.Request {
	var list clusterv1.ManagedClusterList
	if err := r.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list clusters")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if meta.IsStatusConditionPresentAndEqual(list.Items[i].Status.Conditions, clusterv1.ManagedClusterConditionAvailable, metav1.ConditionUnknown) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKey{Name: list.Items[i].Name}})
		}
	}
	return requests
}

// Reconcile makes one cluster as it should be. All steps change one object in memory, which is written at the end, so that no
// step conflicts with another.
func (r *clusters) Reconcile(ctx context.Context, cluster *clusterv1.ManagedCluster) (reconcile.Result, error) {
	was := cluster.DeepCopy()
	var next time.Duration
	var err error
	if cluster.DeletionTimestamp.IsZero() {
		if err = r.provision(ctx, cluster); errors.Is(err, errNamespaceEnds) {
			next, err = r.CheckPeriod, nil // works are not watched
		}
	} else {
		next, err = r.remove(ctx, cluster)
	}
	accepted := func(c *clusterv1.ManagedCluster) bool {
		return meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted)
	}
	look, berr := r.observe(ctx, cluster, accepted(cluster) && !accepted(was))
	if next == 0 || look > 0 && look < next {
		next = look
	}
	return retryConflict(reconcile.Result{RequeueAfter: next}, errors.Join(err, berr, r.write(ctx, was, cluster)))
}

// provision gives an accepted cluster its namespace and rights, and removes the rights of a denied one.
func (r *clusters) provision(ctx context.Context, cluster *clusterv1.ManagedCluster) error {
	controllerutil.AddFinalizer(cluster, clusterv1.ResourceCleanupFinalizer)
	if cluster.Labels[clusterv1beta2.ClusterSetLabel] == "" {
		metav1.SetMetaDataLabel(&cluster.ObjectMeta, clusterv1beta2.ClusterSetLabel, clusterv1beta2.DefaultClusterSet)
	}
	var err error
	switch {
	case cluster.Spec.HubAcceptsClient:
		controllerutil.AddFinalizer(cluster, clusterv1.ManagedClusterFinalizer)
		err = r.accept(ctx, cluster)
	case meta.FindStatusCondition(cluster.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) != nil:
		err = r.deny(ctx, cluster)
	}
	if condition := registration.Accepted(cluster, err); condition != nil {
		meta.SetStatusCondition(&cluster.Status.Conditions, *condition)
	}
	return err
}

func (r *clusters) accept(ctx context.Context, cluster *clusterv1.ManagedCluster) error {
	var namespace corev1.Namespace
	err := r.client.Get(ctx, client.ObjectKey{Name: cluster.Name}, &namespace)
	if err == nil && !namespace.DeletionTimestamp.IsZero() {
		return r.endNamespace(ctx, cluster.Name)
	}
	wanted := []client.Object{
		registration.WantNamespace(cluster.Name),
		registration.WantClusterRole(cluster.Name, true),
		registration.WantClusterRoleBinding(cluster.Name),
	}
	for _, role := range registration.SharedRoles() {
		wanted = append(wanted, role)
	}
	for _, binding := range registration.WantRoleBindings(cluster.Name) {
		wanted = append(wanted, binding)
	}
	return r.ensureAll(ctx, wanted)
}

// errNamespaceEnds says that the namespace has to be gone before it can be created again.
var errNamespaceEnds = errors.New("is being deleted; the cluster is accepted when it is gone")

// endNamespace lets a namespace that somebody deleted go. The agent keeps its rights on the works in it until it has cleaned them up. When
// no work is left, only the binding keeps the namespace, and it is removed.
func (r *clusters) endNamespace(ctx context.Context, namespace string) error {
	works, err := r.objects(ctx, manifestWorks, namespace)
	if err == nil && len(works) == 0 {
		err = r.unbind(ctx, namespace)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("namespace %s %w", namespace, errNamespaceEnds)
}

func (r *clusters) deny(ctx context.Context, cluster *clusterv1.ManagedCluster) error {
	err := r.ensureAll(ctx, []client.Object{
		registration.WantClusterRole(cluster.Name, false),
		registration.WantClusterRoleBinding(cluster.Name),
	})
	return errors.Join(err, r.unbind(ctx, cluster.Name))
}

// unbind removes the agent's rights in the cluster's namespace.
func (r *clusters) unbind(ctx context.Context, cluster string) error {
	var errs []error
	for _, binding := range registration.WantRoleBindings(cluster) {
		errs = append(errs, r.drop(ctx, binding, registration.WorkBindingFinalizer))
	}
	return errors.Join(errs...)
}

// drop deletes an object that the hub made, its finalizer first.
func (r *clusters) drop(ctx context.Context, o client.Object, finalizer string) error {
	err := r.client.Get(ctx, client.ObjectKeyFromObject(o), o)
	if err == nil && controllerutil.RemoveFinalizer(o, finalizer) {
		err = r.client.Update(ctx, o)
	}
	if err == nil {
		err = r.client.Delete(ctx, o)
	}
	return client.IgnoreNotFound(err)
}

// observe sets what follows from the lease and from the sets, and returns when to look again. A cluster that is new, because it has
// just been accepted, has no lease yet.
func (r *clusters) observe(ctx context.Context, cluster *clusterv1.ManagedCluster, isNew bool) (time.Duration, error) {
	now := r.Now()
	beat, err := r.lease(ctx, cluster, now, isNew)
	if err != nil {
		return 0, err
	}
	conditions := &cluster.Status.Conditions
	next, doubt := time.Duration(0), registration.NoDoubt
	if meta.FindStatusCondition(*conditions, clusterv1.ManagedClusterConditionHubAccepted) != nil {
		var silent *metav1.Condition
		if silent, next, err = r.silent(ctx, cluster, beat, now); err != nil {
			return 0, err
		}
		switch {
		case r.Presence.Spares(registration.Signal{Cluster: cluster, Beat: beat}):
			doubt = registration.Spared
		case silent == nil:
			doubt = registration.Unproven
		default:
			meta.SetStatusCondition(conditions, *silent)
		}
		if synced := registration.ClockSynced(cluster, beat, now); synced != nil {
			meta.SetStatusCondition(conditions, *synced)
		}
	}
	cluster.Spec.Taints = registration.WantTaints(cluster, doubt, now)
	var sets clusterv1beta2.ManagedClusterSetList
	if err := r.client.List(ctx, &sets, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list cluster sets: %w", err)
	}
	cluster.Status.ManagedNamespaces = registration.ManagedNamespaces(cluster, sets.Items)
	return next, nil
}

// silent is the condition of a cluster that is to be called silent, else nil; next is when to look again.
func (r *clusters) silent(ctx context.Context, cluster *clusterv1.ManagedCluster, beat *registration.Beat, now time.Time) (*metav1.Condition, time.Duration, error) {
	listening, started := r.Presence.Listen(cluster, beat, r.Now())
	if !started {
		return nil, retrySoon, nil
	}
	silent, next := registration.Silent(cluster, beat, listening, now)
	available := meta.FindStatusCondition(cluster.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
	if silent == nil || available == nil || available.Status == metav1.ConditionUnknown {
		return silent, next, nil
	}
	mass, err := r.silence.judge(ctx, registration.LeasePeriod(cluster)/2)
	if err != nil || !mass.MayDeclare(registration.Signal{Cluster: cluster, Beat: beat}) {
		return nil, next, err
	}
	listening, _ = r.Presence.Listen(cluster, beat, r.Now()) // the count may have ended a mass silence
	if silent, next = registration.Silent(cluster, beat, listening, now); silent != nil {
		r.silence.declared(registration.LeaseDeadline(cluster))
	}
	return silent, next, nil
}

// lease reads the last renewal from the cluster's lease, and creates the lease where it is missing. For a new cluster it does not
// look first.
func (r *clusters) lease(ctx context.Context, cluster *clusterv1.ManagedCluster, now time.Time, isNew bool) (*registration.Beat, error) {
	if isNew {
		made := registration.WantLease(cluster, now)
		if err := r.client.Create(ctx, made); !apierrors.IsAlreadyExists(err) {
			return registration.BeatOf(made), leaseError(cluster, err)
		}
	}
	var lease coordinationv1.Lease
	err := r.live.Get(ctx, client.ObjectKey{Namespace: cluster.Name, Name: clusterv1.ManagedClusterLeaseName}, &lease)
	if err == nil {
		return registration.BeatOf(&lease), nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read the lease of %s: %w", cluster.Name, err)
	}
	if !cluster.DeletionTimestamp.IsZero() || !meta.IsStatusConditionTrue(cluster.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) {
		return nil, nil
	}
	made := registration.WantLease(cluster, now)
	if err := r.client.Create(ctx, made); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, leaseError(cluster, err)
	}
	return registration.BeatOf(made), nil
}

func leaseError(cluster *clusterv1.ManagedCluster, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("create the lease of %s: %w", cluster.Name, err)
}

// write makes the cluster on the hub equal to the one in memory: the object first, whose finalizers protect what the
// status speaks of. Both writes fail when somebody else wrote in between, since taints and conditions are whole lists.
func (r *clusters) write(ctx context.Context, was, is *clusterv1.ManagedCluster) error {
	status := is.Status.DeepCopy()
	is.Status = *was.Status.DeepCopy()
	if !equality.Semantic.DeepEqual(was.ObjectMeta, is.ObjectMeta) || !equality.Semantic.DeepEqual(was.Spec, is.Spec) {
		if err := r.client.Patch(ctx, is, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})); err != nil {
			return fmt.Errorf("write cluster %s: %w", is.Name, client.IgnoreNotFound(err))
		}
	}
	if equality.Semantic.DeepEqual(was.Status, *status) {
		return nil
	}
	if !is.DeletionTimestamp.IsZero() && len(is.Finalizers) == 0 {
		return nil // it is gone
	}
	base := is.DeepCopy()
	is.Status = *status
	if err := r.client.Status().Patch(ctx, is, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("write the status of cluster %s: %w", is.Name, err)
	}
	return nil
}
