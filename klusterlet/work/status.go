package work

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/health"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// publish writes the status of the work if it changed. What can wait, waits for the rest of the status interval: then
// the result says how long.
func (p *reconciliation) publish(ctx context.Context) (time.Duration, error) {
	old := p.lastStatus()
	status := statusOf(p.work.Generation, p.targets, p.memory.objects, p.drifted, old)
	p.setWaves(&status)
	p.setLeft(&status)
	setHeld(&status, p.held, p.work.Generation)
	if equality.Semantic.DeepEqual(*old, status) {
		return 0, nil
	}
	if wait := time.Until(p.memory.publishedAt.Add(p.StatusInterval)); wait > 0 && !flips(*old, status) {
		return wait, nil
	}
	return 0, p.writeStatus(ctx, p.work, p.memory, status)
}

// setLeft says which objects that left a work are not gone yet. OCM has no condition for it: works of others carry none.
func (p *reconciliation) setLeft(status *workv1.ManifestWorkStatus) {
	message := leftMessage(p.left)
	if message == "" || p.mode == modeOCM {
		meta.RemoveStatusCondition(&status.Conditions, musterv1alpha1.ConditionPruned)
		return
	}
	set(&status.Conditions, metav1.Condition{Type: musterv1alpha1.ConditionPruned, Status: metav1.ConditionFalse,
		Reason: "ObjectsLeft", Message: message, ObservedGeneration: p.work.Generation})
}

func (e *engine) writeStatus(ctx context.Context, work *workv1.ManifestWork, m *memory, status workv1.ManifestWorkStatus) error {
	body, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return fmt.Errorf("encode the status of the work: %w", err)
	}
	statusWrites.Inc()
	err = e.hub.Status().Patch(ctx, work.DeepCopy(), client.RawPatch(types.MergePatchType, body))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("report the status of the work: %w", err)
	}
	m.published, m.publishedAt = &status, time.Now()
	return nil
}

// publishDeleting says that the objects of a work are being removed, and what is left of them where that is known.
func (e *engine) publishDeleting(ctx context.Context, work *workv1.ManifestWork, m *memory, left string) error {
	status := *work.Status.DeepCopy()
	if m.published != nil {
		status = *m.published.DeepCopy()
	}
	c := metav1.Condition{Type: workv1.WorkDeleting, Status: metav1.ConditionTrue, Reason: workv1.ReasonWorkDeleting,
		Message: cmp.Or(left, "The objects of the work are being removed"), ObservedGeneration: work.Generation}
	if old := meta.FindStatusCondition(status.Conditions, workv1.WorkDeleting); old != nil && old.Status == c.Status && (left == "" || left == old.Message) {
		return nil
	}
	meta.SetStatusCondition(&status.Conditions, c)
	return e.writeStatus(ctx, work, m, status)
}

// flips says that a status tells of something that should not wait: a condition that came, went, or changed its answer or
// its generation, a canary that went on, or other manifests. A drift that goes on to other values waits: whoever writes a field all the time
// would else write to the hub all the time.
func flips(old, now workv1.ManifestWorkStatus) bool {
	if len(old.ResourceStatus.Manifests) != len(now.ResourceStatus.Manifests) || conditionsFlip(old.Conditions, now.Conditions) {
		return true
	}
	for i, m := range now.ResourceStatus.Manifests {
		before := old.ResourceStatus.Manifests[i]
		if m.ResourceMeta != before.ResourceMeta || conditionsFlip(before.Conditions, m.Conditions) {
			return true
		}
		was, _ := health.CanaryOf(before.StatusFeedbacks.Values)
		if is, _ := health.CanaryOf(m.StatusFeedbacks.Values); is != was {
			return true
		}
	}
	return false
}

func conditionsFlip(old, now []metav1.Condition) bool {
	if len(old) != len(now) {
		return true
	}
	for _, c := range now {
		before := meta.FindStatusCondition(old, c.Type)
		if before == nil || before.Status != c.Status || before.ObservedGeneration != c.ObservedGeneration {
			return true
		}
	}
	return false
}

// statusOf folds what is known of every object into the status of the work. old gives the transition times.
//
// A work speaks for a generation only when every manifest of it was applied or refused: until then its conditions, and
// those of the manifests that wait, are the ones that they had.
func statusOf(generation int64, targets []target, objects map[objectKey]*objectState, drifted func(target, *objectState) drift.Report,
	old *workv1.ManifestWorkStatus) workv1.ManifestWorkStatus {
	status := workv1.ManifestWorkStatus{Conditions: slices.Clone(old.Conditions)}
	waits := false
	for _, t := range targets {
		if t.companion { // of which its Deployment tells
			continue
		}
		s := objects[t.key()]
		m := workv1.ManifestCondition{ResourceMeta: t.meta, Conditions: []metav1.Condition{}}
		before := manifestIn(old, t.meta)
		if before != nil {
			m.Conditions = slices.Clone(before.Conditions)
			m.StatusFeedbacks = *before.StatusFeedbacks.DeepCopy()
		}
		if s.pending(t, generation) {
			waits = true
		} else {
			m = manifestStatus(generation, t, s, drifted(t, s), m)
		}
		status.ResourceStatus.Manifests = append(status.ResourceStatus.Manifests, m)
	}
	if waits {
		return status
	}
	for _, c := range aggregate(status.ResourceStatus.Manifests) {
		c.ObservedGeneration = generation
		set(&status.Conditions, c)
	}
	keepTypes(&status.Conditions, func(kind string) bool {
		return kind == workv1.WorkApplied || kind == workv1.WorkAvailable || kind == workv1.WorkDeleting || kind == musterv1alpha1.ConditionWaves ||
			kind == musterv1alpha1.ConditionPruned || kind == musterv1alpha1.ConditionHeld || ruled(status.ResourceStatus.Manifests, kind)
	})
	return status
}

// pending says that the manifest, as this generation has it, was neither applied nor refused yet.
func (s *objectState) pending(t target, generation int64) bool {
	if s.failure != nil {
		return s.failedAt != generation
	}
	return t.err != nil || s.hash != t.hash
}

// manifestStatus is the status of one manifest. m brings the conditions that it had.
func manifestStatus(generation int64, t target, s *objectState, report drift.Report, m workv1.ManifestCondition) workv1.ManifestCondition {
	rules := s.rules
	if s.collected {
		rules = collectedRules(t, m.Conditions)
	}
	conditions := append([]metav1.Condition{appliedCondition(s), availableCondition(t, s), feedbackCondition(t, s)}, rules...)
	before := m.StatusFeedbacks.Values
	m.StatusFeedbacks.Values = slices.Clone(s.feedback)
	if s.waitsAt > 0 {
		m.StatusFeedbacks.Values = append(m.StatusFeedbacks.Values, health.CanaryFeedback(fleet.Canary{Step: s.waitsAt, Phase: fleet.CanaryFollowed}, 0)...)
	}
	if t.trial != nil {
		conditions = trialConditions(conditions, t.trial)
		m.StatusFeedbacks.Values = append(m.StatusFeedbacks.Values, health.CanaryFeedback(t.trial.Canary, t.trial.ready)...)
	}
	if !report.Empty() {
		condition, value := drift.Format(report, generation)
		conditions = append(conditions, condition)
		m.StatusFeedbacks.Values = slices.DeleteFunc(m.StatusFeedbacks.Values, func(v workv1.FeedbackValue) bool { return v.Name == drift.FeedbackName })
		m.StatusFeedbacks.Values = append(m.StatusFeedbacks.Values, value)
	}
	wanted := map[string]bool{}
	for _, c := range conditions {
		c.ObservedGeneration = generation
		set(&m.Conditions, c)
		wanted[c.Type] = true
	}
	if !equality.Semantic.DeepEqual(before, m.StatusFeedbacks.Values) { // OCM counts new values as a transition
		meta.FindStatusCondition(m.Conditions, workv1.ManifestStatusFeedbackSynced).LastTransitionTime = metav1.Now()
	}
	keepTypes(&m.Conditions, func(kind string) bool {
		// A rule of an object that cannot be read at the moment keeps its last answer.
		return wanted[kind] || (s.state == unknown && kind != musterv1alpha1.ConditionDrift && hasRule(t, kind))
	})
	return m
}

func hasRule(t target, kind string) bool {
	return slices.ContainsFunc(t.config.ConditionRules, func(r workv1.ConditionRule) bool { return r.Condition == kind })
}

// set puts a condition in, with the old transition time where the answer is the same.
func set(conditions *[]metav1.Condition, c metav1.Condition) {
	c.LastTransitionTime = metav1.Time{}
	meta.SetStatusCondition(conditions, c)
}

func keepTypes(conditions *[]metav1.Condition, keep func(kind string) bool) {
	*conditions = slices.DeleteFunc(*conditions, func(c metav1.Condition) bool { return !keep(c.Type) })
}

func appliedCondition(s *objectState) metav1.Condition {
	c := metav1.Condition{Type: workv1.ManifestApplied, Status: metav1.ConditionTrue,
		Reason: workv1.ReasonAppliedManifestComplete, Message: "Apply manifest complete"}
	if s.failure != nil {
		c.Status, c.Reason = metav1.ConditionFalse, s.reason
		c.Message = cut("Failed to apply manifest: " + s.failure.Error())
	}
	return c
}

func availableCondition(t target, s *objectState) metav1.Condition {
	c := metav1.Condition{Type: workv1.ManifestAvailable, Status: metav1.ConditionUnknown}
	switch {
	case t.meta.Resource == "":
		c.Reason, c.Message = workv1.ReasonIncompleteResourceMeta, "Resource meta is incompleted"
	case s.problem != nil:
		c.Reason, c.Message = workv1.ReasonFetchingResourceFailed, cut("Failed to fetch resource: "+s.problem.Error())
	case s.state == present:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, workv1.ReasonResourceAvailable, "Resource is available"
	case s.collected: // what it was there for is done
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, workv1.ReasonResourceAvailable, messageCollected
	case s.state == absent:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, workv1.ReasonResourceNotAvailable, "Resource is not available"
	default:
		c.Reason, c.Message = workv1.ReasonFetchingResourceFailed, "The resource was not read yet"
	}
	return c
}

func feedbackCondition(t target, s *objectState) metav1.Condition {
	c := metav1.Condition{Type: workv1.ManifestStatusFeedbackSynced, Status: metav1.ConditionTrue,
		Reason: workv1.ReasonNoStatusFeedbackSynced}
	switch {
	case s.feedErr != nil:
		c.Status, c.Reason = metav1.ConditionFalse, workv1.ReasonStatusFeedbackSyncFailed
		c.Message = cut("Sync status feedback failed with error " + s.feedErr.Error())
	case s.state == present && len(t.config.FeedbackRules) > 0 && !isDenied(s.failure):
		c.Reason = workv1.ReasonStatusFeedbackSynced
	}
	return c
}

const maxMessage = 4096 // bytes

func cut(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage], "") + "…"
}

// aggregate makes the conditions of a work from those of its manifests.
func aggregate(manifests []workv1.ManifestCondition) []metav1.Condition {
	all := []metav1.Condition{aggregateApplied(manifests), aggregateAvailable(manifests)}
	for _, kind := range []string{workv1.WorkProgressing, workv1.WorkDegraded, workv1.WorkComplete} {
		if ruled(manifests, kind) {
			all = append(all, aggregateRule(manifests, kind))
		}
	}
	return all
}

func count(manifests []workv1.ManifestCondition, kind string) map[metav1.ConditionStatus]int {
	n := map[metav1.ConditionStatus]int{}
	for _, m := range manifests {
		if c := meta.FindStatusCondition(m.Conditions, kind); c != nil {
			n[c.Status]++
		}
	}
	return n
}

func aggregateApplied(manifests []workv1.ManifestCondition) metav1.Condition {
	c := metav1.Condition{Type: workv1.WorkApplied, Status: metav1.ConditionTrue,
		Reason: workv1.ReasonAppliedManifestWorkComplete, Message: "Apply manifest work complete"}
	if failed := count(manifests, workv1.ManifestApplied)[metav1.ConditionFalse]; failed > 0 {
		c.Status, c.Reason = metav1.ConditionFalse, workv1.ReasonAppliedManifestWorkFailed
		c.Message = fmt.Sprintf("Failed to apply manifest work: %d of %d manifests failed", failed, len(manifests))
	}
	return c
}

func aggregateAvailable(manifests []workv1.ManifestCondition) metav1.Condition {
	n := count(manifests, workv1.ManifestAvailable)
	c := metav1.Condition{Type: workv1.WorkAvailable, Status: metav1.ConditionTrue,
		Reason: workv1.ReasonResourcesAvailable, Message: "All resources are available"}
	switch {
	case n[metav1.ConditionFalse] > 0:
		c.Status, c.Reason = metav1.ConditionFalse, workv1.ReasonResourcesNotAvailable
		c.Message = fmt.Sprintf("%d of %d resources are not available", n[metav1.ConditionFalse], len(manifests))
	case n[metav1.ConditionUnknown] > 0:
		c.Status, c.Reason = metav1.ConditionUnknown, workv1.ReasonResourcesStatusUnknown
		c.Message = fmt.Sprintf("%d of %d resources have unknown status", n[metav1.ConditionUnknown], len(manifests))
	}
	return c
}

func ruled(manifests []workv1.ManifestCondition, kind string) bool {
	switch kind {
	case workv1.WorkProgressing, workv1.WorkDegraded, workv1.WorkComplete:
		return len(count(manifests, kind)) > 0
	}
	return false
}

// aggregateRule: Progressing and Degraded are True if any manifest's is; Complete is False if any is.
func aggregateRule(manifests []workv1.ManifestCondition, kind string) metav1.Condition {
	n := count(manifests, kind)
	total := n[metav1.ConditionTrue] + n[metav1.ConditionFalse] + n[metav1.ConditionUnknown]
	c := metav1.Condition{Type: kind, Reason: workv1.ReasonConditionRulesAggregated, Status: metav1.ConditionUnknown}
	first, second := metav1.ConditionTrue, metav1.ConditionFalse
	if kind == workv1.WorkComplete {
		first, second = second, first
	}
	switch {
	case n[first] > 0:
		c.Status = first
	case n[metav1.ConditionUnknown] == 0:
		c.Status = second
	}
	c.Message = fmt.Sprintf("%d of %d manifests are %s", n[metav1.ConditionTrue], total, kind)
	return c
}
