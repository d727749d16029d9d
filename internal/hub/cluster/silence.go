package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// silence decides whether a cluster whose lease has expired may be called silent. It reads the leases of all clusters, since many
// that fall silent at once point at the hub's side.
type silence struct {
	Options
	client client.Client
	live   client.Reader
	events events.EventRecorder

	// changed tells the controller of clusters that a mass silence has begun or was approved.
	changed chan event.GenericEvent

	mu     sync.Mutex
	judged time.Time
	cost   time.Duration // of the last reading
	mass   *registration.MassSilence
	until  time.Time // counts until then, since clusters were called silent
}

func setupSilence(mgr ctrl.Manager, o Options) (*silence, error) {
	s := &silence{Options: o, client: mgr.GetClient(), live: mgr.GetAPIReader(), events: o.Events, changed: make(chan event.GenericEvent, 8)}
	return s, mgr.Add(s)
}

// watchAfter is for how long the clusters are counted after one was called silent, if its own grace period is not longer: it may be
// the first of many.
const watchAfter = 5 * time.Minute

// declared notes that a cluster is called silent.
func (s *silence) declared(grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := s.Now().Add(max(watchAfter, grace)); until.After(s.until) {
		s.until = until
	}
}

// watches is true while the clusters have to be counted, whether one is about to be called silent or not.
func (s *silence) watches() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Presence.Unsettled() || s.Now().Before(s.until)
}

// Start counts again while the hub has been away, many clusters are silent, or one was called silent not long ago, until the context ends.
func (s *silence) Start(ctx context.Context) error {
	ticker := time.NewTicker(s.CheckPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !s.watches() {
			continue
		}
		if _, err := s.judge(ctx, s.share()); err != nil && ctx.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "count the clusters that can be heard")
		}
	}
}

// share is an age of the last count that keeps counting below a twentieth of the time, however large the fleet is.
func (s *silence) share() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 20 * s.cost
}

// judge is the mass silence that goes on, or nil, by a count that is no older than given.
func (s *silence) judge(ctx context.Context, age time.Duration) (*registration.MassSilence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	began := s.Now()
	if began.Sub(s.judged) <= age {
		return s.mass, nil
	}
	signals, err := s.signals(ctx)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	before, after, heard := s.Presence.Judge(signals, *s.MassSilence, now)
	s.judged, s.cost, s.mass = now, now.Sub(began), after
	s.tell(ctx, before, after, heard)
	return after, nil
}

// signals are all clusters with their leases.
func (s *silence) signals(ctx context.Context) ([]registration.Signal, error) {
	var clusters clusterv1.ManagedClusterList
	if err := s.client.List(ctx, &clusters, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	beats := map[string]*registration.Beat{}
	options := &client.ListOptions{Limit: 1000, Raw: &metav1.ListOptions{FieldSelector: "metadata.name=" + clusterv1.ManagedClusterLeaseName}}
	for {
		var page coordinationv1.LeaseList
		if err := s.live.List(ctx, &page, options); err != nil {
			return nil, fmt.Errorf("list the leases of all clusters: %w", err)
		}
		for i := range page.Items {
			beats[page.Items[i].Namespace] = registration.BeatOf(&page.Items[i])
		}
		if options.Continue = page.Continue; page.Continue == "" {
			break
		}
	}
	signals := make([]registration.Signal, len(clusters.Items))
	for i := range clusters.Items {
		signals[i] = registration.Signal{Cluster: &clusters.Items[i], Beat: beats[clusters.Items[i].Name]}
	}
	return signals, nil
}

// tell makes events of the begin and the end of a mass silence, and wakes the clusters that it changes.
func (s *silence) tell(ctx context.Context, before, after *registration.MassSilence, heard registration.Hearing) {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: hub.HeartbeatKey.Namespace, Name: hub.HeartbeatKey.Name}}
	log := ctrl.LoggerFrom(ctx).WithValues("silent", heard.Late, "clusters", heard.Of)
	switch {
	case before == nil && after != nil:
		log.Info("many clusters are silent at once, none is called silent")
		s.events.Eventf(lease, nil, corev1.EventTypeWarning, ReasonMassSilence, "Watch",
			"%d of %d clusters are silent at once: the cause is more likely on the hub's side, so that nothing is tainted or moved. If they are really away: muster approve --silence",
			heard.Late, heard.Of)
		s.wake(lease)
	case before != nil && after == nil:
		log.Info("the clusters are heard again, each has its whole grace period")
		s.events.Eventf(lease, nil, corev1.EventTypeNormal, ReasonMassSilenceEnded, "Watch", "%d of %d clusters are still silent: silence is judged again, and each cluster has its whole grace period",
			heard.Late, heard.Of)
	case before != nil && after.Approved.After(before.Approved):
		log.Info("a person has approved that the silent clusters are away")
		s.events.Eventf(lease, nil, corev1.EventTypeNormal, ReasonMassSilenceApproved, "Watch", "a person says that %d clusters are really away: they are tainted", heard.Late)
		s.wake(lease)
	}
}

// wake never waits: clusters that are called silent are looked at once a lease period anyway.
func (s *silence) wake(lease *coordinationv1.Lease) {
	select {
	case s.changed <- event.GenericEvent{Object: lease}:
	default:
	}
}

// Reasons of events on the Lease of the hub's heartbeat.
const (
	ReasonMassSilence         = "MassSilence"
	ReasonMassSilenceEnded    = "MassSilenceEnded"
	ReasonMassSilenceApproved = "MassSilenceApproved"
)
