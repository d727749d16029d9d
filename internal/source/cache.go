package source

import (
	"container/list"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// cacheBytes bounds the cache of trees and blobs of all repositories of a Store. Objects are named by their content: equal objects
// of two repositories share an entry.
const cacheBytes = 64 << 20

// kind separates the values that are cached of one object.
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

// cache removes the values that were used longest ago when it holds too many bytes. Its values are shared: never change them.
type cache struct {
	mu     sync.Mutex
	limit  int
	size   int
	recent *list.List // of *cached, newest first
	items  map[cacheKey]*list.Element
}

func newCache(limit int) *cache {
	return &cache{limit: limit, recent: list.New(), items: map[cacheKey]*list.Element{}}
}

func (c *cache) get(k kind, h plumbing.Hash) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.items[cacheKey{k, h}]
	if !ok {
		return nil, false
	}
	c.recent.MoveToFront(element)
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
	c.items[key] = c.recent.PushFront(&cached{key, value, size})
	c.size += size
	for c.size > c.limit {
		oldest := c.recent.Remove(c.recent.Back()).(*cached)
		delete(c.items, oldest.key)
		c.size -= oldest.size
	}
}
