package overview

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestHands: what a person says of a rollout is for the change that goes on, and for no other.
func TestHands(t *testing.T) {
	revision := strings.Repeat("a", 40)
	app := func(change func(*musterv1alpha1.Application)) *musterv1alpha1.Application {
		a := &musterv1alpha1.Application{}
		a.Spec.Rollout = &musterv1alpha1.Rollout{Steps: []musterv1alpha1.RolloutStep{{Name: "canary"}, {Name: "prod"}}}
		a.Status.Rollout = &musterv1alpha1.RolloutStatus{Revision: revision, Phase: musterv1alpha1.RolloutProgressing, Group: "canary", Updated: 1, Clusters: 3}
		if change != nil {
			change(a)
		}
		return a
	}
	failed := metav1.Time{Time: time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)}
	none := func(a *musterv1alpha1.Application) { a.Status.Rollout = nil }
	returning := func(a *musterv1alpha1.Application) { a.Status.Rollout.Phase = musterv1alpha1.RolloutReturning }
	skip := func(step string) func(*musterv1alpha1.Application) (Hand, error) {
		return func(a *musterv1alpha1.Application) (Hand, error) { return SkipStep(a, step) }
	}
	for name, row := range map[string]struct {
		does       func(*musterv1alpha1.Application) (Hand, error)
		app        *musterv1alpha1.Application
		annotation string
		want       string // the annotation, or a part of the error
	}{
		"abort":                 {Abort, app(nil), musterv1alpha1.AbortAnnotation, revision},
		"abort nothing":         {Abort, app(none), "", "no rollout of it goes on"},
		"abort a return":        {Abort, app(returning), "", "no rollout of it goes on"},
		"skip the present step": {skip(""), app(nil), musterv1alpha1.SkippedStepsAnnotation, revision + "/canary"},
		"skip one more": {skip("prod"), app(func(a *musterv1alpha1.Application) {
			a.Annotations = map[string]string{musterv1alpha1.SkippedStepsAnnotation: revision + "/canary,old/prod"}
		}), musterv1alpha1.SkippedStepsAnnotation, revision + "/prod," + revision + "/canary"},
		"skip an unknown step": {skip("test"), app(nil), "", `"test" is none of its steps: canary, prod`},
		"skip without steps":   {skip(""), app(func(a *musterv1alpha1.Application) { a.Spec.Rollout = nil }), "", "has no steps"},
		"retry what was refused": {Retry, app(func(a *musterv1alpha1.Application) {
			a.Status.RolledBack = &musterv1alpha1.RolledBack{Refused: revision, At: failed}
		}),
			musterv1alpha1.RetryAnnotation, "2026-12-01T12:00:00Z"},
		"retry nothing": {Retry, app(nil), "", "nothing of it was taken back"},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := row.does(row.app)
			got := ""
			if err != nil {
				got = err.Error()
			} else if text, ok := h.annotations[row.annotation].(string); ok {
				got = text
			}
			if got != row.want && (err == nil || !strings.Contains(got, row.want)) {
				t.Errorf("says %q, want %q", got, row.want)
			}
		})
	}
}
