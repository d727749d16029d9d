package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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

// write drops what is not to be applied, and writes an object down.
func (o object) write() (Object, error) {
	delete(o.value, "status")
	dropNullTimes(o.value)
	out := Object{File: o.file, Line: o.line, GVK: o.gvk, Name: o.name, hook: o.hook()}
	if o.gvk.GroupKind() == crdKind {
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

// in gives the JSON of an object in a namespace.
func (o Object) in(namespace string) []byte {
	return slices.Concat(o.JSON[:o.NamespaceOffset], fmt.Appendf(nil, `,"namespace":%q`, namespace), o.JSON[o.NamespaceOffset:])
}

// without gives the JSON of an object without its namespace, a name in which nothing is escaped.
func (o Object) without(namespace string) []byte {
	return slices.Concat(o.JSON[:o.NamespaceOffset], o.JSON[o.NamespaceOffset+len(`,"namespace":""`)+len(namespace):])
}

var (
	crdKind       = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	namespaceKind = schema.GroupKind{Kind: "Namespace"}
)

// order puts what others need first: kinds, then namespaces.
func order(gvk schema.GroupVersionKind) int {
	switch gvk.GroupKind() {
	case crdKind:
		return 0
	case namespaceKind:
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

// finish gives each object its place on a cluster: the plural and scope of its kind, and its namespace.
func (r *Renderer) finish(in Input, resolved *Resolved, out *result) (*fleet.Content, error) {
	f := finisher{namespace: namespaceOf(resolved.Application), found: map[schema.GroupVersionKind]musterv1alpha1.APIResource{}}
	parts := []string{out.key, f.namespace}
	if resolved.Application.Spec.Destination.CreateNamespace {
		f.creator = in.File
		parts = append(parts, "create", in.File)
	}
	for _, gvk := range out.rendered.kinds() {
		resource, ok := in.lookup(gvk, out.rendered.Defines)
		if !ok {
			return nil, in.unknownKind(gvk, out.rendered)
		}
		f.found[gvk] = resource
		parts = append(parts, fmt.Sprint(resource))
	}
	return remember(r.memo, "content", digestOf(parts...), func() (*fleet.Content, int64, error) { return f.finish(out.rendered) })
}

// kinds of the objects, each once, sorted.
func (r *Rendered) kinds() []schema.GroupVersionKind {
	seen := map[schema.GroupVersionKind]bool{}
	for _, o := range r.Objects {
		seen[o.GVK] = true
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
}

// lookup finds a kind in what the cluster serves, what other applications bring there, and what this one brings.
func (in Input) lookup(gvk schema.GroupVersionKind, defines []musterv1alpha1.APIResource) (musterv1alpha1.APIResource, bool) {
	if resource, ok := in.apis().Lookup(gvk); ok {
		return resource, true
	}
	for _, list := range [][]musterv1alpha1.APIResource{defines, in.Extra} {
		for _, resource := range list {
			if resource.Group == gvk.Group && resource.Version == gvk.Version && resource.Kind == gvk.Kind {
				return resource, true
			}
		}
	}
	return musterv1alpha1.APIResource{}, false
}

func (in Input) unknownKind(gvk schema.GroupVersionKind, out *Rendered) error {
	i := slices.IndexFunc(out.Objects, func(o Object) bool { return o.GVK == gvk })
	o := out.Objects[i].object()
	message := fmt.Sprintf("cluster %s does not serve kind %s of %s, and no application placed there brings it", in.Cluster.Name, gvk.Kind, gvk.GroupVersion())
	if !in.apis().Known {
		message += " (the cluster has not reported its APIs: only Kubernetes' own kinds are assumed)"
	}
	message += ": place an application with its CustomResourceDefinition there, or correct apiVersion and kind"
	return fleet.Fault{Reason: fleet.UnknownKind, ActionRequiredBy: fleet.User, File: o.file, Line: o.line, Object: o.label(), Message: message}
}

// finisher completes objects for all clusters that know the same kinds and get the same namespace.
type finisher struct {
	namespace string
	creator   string // the application's file, when the namespace is to be created
	found     map[schema.GroupVersionKind]musterv1alpha1.APIResource
	seen      map[fleet.ObjectKey]Object
	content   fleet.Content
	size      int64
}

func (f *finisher) finish(out *Rendered) (*fleet.Content, int64, error) {
	f.seen = map[fleet.ObjectKey]Object{}
	if f.creator != "" && !slices.ContainsFunc(out.Objects, func(o Object) bool {
		return o.GVK.GroupKind() == namespaceKind && o.Name == f.namespace
	}) {
		if err := f.addNamespace(); err != nil {
			return nil, 0, err
		}
	}
	for _, o := range out.Objects {
		if err := f.add(o); err != nil {
			return nil, 0, err
		}
	}
	h := sha256.New()
	for _, manifest := range f.content.Manifests {
		h.Write(manifest.JSON)
		h.Write([]byte{'\n'})
	}
	f.content.Digest = hex.EncodeToString(h.Sum(nil))
	return &f.content, f.size, nil
}

func (f *finisher) addNamespace() error {
	gvk := schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
	f.found[gvk] = musterv1alpha1.APIResource{Version: "v1", Kind: "Namespace", Resource: "namespaces"}
	o, err := object{file: f.creator, gvk: gvk, name: f.namespace, value: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": f.namespace},
	}}.write()
	if err != nil {
		return err
	}
	return f.add(o)
}

func (f *finisher) add(o Object) error {
	resource, data := f.found[o.GVK], o.JSON
	switch {
	case !resource.Namespaced && o.Namespace != "": // charts write it everywhere, and an API server drops it
		o.Namespace, data = "", o.without(o.Namespace)
	case resource.Namespaced && o.Namespace == "":
		o.Namespace, data = f.namespace, o.in(f.namespace)
	}
	key := fleet.ObjectKey{Group: o.GVK.Group, Version: o.GVK.Version, Kind: o.GVK.Kind, Resource: resource.Resource, Namespace: o.Namespace, Name: o.Name}
	if other, ok := f.seen[key.Identity()]; ok {
		return o.object().invalid("is there twice: also in %s", position(other.File, other.Line))
	}
	f.seen[key.Identity()] = o
	f.content.Manifests = append(f.content.Manifests, fleet.Manifest{Key: key, JSON: data, File: o.File})
	f.size += int64(len(data)) + 256
	return nil
}
