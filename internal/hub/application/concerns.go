package application

import (
	"sync"

	"github.com/muster-io/muster/internal/plan"
)

// concerns remembers which clusters each application was planned for last, so that a cluster that changes wakes those
// applications and no others.
type concerns struct {
	mu sync.Mutex
	of map[string]map[string]bool // application -> clusters
}

// note replaces what is known of one application.
func (c *concerns) note(a *plan.Application) {
	clusters := map[string]bool{}
	for _, planned := range a.Clusters {
		clusters[planned.Name] = true
	}
	for _, f := range a.Faults {
		clusters[f.Cluster] = true // a fault of the whole has no cluster: any may resolve it
	}
	for _, lw := range a.Live() {
		clusters[lw.Cluster] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]map[string]bool{}
	}
	c.of[a.Key()] = clusters
}

func (c *concerns) forget(application string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, application)
}

// has says whether a cluster may matter to an application; of one that was not planned yet, every cluster may.
func (c *concerns) has(application, cluster string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	clusters, known := c.of[application]
	return !known || clusters[""] || clusters[cluster]
}
