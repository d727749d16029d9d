package placement

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
)

// facts is the world as the cache has it, prepared once for all placements that are scheduled before it changes.
type facts struct {
	reader client.Reader

	mu      sync.Mutex
	index   *placement.Index // nil when the world has changed since
	version int
	history *placement.History
}

// changed says that clusters, sets, bindings or scores are no longer what the index was made of.
func (f *facts) changed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version++
	f.index = nil
}

// decisions is the tally of all PlacementDecisions, kept by their watch.
func (f *facts) decisions() *placement.History {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.history == nil {
		f.history = placement.NewHistory(nil)
	}
	return f.history
}

// get gives the index of the present world. Objects in it are the cache's own and are not to be changed.
func (f *facts) get(ctx context.Context) (*placement.Index, error) {
	history := f.decisions()
	f.mu.Lock()
	index, version := f.index, f.version
	f.mu.Unlock()
	if index != nil {
		return index, nil
	}
	w, err := f.observe(ctx)
	if err != nil {
		return nil, err
	}
	index = placement.NewIndexWith(w, history)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.version == version {
		f.index = index
	}
	return index, nil
}

func (f *facts) observe(ctx context.Context) (*fleet.World, error) {
	var (
		clusters clusterv1.ManagedClusterList
		sets     clusterv1beta2.ManagedClusterSetList
		bindings clusterv1beta2.ManagedClusterSetBindingList
		scores   clusterv1alpha1.AddOnPlacementScoreList
	)
	for _, list := range []client.ObjectList{&clusters, &sets, &bindings, &scores} {
		if err := f.reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("read the fleet: %w", err)
		}
	}
	return &fleet.World{Clusters: clusters.Items, ClusterSets: sets.Items, Bindings: bindings.Items, Scores: scores.Items}, nil
}

// ledger remembers which of our own writes the cache has not shown yet, so that a placement is not scheduled again with
// what it had before, and knows our own writes from those of others, so that they do not schedule it again.
//
//	written   the revision that our last write of an object gave it
//	seen      the last revision that the watch has shown
//
// A placement with an object whose written is newer than seen waits; the watch wakes it, or patience ends: a watch that was
// broken and began anew does not show what came and went meanwhile. Then the cache counts as it is; the API server refuses
// what is decided on old pages. The watch may be faster than the answer to a write: while a placement is being scheduled, what
// looks foreign is kept until all of its answers are there.
// The objects of a placement are its pages, by name, and the placement itself, by the name "".
type ledger struct {
	mu      sync.Mutex
	written map[types.NamespacedName]map[string]uint64 // placement -> object
	seen    map[types.NamespacedName]map[string]uint64
	removed map[types.NamespacedName]map[string]bool   // pages that we delete, until the watch has shown that they are gone
	busy    map[types.NamespacedName]map[string]uint64 // placements that are being scheduled, with what looked foreign meanwhile
	waiting map[types.NamespacedName]time.Time         // since when
}

// patience is how long a placement waits for the watch at most.
const patience = 10 * time.Second

// goneRevision stands for the deletion of an object: newer than any write.
const goneRevision = math.MaxUint64

func (l *ledger) wrote(p types.NamespacedName, object string, revision uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note(&l.written, p, object, revision)
	delete(l.removed[p], object)
}

// removing notes that we are about to delete a page.
func (l *ledger) removing(p types.NamespacedName, page string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note(&l.removed, p, page, true)
}

// isGone notes that a page which we were about to delete is gone, and whether by us. Nothing that was written to it is waited
// for any more.
func (l *ledger) isGone(p types.NamespacedName, page string, byUs bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.written[p], page)
	if !byUs {
		delete(l.removed[p], page)
	}
}

// stays notes that we have failed to delete a page.
func (l *ledger) stays(p types.NamespacedName, page string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.removed[p], page)
}

// saw takes in an event of an object and says whether its placement is to be scheduled: because somebody else wrote or
// deleted the object, or because the placement waits and now has all of its own writes.
func (l *ledger) saw(p types.NamespacedName, object string, revision uint64, gone bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	note(&l.seen, p, object, max(revision, l.seen[p][object]))
	foreign := revision > l.written[p][object] && !l.removed[p][object]
	if gone {
		foreign, revision = !l.removed[p][object], goneRevision
		delete(l.written[p], object)
		delete(l.removed[p], object)
	}
	if suspects, busy := l.busy[p]; busy {
		if foreign {
			suspects[object] = max(suspects[object], revision)
		}
		return false // end tells
	}
	_, waits := l.waiting[p]
	return foreign || waits && l.caughtUp(p)
}

// begin says how long the placement has to wait for the watch to show our writes: at most, since the watch wakes it. With 0 it
// is being scheduled from now on.
func (l *ledger) begin(p types.NamespacedName, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.caughtUp(p) {
		since, waits := l.waiting[p]
		if !waits {
			if l.waiting == nil {
				l.waiting = map[types.NamespacedName]time.Time{}
			}
			l.waiting[p], since = now, now
		}
		if wait := since.Add(patience).Sub(now); wait > 0 {
			return wait
		}
		delete(l.written, p)
	}
	delete(l.waiting, p)
	if l.busy == nil {
		l.busy = map[types.NamespacedName]map[string]uint64{}
	}
	l.busy[p] = map[string]uint64{}
	return 0
}

// end says whether somebody else wrote an object of the placement while it was being scheduled.
func (l *ledger) end(p types.NamespacedName) (again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for object, revision := range l.busy[p] {
		again = again || revision > l.written[p][object]
	}
	delete(l.busy, p)
	return again
}

func (l *ledger) caughtUp(p types.NamespacedName) bool {
	for object, revision := range l.written[p] {
		if l.seen[p][object] < revision {
			return false
		}
	}
	return true
}

func (l *ledger) forget(p types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.written, p)
	delete(l.seen, p)
	delete(l.removed, p)
	delete(l.waiting, p)
}

func note[V any](in *map[types.NamespacedName]map[string]V, p types.NamespacedName, object string, value V) {
	if *in == nil {
		*in = map[types.NamespacedName]map[string]V{}
	}
	if (*in)[p] == nil {
		(*in)[p] = map[string]V{}
	}
	(*in)[p][object] = value
}

// revisionOf is an object's resourceVersion as the number that Kubernetes guarantees it to be; 0 for anything else, which
// never makes anyone wait.
func revisionOf(o client.Object) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
