package drift_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/internal/drift"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

var (
	edited = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	looked = time.Date(2026, 11, 22, 10, 0, 5, 0, time.UTC)
)

// applied is an object as Muster left it; the entry of managedFields says what it holds.
const applied = `
apiVersion: apps/v1
kind: Deployment
metadata:
  namespace: shop
  name: web
  labels: {app.kubernetes.io/name: web, theirs: "1"}
  managedFields:
  - manager: work-agent-1
    operation: Apply
    time: "2026-11-22T09:00:00Z"
    fieldsV1:
      f:metadata: {f:labels: {"f:app.kubernetes.io/name": {}}}
      f:spec:
        f:replicas: {}
        f:template: {f:spec: {f:containers: {'k:{"name":"web"}': {.: {}, f:name: {}, f:image: {}, f:args: {}}}}}
  - manager: kubectl-edit
    operation: Update
    time: "2026-11-22T10:00:00Z"
    fieldsV1:
      f:metadata: {f:labels: {f:theirs: {}}}
      f:spec: {f:replicas: {}, f:template: {f:spec: {f:containers: {'k:{"name":"web"}': {f:image: {}}}}}}
  - manager: older
    operation: Update
    time: "2026-11-22T08:00:00Z"
    fieldsV1: {f:spec: {f:replicas: {}}}
spec:
  replicas: 3
  template: {spec: {containers: [{name: web, image: "web:1", args: [a, b]}]}}
`

const secret = `
apiVersion: v1
kind: Secret
metadata:
  namespace: shop
  name: key
  annotations: {kubectl.kubernetes.io/last-applied-configuration: s3cret-copy}
  labels: {a: b}
  managedFields:
  - manager: work-agent-1
    operation: Apply
    fieldsV1:
      f:metadata: {f:annotations: {"f:kubectl.kubernetes.io/last-applied-configuration": {}}, f:labels: {f:a: {}}}
      f:data: {f:password: {}}
      f:type: {}
type: Opaque
data: {password: s3cret}
`

func TestCompare(t *testing.T) {
	long := strings.Repeat("é", 200)
	for name, row := range map[string]struct {
		object string
		edit   func(map[string]any)
		want   []drift.Record
		why    string
	}{
		"nothing": {object: applied, edit: func(map[string]any) {}, why: "the same object twice"},
		"foreign field": {object: applied, why: "a label that we do not hold is theirs",
			edit: func(o map[string]any) { at(o, "metadata", "labels")["theirs"] = "2" }},
		"value": {object: applied, why: "the latest holder of the path is named",
			edit: func(o map[string]any) { at(o, "spec")["replicas"] = int64(5) },
			want: []drift.Record{{Path: "spec.replicas", Was: "3", Is: "5", Manager: "kubectl-edit", Operation: "Update", Time: edited}}},
		"field of a list's item": {object: applied, why: "items are found by their key",
			edit: func(o map[string]any) { containers(o)[0].(map[string]any)["image"] = "web:2" },
			want: []drift.Record{{Path: "spec.template.spec.containers[name=web].image", Was: `"web:1"`, Is: `"web:2"`,
				Manager: "kubectl-edit", Operation: "Update", Time: edited}}},
		"removed field": {object: applied, why: "nobody holds what is not there",
			edit: func(o map[string]any) { delete(at(o, "metadata", "labels"), "app.kubernetes.io/name") },
			want: []drift.Record{{Path: `metadata.labels["app.kubernetes.io/name"]`, Was: `"web"`, Is: drift.Absent, Manager: drift.Unknown, Time: looked}}},
		"removed item": {object: applied, why: "told once, not for every field below",
			edit: func(o map[string]any) { at(o, "spec", "template", "spec")["containers"] = []any{} },
			want: []drift.Record{{Path: "spec.template.spec.containers[name=web]", Was: `{"args":["a","b"],"image":"web:1","name":"web"}`,
				Is: drift.Absent, Manager: drift.Unknown, Time: looked}}},
		"atomic list": {object: applied, why: "a list that is held whole is compared whole",
			edit: func(o map[string]any) { containers(o)[0].(map[string]any)["args"] = []any{"a"} },
			want: []drift.Record{{Path: "spec.template.spec.containers[name=web].args", Was: `["a","b"]`, Is: `["a"]`, Manager: drift.Unknown, Time: looked}}},
		"long value": {object: applied, why: "cut between characters",
			edit: func(o map[string]any) { containers(o)[0].(map[string]any)["image"] = long },
			want: []drift.Record{{Path: "spec.template.spec.containers[name=web].image", Was: `"web:1"`, Is: `"` + strings.Repeat("é", 48) + "…",
				Manager: "kubectl-edit", Operation: "Update", Time: edited}}},
		"secret": {object: secret, why: "a value of a Secret, and kubectl's copy of it, stay on the cluster",
			edit: func(o map[string]any) {
				at(o, "data")["password"] = "other"
				at(o, "metadata", "annotations")["kubectl.kubernetes.io/last-applied-configuration"] = "other-copy"
				at(o, "metadata", "labels")["a"] = "c"
				o["type"] = "other"
			},
			want: []drift.Record{
				{Path: "data.password", Was: drift.Redacted, Is: drift.Redacted, Manager: drift.Unknown, Time: looked},
				{Path: `metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]`, Was: drift.Redacted, Is: drift.Redacted, Manager: drift.Unknown, Time: looked},
				{Path: "metadata.labels.a", Was: `"b"`, Is: `"c"`, Manager: drift.Unknown, Time: looked},
				{Path: "type", Was: `"Opaque"`, Is: `"other"`, Manager: drift.Unknown, Time: looked}}},
		"secret without data": {object: secret, why: "a removed key is named, its value is not",
			edit: func(o map[string]any) { delete(o, "data") },
			want: []drift.Record{{Path: "data.password", Was: drift.Redacted, Is: drift.Absent, Manager: drift.Unknown, Time: looked}}},
	} {
		t.Run(name, func(t *testing.T) {
			is := parse(t, row.object)
			row.edit(is)
			have, err := drift.Compare(parse(t, row.object), is, "work-agent-1", looked)
			if err != nil {
				t.Fatal(err)
			}
			for i := range have {
				have[i].Object = ""
			}
			if diff := cmp.Diff(row.want, have); diff != "" {
				t.Errorf("%s: %s", row.why, diff)
			}
		})
	}
}

// TestPublic: of a Secret only what names it leaves the cluster, and the object itself stays as it is.
func TestPublic(t *testing.T) {
	o := parse(t, secret)
	have := drift.Public(o)
	if raw, _ := json.Marshal(have); strings.Contains(string(raw), "s3cret") || have["type"] != "Opaque" || at(have, "metadata", "labels")["a"] != "b" {
		t.Errorf("%s", raw)
	}
	if diff := cmp.Diff(parse(t, secret), o); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(parse(t, applied), drift.Public(parse(t, applied))); diff != "" {
		t.Errorf("what is no Secret is public: %s", diff)
	}
}

func TestCompareManifest(t *testing.T) {
	manifest := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "c", "namespace": "shop"},
		"data": map[string]any{"k": "1"}}
	is := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "c", "namespace": "shop", "uid": "1"},
		"data": map[string]any{"k": "2", "theirs": "1"}}
	have, err := drift.CompareManifest(manifest, manifest, is, "work-agent", looked)
	if err != nil {
		t.Fatal(err)
	}
	want := []drift.Record{{Object: "ConfigMap shop/c", Path: "data.k", Was: `"1"`, Is: `"2"`, Manager: drift.Unknown, Time: looked}}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
}

// TestFormat: what Format writes, Parse reads; within OCM's bound, whatever the records hold.
func TestFormat(t *testing.T) {
	record := func(i int) drift.Record {
		return drift.Record{Object: "Deployment shop/web", Path: fmt.Sprintf("spec.f%03d", i), Was: `"<a>"`, Is: "5", Manager: "kubectl-edit", Operation: "Update", Time: edited}
	}
	worst := drift.Record{Object: "Deployment shop/web", Path: strings.Repeat(`"`, 160), Was: strings.Repeat(`"`, 100), Is: strings.Repeat(`\`, 100),
		Manager: strings.Repeat("m", 128), Operation: "Update", Time: edited}
	var many []drift.Record
	for i := range 50 {
		many = append(many, record(i))
	}
	for name, row := range map[string]struct {
		records []drift.Record
		kept    func(int) bool
		why     string
	}{
		"one":   {many[:1], func(n int) bool { return n == 1 }, "all of it"},
		"many":  {many, func(n int) bool { return n > 3 && n < 50 }, "the first ones, and how many there were"},
		"worst": {[]drift.Record{worst}, func(n int) bool { return n == 1 }, "one record always fits"},
	} {
		for _, healed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, healed %v", name, healed), func(t *testing.T) {
				report := drift.NewReport(row.records)
				if healed {
					report = report.Heal()
				}
				condition, value := drift.Format(report, 7)
				if len(*value.Value.String) > 1024 || value.Value.Type != workv1.String || len(condition.Message) > 32768 {
					t.Errorf("%s: %d bytes of feedback, %d of message", row.why, len(*value.Value.String), len(condition.Message))
				}
				if (condition.Status == metav1.ConditionTrue) == healed || condition.ObservedGeneration != 7 {
					t.Errorf("%s: condition %v", row.why, condition)
				}
				have, ok := drift.Parse(workv1.ManifestCondition{
					ResourceMeta: workv1.ManifestResourceMeta{Kind: "Deployment", Namespace: "shop", Name: "web"},
					Conditions:   []metav1.Condition{condition}, StatusFeedbacks: workv1.StatusFeedbackResult{Values: []workv1.FeedbackValue{value}}})
				if !ok || have.Total != len(row.records) || !row.kept(len(have.Records)) {
					t.Fatalf("%s: read back %v %+v", row.why, ok, have)
				}
				if diff := cmp.Diff(report.Records[:len(have.Records)], have.Records); diff != "" {
					t.Errorf("%s: %s", row.why, diff)
				}
			})
		}
	}
}

func TestMessage(t *testing.T) {
	r := drift.NewReport([]drift.Record{{Object: "Deployment shop/web", Path: "spec.replicas", Was: "3", Is: "5", Manager: "kubectl-edit", Operation: "Update", Time: edited}})
	condition, _ := drift.Format(r, 1)
	if want := "spec.replicas was 3, is 5, by kubectl-edit (Update) at 2026-11-22T10:00:00Z"; condition.Message != want {
		t.Errorf("%q, want %q", condition.Message, want)
	}
	condition, _ = drift.Format(drift.NewReport([]drift.Record{drift.Deleted(map[string]any{"kind": "Node", "metadata": map[string]any{"name": "n"}}, looked)}).Heal(), 1)
	if want := "Node n was present, is absent, by unknown at 2026-11-22T10:00:05Z; corrected"; condition.Message != want {
		t.Errorf("%q, want %q", condition.Message, want)
	}
}

func TestParseNothing(t *testing.T) {
	if r, ok := drift.Parse(workv1.ManifestCondition{}); ok || !r.Empty() {
		t.Errorf("a manifest that never drifted: %v %v", r, ok)
	}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]any
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func at(o map[string]any, path ...string) map[string]any {
	for _, p := range path {
		o = o[p].(map[string]any)
	}
	return o
}

func containers(o map[string]any) []any {
	return at(o, "spec", "template", "spec")["containers"].([]any)
}
