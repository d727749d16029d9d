package engine

import (
	"encoding/json"
	"errors"
	"maps"
	"path"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/memo"
)

// valuesFile is one parsed file of values.
type valuesFile struct {
	values map[string]any
	lines  map[string]int // dotted path -> line
}

// merged are the values that a chart gets from its user, and which layer set each.
type merged struct {
	values map[string]any
	places map[string]any // as deep as values, a Place instead of each leaf
}

// mergeLayers merges layers in order, later ones win. The chart's own values are not merged: Helm does that.
func (l *Local) mergeLayers(c *loadedChart, layers []Layer) (*merged, error) {
	m := &merged{values: map[string]any{}, places: map[string]any{}}
	for _, layer := range layers {
		file, err := l.valuesOf(c, layer)
		if err != nil {
			return nil, err
		}
		fleet.MergeValues(m.values, file.values, "", func(string, bool) {})
		mergePlaces(m.places, file.values, "", func(p string) Place {
			if place, ok := layer.Places[p]; ok {
				return place
			}
			line := file.line(p)
			return Place{Name: fleet.Position(path.Clean(layer.Name), line), File: layer.File, Line: line}
		})
	}
	return m, nil
}

// valuesOf parses a layer, once for all who have it. A file that is not in its archive, and need not be, has no values.
func (l *Local) valuesOf(c *loadedChart, layer Layer) (*valuesFile, error) {
	data := layer.Data
	if layer.Packed != "" {
		var err error
		if data, err = c.packedFile(layer.Packed); err != nil {
			if layer.Missing != nil {
				return nil, *layer.Missing
			}
			return &valuesFile{}, nil
		}
	}
	return memo.Remember(l.memo, "values file", memo.Digest(layer.File, string(data)), func() (*valuesFile, int64, error) {
		parsed, err := parseValues(layer.File, data)
		return parsed, int64(len(data) * 6), err
	})
}

// mergePlaces follows fleet.MergeValues.
func mergePlaces(dst, src map[string]any, prefix string, placeOf func(path string) Place) {
	for key, value := range src {
		table, isTable := value.(map[string]any)
		below, hasTable := dst[key].(map[string]any)
		switch {
		case isTable && hasTable:
		case isTable && len(table) > 0:
			below = map[string]any{}
			dst[key] = below
		default:
			dst[key] = placeOf(prefix + key)
			continue
		}
		mergePlaces(below, table, prefix+key+".", placeOf)
	}
}

// place finds where the value of a path was set, or the nearest one above it.
func (m *merged) place(p string) (Place, bool) {
	var node any = m.places
	for key := range strings.SplitSeq(p, ".") {
		table, ok := node.(map[string]any)
		if !ok {
			break
		}
		node = table[key]
	}
	place, ok := node.(Place)
	return place, ok
}

// from names the layer of each value by dotted path, those of the chart's own among them.
func (m *merged) from(defaults map[string]any) map[string]string {
	names := map[string]string{}
	noteNames(names, m.places, defaults, "")
	return names
}

func noteNames(names map[string]string, places, defaults map[string]any, prefix string) {
	for key, place := range places {
		switch at := place.(type) {
		case Place:
			names[prefix+key] = at.Name
		case map[string]any:
			below, _ := defaults[key].(map[string]any)
			noteNames(names, at, below, prefix+key+".")
		}
	}
	for key, value := range defaults {
		if _, ok := places[key]; ok {
			continue
		}
		if table, ok := value.(map[string]any); ok && len(table) > 0 {
			noteNames(names, nil, table, prefix+key+".")
			continue
		}
		names[prefix+key] = "chart default"
	}
}

func (f *valuesFile) line(path string) int {
	for p := path; p != ""; p = fleet.ParentPath(p) {
		if line, ok := f.lines[p]; ok {
			return line
		}
	}
	return 0
}

// parseValues reads a file of values and remembers its lines. Its documents are merged, later ones win, as in Helm.
func parseValues(file string, data []byte) (*valuesFile, error) {
	documents, err := fleet.ReadYAML(string(data))
	if err != nil {
		return nil, yamlFault(fleet.RenderFailed, file, err)
	}
	f := &valuesFile{values: map[string]any{}, lines: map[string]int{}}
	for _, y := range documents {
		var values map[string]any
		if err := json.Unmarshal(y.JSON, &values); err != nil {
			return nil, fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: file, Line: y.Line, Message: "values must be a map"}
		}
		lines, _, err := y.Lines()
		if err != nil {
			return nil, yamlFault(fleet.RenderFailed, file, err)
		}
		fleet.MergeValues(f.values, values, "", func(string, bool) {})
		maps.Copy(f.lines, lines)
	}
	return f, nil
}

// yamlFault is the fault of a text that is not YAML; another fault stays as it is.
func yamlFault(reason fleet.Reason, file string, err error) error {
	var y *fleet.YAMLError
	if !errors.As(err, &y) {
		return err
	}
	f := fleet.Fault{Reason: reason, ActionRequiredBy: fleet.User, File: file, Line: y.Line, Message: "not valid YAML: " + y.Message, Err: err}
	if errors.Is(err, fleet.ErrExpands) || errors.Is(err, fleet.ErrDocument) {
		f.Reason, f.Message = fleet.ContentRefused, y.Message
	}
	return f
}
