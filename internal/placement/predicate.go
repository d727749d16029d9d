package placement

import (
	"errors"
	"fmt"
	"strings"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// predicates keeps the clusters that match at least one of spec.predicates; without predicates, all.
func predicates(r *run) error {
	defer r.trace(FilterPlugin, "Predicate")()
	selectors, err := compilePredicates(r.placement.Spec.Predicates)
	if err != nil {
		return err
	}
	r.selectors = selectors
	if len(selectors) > 0 {
		r.match()
	}
	r.result.Filters = append(r.result.Filters, Filter{Name: "Predicate", Clusters: r.names()})
	return nil
}

// match keeps the candidates that match one of the predicates. When the expressions exceed the budget of a placement, the other
// clusters are not evaluated: those that the placement has chosen stay chosen, and the others wait. Growth of the fleet can cause
// this, so it is no fault of the placement itself.
func (r *run) match() {
	keep := make([]bool, len(r.candidates))
	for _, i := range r.chosenFirst() {
		c := &r.candidates[i]
		if costly := r.overBudget(); costly != nil {
			r.unevaluated[c.index] = true
			c.unevaluated, keep[i] = true, r.previous[c.cluster.Name]
			if !keep[i] {
				r.drop(c, StepPredicates, costly.String()+" costs too much over all clusters: this one was not looked at")
			}
			continue
		}
		c.predicate = r.firstMatch(c.index)
		if keep[i] = c.predicate >= 0; !keep[i] {
			r.unmatched++
			r.drop(c, StepPredicates, r.unmet(c.index))
		}
	}
	kept := r.candidates[:0]
	for i, c := range r.candidates {
		if keep[i] {
			kept = append(kept, c)
		}
	}
	r.candidates = kept
}

// chosenFirst are the candidates in the sequence in which expressions are evaluated: those that are chosen already, by name, then
// the others, so that new clusters do not consume the budget of chosen ones.
func (r *run) chosenFirst() []int {
	var chosen, others []int
	for i := range r.candidates {
		if len(r.previous) > 0 && r.previous[r.candidates[i].cluster.Name] {
			chosen = append(chosen, i)
		} else {
			others = append(others, i)
		}
	}
	return append(chosen, others...)
}

// overBudget is the expression that has cost most, once all of them together have cost more than one placement may; else nil.
func (r *run) overBudget() *celExpression {
	var most *celExpression
	spent := uint64(0)
	for i := range r.selectors {
		for _, e := range r.selectors[i].cel {
			spent += e.spent
			if most == nil || e.spent > most.spent {
				most = e
			}
		}
	}
	if spent <= r.index.budget {
		return nil
	}
	return most
}

func (r *run) firstMatch(index int) int {
	for i := range r.selectors {
		if ok, _ := r.selectors[i].match(r.index, index, false); ok {
			return i
		}
	}
	return -1
}

// unmet is every unmet part of every predicate.
func (r *run) unmet(index int) string {
	reasons := make([]string, len(r.selectors))
	for i := range r.selectors {
		_, reasons[i] = r.selectors[i].match(r.index, index, true)
	}
	return strings.Join(reasons, ", or ")
}

func compilePredicates(list []clusterv1beta1.ClusterPredicate) ([]clusterSelector, error) {
	selectors := make([]clusterSelector, len(list))
	for i := range list {
		required := &list[i].RequiredClusterSelector
		field := fmt.Sprintf("spec.predicates[%d].requiredClusterSelector", i)
		s, err := compileSelector(clusterv1beta1.GroupClusterSelector{LabelSelector: required.LabelSelector, ClaimSelector: required.ClaimSelector})
		if err != nil {
			return nil, &misconfigured{plugin: "Predicate", field: field + selectorField(err), message: err.Error()}
		}
		for j, text := range required.CelSelector.CelExpressions {
			e, err := compileCEL(text)
			if err != nil {
				field += fmt.Sprintf(".celSelector.celExpressions[%d]", j)
				return nil, &misconfigured{plugin: "Predicate", field: field, message: err.Error(), plain: plainCEL(err)}
			}
			s.cel = append(s.cel, e)
		}
		selectors[i] = s
	}
	return selectors, nil
}

// compileSelector compiles the parts that predicates and groups share.
func compileSelector(sel clusterv1beta1.GroupClusterSelector) (clusterSelector, error) {
	labels, err := NewSelector(&sel.LabelSelector)
	if err != nil {
		return clusterSelector{}, &selectorError{"label selector", ".labelSelector", err}
	}
	claims, err := newClaimSelector(sel.ClaimSelector.MatchExpressions)
	if err != nil {
		return clusterSelector{}, &selectorError{"claim selector", ".claimSelector", err}
	}
	return clusterSelector{labels: labels, claims: claims}, nil
}

// selectorError is a selector that cannot be read, and the field below the predicate that holds it.
type selectorError struct {
	name, field string
	err         error
}

func (e *selectorError) Error() string { return e.name + ": " + e.err.Error() }

func (e *selectorError) Unwrap() error { return e.err }

func selectorField(err error) string {
	var e *selectorError
	if errors.As(err, &e) {
		return e.field
	}
	return ""
}

// predicateText is what the predicates require, in short: "tier=edge" or, for several, "any predicate".
func (r *run) predicateText() string {
	if len(r.selectors) == 1 {
		if text := r.selectors[0].text(); len(text) <= 60 {
			return strings.TrimPrefix(text, "label ")
		}
		return "the predicate"
	}
	return "any predicate"
}

// why says why a cluster passed the filters, in a text that does not change with the scores.
func (r *run) why(c *candidate) string {
	if c.predicate >= 0 {
		s := &r.selectors[c.predicate]
		if s.matched == "" {
			if s.matched = s.text(); s.matched != "" {
				s.matched = clip("matches "+s.matched, maxReason)
			}
		}
		if s.matched != "" {
			return s.matched
		}
	}
	name := r.setOf(c.index)
	if c.unevaluated || name == "" {
		return "was chosen before" // it is unknown whether it still matches, or a set that cannot be read holds it
	}
	text, ok := r.inSet[name]
	if !ok {
		text = "in set " + name
		r.inSet[name] = text
	}
	return text
}
