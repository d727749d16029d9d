package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/muster-io/muster/internal/hub/metric"
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
	metrics.Registry.MustRegister(metric.Metrics()...)
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

// serveMetrics counts the fleet for whoever asks for metrics, and how long commits take; that is told in traces too.
func (p *parts) serveMetrics(ctx context.Context, controllers []string) error {
	if placementsAlone(controllers) || p.MetricsAddress == "" && p.traces == nil {
		return nil
	}
	if p.MetricsAddress != "" {
		if err := (metric.State{Reader: p.mgr.GetClient(), Elected: p.mgr.Elected()}).Register(metrics.Registry); err != nil {
			return fmt.Errorf("count the fleet: %w", err)
		}
	}
	return (&metric.LeadTimes{CommittedAt: p.store.CommittedAt, Now: time.Now, Traces: p.traces, Leads: p.leads}).Follow(ctx, p.mgr.GetCache())
}

// leads says whether this hub is the one that works.
func (p *parts) leads() bool {
	select {
	case <-p.mgr.Elected(): // closed from the start without leader election
		return true
	default:
		return false
	}
}
