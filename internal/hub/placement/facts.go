package placement

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
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
// the pages that it had before.
//
//	written   the revision that our last write of a page gave it
//	seen      the last revision that the watch has shown
//
// A placement with a page whose written is newer than seen waits; the watch wakes it.
type ledger struct {
	mu      sync.Mutex
	written map[types.NamespacedName]map[string]uint64 // placement -> page
	seen    map[types.NamespacedName]map[string]uint64
	waiting map[types.NamespacedName]bool
}

func (l *ledger) wrote(p types.NamespacedName, page *clusterv1beta1.PlacementDecision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note(&l.written, p, page.Name, revisionOf(page))
}

// saw takes in an event of a page and says whether its placement is to be scheduled: because somebody else wrote the page,
// or because the placement waits and now has all of its own writes.
func (l *ledger) saw(p types.NamespacedName, page *clusterv1beta1.PlacementDecision, gone bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	revision := revisionOf(page)
	note(&l.seen, p, page.Name, revision)
	if gone {
		delete(l.written[p], page.Name)
	}
	if gone || revision > l.written[p][page.Name] {
		return true
	}
	return l.waiting[p] && l.caughtUp(p)
}

// ready says whether the watch has shown all of our writes. If not, the placement waits.
func (l *ledger) ready(p types.NamespacedName) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ready := l.caughtUp(p)
	if ready {
		delete(l.waiting, p)
		return true
	}
	if l.waiting == nil {
		l.waiting = map[types.NamespacedName]bool{}
	}
	l.waiting[p] = true
	return false
}

func (l *ledger) caughtUp(p types.NamespacedName) bool {
	for page, revision := range l.written[p] {
		if l.seen[p][page] < revision {
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
	delete(l.waiting, p)
}

func note(in *map[types.NamespacedName]map[string]uint64, p types.NamespacedName, page string, revision uint64) {
	if *in == nil {
		*in = map[types.NamespacedName]map[string]uint64{}
	}
	if (*in)[p] == nil {
		(*in)[p] = map[string]uint64{}
	}
	(*in)[p][page] = max((*in)[p][page], revision)
}

// revisionOf is a page's resourceVersion as the number that Kubernetes guarantees it to be; 0 for anything else, which
// never makes anyone wait.
func revisionOf(page *clusterv1beta1.PlacementDecision) uint64 {
	n, err := strconv.ParseUint(page.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
