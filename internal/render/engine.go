package render

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
)

// The engine executes a chart's templates as Helm's does: same order, same scopes, same bytes. What differs is that each run
// has a meter, that functions which draw lots give what the run wants, and that the trees are parsed once.

// rootName is the template that all others hang on, and the name of texts that tpl renders.
const rootName = "gotpl"

// maxIncludes of one name inside each other is Helm's bound.
const maxIncludes = 1000

// tplLevels is what tpl counts for among nested templates: each may have a copy of all names.
const tplLevels = 20

// renderable is a template of a chart and what it sees.
type renderable struct {
	file     *chart.File
	vals     chartutil.Values
	basePath string
}

// execution is one run of a chart's templates.
type execution struct {
	chart    *loadedChart
	meter    *meter
	template *template.Template // where names are looked up: the root, or below tpl a copy of it
	included map[string]int
	pick     func(call) variant
	calls    []call // of random functions, first calls, in order
	seen     map[string]bool
	texts    []call // the calls of tpl that are under way
}

// refusal is what a chart says with required or fail.
type refusal struct{ message string }

func (r *refusal) Error() string { return "the chart refuses: " + r.message }

// inner is the failure of a template that another one includes. It does not repeat the text of what it wraps: each level
// would, and a thousand levels would be a thousand copies.
type inner struct{ error }

func (inner) Error() string   { return "in what it renders" }
func (i inner) Unwrap() error { return i.error }

// execute renders the templates of a chart. pick says what random functions give.
func (c *loadedChart) execute(m *meter, used *chart.Chart, top chartutil.Values, pick func(call) variant) (rendered map[string]string, calls []call, err error) {
	m.levels = 0 // a run that failed left some
	e := &execution{chart: c, meter: m, included: map[string]int{}, pick: pick, seen: map[string]bool{}}
	at := ""
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("rendering %s failed: %v", at, r)
		}
		if err != nil {
			rendered, calls, err = nil, e.calls, &templateError{err, at, e.meter}
		}
	}()
	templates := map[string]renderable{}
	scopes(used, templates, top)
	e.template = template.New(rootName).Option("missingkey=zero").Funcs(e.functions())
	order := slices.SortedFunc(maps.Keys(templates), deepestFirst)
	for _, at = range order {
		if err := e.load(at, templates[at].file); err != nil {
			return nil, nil, err
		}
	}
	rendered = make(map[string]string, len(order))
	total := 0
	for _, at = range order {
		if strings.HasPrefix(path.Base(at), "_") {
			continue
		}
		vals := templates[at].vals
		vals["Template"] = chartutil.Values{"Name": at, "BasePath": templates[at].basePath}
		text, err := e.run(e.template.Lookup(at), vals)
		if err != nil {
			return nil, nil, err
		}
		if total += len(text); total > maxRendered {
			return nil, nil, e.meter.pass("renders more than %s: make several applications of it", size(maxRendered))
		}
		rendered[at] = text
	}
	return rendered, e.calls, nil
}

// deepestFirst is the order in which Helm parses and executes: what is parsed later replaces what has the same name.
func deepestFirst(a, b string) int {
	if d := strings.Count(b, "/") - strings.Count(a, "/"); d != 0 {
		return d
	}
	return strings.Compare(b, a)
}

// scopes finds the templates of a chart and its subcharts, with what each sees.
func scopes(c *chart.Chart, templates map[string]renderable, vals chartutil.Values) map[string]any {
	below := map[string]any{}
	metadata := struct {
		chart.Metadata
		IsRoot bool
	}{*c.Metadata, c.IsRoot()}
	scope := map[string]any{
		"Chart":        metadata,
		"Files":        filesOf(c.Files),
		"Release":      vals["Release"],
		"Capabilities": vals["Capabilities"],
		"Values":       make(chartutil.Values),
		"Subcharts":    below,
	}
	if c.IsRoot() {
		scope["Values"] = vals["Values"]
	} else if own, err := vals.Table("Values." + c.Name()); err == nil {
		scope["Values"] = own
	}
	for _, sub := range c.Dependencies() {
		below[sub.Name()] = scopes(sub, templates, scope)
	}
	library := strings.EqualFold(c.Metadata.Type, "library")
	for _, file := range c.Templates {
		if file == nil || library && !strings.HasPrefix(filepath.Base(file.Name), "_") {
			continue
		}
		templates[path.Join(c.ChartFullPath(), file.Name)] = renderable{file, scope, path.Join(c.ChartFullPath(), "templates")}
	}
	return scope
}

// parsedKey is a file under one name: a subchart that has an alias is there under two.
type parsedKey struct {
	name string
	file *chart.File
}

// parsedFile is what parsing gave, once for all runs.
type parsedFile struct {
	*parsed
	err error
}

// load puts the templates of a file into the run.
func (e *execution) load(name string, file *chart.File) error {
	key := parsedKey{name, file}
	found, ok := e.chart.parsed.Load(key)
	if !ok {
		p, err := parseText(e.meter, name, string(file.Data), knownFunctions)
		found, _ = e.chart.parsed.LoadOrStore(key, parsedFile{p, err})
	}
	p := found.(parsedFile)
	if p.err != nil {
		var bound *unbounded
		if !errors.As(p.err, &bound) {
			return parseError{p.err}
		}
		return p.err
	}
	if err := e.meter.spend(p.cost); err != nil {
		return err
	}
	e.template.Funcs(e.siteFunctions(p.parsed))
	return p.add(e.template.New(name))
}

// run executes a template to text.
func (e *execution) run(t *template.Template, data any) (string, error) {
	out := output{meter: e.meter}
	if err := t.Execute(&out, data); err != nil {
		return "", err
	}
	// Go writes <no value> for nil also where missing keys are zero.
	return strings.ReplaceAll(out.String(), "<no value>", ""), nil
}

func (e *execution) include(name string, data any) (string, error) {
	if e.included[name] > maxIncludes {
		return "", e.meter.pass("includes %s inside itself more than %d times", name, maxIncludes)
	}
	t := e.template.Lookup(name)
	if t == nil || name == rootName && len(e.texts) == 0 { // a text of tpl that is done
		return "", fmt.Errorf("no template %q", name)
	}
	e.included[name]++
	out := output{meter: e.meter}
	err := t.Execute(&out, data)
	e.included[name]--
	if err != nil {
		return "", inner{err}
	}
	return out.String(), nil
}

// tpl renders a text. What the text defines is seen by what it calls, and by nothing after it.
func (e *execution) tpl(at call, text string, data any) (string, error) {
	if !strings.Contains(text, leftDelim) {
		text = strings.ReplaceAll(text, "<no value>", "")
		return text, e.meter.make("tpl", int64(len(text)))
	}
	if err := e.meter.step(20 + int64(len(text))/8); err != nil {
		return "", err
	}
	if err := e.meter.spend(actionCost * actionBytes(text)); err != nil {
		return "", err
	}
	if err := e.meter.enter(tplLevels); err != nil {
		return "", err
	}
	defer e.meter.leave(tplLevels)
	p, err := parseText(e.meter, rootName, text, knownFunctions)
	if err != nil {
		return "", errors.New("the text does not parse") // why may quote a value
	}
	outer := e.template
	e.texts = append(e.texts, at)
	defer func() { e.template, e.texts = outer, e.texts[:len(e.texts)-1] }()
	if len(p.trees) > 1 {
		// The text defines names: they go into a copy of all.
		if err := e.meter.step(800 + int64(len(outer.Templates()))); err != nil {
			return "", err
		}
		if e.template, err = outer.Clone(); err != nil {
			return "", fmt.Errorf("cannot copy the templates: %w", err)
		}
		e.template.Option("missingkey=zero")
	} else if before := outer.Lookup(rootName); before != nil && before.Tree != nil {
		// The text has one name, that of the text around it.
		defer outer.New(rootName).AddParseTree(rootName, before.Tree) //nolint:errcheck // it was there before
	}
	t := e.template.Funcs(e.siteFunctions(p)).New(rootName)
	if err := p.add(t); err != nil {
		return "", err
	}
	rendered, err := e.run(t, data)
	if err != nil {
		return "", inner{err}
	}
	return rendered, nil
}

// functions are what the templates of this run call.
func (e *execution) functions() template.FuncMap {
	functions := template.FuncMap{
		"include": e.include,
		"required": func(message string, value any) (any, error) {
			if text, ok := value.(string); value == nil || ok && text == "" {
				return value, &refusal{message}
			}
			return value, nil
		},
		"fail": func(message string) (string, error) { return "", &refusal{message} },
	}
	for _, f := range catalogue {
		if random[f.name] == nil && functions[f.name] == nil {
			functions[f.name] = f.bind(e.meter)
		}
	}
	maps.Copy(functions, e.meter.guards())
	maps.Copy(functions, e.meter.decoders())
	maps.Copy(functions, e.meter.patterns())
	return functions
}

// siteFunctions are those of the calls in one text.
func (e *execution) siteFunctions(p *parsed) template.FuncMap {
	functions := make(template.FuncMap, len(p.sites))
	for _, s := range p.sites {
		c := e.callOf(s)
		if s.function == "tpl" {
			functions[s.name] = func(text string, data any) (string, error) { return e.tpl(c, text, data) }
			continue
		}
		functions[s.name] = random[s.function](e.meter, func() variant { return e.draw(c) })
	}
	return functions
}

// callOf says where a call is. A text that tpl renders is in no file: there it is where tpl is called.
func (e *execution) callOf(s *site) call {
	if len(e.texts) == 0 {
		return call{site: s, key: fmt.Sprintf("%s:%d", s.template, s.pos)}
	}
	outer := e.texts[len(e.texts)-1]
	return call{site: &site{function: s.function, template: outer.template, line: outer.line}, key: fmt.Sprintf("%s:%d", outer.key, s.pos), inText: true}
}

// draw gives what a random function has to give, and notes the call.
func (e *execution) draw(c call) variant {
	if !e.seen[c.key] && len(e.calls) < maxSuspects {
		e.seen[c.key] = true
		e.calls = append(e.calls, c)
	}
	return e.pick(c)
}

// siteTable are the functions whose calls are sites.
var siteTable = func() map[string]bool {
	is := map[string]bool{"tpl": true}
	for name := range random {
		is[name] = true
	}
	return is
}()

// knownFunctions are the names that a template may call, for the parser.
var knownFunctions = func() map[string]any {
	known := map[string]any{}
	m := &meter{}
	for _, f := range catalogue {
		known[f.name] = true
	}
	for _, functions := range []template.FuncMap{m.decoders(), m.patterns()} {
		for name := range functions {
			known[name] = true
		}
	}
	for name := range siteTable {
		known[name] = true
	}
	for name := range strings.FieldsSeq("include required fail and or not len index slice call eq ne lt le gt ge print printf println html js urlquery") {
		known[name] = true
	}
	return known
}()
