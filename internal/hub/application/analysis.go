package application

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/rollout"
)

// analyzes is true for a rollout some step of which is measured.
func analyzes(strategy *musterv1alpha1.Rollout) bool {
	if strategy == nil {
		return false
	}
	return slices.ContainsFunc(strategy.Steps, func(s musterv1alpha1.RolloutStep) bool { return s.Analysis != nil }) ||
		strategy.Canary != nil && slices.ContainsFunc(strategy.Canary.Steps, func(s musterv1alpha1.CanaryStep) bool { return s.Analysis != nil })
}

// readAnalyses reads what was measured. A stale history only has fewer measurements than there are: the next one wakes the application.
func (r *Applications) readAnalyses(ctx context.Context, app *musterv1alpha1.Application, out *report) error {
	out.input.Revision, out.input.Analyses, out.input.Measuring = out.origin, nil, nil
	if !analyzes(out.input.Strategy) {
		return nil
	}
	var history musterv1alpha1.RolloutHistory
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(app), &history); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read what was measured of %s/%s: %w", app.Namespace, app.Name, err)
	}
	out.input.Analyses = history.Analyses
	if on := app.Status.Rollout; on != nil && on.Revision == out.origin {
		out.input.Measuring = on.Analysis
	}
	return nil
}

// maxMeasured is the CRD's bound on the clusters that are measured.
const maxMeasured = 100

// analysisOf is what is measured now, or what measurements have stopped the rollout; nil when there is none.
func analysisOf(out *report) *musterv1alpha1.AnalysisStatus {
	m := out.step.Rollout.Measured
	if m == nil || out.returning {
		return nil
	}
	status := &musterv1alpha1.AnalysisStatus{Step: m.Step, Phase: m.Phase, Message: m.Message, Clusters: m.Clusters[:min(len(m.Clusters), maxMeasured)]}
	if run := rollout.RunOf(out.input.Analyses, out.input.Revision, out.step.Rollout.Started, m.Step); run != nil {
		status.Metrics = run.Metrics
	}
	return status
}

// measured lets through the histories in which a measurement is new.
func measured() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			h, ok := e.Object.(*musterv1alpha1.RolloutHistory)
			return ok && len(h.Analyses) > 0
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*musterv1alpha1.RolloutHistory)
			after, ok2 := e.ObjectNew.(*musterv1alpha1.RolloutHistory)
			return ok1 && ok2 && !equality.Semantic.DeepEqual(before.Analyses, after.Analyses)
		},
	}
}
