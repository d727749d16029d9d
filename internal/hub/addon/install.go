package addon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"golang.org/x/sync/errgroup"
)

// InstallFinalizer keeps a ClusterManagementAddOn until the add-on is gone from all clusters.
const InstallFinalizer = "addon.open-cluster-management.io/muster-cleanup"

// Installer makes the ManagedClusterAddOns of each ClusterManagementAddOn.
type Installer struct {
	// Client reads from the hub's cache and writes.
	Client client.Client
	// Writers bounds the writes that run side by side.
	Writers int
}

// Setup registers the controller.
func (r *Installer) Setup(mgr ctrl.Manager) error {
	changed := builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})
	spec := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	return ctrl.NewControllerManagedBy(mgr).
		Named(InstallName).
		For(&addonv1alpha1.ClusterManagementAddOn{}, spec).
		Watches(&addonv1alpha1.ManagedClusterAddOn{}, handler.EnqueueRequestsFromMapFunc(ofAddOn), spec).
		Watches(&clusterv1beta1.Placement{}, ofPlacement(r.Client), changed).
		Watches(&clusterv1beta1.PlacementDecision{}, ofPlacement(r.Client), changed).
		Watches(&clusterv1.ManagedCluster{}, r.ofCluster(), builder.WithPredicates(predicate.Or(predicate.AnnotationChangedPredicate{}, predicate.GenerationChangedPredicate{}))).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// ofCluster wakes the add-ons that a cluster has: they copy its annotations.
func (r *Installer) ofCluster() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		var list addonv1alpha1.ManagedClusterAddOnList
		if err := r.Client.List(ctx, &list, client.InNamespace(o.GetName()), client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list the add-ons of a cluster")
			return nil
		}
		var requests []reconcile.Request
		for i := range list.Items {
			requests = append(requests, ofAddOn(ctx, &list.Items[i])...)
		}
		return requests
	})
}

// Reconcile keeps the ManagedClusterAddOns of one add-on equal to what its placements choose.
func (r *Installer) Reconcile(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn) (reconcile.Result, error) {
	if isSelfManaged(cma) && cma.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	have, err := onClusters(ctx, r.Client, cma.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !cma.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, cma, have)
	}
	if cma.Spec.InstallStrategy.Type == addonv1alpha1.InstallPlacements || len(have) > 0 {
		if err := r.setFinalizer(ctx, cma, controllerutil.AddFinalizer); err != nil {
			return reconcile.Result{}, err
		}
	}
	placements, err := choose(ctx, r.Client, cma)
	if err != nil {
		return reconcile.Result{}, err
	}
	changes, err := r.changes(ctx, cma, have, placements)
	if err != nil {
		return reconcile.Result{}, err
	}
	group := errgroup.Group{}
	group.SetLimit(max(1, r.Writers))
	for _, change := range changes {
		group.Go(change)
	}
	if err := group.Wait(); err != nil {
		if apierrors.IsConflict(err) {
			return reconcile.Result{RequeueAfter: time.Second}, nil // the cache is stale
		}
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, nil
}

// changes are the writes that are to be made.
func (r *Installer) changes(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn, have []addonv1alpha1.ManagedClusterAddOn, placements []chosen) ([]func() error, error) {
	var changes []func() error
	wanted, there := belongs(placements), map[string]bool{}
	complete := cma.Spec.InstallStrategy.Type == addonv1alpha1.InstallPlacements && !slices.ContainsFunc(placements, func(p chosen) bool { return !p.complete })
	for i := range have {
		mca := &have[i]
		there[mca.Namespace] = true
		if !mca.DeletionTimestamp.IsZero() {
			continue
		}
		if _, chosen := wanted[mca.Namespace]; !chosen && complete && metav1.IsControlledBy(mca, cma) {
			changes = append(changes, func() error {
				return client.IgnoreNotFound(r.Client.Delete(ctx, mca.DeepCopy(), client.Preconditions{UID: &mca.UID}))
			})
			continue
		}
		cluster, err := r.cluster(ctx, mca.Namespace)
		if err != nil {
			return nil, err
		}
		if after := kept(mca, cma, cluster); after != nil {
			changes = append(changes, func() error {
				return client.IgnoreNotFound(r.Client.Patch(ctx, after, client.MergeFromWithOptions(mca.DeepCopy(), client.MergeFromWithOptimisticLock{})))
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if there[name] {
			continue
		}
		cluster, err := r.cluster(ctx, name)
		if err != nil {
			return nil, err
		}
		if cluster == nil || !cluster.DeletionTimestamp.IsZero() {
			continue // a cluster that leaves gets nothing new
		}
		changes = append(changes, func() error { return r.create(ctx, cma, cluster) })
	}
	return changes, nil
}

// create installs an add-on on a cluster. A cluster whose namespace is not there yet is woken for by its acceptance.
func (r *Installer) create(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn, cluster *clusterv1.ManagedCluster) error {
	mca := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Name, Name: cma.Name, Annotations: withAnnotations(nil, cluster)}}
	mca.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cma, addonv1alpha1.GroupVersion.WithKind("ClusterManagementAddOn"))}
	mca.OwnerReferences[0].BlockOwnerDeletion = nil
	err := r.Client.Create(ctx, mca)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("install add-on %s on cluster %s: %w", cma.Name, cluster.Name, err)
	}
	return nil
}

// kept is a ManagedClusterAddOn with its owner and the annotations of its cluster; nil when it has them.
func kept(mca *addonv1alpha1.ManagedClusterAddOn, cma *addonv1alpha1.ClusterManagementAddOn, cluster *clusterv1.ManagedCluster) *addonv1alpha1.ManagedClusterAddOn {
	owned := slices.ContainsFunc(mca.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == cma.UID })
	annotations := mca.Annotations
	if cluster != nil && metav1.IsControlledBy(mca, cma) {
		annotations = withAnnotations(mca.Annotations, cluster)
	}
	if owned && maps.Equal(annotations, mca.Annotations) {
		return nil
	}
	out := mca.DeepCopy()
	out.Annotations = annotations
	if !owned {
		// Not the controller's: somebody else made it, and it stays when no placement chooses its cluster.
		out.OwnerReferences = append(out.OwnerReferences, metav1.OwnerReference{
			APIVersion: addonv1alpha1.GroupVersion.String(), Kind: "ClusterManagementAddOn", Name: cma.Name, UID: cma.UID,
		})
	}
	return out
}

// copiedAnnotation on a ManagedClusterAddOn names the annotations that it has from its cluster. Those that the cluster has no longer go;
// what somebody else has set stays.
const copiedAnnotation = "muster.dev/cluster-annotations"

// withAnnotations are the annotations of a ManagedClusterAddOn with those of its cluster that begin with OCM's prefix.
func withAnnotations(has map[string]string, cluster *clusterv1.ManagedCluster) map[string]string {
	out := maps.Clone(has)
	if out == nil {
		out = map[string]string{}
	}
	for key := range strings.SplitSeq(has[copiedAnnotation], ",") {
		delete(out, key)
	}
	delete(out, copiedAnnotation)
	var copied []string
	for _, key := range slices.Sorted(maps.Keys(cluster.Annotations)) {
		if strings.HasPrefix(key, addonv1alpha1.Prefix) {
			out[key] = cluster.Annotations[key]
			copied = append(copied, key)
		}
	}
	if len(copied) > 0 {
		out[copiedAnnotation] = strings.Join(copied, ",")
	}
	return out
}

// cluster is nil when there is none.
func (r *Installer) cluster(ctx context.Context, name string) (*clusterv1.ManagedCluster, error) {
	cluster := &clusterv1.ManagedCluster{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: name}, cluster)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return cluster, err
}

// finalize takes the add-on from all clusters, and then lets the ClusterManagementAddOn go. Its template stays until it is not needed.
func (r *Installer) finalize(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn, have []addonv1alpha1.ManagedClusterAddOn) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(cma, InstallFinalizer) {
		return reconcile.Result{}, nil
	}
	for i := range have {
		if mca := &have[i]; mca.DeletionTimestamp.IsZero() {
			if err := r.Client.Delete(ctx, mca.DeepCopy(), client.Preconditions{UID: &mca.UID}); client.IgnoreNotFound(err) != nil {
				return reconcile.Result{}, fmt.Errorf("take add-on %s from cluster %s: %w", cma.Name, mca.Namespace, err)
			}
		}
	}
	if len(have) > 0 {
		return reconcile.Result{RequeueAfter: time.Second}, nil // one that is gone wakes us sooner
	}
	return reconcile.Result{}, r.setFinalizer(ctx, cma, controllerutil.RemoveFinalizer)
}

func (r *Installer) setFinalizer(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn, change func(client.Object, string) bool) error {
	was := cma.DeepCopy()
	if !change(cma, InstallFinalizer) {
		return nil
	}
	return client.IgnoreNotFound(r.Client.Patch(ctx, cma, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})))
}
