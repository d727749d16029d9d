package review

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/expression"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
)

// Policy is a ReviewPolicy, and where it is written.
type Policy struct {
	*musterv1alpha1.ReviewPolicy
	File   string
	LineOf func(field string) int
}

// Policies are those of a repository: what its base defines, and those of the hub, of which it has a right to none but sees what they
// deny. Policies of namespace muster-system hold for every repository, others for the repositories of their namespace.
func Policies(defs *fleet.Definitions, onHub []musterv1alpha1.ReviewPolicy, repository string) []Policy {
	namespace, _, _ := strings.Cut(repository, "/")
	var list []Policy
	known := map[string]bool{}
	for i := range defs.All {
		d := &defs.All[i]
		if p, ok := d.Object.(*musterv1alpha1.ReviewPolicy); ok {
			known[p.Namespace+"/"+p.Name] = true
			list = append(list, Policy{p, d.File, d.LineOf})
		}
	}
	for i := range onHub {
		p := &onHub[i]
		if (p.Namespace == systemNamespace || p.Namespace == namespace) && !known[p.Namespace+"/"+p.Name] {
			list = append(list, Policy{ReviewPolicy: p})
		}
	}
	slices.SortFunc(list, func(a, b Policy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// systemNamespace is where policies for every repository are.
const systemNamespace = "muster-system"

// Change is what is known of a change beside its commits. Nothing of it is to be trusted but what the host vouches for: who the author is.
type Change struct {
	Author string   `json:"author"`
	Teams  []string `json:"teams"` // of the author, among those that spec.review.approvers names
	Title  string   `json:"title"`
	Base   string   `json:"base"` // branches
	Head   string   `json:"head"`
	Labels []string `json:"labels"`
	Fork   bool     `json:"fork"`
}

// maxCost is what one expression may cost: a policy reads a whole plan, where Kubernetes' limit is made for one object.
const maxCost = 100_000_000

// evaluate holds a compared change against policies. A rule that cannot be evaluated counts as broken, and says why.
func (in Input) evaluate(ctx context.Context, d *plan.Difference) ([]Finding, error) {
	policies, change := in.Policies, in.Change
	if len(policies) == 0 {
		return nil, nil
	}
	facts, err := in.factsOf(d)
	if err != nil {
		return nil, err
	}
	change.Teams, change.Labels = append([]string{}, change.Teams...), append([]string{}, change.Labels...) // a list, not null
	facts["change"] = change
	variables, err := plainValues(facts)
	if err != nil {
		return nil, err
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, p := range policies {
		for i, rule := range p.Spec.Validations {
			message := broken(ctx, env, rule, variables)
			if message == "" {
				continue
			}
			f := Finding{Policy: p.Namespace + "/" + p.Name, Deny: p.Spec.Action != musterv1alpha1.ReviewWarn, Message: message, File: p.File}
			if p.LineOf != nil {
				f.Line = p.LineOf(fmt.Sprintf("spec.validations[%d].expression", i))
			}
			findings = append(findings, f)
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		switch {
		case a.Deny == b.Deny:
			return 0
		case a.Deny:
			return -1
		}
		return 1
	})
	return findings, nil
}

func environment() (*cel.Env, error) {
	return expression.Environment(
		cel.Variable("plan", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("clusters", cel.ListType(cel.DynType)),
		cel.Variable("change", cel.MapType(cel.StringType, cel.DynType)),
	)
}

// PolicyFaults are the expressions of policies that are no CEL, or give the wrong type: merged, they would deny every change after.
func PolicyFaults(defs *fleet.Definitions) ([]fleet.Fault, error) {
	if defs == nil || len(defs.ReviewPolicies()) == 0 {
		return nil, nil
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	var faults []fleet.Fault
	for i := range defs.All {
		d := &defs.All[i]
		p, ok := d.Object.(*musterv1alpha1.ReviewPolicy)
		if !ok {
			continue
		}
		check := func(field, text string, want *cel.Type) {
			if _, err := compile(env, text, want); err != nil {
				faults = append(faults, fleet.Fault{
					Reason: fleet.DefinitionInvalid, ActionRequiredBy: fleet.User, Object: d.Key.String(), File: d.File, Line: d.LineOf(field),
					Message: field + ": " + err.Error(),
				})
			}
		}
		for n, rule := range p.Spec.Validations {
			at := fmt.Sprintf("spec.validations[%d].", n)
			check(at+"expression", rule.Expression, cel.BoolType)
			if rule.MessageExpression != "" {
				check(at+"messageExpression", rule.MessageExpression, cel.StringType)
			}
		}
	}
	return faults, nil
}

// broken is the message of a rule that does not hold, or empty.
func broken(ctx context.Context, env *cel.Env, rule musterv1alpha1.ReviewValidation, variables map[string]any) string {
	value, err := evaluate(ctx, env, rule.Expression, cel.BoolType, variables)
	if err != nil {
		return "the rule cannot be evaluated: " + err.Error()
	}
	if value == types.True {
		return ""
	}
	if rule.MessageExpression != "" {
		value, err := evaluate(ctx, env, rule.MessageExpression, cel.StringType, variables)
		if text, ok := value.(types.String); ok && err == nil && strings.TrimSpace(string(text)) != "" {
			return shorten(oneLine(string(text)), maxMessage)
		}
	}
	return shorten(oneLine(cmp.Or(rule.Message, "not true: "+rule.Expression)), maxMessage)
}

// maxMessage is how long a message of a policy may be.
const maxMessage = 1000

// evaluate runs one expression that must have a type.
func evaluate(ctx context.Context, env *cel.Env, text string, want *cel.Type, variables map[string]any) (any, error) {
	ast, err := compile(env, text, want)
	if err != nil {
		return nil, err
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.CostTracking(expression.Costs{}), cel.InterruptCheckFrequency(1000))
	if err != nil {
		return nil, err
	}
	value, _, err := program.ContextEval(ctx, variables)
	if err != nil {
		return nil, err
	}
	if (want == cel.BoolType) != (value.Type() == types.BoolType) {
		return nil, fmt.Errorf("it gives %s and not %s", value.Type(), want)
	}
	return value, nil
}

// compile reads an expression that must have a type, as far as it is known before it is evaluated.
func compile(env *cel.Env, text string, want *cel.Type) (*cel.Ast, error) {
	ast, issues := env.Compile(text)
	if issues != nil && issues.Err() != nil {
		return nil, fmt.Errorf("%s", expression.Problems(issues))
	}
	if out := ast.OutputType(); !out.IsExactType(want) && !out.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("it is %s and not %s", out, want)
	}
	return ast, nil
}

// plainValues are values as CEL reads them without knowing our types.
func plainValues(facts map[string]any) (map[string]any, error) {
	data, err := json.Marshal(facts)
	if err != nil {
		return nil, fmt.Errorf("encode the facts of a review: %w", err)
	}
	var plain map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber()
	if err := decoder.Decode(&plain); err != nil {
		return nil, fmt.Errorf("decode the facts of a review: %w", err)
	}
	return withIntegers(plain).(map[string]any), nil
}

// withIntegers makes integers of JSON's numbers that are whole: plan.gained > 3 compares integers.
func withIntegers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			v[key] = withIntegers(inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = withIntegers(inner)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return value
}
