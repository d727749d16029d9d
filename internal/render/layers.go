package render

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// layersOf reads the layers of an application over its chart: the defaults, the values of the cluster, the values files in order,
// the values that are on the hub, then the inline values.
func layersOf(in Input, resolved *Resolved, s source) ([]engine.Layer, error) {
	helm := resolved.Application.Spec.Helm
	if helm == nil {
		return nil, nil
	}
	var layers []engine.Layer
	if len(resolved.defaults) > 0 {
		l, err := resolved.defaultLayer(in)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	ofCluster, err := clusterValuesLayer(in, resolved)
	if err != nil {
		return nil, err
	}
	if ofCluster != nil {
		layers = append(layers, *ofCluster)
	}
	for i, file := range helm.ValuesFiles {
		field := resolved.fieldOf(fmt.Sprintf("helm.valuesFiles[%d]", i))
		missing := in.faultOf(fleet.ContentMissing, field, fmt.Sprintf("values file %s is not in the repository: add it, or mark it optional", file.Path))
		l, err := in.fileLayer(file.Path, field, s)
		switch {
		case errors.Is(err, fs.ErrNotExist) && file.Optional:
			continue
		case errors.Is(err, fs.ErrNotExist):
			return nil, missing
		case err != nil:
			return nil, err
		}
		if l.Packed != "" && !file.Optional {
			l.Missing = &missing
		}
		layers = append(layers, l)
	}
	fromHub, err := valuesFromLayers(in, resolved)
	if err != nil {
		return nil, err
	}
	layers = append(layers, fromHub...)
	if len(resolved.values) == 0 {
		return layers, nil
	}
	inline := engine.Layer{File: in.File, Data: helm.Values.Raw, Places: map[string]engine.Place{}}
	for _, p := range slices.Sorted(maps.Keys(flatten(resolved.values, ""))) {
		inline.Places[p] = engine.Place{Name: resolved.layerOf(p), File: in.File, Line: in.lineOf(resolved.fieldOf("helm.values." + p))}
	}
	return append(layers, inline), nil
}

// defaultLayer are the values below all others, most of them from muster.yaml.
func (r *Resolved) defaultLayer(in Input) (engine.Layer, error) {
	data, err := fleet.CanonicalJSON(r.defaults)
	if err != nil {
		return engine.Layer{}, fmt.Errorf("default values: %w", err)
	}
	l := engine.Layer{Name: "default values", File: in.File, Data: data, Places: map[string]engine.Place{}}
	for p := range flatten(r.defaults, "") {
		field := r.fieldOf("helm.defaultValues." + p)
		place := engine.Place{File: in.File, Line: in.lineOf(field)}
		if in.Defaulted != nil {
			if line, ok := in.Defaulted(field); ok {
				place = engine.Place{File: fleet.ConfigurationFile, Line: line}
			}
		}
		place.Name = fleet.Position(baseName(place.File), place.Line)
		if i, isOverride := overrideIndex(field); isOverride {
			place.Name = "override " + in.Application.Spec.Overrides[i].Name + ", " + place.Name
		}
		l.Places[p] = place
	}
	return l, nil
}

// layerOf names the layer of an inline value; what an expression made below a leaf belongs to the leaf.
func (r *Resolved) layerOf(path string) string {
	for p := path; p != ""; p = fleet.ParentPath(p) {
		if name, ok := r.Layers[p]; ok {
			return name
		}
	}
	return "inline"
}

// chartPrefix of a values file makes it relative to the chart.
const chartPrefix = "chart:"

// fileLayer reads a values file. One that is inside of an archive is left to the engine, which opens archives.
func (in Input) fileLayer(name, field string, s source) (engine.Layer, error) {
	l, tree := engine.Layer{Name: name}, in.Tree
	if below, ok := strings.CutPrefix(name, chartPrefix); ok {
		below, tree = path.Clean(strings.TrimSpace(below)), s.tree
		l.File = path.Join(s.path, below)
		if engine.IsArchive(s.path) {
			l.File, l.Packed = s.path, below
			return l, nil
		}
		if l.File != s.path && !strings.HasPrefix(l.File, strings.TrimSuffix(s.path, ".")) {
			return l, fs.ErrNotExist
		}
	} else {
		var err error
		if l.File, err = inTree(path.Join(path.Dir(in.File), name)); err != nil {
			return l, in.faultOf(fleet.ContentMissing, field, fmt.Sprintf("values file %s leaves the repository", name))
		}
	}
	var err error
	if l.Data, err = tree.ReadFile(l.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = fleet.Unreadable(l.File, err)
	}
	return l, err
}

// flatten gives the leaves of values by dotted path. Lists and empty maps are leaves.
func flatten(values map[string]any, prefix string) map[string]any {
	leaves := map[string]any{}
	fleet.MergeValues(map[string]any{}, values, prefix, func(path string, set bool) {
		if set {
			leaves[path] = nil
		}
	})
	return leaves
}
