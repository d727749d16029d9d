package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

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

// readCRDs reads the objects of a file in crds/.
func readCRDs(file, text string) ([]object, error) {
	return readText(file, text, func(fleet.YAML) error { return nil })
}

// readText reads the objects of a text: none for an empty document, several for a list.
func readText(file, text string, check func(fleet.YAML) error) ([]object, error) {
	documents, failed := fleet.ReadYAML(text)
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
