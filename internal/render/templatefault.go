package render

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"github.com/muster-io/muster/internal/fleet"
	"helm.sh/helm/v3/pkg/chart"
)

// templateError is a run of templates that failed.
type templateError struct {
	error
	at    string // the template of the chart that was parsed or executed
	meter *meter
}

func (e *templateError) Unwrap() error { return e.error }

// parseError is a template that does not parse.
type parseError struct{ error }

func (e parseError) Unwrap() error { return e.error }

// What text/template says:
//
//	template: web/templates/a.yaml:3:5: executing "web/templates/a.yaml" at <include "b" .>: error calling include: in what it renders
//	template: web/templates/a.yaml:3: unexpected "}" in operand
var (
	executionPlace = regexp.MustCompile(`template: ([^:\s]+):(\d+):\d+: executing "[^"]*" at <([^\n]*?)>: `)
	parsePlace     = regexp.MustCompile(`^template: ([^:]+):(\d+): `)
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
	regexp.MustCompile(`^error calling include: no template "[^"]+"$`),
}

var failedFunction = regexp.MustCompile(`^error calling (\w+):`)

// failure is where, in the templates, a run failed.
type failure struct {
	template string
	line     int
	action   string
	why      string
}

// templateFault turns a failed run into a fault with the file and line of the template and a message without values.
func (h helmRun) templateFault(err *templateError) error {
	at := innermost(err)
	f := fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User} // not Err: it quotes values
	var bound *unbounded
	var address *addressed
	var refused *refusal
	var parsing parseError
	switch {
	case err.meter.passed != nil:
		f.Reason, f.Message = fleet.RenderTooCostly, "the chart "+err.meter.passed.Error()
	case errors.As(err, &bound):
		f.Reason, f.Message = fleet.RenderTooCostly, "the chart "+bound.Error()
	case errors.As(err, &address):
		f.Reason = fleet.NotDeterministic
		f.Message = address.message + " depends on where the chart is rendered, so that the result differs: name the fields that you want"
	case errors.As(err, &refused):
		f.Message = h.ownWords(refused.message)
	case errors.As(err, &parsing):
		text := parsing.Error()
		if place := parsePlace.FindStringSubmatch(text); place != nil {
			at.template, text = place[1], text[len(place[0]):]
			at.line, _ = strconv.Atoi(place[2])
		}
		f.Message = "the template does not parse: " + text
	default:
		f.Message = h.reasonOf(at.action, at.why)
	}
	return h.placed(f, at.template, at.line)
}

// placed completes a fault with the file of a template.
func (h helmRun) placed(f fleet.Fault, template string, line int) fleet.Fault {
	file, inside := h.chart.locate(template)
	f.File, f.Line = file, line
	if inside != "" {
		f.Message = fmt.Sprintf("%s (%s)", f.Message, position(inside, line))
		f.Line = 0
	}
	return f
}

// innermost finds the deepest place of a template in an error. A text that tpl rendered is none: it has no file.
func innermost(err *templateError) failure {
	found := failure{template: err.at}
	var failed template.ExecError
	for e := error(err); errors.As(e, &failed); e = failed.Err {
		text := unmarked(failed.Error())
		place := executionPlace.FindStringSubmatch(text)
		if place == nil || !strings.Contains(place[1], "/") {
			continue
		}
		_, why, _ := strings.Cut(text, place[0])
		found = failure{template: place[1], action: place[3], why: why}
		found.line, _ = strconv.Atoi(place[2])
	}
	return found
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

// ownWords are the message of required or fail, as far as the chart itself says them.
func (h helmRun) ownWords(message string) string {
	message = strings.TrimSpace(message)
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
