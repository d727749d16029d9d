package rollout

import (
	"slices"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Window is how long a cluster that an application has left counts against the deletion guard: long enough that a burst of
// small commits counts as one, short enough that slow change is not held for ever.
const Window = 24 * time.Hour

// Lately are the losses that count: those of the last Window, and all of them while something is held, so that a hold does
// not end by waiting.
func Lately(status *musterv1alpha1.ApplicationStatus, now time.Time) []musterv1alpha1.Removal {
	return slices.DeleteFunc(slices.Clone(status.RecentRemovals), func(l musterv1alpha1.Removal) bool {
		return status.Held == nil && !now.Before(l.At.Add(Window))
	})
}

// Remember adds what a step takes away to the losses before it; it must be kept before the step is made. An approval ends them
// all: a person has seen the sum.
func (s Step) Remember(before []musterv1alpha1.Removal, now time.Time) []musterv1alpha1.Removal {
	switch {
	case s.Approved:
		return nil
	case len(s.Leaves) == 0:
		return before
	}
	return append(slices.Clip(before), musterv1alpha1.Removal{At: metav1.NewTime(now), Clusters: s.Leaves})
}
