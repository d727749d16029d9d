package placement

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// A change of a cluster or a score waits for its like, so that many of them reschedule a placement once: until there was
// none for quiet, and no longer than longest in all.
const (
	quiet   = 20 * time.Millisecond
	longest = 500 * time.Millisecond
)

// bursts are the placements that changes of clusters and scores keep coming for.
type bursts struct {
	mu sync.Mutex
	of map[types.NamespacedName]burst
}

type burst struct{ first, last time.Time }

// more takes in a change.
func (b *bursts) more(p types.NamespacedName, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[types.NamespacedName]burst{}
	}
	known, ok := b.of[p]
	if !ok {
		known.first = now
	}
	known.last = now
	b.of[p] = known
}

// over ends the waiting: something happened that does not come in bursts, or the placement is gone.
func (b *bursts) over(p types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, p)
}

// wait is how long a placement waits for more; 0, once, when it has waited enough.
func (b *bursts) wait(p types.NamespacedName, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	known, ok := b.of[p]
	if !ok {
		return 0
	}
	left := min(known.last.Add(quiet).Sub(now), known.first.Add(longest).Sub(now))
	if left <= 0 {
		delete(b.of, p)
	}
	return max(left, 0)
}
