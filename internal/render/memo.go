package render

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"sync"

	"github.com/muster-io/muster/internal/fleet"
	"golang.org/x/sync/singleflight"
)

// memo remembers results by key and forgets those that were not asked for longest, so that it stays within its bytes.
type memo struct {
	max    int64
	flight singleflight.Group

	mu      sync.Mutex
	size    int64
	entries map[string]*list.Element
	recent  *list.List // of *entry, most recent first
}

type entry struct {
	key   string
	value any
	fault error
	size  int64
}

// entryOverhead is what an entry costs beyond its content, roughly: key, list element, map slot.
const entryOverhead = 512

func newMemo(max int64) *memo {
	return &memo{max: max, entries: map[string]*list.Element{}, recent: list.New()}
}

// remember gives the value of a key, computing it once however many ask at the same time. A fault that only an author can
// resolve is as much a result as a value; other errors are not remembered.
func remember[T any](m *memo, kind, key string, compute func() (T, int64, error)) (T, error) {
	key = kind + ":" + key
	if e, ok := m.get(key); ok {
		return resultOf[T](e)
	}
	found, _, _ := m.flight.Do(key, func() (any, error) {
		if e, ok := m.get(key); ok {
			return e, nil
		}
		value, size, err := compute()
		e := &entry{key: key, value: value, fault: err, size: size + entryOverhead}
		if f, isFault := fleet.AsFault(err); err == nil || isFault && f.ActionRequiredBy == fleet.User {
			m.mu.Lock()
			m.put(e)
			m.mu.Unlock()
		}
		return e, nil
	})
	return resultOf[T](found.(*entry))
}

func resultOf[T any](e *entry) (T, error) { return e.value.(T), e.fault }

func (m *memo) get(key string) (*entry, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	element, ok := m.entries[key]
	if !ok {
		return nil, false
	}
	m.recent.MoveToFront(element)
	return element.Value.(*entry), true
}

// put keeps an entry; the caller holds the lock.
func (m *memo) put(e *entry) {
	if old, ok := m.entries[e.key]; ok {
		m.remove(old)
	}
	if e.size > m.max {
		return
	}
	m.entries[e.key] = m.recent.PushFront(e)
	m.size += e.size
	for m.size > m.max {
		m.remove(m.recent.Back())
	}
}

// update replaces the value of a key by what follows from the one that is remembered, which is nil if there is none.
func (m *memo) update(key string, next func(earlier any) (value any, size int64)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var earlier any
	if element, ok := m.entries[key]; ok {
		earlier = element.Value.(*entry).value
	}
	value, size := next(earlier)
	m.put(&entry{key: key, value: value, size: size})
}

func (m *memo) remove(element *list.Element) {
	e := m.recent.Remove(element).(*entry)
	delete(m.entries, e.key)
	m.size -= e.size
}

// digestOf hashes parts so that no two lists of parts run together.
func digestOf(parts ...string) string {
	var all []byte
	for _, part := range parts {
		all = append(strconv.AppendInt(all, int64(len(part)), 10), ':')
		all = append(all, part...)
	}
	sum := sha256.Sum256(all)
	return hex.EncodeToString(sum[:])
}
