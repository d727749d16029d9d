package hub

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Precedence lets deliveries go first: other writers of the same hub wait while a commit is planned and while works are being written.
// The zero value is ready, and nil delivers nothing.
type Precedence struct {
	inFlight atomic.Int64
	ended    atomic.Int64 // of the last one, in nanoseconds since 1970
}

const (
	// deliveryPause is how long nothing of a delivery has gone on when it counts as over.
	deliveryPause = 50 * time.Millisecond
	// longestWait is how long one write of others waits at most, so that a delivery without an end does not keep them out.
	longestWait = time.Second
)

// Wrap counts the writes of works that go through a transport.
func (p *Precedence) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet || !strings.Contains(r.URL.Path, "/manifestworks") {
			return next.RoundTrip(r)
		}
		defer p.Deliver()()
		return next.RoundTrip(r)
	})
}

// Deliver counts a part of a delivery, such as planning a commit, until the returned function is called.
func (p *Precedence) Deliver() (done func()) {
	if p == nil {
		return func() {}
	}
	p.inFlight.Add(1)
	return func() {
		p.ended.Store(time.Now().UnixNano())
		p.inFlight.Add(-1)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Wait returns when nothing is being delivered, after a second at the latest, or when the context ends.
func (p *Precedence) Wait(ctx context.Context) {
	if p == nil || !p.busy() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, longestWait)
	defer cancel()
	ticker := time.NewTicker(deliveryPause / 5)
	defer ticker.Stop()
	for p.busy() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (p *Precedence) busy() bool {
	return p.inFlight.Load() > 0 || time.Now().UnixNano()-p.ended.Load() < int64(deliveryPause)
}
