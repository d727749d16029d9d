package render

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/internal/fleet"
)

func TestExpressionsAreBounded(t *testing.T) {
	ten := "[1,2,3,4,5,6,7,8,9,10]"
	nested := "1"
	for i := range 7 {
		nested = fmt.Sprintf("%s.map(x%d, %s)", ten, i, nested)
	}
	doubled := `"aaaaaaaaaaaaaaaa"`
	for range 5 {
		doubled = fmt.Sprintf(`%s.replace("a", "aaaaaaaaaaaaaaaa")`, doubled)
	}
	shared, written := `["x"]`, `"x"`
	for range 7 {
		shared += ".map(a, [a, a, a, a, a, a, a, a, a, a])"
		written = `[` + written + `].map(a, "%s%s%s%s%s%s%s%s%s%s".format([a, a, a, a, a, a, a, a, a, a]))[0]`
	}
	for name, test := range map[string]struct{ values, says string }{
		"shared":           {"'${{ " + shared + " }}'", "gives more than 1 MiB"},
		"formatted":        {"'${{ " + written + " }}'", "costs more than 100000 of CEL's units"},
		"shared formatted": {"'${{ \"%s\".format([" + shared + "]).size() }}'", "gives more than 1 MiB"},
		"nested":           {"'${{ " + nested + " }}'", "costs more than 100000 of CEL's units"},
		"doubled":          {"'${{ " + doubled + " }}'", "costs more than 100000 of CEL's units"},
		"range":            {"'${{ lists.range(1000000000) }}'", "exceeds maximum"},
		"many":             {strings.Repeat("'${{ lists.range(10000).size() }}', ", 50), "with those before it, it costs more than"},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(t, "", "{source: {path: x}, helm: {values: {a: ["+test.values+"]}}}")
			if f := faultOf(t, in); f.Reason != fleet.ExpressionFailed || !strings.Contains(f.Message, test.says) || len(f.Message) > 400 || f.Line == 0 {
				t.Errorf("got %s %s %q", f.Reason, f.Position(), f.Message)
			}
		})
	}
	many := `'${{ label("region").upperAscii() + "-x" }}', `
	if _, err := Resolve(input(t, "", "{source: {path: x}, helm: {values: {a: ["+strings.Repeat(many, 2000)+"]}}}")); err != nil {
		t.Errorf("two thousand fields: %v", err)
	}
}

func BenchmarkResolve(b *testing.B) {
	in := input(b, "", layered)
	for b.Loop() {
		if _, err := Resolve(in); err != nil {
			b.Fatal(err)
		}
	}
}

const layered = `
source: {path: 'charts/${{ label("env") }}'}
helm:
  valuesFiles: [a.yaml]
  values:
    image: {tag: v1, pull: Always}
    args: [a, b]
    replicas: '${{ int(label("replicas", "2")) }}'
    nested: {x: {y: 1}}
destination: {namespace: '${{ cluster.name }}-shop'}
serviceAccountName: '${{ label("env") }}-deployer'
overrides:
- name: everywhere
  clusterSelector: {}
  helm: {releaseName: '${{ cluster.name }}', values: {args: [c], nested: {x: null}}}
- name: prod
  clusterSelector: {labelSelector: {matchLabels: {env: prod}}}
  source: {path: 'charts/prod-${{ label("region") }}'}
  helm: {valuesFiles: [{path: '${{ label("region") }}.yaml', optional: true}], values: {image: {tag: v2}}, hooks: Ignore}
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
			"args": "override everywhere, application.yaml:104", "image.pull": "application.yaml:104", "image.tag": "override prod, application.yaml:105",
			"nested.x": "override everywhere, application.yaml:105", "replicas": "application.yaml:103",
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
		"value":          {`{source: {path: a}, helm: {values: {a: {b: '${{ label("zone") }}'}}}}`, "spec.helm.values.a.b", "the leaf"},
		"list":           {`{source: {path: a}, helm: {values: {a: [x, '${{ label("zone") }}']}}}`, "spec.helm.values.a[1]", "the element"},
		"override":       {`{source: {path: a}, overrides: [{name: o, clusterSelector: {}, helm: {values: {a: '${{ label("zone") }}'}}}]}`, "spec.overrides[0].helm.values.a", "the layer that won"},
		"override lists": {`{source: {path: a}, helm: {valuesFiles: [x]}, overrides: [{name: o, clusterSelector: {}, helm: {valuesFiles: [a, '${{ label("zone") }}']}}]}`, "spec.overrides[0].helm.valuesFiles[1]", "the list that won"},
		"source":         {`{source: {path: '${{ label("zone") }}'}}`, "spec.source.path", "the field"},
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
	in := input(t, "", `{source: {path: a}, helm: {values: {a: '${{ label("zone") }}'}}, overrides: [{name: o, clusterSelector: {}, helm: {values: {a: 1}}}]}`)
	if _, err := Resolve(in); err != nil {
		t.Errorf("overrides are merged first: %v", err)
	}
}
