package work_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/test"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

func test1(t testing.TB) *controlplane.ControlPlane { return test.Clusters(t, 1)[0] }

// line is a connection to an API server that can be cut, and that can go silent.
type line struct {
	config *rest.Config

	mu     sync.Mutex
	down   bool
	silent chan struct{} // closed when the line carries again; nil while it does
	calls  map[net.Conn]bool
}

func newLine(t testing.TB, to *rest.Config) *line {
	t.Helper()
	u, err := url.Parse(to.Host)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{config: rest.CopyConfig(to), calls: map[net.Conn]bool{}}
	l.config.Host = "https://" + listener.Addr().String()
	l.config.ServerName = u.Hostname()
	t.Cleanup(func() { listener.Close(); l.mend(); l.cut() })
	go func() {
		for {
			here, err := listener.Accept()
			if err != nil {
				return
			}
			go l.call(here, u.Host)
		}
	}()
	return l
}

func (l *line) call(here net.Conn, to string) {
	defer here.Close()
	there, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer there.Close()
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		return
	}
	l.calls[here] = true
	l.mu.Unlock()
	go func() { l.carry(there, here); there.Close() }()
	l.carry(here, there)
	l.mu.Lock()
	delete(l.calls, here)
	l.mu.Unlock()
}

// carry copies what comes, and holds it back while the line is silent.
func (l *line) carry(to io.Writer, from io.Reader) {
	part := make([]byte, 32<<10)
	for {
		n, err := from.Read(part)
		l.mu.Lock()
		silent := l.silent
		l.mu.Unlock()
		if silent != nil {
			<-silent
		}
		if n > 0 {
			if _, err := to.Write(part[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// stall leaves the connections open and carries nothing.
func (l *line) stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = make(chan struct{})
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for c := range l.calls {
		c.Close()
	}
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
	if l.silent != nil {
		close(l.silent)
		l.silent = nil
	}
}

// watchWork gives every version of a work from now on.
func (s *site) watchWork(name string) <-chan *workv1.ManifestWork {
	s.Helper()
	w, ok := s.hub.(client.WithWatch)
	if !ok {
		s.Fatal("the client cannot watch")
	}
	events, err := w.Watch(context.Background(), &workv1.ManifestWorkList{}, client.InNamespace(s.namespace))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(events.Stop)
	works := make(chan *workv1.ManifestWork)
	done := make(chan struct{})
	s.Cleanup(func() { close(done) })
	go func() {
		for e := range events.ResultChan() {
			if work, ok := e.Object.(*workv1.ManifestWork); ok && work.Name == name {
				select {
				case works <- work:
				case <-done:
					return
				}
			}
		}
	}()
	return works
}

// expectSeen waits for a version of a work that f wants. It may be gone again a moment later.
func (s *site) expectSeen(works <-chan *workv1.ManifestWork, what string, f func(*workv1.ManifestWork) bool) {
	s.Helper()
	deadline := time.After(patience)
	for {
		select {
		case w, open := <-works:
			if !open {
				s.Fatalf("the watch ended before it saw %s", what)
			}
			if f(w) {
				return
			}
		case <-deadline:
			s.Fatalf("never seen: %s", what)
		}
	}
}

func condition(w *workv1.ManifestWork, ordinal int, kind string) *metav1.Condition {
	if len(w.Status.ResourceStatus.Manifests) <= ordinal {
		return nil
	}
	return meta.FindStatusCondition(w.Status.ResourceStatus.Manifests[ordinal].Conditions, kind)
}
