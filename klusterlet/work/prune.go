package work

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/health"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

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
func (e *engine) prune(ctx context.Context, record *workv1.AppliedManifestWork, entries []workv1.AppliedManifestResourceMeta) pruned {
	candidates, indices := make([]candidate, len(entries)), make([]int, len(entries))
	for i := range entries {
		indices[i] = i
	}
	e.parallel(ctx, indices, func(i int) {
		c := &candidates[i]
		c.entry = entries[i]
		c.live, c.gvr, c.err = e.find(ctx, entries[i])
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
		e.parallel(ctx, stages[s], func(i int) { results[i], errs[i] = e.release(ctx, record, candidates[i]) })
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
	for _, condition := range []string{"NamespaceDeletionDiscoveryFailure", "NamespaceContentRemaining", "NamespaceFinalizersRemaining"} {
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
func (e *engine) release(ctx context.Context, record *workv1.AppliedManifestWork, c candidate) (pruneResult, error) {
	entry, live := c.entry, c.live
	if c.err != nil {
		return dying, fmt.Errorf("prune %s %s: %w", entry.Resource, nameIn(entry), c.err)
	}
	if live == nil || !owns(record, live) {
		return gone, nil
	}
	shared, err := e.ownedByAnother(ctx, record, live)
	switch {
	case err != nil:
		return dying, fmt.Errorf("prune %s %s: %w", entry.Resource, nameIn(entry), err)
	case shared:
		return gone, e.handOver(ctx, c.gvr, live, record, keyOf(entry))
	case e.wantedByAnother(record, live, keyOf(entry)):
		return waited, nil
	case live.GetDeletionTimestamp() != nil:
		return dying, nil
	}
	logr.FromContextOrDiscard(ctx).Info("Delete", "object", live.GetKind()+" "+nameIn(entry))
	deletions.Inc()
	uid, version, background := live.GetUID(), live.GetResourceVersion(), metav1.DeletePropagationBackground
	resource := e.resource(c.gvr, entry.Namespace)
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
func (e *engine) find(ctx context.Context, entry workv1.AppliedManifestResourceMeta) (*unstructured.Unstructured, schema.GroupVersionResource, error) {
	gvr := schema.GroupVersionResource{Group: entry.Group, Version: entry.Version, Resource: entry.Resource}
	live, err := e.resource(gvr, entry.Namespace).Get(ctx, entry.Name, metav1.GetOptions{})
	switch {
	case saysAbsent(err, entry.Name):
		return nil, gvr, nil
	case !apierrors.IsNotFound(err):
		return live, gvr, err
	}
	version, err := e.served(ctx, gvr.GroupResource())
	if err != nil || version == "" {
		return nil, gvr, err
	}
	gvr.Version = version
	live, err = e.resource(gvr, entry.Namespace).Get(ctx, entry.Name, metav1.GetOptions{})
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
func (e *engine) served(ctx context.Context, resource schema.GroupResource) (string, error) {
	definition, err := e.objects.Resource(definitions).Get(ctx, resource.String(), metav1.GetOptions{})
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
	groups, err := e.discovery.ServerGroups()
	if err != nil {
		return "", fmt.Errorf("find a version of %s: %w", resource, err)
	}
	for _, group := range groups.Groups {
		if group.Name != resource.Group {
			continue
		}
		for _, version := range group.Versions {
			list, err := e.discovery.ServerResourcesForGroupVersion(version.GroupVersion)
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
func (e *engine) ownedByAnother(ctx context.Context, record *workv1.AppliedManifestWork, live *unstructured.Unstructured) (bool, error) {
	for _, owner := range live.GetOwnerReferences() {
		if !isRecord(owner) || owner.UID == record.UID {
			continue
		}
		var other workv1.AppliedManifestWork
		err := e.spoke.Get(ctx, client.ObjectKey{Name: owner.Name}, &other)
		if client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("read its other owner %s: %w", owner.Name, err)
		}
		if err == nil && other.UID == owner.UID {
			return true, nil
		}
	}
	return false, nil
}

// wantedByAnother says that another work of the hub holds the object in its manifests, and applies it.
func (e *engine) wantedByAnother(record *workv1.AppliedManifestWork, live *unstructured.Unstructured, key objectKey) bool {
	if record.Spec.HubHash != e.HubHash {
		return false
	}
	wanted := claim{live.GroupVersionKind().GroupKind(), live.GetNamespace(), live.GetName()}
	for _, name := range e.claims.others(wanted, record.Spec.ManifestWorkName) {
		var work workv1.ManifestWork
		if err := e.works.Get(context.Background(), client.ObjectKey{Namespace: e.ClusterName, Name: name}, &work); err != nil {
			return true // it was claimed a moment ago: better to wait
		}
		config := target{config: configFor(work.Spec.ManifestConfigs, key)}
		if work.DeletionTimestamp.IsZero() && config.strategy() != workv1.UpdateStrategyTypeReadOnly {
			return true
		}
	}
	return false
}

// handOver leaves an object to the work that gains it. When that one is another application's it applies under another field
// manager: what only ours has set would stay for ever, and is removed.
func (e *engine) handOver(ctx context.Context, gvr schema.GroupVersionResource, live *unstructured.Unstructured,
	record *workv1.AppliedManifestWork, key objectKey) error {
	manager, err := e.managerToEnd(ctx, record, live, key)
	if err != nil {
		return err
	}
	if manager != "" {
		nothing := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": live.GetAPIVersion(), "kind": live.GetKind(), "metadata": map[string]any{
				"name": live.GetName(), "uid": string(live.GetUID()), "resourceVersion": live.GetResourceVersion(),
			},
		}}
		body := must(nothing.MarshalJSON())
		force := true
		left, err := e.resource(gvr, live.GetNamespace()).Patch(ctx, live.GetName(), types.ApplyPatchType, body,
			metav1.PatchOptions{FieldManager: manager, Force: &force})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("leave the fields of %s %s: %w", live.GetKind(), live.GetName(), err)
		}
		live = left
	}
	if !owns(record, live) {
		return nil
	}
	return e.disown(ctx, gvr, live, record)
}

// managerToEnd is the field manager of a record's work, if the work is one of a plan and applies under another name than those
// that hold the object now; else "". OCM's works leave their fields as they are.
func (e *engine) managerToEnd(ctx context.Context, record *workv1.AppliedManifestWork, live *unstructured.Unstructured, key objectKey) (string, error) {
	if record.Spec.HubHash != e.HubHash {
		return "", nil
	}
	var mine workv1.ManifestWork
	err := e.works.Get(ctx, client.ObjectKey{Namespace: e.ClusterName, Name: record.Spec.ManifestWorkName}, &mine)
	if err != nil || mine.Annotations[musterv1alpha1.DriftAnnotation] == "" || len(mine.Spec.ManifestConfigs) == 0 {
		return "", client.IgnoreNotFound(err)
	}
	manager := target{config: mine.Spec.ManifestConfigs[0]}.serverSide().FieldManager // the application's, the same for all
	others := e.claims.others(claim{live.GroupVersionKind().GroupKind(), live.GetNamespace(), live.GetName()}, mine.Name)
	if len(others) == 0 {
		return "", nil // another hub's agent has it
	}
	for _, name := range others {
		var other workv1.ManifestWork
		if err := e.works.Get(ctx, client.ObjectKey{Namespace: e.ClusterName, Name: name}, &other); err != nil {
			return "", fmt.Errorf("read work %s, which gains the object: %w", name, err)
		}
		if (target{config: configFor(other.Spec.ManifestConfigs, key)}).serverSide().FieldManager == manager {
			return "", nil
		}
	}
	return manager, nil
}

// disown removes our ownerReference from an object that stays.
func (e *engine) disown(ctx context.Context, gvr schema.GroupVersionResource, live *unstructured.Unstructured, record *workv1.AppliedManifestWork) error {
	_, err := e.setOwners(ctx, gvr, live, without(live.GetOwnerReferences(), record.UID))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// setOwners replaces the ownerReferences of an object, unless it changed since it was read.
func (e *engine) setOwners(ctx context.Context, gvr schema.GroupVersionResource, live *unstructured.Unstructured, owners []metav1.OwnerReference) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": live.GetUID(), "resourceVersion": live.GetResourceVersion(), "ownerReferences": owners}})
	if err != nil {
		return nil, fmt.Errorf("encode owners of %s: %w", live.GetName(), err)
	}
	written, err := e.resource(gvr, live.GetNamespace()).Patch(ctx, live.GetName(), types.MergePatchType, body,
		metav1.PatchOptions{FieldManager: workv1.DefaultFieldManager})
	if err != nil {
		return nil, fmt.Errorf("set the owners of %s %s: %w", live.GetKind(), live.GetName(), err)
	}
	return written, nil
}

func nameIn(r workv1.AppliedManifestResourceMeta) string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

// finish removes what a deleted work applied, then lets the work go: its finalizer is the last thing to be removed.
func (e *engine) finish(ctx context.Context, work *workv1.ManifestWork, m *memory) error {
	e.watches.want(work.Name, nil)
	if !slices.Contains(work.Finalizers, workv1.ManifestWorkFinalizer) {
		return nil
	}
	perr := e.publishDeleting(ctx, work, m, "")
	record := &workv1.AppliedManifestWork{}
	err := e.spoke.Get(ctx, client.ObjectKey{Name: e.recordName(work.Name)}, record)
	if apierrors.IsNotFound(err) {
		e.reached("record gone")
		return e.releaseWork(ctx, work)
	}
	if err != nil {
		return errors.Join(perr, fmt.Errorf("read AppliedManifestWork %s: %w", e.recordName(work.Name), err))
	}
	e.reached("deleting")
	if err := e.adoptRecord(ctx, record); err != nil {
		return errors.Join(perr, err)
	}
	if !record.DeletionTimestamp.IsZero() {
		e.queue.Add(request{record: true, name: record.Name})
		return perr
	}
	if err := e.orphanObjects(ctx, work, record, record.Status.AppliedResources); err != nil {
		return errors.Join(perr, err)
	}
	err = e.spoke.Delete(ctx, record, client.Preconditions{UID: &record.UID})
	if client.IgnoreNotFound(err) != nil {
		return errors.Join(perr, fmt.Errorf("delete AppliedManifestWork %s: %w", record.Name, err))
	}
	return perr
}

// releaseWork removes the finalizer from a work.
func (e *engine) releaseWork(ctx context.Context, work *workv1.ManifestWork) error {
	before := work.DeepCopy()
	work.Finalizers = nil
	for _, f := range before.Finalizers {
		if f != workv1.ManifestWorkFinalizer {
			work.Finalizers = append(work.Finalizers, f)
		}
	}
	err := e.hub.Patch(ctx, work, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove the finalizer from the work: %w", err)
	}
	return nil
}

// orphanObjects removes our ownerReference from those of a record's objects that stay when their manifest or the work goes. It
// is done before the record is deleted: the garbage collector would delete them with it.
func (e *engine) orphanObjects(ctx context.Context, work *workv1.ManifestWork, record *workv1.AppliedManifestWork,
	entries []workv1.AppliedManifestResourceMeta) error {
	var errs []error
	for _, entry := range entries {
		if !orphaned(work.Spec.DeleteOption, keyOf(entry)) {
			continue
		}
		live, gvr, err := e.find(ctx, entry)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("orphan %s %s: %w", entry.Resource, nameIn(entry), err))
		case live != nil && owns(record, live):
			errs = append(errs, e.disown(ctx, gvr, live, record))
		}
	}
	return errors.Join(errs...)
}

// reconcileRecord ends a record that is being deleted, and evicts one whose work is gone.
func (e *engine) reconcileRecord(ctx context.Context, name string) (time.Duration, error) {
	m := e.remembered(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	record := &workv1.AppliedManifestWork{}
	err := e.spoke.Get(ctx, client.ObjectKey{Name: name}, record)
	if apierrors.IsNotFound(err) {
		e.forget(name, m)
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the AppliedManifestWork: %w", err)
	}
	if record.Spec.AgentID != e.AgentID {
		return 0, nil // another agent's
	}
	if record.DeletionTimestamp.IsZero() {
		return e.evict(ctx, record)
	}
	if h := e.heldRecord(ctx, record); h != nil {
		return h.left(time.Now()), nil
	}
	e.reached("record deleted")
	left := e.prune(ctx, record, record.Status.AppliedResources)
	if err := errors.Join(e.keepEntries(ctx, record, left.rest), e.reportLeft(ctx, record, m, left)); err != nil {
		return 0, err
	}
	if left.err != nil || len(left.rest) > 0 {
		logr.FromContextOrDiscard(ctx).V(1).Info("Wait for objects to go", "left", leftMessage(left))
		return e.patience(request{record: true, name: name}), nil
	}
	e.reached("emptied")
	before := record.DeepCopy()
	record.Finalizers = nil
	for _, f := range before.Finalizers {
		if f != workv1.AppliedManifestWorkFinalizer {
			record.Finalizers = append(record.Finalizers, f)
		}
	}
	if err := e.spoke.Patch(ctx, record, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("remove the finalizer from the AppliedManifestWork: %w", err)
	}
	return 0, nil
}

// heldRecord gives the hold of a record that is being deleted.
func (e *engine) heldRecord(ctx context.Context, record *workv1.AppliedManifestWork) *hold {
	work := &workv1.ManifestWork{}
	_ = e.works.Get(ctx, client.ObjectKey{Namespace: e.ClusterName, Name: record.Spec.ManifestWorkName}, work) // a work that is gone has no application
	return e.heldBy(work, record, time.Now())
}

// keepEntries writes down which objects of a record are still there: those that are gone leave its status as they go.
func (e *engine) keepEntries(ctx context.Context, record *workv1.AppliedManifestWork, rest []workv1.AppliedManifestResourceMeta) error {
	if len(rest) == len(record.Status.AppliedResources) {
		return nil
	}
	before := record.DeepCopy()
	record.Status.AppliedResources = rest
	if err := e.spoke.Status().Patch(ctx, record, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write down what is left of AppliedManifestWork %s: %w", record.Name, err)
	}
	return nil
}

// reportLeft tells in the status of a deleted work which of its objects are not gone yet, and what keeps them.
func (e *engine) reportLeft(ctx context.Context, record *workv1.AppliedManifestWork, m *memory, left pruned) error {
	if record.Spec.HubHash != e.HubHash || len(left.left) == 0 {
		return nil
	}
	var work workv1.ManifestWork
	err := e.works.Get(ctx, client.ObjectKey{Namespace: e.ClusterName, Name: record.Spec.ManifestWorkName}, &work)
	if err != nil || work.DeletionTimestamp.IsZero() {
		return client.IgnoreNotFound(err)
	}
	return e.publishDeleting(ctx, &work, m, leftMessage(left))
}

// patience grows from 50 ms to the retry delay for something that is slow without being wrong.
func (e *engine) patience(r request) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.waits[r]
	e.waits[r] = min(n+1, 12)
	return min(50*time.Millisecond<<n, e.RetryDelay)
}

// noPatience forgets how long something was waited for that is over.
func (e *engine) noPatience(r request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waits, r)
}

// forget drops what is remembered of a record that is gone, unless its work goes on.
func (e *engine) forget(record string, m *memory) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waits, request{record: true, name: record})
	if m.uid == "" {
		delete(e.memory, record)
	}
}
