package fleet

import (
	"maps"
	"slices"
	"strings"
)

// MergeValues merges src over dst: maps merge, everything else replaces; null stays, so that it deletes what is below it where it is
// used. Replaced is told each path whose value goes (set false) or comes (set true, leaves only). Src stays as it is.
func MergeValues(dst, src map[string]any, prefix string, replaced func(path string, set bool)) {
	for _, key := range slices.Sorted(maps.Keys(src)) {
		path := prefix + key
		table, isTable := src[key].(map[string]any)
		below, hasTable := dst[key].(map[string]any)
		if isTable && hasTable {
			MergeValues(below, table, path+".", replaced)
			continue
		}
		replaced(path, false)
		if isTable && len(table) > 0 {
			fresh := map[string]any{}
			dst[key] = fresh
			MergeValues(fresh, table, path+".", replaced)
			continue
		}
		dst[key] = CloneValue(src[key])
		replaced(path, true)
	}
}

// CloneValue copies a value of JSON.
func CloneValue(value any) any {
	switch v := value.(type) {
	case map[string]any:
		clone := make(map[string]any, len(v))
		for key, below := range v {
			clone[key] = CloneValue(below)
		}
		return clone
	case []any:
		clone := make([]any, len(v))
		for i := range v {
			clone[i] = CloneValue(v[i])
		}
		return clone
	}
	return value
}

// DropBelow removes a path and everything under it.
func DropBelow[V any](m map[string]V, path string) {
	maps.DeleteFunc(m, func(key string, _ V) bool {
		return strings.HasPrefix(key, path) && (len(key) == len(path) || key[len(path)] == '.' || key[len(path)] == '[')
	})
}

// ParentPath is the path of the field that a field, or an entry of a list, is in; "" at the top.
func ParentPath(path string) string {
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return ""
}
