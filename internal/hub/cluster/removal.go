package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/work"
)

// remove deletes what belongs to a deleted cluster: first the objects in its namespace, while its agent still has the rights to clean
// up, then its rights. The namespace stays, as in OCM.
func (r *clusters) remove(ctx context.Context, cluster *clusterv1.ManagedCluster) (time.Duration, error) {
	if !controllerutil.ContainsFinalizer(cluster, clusterv1.ResourceCleanupFinalizer) &&
		!controllerutil.ContainsFinalizer(cluster, clusterv1.ManagedClusterFinalizer) {
		return 0, nil
	}
	keep := cluster.Annotations[musterv1alpha1.DetachAnnotation] == musterv1alpha1.DetachKeepWorkloads
	remaining, err := r.cleanUp(ctx, cluster.Name, keep)
	meta.SetStatusCondition(&cluster.Status.Conditions, registration.Deleting(cluster, remaining, err))
	if err != nil || len(remaining) > 0 {
		return r.CheckPeriod, err
	}
	if err := errors.Join(r.revoke(ctx, cluster), r.unmark(ctx, cluster.Name)); err != nil {
		return 0, err
	}
	controllerutil.RemoveFinalizer(cluster, clusterv1.ResourceCleanupFinalizer)
	controllerutil.RemoveFinalizer(cluster, clusterv1.ManagedClusterFinalizer)
	return 0, nil
}

// cleanUp deletes the objects in a cluster's namespace, one resource after the other, and counts what is still there. With keep,
// works leave their objects on the cluster.
func (r *clusters) cleanUp(ctx context.Context, namespace string, keep bool) ([]registration.Remaining, error) {
	for _, resource := range r.CleanUp {
		objects, err := r.objects(ctx, resource, namespace)
		if err != nil {
			return nil, err
		}
		if len(objects) == 0 {
			continue
		}
		var errs []error
		for _, o := range firstPriority(objects) {
			if o.DeletionTimestamp.IsZero() {
				errs = append(errs, client.IgnoreNotFound(r.delete(ctx, &o, keep)))
			}
		}
		return []registration.Remaining{{Resource: resource.Resource, Count: len(objects)}}, errors.Join(errs...)
	}
	return nil, nil
}

// delete deletes one object. A work that leaves its objects on the cluster is changed so first, and deleted only in that state.
func (r *clusters) delete(ctx context.Context, o *metav1.PartialObjectMetadata, keep bool) error {
	if !keep || o.GroupVersionKind().GroupKind() != workv1.GroupVersion.WithKind("ManifestWork").GroupKind() {
		return r.client.Delete(ctx, o)
	}
	if err := r.client.Patch(ctx, o, client.RawPatch(types.MergePatchType, work.OrphanPatch)); err != nil {
		return err
	}
	return r.client.Delete(ctx, o, client.Preconditions{UID: &o.UID, ResourceVersion: &o.ResourceVersion})
}

// objects lists the names of a resource, none when the hub does not serve it.
func (r *clusters) objects(ctx context.Context, resource schema.GroupResource, namespace string) ([]metav1.PartialObjectMetadata, error) {
	kind, err := r.client.RESTMapper().KindFor(resource.WithVersion(""))
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", resource, err)
	}
	list := metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := r.live.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list %s in %s: %w", resource, namespace, err)
	}
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(kind)
	}
	return list.Items, nil
}

// firstPriority are the objects whose clean-up comes first: those without a valid priority, then from 0 to 100.
func firstPriority(objects []metav1.PartialObjectMetadata) []metav1.PartialObjectMetadata {
	first, lowest := []metav1.PartialObjectMetadata(nil), 101
	for _, o := range objects {
		priority, err := strconv.Atoi(o.Annotations[clusterv1.CleanupPriorityAnnotationKey])
		if err != nil || priority < 0 || priority > 100 {
			priority = -1
		}
		if priority < lowest {
			first, lowest = nil, priority
		}
		if priority == lowest {
			first = append(first, o)
		}
	}
	return first
}

// revoke deletes the rights and the lease of a cluster, and with the last cluster the roles that all share.
func (r *clusters) revoke(ctx context.Context, cluster *clusterv1.ManagedCluster) error {
	name := metav1.ObjectMeta{Name: registration.ClusterRoleName(cluster.Name)}
	errs := []error{
		r.unbind(ctx, cluster.Name),
		r.drop(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: name}, ""),
		r.drop(ctx, &rbacv1.ClusterRole{ObjectMeta: name}, ""),
		client.IgnoreNotFound(r.client.Delete(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Namespace: cluster.Name, Name: clusterv1.ManagedClusterLeaseName,
		}})),
	}
	var others clusterv1.ManagedClusterList
	if err := r.client.List(ctx, &others); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for i := range others.Items {
		if others.Items[i].Name != cluster.Name {
			return errors.Join(errs...)
		}
	}
	for _, role := range registration.SharedRoles() {
		errs = append(errs, r.drop(ctx, role, ""))
	}
	return errors.Join(errs...)
}

// unmark takes the mark off the namespace that stays: a cluster that joins again has none of its works before the next
// complete plan, and its agent must not take that for proof that they are gone.
func (r *clusters) unmark(ctx context.Context, namespace string) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, musterv1alpha1.FirstPlanAnnotation)
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.client.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("take the mark of the first complete plan off namespace %s: %w", namespace, err)
	}
	return nil
}
