package renderworker

import "github.com/prometheus/client_golang/prometheus"

var (
	starts = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "muster", Name: "render_worker_starts_total", Help: "How often a render worker was started: at first, and in place of one that ended or grew.",
	})
	kills = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "muster", Name: "render_worker_kills_total", Help: "How often a render worker ended within a job, by the bound that the job went over; turn is a job that took long while others waited, and began anew.",
	}, []string{"bound"})
	running = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "muster", Name: "render_workers", Help: "Render workers that run.",
	})
	queued = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "muster", Name: "render_queue_length", Help: "Jobs that wait for a render worker.",
	})
	duration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "muster", Name: "render_duration_seconds", Help: "Time that a job takes in a render worker.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
	})
)

// Metrics of all pools of this process.
func Metrics() []prometheus.Collector {
	return []prometheus.Collector{starts, kills, running, queued, duration}
}
