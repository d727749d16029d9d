package rollout

import (
	"slices"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Window is how long a removal counts against the deletion guard: long enough that a burst of small commits counts as one,
// short enough that slow change is not held for ever.
const Window = 24 * time.Hour

// countedRemovals are the removals of the last Window. While the guard holds something, older ones count too, so that a hold
// does not end by waiting.
func (in Input) countedRemovals() []musterv1alpha1.Removal {
	return slices.DeleteFunc(slices.Clone(in.Removals), func(r musterv1alpha1.Removal) bool {
		return !in.GuardHolds && !in.Now.Before(r.At.Add(Window))
	})
}

// nextExpiry is when the first of the removals that count stops to count; zero when only an approval ends them.
func (s *Step) nextExpiry() time.Time {
	var next time.Time
	for _, r := range s.Counted {
		if expiry := r.At.Add(Window); s.Guard == nil && (next.IsZero() || expiry.Before(next)) {
			next = expiry
		}
	}
	return next
}

// Recorded are the removals that count once this step is made. An approval ends them all: a person has agreed to the sum.
func (s Step) Recorded() []musterv1alpha1.Removal {
	switch {
	case s.Approved:
		return nil
	case s.Removal == nil:
		return s.Counted
	}
	return append(slices.Clip(s.Counted), *s.Removal)
}

// removal is what the changes of a step remove, has to be recorded and is not yet; nil when that is nothing.
func (d *decider) removal(changes []change) *musterv1alpha1.Removal {
	if d.loss == nil || d.loss.off || d.loss.approved {
		return nil
	}
	g := d.loss
	clusters, objects := map[string]bool{}, map[string]bool{}
	for _, c := range changes {
		if c.isDeletion() && g.lost[c.Cluster] && !g.left[c.Cluster] {
			clusters[c.Cluster] = true
		}
		for _, key := range g.lostBy(&c) {
			if !g.recorded[key.String()] {
				objects[key.String()] = true
			}
		}
	}
	if len(clusters)+len(objects) == 0 {
		return nil
	}
	return &musterv1alpha1.Removal{At: metav1.NewTime(d.in.Now), Clusters: sortedKeys(clusters), Objects: sortedKeys(objects)}
}
