package source

import (
	"container/list"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// cacheBytes bounds what a Store remembers of trees and blobs, over all repositories: objects are named by their
// content, so that equal ones of two repositories are one.
const cacheBytes = 64 << 20

// kind keeps what is remembered of one object apart.
type kind byte

const (
	kindTree  kind = iota // []entry
	kindBlob              // []byte
	kindLinks             // []string
)

type cacheKey struct {
	kind kind
	hash plumbing.Hash
}

type cached struct {
	key   cacheKey
	value any
	size  int
}

// cache forgets what was used longest ago when it holds too many bytes. What it gives is shared: never change it.
type cache struct {
	mu    sync.Mutex
	limit int
	size  int
	order *list.List // of *cached, newest first
	items map[cacheKey]*list.Element
}

func newCache(limit int) *cache {
	return &cache{limit: limit, order: list.New(), items: map[cacheKey]*list.Element{}}
}

func (c *cache) get(k kind, h plumbing.Hash) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.items[cacheKey{k, h}]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(element)
	return element.Value.(*cached).value, true
}

func (c *cache) put(k kind, h plumbing.Hash, value any, size int) {
	size += 128 // the bookkeeping
	c.mu.Lock()
	defer c.mu.Unlock()
	key := cacheKey{k, h}
	if _, ok := c.items[key]; ok || size > c.limit/4 {
		return
	}
	c.items[key] = c.order.PushFront(&cached{key, value, size})
	c.size += size
	for c.size > c.limit {
		oldest := c.order.Remove(c.order.Back()).(*cached)
		delete(c.items, oldest.key)
		c.size -= oldest.size
	}
}
