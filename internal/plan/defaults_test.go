package plan_test

import (
	"strings"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

const chartOfDefaults = `-- charts/web/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- charts/web/values.yaml --
a: chart
b: chart
c: chart
-- charts/web/templates/web.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {values: {{ .Values | toJson | quote }}}
`

func configuration(defaults string) string {
	return "-- muster.yaml --\napiVersion: muster.dev/v1alpha1\nkind: FleetConfiguration\nspec:\n  defaults:\n" + defaults
}

func TestDefaults(t *testing.T) {
	const values = "-- clustervalues/all.yaml --\napiVersion: muster.dev/v1alpha1\nkind: ClusterValues\nmetadata: {name: all, namespace: shop}\nspec: {values: {web: {b: cluster}}}\n"
	app := func(spec string) string { return "placementRef: {name: eu}\n  source: {path: charts/web}\n" + spec }
	// withPlacement's own source is replaced: the last one of the document counts.
	plan := func(t *testing.T, spec, defaults string) (*musterv1alpha1.Application, string, map[string]string) {
		t.Helper()
		p := withPlacement(t, "", "\n-- applications/web.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: shop, labels: {tier: front}}\nspec:\n  "+app(spec), "\n"+chartOfDefaults, values, configuration(defaults))
		if len(p.Faults) > 0 {
			t.Fatal(p.Faults)
		}
		a := p.Find("shop/web")
		content, err := a.On("a").Content()
		if err != nil {
			t.Fatal(err)
		}
		return a.Application, string(content.Manifests[len(content.Manifests)-1].JSON), content.Values
	}
	t.Run("values are below all other layers", func(t *testing.T) {
		_, json, layers := plan(t, "  helm: {clusterValues: web, values: {c: inline}}\n", "  - spec:\n      helm:\n        values: {a: default, b: default, c: default, d: '${{ cluster.name }}'}\n")
		if !strings.Contains(json, `{\"a\":\"default\",\"b\":\"cluster\",\"c\":\"inline\",\"d\":\"a\"}`) {
			t.Error(json)
		}
		if layers["a"] != "muster.yaml:7" || layers["d"] != "muster.yaml:7" || layers["b"] != "clustervalues/all.yaml:4" || layers["c"] != "web.yaml:7" {
			t.Error(layers)
		}
	})
	t.Run("what the application says goes over them", func(t *testing.T) {
		a, json, _ := plan(t, "  sync: {drift: Report}\n  commonMetadata: {labels: {x: app}}\n", `  - {spec: {sync: {drift: Ignore, onImmutable: Recreate}, commonMetadata: {labels: {x: default, z: default}}, helm: {values: {a: default}}, serviceAccountName: deployer}}
  - {namespaces: [bank], spec: {serviceAccountName: other}}
  - {selector: {matchLabels: {tier: front}}, spec: {commonMetadata: {labels: {z: front}}}}
  - {selector: {matchLabels: {tier: back}}, spec: {commonMetadata: {labels: {z: back}}}}
`)
		if a.Spec.Sync.Drift != "Report" || a.Spec.Sync.OnImmutable != "Recreate" || a.Spec.ServiceAccountName != "deployer" || a.Spec.Helm != nil {
			t.Errorf("%+v", a.Spec)
		}
		if !strings.Contains(json, `"labels":{"x":"app","z":"front"}`) {
			t.Error(json)
		}
	})
	for defaults, want := range map[string]string{
		"  - {spec: {source: {path: x}}}\n": `unknown field`,
		"  - {spec: {sync: {drift: Report}}, selector: {matchExpressions: [{key: a, operator: Like}]}}\n": "the selector of the defaults is invalid",
		"  - {spec: {sync: [\n": "its defaults are not known: muster.yaml cannot be read; what was delivered stays",
	} {
		p := withPlacement(t, "placementRef: {name: eu}", configuration(defaults))
		found := false
		for _, f := range p.Faults {
			found = found || strings.Contains(f.Error(), want)
		}
		key := fleet.ObjectKey{Group: "muster.dev", Kind: "Application", Namespace: "shop", Name: "web"}
		if !found || p.Find("shop/web") != nil || !p.Definitions.Named[key] || p.Definitions.AbsenceProven {
			t.Errorf("%s: faults %v", defaults, p.Faults)
		}
	}
}
