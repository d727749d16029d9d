package render

import (
	"encoding/json"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A schema may apply several schemas to one value, each of which applies several, and evaluating goes through all of them
// again and again. What it takes is added up before, once for each schema and value.

// schemaLimits are for the schemas of a chart and its subcharts. A value is held against a few schemas, and the largest charts
// have some thousand values.
var schemaLimits = limits{steps: 1_000_000}

// instance is a value that schemas are applied to.
type instance struct {
	members map[string]*instance
	items   []*instance
	size    int64 // of all of it: values, and texts in parts
}

func instanceOf(value any) *instance {
	i := &instance{size: 1}
	switch v := value.(type) {
	case string:
		i.size += int64(len(v)) / bytesPerStep
	case []any:
		for _, below := range v {
			item := instanceOf(below)
			i.items = append(i.items, item)
			i.size += item.size
		}
	case map[string]any:
		i.members = make(map[string]*instance, len(v))
		for key, below := range v {
			member := instanceOf(below)
			i.members[key] = member
			i.size += member.size + int64(len(key))/bytesPerStep
		}
	}
	return i
}

// pairing is one schema applied to one value.
type pairing struct {
	schema *jsonschema.Schema
	value  *instance
}

// toll is what a pairing takes: steps, and how many schemas it applies to the same value inside each other, each of
// which is compared with those around it.
type toll struct{ steps, height int64 }

// evaluation are the tolls of pairings.
type evaluation map[pairing]toll

// tooMany is the toll of what has no end, or none that is seen here.
var tooMany = toll{steps: 1 << 40}

// of adds up all that a schema applies, whether or not it comes to it.
func (e evaluation) of(s *jsonschema.Schema, v *instance) toll {
	if s == nil {
		return toll{}
	}
	at := pairing{s, v}
	if known, ok := e[at]; ok {
		return known
	}
	if s.DynamicRef != nil || s.RecursiveRef != nil || int64(len(e)) > schemaLimits.steps {
		return tooMany
	}
	e[at] = tooMany // while it is added up: it may lead back to itself
	w := toll{steps: 1 + int64(len(s.Required)) + int64(len(v.members)) + int64(len(v.items))}
	if s.Enum != nil {
		w.steps += product(int64(len(s.Enum.Values)), v.size)
	}
	if s.Const != nil || s.UniqueItems || s.Format != nil {
		w.steps += 20 * v.size // few items are compared, each with each
	}
	for _, below := range inPlace(s) {
		applied := e.of(below, v)
		w.height = max(w.height, 1+applied.height)
		w.add(applied)
	}
	e.members(s, v, &w)
	e.items(s, v, &w)
	w.steps = min(w.steps+w.height, tooMany.steps)
	e[at] = w
	return w
}

func (w *toll) add(other toll) { w.steps = min(w.steps+other.steps, tooMany.steps) }

// inPlace are the schemas that a schema applies to the same value.
func inPlace(s *jsonschema.Schema) []*jsonschema.Schema {
	all := []*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else}
	all = append(append(append(all, s.AllOf...), s.AnyOf...), s.OneOf...)
	for _, below := range s.DependentSchemas {
		all = append(all, below)
	}
	for _, below := range s.Dependencies {
		all = append(all, schemaOf(below))
	}
	return all
}

// schemaOf is the schema of a keyword that may also be something else, or nil.
func schemaOf(keyword any) *jsonschema.Schema {
	s, _ := keyword.(*jsonschema.Schema)
	return s
}

func (e evaluation) members(s *jsonschema.Schema, v *instance, w *toll) {
	for name, member := range v.members {
		own, named := s.Properties[name]
		w.add(e.of(own, member))
		if !named {
			w.add(e.of(schemaOf(s.AdditionalProperties), member))
		}
		for _, below := range s.PatternProperties {
			w.add(e.of(below, member))
		}
		w.add(e.of(s.UnevaluatedProperties, member))
		if s.PropertyNames != nil {
			w.add(e.of(s.PropertyNames, instanceOf(name)))
		}
	}
}

func (e evaluation) items(s *jsonschema.Schema, v *instance, w *toll) {
	listed, _ := s.Items.([]*jsonschema.Schema)
	for i, item := range v.items {
		for _, positional := range [][]*jsonschema.Schema{listed, s.PrefixItems} {
			if i < len(positional) {
				w.add(e.of(positional[i], item))
			}
		}
		for _, below := range []*jsonschema.Schema{schemaOf(s.Items), schemaOf(s.AdditionalItems), s.Items2020, s.Contains, s.UnevaluatedItems} {
			w.add(e.of(below, item))
		}
	}
}

// schemaPattern is a regular expression of a schema, on the meter.
type schemaPattern struct {
	*pattern
	meter *meter
}

// MatchString tells nothing once the bound is passed.
func (p schemaPattern) MatchString(text string) bool {
	return p.once(p.meter, text) == nil && p.Regexp.MatchString(text)
}

// patternEngine compiles the regular expressions of a schema.
func patternEngine(m *meter) jsonschema.RegexpEngine {
	return func(expression string) (jsonschema.Regexp, error) {
		p, err := m.pattern(expression)
		return schemaPattern{p, m}, err
	}
}

// hugeNumber tells whether there is a number in a schema that is far longer than it is written.
func hugeNumber(doc any) bool {
	switch v := doc.(type) {
	case json.Number:
		_, exponent, _ := strings.Cut(strings.ToLower(v.String()), "e")
		return len(exponent) > 4
	case []any:
		for _, below := range v {
			if hugeNumber(below) {
				return true
			}
		}
	case map[string]any:
		for _, below := range v {
			if hugeNumber(below) {
				return true
			}
		}
	}
	return false
}
