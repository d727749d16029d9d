package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/internal/fleet"
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

// BenchmarkMusterProcess renders charts of examples/ as processes: muster render in a fleet that has nothing else, in turn with helm
// template.
func BenchmarkMusterProcess(b *testing.B) {
	helm, err := exec.LookPath("helm")
	if err != nil {
		b.Fatal("there is no helm to compare with: make bench builds it")
	}
	muster, err := filepath.Abs("../../bin/muster")
	if _, missing := os.Stat(muster); err != nil || missing != nil {
		b.Fatal("there is no bin/muster: make bench builds it")
	}
	for _, chart := range []string{"storefront", "orders", "ledger"} {
		b.Run(chart, func(b *testing.B) {
			fleetOf := b.TempDir()
			if err := os.CopyFS(filepath.Join(fleetOf, "charts", chart), os.DirFS(filepath.Join(benchRepository, "charts", chart))); err != nil {
				b.Fatal(err)
			}
			for name, file := range files(soloFleet) {
				full := filepath.Join(fleetOf, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, bytes.ReplaceAll(file.Data, []byte("CHART"), []byte(chart)), 0o600)); err != nil {
					b.Fatal(err)
				}
			}
			run := func(program string, args ...string) time.Duration {
				command := exec.CommandContext(b.Context(), program, args...)
				command.Dir = fleetOf
				began := time.Now()
				if out, err := command.CombinedOutput(); err != nil {
					b.Fatalf("%s: %v\n%s", program, err, out)
				}
				return time.Since(began)
			}
			var ours, theirs []time.Duration
			for b.Loop() {
				for range benchTurns {
					ours = append(ours, run(muster, "render", "--application", "team/web", "--cluster", "edge"))
					theirs = append(theirs, run(helm, "template", "web", "charts/"+chart, "--namespace", "team", "--set", "domain=example.com"))
				}
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			our, their := ours[len(ours)/2], theirs[len(theirs)/2]
			b.ReportMetric(float64(our)/float64(their), "x-helm")
			b.Logf("muster render as a process: %v; ratio %.2f to the floor: a process of helm template, %v", our, float64(our)/float64(their), their)
		})
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
