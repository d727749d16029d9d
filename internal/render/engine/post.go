package engine

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

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/memo"
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
	return memo.Digest(parts...)
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
		files.components[BesidePrefix+dir] = true
		components = append(components, path.Join("..", BesidePrefix+dir))
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
		value.file = cmp.Or(strings.TrimPrefix(value.file, BesidePrefix), p.File)
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
		f.File = strings.TrimPrefix(f.File, BesidePrefix)
	}
	if says, ok := strings.CutPrefix(f.Message, "the overlay does not render: "); ok {
		says, _, _ = strings.Cut(says, " (kustomize build ")
		f.Message = "spec.kustomize cannot be applied to what is rendered: " + says
	}
	f.Message = strings.ReplaceAll(f.Message, BesidePrefix, "")
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
	if err != nil || !f.components[path.Dir(name)] || !slices.Contains(KustomizationFiles, path.Base(name)) {
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
