package render

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/template/parse"

	"helm.sh/helm/v3/pkg/chart"
)

// Charts may call functions whose result differs from run to run. Whether that matters depends on the values: a password
// that is supplied is used although `default (randAlphaNum 10)` was evaluated beside it. So the calls are found in the syntax
// trees and replaced, in the text, by calls that give one of two fixed results; a chart with such calls is rendered with both.
// Equal output proves that no result of them reaches it; else the first call that changes the output is the fault's.
//
// keys and values give the order of a Go map, which is random too, and are so common that they get an order instead.

// variant is which of the two fixed results the calls give.
type variant int

const (
	first variant = iota
	second
)

// call is one call of a non-deterministic function.
type call struct {
	template string // as Helm names it
	index    int    // among the calls of that template
	function string
	line     int
}

// substitutes are what stands in for a function's name, by variant. What follows the name in the template, arguments and pipes,
// follows the substitute too, so that it must take the same arguments or any. Each text is found nowhere else, so that what
// merely passed through a render can be restored; backquotes survive YAML and JSON.
var substitutes = map[string][2]string{
	"now":          {"(toDate `2006-01-02T15:04:05Z07:00` `2001-02-03T04:05:06Z`)", "(toDate `2006-01-02T15:04:05Z07:00` `2035-11-25T16:17:18Z`)"},
	"uuidv4":       {"(include `muster/uuidv4-0` 36)", "(include `muster/uuidv4-1` 36)"},
	"randAlphaNum": included("randAlphaNum"),
	"randAlpha":    included("randAlpha"),
	"randAscii":    included("randAscii"),
	"randNumeric":  included("randNumeric"),
	"randBytes":    included("randBytes"),
	"shuffle":      included("shuffle"),
	"randInt":      {"min 9223372036854775807", "max -9223372036854775808"},
	"ago":          {"printf `ago 0 %v`", "printf `ago 1 %v`"},
	"htpasswd":     {"printf `htpasswd 0 %v %v`", "printf `htpasswd 1 %v %v`"},
	"bcrypt":       {"printf `bcrypt 0 %v`", "printf `bcrypt 1 %v`"},
	"encryptAES":   {"printf `encryptAES 0 %v %v`", "printf `encryptAES 1 %v %v`"},

	"genPrivateKey":            {"printf `genPrivateKey 0 %v`", "printf `genPrivateKey 1 %v`"},
	"genCA":                    certificate("genCA"),
	"genCAWithKey":             certificate("genCAWithKey"),
	"genSelfSignedCert":        certificate("genSelfSignedCert"),
	"genSelfSignedCertWithKey": certificate("genSelfSignedCertWithKey"),
	"genSignedCert":            certificate("genSignedCert"),
	"genSignedCertWithKey":     certificate("genSignedCertWithKey"),
}

func included(function string) [2]string {
	return [2]string{"include `muster/" + function + "-0`", "include `muster/" + function + "-1`"}
}

func certificate(function string) [2]string {
	return [2]string{"dict `Cert` `" + function + " 0` `Key` `key 0`", "dict `Cert` `" + function + " 1` `Key` `key 1`"}
}

// substituteTemplates is what the substitutes include. A random text is a long enough run of one character.
var substituteTemplates = func() string {
	var b strings.Builder
	define := func(name, body string) { fmt.Fprintf(&b, "{{- define `muster/%s` }}%s{{ end -}}\n", name, body) }
	for _, function := range []string{"uuidv4", "randAlphaNum", "randAlpha", "randAscii"} {
		define(function+"-0", "{{ repeat (int .) `q` }}")
		define(function+"-1", "{{ repeat (int .) `z` }}")
	}
	define("randNumeric-0", "{{ repeat (int .) `1` }}")
	define("randNumeric-1", "{{ repeat (int .) `2` }}")
	define("randBytes-0", "{{ repeat (int .) `q` | b64enc }}")
	define("randBytes-1", "{{ repeat (int .) `z` | b64enc }}")
	define("shuffle-0", "{{ . }}")
	define("shuffle-1", "{{ regexReplaceAll `(?s)^(.)(.*)$` . `${2}${1}` }}")
	collect := "{{ $l := list }}{{ range . }}{{ range $k, $v := . }}{{ $l = append $l %s }}{{ end }}{{ end }}{{ toJson $l }}"
	define("keys", fmt.Sprintf(collect, "$k"))
	define("values", fmt.Sprintf(collect, "$v"))
	return b.String()
}()

// passed finds an ordered keys or values that was not rendered but passed through.
var passed = regexp.MustCompile("\\btuple\\b([^|{}]*) \\| include `muster/(keys|values)` \\| fromJsonArray")

// restore gives a text back what was substituted in it and then not rendered.
func restore(text string) string {
	if !strings.Contains(text, "`") {
		return text
	}
	text = passed.ReplaceAllString(text, "$2$1")
	for function, substitute := range substitutes {
		text = strings.ReplaceAll(text, substitute[first], function)
		text = strings.ReplaceAll(text, substitute[second], function)
	}
	return text
}

// substituteFile holds them in the chart.
const substituteFile = "templates/_muster-substitutes.tpl"

var ordered = []string{"keys", "values"}

// interesting is a quick look for what is worth parsing.
var interesting = func() *regexp.Regexp {
	names := slices.Clone(ordered)
	for name := range substitutes {
		names = append(names, name)
	}
	slices.Sort(names)
	return regexp.MustCompile(`\b(` + strings.Join(names, "|") + `)\b`)
}()

// edit replaces a part of a template's text.
type edit struct {
	from, to int
	function string // of a call; empty for an order given to keys and values
	text     [2]string
}

// editsOf finds what has to be replaced in a template. A template that does not parse has none: the engine will say why.
func editsOf(text string) []edit {
	if !strings.Contains(text, "{{") || !interesting.MatchString(text) {
		return nil
	}
	trees := map[string]*parse.Tree{}
	tree := parse.New("t")
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		return nil
	}
	trees["t"] = tree
	var edits []edit
	for _, t := range trees {
		if t.Root == nil {
			continue
		}
		walk(t.Root, func(n parse.Node) {
			switch n := n.(type) {
			case *parse.IdentifierNode:
				edits = append(edits, callEdit(text, n)...)
			case *parse.CommandNode:
				edits = append(edits, orderEdits(text, n)...)
			}
		})
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.from - b.from })
	return slices.CompactFunc(edits, func(a, b edit) bool { return a == b })
}

func callEdit(text string, n *parse.IdentifierNode) []edit {
	from, to := int(n.Pos), int(n.Pos)+len(n.Ident)
	substitute, ok := substitutes[n.Ident]
	if !ok || to > len(text) || text[from:to] != n.Ident {
		return nil
	}
	return []edit{{from: from, to: to, function: n.Ident, text: substitute}}
}

// orderEdits turns keys X into tuple X | include `muster/keys` | fromJsonArray.
func orderEdits(text string, n *parse.CommandNode) []edit {
	name, ok := n.Args[0].(*parse.IdentifierNode)
	if !ok || !slices.Contains(ordered, name.Ident) {
		return nil
	}
	from, to := int(name.Pos), int(name.Pos)+len(name.Ident)
	if to > len(text) || text[from:to] != name.Ident {
		return nil
	}
	end := commandEnd(text, to)
	after := fmt.Sprintf(" | include `muster/%s` | fromJsonArray", name.Ident)
	return []edit{
		{from: from, to: to, text: [2]string{"tuple", "tuple"}},
		{from: end, to: end, text: [2]string{after, after}},
	}
}

// commandEnd finds where a command that goes on at i ends: at a pipe, a closing parenthesis, or the end of the action.
func commandEnd(text string, i int) int {
	depth, end := 0, i
	for i < len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\'' || c == '`':
			i = quoteEnd(text, i)
			end = i
			continue
		case c == '(':
			depth++
		case depth == 0 && (c == '|' || c == ')' || strings.HasPrefix(text[i:], "}}") || strings.HasPrefix(text[i:], "-}}")):
			return end
		case c == ')':
			depth--
		}
		if !strings.ContainsRune(" \t\r\n", rune(text[i])) {
			end = i + 1
		}
		i++
	}
	return end
}

func quoteEnd(text string, i int) int {
	quote := text[i]
	for i++; i < len(text); i++ {
		if text[i] == '\\' && quote != '`' {
			i++
		} else if text[i] == quote {
			return i + 1
		}
	}
	return len(text)
}

// apply makes the edits; pick says which variant the n-th call gets.
func apply(text string, edits []edit, pick func(n int) variant) string {
	var out strings.Builder
	at, n := 0, 0
	for _, e := range edits {
		v := first
		if e.function != "" {
			v = pick(n)
			n++
		}
		out.WriteString(text[at:e.from])
		out.WriteString(e.text[v])
		at = e.to
	}
	out.WriteString(text[at:])
	return out.String()
}

// study looks through the templates for what a render depends on, and gives keys and values their order.
func (c *loadedChart) study() {
	c.edits = map[*chart.File][]edit{}
	eachChart(c.chart, func(sub *chart.Chart) {
		for _, file := range sub.Templates {
			text := string(file.Data)
			c.usesCapabilities = c.usesCapabilities || strings.Contains(text, "Capabilities")
			c.usesTpl = c.usesTpl || usesTpl.MatchString(text)
		}
		for _, file := range sub.Files {
			c.usesCapabilities = c.usesCapabilities || strings.Contains(string(file.Data), "Capabilities")
		}
	})
	eachChart(c.chart, func(sub *chart.Chart) {
		for _, file := range c.templatesOf(sub) {
			edits := editsOf(string(file.Data))
			if len(edits) == 0 {
				continue
			}
			c.edits[file] = edits
			index := 0
			for _, e := range edits {
				if e.function != "" {
					line := 1 + strings.Count(string(file.Data[:e.from]), "\n")
					c.calls = append(c.calls, call{template: sub.ChartFullPath() + "/" + file.Name, index: index, function: e.function, line: line})
					index++
				}
			}
		}
	})
	if len(c.edits) > 0 || c.usesTpl {
		c.chart.Templates = append(c.chart.Templates, &chart.File{Name: substituteFile, Data: []byte(substituteTemplates)})
	}
}

var usesTpl = regexp.MustCompile(`\btpl\b`)

// templatesOf are the files of one chart that may be rendered: its templates, and where tpl is used its other files too.
func (c *loadedChart) templatesOf(sub *chart.Chart) []*chart.File {
	if !c.usesTpl {
		return sub.Templates
	}
	return slices.Concat(sub.Templates, sub.Files)
}

func eachChart(c *chart.Chart, visit func(*chart.Chart)) {
	visit(c)
	for _, sub := range c.Dependencies() {
		eachChart(sub, visit)
	}
}

// substitute replaces the calls in the templates of a chart copy. Names of templates are those that the chart has before its
// dependencies are processed.
func (c *loadedChart) substitute(copied *chart.Chart, pick func(call) variant) {
	if len(c.edits) == 0 {
		return
	}
	eachChart(copied, func(sub *chart.Chart) {
		sub.Templates = c.substituteFiles(sub, sub.Templates, pick)
		sub.Files = c.substituteFiles(sub, sub.Files, pick)
	})
}

func (c *loadedChart) substituteFiles(sub *chart.Chart, files []*chart.File, pick func(call) variant) []*chart.File {
	out := slices.Clone(files)
	for i, file := range files {
		edits, ok := c.edits[file]
		if !ok {
			continue
		}
		name := sub.ChartFullPath() + "/" + file.Name
		text := apply(string(file.Data), edits, func(n int) variant { return pick(call{template: name, index: n}) })
		out[i] = &chart.File{Name: file.Name, Data: []byte(text)}
	}
	return out
}

// substituteValues replaces the calls in values that tpl may render, in place, and tells whether there were any.
func substituteValues(value any, v variant) (any, bool) {
	found := false
	switch value := value.(type) {
	case string:
		edits := editsOf(value)
		for _, e := range edits {
			found = found || e.function != ""
		}
		if len(edits) == 0 {
			return value, false
		}
		return apply(value, edits, func(int) variant { return v }), found
	case []any:
		for i := range value {
			below, has := substituteValues(value[i], v)
			value[i], found = below, found || has
		}
	case map[string]any:
		for key := range value {
			below, has := substituteValues(value[key], v)
			value[key], found = below, found || has
		}
	}
	return value, found
}
