package placement

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// Selector is a compiled label selector that can say which of its terms are unmet.
type Selector struct{ terms []term }

// NewSelector compiles a label selector, with Kubernetes' own rules for what is valid. A nil one matches everything.
func NewSelector(sel *metav1.LabelSelector) (Selector, error) { return compile("label", sel) }

// newClaimSelector compiles a claim selector: a label selector over claims, as in OCM.
func newClaimSelector(expressions []metav1.LabelSelectorRequirement) (Selector, error) {
	return compile("claim", &metav1.LabelSelector{MatchExpressions: expressions})
}

func compile(kind string, sel *metav1.LabelSelector) (Selector, error) {
	if sel == nil {
		return Selector{}, nil
	}
	if _, err := metav1.LabelSelectorAsSelector(sel); err != nil {
		return Selector{}, err
	}
	var s Selector
	for key, value := range sel.MatchLabels {
		s.terms = append(s.terms, term{kind: kind, key: key, op: metav1.LabelSelectorOpIn, values: []string{value}})
	}
	slices.SortFunc(s.terms, func(a, b term) int { return strings.Compare(a.key, b.key) })
	for _, e := range sel.MatchExpressions {
		s.terms = append(s.terms, term{kind: kind, key: e.Key, op: e.Operator, values: sortedSet(e.Values)})
	}
	return s, nil
}

// Match says whether labels match, and the unmet terms when they do not.
func (s Selector) Match(labels map[string]string) (bool, string) {
	if s.matches(labels) {
		return true, ""
	}
	var unmet []string
	for i := range s.terms {
		if t := &s.terms[i]; !t.matches(labels) {
			unmet = append(unmet, t.unmet(labels))
		}
	}
	return false, few(unmet, "; ")
}

// few joins a list for people: of a long list its beginning, and how many more there are.
func few(list []string, separator string) string {
	const enough = 20
	if len(list) <= enough {
		return strings.Join(list, separator)
	}
	return fmt.Sprintf("%s%sand %d more", strings.Join(list[:enough], separator), separator, len(list)-enough)
}

func (s Selector) matches(labels map[string]string) bool {
	for i := range s.terms {
		if !s.terms[i].matches(labels) {
			return false
		}
	}
	return true
}

// Terms are the selector's terms as text: "label tier=edge", "claim id in (a, b)".
func (s Selector) Terms() []string {
	list := make([]string, len(s.terms))
	for i := range s.terms {
		list[i] = s.terms[i].String()
	}
	return list
}

// term is one requirement of a selector.
type term struct {
	kind   string // label or claim
	key    string
	op     metav1.LabelSelectorOperator
	values []string // sorted
}

func (t *term) matches(m map[string]string) bool {
	value, has := m[t.key]
	switch t.op {
	case metav1.LabelSelectorOpIn:
		return has && slices.Contains(t.values, value)
	case metav1.LabelSelectorOpNotIn:
		return !has || !slices.Contains(t.values, value)
	case metav1.LabelSelectorOpExists:
		return has
	case metav1.LabelSelectorOpDoesNotExist:
		return !has
	default:
		return false
	}
}

// String is the term as people write it.
func (t *term) String() string {
	switch t.op {
	case metav1.LabelSelectorOpIn:
		if len(t.values) == 1 {
			return t.kind + " " + t.key + "=" + t.values[0]
		}
		return t.kind + " " + t.key + " in (" + few(t.values, ", ") + ")"
	case metav1.LabelSelectorOpNotIn:
		if len(t.values) == 1 {
			return t.kind + " " + t.key + "!=" + t.values[0]
		}
		return t.kind + " " + t.key + " not in (" + few(t.values, ", ") + ")"
	case metav1.LabelSelectorOpDoesNotExist:
		return t.kind + " " + t.key + " absent"
	default:
		return t.kind + " " + t.key
	}
}

// unmet is the term, with the value that is there instead.
func (t *term) unmet(m map[string]string) string {
	value, has := m[t.key]
	if !has {
		return t.String() + ": missing"
	}
	return t.String() + ": has " + t.key + "=" + value
}

// clusterSelector is a predicate's or a group's selector: all parts must match.
type clusterSelector struct {
	labels Selector
	claims Selector
	cel    []*celExpression

	matched string // "matches …", made once
}

// match says whether a cluster matches, and every unmet part when explain is wanted.
func (s *clusterSelector) match(x *Index, i int, explain bool) (bool, string) {
	cluster := x.clusters[i]
	ok := s.labels.matches(cluster.Labels)
	var claims map[string]string
	if len(s.claims.terms) > 0 && (ok || explain) {
		claims = x.claimsOf(i)
		ok = s.claims.matches(claims) && ok
	}
	if !ok && !explain {
		return false, ""
	}
	var unmet []string
	if budget := celBudget; len(s.cel) > 0 {
		celOK, text := s.matchCEL(x, i, &budget)
		if !celOK {
			unmet = append(unmet, text)
		}
		ok = ok && celOK
	}
	if ok {
		return true, ""
	}
	return false, s.explain(cluster, claims, unmet)
}

func (s *clusterSelector) explain(cluster *clusterv1.ManagedCluster, claims map[string]string, cel []string) string {
	var parts []string
	if _, text := s.labels.Match(cluster.Labels); text != "" {
		parts = append(parts, text)
	}
	if len(s.claims.terms) > 0 {
		if _, text := s.claims.Match(claims); text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(append(parts, cel...), "; ")
}

// matchCEL evaluates the expressions in order, up to the first that is not true: later expressions often rely on earlier ones.
func (s *clusterSelector) matchCEL(x *Index, i int, budget *uint64) (bool, string) {
	for _, e := range s.cel {
		if ok, text := e.eval(x, i, budget); !ok {
			return false, text
		}
	}
	return true, ""
}

// text is all that the selector requires, for "matches …" and "not matching …".
func (s *clusterSelector) text() string {
	parts := append(s.labels.Terms(), s.claims.Terms()...)
	for _, e := range s.cel {
		parts = append(parts, e.String())
	}
	return few(parts, ", ")
}
