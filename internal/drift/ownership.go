package drift

import (
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// Ownership says who holds the fields of a live object: we by server-side apply, or others.
type Ownership struct {
	object           map[string]any
	own, others, all *fieldpath.Set
}

// OwnershipOf reads managedFields. We are the manager, and the managers with the prefix family; an empty family has no members.
func OwnershipOf(object map[string]any, manager, family string) (Ownership, error) {
	o := Ownership{object: object, own: fieldpath.NewSet(), others: fieldpath.NewSet(), all: fieldpath.NewSet()}
	holders, err := holdersOf(object)
	if err != nil {
		return o, err
	}
	for _, h := range holders {
		ours := h.manager == manager || family != "" && strings.HasPrefix(h.manager, family)
		if ours && h.operation == "Apply" && h.subresource == "" {
			o.own = o.own.Union(h.paths)
		} else {
			o.others = o.others.Union(h.paths)
		}
		o.all = o.all.Union(h.paths)
	}
	return o, nil
}

// Path names a place of an object as managedFields name it: the items of a list by their keys. The object may be the live one
// or a manifest for it. rest is the part of the place that lies within a value that managers hold as one, such as an atomic list.
//
// found is false when no manager holds the list item that the place leads through: the live object does not have it.
func (o Ownership) Path(object any, place []any) (p fieldpath.Path, rest []any, found bool) {
	below := o.all
	for i, step := range place {
		if len(p) > 0 && below.Empty() {
			return p, place[i:], true
		}
		element, next, ok := elementOf(below, object, step)
		if !ok {
			return nil, nil, false
		}
		p, object, below = append(p, element), next, below.WithPrefix(element)
	}
	return p, nil, true
}

func elementOf(held *fieldpath.Set, object, step any) (fieldpath.PathElement, any, bool) {
	if name, ok := step.(string); ok {
		m, _ := object.(map[string]any)
		next, ok := m[name]
		return fieldpath.FieldNameElement(name), next, ok
	}
	list, _ := object.([]any)
	index, ok := step.(int)
	if !ok || index < 0 || index >= len(list) {
		return fieldpath.PathElement{}, nil, false
	}
	element, ok := itemIn(held, list, index)
	return element, list[index], ok
}

// itemIn finds the element under which managers hold an item of a list. A key that the item leaves to its default may be any
// that no other item of the list has.
func itemIn(held *fieldpath.Set, list []any, index int) (fieldpath.PathElement, bool) {
	item, elements := list[index], elementsOf(held)
	for _, element := range elements {
		if matches(element, item, index) {
			return element, true
		}
	}
	for _, element := range elements {
		another := slices.ContainsFunc(list, func(other any) bool { return matches(element, other, -1) })
		if element.Key != nil && !another && mayHaveKey(item, *element.Key) {
			return element, true
		}
	}
	return fieldpath.PathElement{}, false
}

func matches(element fieldpath.PathElement, item any, index int) bool {
	switch {
	case element.Key != nil:
		return hasKey(item, *element.Key)
	case element.Value != nil:
		return value.Equals(value.NewValueInterface(item), *element.Value)
	}
	return element.Index != nil && *element.Index == index
}

func mayHaveKey(item any, key value.FieldList) bool {
	m, ok := item.(map[string]any)
	if !ok {
		return false
	}
	for _, field := range key {
		if have, ok := m[field.Name]; ok && !value.Equals(value.NewValueInterface(have), field.Value) {
			return false
		}
	}
	return true
}

// elementsOf are the elements directly below a node of a set, sorted.
func elementsOf(set *fieldpath.Set) []fieldpath.PathElement {
	elements := fieldpath.MakePathElementSet(0)
	set.Members.Iterate(func(e fieldpath.PathElement) { elements.Insert(e) })
	set.Children.Iterate(func(e fieldpath.PathElement) { elements.Insert(e) })
	all := make([]fieldpath.PathElement, 0, elements.Size())
	elements.Iterate(func(e fieldpath.PathElement) { all = append(all, e) })
	return all
}

// Only gives the part of the live value at a path that we hold and nobody else does. Whoever applies must keep it: the API server
// removes a field when its last manager leaves it out. The items of a list come with their keys. It is false when there is
// no such part.
func (o Ownership) Only(p fieldpath.Path) (any, bool) {
	live, found := lookup(o.object, p)
	if !found || len(p) == 0 {
		return nil, false
	}
	own, others := o.own, o.others
	for _, element := range p[:len(p)-1] {
		own, others = own.WithPrefix(element), others.WithPrefix(element)
	}
	return onlyBelow(live, p[len(p)-1], own, others)
}

// onlyBelow is Only for the element of a node. own and others are what is held below that node.
func onlyBelow(live any, element fieldpath.PathElement, own, others *fieldpath.Set) (any, bool) {
	exclusive := own.Members.Has(element) && !others.Members.Has(element)
	own, others = own.WithPrefix(element), others.WithPrefix(element)
	if own.Empty() {
		return live, exclusive && others.Empty()
	}
	var kept any
	switch live := live.(type) {
	case map[string]any:
		fields := map[string]any{}
		for _, e := range elementsOf(own) {
			if e.FieldName == nil {
				continue
			}
			if child, ok := live[*e.FieldName]; ok {
				if v, ok := onlyBelow(child, e, own, others); ok {
					fields[*e.FieldName] = v
				}
			}
		}
		exclusive = exclusive || len(fields) > 0
		if element.Key != nil {
			for _, key := range *element.Key {
				fields[key.Name] = key.Value.Unstructured()
			}
		}
		kept = fields
	case []any:
		items := []any{}
		for i, item := range live {
			e, ok := itemIn(own, live, i)
			if !ok {
				continue
			}
			if v, ok := onlyBelow(item, e, own, others); ok {
				items = append(items, v)
			}
		}
		exclusive = exclusive || len(items) > 0
		kept = items
	}
	return kept, exclusive && kept != nil
}
