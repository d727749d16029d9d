package render

import (
	"fmt"
	"strings"
	"testing"

	"github.com/muster-io/muster/internal/fleet"
)

// TestChartsAreBounded has charts that would never end, or take all memory: faults of their authors. Nothing here measures
// time: where a bound is missing it does not end. Steps and bytes are fewer than they really are, for the test to be quick.
func TestChartsAreBounded(t *testing.T) {
	const (
		steps  = "the chart takes more than 1000000 steps"
		levels = "the chart nests templates and blocks more than 10000 levels deep"
		value  = "the chart makes or takes a value of more than 16 MiB"
		all    = "the chart makes more than 64 MiB in all"
	)
	big := "{{ $b := repeat 1000000 \"a b\\n\" }}"
	shared := "{{ $d := dict \"a\" \"b\" }}{{ range 64 }}{{ $d = dict \"x\" $d \"y\" $d }}{{ end }}"
	circle := "{{ $d := dict }}{{ $_ := set $d \"self\" $d }}"
	tests := map[string]struct {
		template, says, why string
		line                int
	}{
		"tpl of itself":             {"\n{{ tpl .Values.self . }}", levels, "a value that renders itself", 2},
		"include of itself":         {"{{ define \"a\" }}{{ include \"a\" . }}{{ end }}\n\n{{ include \"a\" . }}", "includes a inside itself more than 1000 times", "Helm's own bound", 1},
		"include in a circle":       {"{{ define \"a\" }}{{ include \"b\" . }}{{ end }}{{ define \"b\" }}{{ template \"a\" . }}{{ end }}\n{{ include \"a\" . }}", "includes b inside itself more than 1000 times", "include hides the depth from text/template", 1},
		"template of itself":        {"{{ define \"a\" }}{{ template \"a\" . }}{{ end }}\n{{ template \"a\" . }}", levels, "text/template would allow 100,000", 1},
		"deep and wide":             {"{{ define \"a\" }}{{ if . }}{{ template \"a\" (sub . 1) }}{{ template \"a\" (sub . 1) }}{{ end }}{{ end }}\n{{ template \"a\" 60 }}", steps, "2^60 calls, sixty levels deep", 1},
		"nested blocks":             {strings.Repeat("{{ if 1 }}", 20000) + strings.Repeat("{{ end }}", 20000), levels, "the stack", 1},
		"too many blocks":           {strings.Repeat("{{ if 1 }}", 60000) + strings.Repeat("{{ end }}", 60000), "a template of more than 50000 actions", "the parser's stack", 0},
		"nested blocks in a value":  {"{{ tpl (printf \"%s%s\" (repeat 60000 \"{{ if 1 }}\") (repeat 60000 \"{{ end }}\")) . }}", "a template of more than 50000 actions", "the parser's stack", 1},
		"nested parentheses":        {"{{ define \"a\" }}{{ " + strings.Repeat("(", 5000) + "include \"a\" ." + strings.Repeat(")", 5000) + " }}{{ end }}\n{{ include \"a\" . }}", levels, "parentheses take of the stack too", 1},
		"until":                     {"\n{{ range until 2000000000 }}{{ end }}", value, "a list of two billion", 2},
		"until at the edge":         {"{{ untilStep 0 9223372036854775807 9223372036854775806 | len }}", value, "the sum runs over and the loop has no end", 1},
		"untilStep":                 {"{{ untilStep 0 2000000000 1 }}", value, "a list of two billion", 1},
		"seq":                       {"{{ seq 2000000000 }}", value, "a text of two billion numbers", 1},
		"seq down":                  {"{{ seq 1 -1 -2000000000 }}", value, "a text of two billion numbers", 1},
		"range of a number":         {"\n{{ range 2000000000 }}{{ end }}", steps, "an empty body", 2},
		"range in a range":          {"{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}", steps, "each turn counts", 1},
		"range with break":          {"{{ range 100000 }}{{ range until 1000000 }}{{ break }}{{ end }}{{ end }}", all, "the list is made before", 1},
		"range with continue":       {"{{ range 2000000000 }}{{ continue }}{{ end }}", steps, "continue is a turn too", 1},
		"range of a large map":      {"{{ $d := dict }}{{ range $i := 20000 }}{{ $_ := set $d (toString $i) 1 }}{{ end }}{{ range 100000 }}{{ range $d }}{{ break }}{{ end }}{{ end }}", all, "a map is sorted before the first turn", 1},
		"large body":                {"{{ range 100000 }}" + strings.Repeat("{{ if . }}{{ end }}", 1000) + "{{ end }}", steps, "a turn counts what is in it", 1},
		"repeat":                    {"{{ repeat 2000000000 \"a\" }}", value, "two GB", 1},
		"repeat runs over":          {"{{ repeat 4611686018427387904 \"abcdefgh\" | len }}", value, "the product runs over", 1},
		"repeat again":              {"{{ range 1000 }}{{ $x := repeat 10000000 \"a\" }}{{ end }}", all, "each is allowed, all are not", 1},
		"doubled text":              {"{{ $s := \"a\" }}{{ range 64 }}{{ $s = print $s $s }}{{ end }}", value, "2^64 bytes", 1},
		"doubled list":              {"{{ $l := list 1 }}{{ range 64 }}{{ $l = concat $l $l }}{{ end }}", value, "2^64 elements", 1},
		"grown list":                {"{{ $l := list }}{{ range 1000000 }}{{ $l = append $l 1 }}{{ end }}", all, "each append copies", 1},
		"grown map":                 {"{{ $d := dict }}{{ range $i := 10000000 }}{{ $_ := set $d (toString $i) $i }}{{ end }}", steps, "an entry is some hundred bytes", 1},
		"kept files":                {"{{ $l := list }}{{ range 100 }}{{ $l = append $l ($.Files.Get \"big\") }}{{ end }}", all, "a method's result counts", 1},
		"indent":                    {"{{ indent 2000000000 \"a\" }}", value, "two GB", 1},
		"nindent":                   {"{{ \"a\" | nindent 2000000000 }}", value, "two GB", 1},
		"indent of lines":           {big + "{{ indent 1000 $b }}", value, "a million lines", 1},
		"replace":                   {big + "{{ replace \"a\" $b $b | len }}", value, "a million times three million", 1},
		"replace nothing":           {big + "{{ replace \"\" $b $b | len }}", value, "nothing is found everywhere", 1},
		"regexReplaceAll":           {"{{ $b := repeat 10000 \"a\" }}{{ regexReplaceAll \"a\" $b $b | len }}", value, "10,000 times 10,000", 1},
		"regexReplaceAll expanded":  {"{{ $b := repeat 10000 \"a\" }}{{ regexReplaceAll \"(a+)\" $b (repeat 10000 \"$1\") | len }}", value, "each $1 is the match", 1},
		"regexReplaceAllLiteral":    {"{{ $b := repeat 10000 \"a\" }}{{ regexReplaceAllLiteral \"\" $b $b | len }}", value, "10,000 times 10,000", 1},
		"regex of a large text":     {big + "{{ range 100 }}{{ regexMatch \"(x{100}){9}$\" $b }}{{ end }}", steps, "text times expression", 1},
		"regex too large":           {"{{ regexMatch (repeat 100 \"(abcdefghi){999}\") \"a\" }}", "a regular expression that is too large", "compiled, it is far larger than it looks", 1},
		"regex that looks ahead":    {"{{ regexFindAll \"a*b|a\" (repeat 1000000 \"a\") -1 | len }}", steps, "each match looks through the rest", 1},
		"regexFindAll":              {big + "{{ regexFindAll \"\" $b -1 | len }}", value, "three million matches", 1},
		"regexSplit":                {big + "{{ regexSplit \"\" $b -1 | len }}", value, "three million pieces", 1},
		"splitList":                 {big + "{{ splitList \"\" $b | len }}", value, "three million pieces", 1},
		"split":                     {big + "{{ split \" \" $b | len }}", value, "a million entries", 1},
		"join":                      {"{{ until 10000 | join (repeat 10000 \"a\") | len }}", value, "10,000 times 10,000", 1},
		"wrapWith":                  {"{{ wrapWith 1 (repeat 10000 \"a\") (repeat 10000 \"b\") | len }}", value, "10,000 times 10,000", 1},
		"printf width":              {"{{ range 1000 }}{{ $x := printf (repeat 1000 \"%01000000d\") 1 }}{{ end }}", value, "a million bytes for each verb", 1},
		"printf width by argument":  {"{{ printf (repeat 1000 \"%*d\") 1000000 1 1000000 1 | len }}", value, "a million bytes for each verb", 1},
		"printf again and again":    {big + "{{ printf (repeat 1000 \"%[1]s\") $b | len }}", value, "one argument a thousand times", 1},
		"randAlphaNum":              {"{{ randAlphaNum 2000000000 | len }}", value, "two GB", 1},
		"derivePassword":            {"{{ range 1000000 }}{{ $x := derivePassword 1 \"long\" \"a\" \"b\" \"c\" }}{{ end }}", steps, "scrypt is meant to be slow", 1},
		"sha512sum":                 {big + "{{ range 1000000 }}{{ $x := sha512sum $b }}{{ end }}", steps, "it reads all of the text", 1},
		"long comparison":           {big + "{{ $c := print $b \"\" }}{{ range 1000000 }}{{ if eq $b $c }}{{ end }}{{ end }}", steps, "texts of three million bytes that are equal", 1},
		"uniq":                      {"{{ uniq (until 100000) | len }}", steps, "each with each", 1},
		"dates":                     {"{{ range 1000000 }}{{ $x := dateInZone \"15\" 0 \"Europe/Berlin\" }}{{ end }}", steps, "each reads a zone", 1},
		"tpl again and again":       {"{{ range 1000000 }}{{ $x := tpl \"{{ . }}\" 1 }}{{ end }}", steps, "each is parsed", 1},
		"tpl that defines":          {"{{ range 1000000 }}{{ $x := tpl \"{{ define \\\"a\\\" }}{{ end }}{{ . }}\" 1 }}{{ end }}", steps, "each copies all names", 1},
		"fromYaml":                  {"{{ fromYaml (printf \"[%s]\" (repeat 1000000 \"1,\")) }}", "parses a text of more than 1 MiB with fromYaml", "a tree takes a hundred times its text", 1},
		"fromYaml again":            {"{{ $t := printf \"a: [%s]\" (repeat 100000 \"1,\") }}{{ $d := dict }}{{ range $i := 1000 }}{{ $_ := set $d (toString $i) (fromYaml $t) }}{{ end }}", all, "what was parsed is kept", 1},
		"aliases":                   {"{{ fromYaml (printf \"a: &a %s\\nb: [%s]\" (repeat 100000 \"x\") (repeat 10000 \"*a,\")) | len }}", "far more than it is", "a GB of aliases", 1},
		"toToml of brackets":        {"{{ fromToml (printf \"a = %s\" (repeat 500000 \"[\")) }}", "far more than it is", "the parser's stack", 1},
		"shared: toYaml":            {shared + "\n{{ toYaml $d }}", value, "2^64 nodes", 2},
		"shared: toYamlPretty":      {shared + "{{ toYamlPretty $d }}", value, "2^64 nodes", 1},
		"shared: toJson":            {shared + "{{ toJson $d }}", value, "2^64 nodes", 1},
		"shared: mustToJson":        {shared + "{{ mustToJson $d }}", value, "2^64 nodes", 1},
		"shared: toToml":            {shared + "{{ toToml $d }}", value, "2^64 nodes", 1},
		"shared: quote":             {shared + "{{ quote $d }}", value, "2^64 nodes", 1},
		"shared: toString":          {shared + "{{ toString $d }}", value, "2^64 nodes", 1},
		"shared: printf":            {shared + "{{ printf \"%v\" $d }}", value, "2^64 nodes", 1},
		"shared: printed":           {shared + "\n{{ $d }}", value, "an action prints too", 2},
		"shared: printed by a with": {shared + "{{ with $d }}{{ . }}{{ end }}", value, "an action prints too", 1},
		"shared: printed default":   {shared + "{{ $d | default 1 }}", value, "an action prints too", 1},
		"shared: deepCopy":          {shared + "{{ $e := deepCopy $d }}", value, "2^64 nodes", 1},
		"shared: merge":             {shared + "{{ $e := merge (dict) $d }}", value, "2^64 nodes", 1},
		"shared: deepEqual":         {shared + "{{ $e := deepEqual $d $d }}", value, "2^64 nodes", 1},
		"shared: compared":          {shared + "{{ $e := eq $d $d }}", value, "the failure prints both", 1},
		"shared: compared with nil": {shared + "{{ $e := eq $d nil }}", value, "the failure prints both", 1},
		"shared: piped to eq":       {shared + "{{ $e := $d | eq $d }}", value, "the failure prints both", 1},
		"shared: has":               {shared + "{{ has 1 (list $d) }}", value, "2^64 nodes", 1},
		"shared: a key":             {shared + "{{ $e := dict $d 1 }}", value, "a key is printed", 1},
		"shared: .Values.YAML":      {shared + "{{ $_ := set .Values \"d\" $d }}\n{{ .Values.YAML }}", value, "a method that writes YAML", 2},
		"shared: YAML in a with":    {shared + "{{ $_ := set .Values \"d\" $d }}{{ with .Values }}{{ .YAML }}{{ end }}", value, "a method that writes YAML", 1},
		"circle: toYaml":            {circle + "\n{{ toYaml $d }}", value, "it has no end", 2},
		"circle: toYamlPretty":      {circle + "{{ toYamlPretty $d }}", value, "it would take the process along", 1},
		"circle: printed":           {circle + "{{ $d }}", value, "it would take the process along", 1},
		"circle: print":             {circle + "{{ print $d }}", value, "it would take the process along", 1},
		"circle: toToml":            {circle + "{{ toToml $d }}", value, "it would take the process along", 1},
		"circle: deepCopy":          {circle + "{{ $e := deepCopy $d }}", value, "it would take the process along", 1},
		"circle: merge":             {circle + "{{ $e := merge $d (dict \"self\" $d) }}", value, "it would take the process along", 1},
		"circle: join":              {circle + "{{ join \",\" (list $d) }}", value, "it would take the process along", 1},
		"circle: eq":                {circle + "{{ eq $d $d }}", value, "it would take the process along", 1},
		"circle: of lists":          {"{{ $d := dict }}{{ $_ := set $d \"l\" (list $d $d $d $d) }}{{ cat $d }}", value, "it would take the process along", 1},
		"circle in values":          {"{{ $_ := set .Values \"v\" .Values }}{{ .Values }}", value, "it would take the process along", 1},
		"whole output":              {strings.Repeat("{{ repeat 10000000 \"a\" }}", 3), value, "one file", 0},
		"glob":                      {"{{ .Files.Glob \"" + strings.Repeat("*a", 40) + "\" | len }}", "a pattern of too many wildcards", "matching tries all", 1},
		"files as config":           {"{{ range 1000 }}{{ $x := $.Files.AsConfig }}{{ end }}", steps, "each writes all files", 1},
		"version":                   {"{{ semver (printf \"1.2.3-%s\" (repeat 100000 \"a\")) }}", "for a version", "long patterns", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			archive, spec := helmCase(test.template+"\n", `{values: {self: '{{ tpl .Values.self . }}'}}`)
			archive += "-- chart/big --\n" + strings.Repeat("x", 3<<20) + "\n"
			was := chartLimits
			t.Cleanup(func() { chartLimits = was })
			switch test.says {
			case steps:
				chartLimits.steps = 1_000_000
			case all:
				chartLimits.made = 64 << 20
			}
			f := faultOf(t, input(t, archive, spec))
			at := "chart/templates/x.yaml"
			if test.line > 0 {
				at = fmt.Sprintf("%s:%d", at, test.line)
			}
			if f.Reason != fleet.RenderTooCostly || f.ActionRequiredBy != fleet.User || f.Position() != at || !strings.Contains(f.Message, test.says) {
				t.Errorf("%s: got %s %s %s %q, want %s %q", test.why, f.Reason, f.ActionRequiredBy, f.Position(), f.Message, at, test.says)
			}
		})
	}
}

// TestLargeChartsAreNotBounded has charts that are larger than those that people write.
func TestLargeChartsAreNotBounded(t *testing.T) {
	tests := map[string]string{
		"many objects":    "{{ range until 2000 }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c{{ . }}, labels: {{ toJson $.Values.labels }}}\n{{ end }}",
		"large file":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: {{ .Files.Get \"big\" | trim | quote }}}",
		"deep recursion":  "{{ define \"a\" }}{{ if gt (int .) 0 }}{{ include \"a\" (sub . 1) }}{{ end }}{{ end }}{{ include \"a\" 900 }}" + configMap,
		"nested loops":    "{{ range until 100 }}{{ range until 100 }}{{ $x := printf \"%d\" . | quote | upper }}{{ end }}{{ end }}" + configMap,
		"dashboards":      "{{ range until 50 }}{{ $x := tpl ($.Files.Get \"dashboard\") $ | replace \"a\" \"b\" | indent 4 }}{{ end }}" + configMap,
		"all in one list": "{{ $l := list }}{{ range until 2000 }}{{ $l = append $l . }}{{ end }}" + configMap,
	}
	for name, template := range tests {
		t.Run(name, func(t *testing.T) {
			archive, spec := helmCase(template+"\n", `{values: {labels: {a: b, c: d}}}`)
			archive += "-- chart/big --\n" + strings.Repeat("x", 1<<20) + "\n-- chart/dashboard --\n" + strings.Repeat("{{ .Release.Name }} and a hundred bytes of a panel that has nothing to render in it at all ...\n", 1000) + "\n"
			mustRender(t, New(1<<20), input(t, archive, spec))
		})
	}
}

func TestAPanicIsAFault(t *testing.T) {
	archive, spec := helmCase("{{ upper \"a\" }}", `{}`)
	was := catalogue
	t.Cleanup(func() { catalogue = was })
	catalogue = append([]*function{newFunction("upper", func(string) string { panic("out of order") })}, was...)
	f := faultOf(t, input(t, archive, spec))
	if f.Reason != fleet.RenderFailed || f.Position() != "chart/templates/x.yaml:1" || !strings.Contains(f.Message, "upper fails") {
		t.Errorf("got %s %s %q", f.Reason, f.Position(), f.Message)
	}
}

func TestSchemasAreBounded(t *testing.T) {
	const tooMuch = "the schema takes more than 1000000 steps"
	doubling := func(keyword string) string {
		defs := ""
		for i := range 40 {
			defs += fmt.Sprintf("\"a%[1]d\": {%[3]s: [{\"$ref\": \"#/definitions/a%[2]d\"}, {\"$ref\": \"#/definitions/a%[2]d\"}]}, ", i, i+1, keyword)
		}
		return "{\"$ref\": \"#/definitions/a0\", \"definitions\": {" + defs + "\"a40\": {\"type\": \"object\"}}}"
	}
	nested := "a" + strings.Repeat("}", 40)
	nested = strings.Repeat("{a: ", 40) + nested
	tests := map[string]struct{ schema, values, says, why string }{
		"allOf":         {doubling(`"allOf"`), "{}", tooMuch, "2^40 evaluations"},
		"oneOf":         {doubling(`"oneOf"`), "{}", tooMuch, "2^40 evaluations"},
		"in depth":      {`{"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}`, nested, tooMuch, "2^40 for a value that is forty levels deep"},
		"itself":        {`{"anyOf": [{"$ref": "#"}, {"type": "object"}]}`, "{}", tooMuch, "it has no end"},
		"at a distance": {`{"allOf": [{"$dynamicRef": "#a"}], "$defs": {"a": {"$dynamicAnchor": "a"}}}`, "{}", tooMuch, "where it leads to is known when it is evaluated"},
		"long chain":    {chainOfRefs(5000), "{}", tooMuch, "each is compared with those around it"},
		"pattern":       {`{"properties": {"a": {"allOf": [` + strings.Repeat(`{"pattern": "(x{100}){9}$"},`, 100) + `{}]}}}`, "{a: " + strings.Repeat("x", 100_000) + "}", tooMuch, "text times expression"},
		"large pattern": {`{"patternProperties": {"` + strings.Repeat("((a{10}){10}){10}", 101) + `": {}}}`, "{}", tooMuch, "compiled, it is far larger than it looks"},
		"number":        {`{"properties": {"a": {"minimum": 1e999999}}}`, "{a: 1}", "a number in it is too large", "a million digits"},
		"enum":          {`{"items": {}, "properties": {"a": {"items": {"enum": [` + strings.Repeat("1,", 20_000) + `2]}}}}`, "{a: [" + strings.Repeat("3,", 100) + "]}", tooMuch, "each with each"},
		"tree":          {`{"properties": {"a": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}}`, nested, "", "a schema of a tree refers to itself below"},
		"large values":  {`{"additionalProperties": {"items": {"enum": ["x", "y"], "pattern": "^[a-z]$"}}}`, "{a: [" + strings.Repeat("x,", 10_000) + "]}", "", "it goes through them once"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			archive, spec := helmCase(configMap, "{values: "+test.values+"}")
			in := input(t, archive+"-- chart/values.schema.json --\n"+test.schema+"\n", spec)
			if test.says == "" {
				mustRender(t, New(1<<20), in)
				return
			}
			f := faultOf(t, in)
			if (test.says == tooMuch) != (f.Reason == fleet.RenderTooCostly) || f.Position() != "chart/values.schema.json" || !strings.Contains(f.Message, test.says) {
				t.Errorf("%s: got %s %s %q", test.why, f.Reason, f.Position(), f.Message)
			}
		})
	}
}

func chainOfRefs(n int) string {
	defs := ""
	for i := range n {
		defs += fmt.Sprintf("\"a%d\": {\"$ref\": \"#/$defs/a%d\"}, ", i, i+1)
	}
	return fmt.Sprintf("{\"$ref\": \"#/$defs/a0\", \"$defs\": {%s\"a%d\": {}}}", defs, n)
}

func TestAliasesAreBounded(t *testing.T) {
	long := "a: &a " + strings.Repeat("x", 100_000) + "\nb: [" + strings.Repeat("*a, ", 10_000) + "]\n"
	many := "x0: &x0 [1, 2, 3]\n"
	for i := range 40 {
		many += fmt.Sprintf("x%[2]d: &x%[2]d [*x%[1]d, *x%[1]d]\n", i, i+1)
	}
	tests := map[string]struct{ archive, spec, at string }{
		"manifest":     {"-- m/a.yaml --\n" + configMap + long, "{source: {path: m}}", "m/a.yaml:1"},
		"deep":         {"-- m/a.yaml --\n" + configMap + many, "{source: {path: m}}", "m/a.yaml:1"},
		"values file":  {webChart + "-- applications/shop/web/v.yaml --\n" + long, "{source: {path: chart}, helm: {valuesFiles: [v.yaml]}}", "applications/shop/web/v.yaml:1"},
		"chart values": {webChart + "-- chart/values.yaml --\n" + long, "{source: {path: chart}}", "chart/values.yaml"},
		"subchart":     {webChart + "-- chart/charts/a/Chart.yaml --\napiVersion: v2\nname: a\nversion: 1.0.0\n-- chart/charts/a/values.yaml --\n" + long, "{source: {path: chart}}", "chart/charts/a/values.yaml"},
		"rendered":     {webChart + "-- chart/templates/a.yaml --\n" + configMap + long, "{source: {path: chart}}", "chart/templates/a.yaml"},
		"overlay":      {"-- o/kustomization.yaml --\nresources: [a.yaml]\n-- o/a.yaml --\n" + configMap + long, "{source: {path: o}}", "o/a.yaml"},
		"patch":        {"-- o/kustomization.yaml --\npatches:\n- patch: |\n    " + strings.ReplaceAll(configMap+long, "\n", "\n    ") + "\n", "{source: {path: o}}", "o/kustomization.yaml"},
		"same field":   {"-- o/kustomization.yaml --\nresources: [a.yaml]\n-- o/a.yaml --\n" + configMap + "data:\n" + strings.Repeat("  a: b\n", 3000), "{source: {path: o}}", "o/a.yaml"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := faultOf(t, input(t, test.archive, test.spec))
			if f.Reason != fleet.ContentRefused || f.Position() != test.at || !strings.Contains(f.Message, "aliases") {
				t.Errorf("got %s %s %q, want %s", f.Reason, f.Position(), f.Message, test.at)
			}
		})
	}
}
