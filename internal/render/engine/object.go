package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is one manifest as an engine gives it, before its place on a cluster is known.
type Object struct {
	// File and Line that it was rendered from; no line where its lines are not those of the file.
	File string
	Line int
	GVK  schema.GroupVersionKind
	Name string
	// Namespace that the manifest names; empty is none.
	Namespace string
	// JSON of the object: keys sorted, no insignificant space.
	JSON []byte
	// NamespaceOffset is where in JSON a namespace belongs: the comma before it.
	NamespaceOffset int

	hook    string                       // Helm's, if it is one
	defines []musterv1alpha1.APIResource // by a CustomResourceDefinition
}

func (o Object) object() object { return object{file: o.File, line: o.Line, gvk: o.GVK, name: o.Name} }

// Label is the kind and the name.
func (o Object) Label() string { return o.object().label() }

// Invalid is the fault of an object that only its author can mend.
func (o Object) Invalid(format string, args ...any) fleet.Fault {
	return o.object().invalid(format, args...)
}

// NewNamespace makes the manifest of a namespace that a file asks for.
func NewNamespace(file, name string) (Object, error) {
	return object{file: file, gvk: schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, name: name, value: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}.write()
}

// write drops what is not to be applied, and writes an object down.
func (o object) write() (Object, error) {
	delete(o.value, "status")
	dropNullTimes(o.value)
	out := Object{File: o.file, Line: o.line, GVK: o.gvk, Name: o.name, hook: o.hook()}
	if o.gvk.GroupKind() == CRDKind {
		out.defines = definedBy(o.value)
	}
	out.Namespace, _ = nested(o.value, "metadata", "namespace").(string)
	w := objectWriter{}
	w.table(o.value, func(key string, value any) {
		metadata, ok := value.(map[string]any)
		if key != "metadata" || !ok {
			w.value(value)
			return
		}
		w.table(metadata, func(key string, value any) {
			w.value(value)
			if key < "namespace" {
				out.NamespaceOffset = w.Len()
			}
		})
	})
	if w.err != nil {
		return Object{}, o.invalid("cannot be written as JSON")
	}
	out.JSON = bytes.Clone(w.Bytes())
	return out, nil
}

// writeAll writes objects down.
func writeAll(objects []object) ([]Object, error) {
	written := make([]Object, 0, len(objects))
	for _, o := range objects {
		w, err := o.write()
		if err != nil {
			return nil, err
		}
		written = append(written, w)
	}
	return written, nil
}

// objectWriter writes canonical JSON, as fleet.CanonicalJSON does. What it writes has been JSON before.
type objectWriter struct {
	bytes.Buffer
	err error
}

func (w *objectWriter) table(table map[string]any, value func(key string, value any)) {
	w.WriteByte('{')
	for i, key := range slices.Sorted(maps.Keys(table)) {
		if i > 0 {
			w.WriteByte(',')
		}
		w.value(key)
		w.WriteByte(':')
		value(key, table[key])
	}
	w.WriteByte('}')
}

func (w *objectWriter) value(value any) {
	encoder := json.NewEncoder(&w.Buffer)
	encoder.SetEscapeHTML(false)
	w.err = errors.Join(w.err, encoder.Encode(value))
	if w.err == nil {
		w.Truncate(w.Len() - 1) // the line break after it
	}
}

// In gives the JSON of an object in a namespace.
func (o Object) In(namespace string) []byte {
	return slices.Concat(o.JSON[:o.NamespaceOffset], fmt.Appendf(nil, `,"namespace":%q`, namespace), o.JSON[o.NamespaceOffset:])
}

// Without gives the JSON of an object without its namespace, a name in which nothing is escaped.
func (o Object) Without(namespace string) []byte {
	return slices.Concat(o.JSON[:o.NamespaceOffset], o.JSON[o.NamespaceOffset+len(`,"namespace":""`)+len(namespace):])
}

// The kinds that others need first.
var (
	CRDKind       = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	NamespaceKind = schema.GroupKind{Kind: "Namespace"}
)

// dependencyRank puts what others need first: kinds, then namespaces.
func dependencyRank(gvk schema.GroupVersionKind) int {
	switch gvk.GroupKind() {
	case CRDKind:
		return 0
	case NamespaceKind:
		return 1
	}
	return 2
}

// dropNullTimes drops creationTimestamp: null, which the encoders of typed objects leave behind.
func dropNullTimes(value any) {
	switch v := value.(type) {
	case map[string]any:
		if stamp, ok := v["creationTimestamp"]; ok && stamp == nil {
			delete(v, "creationTimestamp")
		}
		for _, below := range v {
			dropNullTimes(below)
		}
	case []any:
		for _, below := range v {
			dropNullTimes(below)
		}
	}
}

// definedBy gives the kinds that a CustomResourceDefinition brings.
func definedBy(crd map[string]any) []musterv1alpha1.APIResource {
	text := func(path ...string) string {
		s, _ := nested(crd, append([]string{"spec"}, path...)...).(string)
		return s
	}
	versions, _ := nested(crd, "spec", "versions").([]any)
	var resources []musterv1alpha1.APIResource
	for _, version := range versions {
		name, _ := nested(version, "name").(string)
		if served, ok := nested(version, "served").(bool); name == "" || ok && !served {
			continue
		}
		resources = append(resources, musterv1alpha1.APIResource{
			Group: text("group"), Version: name, Kind: text("names", "kind"), Resource: text("names", "plural"), Namespaced: text("scope") == "Namespaced",
		})
	}
	return resources
}
