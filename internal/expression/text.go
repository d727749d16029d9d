package expression

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// Open and Closing are the delimiters of an expression in a text. They differ from Helm's and Prometheus', whose templates
// pass through untouched.
const (
	Open    = "${{"
	Closing = "}}"
)

// expressionBudget is what all expressions of one application may cost for one cluster, in CEL's cost units: about ten
// milliseconds. The inline values of a large application cost some thousands.
const expressionBudget uint64 = 100_000

// The variables of an application's expressions. They are separate variables, so that a wrong name is found when the
// expression is compiled.
const (
	clusterName   = "cluster.name"
	clusterLabels = "cluster.labels"
	clusterClaims = "cluster.claims"
	clusterValue  = "cluster.values"

	applicationName      = "application.name"
	applicationNamespace = "application.namespace"
)

// expressionEnvironment is the environment of all expressions with the facts of one cluster:
//
//	cluster.name, cluster.labels, cluster.claims, cluster.values
//	application.name, application.namespace
//	label("key")  label("key", default)  the label, else the default, else a fault
//	claim("key")  claim("key", default)  likewise
var expressionEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	facts := cel.MapType(cel.StringType, cel.StringType)
	options := []cel.EnvOption{
		cel.Variable(clusterName, cel.StringType),
		cel.Variable(clusterLabels, facts),
		cel.Variable(clusterClaims, facts),
		cel.Variable(clusterValue, cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable(applicationName, cel.StringType),
		cel.Variable(applicationNamespace, cel.StringType),
	}
	for function, variable := range map[string]string{"label": "labels", "claim": "claims"} {
		options = append(options,
			cel.Function(function,
				cel.Overload(function+"_key", []*cel.Type{facts, cel.StringType}, cel.StringType, cel.BinaryBinding(factOf)),
				cel.Overload(function+"_key_default", []*cel.Type{facts, cel.StringType, cel.DynType}, cel.DynType, cel.FunctionBinding(factOrDefault))),
			cel.Macros(ofCluster(function, variable, 1), ofCluster(function, variable, 2)))
	}
	return Environment(options...)
})

// ofCluster makes label("key") a call of label(cluster.labels, "key").
func ofCluster(function, variable string, arguments int) cel.Macro {
	return cel.GlobalMacro(function, arguments, func(e cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		facts := e.NewSelect(e.NewIdent("cluster"), variable)
		return e.NewCall(function, append([]ast.Expr{facts}, args...)...), nil
	})
}

func factOf(facts, key ref.Val) ref.Val {
	value, ok := facts.(traits.Mapper).Find(key)
	if ok {
		return value
	}
	if of, isFacts := facts.(*clusterFacts); isFacts {
		return types.WrapErr(of.missed)
	}
	return types.NewErr("no such key: %v", key)
}

func factOrDefault(args ...ref.Val) ref.Val {
	if value, ok := args[0].(traits.Mapper).Find(args[1]); ok {
		return value
	}
	return args[2]
}

// clusterFacts are the labels or the claims of a cluster. They remember which key was missing: CEL's own error for
// cluster.labels.zone names the key and not what it is a key of.
type clusterFacts struct {
	traits.Mapper
	kind   string // label or claim
	missed *missingFact
}

func factsOf(kind string, facts map[string]string) *clusterFacts {
	return &clusterFacts{Mapper: types.NewStringStringMap(types.DefaultTypeAdapter, facts), kind: kind}
}

// Find gives the value of a key.
func (f *clusterFacts) Find(key ref.Val) (ref.Val, bool) {
	value, ok := f.Mapper.Find(key)
	if !ok {
		name, _ := key.Value().(string)
		f.missed = &missingFact{kind: f.kind, key: name}
	}
	return value, ok
}

// What an expression asks for and a cluster lacks: a label, which its file says; a claim, which it reports; a value, which ClusterValues say.
var (
	ErrLabelMissing = errors.New("the cluster lacks a label")
	ErrClaimMissing = errors.New("the cluster lacks a claim")
	ErrValueMissing = errors.New("the cluster lacks a value")
)

var missing = map[string]error{"label": ErrLabelMissing, "claim": ErrClaimMissing, "value": ErrValueMissing}

// missingFact is the error of a key that a cluster does not have.
type missingFact struct {
	kind, key string
	path      string // of a value, with the maps that it is in
}

func (m *missingFact) Error() string { return "no such key: " + m.key }

func (m *missingFact) Is(target error) bool { return target == missing[m.kind] }

// sentence says what is missing and the next step.
func (m *missingFact) sentence(cluster string) string {
	switch m.kind {
	case "value":
		return fmt.Sprintf("cluster.values.%s is not set for cluster %s: set it in ClusterValues that match the cluster, or give a default: cluster.values.?%s.orValue(\"x\")",
			m.path, cluster, strings.ReplaceAll(m.path, ".", ".?"))
	case "label":
		return fmt.Sprintf("label %q is missing on cluster %s: set it in the cluster's file, or give a default: label(%q, \"x\")", m.key, cluster, m.key)
	}
	return fmt.Sprintf("claim %q is not reported by cluster %s: create the ClusterClaim there, or without a hub assume it in the cluster's file (muster.dev/assume), or give a default: claim(%q, \"x\")", m.key, cluster, m.key)
}

// Scope is one cluster for which the expressions of one application are evaluated, one after the other.
type Scope struct {
	cluster        *clusterv1.ManagedCluster
	labels, claims *clusterFacts
	values         *clusterValues
	variables      map[string]any
	left           uint64 // of the budget
}

// NewScope is the scope of an application on a cluster, with the values of that, which may be nil.
func NewScope(application *musterv1alpha1.Application, cluster *clusterv1.ManagedCluster, values *fleet.Values) *Scope {
	s := &Scope{
		cluster: cluster, labels: factsOf("label", cluster.Labels), claims: factsOf("claim", fleet.ClaimsOf(cluster)),
		values: valuesOf(values), left: expressionBudget,
	}
	s.variables = map[string]any{
		clusterName: cluster.Name, clusterLabels: s.labels, clusterClaims: s.claims, clusterValue: s.values,
		applicationName: application.Name, applicationNamespace: application.Namespace,
	}
	return s
}

// Text evaluates the expressions in a string to a string.
func (s *Scope) Text(source string) (string, error) {
	if !strings.Contains(source, Open) {
		return source, nil
	}
	t, err := compiledTexts.compile(source)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, part := range t {
		b.WriteString(part.plain)
		if part.program == nil {
			continue
		}
		value, err := s.evaluate(part)
		if err != nil {
			return "", err
		}
		written, err := part.written(value)
		if err != nil {
			return "", err
		}
		b.WriteString(written)
	}
	return b.String(), nil
}

// Value evaluates the expressions in a string. A string that is exactly one expression gives that expression's value with
// its type, any other string gives a string.
func (s *Scope) Value(source string) (any, error) {
	if !strings.Contains(source, Open) {
		return source, nil
	}
	t, err := compiledTexts.compile(source)
	if err != nil {
		return nil, err
	}
	if len(t) != 1 || t[0].program == nil {
		return s.Text(source)
	}
	value, err := s.evaluate(t[0])
	if err != nil {
		return nil, err
	}
	size := 0
	native, err := plainValue(value, &size)
	if err != nil {
		return nil, t[0].fails(err.Error())
	}
	return native, nil
}

func (s *Scope) evaluate(p part) (ref.Val, error) {
	s.labels.missed, s.claims.missed, *s.values.failed = nil, nil, valuesFailure{}
	value, details, err := p.program.Eval(s.variables)
	var cost uint64
	if details != nil && details.ActualCost() != nil {
		cost = *details.ActualCost()
	}
	var cancelled interpreter.EvalCancelledError
	if cost > s.left || errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
		return nil, p.fails(fmt.Sprintf("with those before it, it costs more than %d of CEL's units: make it simpler", expressionBudget))
	}
	s.left -= cost
	if err == nil {
		return value, nil
	}
	if conflict := s.values.failed.conflict; conflict != nil && err.Error() == conflict.Error() {
		return nil, &expressionError{p.shown() + ": " + conflict.Error(), conflict}
	}
	for _, missed := range []*missingFact{s.labels.missed, s.claims.missed, s.values.failed.missed} {
		if missed != nil && err.Error() == missed.Error() {
			return nil, &expressionError{p.shown() + ": " + missed.sentence(s.cluster.Name), missed}
		}
	}
	return nil, p.fails("fails: " + fleet.WithoutQuotes(err.Error()))
}

// expressionError is an error in words for the author of an expression.
type expressionError struct {
	message string
	cause   error
}

func (e *expressionError) Error() string { return e.message }

func (e *expressionError) Unwrap() error { return e.cause }

// part is plain text, or an expression.
type part struct {
	plain   string
	source  string // of the expression, as written between the delimiters
	program cel.Program
}

// maxShown is how much of an expression a message shows.
const maxShown = 120

func (p part) shown() string {
	source := strings.Join(strings.Fields(p.source), " ")
	if len(source) > maxShown {
		source = strings.ToValidUTF8(source[:maxShown], "") + " …"
	}
	return Open + " " + source + " " + Closing
}

func (p part) fails(why string) error { return &expressionError{message: p.shown() + ": " + why} }

// written is a value as a part of a text.
func (p part) written(value ref.Val) (string, error) {
	switch value.Type() {
	case types.StringType, types.IntType, types.UintType, types.DoubleType, types.BoolType, types.TimestampType, types.DurationType:
		if text, ok := value.ConvertToType(types.StringType).Value().(string); ok {
			return text, nil
		}
	}
	return "", p.fails("gives " + value.Type().TypeName() + ", which cannot stand in a text: give a string, a number or a bool")
}

// maxResult is how much an expression may give. A list of CEL may hold another one many times over and costs as much as one.
const maxResult = 1 << 20

// plainValue is a value of CEL as JSON has it. It counts its bytes, about.
func plainValue(value ref.Val, size *int) (any, error) {
	if *size += sizeOf(value); *size > maxResult {
		return nil, fmt.Errorf("gives more than %d MiB: make it smaller", maxResult>>20)
	}
	switch v := value.(type) {
	case *types.Err: // in a map of cluster.values
		return nil, v
	case types.Null:
		return nil, nil
	case types.Bool, types.Int, types.Uint, types.Double, types.String:
		return v.Value(), nil
	case types.Bytes:
		return base64.StdEncoding.EncodeToString(v), nil
	case traits.Mapper:
		table := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			name, ok := key.Value().(string)
			if !ok {
				return nil, errors.New("gives a map whose keys are not strings")
			}
			*size += len(name)
			below, err := plainValue(v.Get(key), size)
			if err != nil {
				return nil, err
			}
			table[name] = below
		}
		return table, nil
	case traits.Lister:
		list := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			below, err := plainValue(it.Next(), size)
			if err != nil {
				return nil, err
			}
			list = append(list, below)
		}
		return list, nil
	}
	if text, ok := value.ConvertToType(types.StringType).Value().(string); ok && value.Type() != types.TypeType {
		return text, nil // a time or a duration
	}
	return nil, fmt.Errorf("gives %s, which is no value of YAML: give a string, a number, a bool, a list or a map", value.Type().TypeName())
}

// sizeOf is what a value takes, about, without those in it.
func sizeOf(value ref.Val) int {
	const each = 8
	switch v := value.(type) {
	case types.String:
		return each + len(v)
	case types.Bytes:
		return each + len(v)
	}
	return each
}

// compileText splits a text at its expressions and compiles them.
func compileText(source string) ([]part, error) {
	env, err := expressionEnvironment()
	if err != nil {
		return nil, err
	}
	var parts []part
	for rest := source; rest != ""; {
		plain, after, found := strings.Cut(rest, Open)
		if plain != "" {
			parts = append(parts, part{plain: plain})
		}
		if !found {
			break
		}
		end := End(after)
		if end < 0 {
			return nil, part{source: after}.fails("the closing " + Closing + " is missing")
		}
		p := part{source: after[:end]}
		if p.program, err = p.compile(env); err != nil {
			return nil, err
		}
		parts, rest = append(parts, p), after[end+len(Closing):]
	}
	return parts, nil
}

func (p part) compile(env *cel.Env) (cel.Program, error) {
	compiled, issues := env.Compile(p.source)
	if issues.Err() != nil {
		problems := strings.ReplaceAll(Problems(issues), "undeclared reference to 'cluster' (in container '')",
			"of a cluster there are cluster.name, cluster.labels, cluster.claims and cluster.values")
		return nil, p.fails("is not valid CEL, such as label(\"region\"), label(\"region\", \"none\") or cluster.name: " + problems)
	}
	return Program(env, compiled, Costs{})
}

// End is where the closing delimiter stands, which neither a string nor a map of the expression holds; -1 if it is missing.
func End(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '\'':
			raw := i > 0 && strings.IndexByte("rR", text[i-1]) >= 0
			if i = stringEnd(text, i, raw); i < 0 {
				return -1
			}
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case strings.HasPrefix(text[i:], Closing):
			return i
		}
	}
	return -1
}

// stringEnd is where the last quotation mark of a string literal stands, -1 if it is missing.
func stringEnd(text string, begin int, raw bool) int {
	mark := text[begin : begin+1]
	if three := strings.Repeat(mark, 3); strings.HasPrefix(text[begin:], three) {
		mark = three
	}
	for i := begin + len(mark); i < len(text); i++ {
		switch {
		case text[i] == '\\' && !raw:
			i++
		case strings.HasPrefix(text[i:], mark):
			return i + len(mark) - 1
		}
	}
	return -1
}

// compiledTexts are the texts that were compiled: a thousand clusters ask for the same few.
var compiledTexts = textCache{texts: map[string]compiledText{}}

// maxCompiledTexts bounds how many are kept.
const maxCompiledTexts = 4096

type textCache struct {
	mutex sync.RWMutex
	texts map[string]compiledText
}

type compiledText struct {
	parts []part
	err   error
}

func (c *textCache) compile(source string) ([]part, error) {
	c.mutex.RLock()
	known, ok := c.texts[source]
	c.mutex.RUnlock()
	if ok {
		return known.parts, known.err
	}
	parts, err := compileText(source)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if len(c.texts) >= maxCompiledTexts {
		clear(c.texts)
	}
	c.texts[source] = compiledText{parts, err}
	return parts, err
}

// clusterValues is cluster.values in expressions, or a map below it. Like clusterFacts it remembers what was missing, with the
// complete path, and a value on which ClusterValues do not agree is an error for those who read it, and for nobody else.
type clusterValues struct {
	traits.Mapper
	table  map[string]any
	values *fleet.Values
	prefix string // "ingress." below ingress
	failed *valuesFailure
}

// valuesFailure is why the last expression failed, shared by all maps of one cluster.
type valuesFailure struct {
	missed   *missingFact
	conflict *fleet.ValueConflict
}

func valuesOf(values *fleet.Values) *clusterValues {
	if values == nil {
		values = &fleet.Values{}
	}
	return below(values, values.Table, "", &valuesFailure{})
}

func below(values *fleet.Values, table map[string]any, prefix string, failed *valuesFailure) *clusterValues {
	return &clusterValues{
		Mapper: types.NewStringInterfaceMap(types.DefaultTypeAdapter, table),
		table:  table, values: values, prefix: prefix, failed: failed,
	}
}

// Find gives the value of a key.
func (v *clusterValues) Find(key ref.Val) (ref.Val, bool) {
	name, isText := key.Value().(string)
	path := v.prefix + name
	if c := v.values.Conflict(path); isText && c != nil && (c.Problem != "" || len(c.Path) <= len(path)) {
		v.failed.conflict = c
		return types.WrapErr(*c), true
	}
	value, ok := v.table[name]
	if !isText || !ok {
		v.failed.missed = &missingFact{kind: "value", key: name, path: path}
		return nil, false
	}
	if table, isTable := value.(map[string]any); isTable {
		return below(v.values, table, path+".", v.failed), true
	}
	return types.DefaultTypeAdapter.NativeToValue(value), true
}

// Get is Find for a key that must be there.
func (v *clusterValues) Get(key ref.Val) ref.Val {
	value, ok := v.Find(key)
	if !ok {
		return types.WrapErr(v.failed.missed)
	}
	return value
}
