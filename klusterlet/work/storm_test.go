package work_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// storm answers requests itself with errors of an API server that is overloaded or starting, two of three, until it is over.
type storm struct {
	next    http.RoundTripper
	over    *atomic.Bool
	count   *atomic.Int64
	answers []int
}

func (s storm) RoundTrip(request *http.Request) (*http.Response, error) {
	n := s.count.Add(1)
	if s.over.Load() || n%3 == 0 {
		return s.next.RoundTrip(request)
	}
	status := s.answers[int(n)%len(s.answers)]
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: request,
		Header: http.Header{"Content-Type": {"text/plain"}, "Retry-After": {"0"}}, Body: io.NopCloser(strings.NewReader("storm"))}, nil
}

// TestStorm: an agent whose API servers answer most requests with 429 and 5xx loses nothing and deletes nothing that is wanted, and
// is where it should be once that ends.
func TestStorm(t *testing.T) {
	s := newSite(t)
	var over atomic.Bool
	var count atomic.Int64
	stormy := func(config *rest.Config) *rest.Config {
		c := rest.CopyConfig(config)
		c.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return storm{next, &over, &count, []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGatewayTimeout}}
		})
		return c
	}
	s.agent.Hub, s.agent.Spoke = stormy(s.agent.Hub), stormy(s.agent.Spoke)
	s.agent.RetryDelay = 100 * time.Millisecond
	stays, goes := s.configMap("stays", map[string]any{"k": "1"}), s.configMap("goes", nil)
	s.put("web", objects{stays, goes}, serverSide(false), mode("Correct"))
	s.start()
	s.expectApplied("web") // in the storm
	uid := s.live(stays).GetUID()
	s.put("web", objects{s.configMap("stays", map[string]any{"k": "2"})}, serverSide(false), mode("Correct"))
	s.expectValue(stays, "2", "data", "k")
	s.expectGone(goes)
	over.Store(true)
	s.expectApplied("web")
	if live := s.live(stays); live == nil || live.GetUID() != uid {
		t.Error("the object was made again")
	}
	if count.Load() < 20 {
		t.Errorf("only %d requests were made", count.Load())
	}
	s.deleteWork("web")
	s.expectWorkGone("web")
	s.expectGone(stays)
}

// TestOwnerDeletedByHand: an AppliedManifestWork that somebody deletes is made again, and what it owned is applied again.
func TestOwnerDeletedByHand(t *testing.T) {
	s := newSite(t)
	s.start()
	c := s.configMap("c", map[string]any{"k": "1"})
	s.put("web", objects{c}, serverSide(false), mode("Correct"))
	s.expectApplied("web")
	record := s.record("web")
	if err := s.spoke.Delete(context.Background(), &workv1.AppliedManifestWork{ObjectMeta: record.ObjectMeta}, client.Preconditions{UID: &record.UID}); err != nil {
		t.Fatal(err)
	}
	s.eventually("another record owns the object", func() error {
		now, live := s.record("web"), s.live(c)
		if now == nil || now.UID == record.UID || live == nil {
			return context.DeadlineExceeded
		}
		for _, owner := range live.GetOwnerReferences() {
			if owner.UID == now.UID {
				return nil
			}
		}
		return context.DeadlineExceeded
	})
	s.expectApplied("web")
}
