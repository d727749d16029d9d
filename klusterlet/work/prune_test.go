package work_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// transport is a function that sends requests.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(request *http.Request) (*http.Response, error) { return t(request) }

// TestPrunedByUID: an object that somebody deletes and makes anew while the agent is about to prune it is another object.
func TestPrunedByUID(t *testing.T) {
	s := newSite(t)
	kept, leaves := s.configMap("kept", map[string]any{"k": "1"}), s.configMap("leaves", map[string]any{"k": "1"})
	var done atomic.Bool
	s.agent.Spoke = rest.CopyConfig(s.agent.Spoke)
	s.agent.Spoke.Wrap(func(to http.RoundTripper) http.RoundTripper {
		return transport(func(request *http.Request) (*http.Response, error) {
			if request.Method == http.MethodDelete && strings.HasSuffix(request.URL.Path, "/leaves") && !done.Swap(true) {
				s.remove(leaves)
				anew := &unstructured.Unstructured{Object: s.configMap("leaves", map[string]any{"k": "a person's"})}
				if err := s.spoke.Create(context.Background(), anew); err != nil {
					t.Error(err)
				}
			}
			return to.RoundTrip(request)
		})
	})
	s.start()
	s.put("web", objects{kept, leaves})
	s.expectApplied("web")
	s.put("web", objects{kept})
	s.eventually("the record lets the object go", func() error {
		for _, entry := range s.record("web").Status.AppliedResources {
			if entry.Name == "leaves" {
				return errors.New("it has it still")
			}
		}
		return nil
	})
	if !done.Load() {
		t.Fatal("nobody has made it anew: the test proves nothing")
	}
	s.expectValue(leaves, "a person's", "data", "k")
}
