package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// followed are kinds of other controllers that take a workload through steps of their own: where one waits for a person, and what is written
// into its status when the hub says that a person has approved the step.
var followed = map[schema.GroupKind]struct {
	waits   func(live map[string]any) int // the step, from 1; 0 when it waits for nobody
	approve func(live map[string]any) map[string]any
}{
	{Group: "argoproj.io", Kind: "Rollout"}:        {argoWaits, func(map[string]any) map[string]any { return map[string]any{"pauseConditions": nil} }},
	{Group: "rollouts.kruise.io", Kind: "Rollout"}: {kruiseWaits, kruiseApproval},
}

// argoWaits: a step of a canary is a pause without a duration, or a blue-green release waits before it is promoted.
func argoWaits(live map[string]any) int {
	if paused, _, _ := unstructured.NestedSlice(live, "status", "pauseConditions"); len(paused) == 0 {
		return 0
	}
	if blueGreen, found, _ := unstructured.NestedMap(live, "spec", "strategy", "blueGreen"); found {
		if _, timed := blueGreen["autoPromotionSeconds"]; timed {
			return 0
		}
		return 1
	}
	steps, _, _ := unstructured.NestedSlice(live, "spec", "strategy", "canary", "steps")
	at, _, _ := unstructured.NestedInt64(live, "status", "currentStepIndex")
	return pausedAt(steps, at)
}

// kruiseWaits: the step says that it is paused, and has no duration.
func kruiseWaits(live map[string]any) int {
	for _, strategy := range []string{"canary", "blueGreen"} {
		state, _, _ := unstructured.NestedString(live, "status", strategy+"Status", "currentStepState")
		if state != "StepPaused" {
			continue
		}
		steps, _, _ := unstructured.NestedSlice(live, "spec", "strategy", strategy, "steps")
		at, _, _ := unstructured.NestedInt64(live, "status", strategy+"Status", "currentStepIndex")
		if at < 1 || at > int64(len(steps)) {
			return 0
		}
		if step, _ := steps[at-1].(map[string]any); step != nil && hasDuration(step) {
			return 0
		}
		return int(at)
	}
	return 0
}

func kruiseApproval(live map[string]any) map[string]any {
	approved := map[string]any{}
	for _, strategy := range []string{"canaryStatus", "blueGreenStatus"} {
		if state, _, _ := unstructured.NestedString(live, "status", strategy, "currentStepState"); state == "StepPaused" {
			approved[strategy] = map[string]any{"currentStepState": "StepReady"}
		}
	}
	return approved
}

// pausedAt is the step, from 1, at an index, if it is a pause without a duration.
func pausedAt(steps []any, at int64) int {
	if at < 0 || at >= int64(len(steps)) {
		return 0
	}
	step, _ := steps[at].(map[string]any)
	if _, pauses := step["pause"]; !pauses || hasDuration(step) {
		return 0
	}
	return int(at) + 1
}

func hasDuration(step map[string]any) bool {
	_, found, _ := unstructured.NestedFieldNoCopy(step, "pause", "duration")
	return found
}

// noteFollowed remembers at which step an object waits for a person.
func (p *reconciliation) noteFollowed(t target, s *objectState, live *unstructured.Unstructured) {
	s.waitsAt = 0
	if kind, ok := followed[live.GroupVersionKind().GroupKind()]; ok && p.mode != modeOCM && t.strategy() != workv1.UpdateStrategyTypeReadOnly {
		s.waitsAt = kind.waits(live.Object)
	}
}

// approveFollowed lets objects of other controllers leave the step at which they wait, when the hub says so.
func (p *reconciliation) approveFollowed(ctx context.Context) error {
	passed := p.canaryPassed()
	var errs []error
	for _, t := range p.targets {
		s := p.memory.about(t.key())
		if s.waitsAt == 0 || s.waitsAt > passed || t.err != nil {
			continue
		}
		live, err := p.get(ctx, t)
		if err != nil || live == nil || followed[live.GroupVersionKind().GroupKind()].waits(live.Object) != s.waitsAt {
			errs = append(errs, err)
			continue
		}
		if err := p.authorize(ctx, t, applyVerbs(t)...); err != nil {
			errs = append(errs, err)
			continue
		}
		body := must(json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": live.GetUID(), "resourceVersion": live.GetResourceVersion()},
			"status":   followed[live.GroupVersionKind().GroupKind()].approve(live.Object),
		}))
		logr.FromContextOrDiscard(ctx).Info("Let it leave the step", "object", t.String(), "step", s.waitsAt)
		_, err = p.resource(t.gvr(), t.meta.Namespace).Patch(ctx, t.meta.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: workv1.DefaultFieldManager}, "status")
		s.stale = true
		if err != nil && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("approve step %d of %s: %w", s.waitsAt, t, err))
		}
	}
	return errors.Join(errs...)
}
