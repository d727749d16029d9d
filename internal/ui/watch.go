package ui

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// changes wakes those who look whenever the index changes.
type changes struct {
	mu      sync.Mutex
	version uint64
	wake    chan struct{}
}

// Changed says that the index has changed. Informers call it for each event, so it does next to nothing.
func (s *Server) Changed() {
	c := &s.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// next gives the present version, and a channel that is closed when it is no longer the present one.
func (c *changes) next() (uint64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wake == nil {
		c.wake = make(chan struct{})
	}
	return c.version, c.wake
}

// The least time between two events to one person, and how often one that sees no change is sent a comment, so that proxies
// keep the connection.
const (
	eventPeriod = time.Second
	keepAlive   = 20 * time.Second
)

// watch sends an event whenever something has changed, at most one per period. Who gets it asks again for what they look at.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	person, err := s.Access.Person(w, r)
	if err != nil {
		status, message := statusOf(err)
		writeJSON(w, r, status, map[string]string{"message": message})
		return
	}
	if person == nil {
		return
	}
	out := http.NewResponseController(w)
	_ = out.SetWriteDeadline(time.Time{}) // the connection stays; a server without deadlines has none to lift
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	sent, _ := s.changes.next()
	send := func(text string) bool {
		if _, err := fmt.Fprint(w, text); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	if !send(fmt.Sprintf("event: hello\ndata: %d\n\n", sent)) {
		return
	}
	for {
		version, wake := s.changes.next()
		if version != sent {
			if !send(fmt.Sprintf("event: changed\ndata: %d\n\n", version)) {
				return
			}
			sent = version
			select {
			case <-r.Context().Done():
				return
			case <-time.After(eventPeriod + rand.N(eventPeriod/2)): // not all who look ask at the same moment
			}
			continue
		}
		select {
		case <-r.Context().Done():
			return
		case <-wake:
		case <-time.After(keepAlive):
			if !send(": still here\n\n") {
				return
			}
		}
	}
}
