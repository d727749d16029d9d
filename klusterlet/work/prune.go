package work

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/health"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// remover ends the ownership of objects on the cluster. The agent uses it for single objects and works, an uninstall for all that
// the agent has applied.
type remover struct {
	spoke   client.Client
	objects dynamic.Interface
	// discovery forgets what is served no more, which the mapper does not.
	discovery discovery.DiscoveryInterface
	slots     chan struct{} // as many as requests run at the same time
	others    otherWorks    // nil where no works are known
}

// otherWorks are the works of the hub, which may want an object that one of them no longer has.
type otherWorks interface {
	wantedByAnother(record *workv1.AppliedManifestWork, live *unstructured.Unstructured, key objectKey) bool
	handOver(ctx context.Context, gvr schema.GroupVersionResource, live *unstructured.Unstructured, record *workv1.AppliedManifestWork, key objectKey) error
}

// connect makes the clients of the cluster.
func (r *remover) connect(config *rest.Config, web *http.Client, scheme *runtime.Scheme, mapper meta.RESTMapper) error {
	var errs [3]error
	r.spoke, errs[0] = client.New(config, client.Options{Scheme: scheme, Mapper: mapper, HTTPClient: web})
	r.objects, errs[1] = dynamic.NewForConfigAndClient(config, impersonating(web))
	r.discovery, errs[2] = discovery.NewDiscoveryClientForConfigAndClient(config, web)
	return errors.Join(errs[:]...)
}

// pruneResult is what became of an object that is no longer wanted.
type pruneResult int

const (
	gone   pruneResult = iota // it is not there, or not ours any more
	dying                     // its deletion was asked for and is not over
	waited                    // another work wants it and does not own it yet
)

// pruned is what a look at the entries of a record that are no longer wanted has brought.
type pruned struct {
	rest  []workv1.AppliedManifestResourceMeta // the entries that have to be kept
	waits bool                                 // one of them waits for another work
	left  []string                             // what is being deleted, with what keeps it, for people
	err   error
}

// candidate is an entry with the object that it lists.
type candidate struct {
	entry workv1.AppliedManifestResourceMeta
	live  *unstructured.Unstructured // nil when it is not there
	gvr   schema.GroupVersionResource
	err   error
}

// prune lets go of objects that a record lists, in the reverse order of an installation: see stage. A stage begins when the one
// before has gone.
func (r *remover) prune(ctx context.Context, record *workv1.AppliedManifestWork, entries []workv1.AppliedManifestResourceMeta) pruned {
	candidates, indices := make([]candidate, len(entries)), make([]int, len(entries))
	for i := range entries {
		indices[i] = i
	}
	r.parallel(ctx, indices, func(i int) {
		c := &candidates[i]
		c.entry = entries[i]
		c.live, c.gvr, c.err = r.find(ctx, entries[i])
	})
	if ctx.Err() != nil {
		return pruned{rest: entries, err: ctx.Err()}
	}
	stages := map[stage][]int{}
	for i, c := range candidates {
		stages[stageOf(c)] = append(stages[stageOf(c)], i)
	}
	results, errs := make([]pruneResult, len(entries)), make([]error, len(entries))
	for i := range results {
		results[i] = dying
	}
	var all pruned
	for _, s := range slices.SortedFunc(maps.Keys(stages), stage.compare) {
		r.parallel(ctx, stages[s], func(i int) { results[i], errs[i] = r.release(ctx, record, candidates[i]) })
		stays := false
		for _, i := range stages[s] {
			all.waits = all.waits || results[i] == waited
			if results[i] == dying || errs[i] != nil {
				stays, all.left = true, append(all.left, candidates[i].keeps(errs[i], time.Now()))
			}
		}
		if stays || ctx.Err() != nil {
			break
		}
	}
	for i, entry := range entries {
		if errs[i] != nil || results[i] != gone {
			all.rest = append(all.rest, entry)
		}
	}
	all.err = errors.Join(append(errs, ctx.Err())...)
	slices.Sort(all.left)
	return all
}

// stage is when an object is deleted. Lower ones go first:
//
//	webhooks, and what else of the API server calls the application   while the application still answers
//	the waves, from the highest to the lowest; in each
//	    custom resources                                              while their controllers still run
//	    all other objects
//	custom resource definitions                                       deleting one would delete every object of the kind
//	namespaces                                                        deleting one deletes what is in it, in any order
type stage struct{ class, wave, kind int }

func (s stage) compare(other stage) int {
	return cmp.Or(cmp.Compare(s.class, other.class), cmp.Compare(other.wave, s.wave), cmp.Compare(s.kind, other.kind))
}

func stageOf(c candidate) stage {
	s := stage{class: 1, kind: 1}
	switch group := c.entry.Group; {
	case group == "admissionregistration.k8s.io" || group == "apiregistration.k8s.io":
		return stage{class: 0}
	case group == "apiextensions.k8s.io":
		return stage{class: 2}
	case group == "" && c.entry.Resource == "namespaces":
		return stage{class: 3}
	case !health.Builtin(group):
		s.kind = 0
	}
	if c.live != nil {
		s.wave, _ = waveOf(schema.GroupVersionKind{}, c.live.GetAnnotations()) // one that cannot be read is 0
	}
	return s
}

// keeps says of an object that is not gone what keeps it.
func (c candidate) keeps(err error, now time.Time) string {
	what := c.entry.Resource + " " + nameIn(c.entry)
	if c.live == nil || err != nil {
		return fmt.Sprintf("%s: %v", what, err)
	}
	what = c.live.GetKind() + " " + nameIn(c.entry)
	since := c.live.GetDeletionTimestamp()
	if since == nil {
		return what + " is being deleted"
	}
	text := fmt.Sprintf("%s has been going for %s", what, age(now.Sub(since.Time)))
	if finalizers := c.live.GetFinalizers(); len(finalizers) > 0 {
		text += ", kept by finalizer " + strings.Join(finalizers, ", ")
	}
	for _, condition := range []string{"NamespaceDeletionDiscoveryFailure", "NamespaceDeletionGroupVersionParsingFailure", "NamespaceDeletionContentFailure",
		"NamespaceContentRemaining", "NamespaceFinalizersRemaining"} {
		if message := conditionMessage(c.live, condition); message != "" {
			text += ": " + message
		}
	}
	return text
}

// age is a duration for people, coarse enough that a status which holds it is not written all the time.
func age(d time.Duration) string {
	for _, unit := range []time.Duration{24 * time.Hour, time.Hour, 10 * time.Minute, time.Minute} {
		if d >= unit {
			return strings.TrimSuffix(strings.TrimSuffix(d.Truncate(unit).String(), "0s"), "0m")
		}
	}
	return "less than a minute"
}

func conditionMessage(object *unstructured.Unstructured, kind string) string {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == kind && m["status"] == "True" {
			return fmt.Sprint(m["message"])
		}
	}
	return ""
}

// maxLeft is how many objects that are left a message names.
const maxLeft = 5

// leftMessage names what is left of a deletion.
func leftMessage(p pruned) string {
	if len(p.left) == 0 {
		return ""
	}
	named := p.left[:min(len(p.left), maxLeft)]
	return cut(fmt.Sprintf("%d objects are left: %s", len(p.rest), strings.Join(named, "; ")))
}

// release ends our ownership of one object. In this order:
//
//	not there, at any version                      nothing to do
//	not owned by the record                        nothing to do: a recreated, orphaned or foreign object
//	owned by another AppliedManifestWork that is   our reference goes, and fields that no other work wants
//	wanted by another work                         waited for, until that work owns it
//	else                                           deleted in the background, if it is still the one that was looked at
func (r *remover) release(ctx context.Context, record *workv1.AppliedManifestWork, c candidate) (pruneResult, error) {
	entry, live := c.entry, c.live
	if c.err != nil {
		return dying, fmt.Errorf("prune %s %s: %w", entry.Resource, nameIn(entry), c.err)
	}
	if live == nil || !owns(record, live) {
		return gone, nil
	}
	shared, err := r.ownedByAnother(ctx, record, live)
	switch {
	case err != nil:
		return dying, fmt.Errorf("prune %s %s: %w", entry.Resource, nameIn(entry), err)
	case shared && r.others == nil:
		return gone, r.disown(ctx, c.gvr, live, record)
	case shared:
		return gone, r.others.handOver(ctx, c.gvr, live, record, keyOf(entry))
	case r.others != nil && r.others.wantedByAnother(record, live, keyOf(entry)):
		return waited, nil
	case live.GetDeletionTimestamp() != nil:
		return dying, nil
	}
	logr.FromContextOrDiscard(ctx).Info("Delete", "object", live.GetKind()+" "+nameIn(entry))
	deletions.Inc()
	uid, version, background := live.GetUID(), live.GetResourceVersion(), metav1.DeletePropagationBackground
	resource := r.resource(c.gvr, entry.Namespace)
	err = resource.Delete(ctx, entry.Name, metav1.DeleteOptions{PropagationPolicy: &background,
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return dying, fmt.Errorf("prune %s %s: %w", entry.Resource, nameIn(entry), err)
	}
	if _, err := resource.Get(ctx, entry.Name, metav1.GetOptions{}); saysAbsent(err, entry.Name) {
		return gone, nil
	}
	return dying, nil
}

// find reads an object that a record lists, at the version that it was applied at or, when that one is retired, at one that
// is served. It is nil when the object is not there. That a version is not served proves nothing: the object is still stored.
func (r *remover) find(ctx context.Context, entry workv1.AppliedManifestResourceMeta) (*unstructured.Unstructured, schema.GroupVersionResource, error) {
	gvr := schema.GroupVersionResource{Group: entry.Group, Version: entry.Version, Resource: entry.Resource}
	live, err := r.resource(gvr, entry.Namespace).Get(ctx, entry.Name, metav1.GetOptions{})
	switch {
	case saysAbsent(err, entry.Name):
		return nil, gvr, nil
	case !apierrors.IsNotFound(err):
		return live, gvr, err
	}
	version, err := r.served(ctx, gvr.GroupResource())
	if err != nil || version == "" {
		return nil, gvr, err
	}
	gvr.Version = version
	live, err = r.resource(gvr, entry.Namespace).Get(ctx, entry.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return nil, gvr, nil
	}
	return live, gvr, err
}

// saysAbsent says that an API server knows the kind and has no object of the name. It answers NotFound too, but about no
// object, to a question about a version that it does not serve.
func saysAbsent(err error, name string) bool {
	var answer apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &answer) || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return false
	}
	details := answer.Status().Details
	return details != nil && details.Name == name
}

// served is a version that the cluster serves a resource at, or is about to; empty when there is none. A definition is asked
// first, since discovery follows it late. The mapper is not: it never forgets a version.
func (r *remover) served(ctx context.Context, resource schema.GroupResource) (string, error) {
	definition, err := r.objects.Resource(definitions).Get(actAs(ctx, ""), resource.String(), metav1.GetOptions{})
	if err == nil && established(definition) {
		versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
		for _, v := range versions {
			if v, ok := v.(map[string]any); ok && v["served"] == true {
				return fmt.Sprint(v["name"]), nil
			}
		}
		return "", nil
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return "", fmt.Errorf("read the definition of %s: %w", resource, err)
	}
	groups, err := r.discovery.ServerGroups()
	if err != nil {
		return "", fmt.Errorf("find a version of %s: %w", resource, err)
	}
	for _, group := range groups.Groups {
		if group.Name != resource.Group {
			continue
		}
		for _, version := range group.Versions {
			list, err := r.discovery.ServerResourcesForGroupVersion(version.GroupVersion)
			if err != nil && !apierrors.IsNotFound(err) {
				return "", fmt.Errorf("find a version of %s: %w", resource, err)
			}
			if err == nil && slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == resource.Resource }) {
				return version.Version, nil
			}
		}
	}
	return "", nil
}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// ownedByAnother says that an AppliedManifestWork that exists and stays owns the object too.
func (r *remover) ownedByAnother(ctx context.Context, record *workv1.AppliedManifestWork, live *unstructured.Unstructured) (bool, error) {
	for _, owner := range live.GetOwnerReferences() {
		if !isRecord(owner) || owner.UID == record.UID {
			continue
		}
		var other workv1.AppliedManifestWork
		err := r.spoke.Get(ctx, client.ObjectKey{Name: owner.Name}, &other)
		if client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("read its other owner %s: %w", owner.Name, err)
		}
		if err == nil && other.UID == owner.UID {
			return true, nil
		}
	}
	return false, nil
}

// disown removes our ownerReference from an object that stays.
func (r *remover) disown(ctx context.Context, gvr schema.GroupVersionResource, live *unstructured.Unstructured, record *workv1.AppliedManifestWork) error {
	_, err := r.setOwners(ctx, gvr, live, without(live.GetOwnerReferences(), record.UID))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// orphan removes our ownerReference from an object that a record lists, if it has one.
func (r *remover) orphan(ctx context.Context, record *workv1.AppliedManifestWork, entry workv1.AppliedManifestResourceMeta) error {
	live, gvr, err := r.find(ctx, entry)
	if err == nil && live != nil && owns(record, live) {
		err = r.disown(ctx, gvr, live, record)
	}
	if err != nil {
		return fmt.Errorf("orphan %s %s: %w", entry.Resource, nameIn(entry), err)
	}
	return nil
}

// setOwners replaces the ownerReferences of an object, unless it changed since it was read.
func (r *remover) setOwners(ctx context.Context, gvr schema.GroupVersionResource, live *unstructured.Unstructured, owners []metav1.OwnerReference) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": live.GetUID(), "resourceVersion": live.GetResourceVersion(), "ownerReferences": owners}})
	if err != nil {
		return nil, fmt.Errorf("encode owners of %s: %w", live.GetName(), err)
	}
	written, err := r.resource(gvr, live.GetNamespace()).Patch(ctx, live.GetName(), types.MergePatchType, body,
		metav1.PatchOptions{FieldManager: workv1.DefaultFieldManager})
	if err != nil {
		return nil, fmt.Errorf("set the owners of %s %s: %w", live.GetKind(), live.GetName(), err)
	}
	return written, nil
}

// parallel runs f for every index, as many at a time as the agent has writers.
func (r *remover) parallel(ctx context.Context, indices []int, f func(i int)) {
	var group sync.WaitGroup
	for _, i := range indices {
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			group.Wait()
			return
		}
		group.Go(func() {
			defer func() { <-r.slots }()
			f(i)
		})
	}
	group.Wait()
}

func (r *remover) resource(gvr schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return r.objects.Resource(gvr)
	}
	return r.objects.Resource(gvr).Namespace(namespace)
}

func nameIn(entry workv1.AppliedManifestResourceMeta) string {
	if entry.Namespace == "" {
		return entry.Name
	}
	return entry.Namespace + "/" + entry.Name
}
