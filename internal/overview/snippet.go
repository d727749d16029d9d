package overview

import (
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Heal is what an Application says so that a drifted field is put back, as YAML to paste.
func (r Drift) Heal() string {
	return snippet(musterv1alpha1.Sync{Drift: musterv1alpha1.DriftCorrect})
}

// Ignore is what an Application says so that a drifted field is left alone, as YAML to paste; "" where no rule can name the field: an
// item of a list has a key in the record, and a JSON pointer knows numbers only.
func (r Drift) Ignore() string {
	pointer := pointerTo(r.Path)
	kind, name, ok := strings.Cut(r.Object, " ")
	if pointer == "" || !ok {
		return ""
	}
	return snippet(musterv1alpha1.Sync{Ignore: []musterv1alpha1.IgnoreRule{{
		Kind: kind, Name: name[strings.LastIndex(name, "/")+1:], JSONPointers: []string{pointer},
	}}})
}

func snippet(s musterv1alpha1.Sync) string {
	text, err := yaml.Marshal(map[string]any{"spec": map[string]any{"sync": s}})
	if err != nil {
		return "" // of values that are all texts
	}
	return string(text)
}

// pointerTo is the JSON pointer of a path as a record of drift writes it, "" where there is none.
func pointerTo(path string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	pointer := ""
	for rest := path; rest != ""; {
		rest = strings.TrimPrefix(rest, ".")
		quoted, isQuoted := strings.CutPrefix(rest, "[")
		if !isQuoted {
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			pointer, rest = pointer+"/"+escape.Replace(rest[:end]), rest[end:]
			continue
		}
		text, err := strconv.QuotedPrefix(quoted)
		if err != nil || !strings.HasPrefix(quoted[len(text):], "]") {
			return "" // an item of a list, or a path that was shortened
		}
		name, err := strconv.Unquote(text)
		if err != nil {
			return ""
		}
		pointer, rest = pointer+"/"+escape.Replace(name), quoted[len(text)+1:]
	}
	if strings.HasSuffix(path, "…") {
		return ""
	}
	return pointer
}
