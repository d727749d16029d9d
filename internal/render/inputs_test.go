package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/muster-io/muster/internal/fleet"
)

// TestTextsOfTemplates holds what is read of a template's output against Helm's own way: its engine, its output of a release, and
// the decoder of its client.
func TestTextsOfTemplates(t *testing.T) {
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata:\n"
	named := func(name string) string { return fmt.Sprintf(head, name) }
	for name, template := range map[string]string{
		"block at the end":     "{{- if true }}\n" + named("a") + "  x: |\n    host ssh-rsa AAAA\n{{- end }}\n",
		"no newline":           named("a") + "  x: |\n    y",
		"kept newlines":        named("a") + "  x: |+\n    y\n\n\n",
		"kept, then another":   named("a") + "  x: |+\n    y\n\n\n---\n" + named("b") + "  x: |+\n    z\n",
		"stripped newline":     named("a") + "  x: |-\n    y\n",
		"folded":               named("a") + "  x: >\n    y\n    z",
		"range":                "{{ range $i := until 3 }}\n---\n" + named("a{{ $i }}") + "  x: |\n    line {{ $i }}\n{{- end }}",
		"range with dashes":    "{{- range $i := until 3 -}}\n" + named("a{{ $i }}") + "  x: |\n    line {{ $i }}\n---\n{{ end -}}",
		"toYaml":               named("a") + "{{ dict \"x\" \"a\\nb\\n\" | toYaml | indent 2 }}",
		"nindent of a file":    named("a") + "  x: |-\n    {{- .Files.Get \"f.txt\" | nindent 4 }}",
		"yes, dates and octal": named("a") + "  x: \"{{ .Values.x }}\"\nimmutable: yes\n",
		"merge":                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: &l {p: \"1\", q: \"1\"}\n  annotations: {<<: *l, p: \"2\"}\n",
		"the same key twice":   named("a") + "  x: \"1\"\n  x: \"2\"\n",
		"JSON":                 `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "y\n"}}`,
		"comments":             "# a\n---\n# b\n" + named("a") + "  x: y\n---\n# c\n",
	} {
		t.Run(name, func(t *testing.T) {
			const archive = "-- chart/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\n-- chart/f.txt --\na\nb\n\n-- chart/values.yaml --\nx: 0777\n"
			in := inputWith(t, archive, "chart/templates/x.yaml", template, `{source: {path: chart}}`)
			content := mustRender(t, New(1<<20), in)
			var got []any
			for _, m := range content.Manifests {
				got = append(got, withoutNamespace(t, m.JSON))
			}
			if diff := cmp.Diff(helmReads(t, in), got); diff != "" {
				t.Errorf("Helm (-) and ours (+):\n%s", diff)
			}
		})
	}
}

// inputWith is an input with one file more, byte for byte: an archive ends each file with a newline.
func inputWith(t *testing.T, archive, name, text, spec string) Input {
	t.Helper()
	in, tree := input(t, archive, spec), files(archive)
	tree[name] = &fstest.MapFile{Data: []byte(text)}
	in.Tree = fleet.TreeOf(tree)
	return in
}

// helmReads are the objects of the chart in chart/ as Helm makes them.
func helmReads(t *testing.T, in Input) []any {
	t.Helper()
	return helmRenders(t, in, map[string]any{})
}

// helmRenders are they with values.
func helmRenders(t testing.TB, in Input, given map[string]any) []any {
	t.Helper()
	var read []*archive.BufferedFile
	if err := fs.WalkDir(in.Tree, "chart", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := in.Tree.ReadFile(name)
		read = append(read, &archive.BufferedFile{Name: strings.TrimPrefix(name, "chart/"), Data: data})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c, err := loader.LoadFiles(read)
	if err != nil {
		t.Fatal(err)
	}
	if given == nil {
		given = map[string]any{}
	}
	if err := chartutil.ProcessDependencies(c, given); err != nil {
		t.Fatal(err)
	}
	values, err := commonutil.ToRenderValues(c, given, common.ReleaseOptions{Name: "web", Namespace: "shop"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(c, values)
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(files, func(name, _ string) bool { return strings.HasSuffix(name, "NOTES.txt") })
	_, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	for _, m := range manifests {
		fmt.Fprintf(&output, "---\n# Source: %s\n%s\n", m.Name, m.Content)
	}
	var objects []any
	for decoder := kyaml.NewYAMLOrJSONDecoder(&output, 4096); ; {
		var object map[string]any
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if object != nil {
			objects = append(objects, any(object))
		}
	}
}

func withoutNamespace(t *testing.T, data []byte) any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	delete(object["metadata"].(map[string]any), "namespace")
	return object
}

// TestValuesAreReadAlike holds that a value is the same inline in the application, and in an override, and the one that Helm reads;
// the engine has such a test for files.
func TestValuesAreReadAlike(t *testing.T) {
	for _, value := range []string{
		"2024-01-01", "2024-01-01T10:00:00Z", "yes", "No", "on", "y", `"yes"`, "0777", "0o777", "0x1F", "1_000", "1.10", "12345678", "12345678901234567890",
		"1e3", "12e03", ".5", "~", "null", "[a, yes, 2024-01-01]", "{yes: no, 1: 0777, 2024-01-01: x}", "'0777'", "1:30", "0b11", "{<<: {p: 1, q: 1}, p: 2}",
	} {
		t.Run(value, func(t *testing.T) {
			helms, err := loader.LoadValues(strings.NewReader("v: " + value))
			if err != nil {
				t.Fatal(err)
			}
			const application = "-- applications/shop/web/application.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: shop}\n" +
				"spec:\n  placementRef: {name: all}\n  source: {path: chart}\n  helm: {values: {v: %[1]s}}\n  overrides: [{name: o, clusterSelector: {}, helm: {values: {w: %[1]s}}}]\n"
			defs, err := fleet.Load(t.Context(), fleet.TreeOf(files(fmt.Sprintf(application, value))))
			if err != nil || len(defs.Faults) > 0 {
				t.Fatal(err, defs.Faults)
			}
			in := input(t, "", "{source: {path: chart}}")
			in.Application = defs.Applications()[0]
			resolved, err := Resolve(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]any{"v": helms["v"], "w": helms["v"]}, resolved.values); diff != "" {
				t.Errorf("Helm (-) and the application's inline values (+):\n%s", diff)
			}
		})
	}
}

// TestManifestsOfAllRenderers holds that JSON streams, merges and YAML 1.1 mean the same wherever they stand.
func TestManifestsOfAllRenderers(t *testing.T) {
	texts := map[string]struct {
		file, text string
		want       []string // name, and data
	}{
		"JSON stream":         {"a.json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}` + "\n" + `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}` + "\n", []string{"a null", "b null"}},
		"one line":            {"a.yaml", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}` + "\n", []string{"a null", "b null"}},
		"three":               {"a.json", strings.Repeat(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"NAME"}}`+"\n", 3), []string{"n0 null", "n1 null", "n2 null"}},
		"stream behind ---":   {"a.yaml", "---\n" + objectNamed("a") + "\n" + objectNamed("b") + "\n", []string{"a null", "b null"}},
		"stream behind YAML":  {"a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n" + objectNamed("b") + "\n" + objectNamed("c"), []string{"a null", "b null", "c null"}},
		"stream before YAML":  {"a.yaml", objectNamed("a") + objectNamed("b") + "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n", []string{"a null", "b null", "c null"}},
		"end of document":     {"a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n...\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n", []string{"a null", "b null"}},
		"end, and separators": {"a.yaml", "---\n# a\n" + objectNamed("a") + "\n...\n# b\n---\n" + objectNamed("b") + "\n...\n---\n---\n" + objectNamed("c"), []string{"a null", "b null", "c null"}},
		"merge":               {"a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: &l {p: \"1\", q: \"1\"}\ndata:\n  <<: *l\n  p: \"2\"\n", []string{`a {"p":"2","q":"1"}`}},
		"merges":              {"a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: &l {p: \"1\", q: \"1\"}\n  annotations: &m {q: \"2\", r: \"2\"}\ndata:\n  <<: [*l, *m]\n  p: \"3\"\n", []string{`a {"p":"3","q":"1","r":"2"}`}},
		"last line":           {"a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |+\n    y\n\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata:\n  x: |\n    z", []string{`a {"x":"y\n\n"}`, `b {"x":"z\n"}`}},
	}
	const chart = "-- m/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\n"
	places := map[string]struct{ before, folder string }{
		"folder":    {"", "m/"},
		"kustomize": {"-- m/kustomization.yaml --\nresources: [%s]\n", "m/"},
		"crds":      {chart, "m/crds/"},
		"template":  {chart, "m/templates/"},
	}
	for name, test := range texts {
		for where, place := range places {
			t.Run(name+"/"+where, func(t *testing.T) {
				text := test.text
				for i := 0; strings.Contains(text, "NAME"); i++ {
					text = strings.Replace(text, "NAME", fmt.Sprintf("n%d", i), 1)
				}
				before := place.before
				if strings.Contains(before, "%") {
					before = fmt.Sprintf(before, test.file)
				}
				content := mustRender(t, New(1<<20), inputWith(t, before, place.folder+test.file, text, `{source: {path: m}}`))
				var got []string
				for _, m := range content.Manifests {
					var object struct{ Data json.RawMessage }
					if err := json.Unmarshal(m.JSON, &object); err != nil {
						t.Fatal(err)
					}
					if object.Data == nil {
						object.Data = json.RawMessage("null")
					}
					got = append(got, m.Key.Name+" "+string(object.Data))
				}
				want := slices.Clone(test.want)
				if where == "template" && name == "last line" {
					want[0] = `a {"x":"y\n\n\n"}` // Helm adds a newline
				}
				if where == "kustomize" && name == "last line" {
					want[1] = `b {"x":"z"}` // Kustomize ends no document
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func objectNamed(name string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"}}`
}

// TestKustomizePassesOverNothing holds that what Kustomize would not read of a file is a fault with its place.
func TestKustomizePassesOverNothing(t *testing.T) {
	const flow = "{apiVersion: v1, kind: ConfigMap, metadata: {name: NAME}}\n"
	a, b := strings.Replace(flow, "NAME", "a", 1), strings.Replace(flow, "NAME", "b", 1)
	for name, row := range map[string]struct{ text, at string }{
		"flow maps":          {a + b, "m/a.yaml:2"},
		"flow maps below":    {"# c\n---\n" + a + b, "m/a.yaml:4"},
		"text behind a JSON": {objectNamed("a") + "\nfoo\n", "m/a.yaml:2"},
	} {
		for field, overlay := range map[string]string{"resources": "resources: [a.yaml]\n", "patches": "resources: [c.yaml]\npatches: [{path: a.yaml}]\n"} {
			t.Run(name+"/"+field, func(t *testing.T) {
				f := faultOf(t, inputWith(t, "-- m/c.yaml --\n"+configMap+"-- m/kustomization.yaml --\n"+overlay, "m/a.yaml", row.text, `{source: {path: m}}`))
				if f.Position() != row.at || !strings.Contains(f.Message, "cannot be read as YAML") {
					t.Errorf("got %s %q, want %s", f.Position(), f.Message, row.at)
				}
			})
		}
	}
}

// TestKustomizeTakesFilesVerbatim holds that a generator's file is what the file says, whatever it looks like.
func TestKustomizeTakesFilesVerbatim(t *testing.T) {
	const text = "{\"a\": 1}\n{\"b\": 2}\n"
	in := inputWith(t, "-- m/kustomization.yaml --\nconfigMapGenerator:\n- name: a\n  files: [x.json, y=x.json]\n", "m/x.json", text, `{source: {path: m}}`)
	var object struct{ Data map[string]string }
	if err := json.Unmarshal(mustRender(t, New(1<<20), in).Manifests[0].JSON, &object); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"x.json": text, "y": text}, object.Data); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWhatAnOverlayMisses holds that whatever an overlay names and the repository does not hold is named, with where it was looked
// for.
func TestWhatAnOverlayMisses(t *testing.T) {
	for name, row := range map[string]struct{ overlay, at, says string }{
		"file of a key":    {"secretGenerator:\n- name: k\n  files: [kubeconfig=not-there]\n", "m/kustomization.yaml:3", "secretGenerator names not-there, and m/not-there is not in the repository"},
		"file":             {"configMapGenerator:\n- name: k\n  files:\n  - a.yaml\n  - ../shared/app.conf\n", "m/kustomization.yaml:5", "configMapGenerator names ../shared/app.conf, and shared/app.conf is not in the repository"},
		"env file":         {"configMapGenerator:\n- name: k\n  envs: [app.env]\n", "m/kustomization.yaml:3", "configMapGenerator names app.env, and m/app.env is not in the repository"},
		"old env file":     {"configMapGenerator:\n- name: k\n  env: app.env\n", "m/kustomization.yaml:3", "names app.env, and m/app.env is not in the repository"},
		"resource":         {"resources:\n- a.yaml\n- b.yaml\n", "m/kustomization.yaml:3", "resources names b.yaml, and m/b.yaml is not in the repository"},
		"folder":           {"resources: [../base]\n", "m/kustomization.yaml:1", "resources names ../base, and base is not in the repository"},
		"empty folder":     {"resources: [sub]\n", "m/kustomization.yaml:1", "resources names the folder sub, and m/sub holds no kustomization.yaml"},
		"component":        {"components: [../components/tls]\n", "m/kustomization.yaml:1", "components names ../components/tls, and components/tls is not in the repository"},
		"patch":            {"resources: [a.yaml]\npatches: [{path: p.yaml}]\n", "m/kustomization.yaml:2", "patches names p.yaml, and m/p.yaml is not in the repository"},
		"strategic merge":  {"resources: [a.yaml]\npatchesStrategicMerge: [p.yaml]\n", "m/kustomization.yaml:2", "patchesStrategicMerge names p.yaml, and m/p.yaml is not in the repository"},
		"JSON patch":       {"resources: [a.yaml]\npatchesJson6902:\n- target: {version: v1, kind: ConfigMap, name: web}\n  path: p.json\n", "m/kustomization.yaml:4", "names p.json, and m/p.json is not in the repository"},
		"replacement":      {"resources: [a.yaml]\nreplacements: [{path: r.yaml}]\n", "m/kustomization.yaml:2", "replacements names r.yaml, and m/r.yaml is not in the repository"},
		"transformer":      {"resources: [a.yaml]\ntransformers: [t.yaml]\n", "m/kustomization.yaml:2", "transformers names t.yaml, and m/t.yaml is not in the repository"},
		"configuration":    {"resources: [a.yaml]\nconfigurations: [c.yaml]\n", "m/kustomization.yaml:2", "configurations names c.yaml, and m/c.yaml is not in the repository"},
		"of a base":        {"resources: [broken]\n", "m/broken/kustomization.yaml:1", "resources names x.yaml, and m/broken/x.yaml is not in the repository"},
		"of two the first": {"resources: [x.yaml, y.yaml]\n", "m/kustomization.yaml:1", "resources names x.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			f := faultOf(t, input(t, "-- m/a.yaml --\n"+configMap+"-- m/sub/a.yaml --\n"+configMap+"-- m/broken/kustomization.yaml --\nresources: [x.yaml]\n-- m/kustomization.yaml --\n"+row.overlay, "{source: {path: m}}"))
			if f.Reason != fleet.RenderFailed || f.Position() != row.at || !strings.Contains(f.Message, row.says) {
				t.Errorf("got %s %s %q", f.Reason, f.Position(), f.Message)
			}
		})
	}
}

// TestForeignFiles: what another tool left beside manifests is no reason to refuse them; a mistake in a manifest is.
func TestForeignFiles(t *testing.T) {
	const tools = "-- m/fleet.yaml --\ndefaultNamespace: a\n-- m/notes.yaml --\na: b\n-- m/sub/more.yaml --\n- a\n- b\n-- m/values.yaml --\na: b\n-- m/README.md --\n# Read me\n-- m/empty.yaml --\n# nothing\n"
	content := mustRender(t, New(1<<20), input(t, tools+"-- m/a.yaml --\n"+configMap, "{source: {path: m}}"))
	if diff := cmp.Diff([]string{"m/notes.yaml", "m/sub/more.yaml"}, content.Skipped); diff != "" || len(content.Manifests) != 1 {
		t.Errorf("%d manifests, skipped (-want +got):\n%s", len(content.Manifests), diff)
	}
	for name, row := range map[string]struct {
		archive, spec string
		reason        fleet.Reason
		says          string
	}{
		"only foreign":      {"-- m/fleet.yaml --\na: b\n-- m/README.md --\n# Read me\n", "{source: {path: m}}", fleet.ContentMissing, "nor manifests"},
		"the source itself": {tools, "{source: {path: m/fleet.yaml}}", fleet.ManifestInvalid, "apiVersion is missing"},
		"no kind":           {tools + "-- m/a.yaml --\napiVersion: v1\nmetadata: {name: a}\n", "{source: {path: m}}", fleet.ManifestInvalid, "kind is missing"},
		"no version":        {tools + "-- m/a.yaml --\nkind: ConfigMap\nmetadata: {name: a}\n", "{source: {path: m}}", fleet.ManifestInvalid, "apiVersion is missing"},
		"one of two":        {tools + "-- m/a.yaml --\n" + configMap + "---\na: b\n", "{source: {path: m}}", fleet.ManifestInvalid, "apiVersion is missing"},
		"not YAML":          {tools + "-- m/a.yaml --\na: b\n---\na: [\n", "{source: {path: m}}", fleet.ManifestInvalid, ""},
	} {
		if f := faultOf(t, input(t, row.archive, row.spec)); f.Reason != row.reason || !strings.Contains(f.Message, row.says) {
			t.Errorf("%s: got %s %q", name, f.Reason, f.Message)
		}
	}
}
