// Package expression is the CEL that placements and applications are written in: Kubernetes' libraries, with functions and
// limits that are the same wherever a person writes an expression.
package expression

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/library"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// maxRange is how long a list lists.range makes: the list is made before its cost is counted.
const maxRange = 10_000

var base = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Function("parseJSON", cel.MemberOverload("string_parse_json",
			[]*cel.Type{cel.StringType}, cel.DynType, cel.UnaryBinding(parseJSON))),
		cel.OptionalTypes(),
		ext.Strings(),
		ext.Sets(),
		ext.Lists(ext.ListsVersion(3), ext.ListsMaxRangeSize(maxRange)),
		ext.TwoVarComprehensions(),
		cel.Function("format", cel.MemberOverload("string_format",
			[]*cel.Type{cel.StringType, cel.ListType(cel.DynType)}, cel.StringType, cel.FunctionBinding(format))),
		library.Lists(),
		library.Regex(),
		library.URLs(),
		library.Quantity(),
		cel.Function("quantity", cel.Overload("string_to_quantity", []*cel.Type{cel.StringType}, apiservercel.QuantityType, cel.UnaryBinding(quantity))),
		cel.Function("isQuantity", cel.Overload("is_quantity_string", []*cel.Type{cel.StringType}, cel.BoolType, cel.UnaryBinding(isQuantity))),
		library.IP(),
		library.CIDR(),
		library.Format(),
		library.SemverLib(library.SemverVersion(1)),
	)
})

// Environment is the environment of all expressions, extended by the variables of one use: Kubernetes' libraries and
// "…".parseJSON().
func Environment(uses ...cel.EnvOption) (*cel.Env, error) {
	env, err := base()
	if err != nil {
		return nil, fmt.Errorf("CEL environment: %w", err)
	}
	if env, err = env.Extend(uses...); err != nil {
		return nil, fmt.Errorf("CEL environment: %w", err)
	}
	return env, nil
}

// Program makes an expression ready to be evaluated. One evaluation may cost Kubernetes' PerCallLimit and says what it cost.
func Program(env *cel.Env, ast *cel.Ast, costs interface {
	CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64
}) (cel.Program, error) {
	return env.Program(ast,
		cel.CostLimit(celconfig.PerCallLimit),
		cel.CostTracking(costs),
		cel.InterruptCheckFrequency(celconfig.CheckFrequency))
}

// expected is the parser's list of all tokens that could come next.
var expected = regexp.MustCompile(` expecting \{.*\}$`)

// Problems says in one line, without the expression, why it does not compile.
func Problems(issues *cel.Issues) string {
	var list []string
	for _, issue := range issues.Errors() {
		list = append(list, fmt.Sprintf("column %d: %s", issue.Location.Column()+1, expected.ReplaceAllString(issue.Message, "")))
	}
	return strings.Join(list, "; ")
}

// parseJSON is "…".parseJSON().
func parseJSON(receiver ref.Val) ref.Val {
	text, ok := receiver.Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(receiver)
	}
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return types.NewErr("parseJSON: %s", err.Error())
	}
	return types.DefaultTypeAdapter.NativeToValue(value)
}

// quantity and isQuantity are Kubernetes' functions without the texts that cost all memory to read, which no cost limit stops.
func quantity(text ref.Val) ref.Val {
	s, ok := text.Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(text)
	}
	q, err := clusterv1.ParseAmount(s)
	if err != nil {
		return types.WrapErr(err)
	}
	return apiservercel.Quantity{Quantity: &q}
}

func isQuantity(text ref.Val) ref.Val {
	s, ok := text.Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(text)
	}
	_, err := clusterv1.ParseAmount(s)
	return types.Bool(err == nil)
}

// plainFormat is the format of CEL's strings.
var plainFormat = sync.OnceValues(func() (functions.FunctionOp, error) {
	env, err := cel.NewEnv(ext.Strings())
	if err != nil {
		return nil, err
	}
	overloads, err := env.Functions()["format"].Bindings()
	if err != nil || len(overloads) == 0 || overloads[0].Function == nil {
		return nil, fmt.Errorf("CEL's strings have no format: %w", err)
	}
	return overloads[0].Function, nil
})

// format is "…".format(list) for lists that are written in at most maxResult: the text is made before its cost is counted.
func format(args ...ref.Val) ref.Val {
	plain, err := plainFormat()
	if err != nil {
		return types.WrapErr(err)
	}
	if len(args) == 2 {
		size := 0
		if _, err := plainValue(args[1], &size); size > maxResult {
			return types.WrapErr(err)
		}
	}
	return plain(args...)
}

// Costs is Kubernetes' cost of library calls, with that of parseJSON and of format.
type Costs struct{ library.CostEstimator }

// CallCost is the actual cost of one call, nil where the default of 1 fits.
func (c Costs) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	if function == "parseJSON" {
		if text, ok := args[0].Value().(string); ok {
			cost := uint64(len(text))/10 + 1
			return &cost
		}
	}
	if text, ok := result.(types.String); ok && overload == "string_format" {
		cost := uint64(len(text))/10 + 1
		return &cost
	}
	return c.CostEstimator.CallCost(function, overload, args, result)
}
