package render

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/expression"
	"github.com/muster-io/muster/internal/fleet"
)

// Post is what is changed in the objects of a renderer, whichever it is.
type Post struct {
	// File and Line of the application say where faults are.
	File string
	Line int
	// Kustomization holds images, replicas and patches, as JSON.
	Kustomization []byte
	// Components are folders of overlays in the fleet's tree, applied in order before the above.
	Components []string
	// Labels and Annotations are put on every object.
	Labels, Annotations map[string]string
}

func (p *Post) digest() string {
	if p == nil {
		return ""
	}
	parts := []string{p.File, strconv.Itoa(p.Line), string(p.Kustomization), strings.Join(p.Components, "\n")}
	for _, pairs := range []map[string]string{p.Labels, p.Annotations} {
		for _, key := range slices.Sorted(maps.Keys(pairs)) {
			parts = append(parts, key, pairs[key])
		}
		parts = append(parts, "")
	}
	return digestOf(parts...)
}

// postOf says what is changed after rendering, nil for nothing.
func postOf(in Input, resolved *Resolved) (*Post, error) {
	spec := &resolved.Application.Spec
	p := &Post{File: in.File, Labels: spec.CommonMetadata.Labels, Annotations: spec.CommonMetadata.Annotations}
	if _, problem := fleet.WrongMetadata("", "", map[string]any{"name": "x", "labels": anyOf(p.Labels), "annotations": anyOf(p.Annotations)}); problem != "" {
		return nil, in.at(fleet.DefinitionInvalid, resolved.fieldOf("commonMetadata"), problem)
	}
	if k := spec.Kustomize; k.ChangesObjects() {
		p.Line = in.lineOf(resolved.fieldOf("kustomize"))
		for i, name := range k.Components {
			field := resolved.fieldOf(fmt.Sprintf("kustomize.components[%d]", i))
			dir, err := inTree(path.Join(path.Dir(in.File), name))
			if err != nil {
				return nil, in.at(fleet.ContentMissing, field, err.Error())
			}
			if !hasAny(in.Tree, dir, kustomizationFiles...) {
				return nil, in.at(fleet.ContentMissing, field, fmt.Sprintf("%s holds no kustomization.yaml: name a folder beside the application that does", dir))
			}
			p.Components = append(p.Components, dir)
		}
		var err error
		if p.Kustomization, err = fleet.CanonicalJSON(musterv1alpha1.Kustomize{Images: k.Images, Replicas: k.Replicas, Patches: patchesOf(k.Patches)}); err != nil {
			return nil, fmt.Errorf("spec.kustomize: %w", err)
		}
	}
	if p.Kustomization == nil && len(p.Labels)+len(p.Annotations) == 0 {
		return nil, nil
	}
	return p, nil
}

// patchesOf are patches as Kustomize reads them: a list of operations that begins with a bracket has to be JSON there.
func patchesOf(patches []musterv1alpha1.KustomizePatch) []musterv1alpha1.KustomizePatch {
	patches = slices.Clone(patches)
	for i, p := range patches {
		if !strings.HasPrefix(strings.TrimSpace(p.Patch), "[") {
			continue
		}
		if documents, err := fleet.ReadYAML(p.Patch); err == nil && len(documents) == 1 {
			patches[i].Patch = string(documents[0].JSON)
		}
	}
	return patches
}

func anyOf(pairs map[string]string) map[string]any {
	out := map[string]any{}
	for key, value := range pairs {
		out[key] = value
	}
	return out
}

// apply changes objects: Kustomize's part first, then labels and annotations.
func (p *Post) apply(host Host, objects []Object) ([]Object, error) {
	var err error
	if p.Kustomization != nil {
		if objects, err = p.kustomize(host, objects); err != nil {
			return nil, err
		}
	}
	if len(p.Labels)+len(p.Annotations) == 0 {
		return objects, nil
	}
	out := make([]Object, 0, len(objects))
	for _, o := range objects {
		value, err := o.read()
		if err != nil {
			return nil, err
		}
		mark(value.value, "labels", p.Labels)
		mark(value.value, "annotations", p.Annotations)
		written, err := value.write()
		if err != nil {
			return nil, err
		}
		out = append(out, written)
	}
	return out, nil
}

func mark(value map[string]any, field string, pairs map[string]string) {
	if len(pairs) == 0 {
		return
	}
	metadata, _ := value["metadata"].(map[string]any)
	marks, _ := metadata[field].(map[string]any)
	if marks == nil {
		marks = map[string]any{}
		metadata[field] = marks
	}
	for key, text := range pairs {
		marks[key] = text
	}
}

// read is the object that was written.
func (o Object) read() (object, error) {
	found, err := readJSON(o.File, o.Line, o.JSON)
	if err != nil {
		return object{}, err
	}
	if len(found) != 1 {
		return object{}, o.object().invalid("is a list")
	}
	return found[0], nil
}

const (
	// postDir is the folder of the kustomization that is made here, with the objects as its resource.
	postDir     = "~rendered"
	postObjects = "objects.yaml"
	// placeAnnotation is on an object while Kustomize has it: which one it was.
	placeAnnotation = "muster.dev/rendered-object"
)

// kustomize makes a kustomization of the objects, and of what is said about them, and builds it.
func (p *Post) kustomize(host Host, objects []Object) ([]Object, error) {
	files := &postFiles{Host: host, components: map[string]bool{}, files: map[string][]byte{}}
	var all bytes.Buffer
	for i, o := range objects {
		value, err := o.read()
		if err != nil {
			return nil, err
		}
		mark(value.value, "annotations", map[string]string{placeAnnotation: strconv.Itoa(i)})
		data, err := json.Marshal(value.value)
		if err != nil {
			return nil, value.invalid("cannot be written as JSON")
		}
		all.Write(data)
		all.WriteString("\n---\n")
	}
	kustomization := map[string]any{}
	if err := json.Unmarshal(p.Kustomization, &kustomization); err != nil {
		return nil, fmt.Errorf("spec.kustomize: %w", err)
	}
	kustomization["apiVersion"], kustomization["kind"] = "kustomize.config.k8s.io/v1beta1", "Kustomization"
	kustomization["resources"] = []string{postObjects}
	kustomization["buildMetadata"] = []string{"originAnnotations"}
	var components []string
	for _, dir := range p.Components {
		files.components[besidePrefix+dir] = true
		components = append(components, path.Join("..", besidePrefix+dir))
	}
	kustomization["components"] = components
	data, err := json.Marshal(kustomization)
	if err != nil {
		return nil, fmt.Errorf("spec.kustomize: %w", err)
	}
	files.files[path.Join(postDir, "kustomization.yaml")] = data
	files.files[path.Join(postDir, postObjects)] = all.Bytes()
	changed, err := kustomize(&treeFiles{tree: files, overlay: postDir, addedOrigins: true}, postDir)
	if err != nil {
		return nil, p.fault(err)
	}
	return p.placed(changed, objects)
}

// placed gives objects the files and lines that they were rendered from.
func (p *Post) placed(changed, objects []Object) ([]Object, error) {
	out := make([]Object, 0, len(changed))
	for _, c := range changed {
		value, err := c.read()
		if err != nil {
			return nil, err
		}
		value.file = cmp.Or(strings.TrimPrefix(value.file, besidePrefix), p.File)
		annotations, _ := nested(value.value, "metadata", "annotations").(map[string]any)
		place, _ := annotations[placeAnnotation].(string)
		if i, err := strconv.Atoi(place); err == nil && i < len(objects) {
			value.file, value.line = objects[i].File, objects[i].Line
			dropAnnotation(value.value, placeAnnotation)
		}
		written, err := value.write()
		if err != nil {
			return nil, err
		}
		out = append(out, written)
	}
	return out, nil
}

// fault is at the application, or at the file of a component.
func (p *Post) fault(err error) error {
	f, ok := fleet.AsFault(err)
	if !ok {
		return err
	}
	switch {
	case strings.HasPrefix(f.File, postDir):
		f.File, f.Line = p.File, p.Line
	default:
		f.File = strings.TrimPrefix(f.File, besidePrefix)
	}
	if says, ok := strings.CutPrefix(f.Message, "the overlay does not render: "); ok {
		says, _, _ = strings.Cut(says, " (kustomize build ")
		f.Message = "spec.kustomize cannot be applied to what is rendered: " + says
	}
	f.Message = strings.ReplaceAll(f.Message, besidePrefix, "")
	return f
}

// postFiles are the fleet's files with the kustomization that is made here. A component is read as one, whatever kind it says
// that it is: any overlay without resources of its own is one.
type postFiles struct {
	Host
	files      map[string][]byte
	components map[string]bool
}

// Stat tells whether there is a file or folder.
func (f *postFiles) Stat(name string) (fs.FileInfo, error) {
	if data, ok := f.files[name]; ok {
		return madeFile{name: path.Base(name), size: int64(len(data))}, nil
	}
	if name == postDir {
		return madeFile{name: postDir, dir: true}, nil
	}
	return fs.Stat(f.Host, name)
}

// ReadFile reads a file.
func (f *postFiles) ReadFile(name string) ([]byte, error) {
	if data, ok := f.files[name]; ok {
		return data, nil
	}
	data, err := f.Host.ReadFile(name)
	if err != nil || !f.components[path.Dir(name)] || !slices.Contains(kustomizationFiles, path.Base(name)) {
		return data, err
	}
	return asComponent(data), nil
}

// asComponent is a kustomization as a component; one that cannot be read stays as it is: Kustomize says what is wrong.
func asComponent(data []byte) []byte {
	documents, err := fleet.ReadYAML(string(data))
	if err != nil || len(documents) != 1 {
		return data
	}
	var table map[string]any
	if json.Unmarshal(documents[0].JSON, &table) != nil || table == nil {
		return data
	}
	if kind, _ := table["kind"].(string); kind != "" && kind != "Kustomization" {
		return data
	}
	table["apiVersion"], table["kind"] = "kustomize.config.k8s.io/v1alpha1", "Component"
	out, err := json.Marshal(table)
	if err != nil {
		return data
	}
	return out
}

// ReadDir lists a folder.
func (f *postFiles) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == postDir {
		return nil, errors.New("not listed")
	}
	return f.Host.ReadDir(name)
}

// madeFile is what a file or folder looks like that no tree has.
type madeFile struct {
	name string
	size int64
	dir  bool
}

func (m madeFile) Name() string       { return m.name }
func (m madeFile) Size() int64        { return m.size }
func (m madeFile) ModTime() time.Time { return time.Time{} }
func (m madeFile) IsDir() bool        { return m.dir }
func (m madeFile) Sys() any           { return nil }
func (m madeFile) Mode() fs.FileMode {
	if m.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// mergeObjects merges what an override says of the objects and of where they go: maps merge, lists replace.
func (r *Resolved) mergeObjects(override *musterv1alpha1.Override, field string) {
	spec := &r.Application.Spec
	set := func(path string) { r.fields[path] = field + "." + path }
	if k := override.Kustomize; k != nil {
		if spec.Kustomize == nil {
			spec.Kustomize = &musterv1alpha1.Kustomize{}
			set("kustomize")
		}
		k, into := k.DeepCopy(), spec.Kustomize
		replaceText(&into.Path, k.Path, func() { set("kustomize.path") })
		replaceList(&into.Components, k.Components, func() { set("kustomize.components") })
		replaceList(&into.Images, k.Images, func() { set("kustomize.images") })
		replaceList(&into.Replicas, k.Replicas, func() { set("kustomize.replicas") })
		replaceList(&into.Patches, k.Patches, func() { set("kustomize.patches") })
	}
	if y := override.YAML; y != nil {
		if spec.YAML == nil {
			spec.YAML = &musterv1alpha1.YAML{}
		}
		y, into := y.DeepCopy(), spec.YAML
		replaceList(&into.Include, y.Include, func() { set("yaml.include") })
		replaceList(&into.Exclude, y.Exclude, func() { set("yaml.exclude") })
		if y.Recurse != nil {
			into.Recurse = y.Recurse
		}
	}
	mergePairs(&spec.CommonMetadata.Labels, override.CommonMetadata.Labels, func(key string) { set("commonMetadata.labels." + key) })
	mergePairs(&spec.CommonMetadata.Annotations, override.CommonMetadata.Annotations, func(key string) { set("commonMetadata.annotations." + key) })
	if d := override.Destination; d != nil {
		replaceText(&spec.Destination.Namespace, d.Namespace, func() { set("destination.namespace") })
		spec.Destination.CreateNamespace = spec.Destination.CreateNamespace || d.CreateNamespace
	}
}

func replaceText(into *string, with string, replaced func()) {
	if with != "" {
		*into = with
		replaced()
	}
}

// replaceList replaces a list by one that is set, also by an empty one.
func replaceList[T any](into *[]T, with []T, replaced func()) {
	if with != nil {
		*into = with
		replaced()
	}
}

func mergePairs(into *map[string]string, with map[string]string, replaced func(key string)) {
	for _, key := range slices.Sorted(maps.Keys(with)) {
		if *into == nil {
			*into = map[string]string{}
		}
		(*into)[key] = with[key]
		replaced(key)
	}
}

// evaluateIn evaluates the expressions in all texts of a part of the application.
func evaluateIn[T any](r *Resolved, in Input, scope *expression.Scope, path string, part *T) error {
	if part == nil {
		return nil
	}
	data, err := json.Marshal(part)
	if err != nil {
		return fmt.Errorf("spec.%s: %w", path, err)
	}
	if !bytes.Contains(data, []byte(expression.Open)) {
		return nil
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return fmt.Errorf("spec.%s: %w", path, err)
	}
	if value, err = r.evaluateValue(in, scope, path, value); err != nil {
		return err
	}
	if data, err = json.Marshal(value); err != nil {
		return fmt.Errorf("spec.%s: %w", path, err)
	}
	var fresh T
	if err := json.Unmarshal(data, &fresh); err != nil {
		return in.at(fleet.ExpressionFailed, r.fieldOf(path), "an expression gives another type than the field has: a text is wanted")
	}
	*part = fresh
	return nil
}
