package placement

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Changes of clusters and scores often come many at a time. A placement is scheduled once for all of them: when no change has
// come for quietPeriod, or maxDelay after the first one.
const (
	quietPeriod = 20 * time.Millisecond
	maxDelay    = 500 * time.Millisecond
)

// debouncer holds the placements that wait for more changes.
type debouncer struct {
	mu      sync.Mutex
	pending map[types.NamespacedName]period
}

// period is the time of the first and of the last change that a placement is to be scheduled for.
type period struct{ first, last time.Time }

// note records a change.
func (d *debouncer) note(p types.NamespacedName, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pending == nil {
		d.pending = map[types.NamespacedName]period{}
	}
	known, ok := d.pending[p]
	if !ok {
		known.first = now
	}
	known.last = now
	d.pending[p] = known
}

// cancel ends the wait: a change of another kind needs scheduling now, or the placement was deleted.
func (d *debouncer) cancel(p types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.pending, p)
}

// wait is how long the placement still has to wait. It is 0 when the wait is over, which also forgets the placement.
func (d *debouncer) wait(p types.NamespacedName, now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, ok := d.pending[p]
	if !ok {
		return 0
	}
	left := min(known.last.Add(quietPeriod).Sub(now), known.first.Add(maxDelay).Sub(now))
	if left <= 0 {
		delete(d.pending, p)
	}
	return max(left, 0)
}
