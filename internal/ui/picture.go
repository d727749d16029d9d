package ui

import (
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/plan"
)

// slice is a part of a bar, in per mille of its width.
type slice struct {
	State    string
	Tone     string
	X, Width int
	Count    int
}

// bar divides a bar by counts. A state that somebody has is never too thin to be seen.
func bar(states []stateCount) []slice {
	total := 0
	for _, s := range states {
		total += s.Count
	}
	var slices []slice
	x := 0
	for i, s := range states {
		width := max(12, s.Count*1000/max(1, total))
		if i == len(states)-1 {
			width = max(12, 1000-x)
		}
		width = min(width, 1000-x)
		slices = append(slices, slice{State: s.State, Tone: tone(s.State), X: x, Width: width, Count: s.Count})
		x += width
	}
	return slices
}

// summaryBar is how far an application is over its clusters.
func summaryBar(s musterv1alpha1.Summary) []slice {
	rest := s.Clusters
	var states []stateCount
	add := func(state string, n int32) {
		if n = min(n, rest); n > 0 {
			states = append(states, stateCount{state, int(n)})
			rest -= n
		}
	}
	add(targetHealthy, s.Healthy)
	add(targetUnplanned, s.Faulty)
	add(targetOffline, s.Offline)
	add(targetApplied, s.Current-s.Healthy)
	add(targetPending, rest)
	return bar(states)
}

// tone is the class that colours a state. Colour never says anything that a word beside it does not.
func tone(state string) string {
	switch state {
	case overview.ClusterAvailable, targetHealthy, stateReady, "True", "Healthy", "Applied", "Normal", "chosen", "Success", "passes", planStays, string(plan.Added):
		return "good"
	case targetApplied, targetPending, overview.ClusterJoining, "Pending", "Progressing", stateRolling, planComes, string(plan.Changed), string(plan.HandedOver):
		return "busy"
	case overview.ClusterOffline, overview.ClusterWaiting, overview.ClusterReleased, overview.ClusterLeaving, targetHeld, "Held", stateDrifted, "Drifted", "differs", "Warning", "warns", "Unknown":
		return "warn"
	case overview.ClusterDenied, targetProblem, targetUnplanned, stateUnready, "False", "Degraded", "Missing", "Failed", "Faulty", "Stopped", "Failure", "fails", "denies", planGoes, string(plan.Removed):
		return "bad"
	}
	return "idle"
}
