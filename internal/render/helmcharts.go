package render

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
	"sigs.k8s.io/yaml"
)

// maxOverlays is how deep overlays may build on each other.
const maxOverlays = 64

// inflation is an entry of helmCharts in a kustomization. A field that is not here is one that is not supported.
type inflation struct {
	Name                  string         `json:"name"`
	Repo                  string         `json:"repo"`
	Version               string         `json:"version"`
	ReleaseName           string         `json:"releaseName"`
	Namespace             string         `json:"namespace"`
	ValuesFile            string         `json:"valuesFile"`
	AdditionalValuesFiles []string       `json:"additionalValuesFiles"`
	ValuesInline          map[string]any `json:"valuesInline"`
	IncludeCRDs           bool           `json:"includeCRDs"`
	SkipHooks             bool           `json:"skipHooks"`
	SkipTests             bool           `json:"skipTests"` // tests are always left out
}

// inflating is what of a kustomization leads elsewhere.
type inflating struct {
	file   string
	fields map[string]any
	charts []inflation
	line   int    // of helmCharts
	home   string // where charts are that name no repository
	below  []string
}

// inflator renders the charts that kustomizations list in helmCharts, and shows Kustomize what they gave: nothing is executed, and
// charts are those of the tree or of the sources.
type inflator struct {
	dependencies
	renderer *Renderer
	context  context.Context
	files    map[string]fleet.Tree // that are shown instead of what the tree has
	visited  map[string]bool       // folders: overlays may build on one in many ways
}

// inflate gives the source with what its overlays' charts give.
func (r *Renderer) inflate(ctx context.Context, in Input, resolved *Resolved, s source) (source, error) {
	i := inflator{dependencies{in, resolved, new(int)}, r, ctx, map[string]fleet.Tree{}, map[string]bool{}}
	if err := i.visit(s.tree, s.path, 0); err != nil || len(i.files) == 0 {
		return s, err
	}
	s.tree = fleet.Overlaid(s.tree, i.files)
	var err error
	s.hash, err = s.tree.Hash(s.path)
	return s, err
}

// wrong is the fault of an entry of helmCharts.
func (o *inflating) wrong(reason fleet.Reason, message string) error {
	return fleet.Fault{Reason: reason, ActionRequiredBy: fleet.User, File: o.file, Line: o.line, Message: message}
}

// visit inflates the charts of a kustomization and of those that it builds on. What is wrong with one is Kustomize's to say.
func (i inflator) visit(tree fleet.Tree, dir string, depth int) error {
	if i.visited[dir] || depth > maxOverlays { // links in a circle give ever longer names
		return nil
	}
	i.visited[dir] = true
	o, err := i.overlayIn(tree, dir)
	if err != nil || o == nil {
		return err
	}
	for _, below := range o.below {
		if err := i.visit(tree, below, depth+1); err != nil {
			return err
		}
	}
	if len(o.charts) == 0 {
		return nil
	}
	resources, _ := o.fields["resources"].([]any)
	for n, chart := range o.charts {
		text, err := i.chart(tree, dir, o, chart)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("helmCharts-%d-%s.yaml", n, chart.Name)
		i.files[path.Join(dir, name)] = fleet.FileTree(text)
		resources = append(resources, name)
	}
	o.fields["resources"] = resources
	delete(o.fields, "helmCharts")
	delete(o.fields, "helmGlobals")
	data, err := yaml.Marshal(o.fields)
	if err != nil {
		return fmt.Errorf("write %s: %w", o.file, err)
	}
	i.files[o.file] = fleet.FileTree(data)
	return nil
}

// overlayIn reads the kustomization of a folder; nil if there is none.
func (i inflator) overlayIn(tree fleet.Tree, dir string) (*inflating, error) {
	for _, name := range engine.KustomizationFiles {
		file := path.Join(dir, name)
		data, err := tree.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fleet.Unreadable(file, err)
		}
		o := &inflating{file: file, home: "charts"}
		if fleet.UnmarshalYAML(data, &o.fields) != nil {
			return nil, nil // Kustomize says what is wrong
		}
		for _, list := range []string{"resources", "bases", "components"} {
			names, _ := o.fields[list].([]any)
			for _, name := range names {
				below, _ := name.(string)
				if at, err := inTree(path.Join(dir, below)); err == nil && below != "" && engine.IsOverlay(tree, at) {
					o.below = append(o.below, at)
				}
			}
		}
		return o, i.chartsOf(o, tree, dir, data)
	}
	return nil, nil
}

// chartsOf reads helmCharts strictly.
func (i inflator) chartsOf(o *inflating, tree fleet.Tree, dir string, data []byte) error {
	if o.fields["helmCharts"] == nil {
		return nil
	}
	o.line = engine.LineOf(data, "helmCharts")
	wrong := func(message string) error { return o.wrong(fleet.RenderFailed, message) }
	text, err := json.Marshal(o.fields["helmCharts"])
	if err != nil {
		return wrong("helmCharts cannot be read")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o.charts); err != nil {
		return wrong("helmCharts: " + strings.TrimPrefix(fleet.WithoutQuotes(err.Error()), "json: ") +
			": the fields that are read are name, repo, version, releaseName, namespace, valuesFile, additionalValuesFiles, valuesInline, includeCRDs, skipHooks and skipTests")
	}
	if globals, ok := o.fields["helmGlobals"].(map[string]any); ok {
		if home, ok := globals["chartHome"].(string); ok {
			o.home = home
		}
	}
	for _, chart := range o.charts {
		if chart.Name == "" || chart.Repo != "" && chart.Version == "" {
			return wrong("helmCharts: a chart wants a name, and one of a repository a version too")
		}
	}
	return nil
}

// chart renders a chart, and gives its objects as YAML.
func (i inflator) chart(tree fleet.Tree, dir string, o *inflating, chart inflation) ([]byte, error) {
	s := source{kind: engine.HelmChart, tree: tree, path: path.Join(dir, o.home, chart.Name)}
	if chart.Repo != "" {
		if !exactVersion.MatchString(chart.Version) {
			return nil, o.wrong(fleet.RenderFailed, fmt.Sprintf("helmCharts: %s is wanted in the range %q: write one version", chart.Name, chart.Version))
		}
		found, at, isPacked, err := i.find(tree, dir, dependency{Name: chart.Name, Version: chart.Version, Repository: chart.Repo})
		if err != nil {
			if f, ok := fleet.AsFault(err); ok {
				f.File, f.Line = o.file, o.line
				err = f
			}
			return nil, err
		}
		s.path = path.Join(dir, o.home, chart.Name+"-"+chart.Version)
		s.tree = fleet.Mounted(s.path, fleet.Sub(found, at))
		if isPacked {
			s.packed = []string{s.path}
		}
	} else if !engine.IsChart(tree, s.path) {
		return nil, o.wrong(fleet.RenderFailed, fmt.Sprintf("helmCharts: there is no chart %s in %s: add it, or name its repo and version", chart.Name, path.Join(dir, o.home)))
	}
	whole, packed, err := i.complete(s.tree, s.path, nil)
	if err != nil {
		return nil, err
	}
	if whole != nil {
		s.tree, s.packed = whole, append(s.packed, packed...)
	}
	if s.hash, err = s.tree.Hash(s.path); err != nil {
		return nil, fleet.Unreadable(s.path, err)
	}
	job := engine.Job{Kind: engine.HelmChart, Path: s.path, Packed: s.packed, Release: cmp.Or(chart.ReleaseName, chart.Name),
		Namespace: cmp.Or(chart.Namespace, namespaceOf(i.resolved.Application)), Hooks: musterv1alpha1.HooksInWaves}
	if chart.SkipHooks {
		job.Hooks = musterv1alpha1.HooksIgnore
	}
	if job.Layers, err = i.layers(tree, dir, o, chart); err != nil {
		return nil, err
	}
	out := i.renderer.result(i.context, job, i.in, s)
	if out.err != nil {
		return nil, out.err
	}
	var text bytes.Buffer
	for _, object := range out.rendered.Objects {
		if !chart.IncludeCRDs && object.GVK.GroupKind() == engine.CRDKind && strings.Contains(object.File, "/crds/") {
			continue
		}
		text.WriteString("---\n")
		text.Write(object.JSON)
		text.WriteString("\n")
	}
	return text.Bytes(), nil
}

// layers are the values of a chart: the files beside the kustomization, then the inline values.
func (i inflator) layers(tree fleet.Tree, dir string, o *inflating, chart inflation) ([]engine.Layer, error) {
	var layers []engine.Layer
	for _, name := range slices.DeleteFunc(append([]string{chart.ValuesFile}, chart.AdditionalValuesFiles...), func(name string) bool { return name == "" }) {
		file, err := inTree(path.Join(dir, name))
		if err != nil {
			return nil, o.wrong(fleet.ContentMissing, err.Error())
		}
		data, err := tree.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, o.wrong(fleet.ContentMissing, "helmCharts: values file "+name+" is not there: add it, or correct the name")
		}
		if err != nil {
			return nil, fleet.Unreadable(file, err)
		}
		layers = append(layers, engine.Layer{Name: name, File: file, Data: data})
	}
	if len(chart.ValuesInline) > 0 {
		data, err := fleet.CanonicalJSON(chart.ValuesInline)
		if err != nil {
			return nil, fmt.Errorf("values of %s: %w", o.file, err)
		}
		layers = append(layers, engine.Layer{Name: path.Base(o.file), File: o.file, Data: data})
	}
	return layers, nil
}
