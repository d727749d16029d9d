package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/fleet"
)

const deployment = `
-- manifests/web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  template: {spec: {containers: [{name: web, image: "web:1"}]}}
-- manifests/settings.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {a: b}}
data: {big: "9007199254740993", yes: "no"}
-- chart/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- chart/templates/web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: {{ .Values.replicas | default 1 }}
  template: {spec: {containers: [{name: web, image: "web:1"}]}}
-- base/kustomization.yaml --
resources: [../manifests/web.yaml]
-- applications/shop/web/overlay/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [extra.yaml]
patches:
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec: {minReadySeconds: 7}
-- applications/shop/web/overlay/extra.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: extra}
`

// TestPost: what spec.kustomize says is done to the objects of every renderer.
func TestPost(t *testing.T) {
	const web = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"shop"},"spec":{"replicas":1,"template":{"spec":{"containers":[{"image":"web:1","name":"web"}]}}}}`
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(web) }
	for name, test := range map[string]struct {
		spec string
		want string // of the Deployment
		file string
		all  []string
	}{
		"nothing":        {spec: `{source: {path: manifests}}`, want: web, file: "manifests/web.yaml"},
		"image":          {spec: `{source: {path: manifests}, kustomize: {images: [{name: web, newName: mirror/web, newTag: "2"}]}}`, want: edit("web:1", "mirror/web:2"), file: "manifests/web.yaml"},
		"replicas":       {spec: `{source: {path: manifests}, kustomize: {replicas: [{name: web, count: 5}]}}`, want: edit(`"replicas":1`, `"replicas":5`), file: "manifests/web.yaml"},
		"strategic":      {spec: `{source: {path: manifests}, kustomize: {patches: [{patch: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: web, tty: true}]}}}"}]}}`, want: edit(`"name":"web"}]`, `"name":"web","tty":true}]`), file: "manifests/web.yaml"},
		"JSON patch":     {spec: `{source: {path: manifests}, kustomize: {patches: [{target: {kind: Deployment}, patch: "[{op: replace, path: /spec/replicas, value: 9}]"}]}}`, want: edit(`"replicas":1`, `"replicas":9`), file: "manifests/web.yaml"},
		"two documents":  {spec: `{source: {path: manifests}, kustomize: {patches: [{patch: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {minReadySeconds: 7}"}]}}`, want: edit(`"spec":{"replicas":1`, `"spec":{"minReadySeconds":7,"replicas":2`), file: "manifests/web.yaml"},
		"two of JSON":    {spec: `{source: {path: manifests}, kustomize: {patches: [{patch: '{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2}} {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"minReadySeconds": 7}}'}]}}`, want: edit(`"spec":{"replicas":1`, `"spec":{"minReadySeconds":7,"replicas":2`), file: "manifests/web.yaml"},
		"chart":          {spec: `{source: {path: chart}, helm: {values: {replicas: 2}}, kustomize: {images: [{name: web, newTag: "2"}]}}`, want: edit("web:1", "web:2", `"replicas":1`, `"replicas":2`), file: "chart/templates/web.yaml"},
		"overlay":        {spec: `{source: {path: base}, kustomize: {images: [{name: web, newTag: "2"}]}}`, want: edit("web:1", "web:2"), file: "manifests/web.yaml"},
		"chart, overlay": {spec: `{source: {path: chart}, kustomize: {components: [overlay]}}`, want: edit(`"spec":{"rep`, `"spec":{"minReadySeconds":7,"rep`), file: "chart/templates/web.yaml", all: []string{"Deployment shop/web", "ConfigMap shop/extra"}},
		"labels":         {spec: `{source: {path: manifests}, commonMetadata: {labels: {team: retail}, annotations: {note: x}}}`, want: edit(`"metadata":{"name"`, `"metadata":{"annotations":{"note":"x"},"labels":{"team":"retail"},"name"`), file: "manifests/web.yaml"},
		"override": {
			spec: `{source: {path: manifests}, destination: {namespace: a}, kustomize: {images: [{name: web, newTag: "2"}], replicas: [{name: web, count: 5}]}, commonMetadata: {labels: {a: "1"}},
 overrides: [{name: eu, clusterSelector: {labelSelector: {matchLabels: {region: eu}}}, destination: {namespace: shop}, kustomize: {images: [{name: web, newTag: "3"}]}, commonMetadata: {labels: {b: "2"}}},
 {name: us, clusterSelector: {labelSelector: {matchLabels: {region: us}}}, kustomize: {replicas: [{name: web, count: 7}]}},
 {name: claim, clusterSelector: {claimSelector: {matchExpressions: [{key: x, operator: Exists}]}}, kustomize: {replicas: [{name: web, count: 8}]}}]}`,
			want: edit("web:1", "web:3", `"replicas":1`, `"replicas":5`, `"metadata":{"name"`, `"metadata":{"labels":{"a":"1","b":"2"},"name"`), file: "manifests/web.yaml",
		},
		"expression": {spec: `{source: {path: manifests}, kustomize: {images: [{name: web, newTag: '${{ label("region") }}'}]}, commonMetadata: {labels: {env: '${{ label("env") }}'}}}`, want: edit("web:1", "web:eu", `"metadata":{"name"`, `"metadata":{"labels":{"env":"prod"},"name"`), file: "manifests/web.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(t, deployment, test.spec)
			before := in.Application.DeepCopy()
			content := mustRender(t, New(1<<20), in)
			if diff := cmp.Diff(before, in.Application); diff != "" {
				t.Errorf("the application has changed:\n%s", diff)
			}
			var keys []string
			found := false
			for _, m := range content.Manifests {
				keys = append(keys, m.Key.String())
				if m.Key.Kind == "Deployment" {
					found = true
					if diff := cmp.Diff(test.want, string(m.JSON)); diff != "" || m.File != test.file {
						t.Errorf("in %s (-want +got):\n%s", m.File, diff)
					}
				}
				if m.Key.Name == "extra" && m.File != "applications/shop/web/overlay/extra.yaml" {
					t.Errorf("the extra object is of %s", m.File)
				}
			}
			if !found || test.all != nil && !cmp.Equal(keys, test.all) {
				t.Errorf("objects: %v", keys)
			}
		})
	}
}

func TestPostFaults(t *testing.T) {
	for spec, want := range map[string]string{
		`{source: {path: manifests}, kustomize: {}}`:                                                                                               "spec.kustomize is set and manifests has no kustomization.yaml",
		`{source: {path: chart}, helm: {}, kustomize: {path: x}}`:                                                                                  "belongs into kustomize.components",
		`{source: {path: chart}, kustomize: {components: [nothing]}}`:                                                                              "applications/shop/web/nothing holds no kustomization.yaml",
		`{source: {path: chart}, kustomize: {components: [../../../../x]}}`:                                                                        "leaves the repository",
		`{source: {path: manifests}, kustomize: {patches: [{target: {kind: Deployment}, patch: "[{op: remove, path: /spec/nothing}]"}]}}`:          "spec.kustomize cannot be applied to what is rendered: ",
		`{source: {path: manifests}, kustomize: {patches: [{patch: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nothing}\ndata: {a: b}"}]}}`: "no resource is that",
		`{source: {path: manifests}, commonMetadata: {labels: {a: "b c"}}}`:                                                                        "metadata.labels",
	} {
		f := faultOf(t, input(t, deployment, spec))
		if !strings.Contains(f.Message, want) || f.File != "applications/shop/web/application.yaml" || f.Line == 0 {
			t.Errorf("%s: got %s", spec, f)
		}
	}
}

func TestYAMLFiles(t *testing.T) {
	archive := ""
	for _, file := range []string{"a.yaml", "b.yml", "deep/c.yaml", "deep/deeper/d.json", "values.yaml", "values-named.yaml", "sub/Chart.yaml", "fleet.yaml", "notes.yaml"} {
		text := "{apiVersion: v1, kind: ConfigMap, metadata: {name: " + strings.NewReplacer("/", "-", ".", "-", "C", "c").Replace(file) + "}}"
		if file == "values.yaml" || file == "notes.yaml" {
			text = "replicas: 2"
		}
		archive += "-- manifests/" + file + " --\n" + text + "\n"
	}
	archive += "-- manifests/README.md --\n# hello\n-- manifests/kustomize.txt --\nx\n"
	for spec, want := range map[string]string{
		`{}`:                                           "a-yaml b-yml deep-c-yaml deep-deeper-d-json values-named-yaml",
		`{recurse: false}`:                             "a-yaml b-yml values-named-yaml",
		`{exclude: [deep]}`:                            "a-yaml b-yml values-named-yaml",
		`{exclude: [deep/*.yaml, 'values*']}`:          "a-yaml b-yml deep-deeper-d-json",
		`{include: ['deep/**']}`:                       "deep-c-yaml deep-deeper-d-json",
		`{include: ['*.yml', fleet.yaml]}`:             "b-yml fleet-yaml",
		`{include: ['${{ label("region") }}.x', a.*]}`: "a-yaml",
		`{include: ['**/*.yaml'], exclude: [deep/**]}`: "a-yaml fleet-yaml sub-chart-yaml values-named-yaml",
	} {
		content := mustRender(t, New(1<<20), input(t, archive, `{source: {path: manifests}, yaml: `+spec+`}`))
		var names []string
		for _, m := range content.Manifests {
			names = append(names, m.Key.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %s, want %s", spec, got, want)
		}
		for _, file := range content.Skipped {
			if file != "manifests/notes.yaml" {
				t.Errorf("%s: skipped %s", spec, file)
			}
		}
	}
	if f := faultOf(t, input(t, archive, `{source: {path: manifests}, yaml: {include: [x]}}`)); f.Reason != fleet.ContentMissing || !strings.Contains(f.Message, "that spec.yaml does not leave out") {
		t.Error(f)
	}
	if f := faultOf(t, input(t, archive, `{source: {path: manifests}, yaml: {include: ["[x"]}}`)); !strings.Contains(f.Message, "is no pattern") {
		t.Error(f)
	}
}
