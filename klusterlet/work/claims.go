package work

import (
	"encoding/json"
	"sort"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// claim identifies an object as a manifest does: by kind.
type claim struct {
	kind            schema.GroupKind
	namespace, name string
}

// claims says which works of the hub want an object. Works that are being deleted want nothing.
type claims struct {
	mu     sync.RWMutex
	byName map[claim]map[string]bool
	byWork map[string][]claim
}

func newClaims() *claims {
	return &claims{byName: map[claim]map[string]bool{}, byWork: map[string][]claim{}}
}

// set replaces what a work claims. It gives the other works that share an object with it, before or now.
func (c *claims) set(work *workv1.ManifestWork) []string {
	var wanted []claim
	if work.DeletionTimestamp.IsZero() {
		wanted = claimsOf(work)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	others := map[string]bool{}
	for _, old := range c.byWork[work.Name] {
		delete(c.byName[old], work.Name)
		c.collect(others, old)
		if len(c.byName[old]) == 0 {
			delete(c.byName, old)
		}
	}
	delete(c.byWork, work.Name)
	for _, want := range wanted {
		if c.byName[want] == nil {
			c.byName[want] = map[string]bool{}
		}
		c.collect(others, want)
		c.byName[want][work.Name] = true
	}
	if len(wanted) > 0 {
		c.byWork[work.Name] = wanted
	}
	delete(others, work.Name)
	return sorted(others)
}

func (c *claims) collect(into map[string]bool, of claim) {
	for name := range c.byName[of] {
		into[name] = true
	}
}

func (c *claims) drop(work string) []string {
	return c.set(&workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Name: work}})
}

// others gives the works besides one that claim an object, sorted.
func (c *claims) others(of claim, work string) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := map[string]bool{}
	c.collect(names, of)
	delete(names, work)
	return sorted(names)
}

func sorted(names map[string]bool) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

func claimsOf(work *workv1.ManifestWork) []claim {
	all := make([]claim, 0, len(work.Spec.Workload.Manifests))
	for _, manifest := range work.Spec.Workload.Manifests {
		var m metav1.PartialObjectMetadata
		if json.Unmarshal(manifest.Raw, &m) == nil {
			all = append(all, claim{m.GroupVersionKind().GroupKind(), m.Namespace, m.Name})
		}
	}
	return all
}
