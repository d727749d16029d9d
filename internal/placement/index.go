package placement

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/fleet"
)

// Index is a World prepared for scheduling many placements in it. It reads the world's objects and never changes them;
// it is safe for concurrent use.
type Index struct {
	now      time.Time
	clusters []*clusterv1.ManagedCluster // by name, those that are being deleted included
	position map[string]int              // cluster name -> index in clusters
	sets     map[string]*clusterv1beta2.ManagedClusterSet
	bound    map[string][]string // namespace -> names of bound sets, existing or not, sorted
	scores   map[string][]*clusterv1alpha1.AddOnPlacementScore
	history  *History
	budget   uint64 // of all expressions of one placement over all clusters

	mu      sync.Mutex
	members map[string][]int          // set -> indices in clusters, ascending; filled on first use
	errors  map[string]error          // set -> why its selector cannot be read
	objects map[int]map[string]any    // cluster as CEL sees it; filled on first use
	claims  map[int]map[string]string // claims by name; filled on first use
}

// NewIndex prepares a world.
func NewIndex(w *fleet.World) *Index {
	return NewIndexWith(w, NewHistory(w.Decisions))
}

// NewIndexWith prepares a world with the history of its decisions: the decisions in the world are not read.
func NewIndexWith(w *fleet.World, history *History) *Index {
	x := &Index{
		now:      w.Time,
		position: make(map[string]int, len(w.Clusters)),
		sets:     make(map[string]*clusterv1beta2.ManagedClusterSet, len(w.ClusterSets)),
		bound:    map[string][]string{},
		scores:   map[string][]*clusterv1alpha1.AddOnPlacementScore{},
		history:  history,
		budget:   celFleetBudget,
		members:  map[string][]int{},
		errors:   map[string]error{},
		objects:  map[int]map[string]any{},
		claims:   map[int]map[string]string{},
	}
	x.clusters = sortedClusters(w.Clusters)
	for i, c := range x.clusters {
		x.position[c.Name] = i
	}
	for i := range w.ClusterSets {
		x.sets[w.ClusterSets[i].Name] = &w.ClusterSets[i]
	}
	for i := range w.Bindings {
		b := &w.Bindings[i]
		x.bound[b.Namespace] = append(x.bound[b.Namespace], b.Name)
	}
	for ns := range x.bound {
		slices.Sort(x.bound[ns])
		x.bound[ns] = slices.Compact(x.bound[ns])
	}
	for i := range w.Scores {
		s := &w.Scores[i]
		x.scores[s.Namespace] = append(x.scores[s.Namespace], s)
	}
	return x
}

func sortedClusters(list []clusterv1.ManagedCluster) []*clusterv1.ManagedCluster {
	clusters := make([]*clusterv1.ManagedCluster, len(list))
	for i := range list {
		clusters[i] = &list[i]
	}
	byName := func(a, b *clusterv1.ManagedCluster) int { return cmp.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(clusters, byName) {
		slices.SortFunc(clusters, byName)
	}
	return clusters
}

// score finds an AddOnPlacementScore of a cluster, or nil.
func (x *Index) score(cluster, name string) *clusterv1alpha1.AddOnPlacementScore {
	for _, s := range x.scores[cluster] {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// object is a cluster as CEL sees it: its JSON form, made once.
func (x *Index) object(i int) (map[string]any, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if o, ok := x.objects[i]; ok {
		return o, nil
	}
	o, err := runtime.DefaultUnstructuredConverter.ToUnstructured(x.clusters[i])
	if err != nil {
		return nil, err
	}
	x.objects[i] = o
	return o, nil
}

// claimsOf are the claims of a cluster by name, made once.
func (x *Index) claimsOf(i int) map[string]string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if m, ok := x.claims[i]; ok {
		return m
	}
	m := claimMap(x.clusters[i])
	x.claims[i] = m
	return m
}

func claimMap(cluster *clusterv1.ManagedCluster) map[string]string {
	m := make(map[string]string, len(cluster.Status.ClusterClaims))
	for _, claim := range cluster.Status.ClusterClaims {
		m[claim.Name] = claim.Value
	}
	return m
}
