package render

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// secretValue is a text that a Secret of the hub holds, or what stands for it.
type secretValue struct {
	text    string
	from    string // the Secret and its key, for people
	field   string // of the application
	outside bool   // it may stand in objects that are no Secret
}

// valuesFromLayers are the layers of helm.valuesFrom. What is of a Secret is noted, so that it is found where it must not be.
func valuesFromLayers(in Input, resolved *Resolved) ([]engine.Layer, error) {
	var layers []engine.Layer
	for i, ref := range resolved.Application.Spec.Helm.ValuesFrom {
		field := resolved.fieldOf(fmt.Sprintf("helm.valuesFrom[%d]", i))
		namespace := in.Application.Namespace
		reference := &fleet.Reference{Namespace: namespace, Asker: namespace, Values: &fleet.ValuesObject{Kind: ref.Kind, Name: ref.Name}}
		found, err := resolved.find(in, reference)
		if f, ok := fleet.AsFault(err); ok {
			if f.Reason == fleet.ContentMissing && ref.Optional {
				continue
			}
			f.File, f.Line = in.File, in.lineOf(field)
			return nil, f
		}
		if err != nil {
			return nil, err
		}
		values, err := valuesOf(in, resolved, ref, found.Values, reference.From(), field)
		if err != nil {
			return nil, err
		}
		data, err := fleet.CanonicalJSON(values)
		if err != nil {
			return nil, fmt.Errorf("values of %s: %w", reference.From(), err)
		}
		l := engine.Layer{Name: reference.From(), File: in.File, Data: data, Places: map[string]engine.Place{}}
		for p := range flatten(values, "") {
			l.Places[p] = engine.Place{Name: reference.From(), File: in.File, Line: in.lineOf(field)}
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// valuesOf are the values that a reference gives the chart. A fault names the object and the key and quotes nothing of them.
func valuesOf(in Input, resolved *Resolved, ref musterv1alpha1.ValuesReference, held *fleet.HeldValues, object, field string) (map[string]any, error) {
	key := cmp.Or(ref.ValuesKey, "values.yaml")
	from := object + ", key " + key
	data, there := held.Data[key]
	switch {
	case held.Unseen && ref.TargetPath == "":
		return map[string]any{}, nil
	case held.Unseen:
		data = []byte("<" + from + ">")
	case !there && ref.Optional:
		return map[string]any{}, nil
	case !there:
		return nil, in.faultOf(fleet.ContentMissing, field+".valuesKey", fmt.Sprintf("%s has no key %s: add it, name another key in valuesKey, or mark the entry optional", object, key))
	}
	isSecret := ref.Kind == musterv1alpha1.ValuesSecret
	if ref.TargetPath != "" {
		text := string(data)
		if isSecret && held.Mask != nil && !held.Unseen {
			text = fmt.Sprint(held.Mask.Mask(text))
		}
		if isSecret {
			resolved.secrets = append(resolved.secrets, secretValue{text, from, field, ref.AllowOutsideSecrets})
		}
		return valueAt(splitPath(ref.TargetPath), text), nil
	}
	var values map[string]any
	if err := fleet.UnmarshalYAML(data, &values); err != nil || values == nil {
		return nil, in.faultOf(fleet.DefinitionInvalid, field, from+" holds no YAML map: correct it, or say in targetPath which value it is")
	}
	if !isSecret {
		return values, nil
	}
	shown := values
	if held.Mask != nil {
		shown, _ = held.Mask.Mask(values).(map[string]any)
	}
	resolved.noteTexts(values, shown, secretValue{from: from, field: field, outside: ref.AllowOutsideSecrets}, "")
	return shown, nil
}

// noteTexts notes the texts of a Secret's map of values, as they are shown. Short ones are settings more often than secrets: they may stand
// anywhere.
func (r *Resolved) noteTexts(value, shown any, as secretValue, path string) {
	switch v := value.(type) {
	case string:
		as.text, _ = shown.(string)
		as.outside = as.outside || len(strings.TrimSpace(v)) < shortest
	case []any:
		for i, below := range v {
			list, _ := shown.([]any)
			r.noteTexts(below, list[i], as, fmt.Sprintf("%s[%d]", path, i))
		}
		return
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			table, _ := shown.(map[string]any)
			r.noteTexts(v[key], table[key], as, strings.TrimPrefix(path+"."+key, "."))
		}
		return
	default:
		return
	}
	as.from += ", value " + path
	r.secrets = append(r.secrets, as)
}

// splitPath splits a dotted path; a dot that belongs to a name has a backslash before it.
func splitPath(path string) []string {
	var names []string
	name := ""
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path):
			i++
			name += path[i : i+1]
		case path[i] == '.':
			names, name = append(names, name), ""
		default:
			name += path[i : i+1]
		}
	}
	return append(names, name)
}

func valueAt(path []string, value any) map[string]any {
	if len(path) > 1 {
		value = valueAt(path[1:], value)
	}
	return map[string]any{path[0]: value}
}

// shortest is how long a secret text is at least that is looked for within other texts.
const shortest = 6

// formsOf are the forms in which a secret text is looked for, the text itself first; none of an empty one. White space around it does not
// count: a value that an editor or `kubectl --from-file` ended with a newline is often rendered without.
func formsOf(text string) []string {
	plain := strings.TrimSpace(text)
	if plain == "" {
		return nil
	}
	forms := []string{plain, base64.StdEncoding.EncodeToString([]byte(plain)), base64.StdEncoding.EncodeToString([]byte(text))}
	forms = append(forms, jsonForms(plain)...)
	slices.Sort(forms[1:])
	return slices.Compact(forms)
}

// secretOutside is a fault if a value that a Secret of the hub gave the chart stands in an object that is no Secret: it would be shown
// there, as by drift and in a status.
func (r *Resolved) secretOutside(in Input, content *fleet.Content) error {
	objects := make([]any, len(content.Manifests)) // decoded where they may hold one
	for _, s := range r.secrets {
		forms := formsOf(s.text)
		if s.outside || len(forms) == 0 {
			continue
		}
		written := writtenForms(forms)
		for i, m := range content.Manifests {
			if m.Key.Group == "" && m.Key.Kind == "Secret" || !slices.ContainsFunc(written, func(form []byte) bool { return bytes.Contains(m.JSON, form) }) {
				continue
			}
			if objects[i] == nil {
				decoder := json.NewDecoder(bytes.NewReader(m.JSON))
				decoder.UseNumber()
				if err := decoder.Decode(&objects[i]); err != nil {
					return fmt.Errorf("read %s: %w", m.Key, err)
				}
			}
			if at := fieldWith(forms, objects[i], ""); at != "" {
				f := in.faultOf(fleet.ManifestInvalid, s.field, fmt.Sprintf(
					"%s holds what %s says: let the chart put it into a Secret, keep what is no secret in a ConfigMap, or set allowOutsideSecrets, with which whoever reads the object, its drift or the application's status may see it", at, s.from))
				f.Object = m.Key.String()
				return f
			}
		}
	}
	return nil
}

// writtenForms are forms of a text as they stand in JSON.
func writtenForms(forms []string) [][]byte {
	var written [][]byte
	for _, form := range forms {
		for _, inner := range jsonForms(form) {
			written = append(written, []byte(inner))
		}
	}
	return written
}

// jsonForms are a text within the quotes of JSON, with the escapes of toJson and with those of toRawJson.
func jsonForms(text string) []string {
	var forms []string
	for _, escapeHTML := range []bool{true, false} {
		var in strings.Builder
		encoder := json.NewEncoder(&in)
		encoder.SetEscapeHTML(escapeHTML)
		if encoder.Encode(text) == nil {
			forms = append(forms, in.String()[1:in.Len()-2]) // without its quotes and the newline
		}
	}
	return slices.Compact(forms)
}

// fieldWith gives the field that holds a secret text in one of its forms; "" is none.
func fieldWith(forms []string, value any, path string) string {
	switch v := value.(type) {
	case string:
		long := len(forms[0]) >= shortest
		plain := strings.TrimSpace(v)
		if slices.ContainsFunc(forms, func(form string) bool { return plain == form || long && strings.Contains(v, form) }) {
			return path
		}
	case json.Number: // a password of digits that is rendered without quotes
		if len(forms[0]) >= shortest && v.String() == forms[0] {
			return path
		}
	case []any:
		for i, below := range v {
			if at := fieldWith(forms, below, fmt.Sprintf("%s[%d]", path, i)); at != "" {
				return at
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if at := fieldWith(forms, v[key], strings.TrimPrefix(path+"."+key, ".")); at != "" {
				return at
			}
		}
	}
	return ""
}

// withoutSecrets takes out of a fault what a chart or a schema quotes of a Secret's values.
func (r *Resolved) withoutSecrets(err error) error {
	f, ok := fleet.AsFault(err)
	if !ok || len(r.secrets) == 0 {
		return err
	}
	var texts []string
	for _, s := range r.secrets {
		texts = append(texts, formsOf(s.text)...)
	}
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) }) // one may be a part of another
	for _, text := range texts {
		if len(text) >= 3 && strings.Contains(f.Message, text) {
			f.Message, f.Err = strings.ReplaceAll(f.Message, text, "(redacted)"), nil
		}
	}
	return f
}
