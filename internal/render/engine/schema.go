package engine

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/memo"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

// checkSchema holds the values against values.schema.json of the chart and of its subcharts that are on. Helm's own check
// would fetch schemas by URL and quote values.
func (h helmRun) checkSchema(p prepared) error {
	values, _ := p.top["Values"].(common.Values)
	return h.checkChart(p.chart, values, "")
}

func (h helmRun) checkChart(c *chart.Chart, values map[string]any, prefix string) error {
	file, _ := h.chart.locate(c.ChartFullPath() + "/values.schema.json")
	if c.Schema != nil {
		problems, err := h.violations(c, values)
		if err != nil {
			return fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: file, Message: "the schema is not usable: " + err.Error(), Err: err}
		}
		if len(problems) > 0 {
			return h.schemaFault(file, prefix, problems)
		}
	}
	for _, sub := range c.Dependencies() {
		below, _ := values[sub.Name()].(map[string]any)
		if below == nil {
			continue
		}
		if err := h.checkChart(sub, below, prefix+sub.Name()+"."); err != nil {
			return err
		}
	}
	return nil
}

// schemaFault says what is wrong with the values; its place is that of the first value that has one.
func (h helmRun) schemaFault(schema, prefix string, problems []violation) fleet.Fault {
	f := fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: schema}
	var texts []string
	for i, problem := range problems {
		if i == 5 {
			texts = append(texts, fmt.Sprintf("and %d more", len(problems)-i))
			break
		}
		texts = append(texts, "/"+strings.Join(problem.at, "/")+" "+problem.text)
	}
	f.Message = fmt.Sprintf("the values do not fit %s: %s", schema, strings.Join(texts, "; "))
	for _, problem := range problems {
		if place, ok := h.values.place(prefix + strings.Join(problem.at, ".")); ok {
			f.File, f.Line = place.File, place.Line
			break
		}
	}
	return f
}

// violation is one thing that a schema refuses: where in the values, and what, without the value.
type violation struct {
	at   []string
	text string
}

var errNoSchema = errors.New("a schema may refer to nothing outside its chart")

// sealed refuses every schema that is not in the chart: rendering reads nothing else.
type sealed struct{}

func (sealed) Load(url string) (any, error) {
	if strings.HasPrefix(url, "urn:") {
		return true, nil // as Helm does
	}
	return nil, errNoSchema
}

const schemaURL = "file:///values.schema.json"

// compiledSchema compiles the schema of a chart, once.
func (h helmRun) compiledSchema(c *chart.Chart) (*jsonschema.Schema, error) {
	return memo.Remember(h.local.memo, "schema", memo.Digest(h.chart.key, c.ChartFullPath()), func() (*jsonschema.Schema, int64, error) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(c.Schema))
		if err != nil {
			return nil, 0, err
		}
		compiler := jsonschema.NewCompiler()
		compiler.UseLoader(sealed{})
		if err := compiler.AddResource(schemaURL, doc); err != nil {
			return nil, 0, err
		}
		compiled, err := compiler.Compile(schemaURL)
		return compiled, int64(20 * len(c.Schema)), err
	})
}

func (h helmRun) violations(c *chart.Chart, values map[string]any) (found []violation, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it cannot be evaluated: %v", r)
		}
	}()
	compiled, err := h.compiledSchema(c)
	if err != nil {
		return nil, err
	}
	var invalid *jsonschema.ValidationError
	if err := compiled.Validate(values); !errors.As(err, &invalid) {
		return nil, err
	}
	collect(invalid, &found)
	slices.SortFunc(found, func(a, b violation) int {
		return cmp.Or(slices.Compare(a.at, b.at), strings.Compare(a.text, b.text))
	})
	return found, nil
}

func collect(e *jsonschema.ValidationError, into *[]violation) {
	if len(e.Causes) == 0 {
		*into = append(*into, violation{at: e.InstanceLocation, text: explain(e.ErrorKind)})
		return
	}
	for _, cause := range e.Causes {
		collect(cause, into)
	}
}

// explain says what a schema wants, in words that hold no value.
func explain(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return fmt.Sprintf("is %s, want %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Required:
		return "lacks " + strings.Join(k.Missing, ", ")
	case *kind.AdditionalProperties:
		return "has unknown " + strings.Join(k.Properties, ", ")
	case *kind.Enum:
		return fmt.Sprintf("must be one of %v", k.Want)
	case *kind.Pattern:
		return "must match " + k.Want
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	}
	return "breaks " + strings.Join(k.KeywordPath(), "/")
}
