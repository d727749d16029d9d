package placement

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/muster-io/muster/internal/expression"
)

// celBudget is what all expressions of one selector may cost for one cluster, in CEL's cost units; a single expression
// may cost Kubernetes' PerCallLimit.
const celBudget = uint64(celconfig.RuntimeCELCostBudget)

// celFleetBudget is what the expressions of one placement may cost over all clusters: enough for 2,000 units on each of
// 10,000 clusters, which bounds how long one placement can delay the others. Expressions are not evaluated for clusters beyond it.
// OCM has no such bound.
const celFleetBudget = 2 * celBudget

// celEnvironment adds to the environment of all expressions what placements may use: the variable managedCluster, with the types
// of JSON, and its function scores("resource").
var celEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	return expression.Environment(
		cel.Variable("managedCluster", cel.MapType(cel.StringType, cel.DynType)),
		cel.Function("scores", cel.MemberOverload("cluster_scores",
			[]*cel.Type{cel.DynType, cel.StringType}, cel.ListType(cel.DynType), cel.BinaryBinding(celScores))),
	)
})

// celExpression is one compiled expression.
type celExpression struct {
	text    string
	program cel.Program
	spent   uint64       // over all clusters so far
	costly  map[int]bool // clusters for which it costs more than it may
}

// String is the expression as the reasons quote it.
func (e *celExpression) String() string { return "cel " + e.text }

func compileCEL(text string) (*celExpression, error) {
	env, err := celEnvironment()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, notCompiled(issues)
	}
	switch of := ast.OutputType(); of.Kind() {
	case types.BoolKind, types.DynKind, types.AnyKind: // a value from JSON has its type only when it is evaluated
	default:
		return nil, &celError{fmt.Sprintf("%s: is %s, not bool", text, of), fmt.Sprintf("the CEL expression is %s, not bool", of)}
	}
	program, err := expression.Program(env, ast, celCost{})
	if err != nil {
		return nil, fmt.Errorf("instantiation failed: %q: %w", text, err)
	}
	return &celExpression{text: text, program: program, costly: map[int]bool{}}, nil
}

// celError is an expression that can match no cluster.
type celError struct {
	message string // with the expression
	plain   string // on one line and without it
}

func (e *celError) Error() string { return "compilation failed: " + e.message }

// notCompiled is the error of a text that is no expression, with OCM's message, which shows the text and the position in it.
func notCompiled(issues *cel.Issues) *celError {
	return &celError{issues.String(), "the CEL expression does not compile: " + expression.Problems(issues)}
}

// plainCEL is the error on one line and without the expression, "" when it is none of celError's.
func plainCEL(err error) string {
	var e *celError
	if !errors.As(err, &e) {
		return ""
	}
	return e.plain
}

// eval evaluates the expression for a cluster: whether it is true, and its result otherwise. An expression that fails does not
// match, as in OCM.
func (e *celExpression) eval(x *Index, i int, budget *uint64) (bool, string) {
	object, err := x.object(i)
	if err != nil {
		return false, e.String() + ": fails: " + err.Error()
	}
	cluster := &celCluster{Mapper: types.NewStringInterfaceMap(types.DefaultTypeAdapter, object), index: x}
	value, details, err := e.program.Eval(map[string]any{"managedCluster": cluster})
	if details != nil && details.ActualCost() != nil {
		cost := *details.ActualCost()
		e.spent += cost
		if cost > *budget {
			*budget = 0
			return e.tooCostly(i)
		}
		*budget -= cost
	}
	if cancelled := (interpreter.EvalCancelledError{}); errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
		return e.tooCostly(i)
	}
	if err != nil {
		return false, e.String() + ": fails: " + err.Error()
	}
	if b, ok := value.Value().(bool); ok {
		if b {
			return true, ""
		}
		return false, e.String() + ": is false"
	}
	return false, e.String() + ": is " + value.Type().TypeName() + ", not bool"
}

func (e *celExpression) tooCostly(cluster int) (bool, string) {
	e.costly[cluster] = true
	return false, e.String() + ": costs too much"
}

// celCluster is the variable managedCluster, which can find its scores.
type celCluster struct {
	traits.Mapper
	index *Index
}

// ConvertToNative, like the other methods, is the map's.
func (c *celCluster) ConvertToNative(t reflect.Type) (any, error) { return c.Mapper.ConvertToNative(t) }

// celScores is managedCluster.scores("resource"): the scores of that AddOnPlacementScore as {name, value}. It fails when
// there is none.
func celScores(receiver, resource ref.Val) ref.Val {
	cluster, ok := receiver.(*celCluster)
	if !ok {
		return types.NewErr("scores: only managedCluster has scores")
	}
	name, ok := resource.Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(resource)
	}
	metadata, _ := cluster.Find(types.String("metadata"))
	of, ok := metadata.(traits.Mapper)
	if !ok {
		return types.NewErr("scores: the cluster has no metadata")
	}
	clusterName, _ := of.Find(types.String("name"))
	text, _ := clusterName.(types.String)
	score := cluster.index.score(string(text), name)
	if score == nil {
		return types.NewErr("scores: AddOnPlacementScore %s/%s not found", string(text), name)
	}
	items := make([]ref.Val, len(score.Status.Scores))
	for i, s := range score.Status.Scores {
		items[i] = types.NewStringInterfaceMap(types.DefaultTypeAdapter, map[string]any{"name": s.Name, "value": int64(s.Value)})
	}
	return types.NewRefValList(types.DefaultTypeAdapter, items)
}

// celCost is the cost of library calls, with that of scores.
type celCost struct{ expression.Costs }

// CallCost is the actual cost of one call, nil where the default of 1 fits.
func (c celCost) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	if function == "scores" {
		if list, ok := result.(traits.Lister); ok {
			if n, ok := list.Size().(types.Int); ok {
				cost := uint64(n) + 1
				return &cost
			}
		}
	}
	return c.Costs.CallCost(function, overload, args, result)
}
