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

// meets says that both may be one object. The manifest of an object without a namespace may carry one all the same, which
// the cluster ignores.
func (c claim) meets(other claim) bool {
	return c.kind == other.kind && c.name == other.name &&
		(c.namespace == other.namespace || c.namespace == "" || other.namespace == "")
}

// claims says which works of the hub want an object. Works that are being deleted want nothing.
type claims struct {
	mu     sync.RWMutex
	byName map[claim]map[holding]bool // by kind and name, without the namespace
	byWork map[string][]claim
}

// holding is a claim of a work.
type holding struct {
	work  string
	claim claim
}

func newClaims() *claims {
	return &claims{byName: map[claim]map[holding]bool{}, byWork: map[string][]claim{}}
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
		sameName := claim{kind: old.kind, name: old.name}
		delete(c.byName[sameName], holding{work.Name, old})
		c.collect(others, old)
		if len(c.byName[sameName]) == 0 {
			delete(c.byName, sameName)
		}
	}
	delete(c.byWork, work.Name)
	for _, want := range wanted {
		sameName := claim{kind: want.kind, name: want.name}
		if c.byName[sameName] == nil {
			c.byName[sameName] = map[holding]bool{}
		}
		c.collect(others, want)
		c.byName[sameName][holding{work.Name, want}] = true
	}
	if len(wanted) > 0 {
		c.byWork[work.Name] = wanted
	}
	delete(others, work.Name)
	return sorted(others)
}

func (c *claims) collect(into map[string]bool, of claim) {
	for h := range c.byName[claim{kind: of.kind, name: of.name}] {
		if h.claim.meets(of) {
			into[h.work] = true
		}
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
