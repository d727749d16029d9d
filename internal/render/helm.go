package render

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/muster-io/muster/internal/fleet"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// helmVersion is what charts see as .Capabilities.HelmVersion.
const helmVersion = "v3.22.0"

// helmRun is one render of one chart, without anything that differs between clusters that get the same.
type helmRun struct {
	chart        *loadedChart
	values       *merged
	release      chartutil.ReleaseOptions
	capabilities *chartutil.Capabilities
	hooks        musterv1alpha1.HookPolicy
}

// helmJob prepares the render of a chart: loads it, merges and checks the values, and finds out which facts it uses.
func (r *Renderer) helmJob(in Input, resolved *Resolved, s source) (job, error) {
	c, err := r.loadChart(in.Tree, s)
	if err != nil {
		return job{}, err
	}
	layers, err := r.layersOf(in, resolved, c)
	if err != nil {
		return job{}, err
	}
	values, err := r.mergeLayers(c, layers)
	if err != nil {
		return job{}, err
	}
	apis := in.apis()
	if wants := c.chart.Metadata.KubeVersion; wants != "" && !chartutil.IsCompatibleRange(wants, apis.KubernetesVersion) {
		return job{}, c.invalid("Chart.yaml", fmt.Sprintf("the chart wants Kubernetes %s and the cluster has %s", wants, apis.KubernetesVersion))
	}
	run := helmRun{chart: c, values: values, hooks: musterv1alpha1.HooksRefuse, release: chartutil.ReleaseOptions{
		Name: in.Application.Name, Namespace: namespaceOf(resolved.Application), Revision: 1, IsInstall: true,
	}}
	if helm := resolved.Application.Spec.Helm; helm != nil {
		if helm.ReleaseName != "" {
			run.release.Name = helm.ReleaseName
		}
		if helm.Hooks != "" {
			run.hooks = helm.Hooks
		}
	}
	facts := ""
	if c.usesCapabilities || values.usesCapabilities {
		facts = apis.Digest
	} else {
		apis = kubernetesAPIs() // the same for all, so that nothing of one cluster can reach another
	}
	// The schema's fault names the layer of a value: it belongs to the layers and not to the values.
	if _, err := remember(r.memo, "schema", values.key, func() (bool, int64, error) { return true, 0, run.checkSchema() }); err != nil {
		return job{}, err
	}
	return job{
		key: digestOf("helm", c.key, values.digest, run.release.Name, run.release.Namespace, string(run.hooks), facts),
		run: func() ([]object, error) {
			var err error
			if run.capabilities, err = capabilitiesOf(apis); err != nil {
				return nil, err
			}
			return run.objects()
		},
		values: values.from,
	}, nil
}

func (in Input) apis() *fleet.APIs {
	if in.APIs == nil {
		return kubernetesAPIs()
	}
	return in.APIs
}

// kubernetesAPIs are the kinds of the oldest Kubernetes that is supported.
var kubernetesAPIs = sync.OnceValue(func() *fleet.APIs { return fleet.NewAPIs("", nil) })

func namespaceOf(app *musterv1alpha1.Application) string {
	if app.Spec.Destination.Namespace != "" {
		return app.Spec.Destination.Namespace
	}
	return app.Namespace
}

// capabilitiesOf tells a chart what the cluster is: its version, and each version and kind that it serves.
func capabilitiesOf(apis *fleet.APIs) (*chartutil.Capabilities, error) {
	version, err := chartutil.ParseKubeVersion(apis.KubernetesVersion)
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
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	capabilities.APIVersions = slices.Sorted(maps.Keys(seen))
	capabilities.HelmVersion.Version = helmVersion
	capabilities.HelmVersion.GitCommit, capabilities.HelmVersion.GitTreeState, capabilities.HelmVersion.GoVersion = "", "", ""
	return capabilities, nil
}

// objects renders the chart and reads the objects: CRDs first, then the templates' in Helm's order of installation.
func (h helmRun) objects() ([]object, error) {
	files, used, err := h.files()
	if err != nil {
		return nil, err
	}
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

// prepare copies the chart and settles which subcharts are on.
func (h helmRun) prepare() (*chart.Chart, chartutil.Values, error) {
	copied := copyChart(h.chart.chart)
	values, _ := cloneValue(h.values.values).(map[string]any)
	if err := chartutil.ProcessDependenciesWithMerge(copied, values); err != nil {
		return nil, nil, h.chart.invalid("Chart.yaml", "the dependencies' conditions and imports cannot be processed: "+withoutQuotes(err.Error()))
	}
	top, err := chartutil.ToRenderValuesWithSchemaValidation(copied, values, h.release, h.capabilities, true)
	if err != nil {
		return nil, nil, h.chart.invalid("values.yaml", "the values do not fit the chart: a subchart's values must be a map")
	}
	return copied, top, nil
}

// outcome is what one run of the templates gave.
type outcome struct {
	files map[string]string
	used  *chart.Chart // with the subcharts that are on
	calls []call       // of random functions
	err   error
}

// same tells whether two runs cannot be told apart.
func (o outcome) same(other outcome) bool {
	if o.err != nil && other.err != nil {
		return o.err.Error() == other.err.Error()
	}
	return o.err == nil && other.err == nil && maps.Equal(o.files, other.files)
}

// run renders with one choice of what random functions give.
func (h helmRun) run(m *meter, pick func(call) variant) outcome {
	copied, top, err := h.prepare()
	if err != nil {
		return outcome{err: err}
	}
	files, calls, err := h.chart.execute(m, copied, top, pick)
	var failed *templateError
	if errors.As(err, &failed) {
		err = h.templateFault(failed)
	}
	return outcome{files, copied, calls, err}
}

// manifests reads the rendered files, leaves out NOTES and partials, and deals with hooks.
func (h helmRun) manifests(files map[string]string) ([]object, error) {
	var objects []object
	var hooks []string
	firstHook := ""
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "NOTES.txt") || strings.HasPrefix(path.Base(name), "_") || strings.TrimSpace(files[name]) == "" {
			continue
		}
		file, _ := h.chart.locate(name)
		for _, doc := range documentsOf(files[name]) {
			found, err := readRendered(file, doc)
			if err != nil {
				return nil, err
			}
			for _, o := range found {
				switch hook := o.hook(); {
				case hook == "":
					objects = append(objects, o)
				case !testHook(hook):
					firstHook = cmp.Or(firstHook, file)
					hooks = append(hooks, fmt.Sprintf("%s (%s, %s)", o.label(), hook, file))
				}
			}
		}
	}
	if len(hooks) > 0 && h.hooks == musterv1alpha1.HooksRefuse {
		sort.Strings(hooks)
		return nil, fleet.Fault{Reason: fleet.HookRefused, ActionRequiredBy: fleet.User, File: firstHook,
			Message: "the chart has hooks, which nothing runs on a cluster that pulls: " + strings.Join(hooks, "; ") +
				". Set spec.helm.hooks: Ignore to deliver it without them"}
	}
	slices.SortStableFunc(objects, func(a, b object) int { return installRank(a.gvk.Kind) - installRank(b.gvk.Kind) })
	return objects, nil
}

// documentsOf splits a rendered file as Helm does.
func documentsOf(text string) []string {
	split := releaseutil.SplitManifests(text)
	names := slices.Collect(maps.Keys(split))
	sort.Sort(releaseutil.BySplitManifestsOrder(names))
	docs := make([]string, len(names))
	for i, name := range names {
		docs[i] = split[name]
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

// testHook tells whether every event of a hook is a test.
func testHook(events string) bool {
	for event := range strings.SplitSeq(events, ",") {
		if !strings.HasPrefix(strings.TrimSpace(event), "test") {
			return false
		}
	}
	return true
}

// crds reads the crds/ folders of the chart and of the subcharts that are on. Their files are not templates.
func (h helmRun) crds(used *chart.Chart) ([]object, error) {
	crds := used.CRDObjects()
	slices.SortFunc(crds, func(a, b chart.CRD) int { return strings.Compare(a.Filename, b.Filename) })
	var objects []object
	for _, crd := range crds {
		file, _ := h.chart.locate(crd.Filename)
		found, err := readText(file, string(crd.File.Data), func(fleet.YAML) error { return nil })
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

// files renders the chart such that nothing random reaches the output, or says which call would.
func (h helmRun) files() (map[string]string, *chart.Chart, error) {
	a := h.run(newMeter(chartLimits), func(call) variant { return first })
	if len(a.calls) > 0 && !a.same(h.run(newMeter(chartLimits), func(call) variant { return second })) {
		return nil, nil, h.culprit(a)
	}
	return a.files, a.used, a.err
}

// culprit finds the first call that changes the output when it alone gives something else. All that it tries may take what one
// run may; when that is not enough it names the first call of all.
func (h helmRun) culprit(a outcome) error {
	m := newMeter(chartLimits)
	for _, suspect := range a.calls {
		alone := h.run(m, func(c call) variant {
			if c.key == suspect.key {
				return second
			}
			return first
		})
		if m.passed != nil {
			f := h.notDeterministic(a.calls[0])
			f.Err = m.passed
			return f
		}
		if !alone.same(a) {
			return h.notDeterministic(suspect)
		}
	}
	return h.notDeterministic(a.calls[0])
}

func (h helmRun) notDeterministic(c call) fleet.Fault {
	message := fmt.Sprintf("%s gives another result every time: supply the value that the template asks for before it calls %s", c.function, c.function)
	if c.inText {
		message = fmt.Sprintf("a text that tpl renders here calls %s, which gives another result every time: give the result as a value", c.function)
	}
	return h.placed(fleet.Fault{Reason: fleet.NotDeterministic, ActionRequiredBy: fleet.User, Message: message}, c.template, c.line)
}

var errNoSchema = errors.New("a schema may refer to nothing outside its chart")
