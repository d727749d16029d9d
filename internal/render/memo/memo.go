// Package memo remembers what was computed, within bounds of memory.
package memo

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"sync"

	"github.com/muster-io/muster/internal/fleet"
	"golang.org/x/sync/singleflight"
)

// Memo remembers results by key and forgets those that were not asked for longest, so that it stays within its bytes.
type Memo struct {
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

// EntryOverhead is what an entry costs beyond its content, in bytes, roughly: key, list element, map slot.
const EntryOverhead = 512

// New makes a Memo that keeps at most about max bytes.
func New(max int64) *Memo {
	return &Memo{max: max, entries: map[string]*list.Element{}, recent: list.New()}
}

// Remember gives the value of a key, computing it once however many ask at the same time. A fault that only an author can
// resolve is as much a result as a value; other errors are not remembered.
func Remember[T any](m *Memo, kind, key string, compute func() (T, int64, error)) (T, error) {
	key = kind + ":" + key
	if e, ok := m.get(key); ok {
		return resultOf[T](e)
	}
	found, _, _ := m.flight.Do(key, func() (any, error) {
		if e, ok := m.get(key); ok {
			return e, nil
		}
		value, size, err := compute()
		e := &entry{key: key, value: value, fault: err, size: size + EntryOverhead}
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

func (m *Memo) get(key string) (*entry, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	element, ok := m.entries[key]
	if !ok {
		return nil, false
	}
	m.recent.MoveToFront(element)
	return element.Value.(*entry), true
}

// Size of what is remembered, in bytes, roughly.
func (m *Memo) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size
}

// put keeps an entry; the caller holds the lock.
func (m *Memo) put(e *entry) {
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

// Get gives a value that Update has put under a key.
func (m *Memo) Get(key string) (value any, ok bool) {
	e, ok := m.get(key)
	if !ok {
		return nil, false
	}
	return e.value, true
}

// Once computes a value that is not remembered: those who ask for one key at the same time get the same one.
func (m *Memo) Once(key string, compute func() any) any {
	value, _, _ := m.flight.Do(key, func() (any, error) { return compute(), nil })
	return value
}

// Update replaces the value of a key by what follows from the one that is remembered, which is nil if there is none.
func (m *Memo) Update(key string, next func(earlier any) (value any, size int64)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var earlier any
	if element, ok := m.entries[key]; ok {
		earlier = element.Value.(*entry).value
	}
	value, size := next(earlier)
	m.put(&entry{key: key, value: value, size: size})
}

func (m *Memo) remove(element *list.Element) {
	e := m.recent.Remove(element).(*entry)
	delete(m.entries, e.key)
	m.size -= e.size
}

// Digest hashes parts so that no two lists of parts run together.
func Digest(parts ...string) string {
	var all []byte
	for _, part := range parts {
		all = append(strconv.AppendInt(all, int64(len(part)), 10), ':')
		all = append(all, part...)
	}
	sum := sha256.Sum256(all)
	return hex.EncodeToString(sum[:])
}
