package render

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// withValues gives an input the values of ClusterValues, each a spec, named v0, v1 and so on.
func withValues(t testing.TB, in Input, specs ...string) Input {
	t.Helper()
	var list []musterv1alpha1.ClusterValues
	for i, spec := range specs {
		o := musterv1alpha1.ClusterValues{}
		o.Namespace, o.Name = "muster-system", "v"+string(rune('0'+i))
		if err := yaml.UnmarshalStrict([]byte(spec), &o.Spec); err != nil {
			t.Fatal(err)
		}
		list = append(list, o)
	}
	index := fleet.NewValuesIndex(list, func(o *musterv1alpha1.ClusterValues, field string) (string, int) {
		return "clustervalues/" + o.Name + ".yaml", strings.Count(field, ".")
	})
	in.ClusterValues = index.Of("shop", in.Cluster)
	in.HasValues = func(path string) bool { return index.Has("shop", path) }
	return in
}

func TestClusterValuesInExpressions(t *testing.T) {
	const archive = "-- chart/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\n-- chart/templates/x.yaml --\n" +
		configMap + "data: {x: {{ .Values.x | toJson | quote }}}\n"
	values := []string{
		`{values: {domain: example.com, ingress: {class: nginx, hosts: [a, b]}, gone: 1, count: 3, tls: true, both: {ok: 1, not: 1}}}`,
		`{values: {both: {not: 2}}}`,
		`{priority: 1, values: {gone: null}}`,
	}
	for name, test := range map[string]struct{ expression, want, fault string }{
		"text":               {expression: `shop.${{ cluster.values.domain }}`, want: `"shop.example.com"`},
		"typed":              {expression: `${{ cluster.values.count }}`, want: `3`},
		"bool":               {expression: `${{ cluster.values.tls }}`, want: `true`},
		"below":              {expression: `${{ cluster.values.ingress.class }}`, want: `"nginx"`},
		"list":               {expression: `${{ cluster.values.ingress.hosts }}`, want: `["a","b"]`},
		"map":                {expression: `${{ cluster.values.ingress }}`, want: `{"class":"nginx","hosts":["a","b"]}`},
		"index":              {expression: `${{ cluster.values["ingress"]["class"] }}`, want: `"nginx"`},
		"has":                {expression: `${{ has(cluster.values.ingress.port) ? 1 : 2 }}`, want: `2`},
		"default":            {expression: `${{ cluster.values.?proxy.?url.orValue("none") }}`, want: `"none"`},
		"default, there":     {expression: `${{ cluster.values.?ingress.?class.orValue("none") }}`, want: `"nginx"`},
		"arithmetic":         {expression: `${{ int(cluster.values.count) + 1 }}`, want: `4`},
		"missing":            {expression: `${{ cluster.values.proxy }}`, fault: `cluster.values.proxy is not set for cluster edge-7: set it in ClusterValues that match the cluster, or give a default: cluster.values.?proxy.orValue("x")`},
		"missing below":      {expression: `${{ cluster.values.ingress.port }}`, fault: `cluster.values.ingress.port is not set for cluster edge-7: set it in ClusterValues that match the cluster, or give a default: cluster.values.?ingress.?port.orValue("x")`},
		"deleted":            {expression: `${{ cluster.values.gone }}`, fault: `cluster.values.gone is not set for cluster edge-7`},
		"beside a conflict":  {expression: `${{ cluster.values.both.ok }}`, want: `1`},
		"conflict":           {expression: `${{ cluster.values.both.not }}`, fault: `ClusterValues muster-system/v0 in clustervalues/v0.yaml:3 and ClusterValues muster-system/v1 in clustervalues/v1.yaml:3 set both.not to different values at priority 0`},
		"above a conflict":   {expression: `${{ cluster.values.both }}`, fault: `set both.not to different values at priority 0`},
		"conflict, optional": {expression: `${{ cluster.values.?both.?not.orValue(1) }}`, fault: `set both.not to different values at priority 0`},
		"conflict, inside":   {expression: `${{ {"a": [cluster.values.both]} }}`, fault: `set both.not to different values at priority 0`},
	} {
		t.Run(name, func(t *testing.T) {
			quoted, err := json.Marshal(test.expression)
			if err != nil {
				t.Fatal(err)
			}
			in := withValues(t, input(t, archive, `{source: {path: chart}, helm: {values: {x: `+string(quoted)+`}}}`), values...)
			if test.fault != "" {
				f := faultOf(t, in)
				if f.Reason != fleet.ExpressionFailed || !strings.Contains(f.Message, test.fault) {
					t.Errorf("got %s: %s", f.Reason, f.Message)
				}
				if remedy := "clustervalues/v2.yaml"; strings.Contains(test.fault, "is not set") != (f.Remedy == remedy) {
					t.Errorf("the file to change is %q", f.Remedy)
				}
				return
			}
			var object struct{ Data struct{ X string } }
			if err := json.Unmarshal(mustRender(t, New(1<<20), in).Manifests[0].JSON, &object); err != nil {
				t.Fatal(err)
			}
			if object.Data.X != test.want {
				t.Errorf("got %s, want %s", object.Data.X, test.want)
			}
		})
	}
}

// TestClusterValuesLayer: the values of a cluster are a layer over the chart's own and below the values files, and each has its place.
func TestClusterValuesLayer(t *testing.T) {
	const archive = `
-- chart/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- chart/values.yaml --
a: chart
b: chart
c: chart
d: {x: chart, z: chart}
-- chart/templates/x.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {values: {{ .Values | toJson | quote }}}
-- applications/shop/web/values.yaml --
c: file
`
	values := []string{`{values: {apps: {web: {a: cluster, c: cluster, d: {x: null}}}, other: 1, text: x}}`, `{values: {apps: {bank: {}}, bad: 1}}`, `{values: {bad: 2}}`}
	spec := func(path string) string {
		return `{source: {path: chart}, helm: {clusterValues: ` + path + `, valuesFiles: [values.yaml], values: {b: inline}}}`
	}
	content := mustRender(t, New(1<<20), withValues(t, input(t, archive, spec("apps.web")), values...))
	var object struct{ Data struct{ Values string } }
	if err := json.Unmarshal(content.Manifests[0].JSON, &object); err != nil {
		t.Fatal(err)
	}
	if want := `{"a":"cluster","b":"inline","c":"file","d":{"z":"chart"}}`; object.Data.Values != want {
		t.Errorf("got %s, want %s", object.Data.Values, want)
	}
	want := map[string]string{
		"a": "clustervalues/v0.yaml:4", "b": "application.yaml:103", "c": "values.yaml:1", "d.x": "clustervalues/v0.yaml:5", "d.z": "chart default",
	}
	if diff := cmp.Diff(want, content.Values); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	for path, fault := range map[string]string{
		"apps.wbe": "no ClusterValues for namespace shop has values at apps.wbe: correct the path, or define them",
		"text":     "cluster.values has no map at text: name the map that holds the chart's values",
		".":        "set bad to different values at priority 0",
		"bad":      "set bad to different values at priority 0",
	} {
		if f := faultOf(t, withValues(t, input(t, archive, spec(path)), values...)); !strings.Contains(f.Message, fault) || f.Line != 102 {
			t.Errorf("%s: got %s at %d", path, f.Message, f.Line)
		}
	}
	in := withValues(t, input(t, archive, spec("apps.web")), values...)
	in.ClusterValues = nil // others have some
	mustRender(t, New(1<<20), in)
}

func TestReadsClusterValues(t *testing.T) {
	for spec, want := range map[string]bool{
		`{source: {path: x}}`: false,
		`{source: {path: x}, helm: {values: {a: cluster.values.b}}}`:               false,
		`{source: {path: x}, helm: {values: {a: '${{ cluster.values.b }}'}}}`:      true,
		`{source: {path: x}, helm: {values: {a: "${{ cluster\n . values.b }}"}}}`:  true,
		`{source: {path: x}, helm: {clusterValues: a}}`:                            true,
		`{source: {path: x}, overrides: [{name: a, helm: {clusterValues: a}}]}`:    true,
		`{source: {path: x}, destination: {namespace: "${{ cluster.values.b }}"}}`: true,
	} {
		if got := ReadsClusterValues(app(t, spec)); got != want {
			t.Errorf("%s: got %v", spec, got)
		}
	}
}
