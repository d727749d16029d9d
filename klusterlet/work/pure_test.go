package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/muster-io/muster/internal/drift"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

func TestRank(t *testing.T) {
	kinds := []string{"example.com/Widget", "apiregistration.k8s.io/APIService", "apps/Deployment", "/Service", "/Secret", "/ServiceAccount",
		"rbac.authorization.k8s.io/RoleBinding", "/Namespace", "example.com/Deployment"}
	sort.SliceStable(kinds, func(i, j int) bool {
		a, b, _ := strings.Cut(kinds[i], "/")
		c, d, _ := strings.Cut(kinds[j], "/")
		return rankOf(a, b) < rankOf(c, d)
	})
	want := []string{"/Namespace", "rbac.authorization.k8s.io/RoleBinding", "/ServiceAccount", "/Secret", "/Service", "apps/Deployment",
		"apiregistration.k8s.io/APIService", "example.com/Widget", "example.com/Deployment"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
}

func TestConfigFor(t *testing.T) {
	entry := func(resource, namespace, name string, kind workv1.UpdateStrategyType) workv1.ManifestConfigOption {
		return workv1.ManifestConfigOption{ResourceIdentifier: workv1.ResourceIdentifier{Resource: resource, Namespace: namespace, Name: name},
			UpdateStrategy: &workv1.UpdateStrategy{Type: kind}}
	}
	configs := []workv1.ManifestConfigOption{entry("configmaps", "shop", "web-*", "CreateOnly"), entry("configmaps", "shop", "web-1", "ReadOnly"),
		entry("configmaps", "*", "*", "ServerSideApply")}
	for name, row := range map[string]struct {
		key  objectKey
		want workv1.UpdateStrategyType
		why  string
	}{
		"first wins": {objectKey{"", "configmaps", "shop", "web-1"}, "CreateOnly", "the second is more exact, and later"},
		"wildcards":  {objectKey{"", "configmaps", "other", "x"}, "ServerSideApply", "any name in any namespace"},
		"none":       {objectKey{"", "secrets", "shop", "web-1"}, "Update", "OCM's default"},
		"group":      {objectKey{"example.com", "configmaps", "shop", "x"}, "Update", "groups have no wildcards"},
	} {
		if have := (target{config: configFor(configs, row.key)}).strategy(); have != row.want {
			t.Errorf("%s: %s, want %s: %s", name, have, row.want, row.why)
		}
	}
}

func TestPlaces(t *testing.T) {
	object := map[string]any{"spec": map[string]any{"replicas": int64(1), "list": []any{
		map[string]any{"name": "web", "image": "a", "n": int64(1)}, map[string]any{"name": "side", "image": "b"}}},
		"metadata": map[string]any{"labels": map[string]any{"a.b/c": "d"}}}
	const failure = "!"
	for path, want := range map[string]string{
		".spec.replicas":                      "[spec replicas]",
		"$.spec.replicas":                     "[spec replicas]",
		"{.spec.replicas}":                    "[spec replicas]",
		"/spec/replicas":                      "[spec replicas]",
		"/spec/list/1/name":                   "[spec list 1 name]",
		"/metadata/labels/a.b~1c":             "[metadata labels a.b/c]",
		".metadata.labels['a.b/c']":           "[metadata labels a.b/c]",
		`.metadata.labels["a.b/c"]`:           "[metadata labels a.b/c]",
		".spec.list[0].image":                 "[spec list 0 image]",
		".spec.list[*].image":                 "[spec list 0 image] [spec list 1 image]",
		`.spec.list[?(@.name=="side")].image`: "[spec list 1 image]",
		".spec.nothing.here":                  "",
		".spec.list[9].image":                 "",
		"..replicas":                          failure,
		"":                                    failure,
		`jq:.spec.list[] | select(.name == "side") | .image`:             "[spec list 1 image]",
		`jq:(.spec.list[] | select(.image | test("^b"))), .spec.list[0]`: "[spec list 0] [spec list 1]",
		`jq:.spec.list[-1:]`:         "[spec list 1]",
		`jq:.spec.list[-2].n`:        "[spec list 0 n]",
		`jq:.spec.nothing.here`:      "",
		`jq:.. | .image? // empty`:   "[spec list 0 image] [spec list 1 image]",
		`jq:.spec | length`:          failure,
		`jq:.spec.nothing[]`:         failure,
		`jq:.spec.list[`:             failure,
		`jq:[limit(1e9; repeat(.))]`: failure,
	} {
		rule := workv1.IgnoreField{JSONPaths: []string{path}}
		if strings.HasPrefix(path, "/") {
			rule = workv1.IgnoreField{JSONPointers: []string{path}}
		} else if expression, ok := strings.CutPrefix(path, "jq:"); ok {
			rule = workv1.IgnoreField{JQPathExpressions: []string{expression}}
		}
		places, err := placesOf(context.Background(), object, []workv1.IgnoreField{rule})
		have := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(places), "["), "]")
		if err != nil {
			have = failure
		}
		if have != want {
			t.Errorf("%q: selects %q, want %q (%v)", path, have, want, err)
		}
	}
}

// TestKeep: a field that only we hold is kept as it is; one that another holds is left out.
func TestKeep(t *testing.T) {
	for name, row := range map[string]struct {
		fields map[string]any
		want   any
		why    string
	}{
		"ours":   {map[string]any{"manager": "work-agent"}, int64(9), "giving it up would reset it"},
		"theirs": {map[string]any{"manager": "autoscaler"}, nil, "it is theirs to change"},
	} {
		row.fields["operation"] = "Apply"
		row.fields["fieldsV1"] = map[string]any{"f:spec": map[string]any{"f:replicas": map[string]any{}}}
		live := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": int64(9)},
			"metadata": map[string]any{"managedFields": []any{row.fields}}}}
		wanted := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": int64(3)}}}
		rules := ignored{rules: []workv1.IgnoreField{{JSONPointers: []string{"/spec/replicas"}}}, manager: "work-agent"}
		if err := rules.keep(context.Background(), wanted, live); err != nil {
			t.Fatal(err)
		}
		if have := wanted.Object["spec"].(map[string]any)["replicas"]; have != row.want {
			t.Errorf("%s: %v, want %v: %s", name, have, row.want, row.why)
		}
	}
}

func TestMerge(t *testing.T) {
	live := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "secrets": []any{"token"},
		"extra": "1", "status": "live", "metadata": map[string]any{"name": "x", "resourceVersion": "7", "uid": "u",
			"labels": map[string]any{"theirs": "1", "ours": "old"}, "finalizers": []any{"f"},
			"ownerReferences": []any{map[string]any{"uid": "other", "name": "o", "kind": "Pod", "apiVersion": "v1"},
				map[string]any{"uid": "dead", "name": "rec", "kind": recordKind, "apiVersion": workv1.GroupVersion.String()}}}}}
	manifest := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "status": "mine",
		"metadata": map[string]any{"name": "x", "labels": map[string]any{"ours": "new"}}}}
	manifest.SetOwnerReferences([]metav1.OwnerReference{ownerOf(&workv1.AppliedManifestWork{ObjectMeta: metav1.ObjectMeta{Name: "rec", UID: "alive"}})})
	have := merge(manifest, live)
	owners := have.GetOwnerReferences()
	if len(owners) != 2 || owners[0].UID != "other" || owners[1].UID != "alive" {
		t.Errorf("owners %v: the reference to a record that is gone goes, others stay", owners)
	}
	have.SetOwnerReferences(nil)
	want := map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "secrets": []any{"token"}, "status": "live",
		"metadata": map[string]any{"name": "x", "resourceVersion": "7", "uid": "u", "labels": map[string]any{"theirs": "1", "ours": "new"},
			"finalizers": []any{"f"}}}
	if diff := cmp.Diff(want, have.Object); diff != "" {
		t.Error(diff)
	}
}

func TestFeedback(t *testing.T) {
	object := map[string]any{"status": map[string]any{"replicas": int64(3), "readyReplicas": int64(2), "phase": "Up", "ok": true, "list": []any{"a"},
		"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}}
	paths := func(p ...string) []workv1.FeedbackRule {
		rule := workv1.FeedbackRule{Type: workv1.JSONPathsType}
		for _, path := range p {
			rule.JsonPaths = append(rule.JsonPaths, workv1.JsonPath{Name: path, Path: path})
		}
		return []workv1.FeedbackRule{rule}
	}
	for name, row := range map[string]struct {
		rules []workv1.FeedbackRule
		raw   bool
		want  string
		fails bool
		why   string
	}{
		"well known": {rules: []workv1.FeedbackRule{{Type: workv1.WellKnownStatusType}}, want: "ReadyReplicas=2 Replicas=3", why: "what is not there yet is left out"},
		"paths":      {rules: paths(".status.phase", ".status.ok", ".status.replicas"), want: `.status.phase="Up" .status.ok=true .status.replicas=3`},
		"filter":     {rules: paths(`.status.conditions[?(@.type=="Ready")].status`), want: `.status.conditions[?(@.type=="Ready")].status="True"`},
		"list":       {rules: paths(".status.list", ".status.ok"), want: ".status.ok=true", fails: true, why: "the others are still told"},
		"raw":        {rules: paths(".status.list"), raw: true, want: `.status.list="[\"a\"]"`},
		"raw values": {rules: paths(".status.list[*]"), raw: true, want: `.status.list[*]="a"`},
		"raw, several values": {rules: paths(".status.conditions[*]['type','status']"), raw: true,
			want: `.status.conditions[*]['type','status']="[\"Ready\",\"True\"]"`, why: "several values are one list"},
		"absent":   {rules: paths(".status.nothing"), want: ""},
		"bad path": {rules: paths(".status[", ".status.ok"), want: ".status.ok=true", fails: true},
		"version":  {rules: []workv1.FeedbackRule{{Type: workv1.JSONPathsType, JsonPaths: []workv1.JsonPath{{Name: "x", Version: "v2", Path: ".status.ok"}}}}, fails: true},
	} {
		values, err := feedbackOf(object, "apps", "v1", "Deployment", row.rules, rawValues{row.raw, 1024})
		var told []string
		for _, v := range values {
			var x any
			switch {
			case v.Value.Integer != nil:
				x = *v.Value.Integer
			case v.Value.Boolean != nil:
				x = *v.Value.Boolean
			case v.Value.String != nil:
				x = *v.Value.String
			default:
				x = *v.Value.JsonRaw
			}
			text, _ := json.Marshal(x)
			told = append(told, v.Name+"="+string(text))
		}
		if have := strings.Join(told, " "); have != row.want || (err != nil) != row.fails {
			t.Errorf("%s: %s, %v; want %s: %s", name, have, err, row.want, row.why)
		}
	}
}

// TestStatusOf: what objects are known to be becomes OCM's conditions.
func TestStatusOf(t *testing.T) {
	object := &unstructured.Unstructured{Object: map[string]any{"kind": "ConfigMap"}}
	one := target{meta: workv1.ManifestResourceMeta{Ordinal: 0, Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Name: "one", Namespace: "n"}, object: object, hash: "h"}
	two := one
	two.meta.Ordinal, two.meta.Name = 1, "two"
	good := func() *objectState { return &objectState{hash: "h", state: present} }
	rule := func(kind string, status metav1.ConditionStatus) []metav1.Condition {
		return []metav1.Condition{{Type: kind, Status: status, Reason: workv1.ReasonConditionRuleEvaluated}}
	}
	for name, row := range map[string]struct {
		one, two *objectState
		want     []string
		why      string
	}{
		"all good":  {good(), good(), []string{"Applied=True", "Available=True"}, ""},
		"one fails": {good(), &objectState{failure: errors.New("no"), failedAt: 3, reason: "R", state: present}, []string{"Applied=False", "Available=True"}, "the object of before is there"},
		"one gone":  {good(), &objectState{hash: "h", state: absent}, []string{"Applied=True", "Available=False"}, ""},
		"unread":    {good(), &objectState{hash: "h", problem: errors.New("no")}, []string{"Applied=True", "Available=Unknown"}, ""},
		"progressing": {&objectState{hash: "h", state: present, rules: rule("Progressing", "True")}, &objectState{hash: "h", state: present, rules: rule("Progressing", "False")},
			[]string{"Applied=True", "Available=True", "Progressing=True"}, "True if any is"},
		"complete": {&objectState{hash: "h", state: present, rules: rule("Complete", "True")}, &objectState{hash: "h", state: present, rules: rule("Complete", "False")},
			[]string{"Applied=True", "Available=True", "Complete=False"}, "False if any is"},
		"own rule": {&objectState{hash: "h", state: present, rules: rule("Mine", "True")}, good(), []string{"Applied=True", "Available=True"}, "stays with the manifest"},
	} {
		objects := map[objectKey]*objectState{one.key(): row.one, two.key(): row.two}
		none := func(target, *objectState) drift.Report { return drift.Report{} }
		old := workv1.ManifestWorkStatus{Conditions: rule("Degraded", "True")}
		status := statusOf(3, []target{one, two}, objects, none, &old)
		var have []string
		for _, c := range status.Conditions {
			have = append(have, c.Type+"="+string(c.Status))
			if c.ObservedGeneration != 3 {
				t.Errorf("%s: %s is of generation %d", name, c.Type, c.ObservedGeneration)
			}
		}
		slices.Sort(have)
		if diff := cmp.Diff(row.want, have); diff != "" {
			t.Errorf("%s: %s: %s", name, row.why, diff)
		}
		if again := statusOf(3, []target{one, two}, objects, none, &status); !cmp.Equal(again, status) {
			t.Errorf("%s: saying it again changes it: %s", name, cmp.Diff(status, again))
		}
	}
}

// TestStatusSpeaksForOneGeneration: what was not tried yet is not said to be applied, whatever else there is to tell.
func TestStatusSpeaksForOneGeneration(t *testing.T) {
	named := func(ordinal int32, name string) target {
		return target{meta: workv1.ManifestResourceMeta{Ordinal: ordinal, Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Name: name, Namespace: "n"},
			object: &unstructured.Unstructured{Object: map[string]any{"kind": "ConfigMap"}}, hash: "new"}
	}
	one, two := named(0, "one"), named(1, "two")
	unserved := two
	unserved.hash, unserved.err = "", errors.New("no such kind")
	none := func(target, *objectState) drift.Report { return drift.Report{} }
	done := &objectState{hash: "new", state: present}
	before := statusOf(3, []target{one, two}, map[objectKey]*objectState{one.key(): done, two.key(): done}, none, &workv1.ManifestWorkStatus{})
	for name, row := range map[string]struct {
		two  target
		seen *objectState
		why  string
	}{
		"changed":         {two, &objectState{hash: "old", state: present}, "the drift of another object is told before this one is applied"},
		"not served":      {unserved, &objectState{}, "the definition may come in the same pass"},
		"failed before":   {two, &objectState{failure: errors.New("no"), reason: "R", failedAt: 3, state: present}, "the failure is that of another manifest"},
		"never looked at": {two, &objectState{}, ""},
	} {
		status := statusOf(4, []target{one, row.two}, map[objectKey]*objectState{one.key(): done, row.two.key(): row.seen}, none, &before)
		if diff := cmp.Diff(before.Conditions, status.Conditions); diff != "" {
			t.Errorf("%s: the work speaks for a generation that is not applied: %s: %s", name, row.why, diff)
		}
		if diff := cmp.Diff(before.ResourceStatus.Manifests[1].Conditions, status.ResourceStatus.Manifests[1].Conditions); diff != "" {
			t.Errorf("%s: %s: %s", name, row.why, diff)
		}
		if c := meta.FindStatusCondition(status.ResourceStatus.Manifests[0].Conditions, workv1.ManifestApplied); c.ObservedGeneration != 4 {
			t.Errorf("%s: what is applied is not told: %v", name, c)
		}
		row.seen.fail(4, errors.New("refused"), "R", time.Time{})
		status = statusOf(4, []target{one, row.two}, map[objectKey]*objectState{one.key(): done, row.two.key(): row.seen}, none, &status)
		if c := meta.FindStatusCondition(status.Conditions, workv1.WorkApplied); c.Status != metav1.ConditionFalse || c.ObservedGeneration != 4 {
			t.Errorf("%s: once it was tried, its failure is told: %v", name, c)
		}
	}
}

// TestSpoken: an answer that may quote a Secret is not repeated, and what it is about is.
func TestSpoken(t *testing.T) {
	secret, other := target{meta: workv1.ManifestResourceMeta{Version: "v1", Kind: "Secret"}}, target{meta: workv1.ManifestResourceMeta{Version: "v1", Kind: "ConfigMap"}}
	kind := schema.GroupKind{Kind: "Secret"}
	invalid := apierrors.NewInvalid(kind, "s", field.ErrorList{field.Invalid(field.NewPath("data[pin]"), "hunter2", "too short")})
	for name, row := range map[string]struct {
		of   target
		err  error
		says string
		why  string
	}{
		"invalid":   {secret, fmt.Errorf("write: %w", invalid), "Invalid (422) about data[pin]", "the field is named"},
		"malformed": {secret, apierrors.NewBadRequest(".stringData.pin: expected string, got &{hunter2}"), "BadRequest (400)", "as structured-merge-diff says it"},
		"webhook":   {secret, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "s", errors.New("hunter2 is weak")), "Forbidden (403)", "a webhook may say anything"},
		"internal":  {secret, apierrors.NewInternalError(errors.New("hunter2")), "InternalError (500)", ""},
		"conflict":  {secret, apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "s", errors.New(`conflict with "someone": .data.pin`)), `"someone": .data.pin`, "names only"},
		"network":   {secret, errors.New("connection refused"), "connection refused", "no server has spoken"},
		"no secret": {other, invalid, "hunter2", "a ConfigMap is not secret"},
	} {
		have := withoutSecretValues(row.of, row.err).Error()
		if !strings.Contains(have, row.says) || (row.of.isSecret() && strings.Contains(have, "hunter2")) {
			t.Errorf("%s: %q: %s", name, have, row.why)
		}
	}
	if withoutSecretValues(secret, nil) != nil {
		t.Error("no error becomes one")
	}
}

// TestFlips: what may wait for the next status, and what may not.
func TestFlips(t *testing.T) {
	base := func() workv1.ManifestWorkStatus {
		n := int64(1)
		return workv1.ManifestWorkStatus{Conditions: []metav1.Condition{{Type: "Applied", Status: "True", Message: "m"}},
			ResourceStatus: workv1.ManifestResourceStatus{Manifests: []workv1.ManifestCondition{{Conditions: []metav1.Condition{{Type: "Available", Status: "True"}},
				StatusFeedbacks: workv1.StatusFeedbackResult{Values: []workv1.FeedbackValue{{Name: "n", Value: workv1.FieldValue{Type: workv1.Integer, Integer: &n}}}}}}}}
	}
	for name, row := range map[string]struct {
		change func(*workv1.ManifestWorkStatus)
		want   bool
	}{
		"nothing": {func(*workv1.ManifestWorkStatus) {}, false},
		"message": {func(s *workv1.ManifestWorkStatus) { s.Conditions[0].Message = "x" }, false},
		"value": {func(s *workv1.ManifestWorkStatus) {
			*s.ResourceStatus.Manifests[0].StatusFeedbacks.Values[0].Value.Integer = 2
		}, false},
		"answer":    {func(s *workv1.ManifestWorkStatus) { s.Conditions[0].Status = "False" }, true},
		"manifest":  {func(s *workv1.ManifestWorkStatus) { s.ResourceStatus.Manifests[0].Conditions[0].Status = "False" }, true},
		"manifests": {func(s *workv1.ManifestWorkStatus) { s.ResourceStatus.Manifests = nil }, true},
		"drift":     {func(s *workv1.ManifestWorkStatus) { drifts(s, "1") }, true},
		"healed drift": {func(s *workv1.ManifestWorkStatus) {
			drifts(s, "0")
			s.ResourceStatus.Manifests[0].Conditions[1].Status = "False"
		}, true},
	} {
		now := base()
		row.change(&now)
		if have := flips(base(), now); have != row.want {
			t.Errorf("%s: %v", name, have)
		}
	}
	one, two := base(), base()
	drifts(&one, "1")
	drifts(&two, "2")
	if flips(one, two) {
		t.Error("somebody who writes a field all the time makes the agent write to the hub all the time")
	}
}

func drifts(s *workv1.ManifestWorkStatus, is string) {
	m := &s.ResourceStatus.Manifests[0]
	c, v := drift.Format(drift.NewReport([]drift.Record{{Path: "p", Is: is}}), 1)
	meta.SetStatusCondition(&m.Conditions, c)
	m.StatusFeedbacks.Values = append(m.StatusFeedbacks.Values, v)
}

func TestClaims(t *testing.T) {
	c := newClaims()
	workOf := func(name string, objects ...string) *workv1.ManifestWork {
		w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
		for _, o := range objects {
			var m workv1.Manifest
			m.Raw = []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"n","name":"` + o + `"}}`)
			w.Spec.Workload.Manifests = append(w.Spec.Workload.Manifests, m)
		}
		return w
	}
	c.set(workOf("a", "x", "y"))
	if woken := c.set(workOf("b", "y", "z")); !slices.Equal(woken, []string{"a"}) {
		t.Errorf("a shares y with b: %v", woken)
	}
	y := claimsOf(workOf("", "y"))[0]
	if have := c.others(y, "a"); !slices.Equal(have, []string{"b"}) {
		t.Errorf("%v", have)
	}
	gone := workOf("b", "y", "z")
	gone.DeletionTimestamp = &metav1.Time{}
	*gone.DeletionTimestamp = metav1.Now()
	if woken := c.set(gone); !slices.Equal(woken, []string{"a"}) {
		t.Errorf("a has y for itself again: %v", woken)
	}
	if have := c.others(y, "a"); len(have) != 0 {
		t.Errorf("a work that is being deleted wants nothing: %v", have)
	}
	// The cluster knows a ClusterRole without a namespace, a manifest may have one all the same.
	c.set(workOf("c", "cluster-wide"))
	live := claim{kind: y.kind, name: "cluster-wide"}
	if have := c.others(live, "a"); !slices.Equal(have, []string{"c"}) {
		t.Errorf("a namespace that the cluster ignores hides who wants the object: %v", have)
	}
	if have := c.others(claim{kind: y.kind, namespace: "other", name: "y"}, ""); len(have) != 0 {
		t.Errorf("an object of another namespace is another one: %v", have)
	}
}

// TestSecretIsEncoded: the plain values of a Secret become its data, so that a change of them is seen.
func TestSecretIsEncoded(t *testing.T) {
	have := readTarget(0, workv1.Manifest{})
	if have.err == nil {
		t.Error("an empty manifest is no object")
	}
	var m workv1.Manifest
	m.Raw = []byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","uid":"1"},"stringData":{"a":"b"},"data":{"a":"x","c":"ZA=="}}`)
	want := map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s"}, "data": map[string]any{"a": "Yg==", "c": "ZA=="}}
	if diff := cmp.Diff(want, readTarget(0, m).object.Object); diff != "" {
		t.Error(diff)
	}
}
