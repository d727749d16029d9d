package render

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"helm.sh/helm/v3/pkg/chart"
)

// What Helm's engine says when a template fails:
//
//	template: web/templates/a.yaml:3:5: executing "web/templates/a.yaml" at <include "b" .>: error calling include: template: ...
//	execution error at (web/templates/a.yaml:3:5): a message of required or fail
//	parse error at (web/templates/a.yaml:3): unexpected "}" in operand
var (
	executionPlace = regexp.MustCompile(`template: ([^:\s]+):(\d+):\d+: executing "[^"]*" at <([^\n]*?)>: `)
	wrappedPlace   = regexp.MustCompile(`^(?:execution|parse) error (?:at|in) \(([^:)]+)(?::(\d+))?(?::\d+)?\): `)
)

// harmless are failures in whose words there is no value. Others lose everything after the function that failed.
var harmless = []*regexp.Regexp{
	regexp.MustCompile(`^nil pointer evaluating \S+$`),
	regexp.MustCompile(`^nil pointer evaluating interface \{\}\.\S+$`),
	regexp.MustCompile(`^can't evaluate field \S+ in type \S+( \{\})?$`),
	regexp.MustCompile(`^wrong type for value; expected \S+; got \S+( \{\})?$`),
	regexp.MustCompile(`^wrong number of args for \S+: want .*$`),
	regexp.MustCompile(`^invalid value; expected \S+$`),
	regexp.MustCompile(`^incompatible types for comparison$`),
	regexp.MustCompile(`^template "[^"]+" not defined$`),
	regexp.MustCompile(`^error calling include: template: no template "[^"]+" associated with template "gotpl"$`),
}

var failedFunction = regexp.MustCompile(`^error calling (\w+):`)

// templateFault turns an error of Helm's engine into a fault with the file and line of the template and a message without values.
func (h helmRun) templateFault(err error) error {
	text := err.Error()
	name, line, message := "", "", "the chart does not render"
	if last := innermost(text); last != nil {
		name, line = text[last[2]:last[3]], text[last[4]:last[5]]
		message = h.reasonOf(text[last[6]:last[7]], text[last[1]:])
	} else if at := wrappedPlace.FindStringSubmatch(text); at != nil {
		name, line = at[1], at[2]
		message = h.ownWords(text[len(at[0]):], strings.HasPrefix(text, "parse"))
	}
	file, inside := h.chart.locate(name)
	if name == "" {
		file = h.chart.dir
	}
	f := fleet.Fault{Reason: fleet.RenderFailed, Move: fleet.Author, File: file, Message: message} // not Err: it quotes values
	f.Line, _ = strconv.Atoi(line)
	if inside != "" {
		f.Message = fmt.Sprintf("%s (%s:%s)", message, inside, line)
		f.Line = 0
	}
	return f
}

// innermost finds the deepest place of a template in an error. A text that tpl rendered is none: it has no file.
func innermost(text string) []int {
	places := executionPlace.FindAllStringSubmatchIndex(text, -1)
	for _, at := range slices.Backward(places) {
		if strings.Contains(text[at[2]:at[3]], "/") {
			return at
		}
	}
	return nil
}

// reasonOf says why an action failed.
func (h helmRun) reasonOf(action, why string) string {
	at := ""
	if h.inTemplates(strings.TrimSuffix(action, "...")) {
		at = " at {{ " + action + " }}"
	}
	why = strings.TrimSpace(why)
	for _, known := range harmless {
		if known.MatchString(why) {
			return why + at
		}
	}
	if function := failedFunction.FindStringSubmatch(why); function != nil {
		rest := strings.TrimSpace(why[len(function[0]):])
		if h.inTemplates(rest) {
			return function[1] + ": " + rest + at
		}
		return function[1] + " fails" + at
	}
	if word, _, ok := strings.Cut(why, " over "); ok && strings.HasPrefix(why, "range can't iterate") {
		return word + " over this value" + at
	}
	return "the template fails" + at
}

// ownWords are the message of required, fail or the parser, as far as the chart itself says them.
func (h helmRun) ownWords(message string, parsing bool) string {
	message = strings.TrimSpace(message)
	if parsing {
		return "the template does not parse: " + message
	}
	if h.inTemplates(message) {
		return message
	}
	return "the chart refuses these values (its message is not shown, for it may quote them)"
}

var spaces = regexp.MustCompile(`\s+`)

// inTemplates tells whether a text is written in the chart, and is therefore no value.
func (h helmRun) inTemplates(text string) bool {
	text = spaces.ReplaceAllString(text, "")
	if text == "" {
		return false
	}
	found := false
	eachChart(h.chart.chart, func(c *chart.Chart) {
		for _, file := range c.Templates {
			found = found || strings.Contains(spaces.ReplaceAllString(string(file.Data), ""), text)
		}
	})
	return found
}
