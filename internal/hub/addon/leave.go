package addon

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/fleet"
)

// finalizers are those that this controller puts on a ManagedClusterAddOn, in the order in which they go.
var finalizers = []string{addonv1alpha1.PreDeleteFinalizer, addonv1alpha1.HostingPreDeleteFinalizer, addonv1alpha1.HostingManifestsFinalizer}

// setFinalizers keeps an add-on until its hooks have run, and until what it has on another cluster is gone.
func (r *Deployer) setFinalizers(ctx context.Context, d *deployment) error {
	if d.rendered == nil {
		return nil
	}
	hosted := addon.HostingCluster(d.addon) != "" && d.hosting != nil
	wanted := map[string]bool{
		addonv1alpha1.PreDeleteFinalizer:        len(d.rendered.Managed.Hooks) > 0,
		addonv1alpha1.HostingPreDeleteFinalizer: hosted && len(d.rendered.Hosting.Hooks) > 0,
		addonv1alpha1.HostingManifestsFinalizer: hosted || slices.ContainsFunc(r.Works.Of(owner(d.addon)), d.elsewhere),
	}
	was := d.addon.DeepCopy()
	changed := false
	for _, f := range finalizers {
		if wanted[f] {
			changed = controllerutil.AddFinalizer(d.addon, f) || changed
		} else {
			changed = controllerutil.RemoveFinalizer(d.addon, f) || changed
		}
	}
	if !changed {
		return nil
	}
	return r.Client.Patch(ctx, d.addon, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{}))
}

// leave takes an add-on from its cluster, step by step: the hooks run, then what it has on another cluster goes, then the add-on, and with it
// the works that it owns. A step that nobody can do any more is left out: of a cluster that is gone, or that goes and does not answer, and
// of hooks whose template is gone.
func (r *Deployer) leave(ctx context.Context, before *addonv1alpha1.ManagedClusterAddOn, d *deployment) (reconcile.Result, error) {
	mca := d.addon
	if !slices.ContainsFunc(finalizers, func(f string) bool { return controllerutil.ContainsFinalizer(mca, f) }) {
		return reconcile.Result{}, nil
	}
	for _, step := range []struct {
		finalizer, cluster, work string
		answers                  bool
	}{
		{addonv1alpha1.PreDeleteFinalizer, mca.Namespace, addon.HookName(mca.Name), d.cluster != nil && (d.cluster.DeletionTimestamp.IsZero() || !isSilent(d.cluster))},
		{addonv1alpha1.HostingPreDeleteFinalizer, addon.HostingCluster(mca), addon.HostingHookName(mca.Name, mca.Namespace), d.hosting != nil && (d.hosting.DeletionTimestamp.IsZero() || !isSilent(d.hosting))},
	} {
		if !controllerutil.ContainsFinalizer(mca, step.finalizer) {
			continue
		}
		i := slices.IndexFunc(d.hooks, func(w *workv1.ManifestWork) bool { return w.Namespace == step.cluster && w.Name == step.work })
		if step.answers && i >= 0 {
			waitsFor, err := r.runHooks(ctx, d.hooks[i])
			if err != nil {
				return reconcile.Result{}, err
			}
			c := metav1.Condition{Type: addonv1alpha1.ConditionHookManifestCompleted, Status: metav1.ConditionTrue, Reason: addonv1alpha1.ReasonHookManifestIsCompleted, Message: "the pre-delete hooks are done"}
			if waitsFor != "" {
				c.Status, c.Reason, c.Message = metav1.ConditionFalse, addonv1alpha1.ReasonHookManifestIsNotApplied, waitsFor
			}
			meta.SetStatusCondition(&mca.Status.Conditions, c)
			if waitsFor != "" {
				return r.publish(ctx, before, mca, nil)
			}
		}
		return r.release(ctx, mca, step.finalizer)
	}
	gone, err := r.removeElsewhere(ctx, d)
	if err != nil || !gone {
		return reconcile.Result{RequeueAfter: 5 * time.Second}, err // a work that is gone wakes us sooner
	}
	return r.release(ctx, mca, addonv1alpha1.HostingManifestsFinalizer)
}

// release removes one finalizer, and looks again for the next step.
func (r *Deployer) release(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn, finalizer string) (reconcile.Result, error) {
	was := mca.DeepCopy()
	controllerutil.RemoveFinalizer(mca, finalizer)
	return conflicted(r.Client.Patch(ctx, mca, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})))
}

// runHooks makes the work with the hooks, and says what it waits for; "" when all are complete.
func (r *Deployer) runHooks(ctx context.Context, wanted *workv1.ManifestWork) (string, error) {
	live := &workv1.ManifestWork{}
	err := r.Reader.Get(ctx, client.ObjectKeyFromObject(wanted), live)
	if apierrors.IsNotFound(err) {
		return fmt.Sprintf("the pre-delete hooks in work %s are not applied yet", wanted.Name), r.Client.Create(ctx, wanted.DeepCopy())
	}
	if err != nil {
		return "", fmt.Errorf("read the work with the pre-delete hooks: %w", err)
	}
	for i := range live.Spec.Workload.Manifests {
		var o unstructured.Unstructured
		if err := o.UnmarshalJSON(live.Spec.Workload.Manifests[i].Raw); err != nil {
			return "", err
		}
		if !completed(live, i) {
			return fmt.Sprintf("pre-delete hook %s %s/%s in work %s is not complete", o.GetKind(), o.GetNamespace(), o.GetName(), live.Name), nil
		}
	}
	return "", nil
}

// completed reads the feedback of a hook: a Job that is Complete, a Pod that has succeeded.
func completed(w *workv1.ManifestWork, ordinal int) bool {
	for _, m := range w.Status.ResourceStatus.Manifests {
		if int(m.ResourceMeta.Ordinal) != ordinal {
			continue
		}
		for _, v := range m.StatusFeedbacks.Values {
			text := ""
			if v.Value.String != nil {
				text = *v.Value.String
			}
			if v.Name == "JobComplete" && text == "True" || v.Name == "PodPhase" && text == "Succeeded" {
				return true
			}
		}
	}
	return false
}

// hookFeedback asks for what completed reads, under the names that OCM has for it.
func hookFeedback(hooks []*unstructured.Unstructured) []workv1.ManifestConfigOption {
	var out []workv1.ManifestConfigOption
	for _, o := range hooks {
		plural, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
		out = append(out, workv1.ManifestConfigOption{
			ResourceIdentifier: workv1.ResourceIdentifier{Group: plural.Group, Resource: plural.Resource, Namespace: o.GetNamespace(), Name: o.GetName()},
			FeedbackRules:      []workv1.FeedbackRule{{Type: workv1.WellKnownStatusType}},
			FeedbackScrapeType: workv1.FeedbackPollType,
		})
	}
	return out
}

// removeElsewhere deletes the works of an add-on in the namespaces of other clusters. It is true when they are gone.
func (r *Deployer) removeElsewhere(ctx context.Context, d *deployment) (bool, error) {
	gone := true
	for _, lw := range r.Works.Of(owner(d.addon)) {
		if !d.elsewhere(lw) {
			continue
		}
		gone = false
		w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: lw.Cluster, Name: lw.Name}}
		if err := r.Client.Delete(ctx, w); !lw.Deleting && client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("delete work %s/%s: %w", lw.Cluster, lw.Name, err)
		}
	}
	return gone, nil
}

// elsewhere says that a work is on another cluster than the add-on's.
func (d *deployment) elsewhere(lw fleet.LiveWork) bool { return lw.Cluster != d.addon.Namespace }
