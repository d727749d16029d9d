package render

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// Half of what 17 charts on 200 clusters took when templates ran on a meter. A machine that does other things as well makes it longer, but not
// its processor time: the shorter one counts.
const (
	chartClusters     = 200
	mostChartsSeconds = 90
)

// BenchmarkChartsOnClusters renders the charts that are shaped as public ones for 200 clusters, each with a value of its own, so that nothing is
// shared between them. The floor is Helm's own packages, which load and render a chart for each cluster.
func BenchmarkChartsOnClusters(b *testing.B) {
	files, err := filepath.Glob("testdata/charts/*.txtar")
	if err != nil || len(files) < 17 {
		b.Fatal(len(files), err)
	}
	var ours, cpu, theirs float64
	for b.Loop() {
		for _, file := range files {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				b.Fatal(err)
			}
			helm := helmOf(b, archive)
			values, _ := helm["values"].(map[string]any)
			if values == nil {
				values = map[string]any{}
				helm["values"] = values
			}
			global, _ := values["global"].(map[string]any)
			if global == nil {
				global = map[string]any{}
				values["global"] = global
			}
			spec := func(cluster string) string {
				global["cluster"] = cluster
				data, err := json.Marshal(map[string]any{"source": map[string]any{"path": "chart"}, "helm": helm})
				if err != nil {
					b.Fatal(err)
				}
				return string(data)
			}
			in := input(b, string(txtar.Format(archive)), spec("${{ cluster.name }}"))
			r := New(64 << 20)
			began, used := time.Now(), processorTime(b)
			for i := range chartClusters {
				in.Cluster = cluster(fmt.Sprintf("edge-%d", i), map[string]string{"region": "eu", "env": "prod"})
				mustRender(b, r, in)
			}
			ours, cpu = ours+time.Since(began).Seconds(), cpu+processorTime(b)-used
			if got := r.Stats().Renders; got != chartClusters {
				b.Fatalf("%s: %d renders for %d clusters", file, got, chartClusters)
			}
			const some = chartClusters / 10
			began = time.Now()
			for i := range some {
				spec(fmt.Sprintf("edge-%d", i))
				helmRenders(b, in, values)
			}
			theirs += time.Since(began).Seconds() * chartClusters / some
		}
	}
	n := float64(b.N)
	b.ReportMetric(ours/n, "s/charts")
	b.ReportMetric(ours/theirs, "x-helm")
	b.Logf("%d charts × %d clusters with a value each: %.1f s, %.1f of processor time (at most %d); ratio %.2f (at most 1) to the floor: Helm's own packages, %.1f s",
		len(files), chartClusters, ours/n, cpu/n, mostChartsSeconds, ours/theirs, theirs/n)
	if took := min(ours, cpu) / n; took > mostChartsSeconds {
		b.Errorf("they take %.1f s, more than %d", took, mostChartsSeconds)
	}
	if ours > theirs {
		b.Errorf("they take %.2f times as long as with Helm's own packages", ours/theirs)
	}
}

// processorTime is that of this process so far, in seconds.
func processorTime(b *testing.B) float64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
