package work

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/health"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// need is what an object needs.
type need int

const (
	nothing need = iota
	apply        // its manifest is new or changed
	correct      // it is not what was applied
	adopt        // only our ownerReference is missing
)

// observe looks at every object that a watch reported, or that is due, and says what each needs.
func (p *reconciliation) observe(ctx context.Context) []need {
	needs := make([]need, len(p.targets))
	var indices []int
	for i := range p.targets {
		indices = append(indices, i)
	}
	p.parallel(ctx, indices, func(i int) {
		needs[i] = p.look(ctx, p.targets[i], p.memory.objects[p.targets[i].key()])
	})
	return needs
}

func (p *reconciliation) look(ctx context.Context, t target, s *objectState) need {
	switch {
	case t.object == nil:
		s.fail(p.work.Generation, t.err, workv1.ReasonAppliedManifestFailed, p.memory.nextResync)
		return nothing
	case t.err == nil && (t.strategy() == workv1.UpdateStrategyTypeReadOnly || p.complete(t)):
		p.onlyRead(ctx, t, s)
		return nothing
	case t.err != nil || !p.applied(t, s):
		return p.retry(ctx, t, s)
	}
	s.hash = t.hash
	if !p.due(t, s) {
		return nothing
	}
	if p.work.Spec.Executor != nil && (p.resync || s.stale) { // rights that were revoked show on what did not change, too
		if err := p.authorize(ctx, t, applyVerbs(t)...); isDenied(err) {
			p.deny(ctx, t, s, err)
			return nothing
		}
	}
	return p.inspect(ctx, t, s)
}

// onlyRead looks at an object that is not written, if the work's executor may.
func (p *reconciliation) onlyRead(ctx context.Context, t target, s *objectState) {
	if p.waits(s) {
		return
	}
	if s.hash != t.hash || p.resync {
		err := p.authorize(ctx, t, "get")
		switch {
		case isDenied(err):
			p.deny(ctx, t, s, err)
			return
		case err != nil:
			s.fail(p.work.Generation, err, workv1.ReasonAppliedManifestFailed, p.now.Add(firstRetry))
			return
		}
	}
	if p.due(t, s) || s.state == unknown {
		p.read(ctx, t, s)
	}
	s.succeed(t)
}

// waits says that a manifest has just failed, and that it is too early to try again.
func (p *reconciliation) waits(s *objectState) bool {
	return s.waits == nil && s.failure != nil && s.failedAt == p.work.Generation && p.now.Before(s.retryAt) && !p.resync
}

// retry says whether a manifest that is not applied is tried now. What just failed waits, but is still looked at.
func (p *reconciliation) retry(ctx context.Context, t target, s *objectState) need {
	if !p.waits(s) {
		if s.uncorrected && p.corrects() {
			return correct
		}
		return apply
	}
	if s.stale && t.err == nil && !isDenied(s.failure) {
		p.read(ctx, t, s)
	}
	return nothing
}

// due says that an object has to be read.
func (p *reconciliation) due(t target, s *objectState) bool {
	if s.stale || p.resync || s.rulesDigest != t.rulesDigest || (!s.checked && p.mode != modeOCM) {
		return true
	}
	if s.drift.Active() && p.corrects() {
		return true
	}
	if s.shared && !p.contested(t) {
		return true // what the other work made of it is looked at now
	}
	return (p.poll || s.unready != "") && !p.watches.covers(t)
}

// inspect reads an object and compares it with what was applied.
func (p *reconciliation) inspect(ctx context.Context, t target, s *objectState) need {
	live := p.read(ctx, t, s)
	if s.state == unknown {
		return nothing
	}
	shared := p.contested(t)
	switch {
	case s.state == absent:
		return p.missing(t, s)
	case live.GetDeletionTimestamp() != nil: // its end will be noticed
		return nothing
	case !t.orphan && !owns(p.record, live):
		return p.disowned(shared)
	case p.mode == modeOCM && !p.resync && !p.watches.covers(t): // polled for its status only
		return nothing
	}
	now := factsOf(t, live)
	if s.checked && s.facts == now && !s.drift.Active() && !s.shared {
		return nothing
	}
	if p.mode == modeIgnore || t.strategy() == workv1.UpdateStrategyTypeCreateOnly || shared {
		s.facts, s.shared, s.checked = now, shared, true
		return nothing
	}
	return p.confirm(ctx, t, s, live)
}

// missing is what an object that is gone needs.
func (p *reconciliation) missing(t target, s *objectState) need {
	if p.mode == modeIgnore || (p.mode == modeOCM && !p.resync && !p.watches.covers(t)) {
		return nothing
	}
	if s.collected {
		s.drift, s.checked = p.drifted(t, s), true
		return nothing
	}
	return p.found(s, []drift.Record{drift.Deleted(t.object.Object, p.now)})
}

// disowned is what an object without our ownerReference needs. Where two works claim it, the other may have written its fields.
func (p *reconciliation) disowned(shared bool) need {
	if p.corrects() && !shared {
		return correct
	}
	return adopt
}

// confirm compares the object with a dry run of the apply.
func (p *reconciliation) confirm(ctx context.Context, t target, s *objectState, live *unstructured.Unstructured) need {
	records, lost, err := p.compare(ctx, t, live)
	for try := 0; apierrors.IsConflict(err) && try < 5; try++ { // it changed since it was read
		if live = p.read(ctx, t, s); live == nil {
			s.stale = true
			return nothing
		}
		records, lost, err = p.compare(ctx, t, live)
	}
	if err != nil && ctx.Err() == nil {
		logr.FromContextOrDiscard(ctx).V(1).Info("Cannot confirm drift", "object", t.String(), "reason", withoutSecretValues(t, err).Error())
		if p.corrects() {
			return correct // applying tells what is wrong
		}
		s.stale = true
		return nothing
	}
	known := p.drifted(t, s)
	s.facts, s.shared, s.checked = factsOf(t, live), false, true
	if len(records) == 0 {
		s.drift = known
		if known.Active() {
			s.drift = known.Heal()
		}
		if lost { // somebody wrote the value that we want: without holding it we would not see the next change
			return apply
		}
		return nothing
	}
	return p.found(s, records)
}

// found notes drift, and says whether it is corrected now. Somebody who insists is answered more and more slowly.
func (p *reconciliation) found(s *objectState, records []drift.Record) need {
	if !s.drift.Active() {
		driftsFound.Inc()
	}
	s.drift, s.checked = drift.NewReport(records), true
	if !p.corrects() || p.now.Before(s.mayHeal()) {
		return nothing
	}
	return correct
}

// mayHeal is when the object may be corrected again.
func (s *objectState) mayHeal() time.Time {
	if s.heals < 3 {
		return time.Time{}
	}
	return s.healedAt.Add(min(time.Second<<min(s.heals-3, 6), time.Minute))
}

func (s *objectState) healed(now time.Time) {
	if now.Sub(s.healedAt) > 5*time.Minute {
		s.heals = 0
	}
	s.heals, s.healedAt = s.heals+1, now
}

// compare gives the fields that are not what a dry run of the apply would make of them, and whether we would hold
// other fields than we do.
func (p *reconciliation) compare(ctx context.Context, t target, live *unstructured.Unstructured) (records []drift.Record, lost bool, err error) {
	if t.strategy() == workv1.UpdateStrategyTypeServerSideApply {
		// The live mark is kept as it is: that an object has none yet is no drift.
		wanted, err := p.prepare(ctx, t, live, live.GetAnnotations()[workv1.ManifestConfigSpecHashAnnotationKey], true)
		if err != nil {
			return nil, false, err
		}
		was, err := p.applyServerSide(ctx, t, wanted, true, []string{metav1.DryRunAll})
		if err != nil {
			return nil, false, fmt.Errorf("dry run of %s: %w", t, err)
		}
		records, err := drift.Compare(was.Object, live.Object, t.serverSide().FieldManager, p.now)
		return records, factsOf(t, was).held != factsOf(t, live).held, err
	}
	was, err := p.resource(t.gvr(), t.meta.Namespace).Update(ctx, merge(p.owned(t), live),
		metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: workv1.DefaultFieldManager})
	if err != nil {
		return nil, false, fmt.Errorf("dry run of %s: %w", t, err)
	}
	records, err = drift.CompareManifest(t.object.Object, was.Object, live.Object, workv1.DefaultFieldManager, p.now)
	return records, false, err
}

// read gets an object and notes its state and what its rules say. It is nil when it is absent or cannot be read.
func (p *reconciliation) read(ctx context.Context, t target, s *objectState) *unstructured.Unstructured {
	live, err := p.resource(t.gvr(), t.meta.Namespace).Get(ctx, t.meta.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || meta.IsNoMatchError(err):
		s.stale, s.problem, s.rv, s.facts, s.shared, s.rulesDigest = false, nil, "deleted", facts{}, false, t.rulesDigest
		s.state, s.feedback, s.rules, s.feedErr, s.waitsAt = absent, nil, nil, nil, 0
		s.collected = s.hash == t.hash && p.collectedJob(t, s)
		return nil
	case err != nil:
		s.state, s.problem = unknown, fmt.Errorf("read %s: %w", t, err)
		return nil
	}
	p.note(ctx, t, s, live)
	return live
}

// note remembers what a live object says. Rules see what may leave the cluster, since their answers do.
func (p *reconciliation) note(ctx context.Context, t target, s *objectState, live *unstructured.Unstructured) {
	s.stale, s.problem, s.rv, s.state, s.rulesDigest = false, nil, live.GetResourceVersion(), present, t.rulesDigest
	p.noteReady(ctx, t, s, live)
	p.noteJob(t, s, live)
	p.noteFollowed(t, s, live)
	public := &unstructured.Unstructured{Object: drift.Public(live.Object)}
	s.feedback, s.feedErr = feedbackOf(public.Object, t.meta.Group, t.meta.Version, t.meta.Kind, t.config.FeedbackRules,
		rawValues{p.RawFeedback, p.MaxRawFeedback})
	s.rules = s.rules[:0:0]
	for _, rule := range t.config.ConditionRules {
		if condition, known := health.Evaluate(rule, public); known {
			s.rules = append(s.rules, condition)
		}
	}
}

// String names the object for people: the kind, the namespace if any, and the name.
func (t target) String() string {
	name := t.meta.Name
	if t.meta.Namespace != "" {
		name = t.meta.Namespace + "/" + name
	}
	return t.meta.Kind + " " + name
}
