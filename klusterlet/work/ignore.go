package work

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/muster-io/muster/internal/drift"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// selector is one step of a path to ignored fields: a name, an index, every item, or the items with a given value.
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

// pathsOf reads all paths of one rule. What cannot be read is an error that names it.
func pathsOf(rule workv1.IgnoreField) ([][]selector, error) {
	var paths [][]selector
	for _, p := range rule.JSONPointers {
		path, err := parsePointer(p)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	for _, p := range append(append([]string{}, rule.JSONPaths...), rule.JQPathExpressions...) {
		path, err := parsePath(p)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func parsePointer(p string) ([]selector, error) {
	if !strings.HasPrefix(p, "/") {
		return nil, fmt.Errorf("ignore field %q: a JSON pointer begins with a slash", p)
	}
	var path []selector
	for _, part := range strings.Split(p[1:], "/") {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		s := selector{name: part}
		if i, err := strconv.Atoi(part); err == nil {
			s.index = i
		} else {
			s.index = -1
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
	`|\s*\|\s*select\(\s*\.([\w-]+)\s*==\s*"([^"]*)"\s*\)(?:\s*\|\s*)?` + // 8, 9: the same in jq
	`|\.([\w-]+)` + // 10: name
	`|\."([^"]*)")`) // 11: quoted name in jq

// parsePath reads the paths of JSONPath and jq that name fields: .spec.replicas, .spec.containers[0].image,
// .metadata.labels['a.b/c'], .spec.containers[?(@.name=="web")].image, .spec.containers[] | select(.name=="web") | .image.
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
		case m[8] != "":
			if len(path) == 0 || path[len(path)-1].kind != every {
				return nil, fmt.Errorf("ignore field %q: select wants the items of a list before it", p)
			}
			path[len(path)-1] = selector{kind: byValue, name: m[8], value: m[9]}
		case m[3]+m[4]+m[10]+m[11] != "":
			path = append(path, selector{kind: byName, name: m[3] + m[4] + m[10] + m[11], index: -1})
		default:
			path = append(path, selector{kind: every})
		}
	}
	if len(path) == 0 {
		return nil, fmt.Errorf("ignore field %q: names nothing", p)
	}
	return path, nil
}

// visit calls f with every place in v that a path selects: the map or list that holds it, and how to find it there.
// f tells what to put there, and whether to take it out instead.
func visit(v any, path []selector, at fieldpath.Path, f func(at fieldpath.Path, value any) (replacement any, remove bool)) any {
	switch node := v.(type) {
	case map[string]any:
		name := path[0].name
		child, ok := node[name]
		if path[0].kind != byName || !ok {
			return v
		}
		next := append(at.Copy(), fieldpath.FieldNameElement(name))
		if len(path) > 1 {
			node[name] = visit(child, path[1:], next, f)
		} else if replacement, remove := f(next, child); remove {
			delete(node, name)
		} else {
			node[name] = replacement
		}
	case []any:
		return visitList(node, path, at, f)
	}
	return v
}

func visitList(list []any, path []selector, at fieldpath.Path, f func(fieldpath.Path, any) (any, bool)) any {
	rest := make([]any, 0, len(list))
	for i, item := range list {
		if !path[0].selects(i, item) {
			rest = append(rest, item)
			continue
		}
		next := append(at.Copy(), itemElement(i, item))
		if len(path) > 1 {
			rest = append(rest, visit(item, path[1:], next, f))
		} else if replacement, remove := f(next, item); !remove {
			rest = append(rest, replacement)
		}
	}
	return rest
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

// itemElement names an item of a list as managedFields most often do: by its name, else by its position.
func itemElement(i int, item any) fieldpath.PathElement {
	if m, ok := item.(map[string]any); ok {
		if name, ok := m["name"].(string); ok {
			return fieldpath.KeyElementByFields("name", name)
		}
	}
	return fieldpath.PathElement{Index: &i}
}

// ignorePresent takes fields out of what is applied to an object that exists. A field that only we hold is not taken
// out but written as it is: leaving it out would give it up, and the API server would remove or reset it. We are the manager and
// those whose names begin with family.
//
// Rules about changes by the cluster count too when all is set.
func ignorePresent(object, live *unstructured.Unstructured, rules []workv1.IgnoreField, manager, family string, all bool) error {
	for _, rule := range rules {
		paths, err := pathsOf(rule)
		if err != nil {
			return err
		}
		if live == nil || (rule.Condition == workv1.IgnoreFieldsConditionOnSpokeChange && !all) {
			continue
		}
		for _, path := range paths {
			visit(object.Object, path, nil, func(at fieldpath.Path, _ any) (any, bool) {
				own, others, err := drift.Holds(live.Object, at, manager, family)
				value, found := drift.Lookup(live.Object, at)
				if err != nil || others || !own || !found {
					return nil, true
				}
				return value, false
			})
		}
	}
	return nil
}

// withoutChanging is the manifest without the fields that are ignored once the cluster changes them; false when no
// rule says so.
func withoutChanging(object *unstructured.Unstructured, rules []workv1.IgnoreField) (*unstructured.Unstructured, bool, error) {
	rest, found := object.DeepCopy(), false
	for _, rule := range rules {
		if rule.Condition != workv1.IgnoreFieldsConditionOnSpokeChange {
			continue
		}
		paths, err := pathsOf(rule)
		if err != nil {
			return nil, false, err
		}
		found = true
		for _, path := range paths {
			visit(rest.Object, path, nil, func(fieldpath.Path, any) (any, bool) { return nil, true })
		}
	}
	return rest, found, nil
}
