package work

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/muster-io/muster/internal/drift"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

const (
	deniedDelay     = time.Minute // before an executor without rights is asked about again
	firstRetry      = 500 * time.Millisecond
	establishedWait = 10 * time.Second // for a new definition to be served
)

// errIgnoreFields is an ignoreFields rule that cannot be read.
var errIgnoreFields = errors.New("ignoreFields")

// apply writes what needs it, wave by wave and rank by rank. Each rank is recorded before it is applied. A manifest that fails is
// noted and stops nobody but the waves after its own; an error means that the record could not be written.
func (p *reconciliation) apply(ctx context.Context, needs []need) error {
	for _, step := range p.stepsOf(needs) {
		if p.blocked == nil {
			if b := p.blockedBy(step.wave); b != nil {
				p.wait(b, step.wave, needs)
			}
		}
		var group []int
		for i := range p.targets {
			t := &p.targets[i]
			if t.step() != step || needs[i] == nothing {
				continue
			}
			if t.err != nil && t.meta.Resource == "" {
				p.resolveLate(t)
			}
			group = append(group, i)
		}
		if err := p.recordBeforeApply(ctx, group); err != nil {
			p.unrecorded(ctx, step, needs, err)
			return err
		}
		p.reached("recorded")
		p.parallel(ctx, group, func(i int) {
			t := p.targets[i]
			p.applyOne(ctx, t, p.memory.objects[t.key()], needs[i])
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.awaitDefinitions(ctx, group)
	}
	return nil
}

// unrecorded notes why the manifests from a step on were not applied: nothing is applied before it is in the record. A conflict on the
// record is not noted: the record is read again at once.
func (p *reconciliation) unrecorded(ctx context.Context, first step, needs []need, err error) {
	if ctx.Err() != nil || apierrors.IsConflict(err) {
		return
	}
	for i, t := range p.targets {
		if s := p.memory.about(t.key()); t.step().compare(first) >= 0 && needs[i] == apply {
			s.fail(p.work.Generation, err, workv1.ReasonAppliedManifestFailed, p.now)
		}
	}
}

// resolveLate finds the resource of a kind that an earlier rank may have defined.
func (p *reconciliation) resolveLate(t *target) {
	t.resolve(p.work, p.mapper)
	p.memory.about(t.key())
	if t.err == nil {
		p.watches.want(p.work.Name, p.targets)
	}
}

// step is what is applied at a time: the kinds of one rank in one wave.
type step struct{ wave, rank int }

func (t target) step() step { return step{t.wave, t.rank} }

func (s step) compare(other step) int {
	return cmp.Or(cmp.Compare(s.wave, other.wave), cmp.Compare(s.rank, other.rank))
}

func (p *reconciliation) stepsOf(needs []need) []step {
	var all []step
	for i, t := range p.targets {
		if needs[i] != nothing {
			all = append(all, t.step())
		}
	}
	slices.SortFunc(all, step.compare)
	return slices.Compact(all)
}

func (p *reconciliation) applyOne(ctx context.Context, t target, s *objectState, n need) {
	var live *unstructured.Unstructured
	s.uncorrected = n == correct
	err := p.deleteBefore(ctx, t, s, n)
	if err == nil {
		live, err = p.write(ctx, t, s, n)
	}
	if err != nil && t.err == nil {
		live, err = p.mend(ctx, t, s, n, err)
	}
	err = withoutSecretValues(t, err)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		applies.WithLabelValues("applied").Inc()
		p.wrote(ctx, t, s, live, n)
	case isDenied(err):
		p.deny(ctx, t, s, err)
	case errors.Is(err, errIgnoreFields):
		s.fail(p.work.Generation, err, workv1.ReasonAppliedManifestSSAIgnoreFieldError, p.memory.nextResync)
	case t.strategy() == workv1.UpdateStrategyTypeServerSideApply && apierrors.IsConflict(err):
		s.fail(p.work.Generation, err, workv1.ReasonAppliedManifestFailed, p.memory.nextResync)
	default:
		delay := min(firstRetry<<min(s.failures, 10), p.RetryDelay)
		s.fail(p.work.Generation, err, workv1.ReasonAppliedManifestFailed, time.Now().Add(delay))
	}
	if err != nil && ctx.Err() == nil && s.state != present && t.meta.Resource != "" && !isDenied(err) {
		p.read(ctx, t, s)
	}
}

// withoutSecretValues is an error as the status and the log may repeat it. An API server quotes what it rejects, and of a Secret
// that is a value: then only the kind of its answer is told, and which fields it is about.
func withoutSecretValues(t target, err error) error {
	var answer apierrors.APIStatus
	if !t.isSecret() || isDenied(err) || !errors.As(err, &answer) {
		return err
	}
	status := answer.Status()
	if slices.Contains(quotesNothing, status.Reason) {
		return err
	}
	var fields []string
	if status.Details != nil {
		for _, cause := range status.Details.Causes {
			if cause.Field != "" {
				fields = append(fields, cause.Field)
			}
		}
	}
	about := ""
	if len(fields) > 0 {
		about = " about " + strings.Join(fields, ", ")
	}
	return fmt.Errorf("the API server answers %s (%d)%s; its words may quote the Secret and are not repeated: apply it by hand to read them",
		cmp.Or(status.Reason, "with an error"), status.Code, about)
}

// quotesNothing are the reasons of answers that are about names only.
var quotesNothing = []metav1.StatusReason{
	metav1.StatusReasonConflict, metav1.StatusReasonNotFound, metav1.StatusReasonAlreadyExists, metav1.StatusReasonUnauthorized,
	metav1.StatusReasonTimeout, metav1.StatusReasonServerTimeout, metav1.StatusReasonTooManyRequests, metav1.StatusReasonServiceUnavailable,
}

// wrote notes what an apply made.
func (p *reconciliation) wrote(ctx context.Context, t target, s *objectState, live *unstructured.Unstructured, n need) {
	report := p.drifted(t, s)
	if report.Active() && n != adopt {
		s.healed(p.now)
		corrections.Inc()
		report = report.Heal()
	}
	p.note(ctx, t, s, live)
	s.succeed(t)
	s.facts, s.drift, s.checked = factsOf(t, live), report, true
	if n != adopt { // which writes nothing of what another work made of it
		s.shared = p.contested(t)
	}
}

func (s *objectState) succeed(t target) {
	s.hash, s.failure, s.reason, s.failures, s.failedAt, s.waits, s.uncorrected = t.hash, nil, "", 0, 0, nil, false
}

// fail notes why an apply failed, and when it is tried again. A new generation of the work is tried at once.
func (s *objectState) fail(generation int64, err error, reason string, retryAt time.Time) {
	if !isDenied(err) {
		applies.WithLabelValues("failed").Inc()
	}
	if s.failedAt != generation {
		s.failures = 0
	}
	s.failure, s.reason, s.failedAt, s.retryAt, s.waits = err, reason, generation, retryAt, nil
	s.hash = ""
	s.failures++
}

// deny notes that the executor may not apply the object, and forgets what was known of it. The status then says only whether the object
// is there, which OCM's agent looks up with its own rights too.
func (p *reconciliation) deny(ctx context.Context, t target, s *objectState, err error) {
	applies.WithLabelValues("denied").Inc()
	s.fail(p.work.Generation, err, workv1.ReasonAppliedManifestFailed, p.now.Add(deniedDelay))
	s.state, s.problem = unknown, err
	switch live, problem := p.get(ctx, t); {
	case problem != nil:
	case live == nil:
		s.state, s.problem = absent, nil
	default:
		s.state, s.problem = present, nil
	}
	s.feedback, s.feedErr, s.rules, s.drift, s.stale = nil, nil, nil, drift.Report{}, false
}

// write makes one object what its manifest says, and gives the live object.
func (p *reconciliation) write(ctx context.Context, t target, s *objectState, n need) (*unstructured.Unstructured, error) {
	if t.err != nil {
		return nil, t.err
	}
	if err := p.authorize(ctx, t, applyVerbs(t)...); err != nil {
		return nil, err
	}
	if n == adopt {
		return p.adopt(ctx, t)
	}
	var live *unstructured.Unstructured
	var err error
	switch t.strategy() {
	case workv1.UpdateStrategyTypeServerSideApply:
		live, err = p.writeServerSide(ctx, t, s, n)
	case workv1.UpdateStrategyTypeCreateOnly:
		return p.writeOnce(ctx, t)
	default:
		live, err = p.writeOver(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	return p.ensureOwner(ctx, t, live)
}

// owned is the manifest with our ownerReference.
func (p *reconciliation) owned(t target) *unstructured.Unstructured {
	object := t.object.DeepCopy()
	if !t.orphan {
		object.SetOwnerReferences(mergeOwners(object.GetOwnerReferences(), []metav1.OwnerReference{ownerOf(p.record)}))
	}
	return object
}

// writeServerSide owns the fields of the manifest. A correction takes the fields from whoever changed them. Where it writes the other
// owners of the object too, they have to be the present ones: it reads the object again after a conflict.
func (p *reconciliation) writeServerSide(ctx context.Context, t target, s *objectState, n need) (*unstructured.Unstructured, error) {
	for try := 0; ; try++ {
		written, err := p.tryServerSide(ctx, t, s, n)
		if try < 3 && isStale(err) {
			continue
		}
		return written, err
	}
}

// isStale is true when the object has changed since it was read, and not when another manager holds its fields.
func isStale(err error) bool {
	_, held := apierrors.StatusCause(err, metav1.CauseTypeFieldManagerConflict)
	return apierrors.IsConflict(err) && !held
}

func (p *reconciliation) tryServerSide(ctx context.Context, t target, s *objectState, n need) (*unstructured.Unstructured, error) {
	config := t.serverSide()
	if len(config.IgnoreFields) == 0 && !p.contested(t) {
		return p.applyServerSide(ctx, t, p.owned(t), config.Force || n == correct, nil)
	}
	live, err := p.get(ctx, t)
	if err != nil {
		return nil, err
	}
	if len(config.IgnoreFields) == 0 {
		return p.applyServerSide(ctx, t, withOtherOwners(p.owned(t), live), config.Force || n == correct, nil)
	}
	mark, err := p.ignored(t).mark(ctx, t.object)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIgnoreFields, err)
	}
	unchanged := carries(t, live, mark)
	if unchanged && n == apply && s.hash != t.hash {
		return live, nil
	}
	wanted, err := p.prepare(ctx, t, live, mark, unchanged)
	if err != nil {
		return nil, err
	}
	return p.applyServerSide(ctx, t, withOtherOwners(wanted, live), config.Force || n == correct, nil)
}

// withOtherOwners adds the other AppliedManifestWorks that own the live object. Two works may apply it under one field manager: an owner
// that one of them leaves out would be removed. The apply is for the object as it was read, so that an owner that gives the object up
// meanwhile does not come back.
func withOtherOwners(wanted, live *unstructured.Unstructured) *unstructured.Unstructured {
	if live == nil {
		return wanted
	}
	others := slices.DeleteFunc(live.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return !isRecord(o) })
	if len(others) > 0 {
		wanted.SetOwnerReferences(mergeOwners(others, wanted.GetOwnerReferences()))
		wanted.SetResourceVersion(live.GetResourceVersion())
	}
	return wanted
}

func (p *reconciliation) ignored(t target) ignored {
	config := t.serverSide()
	return ignored{rules: config.IgnoreFields, manager: config.FieldManager, family: p.applications()}
}

// carries says that we applied an object with this mark before.
func carries(t target, live *unstructured.Unstructured, mark string) bool {
	return live != nil && live.GetAnnotations()[workv1.ManifestConfigSpecHashAnnotationKey] == mark &&
		heldBy(live, t.serverSide().FieldManager) != ""
}

// prepare is what is applied over the live object, nil if there is none, of a manifest with ignored fields. Those under
// OnSpokeChange are ignored only while the manifest is unchanged.
func (p *reconciliation) prepare(ctx context.Context, t target, live *unstructured.Unstructured, mark string, unchanged bool) (*unstructured.Unstructured, error) {
	wanted, rules := p.owned(t), p.ignored(t)
	if len(rules.rules) == 0 {
		return wanted, nil
	}
	if mark != "" {
		wanted.SetAnnotations(overlay(wanted.GetAnnotations(), map[string]string{workv1.ManifestConfigSpecHashAnnotationKey: mark}))
	}
	if live == nil {
		return wanted, nil
	}
	if !unchanged {
		rules = rules.when(workv1.IgnoreFieldsConditionOnSpokePresent)
	}
	if err := rules.keep(ctx, wanted, live); err != nil {
		return nil, fmt.Errorf("%w: %w", errIgnoreFields, err)
	}
	if mark != "" { // also where a rule ignores all annotations
		wanted.SetAnnotations(overlay(wanted.GetAnnotations(), map[string]string{workv1.ManifestConfigSpecHashAnnotationKey: mark}))
	}
	return wanted, nil
}

func (p *reconciliation) applyServerSide(ctx context.Context, t target, wanted *unstructured.Unstructured, force bool, dryRun []string) (*unstructured.Unstructured, error) {
	body, err := wanted.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", t, err)
	}
	return p.resource(t.gvr(), t.meta.Namespace).Patch(ctx, t.meta.Name, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: t.serverSide().FieldManager, Force: &force, DryRun: dryRun})
}

// writeOnce creates the object if it is not there, and makes it ours.
func (p *reconciliation) writeOnce(ctx context.Context, t target) (*unstructured.Unstructured, error) {
	created, err := p.resource(t.gvr(), t.meta.Namespace).Create(ctx, p.owned(t), metav1.CreateOptions{FieldManager: workv1.DefaultFieldManager})
	if !apierrors.IsAlreadyExists(err) {
		return created, err
	}
	return p.adopt(ctx, t)
}

// writeOver is OCM's strategy Update.
func (p *reconciliation) writeOver(ctx context.Context, t target) (*unstructured.Unstructured, error) {
	resource := p.resource(t.gvr(), t.meta.Namespace)
	for try := 0; ; try++ {
		live, err := p.get(ctx, t)
		if err != nil {
			return nil, err
		}
		var written *unstructured.Unstructured
		if live == nil {
			written, err = resource.Create(ctx, p.owned(t), metav1.CreateOptions{FieldManager: workv1.DefaultFieldManager})
		} else {
			merged := merge(p.owned(t), live)
			if t.orphan {
				merged.SetOwnerReferences(without(merged.GetOwnerReferences(), p.record.UID))
			}
			if same(merged, live) {
				return live, nil
			}
			written, err = resource.Update(ctx, merged, metav1.UpdateOptions{FieldManager: workv1.DefaultFieldManager})
		}
		if try < 3 && (apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)) {
			continue
		}
		return written, err
	}
}

// get reads an object; nil when it is absent.
func (p *reconciliation) get(ctx context.Context, t target) (*unstructured.Unstructured, error) {
	live, err := p.resource(t.gvr(), t.meta.Namespace).Get(ctx, t.meta.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return live, err
}

// adopt adds our ownerReference to an object, or removes it from one that is not to be ours, and changes nothing else.
func (p *reconciliation) adopt(ctx context.Context, t target) (*unstructured.Unstructured, error) {
	live, err := p.resource(t.gvr(), t.meta.Namespace).Get(ctx, t.meta.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return p.ensureOwner(ctx, t, live)
}

// ensureOwner makes the object ours, or not, as the work's deletion option says.
func (p *reconciliation) ensureOwner(ctx context.Context, t target, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	owners := without(live.GetOwnerReferences(), p.record.UID)
	if !t.orphan {
		owners = mergeOwners(live.GetOwnerReferences(), []metav1.OwnerReference{ownerOf(p.record)})
	}
	if len(owners) == len(live.GetOwnerReferences()) && owns(p.record, live) != t.orphan {
		return live, nil
	}
	return p.setOwners(ctx, t.gvr(), live, owners)
}

// awaitDefinitions waits until definitions that were just applied are served, so that objects of their kinds can
// follow in the same reconciliation.
func (p *reconciliation) awaitDefinitions(ctx context.Context, group []int) {
	deadline := time.Now().Add(establishedWait)
	for _, i := range group {
		t := p.targets[i]
		s := p.memory.objects[t.key()]
		if t.meta.Group != "apiextensions.k8s.io" || t.meta.Resource != "customresourcedefinitions" || s.failure != nil {
			continue
		}
		for time.Now().Before(deadline) {
			live := p.read(ctx, t, s)
			if live == nil || established(live) || pause(ctx, 50*time.Millisecond) != nil {
				break
			}
		}
	}
}

func established(definition *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(definition.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
			return true
		}
	}
	return false
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// digest is a short form of plain data, to compare it later.
func digest(v any) string {
	sum := sha256.Sum256(must(json.Marshal(v)))
	return hex.EncodeToString(sum[:])
}

// must is for encoding what was decoded from JSON, which cannot fail.
func must(raw []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return raw
}
