// Package clusterpermission makes the work of each ClusterPermission, as OCM's cluster-permission does.
//
// In go the ClusterPermission, the namespaces of the hub that its selectors select from, and what the cluster reports of the work.
// Out come one work in the same namespace, which the ClusterPermission owns, and OCM's conditions.
//
//	cluster               ClusterPermission           work
//	not there, leaving    any                         stays as it is
//	there                 without bindings            deleted: nobody is given anything
//	there                 that cannot be built        stays as it is
//	there                 with bindings               made, and kept equal
package clusterpermission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	rbacv1alpha1 "github.com/muster-io/muster/api/rbac/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
)

// Name of the controller, for --controllers.
const Name = "clusterpermission"

// Permissions reconciles ClusterPermissions.
type Permissions struct {
	// Client reads from the hub's cache, which holds no works, and writes. Reader reads past the cache.
	Client client.Client
	Reader client.Reader
	// Works is the index of live works.
	Works *hub.Works
}

// Setup registers the controller. A ClusterPermission wakes for its own spec, for its work, for its cluster, and for namespaces
// if it selects them.
func (r *Permissions) Setup(mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &rbacv1alpha1.ClusterPermission{}, selecting, isSelecting); err != nil {
		return fmt.Errorf("index ClusterPermissions: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		For(&rbacv1alpha1.ClusterPermission{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(r.Works.Source(r.ofWork)).
		Watches(&clusterv1.ManagedCluster{}, r.waking(func(o client.Object) client.ListOption { return client.InNamespace(o.GetName()) }),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})). // a deletion that begins is a generation too
		Watches(&corev1.Namespace{}, r.waking(func(client.Object) client.ListOption { return client.MatchingFields{selecting: "true"} }),
			builder.WithPredicates(predicate.LabelChangedPredicate{})).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// ofWork wakes the ClusterPermission whose name a work has.
func (r *Permissions) ofWork(e hub.WorkEvent) []reconcile.Request {
	if w := e.Work(); w.Owner.IsZero() {
		return r.requests(context.Background(), client.InNamespace(w.Cluster), func(p *rbacv1alpha1.ClusterPermission) bool { return workName(p) == w.Name })
	}
	return nil
}

// selecting is the index of the ClusterPermissions that select namespaces.
const selecting = "muster.selects"

func isSelecting(o client.Object) []string {
	if selects(o.(*rbacv1alpha1.ClusterPermission)) {
		return []string{"true"}
	}
	return nil
}

// waking wakes those that an object matters to.
func (r *Permissions) waking(those func(client.Object) client.ListOption) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.requests(ctx, those(o), func(*rbacv1alpha1.ClusterPermission) bool { return true })
	})
}

func (r *Permissions) requests(ctx context.Context, of client.ListOption, wanted func(*rbacv1alpha1.ClusterPermission) bool) []reconcile.Request {
	var all rbacv1alpha1.ClusterPermissionList
	if err := r.Client.List(ctx, &all, of, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list ClusterPermissions")
		return nil
	}
	var requests []reconcile.Request
	for i := range all.Items {
		if p := &all.Items[i]; wanted(p) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(p)})
		}
	}
	return requests
}

// selects says whether anything of it is for namespaces that it selects.
func selects(p *rbacv1alpha1.ClusterPermission) bool {
	for _, r := range list(p.Spec.Roles) {
		if r.NamespaceSelector != nil {
			return true
		}
	}
	for _, b := range list(p.Spec.RoleBindings) {
		if b.NamespaceSelector != nil {
			return true
		}
	}
	return false
}

// Reconcile keeps the work of one ClusterPermission equal to its spec. When it goes, the garbage collector takes the work.
func (r *Permissions) Reconcile(ctx context.Context, p *rbacv1alpha1.ClusterPermission) (reconcile.Result, error) {
	if !p.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	out, err := r.sync(ctx, p)
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, r.publish(ctx, p, statusOf(p, out))
}

// sync observes, builds and writes. Its error is the machine's; what a person must act on is in the report.
func (r *Permissions) sync(ctx context.Context, p *rbacv1alpha1.ClusterPermission) (report, error) {
	var cluster clusterv1.ManagedCluster
	err := r.Client.Get(ctx, client.ObjectKey{Name: p.Namespace}, &cluster)
	switch {
	case apierrors.IsNotFound(err) || err == nil && !cluster.DeletionTimestamp.IsZero():
		return report{invalid: rbacv1alpha1.ReasonFailedValidationNotInManagedClusterSpace, message: fmt.Sprintf(
			"namespace %s is not that of a managed cluster, or the cluster is being detached: a ClusterPermission belongs into the namespace of the cluster that it is for", p.Namespace)}, nil
	case err != nil:
		return report{}, fmt.Errorf("read cluster %s: %w", p.Namespace, err)
	}
	live, err := r.live(ctx, p)
	if err != nil {
		return report{}, err
	}
	if !hasBindings(p) {
		if live != nil && ownedBy(live, p) {
			if err := r.Client.Delete(ctx, live, client.Preconditions{UID: &live.UID}); client.IgnoreNotFound(err) != nil {
				return report{}, fmt.Errorf("delete work %s/%s, which gives nobody rights any more: %w", live.Namespace, live.Name, err)
			}
		}
		return report{
			invalid: rbacv1alpha1.ReasonFailedValidationNoBindingsDefined,
			message: "there is no clusterRoleBinding, no clusterRoleBindings and no roleBindings: nobody is given rights; add one",
		}, nil
	}
	out := report{work: live}
	var namespaces corev1.NamespaceList
	if selects(p) {
		if err := r.Client.List(ctx, &namespaces, client.UnsafeDisableDeepCopy); err != nil {
			return out, fmt.Errorf("list namespaces: %w", err)
		}
	}
	if out.objects, out.failure = objectsOf(p, namespaces.Items); out.failure != nil {
		return out, nil
	}
	out.work, err = r.write(ctx, p, live, out.objects)
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		out.failure, err = refused.error, nil
	}
	return out, err
}

// live is the work of a ClusterPermission, or nil.
func (r *Permissions) live(ctx context.Context, p *rbacv1alpha1.ClusterPermission) (*workv1.ManifestWork, error) {
	live := &workv1.ManifestWork{}
	err := r.Reader.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: workName(p)}, live)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read work %s/%s: %w", p.Namespace, workName(p), err)
	}
	return live, nil
}

// write makes the work, or makes it equal.
func (r *Permissions) write(ctx context.Context, p *rbacv1alpha1.ClusterPermission, live *workv1.ManifestWork, objects []object) (*workv1.ManifestWork, error) {
	spec, err := specOf(objects)
	if err != nil {
		return live, &refusal{err}
	}
	if live == nil {
		live = &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: workName(p), Annotations: annotations()}, Spec: spec}
		if err := controllerutil.SetControllerReference(p, live, r.Client.Scheme()); err != nil {
			return nil, err
		}
		if err := r.Client.Create(ctx, live); err != nil {
			return nil, judge(err)
		}
		return live, nil
	}
	if !ownedBy(live, p) {
		return live, &refusal{fmt.Errorf("work %s/%s is there already and belongs to somebody else: delete it, or give the ClusterPermission another name", live.Namespace, live.Name)}
	}
	same, err := equal(live, spec)
	if err != nil || same || !live.DeletionTimestamp.IsZero() { // the end of one that goes wakes us
		return live, err
	}
	live.Spec.Workload, live.Spec.ManifestConfigs = spec.Workload, spec.ManifestConfigs
	live.Annotations = merged(live.Annotations, annotations())
	return live, judge(r.Client.Update(ctx, live))
}

// refusal is an error that stays until a person changes something; it goes into the status.
type refusal struct{ error }

// judge tells what the API server refuses from what may pass.
func judge(err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsRequestEntityTooLargeError(err):
		return &refusal{err}
	}
	return fmt.Errorf("write the work: %w", err)
}

// equal says whether the work has what is wanted; the API server writes JSON in its own order.
func equal(live *workv1.ManifestWork, spec workv1.ManifestWorkSpec) (bool, error) {
	was, err := fleet.CanonicalJSON(map[string]any{"m": live.Spec.Workload, "c": live.Spec.ManifestConfigs, "a": live.Annotations})
	if err != nil {
		return false, fmt.Errorf("compare work %s/%s: %w", live.Namespace, live.Name, err)
	}
	wanted, err := fleet.CanonicalJSON(map[string]any{"m": spec.Workload, "c": spec.ManifestConfigs, "a": merged(live.Annotations, annotations())})
	return bytes.Equal(was, wanted), err
}

func merged(into, from map[string]string) map[string]string {
	out := maps.Clone(into)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, from)
	return out
}

func ownedBy(w *workv1.ManifestWork, p *rbacv1alpha1.ClusterPermission) bool {
	return metav1.IsControlledBy(w, p)
}

func hasBindings(p *rbacv1alpha1.ClusterPermission) bool {
	return p.Spec.ClusterRoleBinding != nil || len(list(p.Spec.ClusterRoleBindings)) > 0 || len(list(p.Spec.RoleBindings)) > 0
}

// publish writes the status if it has changed.
func (r *Permissions) publish(ctx context.Context, p *rbacv1alpha1.ClusterPermission, status rbacv1alpha1.ClusterPermissionStatus) error {
	if equality.Semantic.DeepEqual(p.Status, status) {
		return nil
	}
	was := p.DeepCopy()
	p.Status = status
	if err := r.Client.Status().Patch(ctx, p, client.MergeFrom(was)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status of ClusterPermission %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}
