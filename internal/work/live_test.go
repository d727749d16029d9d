package work

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// reported is a work at generation 3 whose agent says these conditions of its manifests, by position.
func reported(t *testing.T, conditions ...[]metav1.Condition) *workv1.ManifestWork {
	t.Helper()
	var manifests []fleet.Manifest
	for i := range conditions {
		manifests = append(manifests, manifest(key("apps", "Deployment", "deployments", "shop", fmt.Sprintf("web-%02d", i)), 100))
	}
	w := wanted(t, Input{Content: content(manifests...)}).Works[0]
	w.Generation, w.UID = 3, "uid"
	w.Status.Conditions = []metav1.Condition{{Type: "Applied", Status: "True", ObservedGeneration: 3, LastTransitionTime: metav1.NewTime(noon)}}
	for i, list := range conditions {
		w.Status.ResourceStatus.Manifests = append(w.Status.ResourceStatus.Manifests, workv1.ManifestCondition{
			ResourceMeta: workv1.ManifestResourceMeta{Ordinal: int32(i), Group: "apps", Version: "v1", Kind: "Deployment",
				Resource: "deployments", Namespace: "shop", Name: fmt.Sprintf("web-%02d", i)},
			Conditions: list,
		})
	}
	return w
}

func at(generation int64, pairs ...string) []metav1.Condition {
	var list []metav1.Condition
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, metav1.Condition{Type: pairs[i], Status: metav1.ConditionStatus(pairs[i+1]), ObservedGeneration: generation, Message: "because of " + pairs[i]})
	}
	return list
}

func TestLiveStatus(t *testing.T) {
	fine := at(3, "Applied", "True", "Available", "True", "Progressing", "False", "Degraded", "False")
	for name, row := range map[string]struct {
		why    string
		work   *workv1.ManifestWork
		want   fleet.WorkStatus
		states []string
	}{
		"all well": {"every object says so", reported(t, fine, fine),
			fleet.WorkStatus{Observed: true, Applied: true, Health: fleet.HealthHealthy, AppliedObjects: []bool{true, true}}, nil},
		"health not reported": {"not reported is Unknown", reported(t, fine, at(3, "Applied", "True", "Available", "True")),
			fleet.WorkStatus{Observed: true, Applied: true, Health: fleet.HealthUnknown, AppliedObjects: []bool{true, true}}, nil},
		"applied at an older generation": {"it says nothing about this one", reported(t, at(2, "Applied", "True")),
			fleet.WorkStatus{Observed: true, Applied: true, Health: fleet.HealthUnknown, AppliedObjects: []bool{false}}, nil},
		"everything wrong": {"the worst first, one line an object but for drift",
			reported(t, at(3, "Applied", "True", "Progressing", "True"), at(3, "Applied", "True", "Progressing", "False", "Drift", "True"),
				at(3, "Applied", "True", "Progressing", "True", "Degraded", "True"), at(3, "Applied", "False", "Available", "False")),
			fleet.WorkStatus{Observed: true, Applied: true, Health: fleet.HealthDegraded, AppliedObjects: []bool{true, true, true, false}},
			[]string{"ApplyFailed web-03", "Degraded web-02", "Drifted web-01", "Progressing web-00"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Live(row.work).Status
			var states []string
			for _, p := range got.Problems {
				states = append(states, p.State+" "+p.Object.Name)
			}
			if diff := cmp.Diff(row.states, states); diff != "" {
				t.Errorf("%s: problems (-want +got):\n%s", row.why, diff)
			}
			got.Problems = nil
			row.want.Since, row.want.Conditions.Applied = noon, fleet.ConditionAt(true, true)
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
		})
	}
}

func TestLiveStatusOfAnotherGeneration(t *testing.T) {
	w := reported(t, at(3, "Applied", "True", "Progressing", "False"))
	w.Generation = 4
	got := Live(w).Status
	if got.Observed || got.Applied || got.Health != fleet.HealthUnknown || got.AppliedObjects != nil {
		t.Errorf("%+v: what the agent said of generation 3 is no news of 4", got)
	}
}

func TestLiveStatusIsMatchedByIdentity(t *testing.T) {
	w := reported(t, at(3, "Applied", "True"), at(3, "Applied", "True"))
	w.Status.ResourceStatus.Manifests[1].ResourceMeta.Name = "another"
	if got := Live(w).Status.AppliedObjects; !cmp.Equal(got, []bool{true, false}) {
		t.Errorf("applied %v: the report at ordinal 1 is about another object", got)
	}
}

// TestLiveCorrections: what was corrected stays known when another commit comes, so that it is told once.
func TestLiveCorrections(t *testing.T) {
	w := reported(t, at(3, "Applied", "True", "Drift", "True"), at(3, "Applied", "True", "Drift", "False"), at(3, "Applied", "True"))
	conditions := w.Status.ResourceStatus.Manifests[1].Conditions
	conditions[len(conditions)-1].Message = strings.Repeat("ä", maxCorrection)
	before := Live(w).Status.Corrected
	if len(before) != 1 || before[0].Object.Name != "web-01" || len(before[0].Message) > maxCorrection+len("…") || !utf8.ValidString(before[0].Message) {
		t.Fatalf("corrected %+v, want the second object alone, with a message that is cut", before)
	}
	w.Generation = 4
	if diff := cmp.Diff(before, Live(w).Status.Corrected); diff != "" {
		t.Errorf("another commit changes it (-before +after):\n%s", diff)
	}
}

func TestLiveProblemsAreBounded(t *testing.T) {
	var conditions [][]metav1.Condition
	for range 30 {
		conditions = append(conditions, at(3, "Applied", "False"))
	}
	if got := len(Live(reported(t, conditions...)).Status.Problems); got != maxProblems {
		t.Errorf("%d problems, want the worst %d", got, maxProblems)
	}
}

func TestLiveSeesAnEditedWork(t *testing.T) {
	w := wanted(t, Input{Content: content(manifest(configMap("a"), 100))}).Works[0]
	before := Live(w)
	w.Spec.Workload.Manifests[0].Raw = []byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"b","namespace":"shop"}}`)
	after := Live(w)
	if before.SpecDigest == after.SpecDigest || after.Objects[0].Kind != "Secret" || after.Objects[0].Name != "b" {
		t.Errorf("%+v: the annotations are as planned, the spec is not", after)
	}
}

func TestLiveOfAForeignWork(t *testing.T) {
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "edge-1", Name: "theirs"}}
	w.Spec.Workload.Manifests = []workv1.Manifest{{}, {}}
	w.Spec.Workload.Manifests[1].Raw = []byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"}}`)
	got := Live(w)
	if !got.Owner.IsZero() || got.OwnerDigest != "" || len(got.Objects) != 2 || got.Objects[1].Kind != "Deployment" {
		t.Errorf("%+v", got)
	}
}

func TestClaims(t *testing.T) {
	owner := func(name string) fleet.Owner { return fleet.ApplicationOwner("retail", name) }
	born := func(hours map[string]int) map[fleet.Owner]time.Time {
		created := map[fleet.Owner]time.Time{}
		for name, hour := range hours {
			created[owner(name)] = noon.Add(time.Duration(hour) * time.Hour)
		}
		return created
	}
	held := func(name string, keys ...fleet.ObjectKey) fleet.LiveWork {
		return fleet.LiveWork{Cluster: "edge-1", Owner: owner(name), Objects: keys}
	}
	a, b := configMap("a"), configMap("b")
	for name, row := range map[string]struct {
		why       string
		live      []fleet.LiveWork
		created   map[fleet.Owner]time.Time
		claimants []Claimant
		want      map[string]string
	}{
		"live wins over age": {"the first owner keeps it", []fleet.LiveWork{held("young", a)},
			born(map[string]int{"old": 0, "young": 5}),
			[]Claimant{{owner("old"), []fleet.ObjectKey{a}}, {owner("young"), []fleet.ObjectKey{a}}}, map[string]string{"retail/old": "retail/young"}},
		"age among two that hold it": {"two may take it in one moment: the younger gives it up", []fleet.LiveWork{held("a-young", a), held("old", a)},
			born(map[string]int{"a-young": 5, "old": 0}),
			[]Claimant{{owner("a-young"), []fleet.ObjectKey{a}}, {owner("old"), []fleet.ObjectKey{a}}}, map[string]string{"retail/a-young": "retail/old"}},
		"age among new ones": {"the older one was first", nil,
			born(map[string]int{"a-young": 5, "old": 0}),
			[]Claimant{{owner("a-young"), []fleet.ObjectKey{a}}, {owner("old"), []fleet.ObjectKey{a}}}, map[string]string{"retail/a-young": "retail/old"}},
		"name among twins": {"somebody has to be first", nil, nil,
			[]Claimant{{owner("y"), []fleet.ObjectKey{a}}, {owner("x"), []fleet.ObjectKey{a}}}, map[string]string{"retail/y": "retail/x"}},
		"the unborn come last": {"a hub's application is older than one that no hub has", nil,
			born(map[string]int{"z": 0}),
			[]Claimant{{owner("a"), []fleet.ObjectKey{a}}, {owner("z"), []fleet.ObjectKey{a}}}, map[string]string{"retail/a": "retail/z"}},
		"a loser takes nothing": {"what it wanted besides is free for others", []fleet.LiveWork{held("x", a)}, nil,
			[]Claimant{{owner("y"), []fleet.ObjectKey{a, b}}, {owner("z"), []fleet.ObjectKey{b}}}, map[string]string{"retail/y": "retail/x"}},
		"another version": {"the same object under any version", []fleet.LiveWork{held("x", a)}, nil,
			[]Claimant{{owner("y"), []fleet.ObjectKey{{Version: "v9", Kind: "ConfigMap", Namespace: "shop", Name: "a"}}}}, map[string]string{"retail/y": "retail/x"}},
		"another cluster": {"there it is another object", []fleet.LiveWork{{Cluster: "edge-2", Owner: owner("x"), Objects: []fleet.ObjectKey{a}}}, nil,
			[]Claimant{{owner("y"), []fleet.ObjectKey{a}}}, map[string]string{}},
		"shared namespace": {"createNamespace's is nobody's",
			[]fleet.LiveWork{{Cluster: "edge-1", Owner: owner("x"),
				Objects: []fleet.ObjectKey{key("", "Namespace", "namespaces", "", "shop")},
				Kept:    []fleet.ObjectKey{{Resource: "namespaces", Name: "shop"}}}}, nil,
			[]Claimant{{owner("y"), []fleet.ObjectKey{key("", "Namespace", "namespaces", "", "shop")}}}, map[string]string{}},
		"a chart's namespace": {"an object like any other", []fleet.LiveWork{held("x", key("", "Namespace", "namespaces", "", "shop"))}, nil,
			[]Claimant{{owner("y"), []fleet.ObjectKey{key("", "Namespace", "namespaces", "", "shop")}}}, map[string]string{"retail/y": "retail/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // forwards and backwards
				got := map[string]string{}
				for owner, f := range NewClaims(row.live, row.created).Resolve("edge-1", row.claimants) {
					if f.Reason != fleet.ObjectClaimed || f.Object == "" {
						t.Errorf("fault %+v", f)
					}
					got[owner.String()] = strings.Fields(f.Message)[1] // "application <other> has it ..."
				}
				if diff := cmp.Diff(row.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", row.why, diff)
				}
				slices.Reverse(row.live)
				slices.Reverse(row.claimants)
			}
		})
	}
}

func TestChanged(t *testing.T) {
	base := `{"metadata":{"annotations":{"a.b/c":"1"}},"spec":{"replicas":2,"containers":[{"name":"web","image":"v1","args":["a","b"]},{"name":"log"}],"gone":true,"empty":""}}`
	head := `{"metadata":{"annotations":{"a.b/c":"2"}},"spec":{"replicas":3,"containers":[{"name":"log"},{"name":"web","image":"v2","args":["a"]},{"name":"new"}],"empty":"x"}}`
	got, err := Changed([]byte(base), []byte(head))
	if err != nil {
		t.Fatal(err)
	}
	want := []FieldChange{
		{Path: `metadata.annotations["a.b/c"]`, Before: "1", After: "2"},
		{Path: "spec.containers[new]", After: `{"name":"new"}`},
		{Path: "spec.containers[web].args[1]", Before: "b"},
		{Path: "spec.containers[web].image", Before: "v1", After: "v2"},
		{Path: "spec.empty", Before: `""`, After: "x"},
		{Path: "spec.gone", Before: "true"},
		{Path: "spec.replicas", Before: "2", After: "3"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if same, _ := Changed([]byte(base), []byte(base)); len(same) != 0 {
		t.Errorf("a manifest differs from itself in %v", same)
	}
	if _, err := Changed([]byte("x"), nil); err == nil {
		t.Error("no JSON must be an error")
	}
}

// TestLiveOfReplicaSet: the labels of OCM say whose a work is, and a time to live counts from when the work is complete.
func TestLiveOfReplicaSet(t *testing.T) {
	ttl := int64(60)
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: "edge-1", Name: "webx7k2p", Labels: map[string]string{"work.open-cluster-management.io/manifestworkreplicaset": "retail.web", "team": "shop"},
	}}
	w.Spec.DeleteOption = &workv1.DeleteOption{TTLSecondsAfterFinished: &ttl}
	w.Status.Conditions = []metav1.Condition{{Type: "Complete", Status: "False", LastTransitionTime: metav1.NewTime(noon)}}
	live := Live(w)
	if live.Owner != fleet.ReplicaSetOwner("retail", "web") || live.OwnerDigest != live.Owner.Digest() || live.Labels["team"] != "shop" {
		t.Errorf("it is of %v %s, with the labels %v", live.Owner, live.OwnerDigest, live.Labels)
	}
	if !live.ExpiresAt.IsZero() {
		t.Errorf("it is not complete, and expires at %v", live.ExpiresAt)
	}
	w.Status.Conditions[0].Status = "True"
	if got := Live(w).ExpiresAt; !got.Equal(noon.Add(time.Minute)) {
		t.Errorf("it expires at %v", got)
	}
}
