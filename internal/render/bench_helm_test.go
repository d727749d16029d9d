package render

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/internal/fleet"
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

// sameObjects fails unless helm's output has the objects that were rendered here.
func sameObjects(b *testing.B, ours []string, theirs []byte) {
	b.Helper()
	var names []string
	found, err := readRendered("helm", string(theirs))
	if err != nil {
		b.Fatal(err)
	}
	for _, o := range found {
		names = append(names, fmt.Sprintf("%s shop/%s", o.gvk.Kind, o.name))
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, slices.Sorted(slices.Values(ours))); diff != "" {
		b.Fatalf("helm template (-) and the render (+) differ:\n%s", diff)
	}
}
