package test

import (
	"context"
	"sync"
	"testing"

	"github.com/muster-io/muster/internal/controlplane"
)

// Pool has control planes for tests that need one of their own, such as one that runs a hub. A test borrows one; when the test ends,
// what it left there is removed, and the next test borrows the same one. To start an API server and to install the kinds takes
// seconds of processor time, to clean up takes a fraction of one. Tests that run in parallel have different ones.
//
//	var hubs = test.Pool{Prepare: func(ctx context.Context, cp *controlplane.ControlPlane) error { return install.Hub(ctx, cp.Config()) }}
//
//	cp := hubs.Borrow(t)
type Pool struct {
	Options controlplane.Options // Name, Controllers and Workloads are used
	// Prepare puts on each new control plane what stays there for all tests. It may be nil.
	Prepare func(context.Context, *controlplane.ControlPlane) error

	// Size is how many there are at most; a test waits for one that is not borrowed. Zero is no bound.
	Size int

	once sync.Once
	free chan struct{} // an element for each that may be borrowed; nil without a bound
	mu   sync.Mutex
	idle []*pooled
}

// pooled is a control plane and what was on it before the first test.
type pooled struct {
	*controlplane.ControlPlane
	content *content
}

// Borrow is a control plane that no other test uses until this one ends. Whatever writes to it must have stopped by then, so that
// it is borrowed before the cleanup functions that stop them are registered. After a test that failed it is not used again.
func (p *Pool) Borrow(t testing.TB) *controlplane.ControlPlane {
	t.Helper()
	t.Cleanup(p.wait())
	cp := p.reuse()
	if cp == nil {
		var err error
		if cp, err = p.start(context.Background()); err != nil {
			t.Fatalf("start a control plane for the test: %v", err)
		}
	}
	t.Cleanup(func() {
		if !t.Failed() {
			err := cp.content.restore(context.Background())
			if err == nil {
				p.put(cp)
				return
			}
			t.Logf("control plane %s cannot be cleaned up for another test: %v", cp.Name(), err)
		}
		if err := shared.stopOne(cp.ControlPlane); err != nil {
			t.Errorf("stop control plane %s: %v", cp.Name(), err)
		}
	})
	return cp.ControlPlane
}

// wait returns when one more control plane may be borrowed, with what says that it is not any more.
func (p *Pool) wait() (done func()) {
	p.once.Do(func() {
		if p.Size > 0 {
			p.free = make(chan struct{}, p.Size)
		}
	})
	if p.free == nil {
		return func() {}
	}
	p.free <- struct{}{}
	return func() { <-p.free }
}

func (p *Pool) reuse() *pooled {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	last := len(p.idle) - 1
	cp := p.idle[last]
	p.idle = p.idle[:last]
	return cp
}

func (p *Pool) put(cp *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, cp)
}

// start starts one more control plane, which [Main] stops.
func (p *Pool) start(ctx context.Context) (*pooled, error) {
	cp, err := shared.startOwn(p.Options)
	if err != nil {
		return nil, err
	}
	shared.add(cp)
	if p.Prepare != nil {
		if err := p.Prepare(ctx, cp); err != nil {
			return nil, err
		}
	}
	content, err := contentOf(ctx, cp.Config())
	if err != nil {
		return nil, err
	}
	return &pooled{cp, content}, nil
}
