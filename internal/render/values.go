package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
)

// valuesFile is one parsed file of values.
type valuesFile struct {
	values map[string]any
	lines  map[string]int // dotted path -> line
}

// layer is a source of values: the chart's own, a file, or the application's inline values.
type layer struct {
	key    string // equal keys, equal values and places
	values map[string]any
	place  func(path string) place
}

// place is where a value was set: as people say it, and the file and line of the repository; no file for the chart's own.
type place struct {
	name string
	file string
	line int
}

// merged are the values that a chart gets from its user, and which layer set each.
type merged struct {
	values map[string]any
	digest string // of the values alone
	key    string // of the layers
	places map[string]place
	from   map[string]string // the names of the places
	// usesCapabilities is true when a value names .Capabilities: tpl may render it.
	usesCapabilities bool
}

// mergeLayers merges layers in order, later ones win. The chart's own values are named and not merged: Helm does that.
func (r *Renderer) mergeLayers(c *loadedChart, layers []layer) (*merged, error) {
	keys := []string{c.key}
	for _, l := range layers {
		keys = append(keys, l.key)
	}
	key := digestOf(keys...)
	return remember(r.memo, "values", key, func() (*merged, int64, error) {
		m := &merged{key: key, values: map[string]any{}, places: map[string]place{}, from: map[string]string{}}
		for p := range flatten(c.defaults(), "") {
			m.places[p] = place{name: "chart default"}
		}
		for _, l := range layers {
			for p := range flatten(l.values, "") {
				dropBelow(m.places, p)
				dropAbove(m.places, p)
				m.places[p] = l.place(p)
			}
			mergeValues(m.values, l.values, "", func(string, bool) {})
		}
		for p, at := range m.places {
			m.from[p] = at.name
		}
		raw, err := fleet.CanonicalJSON(m.values)
		if err != nil {
			return nil, 0, fmt.Errorf("values: %w", err)
		}
		m.digest = digestOf(string(raw))
		m.usesCapabilities = strings.Contains(string(raw), "Capabilities")
		return m, int64(len(raw)*4 + len(m.from)*256), nil
	})
}

// dropAbove removes the parents of a path: a map has replaced them.
func dropAbove(m map[string]place, path string) {
	for p := parent(path); p != ""; p = parent(p) {
		delete(m, p)
	}
}

// flatten gives the leaves of values by dotted path. Lists and empty maps are leaves.
func flatten(values map[string]any, prefix string) map[string]any {
	leaves := map[string]any{}
	mergeValues(map[string]any{}, values, prefix, func(path string, set bool) {
		if set {
			leaves[path] = nil
		}
	})
	return leaves
}

// layersOf reads the layers of an application over its chart: the values files in order, then the inline values.
func (r *Renderer) layersOf(in Input, resolved *Resolved, c *loadedChart) ([]layer, error) {
	var layers []layer
	helm := resolved.Application.Spec.Helm
	if helm == nil {
		return nil, nil
	}
	for i, file := range helm.ValuesFiles {
		field := resolved.fieldOf(fmt.Sprintf("helm.valuesFiles[%d]", i))
		l, err := r.fileLayer(in, file.Path, field, c)
		if errors.Is(err, fs.ErrNotExist) && file.Optional {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, in.at(fleet.ContentMissing, field, fmt.Sprintf("values file %s is not in the repository: add it, or mark it optional", file.Path))
		}
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	if len(resolved.values) == 0 {
		return layers, nil
	}
	parts := []string{"inline", string(helm.Values.Raw)}
	placeOf := func(p string) place {
		return place{name: resolved.layerOf(p), file: in.File, line: in.lineOf(resolved.fieldOf("helm.values." + p))}
	}
	for _, p := range slices.Sorted(maps.Keys(flatten(resolved.values, ""))) {
		at := placeOf(p)
		parts = append(parts, p, at.name, position(at.file, at.line))
	}
	return append(layers, layer{key: digestOf(parts...), values: resolved.values, place: placeOf}), nil
}

// layerOf names the layer of an inline value; what an expression made below a leaf belongs to the leaf.
func (r *Resolved) layerOf(path string) string {
	for p := path; p != ""; p = parent(p) {
		if name, ok := r.Layers[p]; ok {
			return name
		}
	}
	return "inline"
}

// chartPrefix of a values file makes it relative to the chart.
const chartPrefix = "chart:"

func (r *Renderer) fileLayer(in Input, name, field string, c *loadedChart) (layer, error) {
	shown := name
	var file string
	var data []byte
	var err error
	if below, ok := strings.CutPrefix(name, chartPrefix); ok {
		file = path.Join(c.dir, below)
		data, err = c.readFile(in.Tree, strings.TrimSpace(below))
	} else {
		if file, err = inTree(path.Join(path.Dir(in.File), name)); err != nil {
			return layer{}, in.at(fleet.ContentMissing, field, fmt.Sprintf("values file %s leaves the repository", name))
		}
		data, err = in.Tree.ReadFile(file)
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return layer{}, err
		}
		return layer{}, unreadable(file, err)
	}
	key := digestOf(file, shown, string(data))
	parsed, err := remember(r.memo, "values file", key, func() (*valuesFile, int64, error) {
		parsed, err := parseValues(file, data)
		return parsed, int64(len(data) * 6), err
	})
	if err != nil {
		return layer{}, err
	}
	placeOf := func(p string) place {
		line := parsed.line(p)
		return place{name: position(path.Clean(shown), line), file: file, line: line}
	}
	return layer{key: key, values: parsed.values, place: placeOf}, nil
}

func (f *valuesFile) line(path string) int {
	for p := path; p != ""; p = parent(p) {
		if line, ok := f.lines[p]; ok {
			return line
		}
	}
	return 0
}

// parseValues reads the one document of a values file, and remembers its lines. Helm reads the first document, and does not end
// it with a newline first.
func parseValues(file string, data []byte) (*valuesFile, error) {
	documents, err := fleet.ReadYAML(string(data))
	if err != nil {
		return nil, yamlFault(fleet.RenderFailed, file, err)
	}
	f := &valuesFile{values: map[string]any{}, lines: map[string]int{}}
	if len(documents) == 0 {
		return f, nil
	}
	invalid := fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: file}
	if len(documents) > 1 {
		invalid.Line, invalid.Message = documents[1].Line, "a values file holds one document, and another one begins here: make it a file of its own"
		return nil, invalid
	}
	if err := json.Unmarshal(documents[0].JSON, &f.values); err != nil {
		invalid.Line, invalid.Message = documents[0].Line, "values must be a map"
		return nil, invalid
	}
	if f.lines, _, err = documents[0].Lines(); err != nil {
		return nil, yamlFault(fleet.RenderFailed, file, err)
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

// quoted is what parsers quote.
var quoted = regexp.MustCompile("`[^`]*`|\"[^\"]*\"|anchor '[^']*'")

// withoutQuotes takes what a parser quotes out of its message: faults never quote values.
func withoutQuotes(message string) string { return quoted.ReplaceAllString(message, "…") }
