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
		"exact":  {chart("{name: common, version: 1.2.3, repository: 'https://charts.example.com'}"), "large"},
		"locked": {chart("{name: common, version: ^1, repository: 'https://charts.example.com'}") + lock, "large"},
		"not the lock's range": {chart("{name: common, version: ^2, repository: 'https://charts.example.com'}") + lock,
			"charts/web/Chart.lock: Chart.lock has common 1.2.3, and Chart.yaml wants ^2: run `helm dependency update charts/web`"},
		"another lock": {chart("{name: common, version: ^1, repository: 'https://charts.example.com'}") + lock + "digest: sha256:fb239e836325c5fa14b29d1540a13b7d3ba13151b67fe719f820e0ef6d66aaaf\n",
			"charts/web/Chart.lock: Chart.lock is not in step with Chart.yaml"},
		"vendored, another lock": {chart("{name: common, version: ^1, repository: 'https://charts.example.com'}") + lock + "digest: sha256:fb239e\n" +
			strings.ReplaceAll(beside, "-- libs/", "-- charts/web/charts/"), "large"},
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

// TestDependenciesOfRepositoriesInACycle: charts of a repository that want each other end as those beside each other do.
func TestDependenciesOfRepositoriesInACycle(t *testing.T) {
	of := func(name, other string) string {
		return "apiVersion: v2\nname: " + name + "\nversion: 1.0.0\ndependencies: [{name: " + other + ", version: 1.0.0, repository: 'oci://registry.example.com/charts'}]\n"
	}
	in := input(t, "-- charts/web/Chart.yaml --\n"+of("web", "a"), "source: {path: charts/web}")
	in.Sources = shelf{
		"oci://registry.example.com/charts a 1.0.0": fleet.TreeOf(files("-- Chart.yaml --\n" + of("a", "b"))),
		"oci://registry.example.com/charts b 1.0.0": fleet.TreeOf(files("-- Chart.yaml --\n" + of("b", "a"))),
	}
	_, err := New(1<<20).Render(t.Context(), in)
	if want := "dependency a leads back to itself: oci://registry.example.com/charts a, oci://registry.example.com/charts b, oci://registry.example.com/charts a"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
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

// opened is a shelf that notes how references are opened.
type opened struct {
	shelf
	references []*fleet.Reference
}

func (o *opened) Find(r *fleet.Reference) (*fleet.Found, error) {
	o.references = append(o.references, r)
	return o.shelf.Find(r)
}

// TestPrivateDependencies: a dependency, and a chart of helmCharts, is fetched with what chartRepositories say of its address, wherever the
// chart that names it is from.
func TestPrivateDependencies(t *testing.T) {
	repositories := "\nchartRepositories:\n- {url: 'https://charts.example.com', secretRef: {name: host}}\n- {url: 'https://charts.example.com/team/', secretRef: {name: team}, insecure: true, verify: {keys: [k]}}\n"
	for address, want := range map[string]string{
		"https://charts.example.com":                   "host",
		"https://charts.example.com/":                  "host",
		"https://charts.example.com/other":             "host",
		"https://charts.example.com/teams":             "host",
		"https://charts.example.com/team":              "team",
		"https://charts.example.com/team/a":            "team",
		"https://charts.example.com/team/../other":     "host",
		"https://charts.example.com/team/%2e%2e/other": "host",
		"https://charts.example.com:8443/team":         "",
		"https://charts.example.com.evil.example/team": "",
		"oci://charts.example.com/team":                "",
		"http://charts.example.com/team":               "",
	} {
		charts := "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: common, version: 1.2.3, repository: '" + address + "'}]\n"
		content := map[string]string{
			"a folder":   "-- charts/web/Chart.yaml --\n" + charts,
			"helmCharts": "-- charts/web/kustomization.yaml --\nhelmCharts: [{name: common, version: 1.2.3, repo: '" + address + "'}]\n",
		}
		for what, text := range content {
			in := input(t, text+"-- charts/web/templates/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n", "source: {path: charts/web}"+repositories)
			sources := &opened{shelf: shelf{address + " common 1.2.3": fleet.TreeOf(files(commonChart))}}
			in.Sources = sources
			if _, err := New(1<<20).Render(t.Context(), in); err != nil {
				t.Fatalf("%s of %s: %v", what, address, err)
			}
			r := sources.references[0]
			isTeam := want == "team"
			if r.SecretRef() != want || r.Insecure() != isTeam || (r.Verification() != nil) != isTeam || (r.Namespace != "") != (want != "") {
				t.Errorf("%s of %s is opened with Secret %q of %q, insecure %v, verified by %v; want %q", what, address, r.SecretRef(), r.Namespace, r.Insecure(), r.Verification(), want)
			}
		}
	}
	// An override replaces them.
	in := input(t, "-- charts/web/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: common, version: 1.2.3, repository: 'https://charts.example.com'}]\n",
		"source: {path: charts/web}"+repositories+"overrides: [{name: all, clusterSelector: {}, chartRepositories: [{url: 'https://charts.example.com', secretRef: {name: mine}}]}]\n")
	sources := &opened{shelf: shelf{"https://charts.example.com common 1.2.3": fleet.TreeOf(files(commonChart))}}
	in.Sources = sources
	if _, err := New(1<<20).Render(t.Context(), in); err != nil || sources.references[0].SecretRef() != "mine" {
		t.Errorf("with an override: %v, %v", sources.references, err)
	}
}

func TestArchiveOfAChart(t *testing.T) {
	for file, want := range map[string]bool{
		"redis-1.0.0.tgz": true, "redis-v1.0.0.tgz": true, "redis-cluster-1.0.0.tgz": false, "redis-.tgz": false, "redis-1.0.0.txt": false, "other-1.0.0.tgz": false,
	} {
		if isArchiveOf(file, "redis") != want {
			t.Errorf("%s is an archive of redis: %v", file, !want)
		}
	}
}
