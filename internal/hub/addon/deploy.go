package addon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/works"
	"github.com/muster-io/muster/internal/work"
)

// Deployer makes the ManifestWorks of the add-ons that have an AddOnTemplate, and says how these are.
type Deployer struct {
	// Client reads from the hub's cache and writes. Reader reads past the cache.
	Client client.Client
	Reader client.Reader
	// Works is the index of live works.
	Works *hub.Works
	// Contents are the folders that add-ons are made of.
	Contents *Contents

	hashes hashes
}

// Setup registers the controller. An add-on on a cluster wakes for itself, for its cluster and for its works.
func (r *Deployer) Setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named(DeployName).
		For(&addonv1alpha1.ManagedClusterAddOn{}, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Watches(&clusterv1.ManagedCluster{}, r.onCluster(), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{}, clusterMatters)).
		WatchesRawSource(r.Works.Source(func(e hub.WorkEvent) []reconcile.Request {
			if of, ok := ofWork(e); ok {
				return []reconcile.Request{{NamespacedName: of}}
			}
			return nil
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 16}).
		Complete(r)
}

// clusterMatters lets pass what of a cluster is read: its annotations, whether it answers, and that it goes.
var clusterMatters = predicate.TypedFuncs[client.Object]{UpdateFunc: func(e update) bool {
	before, after := e.ObjectOld.(*clusterv1.ManagedCluster), e.ObjectNew.(*clusterv1.ManagedCluster)
	return before.Annotations[addon.ImageRegistriesAnnotation] != after.Annotations[addon.ImageRegistriesAnnotation] ||
		IsSilent(before) != IsSilent(after) || before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero()
}}

// onCluster wakes the add-ons of a cluster, and those that it hosts.
func (r *Deployer) onCluster() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		var requests []reconcile.Request
		for _, of := range []client.ListOption{client.InNamespace(o.GetName()), client.MatchingFields{byHosting: o.GetName()}} {
			var list addonv1alpha1.ManagedClusterAddOnList
			if err := r.Client.List(ctx, &list, of, client.UnsafeDisableDeepCopy); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "list the add-ons of a cluster")
				return nil
			}
			for i := range list.Items {
				requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
		return requests
	})
}

// deployment is an add-on on a cluster with what is known of it.
type deployment struct {
	addon            *addonv1alpha1.ManagedClusterAddOn
	definition       *addonv1alpha1.ClusterManagementAddOn // empty when there is none
	cluster, hosting *clusterv1.ManagedCluster             // nil when there is none
	// rendered is nil when there is nothing to render with: no template, or one that the cluster is not to have yet.
	rendered *addon.Rendered
	// waits is true for the latter.
	waits bool
	// content is the folder that it is made of; nil when there is none. Unread is true when there is one that cannot be read now.
	content *content
	unread  bool
	// deploy and hooks are the works that are to be there.
	deploy, hooks []*workv1.ManifestWork
}

// hosts says that the hosting cluster is there for the add-on: not while it is being detached, but to the hooks of an add-on that goes.
func (d *deployment) hosts() bool {
	return d.hosting != nil && (d.hosting.DeletionTimestamp.IsZero() || !d.addon.DeletionTimestamp.IsZero())
}

// Reconcile keeps the works of one add-on on one cluster equal to its template.
func (r *Deployer) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	mca := &addonv1alpha1.ManagedClusterAddOn{}
	err := r.Client.Get(ctx, request.NamespacedName, mca)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	definition, derr := r.definition(ctx, request.Name)
	switch {
	case derr != nil:
		return reconcile.Result{}, derr
	case err != nil:
		return reconcile.Result{}, r.collect(ctx, fleet.AddonOwner(request.Namespace, request.Name), isSelfManaged(definition))
	case isSelfManaged(definition):
		return reconcile.Result{}, nil
	}
	d := &deployment{addon: mca, definition: definition}
	if d.cluster, err = r.cluster(ctx, mca.Namespace); err != nil {
		return reconcile.Result{}, err
	}
	if d.hosting, err = r.cluster(ctx, addon.HostingCluster(mca)); err != nil {
		return reconcile.Result{}, err
	}
	before := mca.DeepCopy()
	failure, err := r.render(ctx, d)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !mca.DeletionTimestamp.IsZero() {
		return r.leave(ctx, before, d, failure)
	}
	if err := r.setFinalizers(ctx, d); err != nil {
		return Conflicted(err)
	}
	var refused error
	if d.rendered != nil && failure == nil {
		if refused, err = r.write(ctx, d); err != nil {
			return reconcile.Result{}, err
		}
	}
	d.say(r.Works.Of(owner(mca)), errors.Join(failure, refused))
	again := time.Duration(0)
	if d.unread {
		again = configInterval
	}
	if refused != nil {
		again = RefusedAgain
	}
	return PublishStatus(ctx, r.Client, before, mca, again)
}

func owner(mca *addonv1alpha1.ManagedClusterAddOn) fleet.Owner {
	return fleet.AddonOwner(mca.Namespace, mca.Name)
}

// definition is the ClusterManagementAddOn of an add-on; an empty one when there is none.
func (r *Deployer) definition(ctx context.Context, name string) (*addonv1alpha1.ClusterManagementAddOn, error) {
	cma := &addonv1alpha1.ClusterManagementAddOn{}
	return cma, client.IgnoreNotFound(r.Client.Get(ctx, client.ObjectKey{Name: name}, cma))
}

func (r *Deployer) cluster(ctx context.Context, name string) (*clusterv1.ManagedCluster, error) {
	if name == "" {
		return nil, nil
	}
	cluster := &clusterv1.ManagedCluster{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: name}, cluster)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return cluster, err
}

// render makes the works that are to be there. Nothing is rendered unless each configuration is as the cluster is to have it: a change
// that its rollout has not selected yet waits. The failure is the author's to mend.
func (r *Deployer) render(ctx context.Context, d *deployment) (failure, err error) {
	in := addon.Input{AddOn: d.addon, Cluster: d.cluster}
	hasTemplate, missing, err := r.configureAll(ctx, d, &in)
	if err != nil || !hasTemplate {
		return nil, err
	}
	if missing != nil {
		return d.without(&in, missing), nil
	}
	hasContent := in.Template != nil || d.content != nil && in.Cluster != nil
	if d.waits = d.waits && hasContent; !hasContent || d.waits {
		return nil, nil
	}
	if d.content != nil {
		if failure, err := r.Contents.render(ctx, d.addon.Name, d.content, &in); failure != nil || err != nil {
			return failure, err
		}
	}
	rendered, err := addon.Render(in)
	if err != nil {
		return err, nil
	}
	d.rendered = &rendered
	return d.parts(), nil
}

// configureAll adds all configurations to what an add-on is rendered from, and notes whether one waits. It is false when a template that is named
// is not there: nothing can be rendered then. Missing is why others are not there.
func (r *Deployer) configureAll(ctx context.Context, d *deployment, in *addon.Input) (hasTemplate bool, missing, err error) {
	for _, ref := range d.addon.Status.ConfigReferences {
		if ref.DesiredConfig == nil {
			continue
		}
		hash, absent, err := r.configure(ctx, d, ref, in)
		if err != nil || absent != nil && ref.ConfigGroupResource == addon.Template {
			return false, nil, err
		}
		missing = errors.Join(missing, absent)
		d.waits = d.waits || hash != "" && hash != ref.DesiredConfig.SpecHash && d.addon.DeletionTimestamp.IsZero()
	}
	return true, missing, nil
}

// configure adds one configuration to what an add-on is rendered from, with its hash as it is now; "" for a kind that is not read here.
// Missing is why it is not there.
func (r *Deployer) configure(ctx context.Context, d *deployment, ref addonv1alpha1.ConfigReference, in *addon.Input) (hash string, missing, err error) {
	var object client.Object
	switch ref.ConfigGroupResource {
	case addon.Template:
		in.Template = &addonv1alpha1.AddOnTemplate{}
		object = in.Template
	case addon.DeploymentConfig:
		config := &addonv1alpha1.AddOnDeploymentConfig{}
		in.Configs = append(in.Configs, config)
		object = config
	case addon.Content:
		return r.readContent(ctx, d)
	default:
		return "", nil, nil
	}
	key := client.ObjectKey{Namespace: ref.DesiredConfig.Namespace, Name: ref.DesiredConfig.Name}
	if err := r.Client.Get(ctx, key, object); err != nil {
		if apierrors.IsNotFound(err) {
			return "", fmt.Errorf("configuration %s.%s %s is not there", ref.Resource, ref.Group, key), nil
		}
		return "", nil, err
	}
	hash, err = r.hashes.of(object)
	return hash, nil, err
}

// readContent reads the folder that an add-on is made of. One that goes is rendered at the commit that its hooks were last rendered at, when that
// cannot be read which is delivered: one commit may remove the add-on and the folder. It has no folder when its definition names none any more.
func (r *Deployer) readContent(ctx context.Context, d *deployment) (hash string, missing, err error) {
	goes := !d.addon.DeletionTimestamp.IsZero()
	if goes && !d.hasFolder() {
		return "", nil, nil
	}
	d.content, err = r.Contents.open(ctx, d.definition)
	if mark := d.addon.Annotations[musterv1alpha1.AddOnHooksAnnotation]; err != nil && goes && mark != "" {
		if past, perr := r.Contents.openPast(ctx, d.definition, mark); perr == nil {
			d.content, err = past, nil
		}
	}
	if err != nil {
		d.unread = true
		return "", unreadable(d.definition, err), nil
	}
	return d.content.hash, nil, nil
}

// hasFolder says that the add-on is made of a folder by its definition.
func (d *deployment) hasFolder() bool {
	_, _, ok := addon.ContentOf(d.definition)
	return ok
}

// without is the failure of an add-on that goes and of which a configuration is missing: its hooks would not run as they are to. Of all others
// addon-configuration says so.
func (d *deployment) without(in *addon.Input, missing error) error {
	if d.addon.DeletionTimestamp.IsZero() || in.Template == nil && !d.hasFolder() {
		return nil
	}
	return missing
}

// parts are the works of what was rendered.
func (d *deployment) parts() error {
	name, cluster := d.addon.Name, d.addon.Namespace
	own := func(i int) string { return addon.DeployName(name, i) }
	if err := d.partsOn(cluster, d.rendered.Managed, own, addon.HookName(name)); err != nil {
		return err
	}
	if !d.hosts() {
		return nil // the status says so when there should be one
	}
	hosted := func(i int) string { return addon.HostingName(name, cluster, i) }
	return d.partsOn(d.hosting.Name, d.rendered.Hosting, hosted, addon.HostingHookName(name, cluster))
}

func (d *deployment) partsOn(cluster string, from addon.Manifests, name func(int) string, hook string) error {
	deploy, err := d.rendered.Parts(name, from.Deploy)
	if err != nil {
		return err
	}
	for _, part := range deploy {
		d.deploy = append(d.deploy, workOf(d.addon, cluster, part))
	}
	withFeedback := *d.rendered
	withFeedback.Spec.ManifestConfigs = append(hookFeedback(from.Hooks), withFeedback.Spec.ManifestConfigs...)
	hooks, err := withFeedback.Parts(func(int) string { return hook }, from.Hooks)
	if err != nil {
		return err
	}
	if len(hooks) > 1 {
		return errors.New("the pre-delete hooks are larger than one ManifestWork")
	}
	for _, part := range hooks {
		d.hooks = append(d.hooks, workOf(d.addon, cluster, part))
	}
	return nil
}

// workOf is one work of an add-on. One in the namespace of another cluster names the add-on's, and has no owner that could be collected.
func workOf(mca *addonv1alpha1.ManagedClusterAddOn, cluster string, part addon.Part) *workv1.ManifestWork {
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: cluster, Name: part.Name, Labels: map[string]string{addonv1alpha1.AddonNameLabel: mca.Name},
	}, Spec: part.Spec}
	if hashes := addon.ConfigHashes(mca.Status.ConfigReferences); hashes != "" {
		w.Annotations = map[string]string{addonv1alpha1.ConfigSpecHashAnnotation: hashes}
	}
	if cluster != mca.Namespace {
		w.Labels[addonv1alpha1.AddonNamespaceLabel] = mca.Namespace
		return w
	}
	w.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(mca, addonv1alpha1.GroupVersion.WithKind("ManagedClusterAddOn"))}
	w.OwnerReferences[0].BlockOwnerDeletion = nil
	return w
}

// write makes the works that are to be there, and removes the others of the add-on. What the API server refuses is not an error.
func (r *Deployer) write(ctx context.Context, d *deployment) (refused, err error) {
	var changes work.Changes
	wanted := map[string]bool{}
	for _, w := range d.deploy {
		wanted[w.Namespace+"/"+w.Name] = true
		c := work.Change{Action: work.Create, Cluster: w.Namespace, Name: w.Name, Owner: owner(d.addon), Wanted: w}
		if lw := r.Works.Get(w.Namespace, w.Name); lw != nil {
			if lw.Deleting || lw.Owner == c.Owner && lw.SpecDigest == work.SpecDigest(w) && lw.Configs == w.Annotations[addonv1alpha1.ConfigSpecHashAnnotation] {
				continue
			}
			if lw.Owner == c.Owner {
				c.Action, c.Live = work.Update, lw
			}
		}
		changes = append(changes, c)
	}
	for _, lw := range r.Works.Of(owner(d.addon)) {
		if !wanted[lw.Cluster+"/"+lw.Name] && !lw.Deleting {
			changes = append(changes, work.Change{Action: work.Delete, Cluster: lw.Cluster, Name: lw.Name, Owner: owner(d.addon), Live: &lw})
		}
	}
	if len(changes) == 0 {
		return nil, nil
	}
	writer := works.Writer{Client: r.Client, Reader: r.Reader, Concurrency: 2}
	answers, err := writer.Write(ctx, changes, func(context.Context) (bool, error) { return true, nil })
	for _, answer := range answers {
		refused = errors.Join(refused, answer)
	}
	return refused, err
}

// collect deletes what is left of an add-on that is gone: the works that it owned, where no garbage collector does, and those for another
// cluster, of which one may have been written in the moment in which the add-on went. The latter are the business of an add-on's own manager.
func (r *Deployer) collect(ctx context.Context, owner fleet.Owner, selfManaged bool) error {
	for _, lw := range r.Works.Of(owner) {
		w := &metav1.PartialObjectMetadata{}
		w.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWork"))
		if err := r.Reader.Get(ctx, client.ObjectKey{Namespace: lw.Cluster, Name: lw.Name}, w); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return err
		}
		ours := lw.Cluster != owner.Namespace && !selfManaged || slices.ContainsFunc(w.OwnerReferences, func(o metav1.OwnerReference) bool {
			return o.Kind == "ManagedClusterAddOn" && o.Name == owner.Name
		})
		if !ours || !w.DeletionTimestamp.IsZero() {
			continue
		}
		if err := r.Client.Delete(ctx, w, client.Preconditions{UID: &w.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete work %s/%s of an add-on that is gone: %w", lw.Cluster, lw.Name, err)
		}
	}
	return nil
}

// IsSilent says that the hub no longer hears a cluster.
func IsSilent(c *clusterv1.ManagedCluster) bool {
	available := meta.FindStatusCondition(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
	return available != nil && available.Status == metav1.ConditionUnknown
}
