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

	mu     sync.Mutex
	judged time.Time
	cost   time.Duration // of the last reading
	held   bool
}

func setupSilence(mgr ctrl.Manager, o Options) (*silence, error) {
	s := &silence{Options: o, client: mgr.GetClient(), live: mgr.GetAPIReader(), events: o.Events}
	return s, mgr.Add(s)
}

// Start counts again while the hub has been away, or many clusters are silent, until the context ends.
func (s *silence) Start(ctx context.Context) error {
	ticker := time.NewTicker(s.CheckPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !s.Presence.Unsettled() {
			continue
		}
		if _, err := s.mayDeclare(ctx, s.share()); err != nil && ctx.Err() == nil {
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

// mayDeclare is true when a cluster may be called silent, by a count that is no older than given.
func (s *silence) mayDeclare(ctx context.Context, age time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	began := s.Now()
	if began.Sub(s.judged) <= age {
		return !s.held, nil
	}
	signals, err := s.signals(ctx)
	if err != nil {
		return false, err
	}
	now := s.Now()
	before, after, heard := s.Presence.Judge(signals, *s.MassSilence, now)
	s.judged, s.cost, s.held = now, now.Sub(began), after != nil && !after.Approved
	s.tell(ctx, before, after, heard)
	return !s.held, nil
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

// tell makes events of the begin and the end of a mass silence.
func (s *silence) tell(ctx context.Context, before, after *registration.MassSilence, heard registration.Hearing) {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: hub.HeartbeatKey.Namespace, Name: hub.HeartbeatKey.Name}}
	log := ctrl.LoggerFrom(ctx).WithValues("silent", heard.Late, "clusters", heard.Of)
	switch {
	case before == nil && after != nil:
		log.Info("many clusters are silent at once, none is called silent")
		s.events.Eventf(lease, nil, corev1.EventTypeWarning, ReasonMassSilence, "Watch",
			"%d of %d clusters are silent at once: the cause is more likely on the hub's side, so that nothing is tainted or moved. If they are really away: muster approve --silence",
			heard.Late, heard.Of)
	case before != nil && after == nil:
		log.Info("the clusters are heard again, each has its whole grace period")
		s.events.Eventf(lease, nil, corev1.EventTypeNormal, ReasonMassSilenceEnded, "Watch", "%d of %d clusters are still silent: silence is judged again, and each cluster has its whole grace period",
			heard.Late, heard.Of)
	case before != nil && after.Approved && !before.Approved:
		log.Info("a person has approved that the silent clusters are away")
		s.events.Eventf(lease, nil, corev1.EventTypeNormal, ReasonMassSilenceApproved, "Watch", "a person says that %d clusters are really away: they are tainted", heard.Late)
	}
}

// Reasons of events on the Lease of the hub's heartbeat.
const (
	ReasonMassSilence         = "MassSilence"
	ReasonMassSilenceEnded    = "MassSilenceEnded"
	ReasonMassSilenceApproved = "MassSilenceApproved"
)
