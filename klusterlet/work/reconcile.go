package work

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/health"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// What to do about drift, as the annotation muster.dev/drift of a work says it.
const (
	modeOCM     = ""
	modeCorrect = "Correct"
	modeReport  = "Report"
	modeIgnore  = "Ignore"
)

// reconcileWork makes the cluster equal to one work of the hub.
func (e *engine) reconcileWork(ctx context.Context, name string) (time.Duration, error) {
	m := e.remembered(e.recordName(name))
	m.mu.Lock()
	defer m.mu.Unlock()
	work := &workv1.ManifestWork{}
	err := e.works.Get(ctx, client.ObjectKey{Namespace: e.ClusterName, Name: name}, work)
	if apierrors.IsNotFound(err) {
		e.watches.want(name, nil)
		m.startOver("")
		e.queue.Add(request{record: true, name: e.recordName(name)}) // perhaps to be evicted
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the work: %w", err)
	}
	m.startOver(work.UID)
	ctx = actAs(ctx, e.actsAs(work))
	held, err := e.heldNow(ctx, work)
	if err != nil {
		return 0, err
	}
	if held != nil && (held.record == nil || !work.DeletionTimestamp.IsZero()) { // nothing to look at, or the end to wait for
		return e.reportHeld(ctx, work, m, &held.hold)
	}
	if !work.DeletionTimestamp.IsZero() {
		return 0, e.finish(ctx, work, m)
	}
	if err := e.addFinalizer(ctx, work, m); err != nil {
		return 0, err
	}
	if e.superseded(ctx, work, m) {
		return 0, nil // the event that brings the newer one wakes it
	}
	e.reached("finalizer")
	record, err := e.ensureRecord(ctx, work, m)
	if err != nil || record == nil {
		return 0, err
	}
	e.reached("record")
	p := newReconciliation(e, work, record, m)
	if held != nil {
		p.held = &held.hold
	}
	return p.sync(ctx)
}

// heldRecord is a hold with the record that it was found for, nil when there is none yet.
type heldRecord struct {
	hold
	record *workv1.AppliedManifestWork
}

// heldNow gives the hold of a work. The record is read from the cache: whoever writes a hold does not write it in the same moment.
func (e *engine) heldNow(ctx context.Context, work *workv1.ManifestWork) (*heldRecord, error) {
	record := &workv1.AppliedManifestWork{}
	err := e.records.Get(ctx, client.ObjectKey{Name: e.recordName(work.Name)}, record)
	if apierrors.IsNotFound(err) {
		record, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read AppliedManifestWork %s: %w", e.recordName(work.Name), err)
	}
	h := e.heldBy(work, record, time.Now())
	if h == nil {
		return nil, nil
	}
	return &heldRecord{*h, record}, nil
}

// hubPatience is how long a new generation of a work waits for a hub that does not say whether it is the newest.
const hubPatience = 5 * time.Second

// superseded says that the hub has a newer work than the cache. A hub that was away, or is slow, sends every revision since; those in
// between are not applied. What a hub that does not answer has sent last is the newest there is.
func (e *engine) superseded(ctx context.Context, work *workv1.ManifestWork, m *memory) bool {
	applied := meta.FindStatusCondition(work.Status.Conditions, workv1.WorkApplied)
	if m.confirmed == work.Generation || applied != nil && applied.ObservedGeneration == work.Generation {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, hubPatience)
	defer cancel()
	newest := &metav1.PartialObjectMetadata{}
	newest.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWork"))
	err := e.hub.Get(ctx, client.ObjectKeyFromObject(work), newest)
	if apierrors.IsNotFound(err) || err == nil && (newest.UID != work.UID || newest.Generation > work.Generation) {
		return true
	}
	m.confirmed = work.Generation
	return false
}

// addFinalizer puts the finalizer on a work. The hub takes it for the newest version of the work only.
func (e *engine) addFinalizer(ctx context.Context, work *workv1.ManifestWork, m *memory) error {
	before := work.DeepCopy()
	if !controllerutil.AddFinalizer(work, workv1.ManifestWorkFinalizer) {
		return nil
	}
	if err := e.hub.Patch(ctx, work, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("put the finalizer on the work: %w", err)
	}
	m.confirmed = work.Generation
	return nil
}

// reconciliation is one look at one work.
type reconciliation struct {
	*engine
	work    *workv1.ManifestWork
	record  *workv1.AppliedManifestWork
	memory  *memory
	targets []target
	now     time.Time
	mode    string // what to do about drift
	resync  bool   // everything is compared again
	poll    bool   // objects without a watch are read again
	left    pruned // objects that left the work and are not gone
	held    *hold  // nothing is written
	waved   bool   // manifests of the work name waves
	blocked *blocker

	canaryLook time.Time // when a canary is looked at again; zero when time alone changes none
}

func newReconciliation(e *engine, work *workv1.ManifestWork, record *workv1.AppliedManifestWork, m *memory) *reconciliation {
	p := &reconciliation{engine: e, work: work, record: record, memory: m, now: time.Now(), mode: work.Annotations[musterv1alpha1.DriftAnnotation]}
	if !slices.Contains([]string{modeCorrect, modeReport, modeIgnore}, p.mode) {
		p.mode = modeOCM
	}
	p.resync, p.poll = !p.now.Before(m.nextResync), !p.now.Before(m.nextPoll)
	if p.resync {
		m.published = nil // perhaps the hub lost it
		m.nextResync = p.now.Add(jitter(e.ResyncInterval, 0.5))
	}
	if p.poll {
		m.nextPoll = p.now.Add(jitter(e.SyncInterval, 0.9))
	}
	return p
}

func jitter(d time.Duration, factor float64) time.Duration {
	return d + time.Duration(rand.Float64()*factor*float64(d))
}

// corrects says that drift is undone.
func (p *reconciliation) corrects() bool { return p.mode == modeCorrect || p.mode == modeOCM }

// sync observes, reports, records, applies, prunes and reports, in that order.
func (p *reconciliation) sync(ctx context.Context) (time.Duration, error) {
	p.targets, p.waved = targetsOf(p.work, p.mapper), hasWaves(p.work)
	p.generate(ctx)
	if err := p.canary(ctx); err != nil {
		return 0, err
	}
	p.memory.keepOnly(p.targets)
	p.watches.want(p.work.Name, p.targets)
	p.markChanged()
	needs := p.observe(ctx)
	if p.held != nil {
		again, err := p.publish(ctx)
		return min(p.next(again), p.held.left(p.now)), err
	}
	if slices.Contains(needs, correct) {
		if _, err := p.publish(ctx); err != nil { // the correction does not wait for a hub that is away
			logr.FromContextOrDiscard(ctx).Error(err, "Report drift before correcting it")
		}
	}
	err := p.apply(ctx, needs)
	if err == nil {
		p.reached("applied")
		err = errors.Join(p.settle(ctx), p.approveFollowed(ctx))
	}
	p.measure(err)
	p.reportWaves()
	again, perr := p.publish(ctx)
	return p.next(again), errors.Join(err, perr)
}

// measure tells how long the first look at a generation of a work took, and how it went.
func (p *reconciliation) measure(failed error) {
	if p.memory.measured == p.work.Generation {
		return
	}
	p.memory.measured = p.work.Generation
	firstApplies.Observe(time.Since(p.now).Seconds())
	for _, t := range p.targets {
		if s := p.memory.about(t.key()); failed == nil && s.failure != nil {
			failed = fmt.Errorf("%s was not applied", t) // why may quote what it holds, and the work's status says it
		}
	}
	p.Traces.Span(p.work.Annotations[musterv1alpha1.RevisionAnnotation], "apply", p.now, time.Now(), failed, map[string]string{
		"muster.cluster": p.ClusterName, "muster.work": p.work.Name, "muster.application": p.work.Annotations[musterv1alpha1.ApplicationAnnotation],
		"muster.objects": fmt.Sprint(len(p.targets)),
	})
}

// markChanged notes what the watches reported since the last reconciliation.
func (p *reconciliation) markChanged() {
	for key, version := range p.watches.drain(p.work.Name) {
		if s, ok := p.memory.objects[key]; ok && s.rv != version {
			s.stale = true
		}
	}
	for _, t := range p.targets {
		p.memory.about(t.key())
	}
}

// settle deletes what left the work, when that is proven, and writes down what is there.
//
// While that is not proven, companions that are not needed any more go all the same.
//
// What the work's deletion option leaves on the cluster is released first. A cluster that was away sees only the newest option,
// in which an object may be both no longer wanted and not to be deleted.
func (p *reconciliation) settle(ctx context.Context) error {
	rest := p.leftover()
	var stays []workv1.AppliedManifestResourceMeta
	if len(rest) > 0 && !p.absenceProven() {
		rest, stays = p.leftCompanions(ctx, rest)
	}
	var err error
	if len(rest) > 0 {
		if err = p.orphanObjects(ctx, p.work, p.record, rest); err == nil {
			p.left = p.prune(ctx, p.record, rest)
			rest, err = p.left.rest, p.left.err
			p.reached("pruned")
		}
	}
	rest = append(rest, stays...)
	if err := errors.Join(err, p.recordApplied(ctx, rest)); err != nil {
		return err
	}
	p.reached("settled")
	return p.deleteEnded(ctx)
}

// absenceProven says that what is not in the work is really not wanted: every manifest was read and applied. What pods of a template need
// that is still in use may be gone from the manifests.
func (p *reconciliation) absenceProven() bool {
	for _, t := range p.targets {
		s := p.memory.about(t.key())
		if t.err != nil || s.failure != nil || t.trial != nil {
			return false
		}
		if t.strategy() != workv1.UpdateStrategyTypeReadOnly && !p.applied(t, s) {
			return false
		}
	}
	return true
}

// leftover is what the record lists and the work does not hold.
func (p *reconciliation) leftover() []workv1.AppliedManifestResourceMeta {
	wanted := map[objectKey]bool{}
	for _, t := range p.targets {
		if t.strategy() != workv1.UpdateStrategyTypeReadOnly {
			wanted[t.key()] = true
		}
	}
	var rest []workv1.AppliedManifestResourceMeta
	for _, entry := range p.record.Status.AppliedResources {
		if !wanted[keyOf(entry)] {
			rest = append(rest, entry)
		}
	}
	return rest
}

// applied says that the manifest as it is now was applied: by this process, or by one before it, which then said so
// in the record and in the status. Where the record holds a mark of the manifest it suffices: the status speaks of the generation.
func (p *reconciliation) applied(t target, s *objectState) bool {
	if s.hash != "" || s.failure != nil {
		return s.hash == t.hash
	}
	if !p.marked(t) && !p.saidApplied(t) {
		return false
	}
	return slices.ContainsFunc(p.record.Status.AppliedResources, func(r workv1.AppliedManifestResourceMeta) bool {
		return keyOf(r) == t.key() && r.UID != ""
	})
}

// saidApplied says that the status tells of the newest generation that the manifest was applied. Of a Deployment at a step of a canary it
// does not tell with which template.
func (p *reconciliation) saidApplied(t target) bool {
	old := p.before(t)
	if old == nil || t.trial != nil {
		return false
	}
	if _, tried := health.CanaryOf(old.StatusFeedbacks.Values); tried {
		return false
	}
	c := meta.FindStatusCondition(old.Conditions, workv1.ManifestApplied)
	return c != nil && c.Status == "True" && c.ObservedGeneration == p.work.Generation
}

// before is what the status said of a manifest before this reconciliation.
func (p *reconciliation) before(t target) *workv1.ManifestCondition {
	return manifestIn(p.lastStatus(), t.meta)
}

func (p *reconciliation) lastStatus() *workv1.ManifestWorkStatus {
	if p.memory.published != nil {
		return p.memory.published
	}
	return &p.work.Status
}

func manifestIn(status *workv1.ManifestWorkStatus, id workv1.ManifestResourceMeta) *workv1.ManifestCondition {
	for i := range status.ResourceStatus.Manifests {
		m := &status.ResourceStatus.Manifests[i]
		a, b := m.ResourceMeta, id
		a.Ordinal, b.Ordinal = 0, 0
		if a == b || (a.Kind == "" && b.Kind == "" && m.ResourceMeta.Ordinal == id.Ordinal) {
			return m
		}
	}
	return nil
}

// complete says that an object has finished, so that nothing is written to it any more.
func (p *reconciliation) complete(t target) bool {
	if meta.IsStatusConditionTrue(p.lastStatus().Conditions, workv1.WorkComplete) {
		return true
	}
	old := p.before(t)
	return old != nil && meta.IsStatusConditionTrue(old.Conditions, workv1.ManifestComplete)
}

// contested says that another work of the hub claims the object too.
func (p *reconciliation) contested(t target) bool {
	return len(p.claims.others(claim{t.object.GroupVersionKind().GroupKind(), t.meta.Namespace, t.meta.Name}, p.work.Name)) > 0
}

// applications is how the field managers of applications begin, where the work is one's: two never share an object for long, and
// the one that goes removes what only it holds. OCM's works know nothing of that.
func (p *reconciliation) applications() string {
	if p.mode == modeOCM {
		return ""
	}
	return workv1.DefaultFieldManager + "-"
}

// drifted is the report that the status shows of a manifest: the one of this process, else the one that is there.
func (p *reconciliation) drifted(t target, s *objectState) drift.Report {
	if s.checked || !s.drift.Empty() {
		return s.drift
	}
	if old := p.before(t); old != nil {
		report, _ := drift.Parse(*old)
		return report
	}
	return drift.Report{}
}

// next is when to look again: at the resync, the poll, the next try of what failed, the status that waits.
func (p *reconciliation) next(status time.Duration) time.Duration {
	next := p.memory.nextResync
	sooner := func(t time.Time) {
		if t.After(p.now) && t.Before(next) {
			next = t
		}
	}
	for _, t := range p.targets {
		s := p.memory.about(t.key())
		if s.failure != nil {
			sooner(s.retryAt)
		}
		if s.stale || s.problem != nil && !isDenied(s.problem) { // it could not be read, or not be compared
			sooner(p.now.Add(p.RetryDelay))
		}
		if s.drift.Active() && p.corrects() {
			sooner(s.mayHeal())
		}
		if t.err != nil || !p.watches.covers(t) {
			sooner(p.memory.nextPoll)
		}
	}
	if status > 0 {
		sooner(p.now.Add(status))
	}
	sooner(p.canaryLook)
	if p.left.waits || p.blocked != nil {
		sooner(p.now.Add(time.Second))
	}
	if len(p.left.rest) > 0 {
		sooner(p.now.Add(p.patience(request{name: p.work.Name})))
	} else {
		p.noPatience(request{name: p.work.Name})
	}
	return max(time.Until(next), time.Millisecond)
}
