package fleetrepository

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// orphan is an object on the hub that was applied from the repository and is no longer in its files.
type orphan struct {
	key     fleet.ObjectKey
	object  *metav1.PartialObjectMetadata
	cluster bool // it is released instead of deleted
}

// prune deletes what has left the repository, in the reverse order of apply: only when absence is proven, and applications and add-ons that
// run on clusters only with an approval. Clusters and namespaces are released, never deleted. The templates and configurations of add-ons
// stay until the add-ons that leave are gone from clusters: their hooks run from them.
// A renamed application is deleted when the application with its new name owns all its works.
func (r *Repositories) prune(ctx context.Context, repo *musterv1alpha1.FleetRepository, world *fleet.World, out *report) error {
	w, err := r.writer(repo)
	if err != nil {
		return err
	}
	if !absenceProven(out.delivery.Definitions) {
		return nil
	}
	orphans, err := r.orphans(ctx, r.applied, repo, out.delivery.Definitions)
	if err != nil {
		return err
	}
	if err := r.dependentsFirst(ctx, orphans); err != nil {
		return err
	}
	running, left := runningOn(world), map[string]int{}
	free := repo.Annotations[musterv1alpha1.ApprovedPlanAnnotation] == out.plan.Digest || !guarded(repo)
	held := &musterv1alpha1.Held{Plan: out.plan.Digest}
	for _, o := range orphans {
		if o.object.GetDeletionTimestamp() != nil || waitsForAddOns(o, orphans) {
			out.deleting++
			continue
		}
		what, clusters := o.runs(running)
		if o.key.Kind == "Application" {
			key := o.key.Namespace + "/" + o.key.Name
			out.leaving = append(out.leaving, key)
			if now := out.plan.Renames[key]; now != "" && clusters > 0 {
				out.renaming = append(out.renaming, fmt.Sprintf("%s to %s", key, now))
				continue
			}
		}
		if clusters > 0 && !free {
			left[o.key.Kind]++
			held.Items = append(held.Items, fmt.Sprintf("%s, on %d clusters", what, clusters))
			continue
		}
		if err := r.pruneOrRefuse(ctx, w, repo, o, out); err != nil {
			return err
		}
	}
	if len(held.Items) > 0 {
		held.Deletions = int32(len(held.Items))
		held.Message = whatLeft(left["Application"], left[addOn]) + ": muster approve --plan " + shortPlan(held.Plan)
		held.Items = held.Items[:min(len(held.Items), 20)]
		out.held = held
	}
	return nil
}

// dependentsFirst puts applications before those that they depend on: these wait for them on clusters when they are deleted, and so have to
// know of it.
func (r *Repositories) dependentsFirst(ctx context.Context, orphans []orphan) error {
	isApplication := func(o orphan) bool { return o.key.Kind == "Application" }
	from := slices.IndexFunc(orphans, isApplication)
	if from < 0 {
		return nil
	}
	apps := orphans[from:]
	if to := slices.IndexFunc(apps, func(o orphan) bool { return !isApplication(o) }); to >= 0 {
		apps = apps[:to]
	}
	var list musterv1alpha1.ApplicationList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list applications: %w", err)
	}
	all := map[string]*musterv1alpha1.Application{}
	for i := range list.Items {
		all[list.Items[i].Namespace+"/"+list.Items[i].Name] = &list.Items[i]
	}
	depths := map[string]int{}
	slices.SortStableFunc(apps, func(a, b orphan) int {
		return cmp.Compare(depth(all, depths, b.key.Namespace+"/"+b.key.Name), depth(all, depths, a.key.Namespace+"/"+a.key.Name))
	})
	return nil
}

// depth is how long the chain is of what an application depends on. Those that are known are in depths; a circle ends where it began.
func depth(all map[string]*musterv1alpha1.Application, depths map[string]int, key string) int {
	app := all[key]
	if d, known := depths[key]; known || app == nil {
		return d
	}
	depths[key] = 0
	deepest := 0
	for _, d := range app.Spec.DependsOn {
		deepest = max(deepest, 1+depth(all, depths, plan.DependencyKey(app, d)))
	}
	depths[key] = deepest
	return deepest
}

// runs says on how many clusters an application or an add-on is, and what to call it.
func (o orphan) runs(running map[string]int) (what string, clusters int) {
	switch o.key.Kind {
	case "Application":
		key := o.key.Namespace + "/" + o.key.Name
		return "application " + key, running[key]
	case addOn:
		return "add-on " + o.key.Name, running[addOn+" "+o.key.Name]
	}
	return "", 0
}

// addOn is the kind of add-ons as a repository defines them.
const addOn = "ClusterManagementAddOn"

// whatLeft says how much left the repository.
func whatLeft(apps, addons int) string {
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{apps, "application"}, {addons, "add-on"}} {
		if c.n > 1 {
			c.what += "s"
		}
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	verb := "runs"
	if apps+addons > 1 {
		verb = "run"
	}
	return strings.Join(parts, " and ") + " left the repository and " + verb + " on clusters"
}

// waitsForAddOns says that an object stays until the add-ons of the repository that go have gone: their way out is rendered from it.
func waitsForAddOns(o orphan, orphans []orphan) bool {
	return (o.key.Kind == "AddOnTemplate" || o.key.Kind == "AddOnDeploymentConfig") &&
		slices.ContainsFunc(orphans, func(other orphan) bool { return other.key.Kind == addOn })
}

// pruneOrRefuse deletes one orphan. What the repository's account may not delete is a fault, and stops nothing else.
func (r *Repositories) pruneOrRefuse(ctx context.Context, w *writes, repo *musterv1alpha1.FleetRepository, o orphan, out *report) error {
	err := r.pruneOne(ctx, w, o)
	switch {
	case apierrors.IsConflict(err): // somebody has written it meanwhile: it is read again
		out.requeueAfter = min(out.requeueAfter, time.Second)
	case apierrors.IsForbidden(err):
		out.refuse(fleet.Fault{
			Reason: fleet.Forbidden, ActionRequiredBy: fleet.User, Object: o.key.String(), Err: err,
			Message: fmt.Sprintf("it left the repository, and service account %s/%s may not delete it: %s",
				repo.Namespace, repo.Spec.ServiceAccountName, plainStatus(err)),
		})
		return nil
	case err != nil:
		return fmt.Errorf("prune %s: %w", o.key, err)
	}
	out.deleting++
	return nil
}

// absenceProven is true when every file was read: only then does a missing definition mean that it was removed.
func absenceProven(defs *fleet.Definitions) bool { return defs.AbsenceProven && len(defs.Named) > 0 }

// guarded is false when the repository's guard is at 100 percent, which permits every deletion.
func guarded(repo *musterv1alpha1.FleetRepository) bool {
	p := repo.Spec.DeletionGuard.MaxClusterPercent
	return p == nil || *p < 100
}

func shortPlan(digest string) string { return digest[:min(len(digest), 12)] }

// runningOn counts the clusters of each application, and of each add-on by its kind and name, by their live works.
func runningOn(world *fleet.World) map[string]int {
	clusters := map[string]map[string]bool{}
	for _, lw := range world.Works {
		key := lw.Owner.String()
		if lw.Owner.IsAddon() {
			key = addOn + " " + lw.Owner.Name
		}
		if clusters[key] == nil {
			clusters[key] = map[string]bool{}
		}
		clusters[key][lw.Cluster] = true
	}
	counts := map[string]int{}
	for app, on := range clusters {
		counts[app] = len(on)
	}
	return counts
}

// orphans are found by the repository's owner label, in the reverse of the order in which a commit is applied.
func (r *Repositories) orphans(ctx context.Context, reader client.Reader, repo *musterv1alpha1.FleetRepository, defs *fleet.Definitions) ([]orphan, error) {
	var list []orphan
	for _, kind := range slices.Backward(fleet.Kinds) {
		found, err := owned(ctx, reader, repo, kind)
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			if !defs.Named[o.key.Identity()] {
				list = append(list, o)
			}
		}
	}
	return list, nil
}

// owned are the objects of one kind that carry the repository's marks.
func owned(ctx context.Context, reader client.Reader, repo *musterv1alpha1.FleetRepository, kind fleet.Kind) ([]orphan, error) {
	var found metav1.PartialObjectMetadataList
	found.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := reader.List(ctx, &found, client.MatchingLabels{musterv1alpha1.OwnerLabel: Owner(repo)}); err != nil {
		return nil, fmt.Errorf("list %s of %s/%s: %w", kind.Resource, repo.Namespace, repo.Name, err)
	}
	var list []orphan
	for i := range found.Items {
		o := &found.Items[i]
		if o.GetAnnotations()[musterv1alpha1.RepositoryAnnotation] != repo.Namespace+"/"+repo.Name {
			continue
		}
		list = append(list, orphan{
			key: fleet.ObjectKey{
				Group: kind.Group, Version: kind.Version, Kind: kind.Kind, Resource: kind.Resource,
				Namespace: o.GetNamespace(), Name: o.GetName(),
			},
			object: o, cluster: kind.Kind == "ManagedCluster",
		})
	}
	return list, nil
}

// pruneOne deletes an object after reading it from the API server, so that an object that was recreated or taken over meanwhile stays.
func (r *Repositories) pruneOne(ctx context.Context, w *writes, o orphan) error {
	live, err := resourceOf(w, o.key).Get(ctx, o.key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	mine := o.object.GetAnnotations()[musterv1alpha1.RepositoryAnnotation]
	if live.GetUID() != o.object.GetUID() || live.GetAnnotations()[musterv1alpha1.RepositoryAnnotation] != mine {
		return nil // the cache is stale; its next event wakes the controller
	}
	if o.cluster || o.key.Kind == "Namespace" {
		return r.releaseOne(ctx, w, o)
	}
	uid, version := live.GetUID(), live.GetResourceVersion()
	err = resourceOf(w, o.key).Delete(ctx, o.key.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	delete(w.done, o.key)
	return err
}

// releaseOne removes the repository's marks from an object. A released cluster waits for muster detach.
func (r *Repositories) releaseOne(ctx context.Context, w *writes, o orphan) error {
	released := "null"
	if o.cluster {
		released = fmt.Sprintf("%q", "its file left the repository: run muster detach "+o.key.Name)
	}
	from := o.object.GetAnnotations()[musterv1alpha1.RepositoryAnnotation]
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:null},"annotations":{%q:null,%q:%q,%q:%s}}}`, musterv1alpha1.OwnerLabel,
		musterv1alpha1.RepositoryAnnotation, ReleasedFromAnnotation, from, musterv1alpha1.ReleasedAnnotation, released)
	_, err := resourceOf(w, o.key).Patch(ctx, o.key.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "muster-release"})
	delete(w.done, o.key)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// release removes the marks of a repository that is being deleted from everything that it applied.
func (r *Repositories) release(ctx context.Context, repo *musterv1alpha1.FleetRepository) error {
	w, err := r.writer(repo)
	if err != nil {
		return err
	}
	orphans, err := r.orphans(ctx, r.Reader, repo, &fleet.Definitions{}) // a stale cache could miss one
	if err != nil {
		return err
	}
	for _, o := range orphans {
		o.cluster = false
		err := r.releaseOne(ctx, w, o)
		if apierrors.IsForbidden(err) {
			continue // its account has lost the right or was deleted; marks of a deleted repository do not count
		}
		if err != nil {
			return fmt.Errorf("release %s: %w", o.key, err)
		}
	}
	return nil
}
