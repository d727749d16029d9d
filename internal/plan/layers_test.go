package plan_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

// layerNames are the layers of a chart's values over the chart's own, in their order. What one line holds is merged first: it is one layer of
// docs/values.md.
var layerNames = [][]string{
	{"defaults of all", "defaults of the namespace"},
	{"ClusterValues of priority 0", "ClusterValues of priority 1"},
	{"values file 1"}, {"values file 2"},
	{"ConfigMap 1"}, {"ConfigMap 2"},
	{"inline values", "override 1", "override 2"},
}

// TestLayers holds the law of merging for all layers of values, from the files of a repository to the object on a cluster: maps merge, lists and
// all else replace, null deletes what is below. As with helm's own --values, the layers are merged with each other, and the outcome over the chart's values.
func TestLayers(t *testing.T) {
	planner := &plan.Planner{Renderer: render.New(16 << 20)}
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 12))
		chart := randomValues(random, 3, false)
		layers := map[string]map[string]any{}
		user := map[string]any{}
		for _, names := range layerNames {
			layer := map[string]any{}
			for _, name := range names {
				layers[name] = map[string]any{}
				if random.IntN(3) > 0 {
					layers[name] = randomValues(random, 3, true)
				}
				layer = mergedOver(layer, layers[name])
			}
			user = mergedOver(user, layer)
		}
		want := usedOver(chart, user)
		got := renderedValues(t, planner, chart, layers)
		if diff := cmp.Diff(want, withoutNulls(got)); diff != "" {
			text, _ := json.MarshalIndent(layers, "", " ")
			t.Fatalf("seed %d (-want +got):\n%s\nthe chart's values: %v\nlayers: %s", seed, diff, chart, text)
		}
	}
}

// randomValues are few keys, so that layers meet, of values of all kinds.
func randomValues(random *rand.Rand, depth int, nulls bool) map[string]any {
	values := map[string]any{}
	for _, key := range []string{"a", "b", "c"} {
		switch kind := random.IntN(8); {
		case kind < 3 && depth > 1:
			values[key] = randomValues(random, depth-1, nulls)
		case kind == 3:
			values[key] = float64(random.IntN(10))
		case kind == 4:
			values[key] = fmt.Sprint("text ", random.IntN(10))
		case kind == 5:
			values[key] = []any{float64(random.IntN(10)), map[string]any{"in": "a list"}}
		case kind == 6 && nulls:
			values[key] = nil
		}
	}
	return values
}

// mergedOver is the law for two layers; null stays for what is below them.
func mergedOver(below, above map[string]any) map[string]any {
	out := maps.Clone(below)
	for key, value := range above {
		upper, isMap := value.(map[string]any)
		lower, wasMap := out[key].(map[string]any)
		if !wasMap {
			lower = map[string]any{}
		}
		if out[key] = value; isMap {
			out[key] = mergedOver(lower, upper)
		}
	}
	return out
}

// usedOver is the law for what a chart has of its own.
func usedOver(chart, user map[string]any) map[string]any {
	return withoutNulls(mergedOver(chart, user))
}

// withoutNulls: a key that is null is one that is not there.
func withoutNulls(values map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range values {
		if below, ok := value.(map[string]any); ok {
			value = withoutNulls(below)
		}
		if value != nil {
			out[key] = value
		}
	}
	return out
}

// configMaps are those of a hub, by name.
type configMaps map[string][]byte

// Find implements fleet.Sources.
func (c configMaps) Find(r *fleet.Reference) (*fleet.Found, error) {
	data := map[string][]byte{"values.yaml": c[r.Values.Name]}
	return &fleet.Found{Name: r.Name(), Digest: fleet.ValuesDigest("uid", data), Values: &fleet.HeldValues{Data: data}}, nil
}

// renderedValues are the values that a template of the chart sees.
func renderedValues(t *testing.T, planner *plan.Planner, chart map[string]any, layers map[string]map[string]any) map[string]any {
	t.Helper()
	text := func(value any) string {
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	of := func(name string) string { return text(layers[name]) }
	clusterValues := func(name string, priority int, layer string) string {
		return fmt.Sprintf("apiVersion: muster.dev/v1alpha1\nkind: ClusterValues\nmetadata: {name: %s, namespace: muster-system}\nspec: {priority: %d, values: {apps: {web: %s}}}\n", name, priority, of(layer))
	}
	files := fstest.MapFS{}
	for name, content := range map[string]string{
		"muster.yaml": "apiVersion: muster.dev/v1alpha1\nkind: FleetConfiguration\nspec:\n  defaults:\n  - spec: {helm: {values: " + of("defaults of all") + "}}\n" +
			"  - {namespaces: [shop], spec: {helm: {values: " + of("defaults of the namespace") + "}}}\n  - {namespaces: [other], spec: {helm: {values: {z: of another namespace}}}}\n",
		"clusters/one.yaml":       "apiVersion: cluster.open-cluster-management.io/v1\nkind: ManagedCluster\nmetadata: {name: one, labels: {cluster.open-cluster-management.io/clusterset: all}}\nspec: {hubAcceptsClient: true}\n",
		"clustersets/all.yaml":    "apiVersion: cluster.open-cluster-management.io/v1beta2\nkind: ManagedClusterSet\nmetadata: {name: all}\n",
		"tenants/shop.yaml":       "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: cluster.open-cluster-management.io/v1beta2\nkind: ManagedClusterSetBinding\nmetadata: {name: all, namespace: shop}\nspec: {clusterSet: all}\n",
		"clustervalues/low.yaml":  clusterValues("low", 0, "ClusterValues of priority 0"),
		"clustervalues/high.yaml": clusterValues("high", 1, "ClusterValues of priority 1"),
		"applications/shop/web/application.yaml": "apiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: shop}\nspec:\n  placement: {clusterSets: [all]}\n  source: {path: charts/web}\n" +
			"  helm:\n    clusterValues: apps.web\n    valuesFiles: [one.yaml, two.yaml]\n    valuesFrom: [{kind: ConfigMap, name: one}, {kind: ConfigMap, name: two}]\n    values: " + of("inline values") + "\n" +
			"  overrides:\n  - {name: one, clusterSelector: {}, helm: {values: " + of("override 1") + "}}\n  - {name: none, clusterSelector: {labelSelector: {matchLabels: {tier: none}}}, helm: {values: {z: of another cluster}}}\n" +
			"  - {name: two, clusterSelector: {}, helm: {values: " + of("override 2") + "}}\n",
		"applications/shop/web/one.yaml": of("values file 1"),
		"applications/shop/web/two.yaml": of("values file 2"),
		"charts/web/Chart.yaml":          "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"charts/web/values.yaml":         text(chart),
		"charts/web/templates/all.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {values: {{ .Values | toJson | quote }}}\n",
	} {
		files[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
	}
	tree := fleet.TreeOf(files)
	defs, err := fleet.Load(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	world := fleet.World{FromRepository: true, Sources: configMaps{"one": []byte(of("ConfigMap 1")), "two": []byte(of("ConfigMap 2"))}}
	p, err := planner.LoadedAfter(t.Context(), nil, fleet.Snapshot{Repository: "muster-system/fleet", Revision: "head", Tree: tree}, defs, world)
	if err != nil || len(p.Faults) > 0 {
		t.Fatal(err, p.Faults)
	}
	content, err := p.Find("shop/web").On("one").Content()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(content.Manifests, func(m fleet.Manifest) bool { return m.Key.Kind == "ConfigMap" })
	var object struct{ Data struct{ Values string } }
	var values map[string]any
	if err := json.Unmarshal(content.Manifests[at].JSON, &object); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(object.Data.Values), &values); err != nil {
		t.Fatal(err)
	}
	return values
}
