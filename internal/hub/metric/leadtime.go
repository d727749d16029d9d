package metric

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/tracing"
)

// leadTime is how long commits take. Of the stage fetched it is the time since the commit was made, by the clock of whoever made
// it; of the others the time since this hub has fetched it.
var leadTime = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Namespace: "muster", Name: "lead_time_seconds",
	Help:    "Time until a commit is fetched, since it was made; until it is delivered, and of an application until it is planned, and applied and healthy on every cluster, since it was fetched.",
	Buckets: []float64{0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600},
}, []string{"namespace", "application", "stage"})

// looks are at the remotes of repositories, and at the hosts of charts and artifacts.
var looks = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Namespace: "muster", Name: "remote_look_seconds",
	Help:    "Time that a look at the remote of a repository, or at the host of a source, took with what was fetched, by result: fetched or failed.",
	Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
}, []string{"kind", "result"})

// The kinds of remotes.
const (
	Repository = "repository"
	Source     = "source"
)

// Looked counts a look at a remote.
func Looked(kind string, took time.Duration, err error) {
	result := "fetched"
	if err != nil {
		result = "failed"
	}
	looks.WithLabelValues(kind, result).Observe(took.Seconds())
}

// Metrics are those of all hubs in this process that are counted as things happen.
func Metrics() []prometheus.Collector { return []prometheus.Collector{leadTime, looks} }

// The stages of a commit.
const (
	stageFetched   = "fetched"
	stageDelivered = "delivered"
	stagePlanned   = "planned" // and the works of its first step written
	stageApplied   = "applied"
	stageHealthy   = "healthy"
)

// LeadTimes observes commits on their way, from the statuses of repositories and applications, for metrics and for traces. A commit that
// came before this hub began to look is not counted.
type LeadTimes struct {
	// CommittedAt is when a commit of a remote was made.
	CommittedAt func(url, revision string) (time.Time, error)
	// Now is the time.
	Now func() time.Time
	// Traces are told of the stages while Leads says so: every hub observes, and one tells. Nil tells nothing.
	Traces *tracing.Tracer
	Leads  func() bool

	mu      sync.Mutex
	fetched map[string]arrival // by namespace/name of the repository
}

// arrival is the newest commit of a repository, and when it was fetched.
type arrival struct {
	revision               string
	madeAt                 time.Time // zero when it is not known
	fetchedAt, deliveredAt time.Time
}

// Follow observes the objects of a cache.
func (l *LeadTimes) Follow(ctx context.Context, objects cache.Cache) error {
	for kind, note := range map[client.Object]func(before, after any){
		&musterv1alpha1.FleetRepository{}: func(before, after any) {
			l.repository(before.(*musterv1alpha1.FleetRepository), after.(*musterv1alpha1.FleetRepository))
		},
		&musterv1alpha1.Application{}: func(before, after any) {
			l.application(before.(*musterv1alpha1.Application), after.(*musterv1alpha1.Application))
		},
	} {
		informer, err := objects.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("follow %T for lead times: %w", kind, err)
		}
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{UpdateFunc: note}); err != nil {
			return fmt.Errorf("follow %T for lead times: %w", kind, err)
		}
	}
	return nil
}

func (l *LeadTimes) repository(before, after *musterv1alpha1.FleetRepository) {
	key := after.Namespace + "/" + after.Name
	now := l.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if revision := after.Status.FetchedRevision; revision != before.Status.FetchedRevision && revision != "" {
		if l.fetched == nil {
			l.fetched = map[string]arrival{}
		}
		arrived := arrival{revision: revision, fetchedAt: now}
		if made, err := l.CommittedAt(after.Spec.URL, revision); err == nil && !made.After(now) {
			arrived.madeAt = made
			observe(after.Namespace, "", stageFetched, now.Sub(made))
			l.trace(revision, "fetch", made, now, map[string]string{"muster.repository": key})
		}
		l.fetched[key] = arrived
	}
	if last := l.fetched[key]; after.Status.Revision != before.Status.Revision && after.Status.Revision == last.revision && last.revision != "" {
		observe(after.Namespace, "", stageDelivered, now.Sub(last.fetchedAt))
		l.trace(last.revision, "deliver", last.fetchedAt, now, map[string]string{"muster.repository": key})
		if from := last.madeAt; l.Traces != nil && l.Leads() {
			if from.IsZero() {
				from = last.fetchedAt
			}
			l.Traces.Commit(last.revision, from, now, map[string]string{"muster.repository": key, "muster.revision": last.revision})
		}
		last.deliveredAt = now
		l.fetched[key] = last
	}
}

func (l *LeadTimes) application(before, after *musterv1alpha1.Application) {
	now := l.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	last, known := l.fetched[after.Annotations[musterv1alpha1.RepositoryAnnotation]]
	if !known || after.Status.Revision != last.revision {
		return
	}
	if before.Status.Revision != last.revision {
		observe(after.Namespace, after.Name, stagePlanned, now.Sub(last.fetchedAt))
	}
	for stage, on := range map[string]func(musterv1alpha1.Summary) int32{
		stageApplied: func(s musterv1alpha1.Summary) int32 { return s.Current },
		stageHealthy: func(s musterv1alpha1.Summary) int32 { return s.Healthy },
	} {
		reached := func(a *musterv1alpha1.Application) bool {
			return a.Status.Revision == last.revision && a.Status.Summary.Clusters > 0 && on(a.Status.Summary) == a.Status.Summary.Clusters
		}
		if reached(after) && !reached(before) {
			observe(after.Namespace, after.Name, stage, now.Sub(last.fetchedAt))
			from := last.deliveredAt
			if from.IsZero() {
				from = last.fetchedAt
			}
			l.trace(last.revision, spans[stage], from, now, map[string]string{
				"muster.application": after.Namespace + "/" + after.Name, "muster.clusters": fmt.Sprint(after.Status.Summary.Clusters),
			})
		}
	}
}

// spans of an application, from when its commit was delivered: until every cluster has applied it, and until it is healthy on every one.
var spans = map[string]string{stageApplied: "roll out", stageHealthy: "become healthy"}

func (l *LeadTimes) trace(revision, name string, from, to time.Time, about map[string]string) {
	if l.Traces != nil && l.Leads() {
		l.Traces.Span(revision, name, from, to, nil, about)
	}
}

// observe counts a stage of an application, or of a repository, whose application is "".
func observe(namespace, application, stage string, d time.Duration) {
	leadTime.WithLabelValues(namespace, application, stage).Observe(d.Seconds())
}
