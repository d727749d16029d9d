// Package chart renders Muster's own charts, which are part of the program, and applies them to clusters.
package chart

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/charts"
)

// Release is one installation of a chart.
type Release struct {
	Chart     string // charts.Hub or charts.Klusterlet
	Version   string // of the chart and its image; empty is that of the chart's file
	Name      string
	Namespace string
	Values    map[string]any
}

// Facts are what a chart may ask a cluster for. The zero value is a cluster that has built-in kinds only and is asked nothing.
type Facts struct {
	KubernetesVersion string       // such as v1.36.3
	APIVersions       []string     // as in .Capabilities.APIVersions, besides the built-in ones
	Lookup            *rest.Config // where the template function lookup looks
}

// Rendering is what a release consists of.
type Rendering struct {
	Objects []*unstructured.Unstructured // without hooks, in the order in which Helm installs them
	Hooks   []*unstructured.Unstructured
	Notes   string
}

// oldestKubernetes is what a cluster is taken for that is not asked: the oldest that both charts support.
const oldestKubernetes = "v1.30.0"

// Render renders a release as `helm install` does.
func Render(r Release, facts Facts) (Rendering, error) {
	c, err := load(r.Chart, r.Version)
	if err != nil {
		return Rendering{}, fmt.Errorf("read chart %s: %w", r.Chart, err)
	}
	rendering, err := render(c, r, facts)
	if err != nil {
		return Rendering{}, fmt.Errorf("render chart %s: %w", r.Chart, plain(err))
	}
	return rendering, nil
}

// load reads a chart of the program. As `helm package --version --app-version` it sets both versions.
func load(name, version string) (*chart.Chart, error) {
	var files []*archive.BufferedFile
	err := fs.WalkDir(charts.FS, name, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := charts.FS.ReadFile(file)
		files = append(files, &archive.BufferedFile{Name: strings.TrimPrefix(file, name+"/"), Data: data})
		return err
	})
	if err != nil {
		return nil, err
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, err
	}
	if version != "" {
		c.Metadata.Version, c.Metadata.AppVersion = version, version
	}
	return c, nil
}

func render(c *chart.Chart, r Release, facts Facts) (Rendering, error) {
	capabilities := common.DefaultCapabilities.Copy()
	version, err := common.ParseKubeVersion(cmp.Or(facts.KubernetesVersion, oldestKubernetes))
	if err != nil {
		return Rendering{}, err
	}
	capabilities.KubeVersion = *version
	capabilities.APIVersions = slices.Concat(capabilities.APIVersions, facts.APIVersions)
	if wants, has := c.Metadata.KubeVersion, capabilities.KubeVersion.Version; wants != "" && !chartutil.IsCompatibleRange(wants, has) {
		return Rendering{}, fmt.Errorf("it needs Kubernetes %s, and the cluster has %s: upgrade the cluster first", strings.TrimSuffix(wants, "-0"), has)
	}
	values, err := commonutil.ToRenderValues(c, r.Values, common.ReleaseOptions{Name: r.Name, Namespace: r.Namespace, Revision: 1, IsInstall: true}, capabilities)
	if err != nil {
		return Rendering{}, err
	}
	var files map[string]string
	if facts.Lookup != nil {
		files, err = engine.RenderWithClient(c, values, facts.Lookup)
	} else {
		files, err = engine.Render(c, values)
	}
	if err != nil {
		return Rendering{}, err
	}
	notes := path.Join(c.Name(), "templates", "NOTES.txt")
	rendering := Rendering{Notes: files[notes]}
	for name := range files {
		if strings.HasSuffix(name, ".txt") || strings.HasPrefix(path.Base(name), "_") {
			delete(files, name)
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(files, capabilities.APIVersions, releaseutil.InstallOrder)
	if err != nil {
		return Rendering{}, err
	}
	for _, m := range manifests {
		if rendering.Objects, err = appendObjects(rendering.Objects, m.Content); err != nil {
			return Rendering{}, fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	for _, h := range hooks {
		if rendering.Hooks, err = appendObjects(rendering.Hooks, h.Manifest); err != nil {
			return Rendering{}, fmt.Errorf("%s: %w", h.Path, err)
		}
	}
	return rendering, nil
}

func appendObjects(all []*unstructured.Unstructured, manifest string) ([]*unstructured.Unstructured, error) {
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		var object map[string]any
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		if len(object) > 0 {
			all = append(all, &unstructured.Unstructured{Object: object})
		}
	}
}

// plain takes from an error of a template what only the chart's author needs: of `fail` and `required` the message stays.
func plain(err error) error {
	text := err.Error()
	for _, call := range []string{"error calling fail: ", "error calling required: "} {
		if _, message, found := strings.Cut(text, call); found {
			return errors.New(message)
		}
	}
	return err
}

// Manifest is a rendering as one YAML stream, for kubectl apply.
func (r Rendering) Manifest() ([]byte, error) {
	var b strings.Builder
	for _, o := range r.Objects {
		data, err := yaml.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		b.WriteString("---\n")
		b.Write(data)
	}
	return []byte(b.String()), nil
}
