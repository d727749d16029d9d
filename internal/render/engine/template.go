package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"
)

// output is what one run of a chart's templates gave.
type output struct {
	files map[string]string // by template, as Helm says its name
	calls int               // of random and time functions
	err   error
}

// same tells whether two runs cannot be told apart.
func (o output) same(other output) bool {
	if o.err != nil && other.err != nil {
		return o.err.Error() == other.err.Error()
	}
	return o.err == nil && other.err == nil && maps.Equal(o.files, other.files)
}

// again executes the chart once more.
func (h helmRun) again(d *draws) output {
	p, err := h.prepare()
	if err != nil {
		return output{err: err}
	}
	return execute(p, d)
}

// execute runs the chart's templates in Helm's engine.
func execute(p prepared, d *draws) output {
	functions := d.functions()
	if d.generate != nil {
		maps.Copy(functions, d.generate.functions(functions))
	}
	functions["required"], functions["fail"] = required, refuse
	files, err := engine.Engine{CustomTemplateFuncs: functions}.RenderWithContext(context.Background(), p.chart, p.top) // who bounds a chart bounds the process
	return output{files, d.calls, err}
}

// refusal is what a chart says with required or fail.
type refusal struct{ message string }

func (r *refusal) Error() string { return "the chart refuses: " + r.message }

// required and refuse are Helm's functions required and fail. Their errors are told from others by their type.
func required(message string, value any) (any, error) {
	if text, ok := value.(string); value == nil || ok && text == "" {
		return value, &refusal{message}
	}
	return value, nil
}

func refuse(message string) (string, error) { return "", &refusal{message} }

// render renders the chart such that no random value and no time reaches the output, or says which call would bring one there.
func (h helmRun) render(first prepared) (map[string]string, *generator, error) {
	generator := h.generator(h.generated)
	got := execute(first, &draws{generate: generator})
	if got.calls > 0 || got.hasAddress() {
		if other := h.again(&draws{second: all, generate: h.generator(h.generated)}); !got.same(other) {
			return nil, nil, h.notDeterministic(got, other)
		}
	}
	for range h.chart.orderRuns {
		if other := h.again(&draws{generate: h.generator(h.generated)}); !got.same(other) {
			return nil, nil, h.differs(got, other, "puts files of one base name together with AsConfig or AsSecrets, and Helm takes any of them: name them apart")
		}
	}
	if got.err != nil {
		return nil, nil, h.templateFault(got.err)
	}
	return got.files, generator, nil
}

// manyRuns are so many that two files, of which Helm takes one by chance, both show.
const manyRuns = 16

// orderRunsOf tells how often a chart is rendered again because .Files.AsConfig and .Files.AsSecrets go over a Go map: where two of
// its files have one base name, either may win.
func orderRunsOf(c *chart.Chart) int {
	names := map[string]bool{}
	twice := false
	for _, file := range c.Files {
		base := path.Base(file.Name)
		twice = twice || names[base]
		names[base] = true
	}
	if twice && slices.ContainsFunc(c.Templates, func(file *common.File) bool {
		return bytes.Contains(file.Data, []byte(".AsConfig")) || bytes.Contains(file.Data, []byte(".AsSecrets"))
	}) {
		return manyRuns
	}
	return 0
}

var address = regexp.MustCompile(`0x[0-9a-f]{8,16}`)

// hasAddress tells whether a file may hold an address in memory, as Go prints it.
func (o output) hasAddress() bool {
	for _, text := range o.files {
		if strings.Contains(text, "0x") && address.MatchString(text) {
			return true
		}
	}
	return false
}

// notDeterministic finds the first call that changes the output.
func (h helmRun) notDeterministic(got, other output) error {
	if got.calls == 0 {
		return h.differs(got, other, "prints where a value is in memory, which is another place every time: print its fields")
	}
	// Without the calls the output is got; with all of them it is not. In between is the first that makes the difference.
	call := 1 + sort.Search(got.calls-1, func(n int) bool {
		return !got.same(h.again(&draws{second: n + 1, generate: h.generator(h.generated)}))
	})
	located := h.again(&draws{second: call - 1, stop: call, generate: h.generator(h.generated)})
	var drawn *drawnError
	if !errors.As(located.err, &drawn) {
		return h.chart.invalid("", "gives another result every time")
	}
	return h.drawnFault(placesOf(located.err), drawn.function)
}

// differs is the fault of two runs that differ although they call nothing random. It names the first template that does.
func (h helmRun) differs(got, other output, message string) fleet.Fault {
	f := fleet.Fault{Reason: fleet.NotDeterministic, ActionRequiredBy: fleet.User, File: h.chart.dir, Message: message}
	for _, name := range slices.Sorted(maps.Keys(got.files)) {
		if got.files[name] != other.files[name] {
			return h.placed(f, name, 0)
		}
	}
	return f
}

// drawnFault names the call in the chart that leads to a random or time function, and the value that would replace its result.
func (h helmRun) drawnFault(places []failure, function string) fleet.Fault {
	deepest := places[len(places)-1]
	call := callInChart(places)
	what := function + " gives another result every time"
	switch {
	case !strings.Contains(deepest.template, "/"):
		what = fmt.Sprintf("a text that tpl renders here calls %s, which gives another result every time", function)
	case call.template != deepest.template || call.line != deepest.line:
		what = fmt.Sprintf("what it calls here ends in %s, which gives another result every time", function)
	}
	remedy := "supply the value that the template asks for before it calls " + function
	if names := h.valuesRead(call); len(names) > 0 {
		remedy = "set the value " + strings.Join(names, " or ")
	}
	return h.placed(fleet.Fault{Reason: fleet.NotDeterministic, ActionRequiredBy: fleet.User, Message: what + ": " + remedy}, call.template, call.line)
}

// callInChart is the deepest place in the chart whose template is rendered: what is deeper is a library's, or a text's.
func callInChart(places []failure) failure {
	found := places[0]
	for _, place := range places[1:] {
		if strings.Contains(place.template, "/") && chartOf(place.template) == chartOf(places[0].template) {
			found = place
		}
	}
	return found
}

// chartOf is the chart that a template belongs to: web/charts/db/templates/a.yaml is of web/charts/db.
func chartOf(template string) string {
	if i := strings.LastIndex(template, "/templates/"); i >= 0 {
		return template[:i]
	}
	return template
}
