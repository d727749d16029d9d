package crds

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Default fills the defaults of the object's schema in, as an API server does before it validates: where a
// field with a default is missing, or null without being nullable, inside an object that is there. A
// value that was given, 0 and "" too, stays. An object of a kind that is not defined here stays as it is.
func Default(object map[string]any) {
	if schema := schemaOf(object); schema != nil {
		fill(object, schema)
	}
}

// schemas are the schemas by "<apiVersion> <kind>", in JSON, of the definitions that were asked for: a command reads few of them.
var schemas sync.Map

// schemaOf is the schema of an object; nil is none.
func schemaOf(object map[string]any) map[string]any {
	apiVersion, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	key := apiVersion + " " + kind
	if known, ok := schemas.Load(key); ok {
		return known.(map[string]any)
	}
	group, version, _ := strings.Cut(apiVersion, "/")
	for _, doc := range all() {
		if !bytes.Contains(doc, []byte("\n  group: "+group+"\n")) || !bytes.Contains(doc, []byte("\n    kind: "+kind+"\n")) {
			continue
		}
		if schema := schemaIn(doc, version); schema != nil {
			schemas.Store(key, schema)
			return schema
		}
	}
	return nil
}

// all are the texts of all definitions.
var all = sync.OnceValue(func() [][]byte { return slices.Concat(Hub(), Agent()) })

// schemaIn is the schema of a version of a definition.
func schemaIn(doc []byte, version string) map[string]any {
	var crd struct {
		Spec struct {
			Versions []struct {
				Name   string `json:"name"`
				Schema struct {
					OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	data, err := yaml.ToJSON(withoutDescriptions(doc))
	if err == nil {
		err = json.Unmarshal(data, &crd)
	}
	if err != nil {
		panic(err) // the definitions are part of the binary
	}
	for _, v := range crd.Spec.Versions {
		if v.Name == version {
			return v.Schema.OpenAPIV3Schema
		}
	}
	return nil
}

// withoutDescriptions is a definition without the texts for people, which are most of it: a command that reads a few files would spend more
// time on them than on anything else. They are lines of their own, and those below that are indented more.
func withoutDescriptions(doc []byte) []byte {
	out := make([]byte, 0, len(doc)/2)
	below := -1 // the indentation of a description that goes on
	for line := range bytes.Lines(doc) {
		text := bytes.TrimLeft(line, " ")
		indent := len(line) - len(text)
		if below >= 0 && (indent > below || len(bytes.TrimSpace(text)) == 0) {
			continue
		}
		if below = -1; bytes.HasPrefix(text, []byte("description: ")) { // a field of this name has nothing behind the colon
			below = indent
			continue
		}
		out = append(out, line...)
	}
	return out
}

// fill fills the defaults of the schema into a value of it.
func fill(value any, schema map[string]any) {
	switch value := value.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		others, _ := schema["additionalProperties"].(map[string]any)
		for name, property := range properties {
			if standard, ok := property.(map[string]any)["default"]; ok && absent(value, name, property.(map[string]any)) {
				value[name] = runtime.DeepCopyJSONValue(standard)
			}
		}
		for name, child := range value {
			if property, ok := properties[name].(map[string]any); ok {
				fill(child, property)
			} else if others != nil {
				fill(child, others)
			}
		}
	case []any:
		items, _ := schema["items"].(map[string]any)
		for _, item := range value {
			fill(item, items)
		}
	}
}

// absent says whether a field counts as missing: a null does, where the schema does not allow it.
func absent(object map[string]any, name string, schema map[string]any) bool {
	value, ok := object[name]
	return !ok || value == nil && schema["nullable"] != true
}
