package work

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// appliedAnnotation of an AppliedManifestWork holds the marks of the manifests that were applied last, where drift is left, and of
// Jobs that have finished and will be removed: what a restarted agent would else apply again, over what people changed, because
// another manifest of the work is new.
const appliedAnnotation = "muster.dev/applied"

// recordName is the name of the AppliedManifestWork of a work.
func (e *engine) recordName(work string) string { return e.HubHash + "-" + work }

// ensureRecord gives the AppliedManifestWork of a work, made if need be. It is nil while an old one is being deleted:
// the work is looked at again when that is gone.
//
// It is read from the API server and not from the cache: what was written a moment ago must be in it.
func (e *engine) ensureRecord(ctx context.Context, work *workv1.ManifestWork, m *memory) (*workv1.AppliedManifestWork, error) {
	record := &workv1.AppliedManifestWork{}
	err := e.spoke.Get(ctx, client.ObjectKey{Name: e.recordName(work.Name)}, record)
	if apierrors.IsNotFound(err) {
		record = &workv1.AppliedManifestWork{
			ObjectMeta: metav1.ObjectMeta{Name: e.recordName(work.Name), Labels: work.Labels,
				Finalizers: []string{workv1.AppliedManifestWorkFinalizer}},
			Spec: workv1.AppliedManifestWorkSpec{HubHash: e.HubHash, AgentID: e.AgentID, ManifestWorkName: work.Name},
		}
		e.nameExecutor(record, work)
		m.objects = map[objectKey]*objectState{} // what was applied belonged to another record
		err = e.spoke.Create(ctx, record)
	}
	if err != nil {
		return nil, fmt.Errorf("ensure AppliedManifestWork %s: %w", e.recordName(work.Name), err)
	}
	if err := e.adoptRecord(ctx, record); err != nil || !record.DeletionTimestamp.IsZero() {
		return nil, err
	}
	before := record.DeepCopy()
	if e.nameExecutor(record, work) {
		if err := e.spoke.Patch(ctx, record, client.MergeFrom(before)); err != nil {
			return nil, fmt.Errorf("name the executor in AppliedManifestWork %s: %w", record.Name, err)
		}
	}
	return record, nil
}

// nameExecutor notes in a record who writes its objects, and says whether that is news. An agent that writes them itself names nobody.
func (e *engine) nameExecutor(record *workv1.AppliedManifestWork, work *workv1.ManifestWork) bool {
	user := e.actsAs(work)
	if record.Annotations[musterv1alpha1.ExecutorAnnotation] == user {
		return false
	}
	if user == "" {
		delete(record.Annotations, musterv1alpha1.ExecutorAnnotation)
	} else {
		metav1.SetMetaDataAnnotation(&record.ObjectMeta, musterv1alpha1.ExecutorAnnotation, user)
	}
	return true
}

// adoptRecord makes the record of a work ours to end: an agent that was installed anew has another name than the one that
// made it. A record that is being deleted can get no finalizer any more.
func (e *engine) adoptRecord(ctx context.Context, record *workv1.AppliedManifestWork) error {
	before := record.DeepCopy()
	held := record.DeletionTimestamp.IsZero() && controllerutil.AddFinalizer(record, workv1.AppliedManifestWorkFinalizer)
	if !held && record.Spec.AgentID == e.AgentID {
		return nil
	}
	record.Spec.AgentID = e.AgentID
	if err := e.spoke.Patch(ctx, record, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("ensure AppliedManifestWork %s: %w", record.Name, err)
	}
	return nil
}

// recordBeforeApply writes down what is about to be applied. An agent that dies between this and the apply leaves an
// entry without an object; one that dies after the apply leaves no object without an entry.
func (p *reconciliation) recordBeforeApply(ctx context.Context, group []int) error {
	var added []workv1.AppliedManifestResourceMeta
	for _, i := range group {
		t := p.targets[i]
		if t.err == nil && !p.lists(t.key()) {
			added = append(added, t.entry(""))
		}
	}
	if err := p.unmark(ctx); err != nil {
		return err
	}
	if len(added) == 0 {
		return nil
	}
	return p.updateRecord(ctx, append(slices.Clone(p.record.Status.AppliedResources), added...))
}

func (t target) entry(uid string) workv1.AppliedManifestResourceMeta {
	return workv1.AppliedManifestResourceMeta{Version: t.meta.Version, UID: uid, ResourceIdentifier: workv1.ResourceIdentifier{
		Group: t.meta.Group, Resource: t.meta.Resource, Namespace: t.meta.Namespace, Name: t.meta.Name}}
}

func (p *reconciliation) lists(key objectKey) bool {
	return slices.ContainsFunc(p.record.Status.AppliedResources, func(r workv1.AppliedManifestResourceMeta) bool { return keyOf(r) == key })
}

// recordApplied writes down the UIDs of what was applied, and what of the rest is still there.
func (p *reconciliation) recordApplied(ctx context.Context, rest []workv1.AppliedManifestResourceMeta) error {
	old := map[objectKey]string{}
	for _, entry := range p.record.Status.AppliedResources {
		old[keyOf(entry)] = entry.UID
	}
	entries := slices.Clone(rest)
	for _, t := range p.targets {
		uid, listed := old[t.key()]
		if t.meta.Resource == "" || !listed || t.strategy() == workv1.UpdateStrategyTypeReadOnly {
			continue
		}
		if s := p.memory.objects[t.key()]; s.facts.uid != "" {
			uid = string(s.facts.uid)
		}
		entries = append(entries, t.entry(uid))
	}
	return errors.Join(p.updateRecord(ctx, entries), p.setMarks(ctx, p.marksNow()))
}

// updateRecord replaces the entries, sorted, if they differ.
func (p *reconciliation) updateRecord(ctx context.Context, entries []workv1.AppliedManifestResourceMeta) error {
	slices.SortFunc(entries, func(a, b workv1.AppliedManifestResourceMeta) int { return strings.Compare(sortKey(a), sortKey(b)) })
	entries = slices.CompactFunc(entries, func(a, b workv1.AppliedManifestResourceMeta) bool { return keyOf(a) == keyOf(b) })
	if len(entries) == len(p.record.Status.AppliedResources) && (len(entries) == 0 || reflect.DeepEqual(entries, p.record.Status.AppliedResources)) &&
		p.record.Status.EvictionStartTime == nil {
		return nil
	}
	p.record.Status.AppliedResources = entries
	p.record.Status.EvictionStartTime = nil // it has its work
	if err := p.spoke.Status().Update(ctx, p.record); err != nil {
		return fmt.Errorf("record in AppliedManifestWork %s: %w", p.record.Name, err)
	}
	return nil
}

// mark is a short form of the hash, by which a record tells what was applied.
func (t target) mark() string { return t.hash[:min(len(t.hash), 16)] }

// marked says that the record holds the mark of a manifest.
func (p *reconciliation) marked(t target) bool {
	return t.hash != "" && slices.Contains(p.marks(), t.mark())
}

func (p *reconciliation) marks() []string {
	return strings.Fields(p.record.Annotations[appliedAnnotation])
}

// unmark removes the marks of what is about to be overwritten: an agent that dies after the apply and before it is written
// down must not leave the mark of an older manifest, which a later commit may bring back.
func (p *reconciliation) unmark(ctx context.Context) error {
	if len(p.marks()) == 0 {
		return nil
	}
	now := p.marksNow()
	return p.setMarks(ctx, slices.DeleteFunc(p.marks(), func(mark string) bool { return !slices.Contains(now, mark) }))
}

// marksNow are those of the manifests that are applied as they are now. Where drift is corrected only those of Jobs that have
// finished are needed: they do not run again.
func (p *reconciliation) marksNow() []string {
	var marks []string
	for _, t := range p.targets {
		s := p.memory.about(t.key())
		if t.err != nil || t.strategy() == workv1.UpdateStrategyTypeReadOnly || p.complete(t) || (p.corrects() && !s.finished && !s.collected && !t.marksAlways()) {
			continue
		}
		if p.applied(t, s) {
			marks = append(marks, t.mark())
		}
	}
	slices.Sort(marks)
	return marks
}

func (p *reconciliation) setMarks(ctx context.Context, marks []string) error {
	wanted := strings.Join(marks, " ")
	if p.record.Annotations[appliedAnnotation] == wanted {
		return nil
	}
	before := p.record.DeepCopy()
	if wanted == "" {
		delete(p.record.Annotations, appliedAnnotation)
	} else {
		metav1.SetMetaDataAnnotation(&p.record.ObjectMeta, appliedAnnotation, wanted)
	}
	if err := p.spoke.Patch(ctx, p.record, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("record in AppliedManifestWork %s: %w", p.record.Name, err)
	}
	return nil
}

func sortKey(r workv1.AppliedManifestResourceMeta) string {
	return strings.Join([]string{r.Group, r.Version, r.Resource, r.Namespace, r.Name}, "\x00")
}
