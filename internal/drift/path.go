package drift

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"strconv"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// lookup finds what a path of managedFields points at.
func lookup(v any, p fieldpath.Path) (any, bool) {
	for _, element := range p {
		var ok bool
		if v, ok = step(v, element); !ok {
			return nil, false
		}
	}
	return v, true
}

func step(v any, element fieldpath.PathElement) (any, bool) {
	if element.FieldName != nil {
		m, _ := v.(map[string]any)
		next, ok := m[*element.FieldName]
		return next, ok
	}
	list, _ := v.([]any)
	if element.Index != nil {
		if i := *element.Index; i >= 0 && i < len(list) {
			return list[i], true
		}
		return nil, false
	}
	for _, item := range list {
		if element.Value != nil && value.Equals(value.NewValueInterface(item), *element.Value) {
			return item, true
		}
		if element.Key != nil && hasKey(item, *element.Key) {
			return item, true
		}
	}
	return nil, false
}

func hasKey(item any, key value.FieldList) bool {
	m, ok := item.(map[string]any)
	if !ok {
		return false
	}
	for _, field := range key {
		have, ok := m[field.Name]
		if !ok || !value.Equals(value.NewValueInterface(have), field.Value) {
			return false
		}
	}
	return true
}

// leavesOf is the paths of a manifest's values. A list counts as one value.
func leavesOf(manifest map[string]any) *fieldpath.Set {
	set := fieldpath.NewSet()
	collect(set, nil, manifest)
	return set
}

func collect(set *fieldpath.Set, path fieldpath.Path, v any) {
	m, ok := v.(map[string]any)
	if !ok || (len(m) == 0 && len(path) > 0) {
		set.Insert(path)
		return
	}
	for name, next := range m {
		if len(path) == 0 && (name == "apiVersion" || name == "kind" || name == "status") {
			continue
		}
		if next == nil || (len(path) == 1 && *path[0].FieldName == "metadata" && unowned[name]) {
			continue
		}
		collect(set, append(path.Copy(), fieldpath.FieldNameElement(name)), next)
	}
}

// unowned are fields of metadata that identify the object, or that the API server writes.
var unowned = map[string]bool{"name": true, "namespace": true, "creationTimestamp": true, "uid": true,
	"resourceVersion": true, "generation": true, "managedFields": true, "selfLink": true, "ownerReferences": true, "finalizers": true}

// render writes a path as people do: spec.containers[name=web].image, metadata.labels["app.kubernetes.io/name"].
func render(p fieldpath.Path) string {
	var b strings.Builder
	for _, element := range p {
		switch {
		case element.FieldName != nil && plain(*element.FieldName):
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(*element.FieldName)
		case element.FieldName != nil:
			b.WriteString("[" + strconv.Quote(*element.FieldName) + "]")
		case element.Key != nil:
			parts := make([]string, 0, len(*element.Key))
			for _, field := range *element.Key {
				parts = append(parts, field.Name+"="+scalar(field.Value))
			}
			b.WriteString("[" + strings.Join(parts, ",") + "]")
		case element.Value != nil:
			b.WriteString("[=" + scalar(*element.Value) + "]")
		case element.Index != nil:
			b.WriteString("[" + strconv.Itoa(*element.Index) + "]")
		}
	}
	return shorten(b.String(), maxPath)
}

func plain(name string) bool { return name != "" && !strings.ContainsAny(name, `./[]"`) }

func scalar(v value.Value) string {
	if v.IsString() {
		return v.AsString()
	}
	return value.ToString(v)
}

const (
	maxPath  = 160 // bytes
	maxValue = 100 // bytes
)

// show writes a value for people: in JSON, shortened, and never one of a Secret.
func show(object map[string]any, p fieldpath.Path, v any, present bool) string {
	if !present {
		return Absent
	}
	if secret(object, p, v) {
		return Redacted
	}
	text, err := encodeJSON(v)
	if err != nil {
		return Redacted
	}
	return shorten(text, maxValue)
}

// secret says that a value must not leave the cluster: whatever a Secret holds outside of its metadata and type, and
// the copy of it that kubectl keeps in an annotation.
func secret(object map[string]any, p fieldpath.Path, v any) bool {
	if !isSecret(object) || len(p) == 0 || p[0].FieldName == nil {
		return false
	}
	switch *p[0].FieldName {
	case "type", "immutable":
		return false
	case "metadata":
	default:
		return true
	}
	if len(p) == 1 {
		return true
	}
	if *p[1].FieldName != "annotations" {
		return false
	}
	if len(p) == 2 {
		return !reflect.DeepEqual(v, map[string]any{})
	}
	return p[2].FieldName == nil || strings.HasSuffix(*p[2].FieldName, lastApplied)
}

// Public is what of an object may leave the cluster. The result shares with the object.
func Public(object map[string]any) map[string]any {
	if !isSecret(object) {
		return object
	}
	public := map[string]any{}
	for _, name := range []string{"apiVersion", "kind", "type", "immutable"} {
		if v, ok := object[name]; ok {
			public[name] = v
		}
	}
	metadata, _ := object["metadata"].(map[string]any)
	public["metadata"] = maps.Clone(metadata)
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		annotations = maps.Clone(annotations)
		maps.DeleteFunc(annotations, func(name string, _ any) bool { return strings.HasSuffix(name, lastApplied) })
		public["metadata"].(map[string]any)["annotations"] = annotations
	}
	return public
}

// lastApplied is how the annotation's name ends in which kubectl keeps a copy of what it applied.
const lastApplied = "last-applied-configuration"

func isSecret(object map[string]any) bool {
	return text(object["kind"]) == "Secret" && text(object["apiVersion"]) == "v1"
}

// encodeJSON leaves <, > and & as they are: this is read by people.
func encodeJSON(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// shorten cuts a text to at most limit bytes, at a boundary of characters.
func shorten(s string, limit int) string {
	const mark = "…"
	if len(s) <= limit {
		return s
	}
	cut := limit - len(mark)
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + mark
}
