package work_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	workv1 "github.com/muster-io/muster/api/work/v1"
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

// TestRetiredVersion: an object whose version the cluster serves no more is found at another one, to be deleted or left.
func TestRetiredVersion(t *testing.T) {
	s := newSite(t)
	crd := definition()
	version := crd["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
	next := maps.Clone(version)
	next["name"], next["storage"] = "v2", false
	spec := crd["spec"].(map[string]any)
	spec["group"], spec["versions"] = "retired.example.com", []any{version, next}
	crd["metadata"] = map[string]any{"name": "widgets.retired.example.com"}
	if err := s.spoke.Create(t.Context(), &unstructured.Unstructured{Object: runtime.DeepCopyJSON(crd)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.remove(crd) })
	widget := func(version, name string) map[string]any {
		return map[string]any{"apiVersion": "retired.example.com/" + version, "kind": "Widget",
			"metadata": map[string]any{"namespace": s.target, "name": name}}
	}
	kept := s.configMap("kept", nil)
	s.start()
	s.put("web", objects{kept, widget("v1", "leaves"), widget("v1", "stays")})
	s.expectApplied("web")
	s.stop()

	version["served"], version["storage"], next["storage"] = false, false, true
	s.edit(crd, spec["versions"], "spec", "versions")
	s.eventually("the old version is retired", func() error {
		if live := s.live(widget("v1", "leaves")); live != nil {
			return errors.New("it is served still")
		}
		return nil
	})
	if s.live(widget("v2", "leaves")) == nil {
		t.Fatal("the object is not stored: the test proves nothing")
	}
	s.start()
	s.put("web", objects{kept}, deletion(workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeSelectivelyOrphan,
		SelectivelyOrphan: &workv1.SelectivelyOrphan{OrphaningRules: []workv1.OrphaningRule{
			{Group: "retired.example.com", Resource: "widgets", Namespace: s.target, Name: "stays"}}}}))
	s.eventually("the record lets the objects go", func() error {
		if n := len(s.record("web").Status.AppliedResources); n != 1 {
			return fmt.Errorf("it has %d", n)
		}
		return nil
	})
	if s.live(widget("v2", "leaves")) != nil {
		t.Error("the object stays behind")
	}
	if live := s.live(widget("v2", "stays")); live == nil || len(live.GetOwnerReferences()) != 0 {
		t.Errorf("the orphan is %v", live)
	}
}
