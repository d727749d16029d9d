package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// document is one YAML document of a file.
type document struct {
	file string
	// line at which the document begins; 0 when its lines are not those of the file.
	line int
	text string
	// strict refuses a key that is there twice.
	strict bool
}

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

// splitDocuments splits a file at the lines that begin with three dashes.
func splitDocuments(file, text string) []document {
	var docs []document
	line, begin, start := 1, 1, 0
	flush := func(end int) {
		if strings.TrimSpace(text[start:end]) != "" {
			docs = append(docs, document{file: file, line: begin, text: text[start:end]})
		}
	}
	for at := 0; at < len(text); line++ {
		end := len(text)
		if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if marker := strings.TrimRight(text[at:end], "\r\n"); marker == "---" || strings.HasPrefix(marker, "--- ") || strings.HasPrefix(marker, "---\t") {
			flush(at)
			start, begin = at+3, line
		}
		at = end
	}
	flush(len(text))
	return docs
}

// readDocument reads the objects of one document: none when it is empty, several when it is a list.
func readDocument(doc document) ([]object, error) {
	convert := yaml.YAMLToJSON
	if doc.strict {
		convert = yaml.YAMLToJSONStrict
	}
	if err := fleet.DocumentFits([]byte(doc.text)); err != nil {
		return nil, fleet.Fault{Reason: fleet.ContentRefused, ActionRequiredBy: fleet.User, File: doc.file, Line: doc.line, Message: err.Error()}
	}
	data, err := convert([]byte(doc.text))
	if err != nil {
		f := yamlFault(fleet.ManifestInvalid, doc.file, doc.line, err)
		if doc.line == 0 && f.Line > 0 {
			f.Message = fmt.Sprintf("%s (line %d of what it renders)", f.Message, f.Line)
			f.Line = 0
		}
		return nil, f
	}
	return readJSON(doc.file, doc.line, data)
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
