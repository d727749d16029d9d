package work

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/itchyny/gojq"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/muster-io/muster/internal/drift"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// place is where a value stands in an object: the names of map entries (string) and the positions in lists (int) that lead to it.
type place = []any

// jqTimeout bounds the evaluation of one jq expression, as in OCM.
const jqTimeout = time.Second

// placesOf gives the places of an object that rules select, in document order, each once.
func placesOf(ctx context.Context, object map[string]any, rules []workv1.IgnoreField) ([]place, error) {
	var places []place
	for _, rule := range rules {
		for _, p := range rule.JSONPointers {
			path, err := parsePointer(p)
			if err != nil {
				return nil, err
			}
			places = selectPlaces(object, path, nil, places)
		}
		for _, p := range rule.JSONPaths {
			path, err := parsePath(p)
			if err != nil {
				return nil, err
			}
			places = selectPlaces(object, path, nil, places)
		}
		for _, expression := range rule.JQPathExpressions {
			found, err := jqPlaces(ctx, object, expression)
			if err != nil {
				return nil, fmt.Errorf("ignore field %q: %w", expression, err)
			}
			places = append(places, found...)
		}
	}
	slices.SortFunc(places, comparePlaces)
	return slices.CompactFunc(places, func(a, b place) bool { return comparePlaces(a, b) == 0 }), nil
}

func comparePlaces(a, b place) int {
	return slices.CompareFunc(a, b, func(x, y any) int {
		if i, ok := x.(int); ok {
			j, _ := y.(int)
			return cmp.Compare(i, j)
		}
		s, _ := x.(string)
		t, _ := y.(string)
		return strings.Compare(s, t)
	})
}

// jqPlaces gives the places that a jq expression selects: those that del() of it would delete, as OCM does.
func jqPlaces(ctx context.Context, object map[string]any, expression string) ([]place, error) {
	query, err := gojq.Parse("path(" + expression + ")")
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, jqTimeout)
	defer cancel()
	var input any // gojq rejects int64, and may write to its input
	if err := json.Unmarshal(must(json.Marshal(object)), &input); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	var places []place
	results := code.RunWithContext(ctx, input)
	for {
		result, more := results.Next()
		if !more {
			return places, nil
		}
		switch result := result.(type) {
		case error:
			if errors.Is(result, context.DeadlineExceeded) {
				return nil, fmt.Errorf("the expression runs for more than %v", jqTimeout)
			}
			return nil, fmt.Errorf("evaluate: %w", result)
		case []any:
			places = append(places, existing(object, result)...)
		}
	}
}

// existing turns a path of jq into the places that are there: jq counts from the end too, and selects parts of lists.
func existing(object any, path []any) []place {
	places, values := []place{nil}, []any{object}
	for _, step := range path {
		var nextPlaces []place
		var nextValues []any
		for i, where := range places {
			add := func(step, value any) {
				nextPlaces, nextValues = append(nextPlaces, append(slices.Clone(where), step)), append(nextValues, value)
			}
			switch node := values[i].(type) {
			case map[string]any:
				if name, ok := step.(string); ok {
					if child, ok := node[name]; ok {
						add(name, child)
					}
				}
			case []any:
				for _, index := range indices(step, len(node)) {
					add(index, node[index])
				}
			}
		}
		places, values = nextPlaces, nextValues
	}
	if len(path) == 0 {
		return nil // the object itself
	}
	return places
}

// indices are the positions that a step of a jq path selects in a list.
func indices(step any, length int) []int {
	bound := func(v any, otherwise int) int {
		n, ok := v.(int)
		if !ok {
			return otherwise
		}
		if n < 0 {
			n += length
		}
		return min(max(n, 0), length)
	}
	first, last := 0, 0
	switch step := step.(type) {
	case int:
		if first = step; step < 0 {
			first += length
		}
		if first < 0 || first >= length {
			return nil
		}
		last = first + 1
	case map[string]any:
		first, last = bound(step["start"], 0), bound(step["end"], length)
	}
	var all []int
	for i := first; i < last; i++ {
		all = append(all, i)
	}
	return all
}

// selector is one step of a JSON path or pointer: a name, an index, every item, or the items with a given value.
type selector struct {
	name  string
	index int
	kind  selectorKind
	value string // of the field name, for byValue
}

type selectorKind int

const (
	byName selectorKind = iota
	byIndex
	every
	byValue
)

func parsePointer(p string) ([]selector, error) {
	if !strings.HasPrefix(p, "/") {
		return nil, fmt.Errorf("ignore field %q: a JSON pointer begins with a slash", p)
	}
	var path []selector
	for _, part := range strings.Split(p[1:], "/") {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		s := selector{name: part, index: -1}
		if i, err := strconv.Atoi(part); err == nil {
			s.index = i
		}
		path = append(path, s)
	}
	return path, nil
}

var pathStep = regexp.MustCompile(`^(?:` +
	`\.?\[\s*(\d+)\s*\]` + // 1: index
	`|\.?\[\s*(\*?)\s*\]` + // 2: every item
	`|\.?\[\s*(?:'([^']*)'|"([^"]*)")\s*\]` + // 3, 4: quoted name
	`|\.?\[\?\(\s*@\.([\w-]+)\s*==\s*(?:'([^']*)'|"([^"]*)")\s*\)\]` + // 5, 6, 7: items with a value
	`|\.([\w-]+)` + // 8: name
	`|\."([^"]*)")`) // 9: quoted name

// parsePath reads a JSON path that names fields: .spec.replicas, .spec.containers[0].image,
// .metadata.labels['a.b/c'], .spec.containers[?(@.name=="web")].image.
func parsePath(p string) ([]selector, error) {
	rest := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(p), "{"), "}")
	rest = strings.TrimPrefix(rest, "$")
	if !strings.HasPrefix(rest, ".") && !strings.HasPrefix(rest, "[") {
		rest = "." + rest
	}
	var path []selector
	for rest != "" {
		m := pathStep.FindStringSubmatch(rest)
		if m == nil || m[0] == "" {
			return nil, fmt.Errorf("ignore field %q: cannot read %q", p, rest)
		}
		rest = rest[len(m[0]):]
		switch {
		case m[1] != "":
			i, err := strconv.Atoi(m[1])
			if err != nil {
				return nil, fmt.Errorf("ignore field %q: %w", p, err)
			}
			path = append(path, selector{kind: byIndex, index: i})
		case m[5] != "":
			path = append(path, selector{kind: byValue, name: m[5], value: m[6] + m[7]})
		case m[3]+m[4]+m[8]+m[9] != "":
			path = append(path, selector{kind: byName, name: m[3] + m[4] + m[8] + m[9], index: -1})
		default:
			path = append(path, selector{kind: every})
		}
	}
	if len(path) == 0 {
		return nil, fmt.Errorf("ignore field %q: names nothing", p)
	}
	return path, nil
}

// selectPlaces adds the places below a value that a path selects.
func selectPlaces(v any, path []selector, where place, places []place) []place {
	if len(path) == 0 {
		return append(places, where)
	}
	switch node := v.(type) {
	case map[string]any:
		if child, ok := node[path[0].name]; ok && path[0].kind == byName {
			return selectPlaces(child, path[1:], append(slices.Clone(where), path[0].name), places)
		}
	case []any:
		for i, item := range node {
			if path[0].selects(i, item) {
				places = selectPlaces(item, path[1:], append(slices.Clone(where), i), places)
			}
		}
	}
	return places
}

func (s selector) selects(i int, item any) bool {
	switch s.kind {
	case every:
		return true
	case byValue:
		m, _ := item.(map[string]any)
		return fmt.Sprint(m[s.name]) == s.value
	default:
		return s.index == i
	}
}

// ignored are the rules of one object, with what its live state needs to obey them.
type ignored struct {
	rules           []workv1.IgnoreField
	manager, family string // whose fields are ours: see drift.OwnershipOf
}

// when gives the rules with a condition.
func (g ignored) when(condition workv1.IgnoreFieldsCondition) ignored {
	g.rules = slices.DeleteFunc(slices.Clone(g.rules), func(r workv1.IgnoreField) bool {
		return (r.Condition == workv1.IgnoreFieldsConditionOnSpokeChange) != (condition == workv1.IgnoreFieldsConditionOnSpokeChange)
	})
	return g
}

// mark is the value of the annotation open-cluster-management.io/config-spec-hash: a hash, computed as OCM does, of the manifest
// without the fields that are ignored on a present object. While a live object carries it, the manifest is not applied again.
func (g ignored) mark(ctx context.Context, manifest *unstructured.Unstructured) (string, error) {
	places, err := placesOf(ctx, manifest.Object, g.when(workv1.IgnoreFieldsConditionOnSpokePresent).rules)
	if err != nil {
		return "", err
	}
	rest := manifest.DeepCopy()
	for _, where := range slices.Backward(places) {
		replace(rest.Object, where, nil, false)
	}
	hash := md5.Sum([]byte(fmt.Sprintf("%v", rest)))
	return hex.EncodeToString(hash[:]), nil
}

// keep puts in place of what the rules select in the object to apply what the live object has there and only we hold: leaving it
// out would make the API server remove it. What others hold is left out, so that it is theirs to change.
//
// A list that is applied as one value cannot be left out in part: there the selected items are the live ones.
func (g ignored) keep(ctx context.Context, object, live *unstructured.Unstructured) error {
	places, err := placesOf(ctx, object.Object, g.rules)
	if err != nil {
		return err
	}
	fields, err := drift.OwnershipOf(live.Object, g.manager, g.family)
	if err != nil {
		return err
	}
	parts := partsOf(fields, object.Object, places)
	if len(parts.places) > 0 {
		livePlaces, _ := placesOf(ctx, live.Object, g.rules) // fails where the live object lacks what jq walks through
		parts.match(live.Object, partsOf(fields, live.Object, livePlaces))
	}
	for _, where := range slices.Backward(places) {
		value, found := parts.value(where)
		if p, rest, held := fields.Path(object.Object, where); held && len(rest) == 0 {
			value, found = fields.Only(p)
		}
		replace(object.Object, where, value, found)
	}
	return nil
}

// parts are the selected places that lie within a value that managers hold as one, by the path of that value.
type parts struct {
	places map[string][]place
	values map[string]any // by place, of the live object
}

func partsOf(fields drift.Ownership, object map[string]any, places []place) parts {
	all := parts{places: map[string][]place{}, values: map[string]any{}}
	for _, where := range places {
		if p, rest, found := fields.Path(object, where); found && len(rest) > 0 {
			all.places[p.String()] = append(all.places[p.String()], where)
		}
	}
	return all
}

// match gives each place the live value that the rules select in the same list, one after the other.
func (p parts) match(live map[string]any, of parts) {
	for path, places := range p.places {
		for i, where := range places {
			if i < len(of.places[path]) {
				value, _ := valueIn(live, of.places[path][i])
				p.values[fmt.Sprintf("%q", where)] = runtime.DeepCopyJSONValue(value)
			}
		}
	}
}

func (p parts) value(where place) (any, bool) {
	value, found := p.values[fmt.Sprintf("%q", where)]
	return value, found
}

func valueIn(v any, where place) (any, bool) {
	for _, step := range where {
		switch node := v.(type) {
		case map[string]any:
			name, _ := step.(string)
			child, ok := node[name]
			if !ok {
				return nil, false
			}
			v = child
		case []any:
			i, ok := step.(int)
			if !ok || i < 0 || i >= len(node) {
				return nil, false
			}
			v = node[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// replace puts a value at a place, or takes out what is there. Places after it in a list move up.
func replace(object map[string]any, where place, value any, keep bool) {
	parent, found := valueIn(object, where[:len(where)-1])
	if !found {
		return
	}
	switch node := parent.(type) {
	case map[string]any:
		name, _ := where[len(where)-1].(string)
		if keep {
			node[name] = value
		} else {
			delete(node, name)
		}
	case []any:
		i, _ := where[len(where)-1].(int)
		if keep {
			node[i] = value
			return
		}
		replace(object, where[:len(where)-1], slices.Delete(node, i, i+1), true)
	}
}
