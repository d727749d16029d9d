package render

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/internal/fleet"
)

const overlay = `
-- base/kustomization.yaml --
resources: [deployment.yaml]
configMapGenerator:
- {name: settings, literals: [a=b]}
-- base/deployment.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  template: {spec: {volumes: [{name: s, configMap: {name: settings}}]}}
-- common/labels.yaml --
apiVersion: builtin
kind: LabelTransformer
metadata: {name: labels}
labels: {team: shop}
fieldSpecs: [{path: metadata/labels, create: true}]
-- overlays/prod/kustomization.yaml --
resources: [../../base]
namePrefix: prod-
patches: [{path: ../../patches/replicas.yaml}]
transformers: [../../common/labels.yaml]
-- patches/replicas.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 5}
`

func TestKustomize(t *testing.T) {
	content := mustRender(t, New(1<<20), input(t, overlay, `{source: {path: overlays}, kustomize: {path: '${{ label("env") }}'}}`))
	want := []string{
		`base/deployment.yaml {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"labels":{"team":"shop"},"name":"prod-web","namespace":"shop"},"spec":{"replicas":5,"template":{"spec":{"volumes":[{"configMap":{"name":"prod-settings-4h2mbtbbt6"},"name":"s"}]}}}}`,
		`base/kustomization.yaml {"apiVersion":"v1","data":{"a":"b"},"kind":"ConfigMap","metadata":{"labels":{"team":"shop"},"name":"prod-settings-4h2mbtbbt6","namespace":"shop"}}`,
	}
	if diff := cmp.Diff(want, texts(content)); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
}

func TestKustomizeFaults(t *testing.T) {
	tests := map[string]struct{ archive, at, says, why string }{
		"remote base": {"-- o/kustomization.yaml --\nresources:\n- x.yaml\n- https://github.com/org/repo//base?ref=v1\n-- o/x.yaml --\n" + configMap,
			"o/kustomization.yaml:3", "https://github.com/org/repo//base?ref=v1 is not in the repository", "nothing is fetched, and the URL is named"},
		"an inline patch of two documents": {"-- o/kustomization.yaml --\nresources: [x.yaml]\npatches:\n- patch: '{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"settings\"}, \"data\": {\"a\": \"1\"}} {\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"settings\"}, \"data\": {\"b\": \"2\"}}'\n-- o/x.yaml --\n" + configMap,
			"o/kustomization.yaml:2", "patches has a patch of several documents without a line --- between them", "Kustomize would read the first one only"},
		"remote base by ssh": {"-- o/kustomization.yaml --\nresources: ['git@example.com:org/repo']\n",
			"o/kustomization.yaml:1", "git@example.com:org/repo", "nothing is cloned"},
		"remote base of a base": {"-- o/kustomization.yaml --\nresources: [../b]\n-- b/kustomization.yaml --\n\nbases: [github.com/org/repo/base]\n",
			"b/kustomization.yaml:2", "github.com/org/repo/base", "however deep"},
		"remote component":           {"-- o/kustomization.yaml --\ncomponents: ['ssh://git@example.com/repo']\n", "o/kustomization.yaml:1", "ssh://", "every field that loads"},
		"remote file of a generator": {"-- o/kustomization.yaml --\nconfigMapGenerator: [{name: a, files: ['k=https://example.com/f']}]\n", "o/kustomization.yaml:1", "https://example.com/f", "every field that loads"},
		"remote file of a plug-in": {"-- o/kustomization.yaml --\ngenerators: [g.yaml]\n-- o/g.yaml --\napiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: a}\nfiles: ['https://example.com/f']\n",
			"o/g.yaml:4", "plug-in's configuration names something remote", "a detour is no way out"},
		"inline plug-in": {"-- o/kustomization.yaml --\ngenerators:\n- |-\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: a}\n  files: ['https://example.com/f']\n",
			"o/kustomization.yaml:2", "remote", "a detour is no way out"},
		"remote by an alias": {"-- o/kustomization.yaml --\ncommonAnnotations: {a: &u 'https://example.com/f'}\nresources: [*u]\n",
			"o/kustomization.yaml:1", "https://example.com/f is not in the repository", "Kustomize follows aliases"},
		"remote by a merge": {"-- o/kustomization.yaml --\nnamePrefix: a-\n<<: {resources: ['https://example.com/f']}\n",
			"o/kustomization.yaml:2", "https://example.com/f is not in the repository", "Kustomize merges"},
		"remote in capitals": {"-- o/kustomization.yaml --\nResources: ['https://example.com/f']\n",
			"o/kustomization.yaml:1", "https://example.com/f is not in the repository", "Kustomize takes fields in any case"},
		"remote before an error": {"-- o/kustomization.yaml --\nresources: ['https://example.com/f']\n---\n,%Y\n",
			"o/kustomization.yaml", "https://example.com/f is not in the repository", "Kustomize reads the first document only"},
		"remote with a line break": {"-- o/kustomization.yaml --\nresources:\n- |\n  https://example.com/repo//base\n",
			"o/kustomization.yaml:2", "https://example.com/repo//base is not in the repository", "it looks as if it were written inline"},
		"remote that looks like a plug-in": {"-- o/kustomization.yaml --\ntransformers:\n- |\n  https://example.com/repo//base: x\n",
			"o/kustomization.yaml:2", "https://example.com/repo//base: x is not in the repository", "what is no plug-in is a path"},
		"remote file of a plug-in in UTF-16": {"-- o/kustomization.yaml --\ngenerators: [g]\n-- o/g --\n" + utf16("\ufeffapiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: a}\nenvs: ['https://example.com/f']\n"),
			"o/g:4", "plug-in's configuration names something remote", "Kustomize reads that too"},
		"remote file of a plug-in in braces": {"-- o/kustomization.yaml --\ngenerators: [g.yaml]\n-- o/g.yaml --\n{\"apiVersion\": \"builtin\", \"kind\": \"ConfigMapGenerator\", \"metadata\": {\"name\": \"a\"},\n\"files\": [\"https:\\u002f/example.com/f\"]}\n",
			"o/g.yaml:2", "plug-in's configuration names something remote", "JSON is YAML"},
		"remote file of a plug-in, encoded": {"-- o/kustomization.yaml --\ngenerators: [g.yaml]\n-- o/g.yaml --\napiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: a}\nfiles: [!!binary aHR0cHM6Ly9leGFtcGxlLmNvbS9m]\n",
			"o/g.yaml", "plug-in's configuration names something remote", "what counts is what the plug-in is given"},
		"inline plug-in in braces": {"-- o/kustomization.yaml --\ngenerators: ['{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: a}, files: [\"https:\\u002f/example.com/f\"]}']\n",
			"o/kustomization.yaml:1", "plug-in's configuration names something remote", "a line is enough"},
		"folder of plug-ins": {"-- o/kustomization.yaml --\ngenerators: [g]\n-- o/g/kustomization.yaml --\nresources: [g.yaml]\n-- o/g/g.yaml --\napiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: a}\n",
			"o/kustomization.yaml:1", "generators names the folder g", "a replacement could put an address together"},
		"helm charts": {"-- o/kustomization.yaml --\nhelmCharts: [{name: a}]\n", "o/kustomization.yaml:1", "there is no chart a in o/charts", "nothing is fetched by Kustomize"},
		"inflation":   {"-- o/kustomization.yaml --\nhelmChartInflationGenerator: [{chartName: a}]\n", "o/kustomization.yaml:1", "runs a program", "nothing is executed"},
		"function": {"-- o/kustomization.yaml --\ngenerators: [g.yaml]\n-- o/g.yaml --\napiVersion: example.com/v1\nkind: Fn\nmetadata: {name: a, annotations: {config.kubernetes.io/function: 'exec: {path: ./x}'}}\n",
			"o/kustomization.yaml", "external plugins disabled", "nothing is executed"},
		"outside":      {"-- o/kustomization.yaml --\nresources: [../../etc]\n", "o/kustomization.yaml:1", "leaves the repository", "the tree is the restriction"},
		"missing file": {"-- o/kustomization.yaml --\nresources: [none.yaml]\n", "o/kustomization.yaml:1", "none.yaml", "the entry is named"},
		"broken file":  {"-- o/kustomization.yaml --\nresources: [x.yaml]\n-- o/x.yaml --\na: [\n", "o/x.yaml", "does not render", "the file is named"},
		"bad patch": {"-- o/kustomization.yaml --\nresources: [x.yaml]\npatches: [{path: p.yaml}]\n-- o/x.yaml --\n" + configMap + "-- o/p.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: none}\nstringData: {p: hunter2}\n",
			"o/kustomization.yaml", "does not render", "no value is quoted"},
		"circle": {"-- o/kustomization.yaml --\nresources: [../p]\n-- p/kustomization.yaml --\nresources: [../o]\n", "o/kustomization.yaml", "lead back to themselves", "it must end"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := faultOf(t, input(t, test.archive, `{source: {path: o}}`))
			if f.Reason != fleet.RenderFailed || f.Position() != test.at || !strings.Contains(f.Message, test.says) || strings.Contains(f.Error(), "hunter2") {
				t.Errorf("%s: got %s %s %q", test.why, f.Reason, f.Position(), f.Message)
			}
		})
	}
}

func utf16(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteByte(byte(r >> 8))
		b.WriteByte(byte(r))
	}
	return b.String()
}

// TestKustomizeQuotesNothing: Kustomize says values in its errors, with quotation marks and without, in words and in bytes.
func TestKustomizeQuotesNothing(t *testing.T) {
	const secret = "-- o/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n"
	kustomization := func(text string) string { return "-- o/kustomization.yaml --\n" + text + "\n" }
	for name, test := range map[string]struct{ archive, says string }{
		"literal":       {kustomization(`secretGenerator: [{name: s, literals: ['pw:hunter2']}]`), "a literal of a generator is not key=value"},
		"file":          {kustomization(`secretGenerator: [{name: s, files: ['a=b=hunter2']}]`), "a file of a generator is neither name nor key=name"},
		"env file":      {kustomization(`secretGenerator: [{name: s, envs: [e]}]`) + "-- o/e --\nA=hunter2\xff\n", "not UTF-8"},
		"twice":         {kustomization(`secretGenerator: [{name: s, literals: [a=hunter2, a=hunter2]}]`), "repeats a key"},
		"index":         {kustomization("resources: [s.yaml]\nreplacements: [{source: {kind: Secret, fieldPath: stringData.password, options: {delimiter: x, index: 9}}, targets: [{select: {kind: Secret}, fieldPaths: [data.a]}]}]") + secret, "options.index of a replacement is out of bounds"},
		"other type":    {kustomization("resources: [s.yaml]\npatches: [{path: p.yaml}]") + secret + "-- o/p.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: hunter2\n", "a field of another type"},
		"no patch":      {kustomization("resources: [s.yaml]\npatches: [{patch: hunter2}]") + secret, "PatchTransformer"},
		"no name":       {kustomization(`resources: [s.yaml]`) + "-- o/s.yaml --\napiVersion: v1\nkind: Secret\nstringData: {p: hunter2}\n", "no metadata.name"},
		"no kind":       {kustomization(`resources: [s.yaml]`) + "-- o/s.yaml --\napiVersion: v1\nmetadata: {name: hunter2}\n", "no kind"},
		"inline":        {kustomization(`resources: ['password: hunter2']`), "a file or folder that it names is not there"},
		"unknown field": {kustomization(`resorces: [hunter2]`), "no field resorces"},
		"unforeseen":    {kustomization("resources: [s.yaml]\nimages: [{name: '[hunter2', newTag: x}]\nreplicas: [{name: hunter2, count: 1}]") + secret, "Kustomize refuses it"},
	} {
		t.Run(name, func(t *testing.T) {
			f := faultOf(t, input(t, test.archive, `{source: {path: o}}`))
			if !strings.Contains(f.Message, test.says) {
				t.Errorf("says %q, want %q", f.Message, test.says)
			}
			if text := fmt.Sprintf("%+v %s", f, f.Error()); strings.Contains(text, "hunter2") || strings.Contains(text, "104 117 110") {
				t.Errorf("quotes the value: %s", text)
			}
		})
	}
}

func TestKustomizeKeepsAuthorsAnnotations(t *testing.T) {
	archive := "-- o/kustomization.yaml --\nresources: [x.yaml]\nbuildMetadata: [originAnnotations]\n-- o/x.yaml --\n" + configMap
	content := mustRender(t, New(1<<20), input(t, archive, `{source: {path: o}}`))
	if got := texts(content)[0]; !strings.Contains(got, "config.kubernetes.io/origin") {
		t.Errorf("an author who asks for origins gets them: %s", got)
	}
}

func TestKustomizeWithoutOriginsIsTheSame(t *testing.T) {
	spec := `{source: {path: overlays/prod}}`
	a := mustRender(t, New(1<<20), input(t, overlay, spec))
	// A kustomization in flow style is not asked for origins: what is delivered must not depend on that.
	flow := strings.Replace(overlay, "resources: [../../base]\nnamePrefix: prod-\npatches: [{path: ../../patches/replicas.yaml}]\ntransformers: [../../common/labels.yaml]\n",
		"{resources: [../../base], namePrefix: prod-, patches: [{path: ../../patches/replicas.yaml}], transformers: [../../common/labels.yaml]}\n", 1)
	b := mustRender(t, New(1<<20), input(t, flow, spec))
	if flow == overlay || a.Digest != b.Digest {
		t.Errorf("with origins %v, without %v", texts(a), texts(b))
	}
}

func TestKustomizeLinksInACircle(t *testing.T) {
	in := input(t, "", `{source: {path: o}}`)
	in.Tree = circleTree{files("-- o/kustomization.yaml --\nresources: [self]\n-- o/self@ --\n../o\n")}
	if f := faultOf(t, in); f.Reason != fleet.RenderFailed || f.Position() != "o/kustomization.yaml" {
		t.Errorf("it must end: %v", f)
	}
}

// TestKustomizeTakesAnyFile: what a generator puts into a ConfigMap is no YAML, and may have as many stars as it likes.
func TestKustomizeTakesAnyFile(t *testing.T) {
	archive := "-- o/kustomization.yaml --\nconfigMapGenerator: [{name: a, files: [run.sh, logo.png]}]\n" +
		"-- o/run.sh --\n#!/bin/sh\necho \"usage: $0\"\n" + strings.Repeat("ls *.conf */*.conf && true\n", 3000) +
		"-- o/logo.png --\n\x89PNG\r\n\x1a\n" + strings.Repeat("\x00\xff*&\x01", 20_000) + "\n"
	mustRender(t, New(1<<20), input(t, archive, "{source: {path: o}}"))
}

// panickyTree has a file that cannot be read without a panic.
type panickyTree struct{ fleet.Tree }

func (p panickyTree) ReadFile(name string) ([]byte, error) {
	if strings.HasSuffix(name, "a.yaml") {
		panic("out of order")
	}
	return p.Tree.ReadFile(name)
}

func TestAPanicInKustomizeIsAFault(t *testing.T) {
	in := input(t, "-- o/kustomization.yaml --\nresources: [a.yaml]\n-- o/a.yaml --\n"+configMap, "{source: {path: o}}")
	in.Tree = panickyTree{in.Tree}
	if f := faultOf(t, in); f.Reason != fleet.RenderFailed || !strings.Contains(f.Message, "Kustomize gave up") {
		t.Errorf("got %s %s %q", f.Reason, f.Position(), f.Message)
	}
	in.Tree = in.Tree.(panickyTree).Tree
	mustRender(t, New(1<<20), in) // the lock is free
}
