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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/health"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

const (
	// canaryStateAnnotation of an AppliedManifestWork says where its canary is. It is written before what it says is done.
	canaryStateAnnotation = "muster.dev/canary-state"
	companionSuffix       = "-canary"
	// anotherTemplate stands for the template of a Deployment that was applied before there was a canary.
	anotherTemplate = "another"
	// canaryLook is how often a canary is looked at, beside what watches report of it.
	canaryLook = 5 * time.Second
)

// canaryState is where the canary of a work is: all of its Deployments that get another pod template go through the steps together.
type canaryState struct {
	// Templates are the digests of the pod templates that the Deployments have, by namespace/name.
	Templates map[string]string `json:"templates,omitempty"`
	// Trial is the digest of the templates that are tried; empty when none is.
	Trial string `json:"trial,omitempty"`
	// Step from 1; one after the last while the Deployments get the templates.
	Step int `json:"step,omitempty"`
	// Since is when all pods of the step came to be available.
	Since *metav1.Time `json:"since,omitempty"`
}

// trial is what is told of a Deployment whose template is tried.
type trial struct {
	fleet.Canary
	message string
	ready   int64 // replicas of the companion
}

// seen is what is seen of the Deployments of a step.
type seen struct {
	ready, failed bool
	why           string // it is not ready
}

// and is what is seen of both.
func (s seen) and(other seen) seen {
	both := seen{ready: s.ready && other.ready, failed: s.failed || other.failed, why: s.why}
	if other.failed && !s.failed || both.why == "" {
		both.why = other.why
	}
	return both
}

// next goes on by one step at most, and says where the canary is then. Passed is the last step that the hub has let it leave.
func (s canaryState) next(steps []musterv1alpha1.CanaryStep, is seen, passed int, now time.Time) (canaryState, fleet.CanaryPhase, string) {
	at := fmt.Sprintf("canary at step %d of %d", s.Step, len(steps))
	if s.Step > len(steps) {
		switch {
		case is.failed:
			return s, fleet.CanaryFailed, "the canary is promoted, and fails: " + is.why
		case !is.ready:
			return s, fleet.CanaryPromoting, "the canary is promoted: " + is.why
		}
		return canaryState{Templates: s.Templates}, "", ""
	}
	if !is.ready || is.failed {
		s.Since = nil
		if is.failed {
			return s, fleet.CanaryFailed, at + " fails: " + is.why
		}
		return s, fleet.CanaryProgressing, at + ": " + is.why
	}
	if s.Since == nil { // to the second, as it is kept, and never too early
		s.Since = &metav1.Time{Time: now.Add(time.Second - 1).Truncate(time.Second)}
	}
	step := &steps[s.Step-1]
	if until := s.pauseEnd(steps); now.Before(until) {
		return s, fleet.CanaryPaused, at + ": paused until " + until.UTC().Format("2006-01-02 15:04:05 MST")
	}
	if step.WaitsForHub() && passed < s.Step {
		if step.WaitsForPerson() {
			return s, fleet.CanaryWaiting, at + ": waits for an approval"
		}
		return s, fleet.CanaryWaiting, at + ": is measured"
	}
	s.Step, s.Since = s.Step+1, nil
	return s, fleet.CanaryProgressing, ""
}

// pauseEnd is when the pause of the step is over; zero when it has none, or has not begun.
func (s canaryState) pauseEnd(steps []musterv1alpha1.CanaryStep) time.Time {
	if s.Since == nil || s.Step < 1 || s.Step > len(steps) {
		return time.Time{}
	}
	pause := steps[s.Step-1].Pause
	if pause == nil || pause.Duration == nil {
		return time.Time{}
	}
	return s.Since.Add(pause.Duration.Duration)
}

// tried is a Deployment whose template is tried.
type tried struct {
	index     int // of its target
	template  string
	live      *unstructured.Unstructured
	companion target
	ready     int64 // replicas of the companion
	foreign   bool  // the name of the companion is taken
}

// canary takes Deployments whose pod template changes through the steps that the work names. While they are on their way, their targets
// leave the template as it is, and targets of companions come to those of the manifests: from then on a companion is an object of the work
// like any other, and goes when its target does.
func (p *reconciliation) canary(ctx context.Context) error {
	steps, state := canaryStepsOf(p.work), canaryStateOf(p.record)
	if len(steps) == 0 { // it is off, or the work returns to what was good
		return p.keepCanary(ctx, canaryState{})
	}
	all, err := p.onTrial(ctx, &state, state.Step > len(steps))
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return p.keepCanary(ctx, canaryState{Templates: state.Templates})
	}
	if id := trialOf(all, p.targets); state.Trial != id {
		state = canaryState{Templates: state.Templates, Trial: id, Step: 1}
	}
	state, is, err := p.goOn(ctx, all, steps, state)
	if err != nil {
		return err
	}
	if state.Trial == "" {
		for _, d := range all {
			state.Templates[p.targets[d.index].canaryKey()] = d.template
		}
		return p.keepCanary(ctx, state)
	}
	if err := p.keepCanary(ctx, state); err != nil {
		return err
	}
	p.canaryLook = p.now.Add(canaryLook)
	switch is.Phase {
	case fleet.CanaryPaused:
		p.canaryLook = state.pauseEnd(steps)
	case fleet.CanaryWaiting:
		p.canaryLook = time.Time{} // the hub's word wakes it
	}
	p.try(all, state, len(steps), is)
	return nil
}

// goOn goes as many steps as may be gone now, and says where the canary is then.
func (p *reconciliation) goOn(ctx context.Context, all []tried, steps []musterv1alpha1.CanaryStep, state canaryState) (canaryState, trial, error) {
	for {
		is, err := p.see(ctx, all, steps, state)
		if err != nil {
			return state, trial{}, err
		}
		next, phase, message := state.next(steps, is, p.canaryPassed(), p.now)
		if p.held != nil && next.Step != state.Step { // nothing goes on while somebody holds it
			next, phase, message = state, fleet.CanaryPaused, fmt.Sprintf("canary at step %d of %d: it is held", state.Step, len(steps))
		}
		if next.Step == state.Step || next.Trial == "" {
			return next, trial{Canary: fleet.Canary{Step: next.Step, Phase: phase}, message: message}, nil
		}
		state = next
	}
}

// onTrial finds the Deployments that have another template than their manifest. What is new, has no replicas, or may not be written is none
// of them. It notes the templates of the others. Once they get the templates, those of all that are tried are known to be others.
func (p *reconciliation) onTrial(ctx context.Context, state *canaryState, promoted bool) ([]tried, error) {
	known := state.Templates
	state.Templates = map[string]string{}
	var all []tried
	for i := range p.targets {
		t := &p.targets[i]
		if t.err != nil || t.meta.Group != "apps" || t.meta.Kind != "Deployment" || t.strategy() != workv1.UpdateStrategyTypeServerSideApply {
			continue
		}
		key, is := t.canaryKey(), templateOf(t.object)
		if known[key] == is {
			state.Templates[key] = is
			continue
		}
		isKnown := known[key] != "" && (promoted || known[key] != anotherTemplate)
		live, err := p.toTry(ctx, *t, isKnown)
		switch {
		case isDenied(err): // applying it tells so
		case err != nil:
			return nil, err
		case live == nil:
			state.Templates[key] = is
			continue
		default:
			all = append(all, tried{index: i, template: is, live: live})
		}
		state.Templates[key] = cmp.Or(known[key], anotherTemplate)
	}
	return all, nil
}

// toTry gives the live Deployment whose template the manifest would change; nil when there is nothing to try. Where it is not known which
// template was applied last, a dry run tells.
func (p *reconciliation) toTry(ctx context.Context, t target, known bool) (*unstructured.Unstructured, error) {
	if err := p.authorize(ctx, t, applyVerbs(t)...); err != nil {
		return nil, err
	}
	live, err := p.get(ctx, t)
	if err != nil || live == nil || replicasOf(live) == 0 {
		return nil, err
	}
	if known {
		return live, nil
	}
	wanted, err := p.prepare(ctx, t, live, live.GetAnnotations()[workv1.ManifestConfigSpecHashAnnotationKey], true)
	if err != nil {
		return nil, nil //nolint:nilerr // applying it tells what is wrong
	}
	was, err := p.applyServerSide(ctx, t, wanted, true, []string{metav1.DryRunAll})
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err):
		return nil, nil // the same
	case err != nil:
		return nil, fmt.Errorf("dry run of %s: %w", t, err)
	case equality.Semantic.DeepEqual(podTemplate(was), podTemplate(live)):
		return nil, nil
	}
	return live, nil
}

// see makes the companions of a step, and says how they do; or, when the canary is promoted, how the Deployments do.
func (p *reconciliation) see(ctx context.Context, all []tried, steps []musterv1alpha1.CanaryStep, state canaryState) (seen, error) {
	is := seen{ready: true}
	for i := range all {
		d := &all[i]
		t := p.targets[d.index]
		step := steps[min(state.Step, len(steps))-1]
		d.companion = p.companionOf(t, sizeOf(step, replicasOf(d.live)))
		live, err := p.get(ctx, d.companion)
		if err != nil {
			return seen{}, err
		}
		d.ready = readyReplicasOf(live)
		if state.Step > len(steps) {
			is = is.and(p.doing(t, d.live))
			continue
		}
		if d.foreign = live != nil && !owns(p.record, live) || p.hasManifest(d.companion.key()); d.foreign {
			is = is.and(seen{failed: true, why: fmt.Sprintf("%s is there already, and is no companion: give it or the Deployment another name", d.companion)})
			continue
		}
		is = is.and(p.doing(d.companion, live))
	}
	return is, nil
}

// doing says how an object does that is to be as its target says.
func (p *reconciliation) doing(t target, live *unstructured.Unstructured) seen {
	s := p.memory.about(t.key())
	switch {
	case s.failure != nil && s.failedAt == p.work.Generation && s.waits == nil:
		return seen{failed: true, why: fmt.Sprintf("%s could not be applied: %v", t, s.failure)}
	case s.hash != t.hash || live == nil:
		return seen{why: fmt.Sprintf("%s is not applied yet", t)}
	}
	switch how, why := health.OfObject(live); how {
	case fleet.HealthHealthy:
		return seen{ready: true}
	case fleet.HealthDegraded:
		return seen{failed: true, why: fmt.Sprintf("%s: %s", t, why)}
	default:
		return seen{why: fmt.Sprintf("%s: %s", t, why)}
	}
}

// try lets Deployments keep their template until the canary is promoted, and adds the companions.
func (p *reconciliation) try(all []tried, state canaryState, steps int, is trial) {
	for _, d := range all {
		t, its := &p.targets[d.index], is
		its.ready = d.ready
		t.trial = &its
		if state.Step <= steps {
			t.keepTemplate(p.work.Spec.Executor)
		}
		if !d.foreign {
			p.targets = append(p.targets, d.companion)
		}
	}
}

// keepTemplate makes the target leave the pod template as the cluster has it.
func (t *target) keepTemplate(as *workv1.ManifestWorkExecutor) {
	strategy := t.config.UpdateStrategy.DeepCopy()
	if strategy.ServerSideApply == nil {
		strategy.ServerSideApply = &workv1.ServerSideApplyConfig{}
	}
	strategy.ServerSideApply.IgnoreFields = append(strategy.ServerSideApply.IgnoreFields,
		workv1.IgnoreField{Condition: workv1.IgnoreFieldsConditionOnSpokePresent, JSONPointers: []string{"/spec/template"}})
	t.config.UpdateStrategy = strategy
	t.hash = hashOf(*t, as)
}

// companionOf is the target of a companion: the Deployment under another name, with so many replicas, and with a label by which it tells its
// pods from the Deployment's.
func (p *reconciliation) companionOf(t target, replicas int64) target {
	c := t
	c.companion, c.orphan, c.policies, c.trial = true, false, nil, nil
	c.object = t.object.DeepCopy()
	c.meta.Name = t.meta.Name + companionSuffix
	c.object.SetName(c.meta.Name)
	content := c.object.Object
	for _, labels := range [][]string{{"metadata", "labels"}, {"spec", "selector", "matchLabels"}, {"spec", "template", "metadata", "labels"}} {
		_ = unstructured.SetNestedField(content, "true", append(labels, musterv1alpha1.CanaryLabel)...) // fails only where the API server refuses the manifest
	}
	_ = unstructured.SetNestedField(content, replicas, "spec", "replicas")
	strategy := t.config.UpdateStrategy.DeepCopy()
	if strategy.ServerSideApply != nil {
		strategy.ServerSideApply.IgnoreFields = nil
	}
	c.config = workv1.ManifestConfigOption{UpdateStrategy: strategy}
	c.hash = hashOf(c, p.work.Spec.Executor)
	c.rulesDigest = digest([]any{c.config.FeedbackRules, c.config.ConditionRules})
	return c
}

// hasManifest says that a manifest of the work is of an object.
func (p *reconciliation) hasManifest(key objectKey) bool {
	return slices.ContainsFunc(p.targets, func(t target) bool { return !t.companion && t.key() == key })
}

// leftCompanions splits what left the work into companions of Deployments that it has, and the rest. A companion may go although something
// else is not applied: nothing but the agent asks for it.
func (p *reconciliation) leftCompanions(ctx context.Context, left []workv1.AppliedManifestResourceMeta) (companions, rest []workv1.AppliedManifestResourceMeta) {
	for _, entry := range left {
		if p.isCompanion(ctx, entry) {
			companions = append(companions, entry)
		} else {
			rest = append(rest, entry)
		}
	}
	return companions, rest
}

func (p *reconciliation) isCompanion(ctx context.Context, entry workv1.AppliedManifestResourceMeta) bool {
	name, suffixed := strings.CutSuffix(entry.Name, companionSuffix)
	of := keyOf(entry)
	of.name = name
	if entry.Group != "apps" || entry.Resource != "deployments" || !suffixed || !p.hasManifest(of) {
		return false
	}
	live, _, err := p.find(ctx, entry)
	return err == nil && live != nil && live.GetLabels()[musterv1alpha1.CanaryLabel] != ""
}

func canaryStepsOf(work *workv1.ManifestWork) []musterv1alpha1.CanaryStep {
	var c musterv1alpha1.Canary
	if json.Unmarshal([]byte(work.Annotations[musterv1alpha1.CanaryAnnotation]), &c) != nil {
		return nil // nobody but the hub writes it
	}
	return c.Steps
}

func canaryStateOf(record *workv1.AppliedManifestWork) canaryState {
	var state canaryState
	if json.Unmarshal([]byte(record.Annotations[canaryStateAnnotation]), &state) != nil {
		return canaryState{}
	}
	return state
}

// keepCanary writes down where the canary is.
func (p *reconciliation) keepCanary(ctx context.Context, state canaryState) error {
	wanted := ""
	if len(state.Templates) > 0 || state.Trial != "" {
		wanted = string(must(json.Marshal(state)))
	}
	if p.record.Annotations[canaryStateAnnotation] == wanted || p.held != nil {
		return nil
	}
	before := p.record.DeepCopy()
	if wanted == "" {
		delete(p.record.Annotations, canaryStateAnnotation)
	} else {
		metav1.SetMetaDataAnnotation(&p.record.ObjectMeta, canaryStateAnnotation, wanted)
	}
	if err := p.spoke.Patch(ctx, p.record, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("record the canary in AppliedManifestWork %s: %w", p.record.Name, err)
	}
	p.reached("canary recorded")
	return nil
}

// canaryPassed is the last step that the hub lets the canary leave. Its word is for one generation of the work.
func (p *reconciliation) canaryPassed() int {
	var generation int64
	var step int
	if n, err := fmt.Sscanf(p.work.Annotations[musterv1alpha1.CanaryPassedAnnotation], "%d/%d", &generation, &step); n != 2 || err != nil || generation != p.work.Generation {
		return 0
	}
	return step
}

// trialOf identifies the templates that are tried.
func trialOf(all []tried, targets []target) string {
	templates := map[string]string{}
	for _, d := range all {
		templates[targets[d.index].canaryKey()] = d.template
	}
	return digest(templates)[:16]
}

// canaryKey is how a canary's state names the Deployment.
func (t target) canaryKey() string { return t.meta.Namespace + "/" + t.meta.Name }

func podTemplate(object *unstructured.Unstructured) any {
	template, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "template")
	return template
}

func templateOf(object *unstructured.Unstructured) string { return digest(podTemplate(object))[:16] }

// replicasOf is how many replicas a live Deployment is to have.
func replicasOf(live *unstructured.Unstructured) int64 {
	n, found, err := unstructured.NestedInt64(live.Object, "spec", "replicas")
	if !found || err != nil {
		return 1
	}
	return n
}

func readyReplicasOf(live *unstructured.Unstructured) int64 {
	if live == nil {
		return 0
	}
	n, _, _ := unstructured.NestedInt64(live.Object, "status", "readyReplicas")
	return n
}

// sizeOf is how many replicas a companion has at a step.
func sizeOf(step musterv1alpha1.CanaryStep, replicas int64) int64 {
	if step.Replicas > 0 {
		return int64(step.Replicas)
	}
	return (replicas*int64(step.Weight) + 99) / 100
}

// trialConditions are how a Deployment does whose template is tried, in the place of how it does with its own.
func trialConditions(conditions []metav1.Condition, is *trial) []metav1.Condition {
	conditions = slices.DeleteFunc(conditions, func(c metav1.Condition) bool {
		return c.Type == workv1.ManifestProgressing || c.Type == workv1.ManifestDegraded
	})
	fails := metav1.ConditionFalse
	if is.Phase == fleet.CanaryFailed {
		fails = metav1.ConditionTrue
	}
	return append(conditions,
		metav1.Condition{Type: workv1.ManifestProgressing, Status: metav1.ConditionTrue, Reason: workv1.ReasonConditionRuleEvaluated, Message: cut(is.message)},
		metav1.Condition{Type: workv1.ManifestDegraded, Status: fails, Reason: workv1.ReasonConditionRuleEvaluated, Message: cut(is.message)})
}
