package render

import (
	"strings"
	"testing"

	"github.com/muster-io/muster/internal/fleet"
)

func TestHelmChartsOfKustomizations(t *testing.T) {
	const own = "-- overlays/prod/kustomization.yaml --\nnamePrefix: prod-\nresources: [../base]\n"
	base := func(charts string) string {
		return own + "-- overlays/base/kustomization.yaml --\nhelmCharts:\n" + charts + "-- overlays/base/values.yaml --\nsize: large\n"
	}
	local := strings.ReplaceAll(strings.TrimPrefix(commonChart, "\n"), "-- ", "-- overlays/base/charts/common/")
	local = strings.ReplaceAll(local, "-- overlays/base/charts/common/.helmignore --\ntemplates/\n", "")
	cases := map[string]struct{ files, want string }{
		"of a repository": {base("- {name: common, repo: 'https://charts.example.com', version: 1.2.3, releaseName: x, valuesFile: values.yaml}\n"), "large"},
		"of this one":     {base("- {name: common, valuesInline: {size: huge}, valuesFile: values.yaml}\n") + local, "huge"},
		"not there":       {base("- {name: common}\n"), "overlays/base/kustomization.yaml:1: helmCharts: there is no chart common in overlays/base/charts"},
		"no version":      {base("- {name: common, repo: 'https://charts.example.com'}\n"), "one of a repository a version too"},
		"not fetched":     {base("- {name: common, repo: 'https://charts.example.com', version: 1.2.4}\n"), "there is no https://charts.example.com common 1.2.4"},
		"other fields":    {base("- {name: common, devel: true}\n"), "the fields that are read are name, repo"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in := input(t, c.files, "source: {path: overlays/prod}")
			in.Sources = shelf{"https://charts.example.com common 1.2.3": fleet.TreeOf(files(commonChart))}
			content, err := New(1<<20).Render(t.Context(), in)
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("the fault is %v, want %q", err, c.want)
				}
				return
			}
			if m := content.Manifests; len(m) != 1 || m[0].Key.Name != "prod-common" || !strings.Contains(string(m[0].JSON), `"size":"`+c.want+`"`) {
				t.Errorf("rendered %s, want size %s", texts(content), c.want)
			}
		})
	}
}

// manyAliases are 64 KiB that become 80 MiB.
var manyAliases = "x: &a " + strings.Repeat("y", 4096) + "\nz: [" + strings.Repeat("*a,", 20_000) + "]\n"

// TestAliasesAreBounded holds that what is read of charts and kustomizations in this process takes no more memory than it should.
func TestAliasesAreBounded(t *testing.T) {
	tree := fleet.TreeOf(files("-- o/kustomization.yaml --\nresources: [a.yaml]\n" + manyAliases +
		"-- c/Chart.yaml --\ndependencies: [{name: a, version: 1.0.0}]\n" + manyAliases))
	if o, err := (inflator{}).overlayIn(tree, "o"); o != nil || err != nil {
		t.Errorf("the kustomization was read, %v", err)
	}
	if list, err := dependenciesIn(tree, "c/Chart.yaml"); len(list) > 0 || err != nil {
		t.Errorf("the chart's dependencies were read: %v, %v", list, err)
	}
}
