package application

import (
	"slices"
	"strings"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// readHands reads what people and commits say of the rollout that goes on. An approval that the status has stays, whatever becomes of
// what it was read from; one of another revision counts for nothing.
func (r *Applications) readHands(app *musterv1alpha1.Application, out *report) {
	in := &out.input
	in.Approved, in.Skipped = map[string]bool{}, map[string]bool{}
	out.approvals = nil
	in.Aborted = out.origin != "" && app.Annotations[musterv1alpha1.AbortAnnotation] == out.origin
	for _, step := range stepsIn(app.Annotations[musterv1alpha1.SkippedStepsAnnotation], out.origin) {
		in.Skipped[step] = true
	}
	if on := app.Status.Rollout; on != nil && on.Revision == out.origin {
		out.approvals = slices.Clone(on.Approvals)
	}
	approve := func(step, by string) {
		if !slices.ContainsFunc(out.approvals, func(a musterv1alpha1.ApprovedStep) bool { return a.Step == step }) {
			out.approvals = append(out.approvals, musterv1alpha1.ApprovedStep{Step: step, By: by, At: metav1.NewTime(r.Now().Truncate(time.Second))})
		}
	}
	for _, step := range stepsIn(app.Annotations[musterv1alpha1.ApprovedStepsAnnotation], out.origin) {
		approve(step, app.Annotations[musterv1alpha1.RolloutByAnnotation])
	}
	if spec := app.Spec.Rollout; spec != nil {
		for _, a := range spec.Approvals {
			if strings.HasPrefix(out.origin, a.Revision) {
				approve(a.Step, "commit "+fleet.ShortRevision(out.revision))
			}
		}
	}
	for _, a := range out.approvals {
		in.Approved[a.Step] = true
	}
}

// stepsIn are the steps of a revision in an annotation of the form REVISION/STEP,REVISION/STEP.
func stepsIn(annotation, revision string) []string {
	var steps []string
	for _, entry := range strings.Split(annotation, ",") {
		if of, step, ok := strings.Cut(strings.TrimSpace(entry), "/"); ok && of == revision && revision != "" {
			steps = append(steps, step)
		}
	}
	return steps
}
