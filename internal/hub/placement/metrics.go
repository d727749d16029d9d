package placement

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/muster-io/muster/internal/placement"
)

// The metrics have OCM's names, labels and buckets, so that its dashboards read them.
var (
	schedulingDuration = histogram("scheduling_duration_seconds", "How long in seconds it takes to schedule a placement.")
	bindDuration       = histogram("bind_duration_seconds", "How long in seconds it takes to bind a placement to placementDecisions.")
	pluginDuration     = prometheus.NewHistogramVec(options("plugin_duration_seconds", "How long in seconds a plugin runs for a placement."),
		[]string{"name", "plugin_type", "plugin_name"})
)

// schedulingName is the label name of all of them.
const schedulingName = "placement_scheduling"

func init() { metrics.Registry.MustRegister(pluginDuration) }

func options(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Subsystem: "scheduling", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(1e-6, 10, 10)}
}

func histogram(name, help string) prometheus.Observer {
	vec := prometheus.NewHistogramVec(options(name, help), []string{"name"})
	metrics.Registry.MustRegister(vec)
	return vec.WithLabelValues(schedulingName)
}

// tracePlugins measures the plugins of one scheduling.
func (r *Placements) tracePlugins(kind placement.PluginKind, name string) (end func()) {
	begin := r.Now()
	return func() {
		pluginDuration.WithLabelValues(schedulingName, string(kind), name).Observe(r.Now().Sub(begin).Seconds())
	}
}
