package renderworker_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/renderworker"
)

// BenchmarkWorkerLatency renders a small chart with values that are always new, in turn in this process and in a worker. Both have
// loaded the chart before.
func BenchmarkWorkerLatency(b *testing.B) {
	const most = 2 * time.Millisecond
	files := tree(content)
	workers, local := render.NewWith(newPool(b, 1, renderworker.DefaultBounds), 1<<20), render.New(1<<20)
	once := func(r *render.Renderer, n int) time.Duration {
		in := input(b, files, "web", fmt.Sprintf("{source: {path: chart}, helm: {values: {replicas: %d}}}", n))
		began := time.Now()
		if _, err := r.Render(b.Context(), in); err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	once(workers, -1)
	once(local, -1)
	var inWorker, here []time.Duration
	for n := 0; b.Loop(); n++ {
		inWorker, here = append(inWorker, once(workers, n)), append(here, once(local, n))
	}
	more := median(inWorker) - median(here)
	b.ReportMetric(float64(more.Microseconds()), "µs-more")
	b.Logf("a small chart in a worker: %v; %v more (at most %v) than the floor: in this process, %v", median(inWorker), more, most, median(here))
	if more > most {
		b.Errorf("a worker takes %v more, want at most %v", more, most)
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkOverlaysInParallel renders ten overlays at a time, in turn with one after the other. Kustomize itself renders one at a
// time in a process.
func BenchmarkOverlaysInParallel(b *testing.B) {
	const overlays, leastGain = 10, 1.6
	var archive strings.Builder
	for i := range overlays {
		fmt.Fprintf(&archive, "-- o%d/kustomization.yaml --\nresources: [a.yaml]\nnamePrefix: p-\nlabels: [{pairs: {a: b}, includeSelectors: true}]\n-- o%d/a.yaml --\n", i, i)
		for k := range 60 {
			archive.WriteString(strings.ReplaceAll(configMap, "settings", fmt.Sprintf("settings-%d", k)) + "---\n")
		}
	}
	files := tree(archive.String())
	pool := newPool(b, 2, renderworker.DefaultBounds)
	all := func(parallel bool) time.Duration {
		r := render.NewWith(pool, 1) // which remembers nothing
		began := time.Now()
		var group sync.WaitGroup
		for i := range overlays {
			do := func() {
				if _, err := r.Render(b.Context(), input(b, files, "web", fmt.Sprintf("{source: {path: o%d}}", i))); err != nil {
					b.Error(err)
				}
			}
			if parallel {
				group.Go(do)
			} else {
				do()
			}
		}
		group.Wait()
		return time.Since(began)
	}
	all(true) // starts the workers
	var together, apart []time.Duration
	for b.Loop() {
		for range 5 {
			together, apart = append(together, all(true)), append(apart, all(false))
		}
	}
	gain := float64(median(apart)) / float64(median(together))
	b.ReportMetric(gain, "x-faster")
	b.Logf("%d overlays together: %v; ratio %.2f (at least %.1f) to the floor: one after the other, %v", overlays, median(together), gain, leastGain, median(apart))
	if gain < leastGain && runtime.NumCPU() > 1 {
		b.Errorf("together they are %.2f times as fast, less than %.1f", gain, leastGain)
	}
}
