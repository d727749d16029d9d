package engine

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/muster-io/muster/internal/fleet"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

// What Helm's engine says of a run that failed. It passes on what text/template says where one of our functions, or tpl, is in
// between:
//
//	template: web/templates/a.yaml:3:5: executing "web/templates/a.yaml" at <include "b" .>: error calling include: ...
//
// What text/template itself finds it writes anew, a paragraph for each template that is under way:
//
//	web/templates/a.yaml:3:5
//	  executing "web/templates/a.yaml" at <include "b" .>:
//	    error calling include:
//	web/templates/_b.tpl:1:9
//	  executing "b" at <.Values.c.d>:
//	    nil pointer evaluating interface {}.d
//
// And a template that does not parse:
//
//	parse error at (web/templates/a.yaml:3): unexpected "}" in operand
var (
	executionPlace = regexp.MustCompile(`template: ([^:\s]+):(\d+):(\d+): executing "[^"]*" at <([^\n]*?)>: `)
	paragraph      = regexp.MustCompile(`(?m)^(\S+):(\d+):(\d+)\n  executing "[^"]*" at <(.*)>:\n    (.*)$`)
	parsePlace     = regexp.MustCompile(`^parse error at \(([^:)]+):(\d+)[^)]*\): `)
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
	regexp.MustCompile(`^exceeded maximum template depth \(\d+\)$`),
}

var missingTemplate = regexp.MustCompile(`no template ("[^"]+") associated`)

var failedFunction = regexp.MustCompile(`^error calling (\w+):`)

// failure is a place in the templates at which a run failed.
type failure struct {
	template     string
	line, column int
	action       string
	why          string
}

// templateFault turns the error of a failed run into a fault with the file and line of the template and a message without values.
func (h helmRun) templateFault(err error) error {
	if f, ok := fleet.AsFault(err); ok {
		return f
	}
	f := fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User} // not Err: it quotes values
	if place := parsePlace.FindStringSubmatch(err.Error()); place != nil {
		line, _ := strconv.Atoi(place[2])
		f.Message = "the template does not parse: " + err.Error()[len(place[0]):]
		return h.placed(f, place[1], line)
	}
	places := placesOf(err)
	if len(places) == 0 {
		f.File, f.Message = h.chart.dir, "the chart does not render: Helm's engine gave up"
		return f
	}
	var refused *refusal
	nearest := places[0]
	for _, place := range places {
		if strings.Contains(place.template, "/") { // a text that tpl renders has no file
			nearest = place
		}
	}
	switch {
	case errors.As(err, &refused):
		f.Message = h.ownWords(refused.message)
	default:
		f.Message = h.reasonOf(nearest.action, nearest.why)
	}
	return h.placed(f, nearest.template, nearest.line)
}

// placed completes a fault with the file of a template.
func (h helmRun) placed(f fleet.Fault, template string, line int) fleet.Fault {
	file, inside := h.chart.locate(template)
	f.File, f.Line = file, line
	if inside != "" {
		f.Message = fmt.Sprintf("%s (%s)", f.Message, fleet.Position(inside, line))
		f.Line = 0
	}
	return f
}

// placesOf are the places in an error of the engine, from the template that is rendered to what failed.
func placesOf(err error) []failure {
	var places []failure
	note := func(match []string, why string) {
		place := failure{template: match[1], action: match[4], why: strings.TrimSpace(why)}
		place.line, _ = strconv.Atoi(match[2])
		place.column, _ = strconv.Atoi(match[3])
		places = append(places, place)
	}
	var failed template.ExecError
	for e := err; errors.As(e, &failed); e = errors.Unwrap(failed.Err) {
		if match := executionPlace.FindStringSubmatch(failed.Error()); match != nil {
			_, why, _ := strings.Cut(failed.Error(), match[0])
			note(match, why)
		}
	}
	if places == nil {
		for _, match := range paragraph.FindAllStringSubmatch(err.Error(), -1) {
			note(match, match[5])
		}
	}
	return places
}

// reasonOf says why an action failed.
func (h helmRun) reasonOf(action, why string) string {
	position := ""
	if h.inTemplates(strings.TrimSuffix(action, "...")) {
		position = " at {{ " + action + " }}"
	}
	if strings.Contains(why, "nested reference name") {
		return "the templates include each other without end" + position
	}
	if missing := missingTemplate.FindStringSubmatch(why); missing != nil {
		return fmt.Sprintf("there is no template %s", missing[1]) + position
	}
	for _, known := range harmless {
		if known.MatchString(why) {
			return why + position
		}
	}
	if function := failedFunction.FindStringSubmatch(why); function != nil {
		rest := strings.TrimSpace(why[len(function[0]):])
		if h.inTemplates(rest) {
			return function[1] + ": " + rest + position
		}
		return function[1] + " fails" + position
	}
	if word, _, ok := strings.Cut(why, " over "); ok && strings.HasPrefix(why, "range can't iterate") {
		return word + " over this value" + position
	}
	return "the template fails" + position
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

// valuesRead are the values that the action of a place reads, and those that the blocks around it ask for: setting one of them
// is how people keep a chart from drawing lots. A path in quotation marks counts where the chart has a value there, for libraries
// are told of values in that way.
func (h helmRun) valuesRead(at failure) []string {
	var names []string
	eachChart(h.chart.chart, func(c *chart.Chart) {
		for _, file := range c.Templates {
			if c.ChartFullPath()+"/"+file.Name == at.template {
				names = valuesNear(string(file.Data), at, c.Values)
			}
		}
	})
	return names
}

func valuesNear(text string, at failure, defaults map[string]any) []string {
	tree := parse.New("chart")
	tree.Mode = parse.SkipFuncCheck
	trees := map[string]*parse.Tree{}
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		return nil
	}
	// The engine counts columns in bytes, from zero.
	lines := strings.SplitAfterN(text, "\n", at.line)
	pos := parse.Pos(len(text) - len(lines[len(lines)-1]) + at.column)
	for _, t := range trees {
		if t.Root == nil {
			continue
		}
		if names := readAround(t.Root.Nodes, pos, defaults); names != nil {
			return names
		}
	}
	return nil
}

// readAround finds the node that a position is in, and gives the values that it reads, or that the nodes around it do.
func readAround(nodes []parse.Node, pos parse.Pos, defaults map[string]any) []string {
	for i, node := range nodes {
		if i+1 < len(nodes) && nodes[i+1].Position() <= pos || node.Position() > pos {
			continue
		}
		switch n := node.(type) {
		case *parse.ActionNode:
			return readBy(n.Pipe, defaults)
		case *parse.TemplateNode:
			return readBy(n.Pipe, defaults)
		case *parse.IfNode:
			return readInBranch(&n.BranchNode, pos, defaults)
		case *parse.WithNode:
			return readInBranch(&n.BranchNode, pos, defaults)
		case *parse.RangeNode:
			return readInBranch(&n.BranchNode, pos, defaults)
		}
	}
	return nil
}

func readInBranch(n *parse.BranchNode, pos parse.Pos, defaults map[string]any) []string {
	list := n.List
	if n.ElseList != nil && n.ElseList.Pos <= pos {
		list = n.ElseList
	}
	if names := readAround(list.Nodes, pos, defaults); names != nil {
		return names
	}
	return readBy(n.Pipe, defaults)
}

var quotedPath = regexp.MustCompile(`"([A-Za-z][\w-]*(?:\.[\w-]+)*)"`)

var valuePath = regexp.MustCompile(`\.Values\.([\w.-]*\w)`)

// readBy are the values that a pipeline names.
func readBy(pipe *parse.PipeNode, defaults map[string]any) []string {
	var names []string
	for _, match := range valuePath.FindAllStringSubmatch(pipe.String(), -1) {
		names = append(names, match[1])
	}
	for _, match := range quotedPath.FindAllStringSubmatch(pipe.String(), -1) {
		path := strings.Split(match[1], ".")
		if table, ok := nested(defaults, path[:len(path)-1]...).(map[string]any); ok || len(path) == 1 {
			if len(path) == 1 {
				table = defaults
			}
			if _, ok := table[path[len(path)-1]]; ok {
				names = append(names, match[1])
			}
		}
	}
	return names
}
