package main

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/renderworker"
)

// renderings are the renderers of this process. They count; the metrics endpoint reads their counters.
type renderings struct {
	mu  sync.Mutex
	all []*render.Renderer
}

var rendered renderings

func init() {
	metrics.Registry.MustRegister(renderworker.Metrics()...)
	metrics.Registry.MustRegister(
		rendered.counter("renders_total", "How often an engine ran: once per distinct input.",
			func(s render.Stats) int64 { return s.Renders }),
		rendered.counter("render_hits_total", "How often a rendering was asked for and answered from memory.",
			func(s render.Stats) int64 { return s.Hits }),
	)
}

func (r *renderings) count(renderer *render.Renderer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, renderer)
}

func (r *renderings) counter(name, help string, of func(render.Stats) int64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "muster", Name: name, Help: help}, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		var sum int64
		for _, renderer := range r.all {
			sum += of(renderer.Stats())
		}
		return float64(sum)
	})
}
