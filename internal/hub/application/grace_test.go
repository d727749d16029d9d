package application

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
)

// TestDecisionGrace: the status says that decisions are incomplete when that lasts, and not whenever a placement changes.
func TestDecisionGrace(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := &Applications{Now: func() time.Time { return now }}
	key := types.NamespacedName{Namespace: "retail", Name: "web"}
	good := &report{planned: &plan.Application{}}
	undecided := &report{planned: &plan.Application{Faults: []fleet.Fault{{Reason: fleet.DecisionsIncomplete}}}}
	for _, step := range []struct {
		after time.Duration
		out   *report
		want  time.Duration
		why   string
	}{
		{0, good, 0, "all is decided"},
		{0, undecided, 10 * time.Second, "not at once"},
		{4 * time.Second, undecided, 6 * time.Second, "nor when it is reconciled again"},
		{0, good, 0, "it was only for a moment"},
		{8 * time.Second, undecided, 10 * time.Second, "another moment"},
		{10 * time.Second, undecided, 0, "it lasts"},
		{time.Second, undecided, -time.Second, "and goes on"},
		{0, &report{}, 0, "nothing was planned"},
	} {
		now = now.Add(step.after)
		if have := r.decisionGrace(key, step.out); have != step.want {
			t.Errorf("%s: %s, want %s", step.why, have, step.want)
		}
	}
}
