package addon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/fleet"
)

// finalizers are those that this controller puts on a ManagedClusterAddOn, in the order in which they go.
var finalizers = []string{addonv1alpha1.PreDeleteFinalizer, addonv1alpha1.HostingPreDeleteFinalizer, addonv1alpha1.HostingManifestsFinalizer}

// older is the name that a finalizer had before: OCM removes it, and so does a hub that takes over its add-ons.
func older(finalizer string) string { return "cluster." + strings.TrimPrefix(finalizer, "addon.") }

// setFinalizers keeps an add-on until its hooks have run, and until what it has on another cluster is gone.
func (r *Deployer) setFinalizers(ctx context.Context, d *deployment) error {
	if d.rendered == nil {
		return nil
	}
	hosted := d.hosts()
	wanted := map[string]bool{
		addonv1alpha1.PreDeleteFinalizer:        len(d.rendered.Managed.Hooks) > 0,
		addonv1alpha1.HostingPreDeleteFinalizer: hosted && len(d.rendered.Hosting.Hooks) > 0,
		addonv1alpha1.HostingManifestsFinalizer: hosted || slices.ContainsFunc(r.Works.Of(owner(d.addon)), d.isOnOtherCluster),
	}
	was := d.addon.DeepCopy()
	changed := false
	for _, f := range finalizers {
		if wanted[f] {
			changed = controllerutil.AddFinalizer(d.addon, f) || changed
		} else {
			changed = controllerutil.RemoveFinalizer(d.addon, f) || changed
		}
		changed = controllerutil.RemoveFinalizer(d.addon, older(f)) || changed
	}
	if !d.markHooks(wanted[addonv1alpha1.PreDeleteFinalizer] || wanted[addonv1alpha1.HostingPreDeleteFinalizer]) && !changed {
		return nil
	}
	return r.Client.Patch(ctx, d.addon, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{}))
}

// markHooks notes on an add-on with hooks the commit at which its folder said last what it says now. It tells whether that changed.
func (d *deployment) markHooks(hasHooks bool) bool {
	mark, isMarked := d.addon.Annotations[musterv1alpha1.AddOnHooksAnnotation]
	if !hasHooks || d.content == nil {
		delete(d.addon.Annotations, musterv1alpha1.AddOnHooksAnnotation)
		return isMarked
	}
	if strings.HasSuffix(mark, " "+d.content.hash) {
		return false
	}
	metav1.SetMetaDataAnnotation(&d.addon.ObjectMeta, musterv1alpha1.AddOnHooksAnnotation, d.content.mark())
	return true
}

// leave takes an add-on from its cluster, step by step: the hooks run, then what it has on another cluster goes, then the add-on, and with it
// the works that it owns.
//
//	                                         hooks                      works on the hosting cluster
//	the cluster that they are on answers     are waited for             are waited for
//	it is silent, and nobody detaches it     are waited for             are deleted, and go when it comes back
//	it is silent, and it or the add-on's own
//	cluster is being detached                are left out               are deleted, and go when it comes back
//	it is gone                               are left out               are deleted
//	the hooks cannot be rendered             wait for the author        -
//	their template is gone, or their
//	folder is named no longer                are left out               -
func (r *Deployer) leave(ctx context.Context, before *addonv1alpha1.ManagedClusterAddOn, d *deployment, failure error) (reconcile.Result, error) {
	mca := d.addon
	for _, f := range finalizers {
		if controllerutil.ContainsFinalizer(mca, older(f)) {
			return r.release(ctx, mca, older(f))
		}
	}
	if !slices.ContainsFunc(finalizers, func(f string) bool { return controllerutil.ContainsFinalizer(mca, f) }) {
		return reconcile.Result{}, nil
	}
	for _, step := range []struct {
		finalizer, work string
		on              *clusterv1.ManagedCluster
	}{
		{addonv1alpha1.PreDeleteFinalizer, addon.HookName(mca.Name), d.cluster},
		{addonv1alpha1.HostingPreDeleteFinalizer, addon.HostingHookName(mca.Name, mca.Namespace), d.hosting},
	} {
		if !controllerutil.ContainsFinalizer(mca, step.finalizer) {
			continue
		}
		if d.waitsForHooks(step.on) {
			waitsFor, err := r.runHooks(ctx, client.ObjectKey{Namespace: step.on.Name, Name: step.work}, d, failure)
			if err != nil && waitsFor == "" {
				return reconcile.Result{}, err
			}
			c := metav1.Condition{Type: addonv1alpha1.ConditionHookManifestCompleted, Status: metav1.ConditionTrue, Reason: addonv1alpha1.ReasonHookManifestIsCompleted, Message: "the pre-delete hooks are done"}
			if waitsFor != "" {
				c.Status, c.Reason, c.Message = metav1.ConditionFalse, addonv1alpha1.ReasonHookManifestIsNotCompleted, waitsFor
			}
			meta.SetStatusCondition(&mca.Status.Conditions, c)
			if waitsFor != "" {
				again := time.Duration(0)
				if failure != nil {
					again = RefusedAgain // nothing wakes us when it is mended
				}
				result, perr := PublishStatus(ctx, r.Client, before, mca, again)
				return result, errors.Join(err, perr)
			}
		}
		return r.release(ctx, mca, step.finalizer)
	}
	gone, err := r.removeFromOtherClusters(ctx, d)
	if err != nil || !gone {
		return reconcile.Result{RequeueAfter: 5 * time.Second}, err // a work that is gone wakes us sooner
	}
	return r.release(ctx, mca, addonv1alpha1.HostingManifestsFinalizer)
}

// waitsForHooks says whether hooks on a cluster, which is the add-on's or hosts it, are waited for.
func (d *deployment) waitsForHooks(on *clusterv1.ManagedCluster) bool {
	if on == nil {
		return false
	}
	goes := func(c *clusterv1.ManagedCluster) bool { return c == nil || !c.DeletionTimestamp.IsZero() }
	return !IsSilent(on) || !goes(on) && !goes(d.cluster)
}

// release removes one finalizer, and looks again for the next step.
func (r *Deployer) release(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn, finalizer string) (reconcile.Result, error) {
	was := mca.DeepCopy()
	controllerutil.RemoveFinalizer(mca, finalizer)
	return Conflicted(r.Client.Patch(ctx, mca, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})))
}

// runHooks makes the work with the hooks, and says what it waits for; "" when all are complete, or when there are none any more. Failure is why
// they cannot be rendered: a work that is there already goes on.
func (r *Deployer) runHooks(ctx context.Context, key client.ObjectKey, d *deployment, failure error) (string, error) {
	hooks := d.hooks
	i := slices.IndexFunc(hooks, func(w *workv1.ManifestWork) bool { return client.ObjectKeyFromObject(w) == key })
	if i < 0 && failure == nil {
		return "", nil
	}
	live := &workv1.ManifestWork{}
	err := r.Reader.Get(ctx, key, live)
	switch {
	case apierrors.IsNotFound(err) && i < 0:
		return fmt.Sprintf("the pre-delete hooks cannot be rendered: %v; mend it, or %s to go without them", failure, d.wayOut()), nil
	case apierrors.IsNotFound(err):
		if err := r.Client.Create(ctx, hooks[i].DeepCopy()); err != nil {
			return fmt.Sprintf("the pre-delete hooks are not delivered: %v", err), fmt.Errorf("write the work with the pre-delete hooks: %w", err)
		}
		return fmt.Sprintf("the pre-delete hooks in work %s are not applied yet", key.Name), nil
	}
	if err != nil {
		return "", fmt.Errorf("read the work with the pre-delete hooks: %w", err)
	}
	for i := range live.Spec.Workload.Manifests {
		var o unstructured.Unstructured
		if err := o.UnmarshalJSON(live.Spec.Workload.Manifests[i].Raw); err != nil {
			return "", err
		}
		said := feedbackOf(live, i)
		if said["JobComplete"] == "True" || said["PodPhase"] == "Succeeded" {
			continue
		}
		hook := fmt.Sprintf("pre-delete hook %s %s/%s in work %s", o.GetKind(), o.GetNamespace(), o.GetName(), live.Name)
		if said[jobFailed] == "True" || said["PodPhase"] == "Failed" {
			return hook + " has failed: mend the cause, and delete it on the cluster, where it is then made again", nil
		}
		return hook + " is not complete", nil
	}
	return "", nil
}

// wayOut is what takes the hooks from an add-on that goes.
func (d *deployment) wayOut() string {
	if d.hasFolder() {
		return fmt.Sprintf("remove annotation %s from ClusterManagementAddOn %s", musterv1alpha1.AddOnContentAnnotation, d.definition.Name)
	}
	return "delete the AddOnTemplate"
}

// feedbackOf are the texts that a cluster reports of a manifest of a work.
func feedbackOf(w *workv1.ManifestWork, ordinal int) map[string]string {
	said := map[string]string{}
	for _, m := range w.Status.ResourceStatus.Manifests {
		if int(m.ResourceMeta.Ordinal) != ordinal {
			continue
		}
		for _, v := range m.StatusFeedbacks.Values {
			if v.Value.String != nil {
				said[v.Name] = *v.Value.String
			}
		}
	}
	return said
}

// jobFailed is what a Job reports beside what OCM's agents know of it.
const jobFailed = "JobFailed"

// hookFeedback asks for what runHooks reads, under the names that OCM has for it where it has one.
func hookFeedback(hooks []*unstructured.Unstructured) []workv1.ManifestConfigOption {
	var out []workv1.ManifestConfigOption
	for _, o := range hooks {
		plural, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
		rules := []workv1.FeedbackRule{{Type: workv1.WellKnownStatusType}}
		if o.GetKind() == "Job" {
			rules = append(rules, workv1.FeedbackRule{Type: workv1.JSONPathsType, JsonPaths: []workv1.JsonPath{{Name: jobFailed, Path: `.status.conditions[?(@.type=="Failed")].status`}}})
		}
		out = append(out, workv1.ManifestConfigOption{
			ResourceIdentifier: workv1.ResourceIdentifier{Group: plural.Group, Resource: plural.Resource, Namespace: o.GetNamespace(), Name: o.GetName()},
			FeedbackRules:      rules,
			FeedbackScrapeType: workv1.FeedbackPollType,
		})
	}
	return out
}

// removeFromOtherClusters deletes the works of an add-on in the namespaces of other clusters. It is true when they are gone, or are on a cluster that
// does not answer: its agent ends a work that is being deleted when it comes back.
func (r *Deployer) removeFromOtherClusters(ctx context.Context, d *deployment) (bool, error) {
	gone := true
	for _, lw := range r.Works.Of(owner(d.addon)) {
		if !d.isOnOtherCluster(lw) {
			continue
		}
		if !lw.Deleting || d.hosting != nil && d.hosting.Name == lw.Cluster && !IsSilent(d.hosting) {
			gone = false
		}
		if lw.Deleting {
			continue
		}
		w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: lw.Cluster, Name: lw.Name}}
		if err := r.Client.Delete(ctx, w); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("delete work %s/%s: %w", lw.Cluster, lw.Name, err)
		}
	}
	return gone, nil
}

// isOnOtherCluster says that a work is on another cluster than the add-on's.
func (d *deployment) isOnOtherCluster(lw fleet.LiveWork) bool { return lw.Cluster != d.addon.Namespace }
