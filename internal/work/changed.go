package work

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// FieldChange is one field that differs between two manifests, for people. Text is as it is, but for the empty string,
// which is ""; other values are JSON. A field that is not there is empty.
type FieldChange struct {
	// Path such as spec.template.spec.containers[web].image.
	Path   string `json:"path"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Changed lists the fields in which head differs from base, sorted by path. Entries of lists are matched by name where
// all have one, else by position. Nil or empty stands for an object that does not exist.
func Changed(base, head []byte) ([]FieldChange, error) {
	before, err := decodeManifest(base)
	if err != nil {
		return nil, err
	}
	after, err := decodeManifest(head)
	if err != nil {
		return nil, err
	}
	var changes []FieldChange
	compareValues("", before, after, &changes)
	slices.SortStableFunc(changes, func(a, b FieldChange) int { return cmp.Compare(a.Path, b.Path) })
	return changes, nil
}

func decodeManifest(data []byte) (map[string]any, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var object map[string]any
	if err := utiljson.Unmarshal(data, &object); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	return object, nil
}

// absent stands for a field that is not there: null is a value.
type absent struct{}

func compareValues(path string, before, after any, changes *[]FieldChange) {
	if reflect.DeepEqual(before, after) {
		return
	}
	beforeFields, ok1 := before.(map[string]any)
	afterFields, ok2 := after.(map[string]any)
	if ok1 && ok2 {
		compareEntries(beforeFields, afterFields, func(key string) string { return fieldPath(path, key) }, changes)
		return
	}
	beforeList, ok1 := before.([]any)
	afterList, ok2 := after.([]any)
	if ok1 && ok2 {
		index := byPosition
		if allNamed(beforeList) && allNamed(afterList) {
			index = byName
		}
		compareEntries(index(beforeList), index(afterList), func(key string) string { return path + "[" + key + "]" }, changes)
		return
	}
	*changes = append(*changes, FieldChange{Path: path, Before: textOf(before), After: textOf(after)})
}

func compareEntries(before, after map[string]any, pathOf func(string) string, changes *[]FieldChange) {
	keys := slices.Sorted(maps.Keys(before))
	for key := range after {
		if _, ok := before[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		compareValues(pathOf(key), valueOf(before, key), valueOf(after, key), changes)
	}
}

func valueOf(fields map[string]any, key string) any {
	if value, ok := fields[key]; ok {
		return value
	}
	return absent{}
}

func fieldPath(parent, key string) string {
	switch {
	case strings.ContainsAny(key, ".[]/"):
		return parent + "[" + strconv.Quote(key) + "]"
	case parent == "":
		return key
	}
	return parent + "." + key
}

// allNamed is true when every entry has a name of its own, as containers, ports and variables have.
func allNamed(list []any) bool {
	return len(byName(list)) == len(list)
}

func byName(list []any) map[string]any {
	entries := map[string]any{}
	for _, entry := range list {
		fields, _ := entry.(map[string]any)
		if name, ok := fields["name"].(string); ok {
			entries[name] = entry
		}
	}
	return entries
}

func byPosition(list []any) map[string]any {
	entries := map[string]any{}
	for i, entry := range list {
		entries[fmt.Sprintf("%d", i)] = entry
	}
	return entries
}

func textOf(value any) string {
	switch v := value.(type) {
	case absent:
		return ""
	case string:
		if v == "" {
			return `""`
		}
		return v
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}
