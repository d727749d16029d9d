package render

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// shelf is what references resolve to, as repository name version.
type shelf map[string]fleet.Tree

func (s shelf) Find(r *fleet.Reference) (*fleet.Found, error) {
	key := r.Chart.Repo + " " + r.Chart.Name + " " + r.Chart.Version
	if s[key] == nil {
		return nil, errors.New("there is no " + key)
	}
	return &fleet.Found{Name: r.Chart.Name + "@" + r.Chart.Version, Version: r.Chart.Version, Digest: "sha256:1", Tree: s[key], Packed: true}, nil
}

const commonChart = `
-- Chart.yaml --
apiVersion: v2
name: common
version: 1.2.3
-- values.yaml --
size: small
-- .helmignore --
templates/
-- templates/config.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: common}
data: {size: {{ .Values.size }}}
`

func TestDependenciesThatAreNotVendored(t *testing.T) {
	const web = "-- charts/web/templates/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n-- charts/web/values.yaml --\ncommon: {size: large}\n"
	chart := func(dependency string) string {
		return web + "-- charts/web/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\ndependencies:\n- " + dependency + "\n"
	}
	const lock = "-- charts/web/Chart.lock --\ndependencies:\n- {name: common, version: 1.2.3, repository: 'https://charts.example.com'}\n"
	beside := strings.ReplaceAll(strings.TrimPrefix(commonChart, "\n"), "-- ", "-- libs/common/")
	beside = strings.ReplaceAll(beside, "-- libs/common/.helmignore --\ntemplates/\n", "")
	cases := map[string]struct {
		files string
		want  string // the size that the dependency gets, or what the fault says
	}{
		"exact":     {chart("{name: common, version: 1.2.3, repository: 'https://charts.example.com'}"), "large"},
		"locked":    {chart("{name: common, version: ^1, repository: 'https://charts.example.com'}") + lock, "large"},
		"beside":    {chart("{name: common, version: 1.2.3, repository: 'file://../../libs/common'}") + beside, "large"},
		"ignored":   {chart("{name: common, version: 1.2.3, repository: 'https://charts.example.com'}") + "-- charts/web/.helmignore --\ncharts/common-1.2.3/templates/config.yaml\n", "large"},
		"no lock":   {chart("{name: common, version: ^1, repository: 'https://charts.example.com'}"), "charts/web/Chart.yaml:5: dependency common is wanted in the range \"^1\", and no Chart.lock"},
		"not there": {chart("{name: common, version: 1.2.4, repository: 'https://charts.example.com'}"), "charts/web/Chart.yaml:5: dependency common: there is no https://charts.example.com common 1.2.4"},
		"a name":    {chart("{name: common, version: 1.2.3, repository: '@mine'}"), "a name that only one machine knows"},
		"leads out": {chart("{name: common, version: 1.2.3, repository: 'file://../../../common'}"), "leads out of the repository"},
		"a cycle": {chart("{name: a, version: 1.0.0, repository: 'file://../a'}") +
			"-- charts/a/Chart.yaml --\napiVersion: v2\nname: a\nversion: 1.0.0\ndependencies: [{name: b, version: 1.0.0, repository: 'file://../b'}]\n" +
			"-- charts/b/Chart.yaml --\napiVersion: v2\nname: b\nversion: 1.0.0\ndependencies: [{name: a, version: 1.0.0, repository: 'file://../a'}]\n",
			"dependency a leads back to itself: file://../a a, file://../b b, file://../a a"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in := input(t, c.files, "source: {path: charts/web}")
			in.Sources = shelf{"https://charts.example.com common 1.2.3": fleet.TreeOf(files(commonChart))}
			content, err := New(1<<20).Render(t.Context(), in)
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("the fault is %v, want %q", err, c.want)
				}
				return
			}
			got := ""
			for _, m := range content.Manifests {
				if m.Key.Name == "common" {
					got = string(m.JSON)
				}
			}
			if len(content.Manifests) != 2 || !strings.Contains(got, `"size":"`+c.want+`"`) {
				t.Errorf("rendered %d manifests, common is %s, want size %s", len(content.Manifests), got, c.want)
			}
		})
	}
}

// TestDependenciesAreBounded: charts beside the chart that name the next two each are twice as many on each level.
func TestDependenciesAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		levels, each int
		want         string
	}{
		"wide": {12, 2, "is one too many: 200 charts are put into one"},
		"deep": {20, 1, "charts/c16-0/Chart.yaml:5: dependency c17-0 is one too many"},
		"few":  {5, 2, ""},
	} {
		var files strings.Builder
		for level := range c.levels {
			for i := range c.each {
				fmt.Fprintf(&files, "-- charts/c%d-%d/Chart.yaml --\napiVersion: v2\nname: c%d-%d\nversion: 1.0.0\n", level, i, level, i)
				for j := 0; j < c.each && level+1 < c.levels; j++ {
					if j == 0 {
						files.WriteString("dependencies:\n")
					}
					fmt.Fprintf(&files, "- {name: c%d-%d, version: 1.0.0, repository: 'file://../c%d-%d'}\n", level+1, j, level+1, j)
				}
			}
		}
		in := input(t, files.String()+"-- charts/c0-0/templates/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n", "source: {path: charts/c0-0}")
		_, err := New(1<<20).Render(t.Context(), in)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestSourceOfAnotherTree: content of elsewhere is shown under its own name, values are from beside the application, and nothing in
// it reaches the fleet's files.
func TestSourceOfAnotherTree(t *testing.T) {
	in := input(t, "-- applications/shop/web/values.yaml --\nsize: large\n",
		"source: {chart: {repo: 'https://charts.example.com', name: common, version: 1.2.3}}\nhelm: {valuesFiles: [values.yaml, 'chart:values-prod.yaml']}")
	in.Sources = shelf{"https://charts.example.com common 1.2.3": fleet.TreeOf(files(commonChart + "-- values-prod.yaml --\nother: x\n"))}
	content, err := New(1<<20).Render(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	m := content.Manifests[0]
	if m.File != "common@1.2.3/templates/config.yaml" || !strings.Contains(string(m.JSON), `"size":"large"`) {
		t.Errorf("rendered %s from %s", m.JSON, m.File)
	}
	in.Application.Spec.Source = musterv1alpha1.Source{Chart: in.Application.Spec.Source.Chart, Path: "charts/web"}
	if _, err := New(1<<20).Render(t.Context(), in); err == nil || !strings.Contains(err.Error(), "exactly one of path, git, chart and oci") {
		t.Errorf("two sources: %v", err)
	}
}
