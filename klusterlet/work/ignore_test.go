package work_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// change edits a live object as a person would.
func (s *site) change(o map[string]any, edit func(live map[string]any)) {
	s.Helper()
	s.eventually("edit", func() error {
		live := s.live(o)
		edit(live.Object)
		return s.spoke.Update(context.Background(), live, client.FieldOwner("kubectl-edit"))
	})
}

// web is a Deployment with lists of every kind: keyed by a name, keyed by a port, and replaced as one value.
func (s *site) web() map[string]any {
	d := s.deployment("web", 1)
	d["metadata"].(map[string]any)["annotations"] = map[string]any{"example.com/a": "1", "example.com/b": "1"}
	pod := podOf(d)
	pod["tolerations"] = []any{
		map[string]any{"key": "first", "operator": "Exists"},
		map[string]any{"key": "second", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": int64(1)},
	}
	container := containerOf(d)
	container["args"] = []any{"one", "two"}
	container["env"] = []any{map[string]any{"name": "A", "value": "1"}, map[string]any{"name": "X", "value": "1"}}
	container["ports"] = []any{map[string]any{"containerPort": int64(80), "name": "http"}, map[string]any{"containerPort": int64(81), "name": "other"}}
	return d
}

func podOf(deployment map[string]any) map[string]any {
	return deployment["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
}

func containerOf(deployment map[string]any) map[string]any {
	return podOf(deployment)["containers"].([]any)[0].(map[string]any)
}

// named gives a list as a map, by one field of its items.
func named(list any, key, value string) map[string]string {
	items := map[string]string{}
	all, _ := list.([]any)
	for _, item := range all {
		m := item.(map[string]any)
		items[fmt.Sprint(m[key])] = fmt.Sprint(m[value])
	}
	return items
}

func environment(d map[string]any) map[string]string {
	return named(containerOf(d)["env"], "name", "value")
}

// setNamed changes one field of the item that a key names.
func setNamed(list any, key string, is any, field string, value any) {
	for _, item := range list.([]any) {
		if m := item.(map[string]any); m[key] == is {
			m[field] = value
		}
	}
}

// ignoreCase is one rule, an edit of what it names, and what has to be left of it after the rest of the manifest changed.
type ignoreCase struct {
	rule workv1.IgnoreField
	edit func(live map[string]any)
	look func(live map[string]any) any
	want any
	why  string
}

func jq(expression string) workv1.IgnoreField {
	return workv1.IgnoreField{JQPathExpressions: []string{expression}}
}

func jsonPath(path string) workv1.IgnoreField { return workv1.IgnoreField{JSONPaths: []string{path}} }

func pointer(p string) workv1.IgnoreField { return workv1.IgnoreField{JSONPointers: []string{p}} }

func ignoreCases() map[string]ignoreCase {
	const item, container = `.spec.template.spec.containers[] | select(.name == "web") | .env[] | select(.name == "X")`, ".spec.template.spec.containers"
	setX := func(live map[string]any) { setNamed(containerOf(live)["env"], "name", "X", "value", "9") }
	env := func(live map[string]any) any { return environment(live) }
	nothing := func(map[string]any) {}
	both := map[string]string{"A": "1", "X": "1"}
	edited := map[string]string{"A": "1", "X": "9"}
	return map[string]ignoreCase{
		"jq, item that nobody changed":           {jq(item), nothing, env, both, "only we hold its key: it would be deleted"},
		"jq, item of which the value is changed": {jq(item), setX, env, edited, "we hold the key and another manager the value"},
		"jq, item that was removed": {jq(item), func(live map[string]any) {
			containerOf(live)["env"] = containerOf(live)["env"].([]any)[:1]
		}, env, map[string]string{"A": "1"}, "its absence is what the cluster wants"},
		"jq, item by the start of its name": {jq(container + `[].env[] | select(.name | startswith("X"))`), setX, env, edited, "all of jq is allowed"},
		"jq, two paths":                     {jq(container + `[].env[1], ` + container + `[].args`), setX, env, edited, "a comma is allowed inside del()"},
		"JSON path, item":                   {jsonPath(container + `[?(@.name=="web")].env[?(@.name=="X")]`), setX, env, edited, "a JSON path selects items too"},
		"JSON path, item by position":       {jsonPath(container + `[0].env[1]`), setX, env, edited, "a position is one in the manifest"},
		"JSON path, every item":             {jsonPath(container + `[*].env[*]`), setX, env, edited, ""},
		"pointer, item":                     {pointer("/spec/template/spec/containers/0/env/1"), setX, env, edited, ""},
		"pointer, whole list with an item more": {pointer("/spec/template/spec/containers/0/env"), func(live map[string]any) {
			setX(live)
			containerOf(live)["env"] = append(containerOf(live)["env"].([]any), map[string]any{"name": "B", "value": "2"})
		}, env, map[string]string{"A": "1", "X": "9", "B": "2"}, "each item of a list is held apart"},
		"jq, item with two keys": {jq(container + `[].ports[] | select(.containerPort == 80)`), func(live map[string]any) {
			setNamed(containerOf(live)["ports"], "containerPort", int64(80), "name", "edited")
		}, func(live map[string]any) any { return named(containerOf(live)["ports"], "containerPort", "name") },
			map[string]string{"80": "edited", "81": "other"}, "the merge key is port and protocol, and the manifest leaves the protocol to its default"},
		"jq, list that is one value": {jq(container + `[].args`), func(live map[string]any) {
			containerOf(live)["args"] = []any{"one", "edited"}
		}, func(live map[string]any) any { return containerOf(live)["args"] }, []any{"one", "edited"}, ""},
		"jq, item of a list that is one value": {jq(`.spec.template.spec.tolerations[] | select(.key == "second")`), func(live map[string]any) {
			setNamed(podOf(live)["tolerations"], "key", "second", "tolerationSeconds", int64(9))
		}, func(live map[string]any) any { return named(podOf(live)["tolerations"], "key", "tolerationSeconds") },
			map[string]string{"first": "<nil>", "second": "9"}, "the list is applied as one value: the live item stands in it"},
		"pointer, map entry": {pointer("/metadata/annotations/example.com~1b"), func(live map[string]any) {
			annotate(live, map[string]string{"example.com/a": "1", "example.com/b": "9"})
		}, annotations, map[string]string{"a": "1", "b": "9"}, ""},
		"pointer, whole map": {pointer("/metadata/annotations"), func(live map[string]any) {
			annotate(live, map[string]string{"example.com/a": "1", "example.com/b": "9", "example.com/c": "2"})
		}, annotations, map[string]string{"a": "1", "b": "9", "c": "2"}, "each entry is held apart"},
		"jq, whole container": {jq(container + `[] | select(.name == "web")`), setX, env, edited, "an item deep in which somebody changed something"},
	}
}

func annotate(live map[string]any, values map[string]string) {
	for key, value := range values {
		_ = unstructured.SetNestedField(live, value, "metadata", "annotations", key)
	}
}

func annotations(live map[string]any) any {
	found := map[string]string{}
	for key, value := range (&unstructured.Unstructured{Object: live}).GetAnnotations() {
		if len(key) == len("example.com/a") && key[:12] == "example.com/" {
			found[key[12:]] = value
		}
	}
	return found
}

// TestIgnoredStays: what a rule names stays as the cluster has it when the rest of the manifest changes, and when drift of the
// rest is corrected.
func TestIgnoredStays(t *testing.T) {
	for name, c := range ignoreCases() {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.start()
			c.rule.Condition = workv1.IgnoreFieldsConditionOnSpokePresent
			d := s.web()
			s.put("web", objects{d}, serverSide(true, c.rule), mode("Correct"))
			s.expectApplied("web")
			s.change(d, c.edit)
			for i := int64(7); i <= 8; i++ { // twice: what the first apply gave up may go with the second
				_ = unstructured.SetNestedField(d, i, "spec", "minReadySeconds")
				s.put("web", objects{d}, serverSide(true, c.rule), mode("Correct"))
				s.expectValue(d, i, "spec", "minReadySeconds")
				s.expectApplied("web")
				if diff := cmp.Diff(c.want, c.look(s.live(d).Object)); diff != "" {
					t.Errorf("%s\n%s", c.why, diff)
				}
			}
			s.edit(d, int64(99), "spec", "minReadySeconds")
			s.expectValue(d, 8, "spec", "minReadySeconds")
			if diff := cmp.Diff(c.want, c.look(s.live(d).Object)); diff != "" {
				t.Errorf("after a correction: %s\n%s", c.why, diff)
			}
			s.expectManifest("web", 0, "Drift", func(c metav1.Condition, _ workv1.ManifestCondition) error {
				if c.Status != metav1.ConditionFalse {
					return fmt.Errorf("is %s: %s", c.Status, c.Message)
				}
				if strings.Count(c.Message, " was ") != 1 || !strings.HasPrefix(c.Message, "spec.minReadySeconds") {
					t.Errorf("what is ignored is reported: %s", c.Message)
				}
				return nil
			})
		})
	}
}

// TestIgnoredUntilTheManifestChanges: under OnSpokeChange the cluster's changes stay until the manifest changes, also where
// drift of another field is corrected.
func TestIgnoredUntilTheManifestChanges(t *testing.T) {
	for name, c := range ignoreCases() {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.start()
			c.rule.Condition = workv1.IgnoreFieldsConditionOnSpokeChange
			d := s.web()
			s.put("web", objects{d}, serverSide(true, c.rule), mode("Correct"))
			s.expectApplied("web")
			s.change(d, c.edit)
			s.edit(d, int64(99), "spec", "minReadySeconds")
			s.edit(d, int64(9), "spec", "replicas")
			s.expectValue(d, 1, "spec", "replicas")
			if diff := cmp.Diff(c.want, c.look(s.live(d).Object)); diff != "" {
				t.Errorf("after a correction: %s\n%s", c.why, diff)
			}
			_ = unstructured.SetNestedField(d, int64(5), "spec", "minReadySeconds")
			s.put("web", objects{d}, serverSide(true, c.rule), mode("Correct"))
			s.expectValue(d, 5, "spec", "minReadySeconds")
			s.eventually("the manifest is applied as it is", func() error {
				live := s.live(d).Object
				for field, want := range map[string]string{"A": "1", "X": "1"} {
					if have := environment(live)[field]; have != want {
						return fmt.Errorf("%s is %q", field, have)
					}
				}
				return nil
			})
		})
	}
}

// TestCorrectionIsTriedAgain: a correction that fails, or whose object cannot be read, is tried again, although the object carries the mark
// of its manifest: nothing is called healed that was not written.
func TestCorrectionIsTriedAgain(t *testing.T) {
	for name, fails := range map[string]func(*http.Request) bool{
		"the write": func(r *http.Request) bool { return r.Method == http.MethodPatch && r.URL.Query().Get("dryRun") == "" },
		"the read":  func(r *http.Request) bool { return r.Method == http.MethodGet },
		"the dry run": func(r *http.Request) bool {
			return r.Method == http.MethodPatch && r.URL.Query().Get("dryRun") != ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.agent.ResyncInterval = time.Hour
			var left atomic.Int32
			s.agent.Spoke = rest.CopyConfig(s.agent.Spoke)
			s.agent.Spoke.Wrap(func(next http.RoundTripper) http.RoundTripper {
				return roundTrip(func(r *http.Request) (*http.Response, error) {
					if strings.HasSuffix(r.URL.Path, "/deployments/web") && fails(r) && left.Add(-1) >= 0 {
						return nil, errors.New("connection reset by peer")
					}
					return next.RoundTrip(r)
				})
			})
			s.start()
			d := s.web()
			rule := workv1.IgnoreField{Condition: workv1.IgnoreFieldsConditionOnSpokeChange, JSONPaths: []string{".spec.minReadySeconds"}}
			s.put("web", objects{d}, serverSide(true, rule), mode("Correct"))
			s.expectApplied("web")
			left.Store(1)
			s.edit(d, int64(9), "spec", "replicas")
			s.expectValue(d, 1, "spec", "replicas")
			if left.Load() > 0 {
				t.Error("no request has failed: nothing was tried")
			}
		})
	}
}
