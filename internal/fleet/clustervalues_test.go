package fleet_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// clusterValues reads ClusterValues, of which each line is namespace/name and a spec.
func clusterValues(t testing.TB, specs map[string]string) []musterv1alpha1.ClusterValues {
	t.Helper()
	var list []musterv1alpha1.ClusterValues
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		var o musterv1alpha1.ClusterValues
		if err := yaml.UnmarshalStrict([]byte(specs[name]), &o.Spec); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := fmt.Sscanf(name, "%s", &o.Name); err != nil {
			t.Fatal(err)
		}
		o.Namespace = "muster-system"
		if namespace, ok := map[string]string{"team": "shop", "other": "bank"}[name]; ok {
			o.Namespace = namespace
		}
		list = append(list, o)
	}
	return list
}

func TestValuesOfClusters(t *testing.T) {
	edge := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "edge-1", Labels: map[string]string{"env": "prod", "region": "eu"}}}
	edge.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: "platform", Value: "OpenShift"}}
	for name, test := range map[string]struct {
		why       string
		objects   map[string]string
		want      string
		layer     string // where it differs
		conflicts []string
	}{
		"none":   {why: "no objects, no values", want: `{}`},
		"labels": {why: "a selector over labels", want: `{"a":1}`, objects: map[string]string{"x": `{selector: {labelSelector: {matchLabels: {env: prod}}}, values: {a: 1}}`, "y": `{selector: {labelSelector: {matchLabels: {env: dev}}}, values: {a: 2}}`}},
		"claims": {why: "a selector over claims", want: `{"a":1}`, objects: map[string]string{
			"x": `{selector: {claimSelector: {matchExpressions: [{key: platform, operator: In, values: [OpenShift]}]}}, values: {a: 1}}`,
			"y": `{selector: {claimSelector: {matchExpressions: [{key: platform, operator: DoesNotExist}]}}, values: {a: 2}}`}},
		"priority": {
			why: "maps merge, lists replace, null deletes; of a chart's own values too", want: `{"list":[3],"map":{"a":1,"b":2}}`, layer: `{"gone":null,"list":[3],"map":{"a":1,"b":2}}`,
			objects: map[string]string{"x": `{values: {map: {a: 1}, list: [1, 2], gone: here}}`, "y": `{priority: 10, values: {map: {b: 2}, list: [3], gone: null}}`},
		},
		"agree":       {why: "two may say the same", want: `{"a":{"b":1}}`, objects: map[string]string{"x": `{values: {a: {b: 1}}}`, "y": `{values: {a: {b: 1}}}`}},
		"conflict":    {why: "two of equal priority say different things", want: `{"a":{"b":1}}`, conflicts: []string{"a.b"}, objects: map[string]string{"x": `{values: {a: {b: 1}}}`, "y": `{values: {a: {b: 2}}}`}},
		"conflict 2":  {why: "a map and a text are different too", want: `{"a":{"b":1}}`, conflicts: []string{"a"}, objects: map[string]string{"x": `{values: {a: {b: 1}}}`, "y": `{values: {a: x}}`}},
		"settled":     {why: "what is above settles it", want: `{"a":3}`, objects: map[string]string{"x": `{values: {a: 1}}`, "y": `{values: {a: 2}}`, "z": `{priority: 1, values: {a: 3}}`}},
		"settled 2":   {why: "what is below does not", want: `{"a":1}`, conflicts: []string{"a"}, objects: map[string]string{"x": `{values: {a: 1}}`, "y": `{values: {a: 2}}`, "z": `{priority: -1, values: {a: 3}}`}},
		"team":        {why: "a team's are for the team", want: `{"a":1}`, objects: map[string]string{"team": `{values: {a: 1}}`, "other": `{values: {a: 2, b: 2}}`}},
		"team, all":   {why: "a team has no precedence that it does not ask for", want: `{"a":1}`, conflicts: []string{"a"}, objects: map[string]string{"team": `{values: {a: 2}}`, "all": `{values: {a: 1}}`}},
		"no selector": {why: "one that cannot be used is for nobody to go on without", want: `{"a":1}`, conflicts: []string{""}, objects: map[string]string{"x": `{selector: {labelSelector: {matchExpressions: [{key: a, operator: Like}]}}, values: {b: 1}}`, "y": `{values: {a: 1}}`}},
	} {
		t.Run(name, func(t *testing.T) {
			list := clusterValues(t, test.objects)
			for range 2 {
				got := fleet.NewValuesIndex(list, nil).Of("shop", edge)
				var conflicts []string
				for _, c := range got.Conflicts() {
					conflicts = append(conflicts, c.Path)
				}
				if diff := cmp.Diff(test.conflicts, conflicts); diff != "" {
					t.Errorf("%s: conflicts (-want +got):\n%s", test.why, diff)
				}
				if text := jsonOf(t, got.Table); len(test.conflicts) == 0 && text != test.want {
					t.Errorf("%s: got %s, want %s", test.why, text, test.want)
				}
				if text := jsonOf(t, got.Layer); test.layer != "" && text != test.layer {
					t.Errorf("%s: the layer is %s, want %s", test.why, text, test.layer)
				}
				slices.Reverse(list) // the order of objects does not matter
			}
		})
	}
}

func jsonOf(t testing.TB, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) == "null" {
		return "{}"
	}
	return string(data)
}

// TestValuesMergeAsJSONMergePatch: ClusterValues of different priority merge as RFC 7386 says, which is the law that all layers have:
// maps merge, lists replace, null deletes. Each leaf has the place of the object that set it last.
func TestValuesMergeAsJSONMergePatch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	cluster := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
	for range 2000 {
		var list []musterv1alpha1.ClusterValues
		want := []byte(`{}`)
		last := map[string]string{}
		for i := range 1 + random.IntN(4) {
			o := musterv1alpha1.ClusterValues{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: fmt.Sprint(i)}}
			o.Spec.Priority = int32(i)
			table := randomTable(random, 3)
			o.Spec.Values.Raw = []byte(jsonOf(t, table))
			list = append(list, o)
			noteLast(last, table, "", "ClusterValues muster-system/"+o.Name)
			var err error
			if want, err = jsonpatch.MergePatch(want, o.Spec.Values.Raw); err != nil {
				t.Fatal(err)
			}
		}
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		got := fleet.NewValuesIndex(list, nil).Of("shop", cluster)
		var table map[string]any
		if err := json.Unmarshal(want, &table); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(table, got.Table); diff != "" {
			t.Fatalf("a merge patch (-) and ours (+) of %v:\n%s", list, diff)
		}
		for path, object := range last {
			if place, ok := got.Place(path); ok && place.Object != object {
				t.Fatalf("%s is set last by %s and not by %s", path, object, place.Object)
			}
		}
	}
}

// noteLast notes which object says something last about each leaf.
func noteLast(last map[string]string, table map[string]any, prefix, object string) {
	for key, value := range table {
		path := prefix + key
		if below, ok := value.(map[string]any); ok && len(below) > 0 {
			delete(last, path)
			noteLast(last, below, path+".", object)
			continue
		}
		if _, isTable := value.(map[string]any); isTable {
			delete(last, path) // an empty map sets nothing where a map is
			continue
		}
		fleet.DropBelow(last, path)
		last[path] = object
	}
}

func randomTable(random *rand.Rand, depth int) map[string]any {
	table := map[string]any{}
	for range random.IntN(4) {
		key := string(rune('a' + random.IntN(4)))
		switch kind := random.IntN(5); {
		case kind == 0:
			table[key] = nil
		case kind == 1:
			table[key] = []any{float64(random.IntN(3))}
		case kind <= 3 && depth > 0:
			table[key] = randomTable(random, depth-1)
		default:
			table[key] = float64(random.IntN(3))
		}
	}
	return table
}
