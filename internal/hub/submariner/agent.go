package submariner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/hub"
	hubaddon "github.com/muster-io/muster/internal/hub/addon"
)

// agents makes the works of each cluster, and says how Submariner is there.
type agents struct {
	Options
	client client.Client
	reader client.Reader
}

var (
	// ofSubmariner lets pass what has the add-on's name.
	ofSubmariner = predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == submarinerv1alpha1.AddOnName })
	// comesOrGoes lets pass what is new, begins to be deleted, or is gone.
	comesOrGoes = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
	// setChanged lets pass a cluster that goes to another set, leaves, or falls silent.
	setChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*clusterv1.ManagedCluster), e.ObjectNew.(*clusterv1.ManagedCluster)
		return before.Labels[clusterv1beta2.ClusterSetLabel] != after.Labels[clusterv1beta2.ClusterSetLabel] ||
			before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() || hubaddon.IsSilent(before) != hubaddon.IsSilent(after)
	}}
)

// isOurs says whether a work is of this add-on.
func isOurs(e hub.WorkEvent) bool {
	owner := e.Work().Owner
	return owner.IsAddon() && owner.Name == submarinerv1alpha1.AddOnName
}

func (r *agents) setup(mgr ctrl.Manager) error {
	every := handler.EnqueueRequestsFromMapFunc(r.every)
	return ctrl.NewControllerManagedBy(mgr).
		Named("submariner-agent").
		For(&addonv1alpha1.ManagedClusterAddOn{}, builder.WithPredicates(ofSubmariner, predicate.ResourceVersionChangedPredicate{})).
		Watches(&addonv1alpha1.ManagedClusterAddOn{}, every, builder.WithPredicates(ofSubmariner, comesOrGoes)). // the peers of others
		Watches(&submarinerv1alpha1.SubmarinerConfig{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(ofSubmariner, predicate.GenerationChangedPredicate{})).
		Watches(&addonv1alpha1.AddOnDeploymentConfig{}, every, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&clusterv1.ManagedCluster{}, every, builder.WithPredicates(setChanged)).
		Watches(&clusterv1beta2.ManagedClusterSet{}, every, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		WatchesRawSource(r.Works.Source(func(e hub.WorkEvent) []reconcile.Request {
			if !isOurs(e) {
				return nil
			}
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: e.Work().Owner.Namespace, Name: submarinerv1alpha1.AddOnName}}}
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

func (r *agents) every(ctx context.Context, _ client.Object) []reconcile.Request {
	have, err := installed(ctx, r.client)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list the clusters that have Submariner")
		return nil
	}
	requests := make([]reconcile.Request, len(have))
	for i := range have {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&have[i])
	}
	return requests
}

// brokerWait is the time between two looks at a broker that is being made.
const brokerWait = time.Second

// waits is what a cluster waits for: the reason and the message of condition SubmarinerBrokerConfigApplied.
type waits struct{ reason, message string }

func (w *waits) Error() string { return w.message }

// Reconcile keeps the works of one cluster equal to what the broker of its set, and its SubmarinerConfig, ask for.
func (r *agents) Reconcile(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn) (reconcile.Result, error) {
	before := mca.DeepCopy()
	cluster, err := r.cluster(ctx, mca.Namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	if cluster == nil || !mca.DeletionTimestamp.IsZero() || !cluster.DeletionTimestamp.IsZero() {
		return r.leave(ctx, mca, cluster)
	}
	set, err := r.setOf(ctx, cluster)
	if err != nil {
		return reconcile.Result{}, err
	}
	if set == nil {
		if _, err := r.removeWorks(ctx, mca); err != nil {
			return reconcile.Result{}, err
		}
		r.sayBroker(mca, &waits{reasonNoClusterSet, fmt.Sprintf("cluster %s is in no ManagedClusterSet: give it the label %s", cluster.Name, clusterv1beta2.ClusterSetLabel)})
		return hubaddon.PublishStatus(ctx, r.client, before, mca, 0)
	}
	if controllerutil.AddFinalizer(mca, submarinerv1alpha1.AddOnFinalizer) {
		return hubaddon.Conflicted(r.client.Patch(ctx, mca, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})))
	}
	config := &submarinerv1alpha1.SubmarinerConfig{}
	err = r.client.Get(ctx, client.ObjectKey{Namespace: cluster.Name, Name: submarinerv1alpha1.AddOnName}, config)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	again, failure, err := r.deploy(ctx, mca, cluster, set, config.Spec)
	if err != nil {
		return reconcile.Result{}, err
	}
	result, err := hubaddon.PublishStatus(ctx, r.client, before, mca, again)
	if config.UID != "" {
		err = errors.Join(err, r.publishConfig(ctx, config, cluster, failure))
	}
	return result, err
}

// deploy writes the works, and says into the add-on how they are. Failure is why the cluster does not have what is wanted.
func (r *agents) deploy(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn, cluster *clusterv1.ManagedCluster, set *clusterv1beta2.ManagedClusterSet, config submarinerv1alpha1.SubmarinerConfigSpec) (again time.Duration, failure string, err error) {
	writer := &hubaddon.Writer{Client: r.client, Reader: r.reader, Works: r.Works}
	f := facts{addon: mca, cluster: cluster, config: config}
	var ready bool
	if f.configs, ready, err = writer.Configs(ctx, mca); err != nil {
		return 0, "", err
	}
	if !ready || r.waitsForItsTurn(ctx, mca) {
		return 0, "its rollout has not selected the cluster yet", nil
	}
	if f.broker, err = r.broker(ctx, set, cluster.Name); err != nil {
		var w *waits
		if !errors.As(err, &w) {
			return 0, "", err
		}
		r.sayBroker(mca, w)
		return brokerWait, w.message, nil
	}
	peers, err := members(ctx, r.client, set.Name)
	if err != nil {
		return 0, "", err
	}
	mca.Status.Namespace = namespaceOf(mca, f.configs)
	f.peers = slices.DeleteFunc(peers, func(name string) bool { return name == cluster.Name })
	slices.Sort(f.peers)
	parts, err := worksOf(f)
	var refused error
	if err == nil {
		if refused, err = writer.Write(ctx, mca, parts); err != nil {
			return 0, "", err
		}
		err = refused
	}
	writer.Say(mca, cluster, slices.DeleteFunc(slices.Clone(parts), isResource), err)
	if err != nil {
		r.sayBroker(mca, &waits{reasonNotRendered, err.Error()})
		return hubaddon.RefusedAgain, err.Error(), nil
	}
	r.sayBroker(mca, r.notApplied(cluster.Name))
	work := &workv1.ManifestWork{}
	if err := r.reader.Get(ctx, client.ObjectKey{Namespace: cluster.Name, Name: submarinerv1alpha1.ResourceWork}, work); client.IgnoreNotFound(err) != nil {
		return 0, "", err
	}
	sayNetwork(&mca.Status, reportOf(work), orElse(config.GatewayConfig.Gateways, 1), f.peers)
	return 0, "", nil
}

// isResource says of a work that it tells the operator about the broker. The health of the add-on is the operator's.
func isResource(part addon.Part) bool { return part.Name == submarinerv1alpha1.ResourceWork }

// notApplied is what a cluster waits for that does not know its broker yet.
func (r *agents) notApplied(cluster string) *waits {
	lw := r.Works.Get(cluster, submarinerv1alpha1.ResourceWork)
	if lw != nil && lw.Status.Conditions.Applied.IsCurrent() && lw.Status.Conditions.Applied.IsTrue() {
		return nil
	}
	return &waits{reasonBrokerNotReady, "work " + submarinerv1alpha1.ResourceWork + " is not applied on the cluster yet"}
}

// waitsForItsTurn says that the add-on's rollout has not reached the cluster: it is installed where it is configured.
func (r *agents) waitsForItsTurn(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn) bool {
	cma := &addonv1alpha1.ClusterManagementAddOn{}
	if err := r.client.Get(ctx, client.ObjectKey{Name: mca.Name}, cma); err != nil {
		return false // installed by hand
	}
	return !meta.IsStatusConditionTrue(mca.Status.Conditions, addonv1alpha1.ConditionConfigured)
}

// broker reads what a cluster needs to know of the broker of its set. While something is missing the error is a *waits.
func (r *agents) broker(ctx context.Context, of *clusterv1beta2.ManagedClusterSet, cluster string) (broker, error) {
	set := of.Name
	if r.APIServer == "" {
		return broker{}, &waits{reasonBrokerNotReady, "it is not known where clusters reach the hub's API server: start the hub with --submariner-broker HOST:PORT"}
	}
	b := broker{apiServer: r.APIServer, namespace: Namespace(set)}
	namespace, err := ownNamespace(ctx, r.reader, set)
	var foreign *notOurs
	switch {
	case errors.As(err, &foreign):
		return b, &waits{reasonBrokerNotReady, foreign.Error()}
	case err != nil:
		return b, err
	case namespace == nil || !namespace.DeletionTimestamp.IsZero():
		return b, &waits{reasonBrokerNotReady, "the broker of set " + set + " is being made"}
	}
	binding := &rbacv1.RoleBinding{}
	if err := r.reader.Get(ctx, client.ObjectKey{Namespace: b.namespace, Name: hub.SubmarinerBrokerRole}, binding); err != nil {
		return b, &waits{reasonBrokerNotReady, fmt.Sprintf("the hub may not make the broker of set %s: kubectl label clusterrole %s %s=true", set, hub.SubmarinerRole, hub.PermissionLabel)}
	}
	key, token := &corev1.Secret{}, &corev1.Secret{}
	for name, secret := range map[string]*corev1.Secret{keySecret: key, tokenSecret(cluster): token} {
		err := r.reader.Get(ctx, client.ObjectKey{Namespace: b.namespace, Name: name}, secret)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return b, err
		}
	}
	b.key, b.token, b.ca = key.Data["psk"], token.Data[corev1.ServiceAccountTokenKey], token.Data[corev1.ServiceAccountRootCAKey]
	if len(r.CA) > 0 {
		b.ca = r.CA
	}
	if len(b.key) == 0 || len(b.token) == 0 {
		return b, &waits{reasonBrokerNotReady, "the account of cluster " + cluster + " in broker " + b.namespace + " has no token yet"}
	}
	b.network, err = r.network(ctx, of, cluster)
	return b, err
}

// setOf is the set that a cluster is in; nil when it is in none, or in one that goes or can have no broker.
func (r *agents) setOf(ctx context.Context, cluster *clusterv1.ManagedCluster) (*clusterv1beta2.ManagedClusterSet, error) {
	name := cluster.Labels[clusterv1beta2.ClusterSetLabel]
	if name == "" {
		return nil, nil
	}
	set := &clusterv1beta2.ManagedClusterSet{}
	if err := r.client.Get(ctx, client.ObjectKey{Name: name}, set); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if !set.DeletionTimestamp.IsZero() || !hasBroker(set) {
		return nil, nil
	}
	return set, nil
}

func (r *agents) cluster(ctx context.Context, name string) (*clusterv1.ManagedCluster, error) {
	cluster := &clusterv1.ManagedCluster{}
	err := r.client.Get(ctx, client.ObjectKey{Name: name}, cluster)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return cluster, err
}

// leave takes Submariner from a cluster: the resource first, so that the operator cleans up, then the operator, then the add-on goes, and with
// it the account. A cluster that is gone, or goes and does not answer, is not waited for.
func (r *agents) leave(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn, cluster *clusterv1.ManagedCluster) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(mca, submarinerv1alpha1.AddOnFinalizer) {
		return reconcile.Result{}, nil
	}
	gone, err := r.removeWorks(ctx, mca)
	if err != nil {
		return reconcile.Result{}, err
	}
	answers := cluster != nil && (cluster.DeletionTimestamp.IsZero() || !hubaddon.IsSilent(cluster))
	if !gone && answers {
		return reconcile.Result{RequeueAfter: 5 * time.Second}, nil // a work that is gone wakes us sooner
	}
	was := mca.DeepCopy()
	controllerutil.RemoveFinalizer(mca, submarinerv1alpha1.AddOnFinalizer)
	return hubaddon.Conflicted(r.client.Patch(ctx, mca, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})))
}

// removeWorks deletes the works of a cluster, the later ones when the resource is gone. It is true when there are none.
func (r *agents) removeWorks(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn) (bool, error) {
	resource := r.Works.Get(mca.Namespace, submarinerv1alpha1.ResourceWork)
	if resource != nil && resource.Owner.IsAddon() {
		return false, r.remove(ctx, mca.Namespace, resource.Name)
	}
	gone := true
	for _, lw := range r.Works.OnCluster(mca.Namespace) {
		if lw.Owner.IsAddon() && lw.Owner.Name == mca.Name {
			gone = false
			if err := r.remove(ctx, lw.Cluster, lw.Name); err != nil {
				return false, err
			}
		}
	}
	return gone, nil
}

func (r *agents) remove(ctx context.Context, cluster, name string) error {
	if lw := r.Works.Get(cluster, name); lw == nil || lw.Deleting {
		return nil
	}
	err := r.client.Delete(ctx, &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: name}})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete work %s/%s: %w", cluster, name, err)
	}
	return nil
}

// sayBroker says whether the cluster knows its broker.
func (r *agents) sayBroker(mca *addonv1alpha1.ManagedClusterAddOn, w *waits) {
	c := metav1.Condition{
		Type: submarinerv1alpha1.ConditionBrokerConfigApplied, Status: metav1.ConditionTrue, Reason: reasonBrokerApplied,
		Message: "work " + submarinerv1alpha1.ResourceWork + " is applied",
	}
	if w != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, w.reason, w.message
	}
	meta.SetStatusCondition(&mca.Status.Conditions, c)
}

// publishConfig writes the status of the SubmarinerConfig if it has changed.
func (r *agents) publishConfig(ctx context.Context, config *submarinerv1alpha1.SubmarinerConfig, cluster *clusterv1.ManagedCluster, failure string) error {
	was := config.DeepCopy()
	config.Status = configStatus(config, cluster, failure)
	if equality.Semantic.DeepEqual(was.Status, config.Status) {
		return nil
	}
	if err := r.client.Status().Patch(ctx, config, client.MergeFrom(was)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status of SubmarinerConfig %s/%s: %w", config.Namespace, config.Name, err)
	}
	return nil
}
