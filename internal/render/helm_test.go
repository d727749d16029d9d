package render

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/internal/fleet"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func gvk(group, version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
}

const webChart = `
-- chart/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
`

const subcharts = `
-- parent/Chart.yaml --
apiVersion: v2
name: front
version: 1.0.0
dependencies:
- {name: cache, version: 1.x, condition: cache.enabled}
- {name: queue, version: 1.x, alias: jobs, import-values: [{child: shared, parent: fromQueue}]}
- {name: unused, version: 1.x, condition: unused.enabled}
-- parent/values.yaml --
cache: {enabled: true, size: 2}
unused: {enabled: false}
global: {team: shop}
letters: {d: 4, b: 2, a: 1, c: 3, e: 5, f: 6, g: 7, h: 8, i: 9}
-- parent/crds/ledger.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ledgers.example.com}
spec: {group: example.com, scope: Namespaced, names: {kind: Ledger, plural: ledgers}, versions: [{name: v1, served: true}]}
-- parent/templates/NOTES.txt --
Thank you.
-- parent/templates/_helpers.tpl --
{{- define "front.labels" }}app: front{{ end }}
-- parent/templates/a.yaml --
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
  labels: { {{- include "front.labels" . -}} }
  annotations: {order: {{ keys .Values.letters | join "," | quote }}, values: "{{ range values .Values.letters }}{{ . }}{{ end }}"}
---
apiVersion: example.com/v1
kind: Ledger
metadata: {name: main}
spec: {imported: {{ .Values.fromQueue.depth }}}
-- parent/charts/cache/Chart.yaml --
apiVersion: v2
name: cache
version: 1.2.0
-- parent/charts/cache/values.yaml --
size: 1
-- parent/charts/cache/templates/cm.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: cache}
data: {size: "{{ .Values.size }}", team: "{{ .Values.global.team }}"}
-- parent/charts/queue-folder/Chart.yaml --
apiVersion: v2
name: queue
version: 1.3.0
-- parent/charts/queue-folder/values.yaml --
shared: {depth: 9}
-- parent/charts/queue-folder/crds/job.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: jobs.example.com}
spec: {group: example.com, scope: Namespaced, names: {kind: QueueJob, plural: queuejobs}, versions: [{name: v1, served: true}]}
-- parent/charts/queue-folder/templates/cm.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Chart.Name }}}
-- parent/charts/unused/Chart.yaml --
apiVersion: v2
name: unused
version: 1.0.0
-- parent/charts/unused/templates/cm.yaml --
{{ fail "this chart is off" }}
`

func TestHelm(t *testing.T) {
	content := mustRender(t, New(1<<20), input(t, subcharts, `{source: {path: parent}, destination: {namespace: ns}}`))
	want := []string{
		`parent/charts/queue-folder/crds/job.yaml {"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"jobs.example.com"},"spec":{"group":"example.com","names":{"kind":"QueueJob","plural":"queuejobs"},"scope":"Namespaced","versions":[{"name":"v1","served":true}]}}`,
		`parent/crds/ledger.yaml {"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"ledgers.example.com"},"spec":{"group":"example.com","names":{"kind":"Ledger","plural":"ledgers"},"scope":"Namespaced","versions":[{"name":"v1","served":true}]}}`,
		`parent/charts/cache/templates/cm.yaml {"apiVersion":"v1","data":{"size":"2","team":"shop"},"kind":"ConfigMap","metadata":{"name":"cache","namespace":"ns"}}`,
		`parent/charts/queue-folder/templates/cm.yaml {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"jobs","namespace":"ns"}}`,
		`parent/templates/a.yaml {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"annotations":{"order":"a,b,c,d,e,f,g,h,i","values":"123456789"},"labels":{"app":"front"},"name":"web","namespace":"ns"}}`,
		`parent/templates/a.yaml {"apiVersion":"example.com/v1","kind":"Ledger","metadata":{"name":"main","namespace":"ns"},"spec":{"imported":9}}`,
	}
	if diff := cmp.Diff(want, texts(content)); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
}

// helmCase is a chart with one template, under an application.
func helmCase(template, helm string) (archive, spec string) {
	return webChart + "-- chart/templates/x.yaml --\n" + template, `{source: {path: chart}, helm: ` + helm + `}`
}

func TestValuesAreLayered(t *testing.T) {
	archive := webChart + `
-- chart/values.yaml --
a: chart
b: chart
c: {x: chart, z: chart}
gone: {x: 1}
-- chart/ci/extra.yaml --

b: extra
-- applications/shop/web/values.yaml --
c:
  x: file
d: [1, 2]
gone: null
-- applications/shop/web/values/eu.yaml --
d: [3]
big: 12345678
-- chart/templates/x.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: x}
data: {values: {{ toJson .Values | quote }}, big: "{{ .Values.big }}"}
`
	content := mustRender(t, New(1<<20), input(t, archive, `
source: {path: chart}
helm:
  valuesFiles: ["chart:ci/extra.yaml", values.yaml, {path: 'values/${{ label("region") }}.yaml', optional: true}, {path: none.yaml, optional: true}]
  values: {c: {z: inline}}
overrides: [{name: prod, clusterSelector: {}, helm: {values: {e: '${{ int(label("n", "7")) }}'}}}]
`))
	want := `"data":{"big":"1.2345678e+07","values":"{\"a\":\"chart\",\"b\":\"extra\",\"big\":12345678,\"c\":{\"x\":\"file\",\"z\":\"inline\"},\"d\":[3],\"e\":7}"}`
	if got := texts(content)[0]; !strings.Contains(got, want) {
		t.Errorf("want %s\n got %s", want, got)
	}
	wantFrom := map[string]string{
		"a": "chart default", "b": "chart:ci/extra.yaml:2", "c.x": "values.yaml:2", "c.z": "application.yaml:104",
		"d": "values/eu.yaml:1", "big": "values/eu.yaml:2", "e": "override prod, application.yaml:104", "gone": "values.yaml:4",
	}
	if diff := cmp.Diff(wantFrom, content.Values); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
}

func TestHelmFaults(t *testing.T) {
	const cm = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
	tests := map[string]struct {
		template, helm, more string
		reason               fleet.Reason
		at, says, hides, why string
	}{
		"nil pointer": {cm + "data: {a: {{ .Values.a.b.c }}}", `{values: {a: {}}}`, "", fleet.RenderFailed, "chart/templates/x.yaml:4",
			"nil pointer evaluating interface {}.c at {{ .Values.a.b.c }}", "", "a value that is missing on one cluster names the line of the template"},
		"in a helper": {"{{ include \"h\" . }}", `{}`, "-- chart/templates/_h.tpl --\n\n{{ define \"h\" }}\n{{ .Values.a.b }}{{ end }}\n", fleet.RenderFailed, "chart/templates/_h.tpl:3",
			"nil pointer evaluating interface {}.b", "", "the cause stands in the helper"},
		"required": {cm + "\n# {{ required \"set replicas\" .Values.replicas }}", `{}`, "", fleet.RenderFailed, "chart/templates/x.yaml:5",
			"set replicas", "", "the chart's own words"},
		"fail with a value": {"{{ fail (printf \"bad %s\" .Values.password) }}", `{values: {password: hunter2}}`, "", fleet.RenderFailed, "chart/templates/x.yaml:1",
			"refuses these values", "hunter2", "faults never quote values"},
		"function quotes a value": {"{{ mustToDate \"2006\" .Values.password }}", `{values: {password: hunter2}}`, "", fleet.RenderFailed, "chart/templates/x.yaml:1",
			"mustToDate fails", "hunter2", "faults never quote values"},
		"tpl quotes a value": {"{{ tpl .Values.password . }}", `{values: {password: "hunter2 {{ .a.b.c }}"}}`, "", fleet.RenderFailed, "chart/templates/x.yaml:1",
			"fails", "hunter2", "faults never quote values"},
		"parse": {"\n{{ if }}", `{}`, "", fleet.RenderFailed, "chart/templates/x.yaml:2", "missing value for if", "", "the parser's words"},
		"not YAML": {cm + "data: {a: [{{ .Values.password }}}", `{values: {password: hunter2}}`, "", fleet.ManifestInvalid, "chart/templates/x.yaml",
			"not valid YAML", "hunter2", "the template is named"},
		"schema": {cm, `{values: {replicas: hunter2}}`, "-- chart/values.schema.json --\n{\"properties\": {\"replicas\": {\"type\": \"integer\"}}}\n", fleet.RenderFailed,
			"applications/shop/web/application.yaml:103", "/replicas is string, want integer", "hunter2", "the value's line, not the value"},
		"schema of a file": {cm, `{valuesFiles: [v.yaml]}`, "-- applications/shop/web/v.yaml --\n\nreplicas: {}\n-- chart/values.schema.json --\n{\"properties\": {\"replicas\": {\"type\": \"integer\"}}}\n", fleet.RenderFailed,
			"applications/shop/web/v.yaml:2", "/replicas is object, want integer", "", "the layer that set it"},
		"schema elsewhere": {cm, `{}`, "-- chart/values.schema.json --\n{\"$ref\": \"https://example.com/schema.json\"}\n", fleet.RenderFailed,
			"chart/values.schema.json", "the schema is not usable", "", "nothing is fetched"},
		"values file missing": {cm, `{valuesFiles: [none.yaml]}`, "", fleet.ContentMissing, "applications/shop/web/application.yaml:102",
			"values file none.yaml is not in the repository", "", "the line that names it"},
		"values file outside": {cm, `{valuesFiles: [../../../../none.yaml]}`, "", fleet.ContentMissing, "applications/shop/web/application.yaml:102",
			"leaves the repository", "", "a path must not leave the fleet"},
		"values file broken": {cm, `{valuesFiles: [v.yaml]}`, "-- applications/shop/web/v.yaml --\na: 1\nb: hunter2: c\n", fleet.RenderFailed, "applications/shop/web/v.yaml:2",
			"not valid YAML", "hunter2", "file and line"},
		"values file with a loose anchor": {cm, `{valuesFiles: [v.yaml]}`, "-- applications/shop/web/v.yaml --\na: *hunter2\n", fleet.RenderFailed, "applications/shop/web/v.yaml:1",
			"not valid YAML", "hunter2", "a password that begins with a star"},
		"chart values broken": {cm, `{}`, "-- chart/values.yaml --\na: 1\nb: [\n", fleet.RenderFailed, "chart/values.yaml:2", "does not load", "", "file and line"},
		"hooks": {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: {helm.sh/hook: 'pre-upgrade,pre-install'}}\n", `{hooks: Refuse}`, "", fleet.HookRefused, "chart/templates/x.yaml",
			"Job migrate (pre-upgrade,pre-install, chart/templates/x.yaml)", "", "hooks are named, with the way out"},
		"hook before and after": {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: {helm.sh/hook: 'pre-install,post-install'}}\n", `{}`, "", fleet.ManifestInvalid, "chart/templates/x.yaml",
			"cannot run both before and after", "", "one object is in one wave"},
		"hook weight": {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: {helm.sh/hook: pre-install, helm.sh/hook-weight: heavy}}\n", `{}`, "", fleet.ManifestInvalid, "chart/templates/x.yaml",
			`helm.sh/hook-weight is "heavy"`, "", "as helm install would"},
		"hook policy": {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: {helm.sh/hook: pre-install, helm.sh/hook-delete-policy: never}}\n", `{}`, "", fleet.ManifestInvalid, "chart/templates/x.yaml",
			`has "never"`, "", "it is not guessed"},
		"kubernetes too old": {cm, `{}`, "-- chart/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\nkubeVersion: '>=1.99'\n", fleet.RenderFailed, "chart/Chart.yaml",
			"wants Kubernetes >=1.99 and the cluster has v1.30.0", "", "as helm install would"},
		"library": {cm, `{}`, "-- chart/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\ntype: library\n", fleet.RenderFailed, "chart/Chart.yaml", "library chart", "", "as helm install would"},
		"dependency missing": {cm, `{}`, "-- chart/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\ndependencies:\n- name: cache\n  version: 1.0.0\n", fleet.RenderFailed, "chart/Chart.yaml:5",
			"dependency cache is not in charts/: run `helm dependency update chart` and commit", "", "the next step"},
		"dependency of another version": {cm, `{}`, "-- chart/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\ndependencies:\n- name: cache\n  version: 2.x.x\n-- chart/charts/cache/Chart.yaml --\napiVersion: v2\nname: cache\nversion: 1.0.0\n", fleet.RenderFailed, "chart/Chart.yaml:5",
			"with version 1.0.0, and Chart.yaml wants 2.x.x", "", "Helm would leave it out silently"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			archive, spec := helmCase(test.template, test.helm)
			f := faultOf(t, input(t, archive+"\n"+test.more, spec))
			if f.Reason != test.reason || f.Position() != test.at || !strings.Contains(f.Message, test.says) {
				t.Errorf("%s: got %s %s %q", test.why, f.Reason, f.Position(), f.Message)
			}
			if test.hides != "" && strings.Contains(fmt.Sprintf("%+v %v", f, f.Err), test.hides) {
				t.Errorf("%s: %+v", test.why, f)
			}
		})
	}
}

func TestFaultsAreTheSameEveryTime(t *testing.T) {
	archive := webChart
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		archive += fmt.Sprintf("-- chart/charts/%[1]s/Chart.yaml --\napiVersion: v2\nname: %[1]s\nversion: 1.0.0\n-- chart/charts/%[1]s/values.schema.json --\n{\"required\": [\"x\"]}\n", name)
	}
	for range 20 {
		f := faultOf(t, input(t, archive, `{source: {path: chart}}`))
		if f.Position() != "chart/charts/a/values.schema.json" || !strings.Contains(f.Message, "lacks x") {
			t.Fatalf("got %s %q", f.Position(), f.Message)
		}
	}
}

func TestAFaultOnOneClusterStaysThere(t *testing.T) {
	archive, _ := helmCase(configMap+"data: {port: '{{ .Values.ports.http }}'}\n", "")
	spec := `{source: {path: chart}, helm: {values: {ports: {http: 80}}}, overrides: [{name: broken, clusterSelector: {labelSelector: {matchLabels: {broken: "yes"}}}, helm: {values: {ports: null}}}]}`
	r, in := New(1<<20), input(t, archive, spec)
	mustRender(t, r, in)
	in.Cluster = cluster("edge-8", map[string]string{"broken": "yes"})
	for range 2 {
		_, err := r.Render(t.Context(), in)
		if f, ok := fleet.AsFault(err); !ok || f.Cluster != "edge-8" || f.Position() != "chart/templates/x.yaml:4" {
			t.Errorf("got %v", err)
		}
	}
	in.Cluster = cluster("edge-9", map[string]string{"broken": "yes"})
	if _, err := r.Render(t.Context(), in); !strings.Contains(err.Error(), "shop/web on edge-9: chart/templates/x.yaml:4") {
		t.Errorf("a remembered fault is told of the cluster that asks: %v", err)
	}
	if got := r.Stats().Renders; got != 2 {
		t.Errorf("%d renders, want 2: a fault is remembered", got)
	}
}

func TestHooks(t *testing.T) {
	archive, spec := helmCase(`
apiVersion: v1
kind: Pod
metadata: {name: test, annotations: {helm.sh/hook: test}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {helm.sh/hook: post-install}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
`, `{hooks: Ignore}`)
	content := mustRender(t, New(1<<20), input(t, archive, spec))
	if diff := cmp.Diff([]string{"Service shop/web"}, objects(content)); diff != "" {
		t.Errorf("hooks are left out (-want +got):\n%s", diff)
	}
}

func TestCapabilities(t *testing.T) {
	tests := map[string]struct {
		template string
		renders  int64
		why      string
	}{
		"used":     {configMap + "data: {v: '{{ .Capabilities.KubeVersion.Minor }} {{ .Capabilities.APIVersions.Has \"policy/v1/PodDisruptionBudget\" }} {{ .Capabilities.HelmVersion.Version }}'}", 2, "once for each set of APIs"},
		"not used": {configMap, 1, "once for all"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			archive, spec := helmCase(test.template, `{}`)
			r, in := New(1<<20), input(t, archive, spec)
			for i := range 20 {
				in.APIs = fleet.NewAPIs(fmt.Sprintf("v1.%d.2", 31+i%2), nil)
				content := mustRender(t, r, in)
				want := fmt.Sprintf(`"v":"%d true v4.3.0"`, 31+i%2)
				if test.renders == 2 && !strings.Contains(texts(content)[0], want) {
					t.Errorf("want %s in %s", want, texts(content)[0])
				}
			}
			if got := r.Stats().Renders; got != test.renders {
				t.Errorf("%s: %d renders, want %d", test.why, got, test.renders)
			}
		})
	}
}

func TestNonDeterministicFunctions(t *testing.T) {
	const at = "chart/templates/x.yaml"
	wrap := func(expression string) string { return configMap + "data:\n  v: {{ " + expression + " | quote }}\n" }
	tests := map[string]struct {
		template, helm string
		want           string // in the output, or
		line           int    // of the fault
		why            string
	}{
		"random":              {wrap(`randAlphaNum 10`), `{}`, "", 5, "another password at every plan"},
		"supplied":            {wrap(`.Values.password | default (randAlphaNum 10)`), `{values: {password: p}}`, `"v":"p"`, 0, "evaluated, and of no effect"},
		"not supplied":        {wrap(`.Values.password | default (randAlphaNum 10)`), `{}`, "", 5, "now it has an effect"},
		"length only":         {wrap(`randAlphaNum 10 | len`), `{}`, `"v":"10"`, 0, "always ten"},
		"not reached":         {"{{ if .Values.on }}\n{{ fail \"x\" }}{{ uuidv4 }}\n{{ end }}" + wrap(`1`), `{}`, `"v":"1"`, 0, "not called for these values"},
		"now":                 {wrap(`now | date "2006"`), `{}`, "", 5, "the clock"},
		"now in a field":      {wrap(`now.Year`), `{}`, "", 5, "the clock"},
		"now as an argument":  {wrap(`date "2006" now`), `{}`, "", 5, "the clock"},
		"uuid":                {wrap(`list uuidv4 | first`), `{}`, "", 5, "random"},
		"number":              {wrap(`add 1 (randInt 1 100)`), `{}`, "", 5, "random"},
		"certificate":         {"{{- $ca := genCA \"a\" 365 }}{{ $c := genSignedCert \"b\" nil nil 10 $ca }}" + wrap(`$c.Cert`), `{}`, "", 1, "the first call that changes the output"},
		"certificate unused":  {"{{- $ca := genCA \"a\" 365 }}{{ $crt := .Values.crt | default $ca.Cert }}" + wrap(`$crt`), `{values: {crt: c}}`, `"v":"c"`, 0, "supplied"},
		"hash of a password":  {wrap(`htpasswd "a" "b"`), `{}`, "", 5, "salted"},
		"shuffled":            {wrap(`shuffle "abc"`), `{}`, "", 5, "random"},
		"second call counts":  {"{{ $a := randAlpha 3 }}\n" + wrap(`randAlpha 4`), `{}`, "", 6, "the call that matters is named"},
		"key order":           {wrap(`keys .Values.m | join ""`), `{values: {m: {d: 1, c: 1, b: 1, a: 1}}}`, `"v":"abcd"`, 0, "an order instead of a fault"},
		"key order in a loop": {wrap(`print "x"`) + "  w: {{ range keys (dict \"b\" 1 \"a\" \"}}\") }}{{ . }}{{ end }}\n", `{}`, `"w":"ab"`, 0, "strings with braces, parentheses"},
		"tpl":                 {wrap(`tpl .Values.t .`), `{values: {t: "{{ randAlphaNum 3 }}"}}`, "", 0, "a template in a value"},
		"tpl supplied":        {wrap(`tpl .Values.t .`), `{values: {p: q, t: "{{ .Values.p | default (randAlphaNum 3) }}"}}`, `"v":"q"`, 0, "a template in a value"},
		"passes through":      {wrap(`.Values.t`) + "  w: {{ tpl \"a\" . }}\n", `{values: {t: "{{ now }} {{ keys .m }} {{ randInt 1 2 }}"}}`, `"v":"{{ now }} {{ keys .m }} {{ randInt 1 2 }}"`, 0, "another program's template is left alone"},
		"tpl of a literal":    {wrap(`tpl "{{ randAlphaNum 5 }}" .`), `{}`, "", 5, "a template in a text of the chart"},
		"tpl of a built name": {wrap(`tpl (printf "{{ %s%s 5 }}" "rand" "AlphaNum") .`), `{}`, "", 5, "nothing of it is written anywhere"},
		"tpl in tpl":          {wrap(`tpl "{{ tpl .Values.t . }}" .`), `{values: {t: "{{ now }}"}}`, "", 5, "the outer call has a line"},
		"tpl that defines":    {wrap(`tpl "{{ define \"x\" }}{{ uuidv4 }}{{ end }}{{ include \"x\" . }}" .`), `{}`, "", 5, "a template in a text"},
		"tpl of no effect":    {wrap(`tpl "{{ randAlphaNum 5 | len }}" .`), `{}`, `"v":"5"`, 0, "always five"},
		"second tpl counts":   {"{{ $a := tpl \"{{ now }}\" . }}\n" + wrap(`tpl "{{ now }}" .`), `{}`, "", 6, "the call that matters is named"},
		"in a helper":         {"{{ define \"h\" }}\n{{ randAlpha 5 }}{{ end }}" + wrap(`tpl "{{ include \"h\" . }}" . | trim`), `{}`, "", 2, "its own line, also below tpl"},
		"date of a text":      {wrap(`date "2006" "2020-01-01"`), `{}`, "", 5, "sprig takes what is no date for now"},
		"date of a date":      {wrap(`date "2006" (toDate "2006-01-02" "2020-01-01")`), `{}`, `"v":"2020"`, 0, "the machine's zone is not asked"},
		"age":                 {wrap(`ago 0`), `{}`, "", 5, "the clock"},
		"address":             {wrap(`printf "%p" (dict)`), `{}`, "", 0, "where a value is in memory"},
		"address below":       {wrap(`print (list .Capabilities)`), `{}`, "", 0, "Go prints the addresses of what is below"},
		"one number":          {wrap(`randInt 5 6`), `{}`, `"v":"5"`, 0, "no choice"},
		"nothing to shuffle":  {wrap(`shuffle "aaa"`), `{}`, `"v":"aaa"`, 0, "no difference"},
		"failure beside":      {"{{ $a := genCA \"a\" 365 }}\n{{ required \"set it\" .Values.missing }}", `{}`, "", -2, "the chart's own failure is what its author has to know"},
		"lookup sees nothing": {wrap(`(lookup "v1" "Secret" "a" "b") | default "none"`), `{}`, `"v":"none"`, 0, "no cluster is asked"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			archive, spec := helmCase(test.template, test.helm)
			archive = strings.Replace(archive, "version: 1.0.0\n", "version: 1.0.0\nmaintainers: [{name: m}]\n", 1)
			in := input(t, archive, spec)
			if test.want != "" {
				if got := texts(mustRender(t, New(1<<20), in))[0]; !strings.Contains(got, test.want) {
					t.Errorf("%s: want %s in %s", test.why, test.want, got)
				}
				return
			}
			f := faultOf(t, in)
			if test.line < 0 {
				if f.Reason != fleet.RenderFailed || f.Position() != fmt.Sprintf("%s:%d", at, -test.line) {
					t.Errorf("%s: got %s %s %q", test.why, f.Reason, f.Position(), f.Message)
				}
				return
			}
			if f.Reason != fleet.NotDeterministic || test.line > 0 && f.Position() != fmt.Sprintf("%s:%d", at, test.line) {
				t.Errorf("%s: got %s %s %q, want line %d", test.why, f.Reason, f.Position(), f.Message, test.line)
			}
		})
	}
}

// TestTheCallInTheChartIsNamed: a library draws lots, and what its caller can do is to set the value that it reads.
func TestTheCallInTheChartIsNamed(t *testing.T) {
	archive := `
-- chart/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
dependencies: [{name: common, version: 1.0.0}]
-- chart/values.yaml --
auth: {password: "", token: ""}
-- chart/charts/common/Chart.yaml --
apiVersion: v2
name: common
version: 1.0.0
type: library
-- chart/charts/common/templates/_secrets.tpl --
{{- define "common.password" -}}
{{- if .given }}{{ .given }}{{ else }}

{{ randAlphaNum 10 }}{{ end }}{{ end }}
{{- define "common.manage" -}}
{{- $v := index .context.Values.auth "password" }}
{{- include "common.password" (dict "given" $v) }}{{ end }}
-- chart/templates/_helpers.tpl --
{{- define "web.password" -}}

{{ include "common.password" (dict "given" .Values.auth.password) }}{{ end }}
-- chart/templates/x.yaml --
`
	for name, test := range map[string]struct{ template, at, says string }{
		"read by the action": {`{a: {{ include "common.password" (dict "given" .Values.auth.token) }}}`, "chart/templates/x.yaml:4", "set the value auth.token"},
		"read around it":     {"{{ if not .Values.auth.token }}\n{a: {{ include \"common.password\" dict }}}{{ end }}", "chart/templates/x.yaml:5", "set the value auth.token"},
		"named in a list":    {`{a: {{ include "common.manage" (dict "keys" (list "auth.password" "elsewhere") "context" $) }}}`, "chart/templates/x.yaml:4", "set the value auth.password"},
		"read by a helper":   {`{a: {{ include "web.password" . }}}`, "chart/templates/_helpers.tpl:3", "set the value auth.password"},
		"read by nobody":     {`{a: {{ include "common.password" (dict) }}}`, "chart/templates/x.yaml:4", "supply the value"},
	} {
		t.Run(name, func(t *testing.T) {
			f := faultOf(t, input(t, archive+configMap+"data: "+test.template+"\n", "{source: {path: chart}}"))
			if f.Reason != fleet.NotDeterministic || f.Position() != test.at || !strings.Contains(f.Message, test.says) || !strings.Contains(f.Message, "randAlphaNum") {
				t.Errorf("got %s %s %q, want %s %q", f.Reason, f.Position(), f.Message, test.at, test.says)
			}
		})
	}
}

// TestNothingIsSharedBetweenRuns lets a template change what it sees. A run after it must see it as it was.
func TestNothingIsSharedBetweenRuns(t *testing.T) {
	archive := `
-- chart/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
dependencies: [{name: sub, version: 1.0.0}]
-- chart/values.yaml --
table: {a: b}
-- chart/charts/sub/Chart.yaml --
apiVersion: v2
name: sub
version: 1.0.0
-- chart/charts/sub/values.yaml --
table: {a: b}
-- chart/templates/x.yaml --
` + configMap + `data: {table: {{ hasKey .Values.table "more" | quote }}, sub: {{ hasKey .Values.sub.table "more" | quote }}, {{ .Values.key }}: a}
{{ $_ := set .Values.table "more" 1 }}{{ $_ := set .Values.sub.table "more" 1 }}{{ $_ := merge .Values.table .Values.sub }}
`
	r := New(1 << 20)
	for _, key := range []string{"k", "l", "m"} {
		content := mustRender(t, r, input(t, archive, `{source: {path: chart}, helm: {values: {key: `+key+`}}}`))
		if got := texts(content)[0]; !strings.Contains(got, `"table":"false"`) || !strings.Contains(got, `"sub":"false"`) {
			t.Errorf("with %s: %s", key, got)
		}
	}
}

func TestFilesOfOneBaseName(t *testing.T) {
	archive, spec := helmCase(configMap+"data:\n{{ (.Files.Glob \"f/**\").AsConfig | indent 2 }}", "{}")
	archive += "\n-- chart/f/a/x --\nfrom a\n-- chart/f/b/x --\nfrom b\n-- chart/f/c/x --\nfrom c\n"
	f := faultOf(t, input(t, archive, spec))
	if f.Reason != fleet.NotDeterministic || f.File != "chart/templates/x.yaml" {
		t.Errorf("Helm takes one of the files by chance: got %v", f)
	}
	apart := strings.Replace(archive, "f/**", "f/a/*", 1)
	if got := texts(mustRender(t, New(1<<20), input(t, apart, spec)))[0]; !strings.Contains(got, "from a") {
		t.Errorf("files of one name that do not meet: %s", got)
	}
}

func TestHelmIgnore(t *testing.T) {
	archive := webChart + "-- chart/.helmignore --\n*.bak\nsecret/\n-- chart/templates/x.yaml --\n" + configMap +
		"-- chart/templates/y.yaml.bak --\n{{ fail \"ignored\" }}\n-- chart/templates/.z.yaml --\n{{ fail \"hidden\" }}\n-- chart/templates/secret/s.yaml --\n{{ fail \"ignored\" }}\n"
	content := mustRender(t, New(1<<20), input(t, archive, `{source: {path: chart}}`))
	if diff := cmp.Diff([]string{"ConfigMap shop/settings"}, objects(content)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestChartArchives(t *testing.T) {
	packed := pack(t, "-- cache/Chart.yaml --\napiVersion: v2\nname: cache\nversion: 1.0.0\n-- cache/templates/cm.yaml --\n"+configMap+"data: {a: '{{ .Values.a.b }}'}\n")
	m := files("-- chart/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: cache, version: 1.0.0}]\n")
	m["chart/charts/cache-1.0.0.tgz"] = &fstest.MapFile{Data: packed}
	m["cache.tgz"] = &fstest.MapFile{Data: packed}
	for source, values := range map[string]string{"chart": `{cache: {a: {b: c}}}`, "cache.tgz": `{a: {b: c}}`} {
		in := input(t, "", `{source: {path: `+source+`}, helm: {values: `+values+`}}`)
		in.Tree = fleet.TreeOf(m)
		content := mustRender(t, New(1<<20), in)
		if got := content.Manifests[0].File; !strings.HasSuffix(got, ".tgz") {
			t.Errorf("%s: the file is %s", source, got)
		}
	}
	in := input(t, "", `{source: {path: chart}}`)
	in.Tree = fleet.TreeOf(m)
	f := faultOf(t, in)
	if f.Position() != "chart/charts/cache-1.0.0.tgz" || !strings.Contains(f.Message, "(templates/cm.yaml:4)") {
		t.Errorf("got %s %q", f.Position(), f.Message)
	}
}

// pack makes a chart archive of a txtar archive.
func pack(t *testing.T, archive string) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, file := range txtar.Parse([]byte(archive)).Files {
		if err := w.WriteHeader(&tar.Header{Name: file.Name, Size: int64(len(file.Data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(file.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// BenchmarkHelmRender renders a chart that is warm with values that are always new.
func BenchmarkHelmRender(b *testing.B) {
	r := New(64 << 20)
	in := input(b, subcharts, `{source: {path: parent}}`)
	mustRender(b, r, in)
	b.ResetTimer()
	for i := range b.N {
		in.Application = app(b, fmt.Sprintf(`{source: {path: parent}, helm: {values: {letters: {z: %d}}}}`, i))
		mustRender(b, r, in)
	}
	if got := r.Stats().Renders; got != int64(b.N)+1 {
		b.Errorf("%d renders for %d values", got, b.N+1)
	}
}

// BenchmarkRemembered renders what was rendered before, for another cluster.
func BenchmarkRemembered(b *testing.B) {
	r := New(64 << 20)
	in := input(b, subcharts, `{source: {path: parent}, helm: {values: {letters: {z: '${{ label("region") }}'}}}}`)
	for range b.N {
		mustRender(b, r, in)
	}
}
