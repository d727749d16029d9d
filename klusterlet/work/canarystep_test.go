package work

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/internal/fleet"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestCanaryGoesOn: a step ends when its pods are available, its pause is over and the hub has said what it has to say, in this order.
func TestCanaryGoesOn(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	since := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(-d)} }
	steps := []musterv1alpha1.CanaryStep{
		{Weight: 10, Pause: &musterv1alpha1.CanaryPause{Duration: &metav1.Duration{Duration: time.Minute}}},
		{Replicas: 2, Pause: &musterv1alpha1.CanaryPause{}},
		{Weight: 50, Analysis: &musterv1alpha1.RolloutAnalysis{}},
	}
	ready, busy, bad := seen{ready: true}, seen{why: "1 of 2"}, seen{failed: true, why: "crashes"}
	for name, row := range map[string]struct {
		why    string
		step   int
		since  *metav1.Time
		is     seen
		passed int
		want   int
		phase  fleet.CanaryPhase
		kept   bool // since when its pods are available
	}{
		"pods come up":      {"nothing else counts before", 1, nil, busy, 9, 1, fleet.CanaryProgressing, false},
		"pods are there":    {"the pause begins", 1, nil, ready, 0, 1, fleet.CanaryPaused, true},
		"pause goes on":     {"", 1, since(59 * time.Second), ready, 0, 1, fleet.CanaryPaused, true},
		"pause is over":     {"the agent goes on by itself", 1, since(time.Minute), ready, 0, 2, fleet.CanaryProgressing, false},
		"pods go":           {"the pause begins anew", 1, since(time.Hour), busy, 0, 1, fleet.CanaryProgressing, false},
		"pods fail":         {"and says so", 1, since(time.Hour), bad, 9, 1, fleet.CanaryFailed, false},
		"nobody approved":   {"", 2, nil, ready, 1, 2, fleet.CanaryWaiting, true},
		"approved":          {"", 2, since(0), ready, 2, 3, fleet.CanaryProgressing, false},
		"not measured":      {"", 3, nil, ready, 2, 3, fleet.CanaryWaiting, true},
		"measured":          {"the Deployments get the change", 3, since(0), ready, 3, 4, fleet.CanaryProgressing, false},
		"promoted":          {"until they have it", 4, nil, busy, 0, 4, fleet.CanaryPromoting, false},
		"promotion fails":   {"", 4, nil, bad, 0, 4, fleet.CanaryFailed, false},
		"promotion is over": {"nothing is tried any more", 4, nil, ready, 0, 0, "", false},
	} {
		state := canaryState{Templates: map[string]string{"shop/server": "old"}, Trial: "new", Step: row.step, Since: row.since}
		next, phase, message := state.next(steps, row.is, row.passed, now)
		if next.Step != row.want || phase != row.phase || (next.Since != nil) != row.kept || next.Templates["shop/server"] != "old" {
			t.Errorf("%s: step %d, phase %q (%s), since %v; want step %d, phase %q: %s", name, next.Step, phase, message, next.Since, row.want, row.phase, row.why)
		}
		if (next.Trial == "") != (row.want == 0) {
			t.Errorf("%s: trial %q", name, next.Trial)
		}
	}
}

// TestCanarySize: a share is rounded up, so that there is always one.
func TestCanarySize(t *testing.T) {
	for _, row := range []struct {
		step     musterv1alpha1.CanaryStep
		replicas int64
		want     int64
	}{
		{musterv1alpha1.CanaryStep{Weight: 10}, 1, 1}, {musterv1alpha1.CanaryStep{Weight: 10}, 10, 1}, {musterv1alpha1.CanaryStep{Weight: 10}, 11, 2},
		{musterv1alpha1.CanaryStep{Weight: 100}, 7, 7}, {musterv1alpha1.CanaryStep{Replicas: 3}, 1, 3},
	} {
		if got := sizeOf(row.step, row.replicas); got != row.want {
			t.Errorf("%+v of %d: %d, want %d", row.step, row.replicas, got, row.want)
		}
	}
}
