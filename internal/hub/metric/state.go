// Package metric tells Prometheus how a fleet is, from what the objects on the hub say: gauges that are counted when they are
// asked for, and how long a commit takes until it is fetched, delivered, applied and healthy.
package metric

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/overview"
)

// The gauges. Labels are bounded by how many applications and repositories there are; no label names a cluster.
var (
	clusters = describe("clusters", "Clusters by state: available, offline, joining, waiting, denied, released, leaving.", "state")
	ready    = describe("application_ready", "1 where every cluster of the application has what its newest plan asks for and nothing waits, else 0.", "namespace", "application")
	targets  = describe("application_clusters", "Clusters of an application by state: chosen, current, healthy, offline, faulty, drifted, held.", "namespace", "application", "state")
	held     = describe("held_deletions", "Deletions that wait for an approval.", "namespace", "kind", "name")
	rollouts = describe("application_rollout_clusters", "Clusters of an application whose change is on its way, by how far: updated, in_flight, waiting.", "namespace", "application", "phase", "state")
	fetched  = describe("repository_fetched", "1 where the remote could be fetched, else 0.", "namespace", "repository")
	current  = describe("repository_delivered", "1 where the commit that was fetched is delivered, else 0.", "namespace", "repository")
	faults   = describe("repository_faults", "Applications on clusters, and definitions, that could not be planned.", "namespace", "repository")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("muster_"+name, help, labels, nil)
}

// State counts the objects of a cache when Prometheus asks.
type State struct {
	// Reader is a cache. What it gives is not changed.
	Reader client.Reader
	// Elected is closed when this hub leads: of several replicas only one counts, so that sums are right.
	Elected <-chan struct{}
}

// Describe implements prometheus.Collector.
func (State) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{clusters, ready, targets, held, rollouts, fetched, current, faults} {
		to <- d
	}
}

// patience is how long a scrape waits for a cache that is not filled yet.
const patience = 5 * time.Second

// Collect implements prometheus.Collector. A kind that cannot be listed has no values: an alert must not take that for zero.
func (s State) Collect(to chan<- prometheus.Metric) {
	select {
	case <-s.Elected:
	default:
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	s.clusters(ctx, to)
	s.applications(ctx, to)
	s.repositories(ctx, to)
}

func (s State) clusters(ctx context.Context, to chan<- prometheus.Metric) {
	var all clusterv1.ManagedClusterList
	if s.Reader.List(ctx, &all, client.UnsafeDisableDeepCopy) != nil {
		return
	}
	counts := map[string]int{}
	for _, state := range overview.ClusterStates {
		counts[state] = 0
	}
	for i := range all.Items {
		state, _ := overview.ClusterState(&all.Items[i])
		counts[state]++
	}
	for state, n := range counts {
		to <- gauge(clusters, n, state)
	}
}

func (s State) applications(ctx context.Context, to chan<- prometheus.Metric) {
	var all musterv1alpha1.ApplicationList
	if s.Reader.List(ctx, &all, client.UnsafeDisableDeepCopy) != nil {
		return
	}
	for i := range all.Items {
		a := &all.Items[i]
		to <- gauge(ready, number(overview.ApplicationReady(a)), a.Namespace, a.Name)
		sum := a.Status.Summary
		for state, n := range map[string]int32{
			"chosen": sum.Clusters, "current": sum.Current, "healthy": sum.Healthy, "offline": sum.Offline, "faulty": sum.Faulty, "drifted": sum.Drifted, "held": sum.Held,
		} {
			to <- gauge(targets, int(n), a.Namespace, a.Name, state)
		}
		if h := a.Status.Held; h != nil {
			to <- gauge(held, int(h.Deletions), a.Namespace, "Application", a.Name)
		}
		if r := a.Status.Rollout; r != nil {
			for state, n := range map[string]int32{"updated": r.Updated, "in_flight": r.InFlight, "waiting": r.Waiting} {
				to <- gauge(rollouts, int(n), a.Namespace, a.Name, r.Phase, state)
			}
		}
	}
}

func (s State) repositories(ctx context.Context, to chan<- prometheus.Metric) {
	var all musterv1alpha1.FleetRepositoryList
	if s.Reader.List(ctx, &all, client.UnsafeDisableDeepCopy) != nil {
		return
	}
	for i := range all.Items {
		r := &all.Items[i]
		to <- gauge(fetched, number(meta.IsStatusConditionTrue(r.Status.Conditions, "Fetched")), r.Namespace, r.Name)
		to <- gauge(current, number(r.Status.Revision != "" && r.Status.Revision == r.Status.FetchedRevision), r.Namespace, r.Name)
		to <- gauge(faults, int(r.Status.FaultCount), r.Namespace, r.Name)
		if h := r.Status.Held; h != nil {
			to <- gauge(held, int(h.Deletions), r.Namespace, "FleetRepository", r.Name)
		}
	}
}

func gauge(d *prometheus.Desc, n int, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
}

func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// Register adds the collector to a registry. Of several hubs in one process, as in tests, the last one is asked.
func (s State) Register(registry prometheus.Registerer) error {
	err := registry.Register(s)
	var before prometheus.AlreadyRegisteredError
	if errors.As(err, &before) {
		registry.Unregister(before.ExistingCollector)
		return registry.Register(s)
	}
	return err
}
