package engine

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/internal/fleet"
	"golang.org/x/tools/txtar"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"sigs.k8s.io/yaml"
)

// compared is a chart around the templates that both engines render.
const compared = `
-- chart/Chart.yaml --
apiVersion: v2
name: web
version: 1.2.3
appVersion: "4"
description: text
annotations: {a: b}
maintainers: [{name: m}]
-- chart/values.yaml --
name: web
empty: ""
none: null
zero: 0
half: 0.5
big: 12345678
huge: 123456789012345678
yes: true
text: "a: b\n  c: 'd'\n"
list: [a, 1, null, {b: c}, [2]]
table: {z: 1, a: {b: [c, {d: e}]}, n: null, "1": one}
long: 'the quick brown fox jumps over the lazy dog'
hook: '{{ .Release.Name }}-{{ include "label" . }}'
ports: [{name: http, port: 80}, {name: https, port: 443}]
global: {team: shop}
-- chart/files/a.txt --
one
two
-- chart/files/b.yaml --
x: {y: 1}
-- chart/files/deep/c.bin --
bytes
-- chart/templates/_helpers.tpl --
{{- /* a comment */ -}}
{{- define "label" -}}
app: {{ .Values.name | default "none" }}
{{- end }}
{{ define "blank" }}  {{ end }}
{{- define "depth" -}}
{{- if gt (int .) 0 }}{{ . }},{{ include "depth" (sub . 1) }}{{ end -}}
{{- end -}}
{{- define "plain" }}{{ if gt (int .) 0 }}<{{ template "plain" (sub . 1) }}>{{ end }}{{ end -}}
{{- define "twice" }}first{{ end }}
-- chart/templates/a/_later.tpl --
{{- define "twice" }}second{{ end }}
{{- define "blank" }}not blank{{ end }}
-- chart/templates/x.yaml --
`

// TestEngineIsHelms renders each text with both engines.
func TestEngineIsHelms(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	templates := map[string]string{
		"nothing":           "",
		"text":              "a\r\nb\r\n\r\n",
		"white space":       "{{- if true }}\n  a\n{{- end -}}\n\n{{ /* c */ -}}\n b {{- \"c\" -}} d\n",
		"nil":               "{{ .Values.none }}|{{ .Values.missing }}|{{ nil | default 1 }}|{{ .Values.table.n }}|{{ print nil }}|{{ .Values.none | quote }}",
		"no value":          "<no value> {{ \"<no value>\" }} {{ tpl \"<no value>{{ .Values.missing }}\" . }} {{ .Values.missing | toString }}",
		"missing below":     "{{ .Values.missing.more }}",
		"missing deeper":    "{{ .Values.a.b.c }}",
		"parentheses":       "{{ (.Values.a).b }}|{{ ((.Values.a).b).c }}|{{ (index .Values.ports 0).port }}",
		"numbers":           "{{ .Values.big }} {{ .Values.huge }} {{ .Values.half }} {{ .Values.zero }} {{ int .Values.big }} {{ .Values.big | int64 }} {{ 1_000 }} {{ 0x10 }} {{ 1e3 }} {{ add 1 2.7 }} {{ mul .Values.big 2 }} {{ div 7 2 }} {{ mod 7 2 }} {{ round 3.14159 2 }} {{ addf 0.1 0.2 }} {{ floor 1.9 }} {{ max 1 5 3 }} {{ toDecimal \"0777\" }}",
		"division":          "{{ div 1 0 }}",
		"comparison":        "{{ eq 1 1 }} {{ eq 1 2 1 }} {{ eq .Values.name \"web\" }} {{ eq .Values.name .Values.empty }} {{ ne .Values.name .Release.Name }} {{ lt 1 2 }} {{ ge 2.0 1.5 }} {{ and 1 0 2 }} {{ or 0 \"\" \"x\" }} {{ not .Values.yes }} {{ eq .Values.none nil }} {{ \"web\" | eq .Values.name }}",
		"incomparable":      "{{ eq .Values.list .Values.table }}",
		"incomparable kind": "{{ eq .Values.zero 0 }}",
		"and or":            "{{ and .Values.missing .Values.missing.more }} {{ or .Values.yes (fail \"no\") }}",
		"index":             "{{ index .Values.list 0 }} {{ index .Values.table \"a\" \"b\" 0 }} {{ index .Values.table .Values.missing2 | default 3 }}",
		"index key":         "{{ $k := \"z\" }}{{ index .Values.table $k }}{{ $k | index .Values.table }}",
		"index out":         "{{ index .Values.list 9 }}",
		"variables":         "{{ $x := 1 }}{{ range $i, $e := .Values.ports }}{{ $x = add $x $e.port }}{{ $i }}{{ end }}{{ $x }}{{ with $y := .Values.name }}{{ $y }}{{ $.Release.Name }}{{ end }}",
		"range":             "{{ range .Values.list }}[{{ . }}]{{ else }}none{{ end }}{{ range .Values.none }}x{{ else }}none{{ end }}{{ range $k, $v := .Values.table }}{{ $k }}={{ $v }};{{ end }}{{ range 3 }}{{ . }}{{ end }}{{ range until 3 }}{{ . }}{{ end }}{{ range $i := 2 }}{{ $i }}{{ end }}",
		"range missing":     "{{ range .Values.missing }}x{{ else }}y{{ end }}{{ range (.Values.a).b }}x{{ end }}",
		"range assigns":     "{{ $k := 0 }}{{ $v := 0 }}{{ range $k, $v = .Values.ports }}{{ end }}{{ $k }}{{ $v.name }}",
		"range of a text":   "{{ range .Values.name }}{{ end }}",
		"range of a number": "{{ range .Values.big }}{{ break }}{{ end }}",
		"break":             "{{ range 9 }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ if gt . 4 }}{{ break }}{{ end }}{{ . }}{{ range 3 }}{{ if eq . 1 }}{{ break }}{{ end }}in{{ end }}{{ end }}out",
		"break elsewhere":   "{{ break }}",
		"else if":           "{{ if .Values.empty }}a{{ else if .Values.yes }}b{{ else }}c{{ end }}{{ with .Values.none }}a{{ else with .Values.name }}{{ . }}{{ end }}",
		"include":           "{{ include \"label\" . }}|{{ include \"label\" . | nindent 4 | trim }}|{{ include \"depth\" 5 }}|{{ template \"plain\" 3 }}|{{ include \"twice\" . }}|{{ include \"blank\" . }}|{{ template \"label\" . }}",
		"include deep":      "{{ include \"depth\" 900 }}",
		"include too deep":  "{{ include \"depth\" 1005 }}",
		"include missing":   "{{ include \"nowhere\" . }}",
		"template missing":  "{{ template \"nowhere\" . }}",
		"template in place": "{{ block \"here\" . }}{{ .Release.Name }}{{ end }}{{ include \"here\" . }}{{ include \"web/templates/_helpers.tpl\" . }}",
		"redefinition":      "{{ define \"label\" }}mine{{ end }}{{ include \"label\" . }}",
		"defined twice":     "{{ define \"p\" }}1{{ end }}{{ define \"p\" }}2{{ end }}",
		"tpl":               "{{ tpl .Values.hook . }}|{{ tpl \"{{ define \\\"in\\\" }}x{{ . }}{{ end }}{{ include \\\"in\\\" 1 }}\" . }}|{{ tpl \"plain\" . }}|{{ tpl \"  \" . }}|{{ tpl \"{{/* c */}} \" . }}|{{ tpl \"{{ tpl .Values.hook $ }}\" . }}",
		"tpl leaks nothing": "{{ tpl \"{{ define \\\"in\\\" }}x{{ end }}\" . }}{{ include \"in\" . }}",
		"tpl of itself":     "{{ tpl \"{{ if . }}{{ . }}{{ include \\\"gotpl\\\" (rest .) }}{{ end }}\" (list 1 2 3) }}",
		"tpl redefines":     "{{ tpl \"{{ define \\\"label\\\" }}inner{{ end }}{{ include \\\"label\\\" . }}\" . }}{{ include \"label\" . }}",
		"tpl broken":        "{{ tpl \"{{ if }}\" . }}",
		"tpl fails":         "{{ tpl \"{{ .a.b.c }}\" . }}",
		"required":          "{{ required \"name it\" .Values.name }}{{ required \"zero\" .Values.zero }}",
		"required missing":  "{{ required \"name it\" .Values.missing }}",
		"required empty":    "{{ required \"name it\" .Values.empty }}",
		"fail":              "{{ fail \"no\" }}",
		"lookup":            "{{ lookup \"v1\" \"Secret\" \"a\" \"b\" }}{{ (lookup \"v1\" \"Secret\" \"\" \"\").items }}{{ getHostByName \"example.com\" }}",
		"env":               "{{ env \"HOME\" }}",
		"scopes":            "{{ .Chart.Name }} {{ .Chart.Version }} {{ .Chart.AppVersion }} {{ .Chart.IsRoot }} {{ .Chart.Annotations }} {{ .Release.Name }} {{ .Release.Namespace }} {{ .Release.Service }} {{ .Release.IsInstall }} {{ .Release.IsUpgrade }} {{ .Release.Revision }} {{ .Template.Name }} {{ .Template.BasePath }} {{ .Subcharts }} {{ .Capabilities.KubeVersion }} {{ .Capabilities.KubeVersion.Version }} {{ .Capabilities.APIVersions.Has \"v1\" }} {{ \"v1\" | .Capabilities.APIVersions.Has }} {{ .Capabilities.HelmVersion.Version }}",
		"methods":           "{{ .Values.YAML }}{{ .Values.AsMap.name }}{{ (.Values.Table \"table\").z }}{{ with .Values }}{{ .YAML | trim | len }}{{ end }}{{ $.Values.YAML | sha256sum }}",
		"no method":         "{{ .Values.table.YAML }}|{{ .Values.table.Local }}|{{ .Values.missing2.Glob }}",
		"files":             "{{ .Files.Get \"files/a.txt\" }}{{ .Files.Get \"none\" }}{{ range $n, $c := .Files.Glob \"files/**\" }}{{ $n }}:{{ $c | toString | trim }};{{ end }}{{ (.Files.Glob \"files/*\").AsConfig }}{{ (.Files.Glob \"files/**\").AsSecrets }}{{ range .Files.Lines \"files/a.txt\" }}<{{ . }}>{{ end }}{{ .Files.GetBytes \"files/a.txt\" }}{{ index .Files \"files/a.txt\" | toString }}{{ .Files.Glob \"[\" | len }}",
		"yaml":              "{{ toYaml .Values.table }}\n{{ .Values.list | toYaml | nindent 2 }}\n{{ toYaml .Values.text }}\n{{ toYaml nil }}|{{ toYaml \"\" }}|{{ toYaml \"yes\" }}|{{ toYaml 1.0 }}|{{ toYamlPretty .Values.table }}|{{ toYaml .Values.long }}|{{ toYaml (dict) }}|{{ toYaml (list) }}",
		"from yaml":         "{{ (fromYaml \"a: {b: 1}\").a.b }}{{ fromYaml \"{\" }}{{ fromYamlArray \"[1, a]\" }}{{ fromYamlArray \"{\" }}{{ fromYaml (include \"label\" .) }}{{ (fromYaml \"a: &x [1]\\nb: *x\").b }}",
		"json":              "{{ toJson .Values.table }}{{ mustToJson .Values.list }}{{ toPrettyJson .Values.table }}{{ toRawJson \"<a>\" }}{{ toJson \"<a>\" }}{{ (fromJson \"{\\\"a\\\": 1.5}\").a }}{{ fromJson \"[\" }}{{ fromJsonArray \"[1]\" }}{{ mustFromJson \"[1,2]\" }}{{ fromJsonArray \"{\" }}",
		"json broken":       "{{ mustFromJson \"[\" }}",
		"toml":              "{{ toToml .Values.ports }}{{ toToml (dict \"a\" 1 \"b\" (dict \"c\" \"d\")) }}{{ fromToml \"a = 1\" }}{{ fromToml \"a =\" }}",
		"texts":             "{{ upper \"a\" }}{{ title \"a b\" }}{{ trunc 3 .Values.long }}{{ trunc -3 .Values.long }}{{ substr 1 3 .Values.long }}{{ abbrev 8 .Values.long }}{{ nospace \"a b\" }}{{ initials \"ab cd\" }}{{ snakecase \"aB\" }}{{ camelcase \"a_b\" }}{{ kebabcase \"aB\" }}{{ wrap 10 .Values.long }}{{ wrapWith 10 \"|\" .Values.long }}{{ repeat 3 \"x\" }}{{ replace \"o\" \"0\" .Values.long }}{{ cat 1 \"a\" nil true }}{{ quote 1 \"a\" nil }}{{ squote .Values.list }}{{ indent 2 \"a\\nb\" }}{{ plural \"one\" \"many\" 2 }}{{ contains \"a\" \"cat\" }}{{ trimSuffix \"b\" \"ab\" }}{{ swapcase \"aB\" }}{{ untitle \"Ab\" }}{{ trimAll \"$\" \"$5$\" }}{{ hasPrefix \"a\" \"ab\" }}",
		"repeat negative":   "{{ repeat -1 \"x\" }}",
		"indent negative":   "{{ indent -1 \"x\" }}",
		"printf":            "{{ printf \"%s-%d-%v-%q-%05d-%.2f-%T-%t-%x\" \"a\" 1 .Values.list \"b\" 7 1.234 .Values.table true \"hi\" }}{{ printf \"%*d\" 5 1 }}{{ printf \"%[1]s%[1]s\" \"a\" }}{{ printf \"%s\" 1 }}{{ printf \"%\" }}{{ print 1 2 \"a\" }}{{ println \"x\" }}{{ html \"<a>\" }}{{ js \"'\" }}{{ urlquery \"a b\" }}",
		"lists":             "{{ list 1 2 | join \",\" }}{{ first .Values.list }}{{ rest .Values.ports }}{{ last (list 1 2) }}{{ initial (list 1 2) }}{{ append (list 1) 2 }}{{ prepend (list 1) 2 }}{{ concat (list 1) (list 2) }}{{ reverse (list 1 2) }}{{ uniq (list 1 1 2) }}{{ without (list 1 2) 1 }}{{ has 1 (list 1) }}{{ compact (list 0 1) }}{{ slice (list 1 2 3) 1 2 }}{{ chunk 2 (list 1 2 3) }}{{ sortAlpha (list \"b\" \"a\") }}{{ until 3 }}{{ untilStep 1 7 2 }}{{ seq 1 2 5 }}{{ seq 3 }}{{ seq 0 -1 -3 }}{{ tuple 1 }}{{ splitList \".\" \"a.b\" }}{{ (split \".\" \"a.b\")._1 }}{{ (splitn \".\" 2 \"a.b.c\")._1 }}{{ toStrings (list 1 \"a\") }}{{ len .Values.list }}{{ slice \"abc\" 1 }}",
		"append to no list": "{{ append 1 2 }}",
		"tables":            "{{ $d := dict \"a\" 1 \"b\" }}{{ $_ := set $d \"c\" (dict \"d\" 2) }}{{ $d }}{{ get $d \"a\" }}{{ get $d \"x\" }}{{ hasKey $d \"a\" }}{{ unset $d \"a\" }}{{ pick $d \"b\" }}{{ omit $d \"b\" }}{{ dig \"c\" \"d\" 0 $d }}{{ dig \"x\" \"y\" 9 $d }}{{ pluck \"b\" $d }}{{ merge (dict \"a\" 1) (dict \"a\" 2 \"b\" 3) }}{{ mergeOverwrite (dict \"a\" 1) (dict \"a\" 2) }}{{ deepCopy $d }}{{ keys (dict \"a\" 1) }}{{ values (dict \"a\" 1) }}{{ deepEqual (dict \"a\" 1) (dict \"a\" 1) }}{{ dict 1 2 }}",
		"set is shared":     "{{ $_ := set .Values \"added\" \"x\" }}{{ .Values.added }}",
		"defaults":          "{{ default 1 0 }}{{ 0 | default \"a\" }}{{ empty \"\" }}{{ coalesce 0 \"\" 3 }}{{ ternary 1 2 true }}{{ all 1 0 }}{{ any 0 1 }}",
		"kinds":             "{{ kindOf .Values.list }}{{ typeOf .Values.table }}{{ kindIs \"map\" .Values.table }}{{ typeIs \"string\" .Values.name }}{{ typeOf .Values }}{{ kindOf nil }}{{ typeOf nil }}{{ typeOf .Capabilities }}",
		"regular":           "{{ regexMatch \"^a.*\" \"abc\" }}{{ regexMatch \"(\" \"a\" }}{{ regexFind \"b+\" \"abb\" }}{{ regexFindAll \"[0-9]\" \"a1b2\" -1 }}{{ regexFindAll \"[0-9]\" \"a1b2\" 1 }}{{ regexReplaceAll \"a(x*)b\" \"-ab-axxb-\" \"${1}W\" }}{{ regexReplaceAllLiteral \"a(x*)b\" \"-ab-\" \"${1}\" }}{{ regexSplit \"z+\" \"pizza\" -1 }}{{ regexSplit \"z\" \"pizza\" 0 }}{{ regexQuoteMeta \"1.2\" }}{{ mustRegexMatch \"a\" \"a\" }}",
		"regular broken":    "{{ regexFind \"(\" \"a\" }}",
		"encodings":         "{{ b64enc \"a\" }}{{ b64dec \"YQ==\" }}{{ b64dec \"!\" }}{{ b32enc \"a\" }}{{ sha1sum \"a\" }}{{ sha256sum \"a\" }}{{ sha512sum \"a\" }}{{ adler32sum \"a\" }}{{ derivePassword 1 \"long\" \"p\" \"u\" \"s\" }}{{ urlParse \"http://a/b?c=d\" }}{{ urlJoin (dict \"scheme\" \"http\" \"host\" \"a\") }}",
		"url broken":        "{{ urlParse \"http://[\" }}",
		"versions":          "{{ semverCompare \">=1.2\" \"1.3.0\" }}{{ (semver \"1.2.3\").Major }}{{ semver \"1.2.3-a+b\" }}{{ .Capabilities.KubeVersion.Version | semver | toString }}",
		"version broken":    "{{ semver \"x\" }}",
		"dates":             "{{ toDate \"2006-01-02\" \"2020-03-04\" | date \"2006\" }}{{ (toDate \"2006-01-02\" \"2020-03-04\").Year }}{{ dateInZone \"15:04\" 0 \"Europe/Berlin\" }}{{ htmlDate 86400 }}{{ date \"2006\" 0 }}{{ dateModify \"1h\" (toDate \"2006\" \"2020\") }}{{ unixEpoch (toDate \"2006\" \"2020\") }}{{ duration \"95\" }}{{ durationRound \"2h10m5s\" }}{{ dateInZone \"15\" 0 \"Nowhere\" }}",
		"paths":             "{{ base \"a/b\" }}{{ dir \"a/b\" }}{{ clean \"a/../b\" }}{{ ext \"a.b\" }}{{ isAbs \"/a\" }}{{ osBase \"a/b\" }}",
		"arguments":         "{{ upper }}",
		"types":             "{{ upper 1 }}",
		"types of a value":  "{{ upper .Values.big }}",
		"nil argument":      "{{ upper .Values.none }}",
		"nil list":          "{{ first .Values.none }}",
		"unknown function":  "{{ unknown }}",
		"unclosed":          "{{ if true }}",
		"unexpected":        "a\n{{ end }}",
		"pipeline":          "{{ .Values.name | upper | lower | printf \"%s-%s\" \"a\" }}{{ \"a\" | default .Values.none }}",
		"chained":           "{{ (dict \"a\" (dict \"b\" 1)).a.b }}{{ (list 1 2) | len }}",
		"whole":             "{{ .Values.table }}{{ .Release }}",
		"global":            "{{ .Values.global.team }}",
		"html":              "{{ \"<a>\" }}{{ \"\\u00e9\" }}{{ `raw \"` }}{{ 'a' }}",
		"long loop":         "{{ range until 1000 }}{{ . }}{{ end }}",
	}
	for name, template := range templates {
		t.Run(name, func(t *testing.T) { compareEngines(t, files(compared+template), "chart", "") })
	}
}

func TestEngineIsHelmsForCharts(t *testing.T) {
	t.Run("subcharts", func(t *testing.T) { compareEngines(t, files(subchartsCompared), "parent", "") })
	t.Run("subcharts with values", func(t *testing.T) {
		compareEngines(t, files(subchartsCompared), "parent", "cache: {size: 9}\nglobal: {team: other, more: 1}\njobs: {shared: {depth: 1}}\nunused: {enabled: true}")
	})
	found := 0
	for _, file := range chartsOf(t, repository) {
		found++
		t.Run(file, func(t *testing.T) {
			compareTrees(t, fleet.TreeOf(repository), path.Dir(file), "replicas: 3\ndomain: example.com")
		})
	}
	archives, err := filepath.Glob("../testdata/charts/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archives {
		archive, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(archive), "generated: OnCluster") { // Helm draws another one each time
			continue
		}
		found++
		t.Run(filepath.Base(file), func(t *testing.T) {
			content := files(string(archive))
			var helm struct{ Values map[string]any }
			if of := content["helm.yaml"]; of != nil {
				if err := yaml.Unmarshal(of.Data, &helm); err != nil {
					t.Fatal(err)
				}
			}
			values, err := yaml.Marshal(helm.Values)
			if err != nil {
				t.Fatal(err)
			}
			compareEngines(t, content, "chart", string(values))
		})
	}
	if found < 25 {
		t.Errorf("%d charts of this repository were found", found)
	}
}

// chartsOf are the charts of a repository, without those that are libraries.
func chartsOf(t *testing.T, repository fs.FS) []string {
	t.Helper()
	var charts []string
	err := fs.WalkDir(repository, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "bin" || name == ".git"):
			return fs.SkipDir
		case entry.Name() != "Chart.yaml":
			return nil
		}
		data, err := fs.ReadFile(repository, name)
		if !strings.Contains(string(data), "type: library") {
			charts = append(charts, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return charts
}

// repository is this one.
var repository = os.DirFS("../../..")

const subchartsCompared = `
-- parent/Chart.yaml --
apiVersion: v2
name: front
version: 1.0.0
dependencies:
- {name: cache, version: 1.x, condition: cache.enabled, tags: [x]}
- {name: queue, version: 1.x, alias: jobs, import-values: [{child: shared, parent: fromQueue}]}
- {name: unused, version: 1.x, condition: unused.enabled}
- {name: common, version: 1.x}
-- parent/values.yaml --
cache: {enabled: true, size: 2, deep: {a: null}}
unused: {enabled: false}
global: {team: shop}
-- parent/templates/_h.tpl --
{{ define "who" }}front {{ .Chart.Name }}{{ end }}
-- parent/templates/NOTES.txt --
Thank you, {{ .Release.Name }}.
-- parent/templates/a.yaml --
{{ include "who" . }} {{ include "common.labels" . }} {{ .Values.fromQueue }} {{ .Subcharts.cache.Values.size }} {{ .Subcharts.cache.Chart.Name }}
{{ template "cache.name" .Subcharts.cache }} {{ .Values.cache }} {{ keys .Subcharts | sortAlpha }} {{ .Values.jobs }}
-- parent/charts/cache/Chart.yaml --
apiVersion: v2
name: cache
version: 1.2.0
-- parent/charts/cache/values.yaml --
size: 1
deep: {a: 1, b: 2}
-- parent/charts/cache/templates/_h.tpl --
{{ define "who" }}cache {{ .Chart.Name }}{{ end }}{{ define "cache.name" }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
-- parent/charts/cache/templates/cm.yaml --
{{ include "who" . }} {{ .Values.size }} {{ .Values.deep }} {{ .Values.global }} {{ .Chart.IsRoot }} {{ .Template.BasePath }} {{ .Files.Get "f" }}
-- parent/charts/cache/f --
in the subchart
-- parent/charts/queue-folder/Chart.yaml --
apiVersion: v2
name: queue
version: 1.3.0
-- parent/charts/queue-folder/values.yaml --
shared: {depth: 9}
-- parent/charts/queue-folder/templates/cm.yaml --
{{ .Chart.Name }} {{ .Values }} {{ .Template.Name }} {{ include "common.labels" . }}
-- parent/charts/unused/Chart.yaml --
apiVersion: v2
name: unused
version: 1.0.0
-- parent/charts/unused/templates/cm.yaml --
{{ .Values.global.team }}
-- parent/charts/common/Chart.yaml --
apiVersion: v2
name: common
version: 1.0.0
type: library
-- parent/charts/common/templates/_labels.tpl --
{{ define "common.labels" }}chart: {{ .Chart.Name }}-{{ .Chart.Version }}{{ end }}
-- parent/charts/common/templates/not.yaml --
{{ fail "a library has no manifests" }}
`

func compareEngines(t *testing.T, tree fstest.MapFS, dir, values string) {
	t.Helper()
	compareTrees(t, fleet.TreeOf(tree), dir, values)
}

func compareTrees(t *testing.T, tree fleet.Tree, dir, values string) {
	t.Helper()
	c, err := readChart(tree, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &table); err != nil {
		t.Fatal(err)
	}
	capabilities, err := capabilitiesOf(fleet.KubernetesAPIs())
	if err != nil {
		t.Fatal(err)
	}
	run := helmRun{
		local: NewLocal(1<<20, DefaultOutput), chart: c, values: &merged{values: table}, capabilities: capabilities,
		release: common.ReleaseOptions{Name: "rel", Namespace: "ns", Revision: 1, IsInstall: true},
	}
	theirs, err := run.prepare()
	if err != nil {
		t.Fatal(err)
	}
	want, problem := engine.Engine{}.RenderWithContext(t.Context(), theirs.chart, theirs.top)
	got := run.again(&draws{})
	if (problem == nil) != (got.err == nil) {
		t.Fatalf("Helm: %v\nours: %v", problem, got.err)
	}
	if problem != nil {
		return
	}
	if diff := cmp.Diff(want, got.files); diff != "" {
		t.Errorf("Helm's (-) and ours (+):\n%s", diff)
	}
}

// TestDocumentsAreHelms splits texts as Helm's own function does.
func TestDocumentsAreHelms(t *testing.T) {
	for _, text := range []string{
		"", "a", "\n\n a: 1\n", "---", "---\n---\n", "--- \t\na: 1\n---\nb: 2", "---a: 1\n--- b: 2\n", "a: 1\n ---\nb: 2", "a: |+\n  x\n\n---\nb: |+\n  y\n\n",
		"------\na", "a\n------\nb", "# c\n---\n# d\n---\n\n", "a\r\n---\r\nb\r\n", "\ufeff---\na", "a---\n\n\n---\n \nb", "x\n---",
	} {
		split := releaseutil.SplitManifests(text)
		var want []string
		for i := range len(split) {
			want = append(want, split[fmt.Sprintf("manifest-%d", i)])
		}
		if diff := cmp.Diff(want, documentsOf(text)); diff != "" {
			t.Errorf("%q: Helm's (-) and ours (+):\n%s", text, diff)
		}
	}
}

// files are those of an archive.
func files(archive string) fstest.MapFS {
	m := fstest.MapFS{}
	for _, file := range txtar.Parse([]byte(archive)).Files {
		m[file.Name] = &fstest.MapFile{Data: file.Data, Mode: 0o644}
	}
	return m
}
