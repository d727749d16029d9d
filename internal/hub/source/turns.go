package source

import (
	"slices"
	"sync"
)

// How many remotes are asked at a time: in all, and for one namespace, so that remotes of one that answer slowly leave room for those of others.
const (
	maxLooks          = 8
	maxNamespaceLooks = 3
)

// turns says whose turn it is to be asked.
type turns struct {
	mu      sync.Mutex
	running int
	busy    map[string]int // looks that run, by namespace
	waiting []waiting      // in the order in which they came
}

// waiting is a remote that is to be asked, and for whom.
type waiting struct {
	remote     string
	namespaces []string
}

// look is a remote that is being asked, and the namespace for which it counts.
type look struct{ remote, namespace string }

// add has a remote wait for its turn.
func (t *turns) add(remote string, namespaces []string) {
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = append(t.waiting, waiting{remote, namespaces})
}

// next is the remote whose turn it is: the first one of the namespace for which the fewest are asked now.
func (t *turns) next() (look, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == maxLooks {
		return look{}, false
	}
	at, fewest, next := -1, maxNamespaceLooks, look{}
	for i, w := range t.waiting {
		for _, namespace := range w.namespaces {
			if t.busy[namespace] < fewest {
				at, fewest, next = i, t.busy[namespace], look{w.remote, namespace}
			}
		}
		if fewest == 0 {
			break
		}
	}
	if at < 0 {
		return look{}, false
	}
	t.waiting = slices.Delete(t.waiting, at, at+1)
	t.running++
	if t.busy == nil {
		t.busy = map[string]int{}
	}
	t.busy[next.namespace]++
	return next, true
}

// end says that a remote has been asked.
func (t *turns) end(l look) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	if t.busy[l.namespace]--; t.busy[l.namespace] == 0 {
		delete(t.busy, l.namespace)
	}
}
