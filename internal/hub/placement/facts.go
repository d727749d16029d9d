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

// facts is the fleet as the cache has it, prepared once for all placements that are scheduled before it changes.
type facts struct {
	reader client.Reader

	mu      sync.Mutex
	index   *placement.Index // nil after a change
	version int
	history *placement.History
}

// changed drops the index, after a change of clusters, sets, bindings or scores.
func (f *facts) changed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version++
	f.index = nil
}

// decisions counts all PlacementDecisions. Their watch keeps it current.
func (f *facts) decisions() *placement.History {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.history == nil {
		f.history = placement.NewHistory(nil)
	}
	return f.history
}

// get returns the index of the fleet as it is now. Its objects are those of the cache and must not be changed.
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

// ledger remembers which of our own writes the cache does not show yet, so that a placement is not scheduled again on stale
// pages, and tells our own writes from those of others, so that our own do not schedule the placement again.
//
//	written    the revision that the API server gave an object at our last write
//	observed   the last revision that the watch has shown
//
// A placement waits while one of its objects has a written revision that is newer than the observed one. The watch wakes it, or
// maxWait ends the wait: a watch that was interrupted does not show every revision. After that the cache counts as current, and
// the API server rejects writes that were decided on old pages. The watch may show a write before the API server has answered it:
// while a placement is being scheduled, revisions that look foreign are kept until all answers have come.
// The objects of a placement are its pages, by name, and the placement itself, by the name "".
type ledger struct {
	mu       sync.Mutex
	written  map[types.NamespacedName]map[string]uint64 // placement -> object
	observed map[types.NamespacedName]map[string]uint64
	removed  map[types.NamespacedName]map[string]bool   // pages that we delete, until the watch shows the deletion
	busy     map[types.NamespacedName]map[string]uint64 // placements that are being scheduled, with revisions that looked foreign meanwhile
	waiting  map[types.NamespacedName]time.Time         // the start of the wait
}

// maxWait is how long a placement waits for the watch at most.
const maxWait = 10 * time.Second

// goneRevision stands for the deletion of an object: newer than any write.
const goneRevision = math.MaxUint64

func (l *ledger) wrote(p types.NamespacedName, object string, revision uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note(&l.written, p, object, revision)
	delete(l.removed[p], object)
}

// deleting notes that we are about to delete a page.
func (l *ledger) deleting(p types.NamespacedName, page string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note(&l.removed, p, page, true)
}

// deleted notes that a page which we were about to delete no longer exists, and whether we deleted it. The placement does not wait
// for writes of that page any more.
func (l *ledger) deleted(p types.NamespacedName, page string, byUs bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.written[p], page)
	if !byUs {
		delete(l.removed[p], page)
	}
}

// deletionFailed notes that we have failed to delete a page.
func (l *ledger) deletionFailed(p types.NamespacedName, page string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.removed[p], page)
}

// observe records an event of an object and is true when its placement has to be scheduled: because somebody else wrote or
// deleted the object, or because the placement waits and the cache now shows all of its writes.
func (l *ledger) observe(p types.NamespacedName, object string, revision uint64, gone bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	note(&l.observed, p, object, max(revision, l.observed[p][object]))
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
		return false // end returns it
	}
	_, waits := l.waiting[p]
	return foreign || waits && l.cacheIsCurrent(p)
}

// begin returns how long the placement has to wait for the watch to show our writes: at most, since the watch wakes it. With 0 its
// scheduling begins.
func (l *ledger) begin(p types.NamespacedName, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cacheIsCurrent(p) {
		since, waits := l.waiting[p]
		if !waits {
			if l.waiting == nil {
				l.waiting = map[types.NamespacedName]time.Time{}
			}
			l.waiting[p], since = now, now
		}
		if wait := since.Add(maxWait).Sub(now); wait > 0 {
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

// end is true when somebody else wrote an object of the placement while it was being scheduled.
func (l *ledger) end(p types.NamespacedName) (again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for object, revision := range l.busy[p] {
		again = again || revision > l.written[p][object]
	}
	delete(l.busy, p)
	return again
}

func (l *ledger) cacheIsCurrent(p types.NamespacedName) bool {
	for object, revision := range l.written[p] {
		if l.observed[p][object] < revision {
			return false
		}
	}
	return true
}

func (l *ledger) forget(p types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.written, p)
	delete(l.observed, p)
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

// revisionOf is an object's resourceVersion as a number, which Kubernetes guarantees; 0 for anything else, for which no placement
// waits.
func revisionOf(o client.Object) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
