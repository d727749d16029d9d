package placement

import (
	"sync"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// History is what placements have chosen: Steady and NoSelectIfNew use a placement's own decisions, Balance those of all
// others. It changes page by page and is safe for concurrent use.
type History struct {
	mu     sync.RWMutex
	counts map[string]int            // cluster -> decisions of all placements
	chosen map[string]map[string]int // namespace/placement -> cluster -> pages that name it
	pages  map[string]pageInHistory  // namespace/name of the page
}

type pageInHistory struct {
	placement string // namespace/name
	clusters  []string
}

// NewHistory counts decisions.
func NewHistory(decisions []clusterv1beta1.PlacementDecision) *History {
	h := &History{counts: map[string]int{}, chosen: map[string]map[string]int{}, pages: map[string]pageInHistory{}}
	for i := range decisions {
		h.Set(&decisions[i])
	}
	return h
}

// Set replaces a page.
func (h *History) Set(d *clusterv1beta1.PlacementDecision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := d.Namespace + "/" + d.Name
	h.forget(key)
	page := pageInHistory{placement: d.Namespace + "/" + d.Labels[clusterv1beta1.PlacementLabel], clusters: clusterNames(d)}
	h.pages[key] = page
	if h.chosen[page.placement] == nil {
		h.chosen[page.placement] = map[string]int{}
	}
	for _, c := range page.clusters {
		h.counts[c]++
		h.chosen[page.placement][c]++
	}
}

// Forget drops a deleted page.
func (h *History) Forget(namespace, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(namespace + "/" + name)
}

func (h *History) forget(key string) {
	page, ok := h.pages[key]
	if !ok {
		return
	}
	delete(h.pages, key)
	for _, c := range page.clusters {
		decrement(h.counts, c)
		decrement(h.chosen[page.placement], c)
	}
	if len(h.chosen[page.placement]) == 0 {
		delete(h.chosen, page.placement)
	}
}

func decrement(counts map[string]int, key string) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}

// of are the clusters that a placement has chosen.
func (h *History) of(p *clusterv1beta1.Placement) map[string]bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	own := h.chosen[p.Namespace+"/"+p.Name]
	set := make(map[string]bool, len(own))
	for c := range own {
		set[c] = true
	}
	return set
}

// others counts, for each candidate, the decisions of all other placements, and gives the largest count that any cluster
// of the fleet has.
func (h *History) others(p *clusterv1beta1.Placement, candidates []candidate) (counts []int, most int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	own := h.chosen[p.Namespace+"/"+p.Name]
	for name, n := range h.counts {
		most = max(most, n-own[name])
	}
	counts = make([]int, len(candidates))
	for i := range candidates {
		name := candidates[i].cluster.Name
		counts[i] = h.counts[name] - own[name]
	}
	return counts, most
}
