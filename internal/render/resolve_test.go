package render

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/fleet"
)

func TestExpressions(t *testing.T) {
	tests := map[string]struct {
		source string
		want   any
		fails  string
		why    string
	}{
		"no expression":       {source: "plain", want: "plain", why: "a text is itself"},
		"another's template":  {source: "{{ $labels.instance }} is down", want: "{{ $labels.instance }} is down", why: "Prometheus' templates pass through"},
		"label":               {source: `${{ label "region" }}`, want: "eu", why: "a label is text"},
		"label in a text":     {source: `values/${{ label "region" }}.yaml`, want: "values/eu.yaml", why: "a text stays text"},
		"label with slash":    {source: `${{ label "topology.kubernetes.io/region" }}`, want: "eu-west", why: "any label key"},
		"claim":               {source: `${{ claim "id.k8s.io" }}`, want: "4711", why: "a claim is text, even of digits"},
		"name":                {source: `${{ cluster.name }}`, want: "edge-7", why: "as the design writes it, without a dot"},
		"labels":              {source: `${{ cluster.labels.region }}`, want: "eu", why: "labels whose key is a word"},
		"integer":             {source: `${{ label "replicas" | int }}`, want: int64(3), why: "one expression keeps its type"},
		"integer in spaces":   {source: `  ${{ label "replicas" | int }}`, want: "  3", why: "more than the expression is text"},
		"boolean":             {source: `${{ eq (label "region") "eu" }}`, want: true, why: "comparison gives a boolean"},
		"list":                {source: `${{ split "," "a,b" }}`, want: []string{"a", "b"}, why: "one expression keeps its type"},
		"default argument":    {source: `${{ label "zone" "z1" }}`, want: "z1", why: "the design's form of a default"},
		"default of a type":   {source: `${{ label "zone" 3 }}`, want: 3, why: "a default keeps its type"},
		"default pipe":        {source: `${{ label "zone" | default "z1" }}`, want: "z1", why: "the form that Helm's users write"},
		"default prefix":      {source: `${{ default "z1" (claim "zone") }}`, want: "z1", why: "the other form of Helm's users"},
		"default not needed":  {source: `${{ label "region" | default "z1" }}`, want: "eu", why: "a label that is there wins"},
		"functions":           {source: `${{ label "region" | upper | replace "E" "A" | quote }}`, want: `"AU"`, why: "functions compose"},
		"condition":           {source: `${{ if hasPrefix "e" (label "region") }}yes${{ else }}no${{ end }}`, want: "yes", why: "templates are whole templates"},
		"ternary":             {source: `${{ ternary 5 1 (eq (label "env") "prod") }}`, want: 5, why: "values by condition"},
		"missing label":       {source: `a ${{ label "zone" }}`, fails: `label "zone" is missing on cluster edge-7: set it in the cluster's file or give a default: label "zone" "x"`, why: "the next step is named"},
		"missing claim":       {source: `${{ claim "zone" }}`, fails: `claim "zone" is not reported by cluster edge-7`, why: "the next step is named"},
		"missing in a branch": {source: `${{ if false }}${{ label "zone" }}${{ end }}ok`, want: "ok", why: "what is not asked for is not missing"},
		"missing name":        {source: `${{ cluster.values.x }}`, fails: `map has no entry for key "values"`, why: "what does not exist yet is no empty text"},
		"not a number":        {source: `${{ label "region" | int }}`, fails: "not a whole number", why: "and the value is not quoted"},
		"not an expression":   {source: `${{ label }`, fails: "does not parse", why: "the author sees what is wrong"},
		"unknown function":    {source: `${{ env "HOME" }}`, fails: `function "env" not defined`, why: "nothing of the environment"},
		"no time":             {source: `${{ now }}`, fails: `function "now" not defined`, why: "nothing of the clock"},
	}
	c := cluster("edge-7", map[string]string{"region": "eu", "env": "prod", "replicas": "3", "topology.kubernetes.io/region": "eu-west"})
	c.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: "id.k8s.io", Value: "4711"}}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := newScope(c).value(test.source)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) || strings.Contains(err.Error(), "template:") {
					t.Errorf("%s: got %v, %v", test.why, got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.why, diff)
			}
		})
	}
}

const layered = `
source: {path: 'charts/${{ label "env" }}'}
helm:
  valuesFiles: [a.yaml]
  values:
    image: {tag: v1, pull: Always}
    args: [a, b]
    replicas: '${{ label "replicas" "2" | int }}'
    nested: {x: {y: 1}}
destination: {namespace: '${{ cluster.name }}-shop'}
serviceAccountName: '${{ label "env" }}-deployer'
overrides:
- name: everywhere
  clusterSelector: {}
  helm: {releaseName: '${{ cluster.name }}', values: {args: [c], nested: {x: null}}}
- name: prod
  clusterSelector: {labelSelector: {matchLabels: {env: prod}}}
  source: {path: 'charts/prod-${{ label "region" }}'}
  helm: {valuesFiles: [{path: '${{ label "region" }}.yaml', optional: true}], values: {image: {tag: v2}}, hooks: Ignore}
- name: dev
  clusterSelector: {labelSelector: {matchLabels: {env: dev}}}
  helm: {values: {image: {tag: dev}}}
`

func TestResolve(t *testing.T) {
	in := input(t, "", layered)
	before, _ := json.Marshal(in.Application)
	r, err := Resolve(in)
	if err != nil {
		t.Fatal(err)
	}
	spec := r.Application.Spec
	got := map[string]any{
		"overrides": r.Overrides, "path": spec.Source.Path, "release": spec.Helm.ReleaseName, "values": string(spec.Helm.Values.Raw),
		"file": spec.Helm.ValuesFiles[0].Path, "namespace": spec.Destination.Namespace, "account": spec.ServiceAccountName,
		"hooks": string(spec.Helm.Hooks), "layers": r.Layers,
	}
	want := map[string]any{
		"overrides": []string{"everywhere", "prod"}, "path": "charts/prod-eu", "release": "edge-7",
		"values": `{"args":["c"],"image":{"pull":"Always","tag":"v2"},"nested":{"x":null},"replicas":2}`,
		"file":   "eu.yaml", "namespace": "edge-7-shop", "account": "prod-deployer", "hooks": "Ignore",
		"layers": map[string]string{
			"args": "override everywhere", "image.pull": "application.yaml:104", "image.tag": "override prod",
			"nested.x": "override everywhere", "replicas": "application.yaml:103",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resolved (-want +got):\n%s", diff)
	}
	if after, _ := json.Marshal(in.Application); string(before) != string(after) {
		t.Errorf("the application itself was changed:\n%s", cmp.Diff(string(before), string(after)))
	}
}

func TestExpressionFaultsNameTheField(t *testing.T) {
	tests := map[string]struct{ spec, field, why string }{
		"value":          {`{source: {path: a}, helm: {values: {a: {b: '${{ label "zone" }}'}}}}`, "spec.helm.values.a.b", "the leaf"},
		"list":           {`{source: {path: a}, helm: {values: {a: [x, '${{ label "zone" }}']}}}`, "spec.helm.values.a[1]", "the element"},
		"override":       {`{source: {path: a}, overrides: [{name: o, clusterSelector: {}, helm: {values: {a: '${{ label "zone" }}'}}}]}`, "spec.overrides[0].helm.values.a", "the layer that won"},
		"override lists": {`{source: {path: a}, helm: {valuesFiles: [x]}, overrides: [{name: o, clusterSelector: {}, helm: {valuesFiles: [a, '${{ label "zone" }}']}}]}`, "spec.overrides[0].helm.valuesFiles[1]", "the list that won"},
		"source":         {`{source: {path: '${{ label "zone" }}'}}`, "spec.source.path", "the field"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := input(t, "", test.spec)
			asked := ""
			in.LineOf = func(field string) int { asked = field; return 7 }
			f := faultOf(t, in)
			if asked != test.field || f.Reason != fleet.ExpressionFailed || f.Position() != "applications/shop/web/application.yaml:7" {
				t.Errorf("%s: asked for the line of %s, got %v", test.why, asked, f)
			}
		})
	}
}

func TestAnOverriddenExpressionIsNotEvaluated(t *testing.T) {
	in := input(t, "", `{source: {path: a}, helm: {values: {a: '${{ label "zone" }}'}}, overrides: [{name: o, clusterSelector: {}, helm: {values: {a: 1}}}]}`)
	if _, err := Resolve(in); err != nil {
		t.Errorf("overrides are merged first: %v", err)
	}
}
