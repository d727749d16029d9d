package engine

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/memo"
	"golang.org/x/sync/errgroup"
	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// helmVersion is what charts see as .Capabilities.HelmVersion.
const helmVersion = "v4.3.0"

// helmRun is one render of one chart.
type helmRun struct {
	local        *Local
	chart        *loadedChart
	values       *merged
	release      common.ReleaseOptions
	capabilities *common.Capabilities
	hooks        musterv1alpha1.HookPolicy
	generated    string // as Job.Generated
}

// helm renders a chart: loads it, merges and checks the values, executes the templates and reads what they give.
func (l *Local) helm(job Job, host Host) (*Rendered, error) {
	c, err := l.loadChart(host, job.Path, job.Packed)
	if err != nil {
		return nil, err
	}
	values, err := l.mergeLayers(c, job.Layers)
	if err != nil {
		return nil, err
	}
	apis := fleet.KubernetesAPIs() // the same for all, so that nothing of one cluster can reach another
	wants := c.chart.Metadata.KubeVersion
	if wants != "" || c.usesCapabilities || usesCapabilities(job.Layers) {
		apis = host.APIs()
	}
	if wants != "" && !chartutil.IsCompatibleRange(wants, apis.KubernetesVersion) {
		return nil, c.invalid("Chart.yaml", fmt.Sprintf("the chart wants Kubernetes %s and the cluster has %s", wants, apis.KubernetesVersion))
	}
	run := helmRun{local: l, chart: c, values: values, hooks: job.Hooks, generated: job.Generated, release: common.ReleaseOptions{
		Name: job.Release, Namespace: job.Namespace, Revision: 1, IsInstall: true,
	}}
	if run.capabilities, err = l.capabilitiesOf(apis); err != nil {
		return nil, err
	}
	first, err := run.prepare()
	if err != nil {
		return nil, err
	}
	if err := run.checkSchema(first); err != nil {
		return nil, err
	}
	objects, err := run.objects(first)
	if err != nil {
		return nil, err
	}
	return &Rendered{Objects: objects, Values: values.from(c.defaults())}, nil
}

// usesCapabilities tells whether a value names .Capabilities: tpl may render it.
func usesCapabilities(layers []Layer) bool {
	return slices.ContainsFunc(layers, func(l Layer) bool { return bytes.Contains(l.Data, []byte("Capabilities")) })
}

// capabilitiesOf tells a chart what the cluster is.
func (l *Local) capabilitiesOf(apis *fleet.APIs) (*common.Capabilities, error) {
	return memo.Remember(l.memo, "capabilities", apis.Digest, func() (*common.Capabilities, int64, error) {
		c, err := capabilitiesOf(apis)
		return c, int64(100 * len(apis.Resources())), err
	})
}

// capabilitiesOf tells a chart what the cluster is: its version, and each version and kind that it serves.
func capabilitiesOf(apis *fleet.APIs) (*common.Capabilities, error) {
	version, err := common.ParseKubeVersion(apis.KubernetesVersion)
	if err != nil {
		return nil, fmt.Errorf("the cluster's version %q: %w", apis.KubernetesVersion, err)
	}
	version.Version = apis.KubernetesVersion
	if !strings.HasPrefix(version.Version, "v") {
		version.Version = "v" + version.Version
	}
	seen := map[string]bool{}
	for _, resource := range apis.Resources() {
		group := path.Join(resource.Group, resource.Version)
		seen[group] = true
		seen[group+"/"+resource.Kind] = true
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	capabilities.APIVersions = slices.Sorted(maps.Keys(seen))
	capabilities.HelmVersion.Version = helmVersion
	capabilities.HelmVersion.GitCommit, capabilities.HelmVersion.GitTreeState, capabilities.HelmVersion.GoVersion = "", "", ""
	capabilities.HelmVersion.KubeClientVersion = ""
	return capabilities, nil
}

// objects renders the chart and reads the objects, with placeholders for what the cluster makes.
func (h helmRun) objects(first prepared) ([]Object, error) {
	files, g, err := h.render(first)
	if err != nil {
		return nil, err
	}
	objects, err := h.read(first.chart, files)
	if err != nil || g == nil || len(g.calls) == 0 {
		return objects, err
	}
	other := h.generator("another " + h.generated)
	again, err := h.prepare()
	if err != nil {
		return nil, err
	}
	out := execute(again, &draws{generate: other})
	if out.err != nil {
		return nil, h.templateFault(out.err)
	}
	others, err := h.read(again.chart, out.files)
	if err != nil {
		return nil, err
	}
	return place(objects, g, others, other)
}

// generator gives placeholders for an application; nil for none.
func (h helmRun) generator(application string) *generator {
	if h.generated == "" {
		return nil
	}
	return newGenerator(application)
}

// read reads what the templates gave: CRDs first, then the templates' objects in Helm's order of installation.
func (h helmRun) read(used *chart.Chart, files map[string]string) ([]Object, error) {
	objects, err := h.crds(used)
	if err != nil {
		return nil, err
	}
	templates, err := h.manifests(files)
	if err != nil {
		return nil, err
	}
	return append(objects, templates...), nil
}

// prepared are a copy of the chart, in which the subcharts are settled, and what its templates see. Executing them changes both.
type prepared struct {
	chart *chart.Chart
	top   common.Values
}

// prepare copies the chart and settles which subcharts are on.
func (h helmRun) prepare() (prepared, error) {
	p := prepared{chart: copyChart(h.chart.chart)}
	values, _ := fleet.CloneValue(h.values.values).(map[string]any)
	if err := chartutil.ProcessDependencies(p.chart, values); err != nil {
		return p, h.chart.invalid("Chart.yaml", "the dependencies' conditions and imports cannot be processed: "+fleet.WithoutQuotes(err.Error()))
	}
	capabilities := h.capabilities.Copy() // so that its address differs between runs
	var err error
	if p.top, err = commonutil.ToRenderValuesWithSchemaValidation(p.chart, values, h.release, capabilities, true); err != nil {
		return p, h.chart.invalid("values.yaml", "the values do not fit the chart: a subchart's values must be a map")
	}
	return p, nil
}

// manifests reads the rendered files, leaves out NOTES and partials, and deals with hooks.
func (h helmRun) manifests(files map[string]string) ([]Object, error) {
	var documents []document
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "NOTES.txt") || strings.HasPrefix(path.Base(name), "_") || strings.TrimSpace(files[name]) == "" {
			continue
		}
		file, _ := h.chart.locate(name)
		for _, doc := range documentsOf(files[name]) {
			documents = append(documents, document{file, doc + "\n"}) // as Helm writes it into a release
		}
	}
	read, err := h.local.documents(readRendered, "template", documents)
	if err != nil {
		return nil, err
	}
	var objects []Object
	var hooks hooksOfChart
	for _, o := range read {
		if o.hook == "" {
			objects = append(objects, o)
		} else if err := hooks.add(o, h.hooks); err != nil {
			return nil, err
		}
	}
	if err := hooks.refused(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(objects, func(a, b Object) int { return installRank(a.GVK.Kind) - installRank(b.GVK.Kind) })
	return inWaves(objects, hooks.run)
}

// document is a text with manifests, and the file that it is of.
type document struct{ file, text string }

// documents reads texts, each once for all renders that have it: clusters share most of what a chart gives. Several are read at a
// time, for that takes most of the time of large definitions.
func (l *Local) documents(read func(file, text string) ([]object, error), how string, documents []document) ([]Object, error) {
	found, errs := make([][]Object, len(documents)), make([]error, len(documents))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, doc := range documents {
		group.Go(func() error {
			found[i], errs[i] = memo.Remember(l.memo, "document", memo.Digest(how, doc.file, doc.text), func() ([]Object, int64, error) {
				objects, err := read(doc.file, doc.text)
				if err != nil {
					return nil, 0, err
				}
				written, err := writeAll(objects)
				return written, int64(2 * len(doc.text)), err
			})
			return nil
		})
	}
	_ = group.Wait() // the first error in the order of the documents counts
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(found...), nil
}

// documentsOf splits a rendered file as Helm does, at each --- that begins a line. Helm's own function takes as long for a large
// definition as parsing it.
func documentsOf(text string) []string {
	var docs []string
	parts := strings.Split("\n"+strings.TrimLeftFunc(text, unicode.IsSpace), "\n---")
	for i, part := range parts {
		if i+1 < len(parts) {
			part += "\n"
		}
		if part = strings.TrimLeftFunc(part, unicode.IsSpace); part != "" {
			docs = append(docs, part)
		}
	}
	return docs
}

var installRanks = func() map[string]int {
	ranks := map[string]int{}
	for i, kind := range releaseutil.InstallOrder {
		ranks[kind] = i
	}
	return ranks
}()

// installRank is Helm's order of installation, kinds that it does not know last.
func installRank(kind string) int {
	if rank, ok := installRanks[kind]; ok {
		return rank
	}
	return len(installRanks)
}

// hook is the value of the annotation that makes an object a hook.
func (o object) hook() string {
	annotation, _ := nested(o.value, "metadata", "annotations", release.HookAnnotation).(string)
	return annotation
}

// crds reads the crds/ folders of the chart and of the subcharts that are on. Their files are not templates.
func (h helmRun) crds(used *chart.Chart) ([]Object, error) {
	crds := used.CRDObjects()
	slices.SortFunc(crds, func(a, b chart.CRD) int { return strings.Compare(a.Filename, b.Filename) })
	documents := make([]document, len(crds))
	for i, crd := range crds {
		documents[i].file, _ = h.chart.locate(crd.Filename)
		documents[i].text = string(crd.File.Data)
	}
	return h.local.documents(readCRDs, "crds", documents)
}
