package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/internal/fleet"
	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	benchRepository = "../../examples/fleet-repo"
	benchChart      = "charts/storefront"
	// benchTurns is how often each side renders in one round.
	benchTurns = 10
	// leastGain is how many times as fast as a process a render must be, once the chart is loaded.
	leastGain = 5
)

// BenchmarkHelmProcess renders a chart with values that are always new, in turn with a process of helm template that gets
// the same chart and values.
func BenchmarkHelmProcess(b *testing.B) {
	helm, err := exec.LookPath("helm")
	if err != nil {
		b.Fatal("there is no helm to compare with: make bench builds it")
	}
	r := New(64 << 20)
	in := Input{
		File: "applications/retail/storefront/application.yaml", Tree: fleet.TreeOf(os.DirFS(benchRepository)),
		Cluster: cluster("edge-7", nil),
	}
	ours := func(i int) []string {
		in.Application = app(b, fmt.Sprintf(`{source: {path: %s}, helm: {values: {domain: shop-%d.example.com}}}`, benchChart, i))
		return objects(mustRender(b, r, in))
	}
	theirs := func(i int) []byte {
		command := exec.CommandContext(b.Context(), helm, "template", "web", filepath.Join(benchRepository, benchChart),
			"--namespace", "shop", "--kube-version", fleet.DefaultKubernetesVersion, "--set", fmt.Sprintf("domain=shop-%d.example.com", i))
		var complaint bytes.Buffer
		command.Stderr = &complaint
		out, err := command.Output()
		if err != nil {
			b.Fatalf("helm template: %v\n%s", err, &complaint)
		}
		return out
	}
	sameObjects(b, ours(0), theirs(0)) // and both have read every file once
	var inProcess, process time.Duration
	n := 0
	for b.Loop() {
		for range benchTurns {
			n++
			began := time.Now()
			ours(n)
			inProcess += time.Since(began)
			began = time.Now()
			theirs(n)
			process += time.Since(began)
		}
	}
	if got := r.Stats().Renders; got != int64(n)+1 {
		b.Fatalf("%d renders for %d values", got, n+1)
	}
	gain := float64(process) / float64(inProcess)
	b.ReportMetric(gain, "x-faster")
	b.Logf("render of a chart, warm: %v; ratio %.1f (at least %d) to the floor: a process of helm template, %v",
		(inProcess / time.Duration(n)).Round(time.Microsecond), gain, leastGain, (process / time.Duration(n)).Round(time.Microsecond))
	if gain < leastGain {
		b.Errorf("a render is %.1f times as fast as a process, less than %d", gain, leastGain)
	}
}

// mostOfHelm is how long muster render may take as a process, in times of helm template; a tenth is for the noise of processes.
const mostOfHelm = 1.1

// BenchmarkMusterProcess renders charts as processes, those of examples/ and those that are shaped as public ones: muster render in a fleet that
// has nothing else, in turn with helm template.
func BenchmarkMusterProcess(b *testing.B) {
	helm, err := exec.LookPath("helm")
	if err != nil {
		b.Fatal("there is no helm to compare with: make bench builds it")
	}
	muster, err := filepath.Abs("../../bin/muster")
	if _, missing := os.Stat(muster); err != nil || missing != nil {
		b.Fatal("there is no bin/muster: make bench builds it")
	}
	var ratios []float64
	for chart, content := range benchCharts(b) {
		b.Run(chart, func(b *testing.B) {
			fleetOf := b.TempDir()
			for name, data := range content {
				writeTo(b, filepath.Join(fleetOf, "charts", chart, name), data)
			}
			for name, file := range files(soloFleet) {
				writeTo(b, filepath.Join(fleetOf, name), bytes.ReplaceAll(file.Data, []byte("CHART"), []byte(chart)))
			}
			run := func(program string, args ...string) took {
				command := exec.CommandContext(b.Context(), program, args...)
				command.Dir = fleetOf
				began := time.Now()
				if out, err := command.CombinedOutput(); err != nil {
					b.Fatalf("%s: %v\n%s", program, err, out)
				}
				return took{time.Since(began), command.ProcessState.UserTime() + command.ProcessState.SystemTime()}
			}
			var ours, theirs []took
			for b.Loop() {
				for range benchTurns {
					ours = append(ours, run(muster, "render", "--application", "team/web", "--cluster", "edge"))
					theirs = append(theirs, run(helm, "template", "web", "charts/"+chart, "--namespace", "team", "--set", "domain=example.com"))
				}
			}
			our, their := medianOf(ours), medianOf(theirs)
			ratio := min(float64(our.time)/float64(their.time), float64(our.processor)/float64(their.processor))
			ratios = append(ratios, ratio)
			b.ReportMetric(ratio, "x-helm")
			b.Logf("muster render as a process: %v, %v of processor time; ratio %.2f (at most %.1f) to the floor: a process of helm template, %v, %v of processor time",
				our.time, our.processor, ratio, mostOfHelm, their.time, their.processor)
			if ratio > mostOfHelm {
				b.Errorf("muster render takes %.2f times as long as helm template", ratio)
			}
		})
	}
	slices.Sort(ratios)
	if len(ratios) > 0 {
		b.Logf("%d charts as processes: ratio %.2f in the median, %.2f for the slowest (at most %.1f)", len(ratios), ratios[len(ratios)/2], ratios[len(ratios)-1], mostOfHelm)
	}
}

// took is what a process takes. A machine that does other things as well makes it longer, but not its processor time: the better ratio counts.
type took struct{ time, processor time.Duration }

func medianOf(all []took) took {
	var times, processor []time.Duration
	for _, t := range all {
		times, processor = append(times, t.time), append(processor, t.processor)
	}
	slices.Sort(times)
	slices.Sort(processor)
	return took{times[len(times)/2], processor[len(processor)/2]}
}

// benchCharts are the files of charts that render with the values of soloFleet: those of examples/, and those of testdata that need no others.
func benchCharts(b *testing.B) map[string]map[string][]byte {
	b.Helper()
	charts := map[string]map[string][]byte{}
	for _, name := range []string{"storefront", "orders", "ledger"} {
		charts[name] = map[string][]byte{}
		folder := filepath.Join(benchRepository, "charts", name)
		if err := fs.WalkDir(os.DirFS(folder), ".", func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(filepath.Join(folder, file))
			charts[name][file] = data
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	archives, err := filepath.Glob("testdata/charts/*.txtar")
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range archives {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			b.Fatal(err)
		}
		if len(helmOf(b, archive)) > 0 { // it has values of its own, or asks for what helm template cannot do
			continue
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		charts[name] = map[string][]byte{}
		for _, f := range archive.Files {
			if below, ok := strings.CutPrefix(f.Name, "chart/"); ok {
				charts[name][below] = f.Data
			}
		}
	}
	return charts
}

func writeTo(b *testing.B, file string, data []byte) {
	b.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o600)); err != nil {
		b.Fatal(err)
	}
}

const soloFleet = `
-- muster.yaml --
apiVersion: muster.dev/v1alpha1
kind: FleetConfiguration
-- clustersets/edge.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSet
metadata: {name: edge}
-- tenants/team.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: edge, namespace: team}
spec: {clusterSet: edge}
-- placements/all.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: all, namespace: team}
spec: {}
-- clusters/edge.yaml --
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata: {name: edge, labels: {cluster.open-cluster-management.io/clusterset: edge}}
spec: {hubAcceptsClient: true}
-- applications/web.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: web, namespace: team}
spec:
  placementRef: {name: all}
  source: {path: charts/CHART}
  helm: {values: {domain: example.com}}
`

// sameObjects fails unless helm's output has the objects that were rendered here.
func sameObjects(b *testing.B, ours []string, theirs []byte) {
	b.Helper()
	var names []string
	documents, err := fleet.ReadYAML(string(theirs))
	if err != nil {
		b.Fatal(err)
	}
	for _, y := range documents {
		var o metav1.PartialObjectMetadata
		if err := json.Unmarshal(y.JSON, &o); err != nil {
			b.Fatal(err)
		}
		if o.Kind != "" {
			names = append(names, fmt.Sprintf("%s shop/%s", o.Kind, o.Name))
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, slices.Sorted(slices.Values(ours))); diff != "" {
		b.Fatalf("helm template (-) and the render (+) differ:\n%s", diff)
	}
}
