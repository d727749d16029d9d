package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// object is one manifest as an engine gave it.
type object struct {
	file  string
	line  int
	gvk   schema.GroupVersionKind
	name  string
	value map[string]any
}

func (o object) label() string { return o.gvk.Kind + " " + o.name }

func (o object) invalid(format string, args ...any) fleet.Fault {
	return fleet.Fault{Reason: fleet.ManifestInvalid, ActionRequiredBy: fleet.User, File: o.file, Line: o.line, Object: strings.TrimSpace(o.label()), Message: fmt.Sprintf(format, args...)}
}

// readFile reads the objects of a file of manifests. A field that is there twice is a fault: one of the two would be lost.
func readFile(file, text string) ([]object, error) {
	return readText(file, text, func(y fleet.YAML) error {
		lines, twice, err := y.Lines()
		if err != nil {
			return err
		}
		if twice != "" {
			return object{file: file, line: lines[twice]}.invalid("field %q is there twice: keep one", twice)
		}
		return nil
	})
}

// readRendered reads the objects of one document that a template gave; its lines are none of the file's.
func readRendered(file, text string) ([]object, error) {
	objects, err := readText(file, text, func(fleet.YAML) error { return nil })
	for i := range objects {
		objects[i].line = 0
	}
	if f, ok := fleet.AsFault(err); ok && f.Line > 0 {
		f.Message, f.Line = fmt.Sprintf("%s (line %d of what it renders)", f.Message, f.Line), 0
		err = f
	}
	return objects, err
}

// readText reads the objects of a text: none for an empty document, several for a list.
func readText(file, text string, check func(fleet.YAML) error) ([]object, error) {
	documents, failed := fleet.ReadManifests(text)
	var objects []object
	for _, y := range documents {
		if err := check(y); err != nil {
			return nil, yamlFault(fleet.ManifestInvalid, file, err)
		}
		found, err := readJSON(file, y.Line, y.JSON)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	if failed != nil {
		return nil, yamlFault(fleet.ManifestInvalid, file, failed)
	}
	return objects, nil
}

// readJSON reads the objects of a JSON document. Numbers keep their text.
func readJSON(file string, line int, data []byte) ([]object, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, object{file: file, line: line}.invalid("not a manifest")
	}
	if value == nil {
		return nil, nil
	}
	table, ok := value.(map[string]any)
	if !ok {
		return nil, object{file: file, line: line}.invalid("not a manifest: a map with apiVersion and kind is wanted")
	}
	return readObject(object{file: file, line: line, value: table})
}

// readObject checks that an object says what it is, and opens lists.
func readObject(o object) ([]object, error) {
	if len(o.value) == 0 {
		return nil, nil
	}
	kind, _ := o.value["kind"].(string)
	version, _ := o.value["apiVersion"].(string)
	o.gvk.Kind = kind
	if items, ok := o.value["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		return readItems(o, items)
	}
	o.name, _ = nested(o.value, "metadata", "name").(string)
	group, err := schema.ParseGroupVersion(version)
	switch {
	case version == "" || err != nil:
		return nil, o.invalid("apiVersion is missing or wrong")
	case kind == "":
		return nil, o.invalid("kind is missing")
	case o.name == "" && nested(o.value, "metadata", "generateName") != nil:
		return nil, o.invalid("generateName makes another object at every apply: give it a name")
	case o.name == "":
		return nil, o.invalid("metadata.name is missing, or is not text")
	}
	o.gvk = group.WithKind(kind)
	return []object{o}, o.checkMetadata()
}

func readItems(list object, items []any) ([]object, error) {
	var objects []object
	for i, item := range items {
		table, ok := item.(map[string]any)
		if !ok {
			return nil, list.invalid("item %d of the list is not a manifest", i)
		}
		found, err := readObject(object{file: list.file, line: list.line, value: table})
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

// checkMetadata finds what every API server refuses.
func (o object) checkMetadata() error {
	metadata, _ := o.value["metadata"].(map[string]any)
	if _, problem := fleet.WrongMetadata(o.gvk.Group, o.gvk.Kind, metadata); problem != "" {
		return o.invalid("%s", problem)
	}
	return nil
}

func nested(value any, path ...string) any {
	for _, key := range path {
		table, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = table[key]
	}
	return value
}

// rendered are the objects of one run of an engine, before anything about the cluster's APIs is known.
type rendered struct {
	objects []renderedObject
	kinds   []schema.GroupVersionKind    // distinct, sorted
	defines []musterv1alpha1.APIResource // by the CRDs among the objects
	fault   error                        // an object that cannot be written down
}

type renderedObject struct {
	object
	namespace string
	json      []byte
}

// newRendered drops what is not to be applied, orders the objects, and writes them down.
func newRendered(objects []object) *rendered {
	out := &rendered{}
	slices.SortStableFunc(objects, func(a, b object) int { return order(a.gvk) - order(b.gvk) })
	seen := map[schema.GroupVersionKind]bool{}
	for _, o := range objects {
		delete(o.value, "status")
		dropNullTimes(o.value)
		if o.gvk.GroupKind() == crdKind {
			out.defines = append(out.defines, definedBy(o.value)...)
		}
		if !seen[o.gvk] {
			seen[o.gvk] = true
			out.kinds = append(out.kinds, o.gvk)
		}
		data, err := fleet.CanonicalJSON(o.value)
		if err != nil {
			out.fault = o.invalid("cannot be written as JSON")
			return out
		}
		namespace, _ := nested(o.value, "metadata", "namespace").(string)
		o.value = nil
		out.objects = append(out.objects, renderedObject{object: o, namespace: namespace, json: data})
	}
	slices.SortFunc(out.kinds, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return out
}

func sizeOf(objects []object) int64 {
	var size int64
	for _, o := range objects {
		data, _ := json.Marshal(o.value)
		size += int64(len(data)) + 512
	}
	return size
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

// Defines gives the kinds that the CRDs of a content bring to its cluster: the Extra of other applications there.
func Defines(content *fleet.Content) ([]musterv1alpha1.APIResource, error) {
	var resources []musterv1alpha1.APIResource
	for _, manifest := range content.Manifests {
		if manifest.Key.Group != crdKind.Group || manifest.Key.Kind != crdKind.Kind {
			continue
		}
		var crd map[string]any
		if err := json.Unmarshal(manifest.JSON, &crd); err != nil {
			return nil, fmt.Errorf("read %s: %w", manifest.Key, err)
		}
		resources = append(resources, definedBy(crd)...)
	}
	return resources, nil
}

// finish gives each object its place on a cluster: the plural and scope of its kind, and its namespace.
func (r *Renderer) finish(in Input, resolved *Resolved, key string, out *rendered) (*fleet.Content, error) {
	if out.fault != nil {
		return nil, out.fault
	}
	f := finisher{namespace: namespaceOf(resolved.Application), found: map[schema.GroupVersionKind]musterv1alpha1.APIResource{}}
	parts := []string{key, f.namespace}
	if resolved.Application.Spec.Destination.CreateNamespace {
		f.creator = in.File
		parts = append(parts, "create", in.File)
	}
	for _, gvk := range out.kinds {
		resource, ok := in.lookup(gvk, out.defines)
		if !ok {
			return nil, in.unknownKind(gvk, out)
		}
		f.found[gvk] = resource
		parts = append(parts, fmt.Sprint(resource))
	}
	return remember(r.memo, "content", digestOf(parts...), func() (*fleet.Content, int64, error) { return f.finish(out) })
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

func (in Input) unknownKind(gvk schema.GroupVersionKind, out *rendered) error {
	i := slices.IndexFunc(out.objects, func(o renderedObject) bool { return o.gvk == gvk })
	o := out.objects[i]
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
	seen      map[fleet.ObjectKey]object
	content   fleet.Content
	size      int64
}

func (f *finisher) finish(out *rendered) (*fleet.Content, int64, error) {
	f.seen = map[fleet.ObjectKey]object{}
	if f.creator != "" && !slices.ContainsFunc(out.objects, func(o renderedObject) bool {
		return o.gvk.GroupKind() == namespaceKind && o.name == f.namespace
	}) {
		if err := f.addNamespace(); err != nil {
			return nil, 0, err
		}
	}
	for _, o := range out.objects {
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
	data, err := fleet.CanonicalJSON(map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": f.namespace},
	})
	if err != nil {
		return errors.Join(fmt.Errorf("namespace %s", f.namespace), err)
	}
	return f.add(renderedObject{object: object{file: f.creator, gvk: gvk, name: f.namespace}, json: data})
}

func (f *finisher) add(o renderedObject) error {
	resource := f.found[o.gvk]
	data := o.json
	switch {
	case !resource.Namespaced && o.namespace != "":
		return o.invalid("metadata.namespace is set and the kind belongs to the whole cluster: take the namespace out")
	case resource.Namespaced && o.namespace == "":
		var err error
		if data, err = withNamespace(o.json, f.namespace); err != nil {
			return fmt.Errorf("%s: %w", o.label(), err)
		}
		o.namespace = f.namespace
	}
	key := fleet.ObjectKey{Group: o.gvk.Group, Version: o.gvk.Version, Kind: o.gvk.Kind, Resource: resource.Resource, Namespace: o.namespace, Name: o.name}
	if other, ok := f.seen[key.Identity()]; ok {
		return o.invalid("is there twice: also in %s", position(other.file, other.line))
	}
	f.seen[key.Identity()] = o.object
	f.content.Manifests = append(f.content.Manifests, fleet.Manifest{Key: key, JSON: data, File: o.file})
	f.size += int64(len(data)) + 256
	return nil
}

func withNamespace(data []byte, namespace string) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value map[string]any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("set the namespace: %w", err)
	}
	metadata, ok := value["metadata"].(map[string]any)
	if !ok {
		return nil, errors.New("set the namespace: no metadata")
	}
	metadata["namespace"] = namespace
	return fleet.CanonicalJSON(value)
}
