package work

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// What the agent counts, of all agents in this process. The depth and the latencies of its queue are client-go's workqueue metrics,
// under the name manifestworks.
var (
	worksKnown   = gauge("works", "Works that the hub has for the cluster.")
	applies      = counters("applies_total", "Manifests that were applied, by result: applied, failed, denied.", "result")
	corrections  = counter("corrections_total", "Objects of which drift was corrected.")
	driftsFound  = counter("drifts_total", "Objects that were found to differ from what was applied.")
	deletions    = counter("deletions_total", "Objects that were deleted because no work wants them any more.")
	statusWrites = counter("status_writes_total", "Status writes to the hub.")
	firstApplies = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "muster", Subsystem: "klusterlet", Name: "apply_duration_seconds",
		Help:    "Time that the first look at a changed work took, until its objects were applied or had failed.",
		Buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30},
	})
)

func init() {
	metrics.Registry.MustRegister(worksKnown, applies, corrections, driftsFound, deletions, statusWrites, firstApplies)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "muster", Subsystem: "klusterlet", Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "muster", Subsystem: "klusterlet", Name: name, Help: help}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "muster", Subsystem: "klusterlet", Name: name, Help: help})
}
