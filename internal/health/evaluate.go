package health

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	workv1 "github.com/muster-io/muster/api/work/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/cel/library"
)

// Bounds of what a rule may cost, so that a rule cannot stop an agent. The units of costLimit are CEL's; it is what an
// API server grants one expression.
const (
	costLimit     = 1_000_000
	cachePrograms = 1024
)

// wellKnown are the rules that OCM's agent knows by kind for the type WellKnownConditions. Only Complete exists.
var wellKnown = map[string]workv1.ConditionRule{
	"batch/v1/Job": {
		Condition:         workv1.ManifestComplete,
		CelExpressions:    []string{hasTrue("Complete") + " || " + hasTrue("Failed")},
		MessageExpression: `result ? "Job is finished" : "Job is not finished"`,
	},
	"v1/Pod": {
		Condition:         workv1.ManifestComplete,
		CelExpressions:    []string{`object.?status.?phase.orValue("") in ["Succeeded", "Failed"]`},
		MessageExpression: `"Pod is in phase " + object.?status.?phase.orValue("Unknown")`,
	},
}

// Evaluate computes the condition that a rule of spec.manifestConfigs[].conditionRules asks for, of a live object. The
// caller adds the time and the observed generation.
//
//	reason                       status    when
//	ConditionRuleEvaluated       True      every expression is true; also with none
//	ConditionRuleEvaluated       False     an expression is false
//	ConditionRuleExpressionError False     an expression does not compile, fails, costs too much or is no bool
//	ConditionRuleInvalid         Unknown   a type that does not exist
//
// A rule WellKnownConditions for a kind or a condition that has none gives no condition: then the second result is false.
//
// The message is the rule's messageExpression, else its message, else "Manifest is <condition>". A message expression
// that fails puts its error there and leaves the status.
func Evaluate(rule workv1.ConditionRule, obj *unstructured.Unstructured) (metav1.Condition, bool) {
	switch rule.Type {
	case workv1.CelConditionExpressionsType:
		return evaluateRule(rule, obj), true
	case workv1.WellKnownConditionsType:
		known, ok := wellKnown[obj.GetAPIVersion()+"/"+obj.GetKind()]
		if !ok || known.Condition != rule.Condition {
			return metav1.Condition{}, false
		}
		if rule.Message != "" {
			known.Message = rule.Message // the expression that is known for the kind still wins, as in OCM
		}
		if rule.MessageExpression != "" {
			known.MessageExpression = rule.MessageExpression
		}
		return evaluateRule(known, obj), true
	default:
		return metav1.Condition{
			Type: rule.Condition, Status: metav1.ConditionUnknown,
			Reason: workv1.ReasonConditionRuleInvalid, Message: "no such type of condition rule: " + string(rule.Type),
		}, true
	}
}

func evaluateRule(rule workv1.ConditionRule, obj *unstructured.Unstructured) metav1.Condition {
	condition := metav1.Condition{Type: rule.Condition, Status: metav1.ConditionFalse, Reason: workv1.ReasonConditionRuleEvaluated}
	holds, err := allTrue(rule.CelExpressions, obj)
	if err != nil {
		condition.Reason, condition.Message = workv1.ReasonConditionRuleExpressionError, err.Error()
		return condition
	}
	if holds {
		condition.Status = metav1.ConditionTrue
	}
	condition.Message = messageOf(rule, obj, holds)
	return condition
}

func allTrue(expressions []string, obj *unstructured.Unstructured) (bool, error) {
	for _, expression := range expressions {
		value, err := evaluate(expression, map[string]any{"object": obj.Object})
		if err != nil {
			return false, err
		}
		holds, ok := value.(bool)
		if !ok {
			return false, fmt.Errorf("the expression gives %T and not a bool", value)
		}
		if !holds {
			return false, nil
		}
	}
	return true, nil
}

func messageOf(rule workv1.ConditionRule, obj *unstructured.Unstructured, result bool) string {
	if rule.MessageExpression != "" {
		value, err := evaluate(rule.MessageExpression, map[string]any{"object": obj.Object, "result": result})
		if err != nil {
			return err.Error()
		}
		message, ok := value.(string)
		if !ok {
			return fmt.Sprintf("the message expression gives %T and not a string", value)
		}
		if message != "" {
			return message
		}
	}
	if rule.Message != "" {
		return rule.Message
	}
	if result {
		return "Manifest is " + rule.Condition
	}
	return "Manifest is not " + rule.Condition
}

// evaluate runs one expression over its variables.
func evaluate(expression string, variables map[string]any) (any, error) {
	_, withResult := variables["result"]
	program, err := programs.get(expression, withResult)
	if err != nil {
		return nil, err
	}
	out, _, err := program.Eval(variables)
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	return out.Value(), nil
}

// programs keeps compiled expressions: a fleet uses few, and compiling one costs a thousand evaluations.
var programs = programCache{compiled: map[programKey]cel.Program{}}

type programKey struct {
	expression string
	withResult bool
}

type programCache struct {
	mutex    sync.Mutex
	compiled map[programKey]cel.Program
}

func (c *programCache) get(expression string, withResult bool) (cel.Program, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	key := programKey{expression, withResult}
	if program, ok := c.compiled[key]; ok {
		return program, nil
	}
	program, err := compile(expression, withResult)
	if err != nil {
		return nil, err
	}
	if len(c.compiled) >= cachePrograms {
		clear(c.compiled) // only a hub that makes up expressions gets here
	}
	c.compiled[key] = program
	return program, nil
}

func compile(expression string, withResult bool) (cel.Program, error) {
	env := ruleEnv
	if withResult {
		env = messageEnv
	}
	e, err := env()
	if err != nil {
		return nil, err
	}
	ast, issues := e.Compile(expression)
	if issues.Err() != nil {
		// Without the excerpt of the expression that CEL draws below the first line.
		first, _, _ := strings.Cut(issues.String(), "\n |")
		return nil, fmt.Errorf("compile: %w", errors.New(first))
	}
	return e.Program(ast, cel.CostLimit(costLimit), cel.CostTracking(&library.CostEstimator{}))
}

// The environments of OCM's agent: expressions see object, message expressions see result as well.
var (
	ruleEnv    = sync.OnceValues(func() (*cel.Env, error) { return newEnv() })
	messageEnv = sync.OnceValues(func() (*cel.Env, error) { return newEnv(cel.Variable("result", cel.BoolType)) })
)

func newEnv(more ...cel.EnvOption) (*cel.Env, error) {
	return cel.NewEnv(slices.Concat([]cel.EnvOption{
		cel.Variable("object", cel.DynType),
		cel.OptionalTypes(),
		ext.Strings(),
		library.Lists(),
		library.Regex(),
		library.URLs(),
		library.Quantity(),
		library.IP(),
		library.CIDR(),
		library.Format(),
		library.SemverLib(),
		cel.Function("hasConditions", cel.Overload("status_has_conditions",
			[]*cel.Type{cel.DynType}, cel.BoolType, cel.UnaryBinding(hasConditions))),
	}, more)...)
}

// hasConditions is true for a status with at least one condition.
func hasConditions(status ref.Val) ref.Val {
	fields, ok := status.(traits.Mapper)
	if !ok {
		return types.False
	}
	conditions, ok := fields.Find(types.String("conditions"))
	if !ok {
		return types.False
	}
	list, ok := conditions.(traits.Lister)
	return types.Bool(ok && list.Size() != types.IntZero)
}
