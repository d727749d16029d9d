package hub

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// HeartbeatKey names the Lease that a hub renews while its controllers run.
var HeartbeatKey = types.NamespacedName{Namespace: "muster-system", Name: "muster-hub-heartbeat"}

const (
	// HeartbeatPeriod is how often a hub renews its Lease.
	HeartbeatPeriod = 2 * time.Second
	// heartbeatDuration is how long after a renewal the hub counts as running.
	heartbeatDuration = 30 * time.Second
)

// Heartbeat renews a Lease while a hub's controllers run. Readers of what the controllers wrote see from it whether they still run,
// and the hub itself whether its API server answers. Of several hubs the leader does.
type Heartbeat struct {
	Client client.Client
	// Reader reads past the cache.
	Reader client.Reader
	// Holder names the process.
	Holder string
	// Version of the hub.
	Version string
	// HubCluster is the managed cluster that is the hub itself, "" when none is: plans depend on it. A process that makes no
	// plans does not know, and writes nothing.
	HubCluster *string
	// Presence is told of every answer; it is nil where no clusters are judged.
	Presence *Presence
	// Period is how often the Lease is renewed: zero is HeartbeatPeriod.
	Period time.Duration
	// Now is the clock.
	Now func() time.Time
}

// Start renews the Lease until the context ends.
func (h *Heartbeat) Start(ctx context.Context) error {
	ticker := time.NewTicker(cmp.Or(h.Period, HeartbeatPeriod))
	defer ticker.Stop()
	begun := false
	for {
		err := error(nil)
		if !begun {
			err = h.begin(ctx)
			begun = err == nil
		}
		if begun {
			err = h.beat(ctx)
		}
		if err != nil && ctx.Err() == nil {
			logr.FromContextOrDiscard(ctx).Error(err, "Renew the Lease of the hub")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// begin reads what the hub before this one has written.
func (h *Heartbeat) begin(ctx context.Context) error {
	if h.Presence == nil {
		return nil
	}
	pulse, err := ReadPulse(ctx, h.Reader, h.Now())
	if err != nil && !answered(err) {
		return err
	}
	h.Presence.start(pulse, h.Now(), cmp.Or(h.Period, HeartbeatPeriod))
	return nil
}

func (h *Heartbeat) beat(ctx context.Context) error {
	now, seconds := metav1.NewMicroTime(h.Now()), int32(heartbeatDuration/time.Second)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: HeartbeatKey.Namespace, Name: HeartbeatKey.Name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &h.Holder, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}
	before := bare(lease)
	lease.Annotations = map[string]string{musterv1alpha1.VersionAnnotation: h.Version}
	if h.HubCluster != nil {
		lease.Annotations[musterv1alpha1.HubClusterAnnotation] = *h.HubCluster
	}
	if h.Presence != nil {
		if text := h.Presence.report().encode(); text != "" {
			lease.Annotations[musterv1alpha1.HearingAnnotation] = text
		} else {
			before.Annotations = map[string]string{musterv1alpha1.HearingAnnotation: ""} // so that the patch removes it
		}
	}
	live := lease.DeepCopy()
	err := h.Client.Patch(ctx, live, client.MergeFrom(before))
	if apierrors.IsNotFound(err) {
		live = lease
		err = h.Client.Create(ctx, live)
	}
	if h.Presence != nil && (err == nil || answered(err)) {
		h.Presence.contact(h.Now(), cmp.Or(h.Period, HeartbeatPeriod), live.Annotations[musterv1alpha1.ApprovedSilenceAnnotation])
	}
	if err != nil {
		return fmt.Errorf("renew Lease %s: %w", HeartbeatKey, err)
	}
	return nil
}

// answered is true for an error that is an answer of a healthy API server.
func answered(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err)
}

// bare is a Lease without content: a patch from it to another Lease holds all content of that one.
func bare(lease *coordinationv1.Lease) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: lease.ObjectMeta}
}

// Pulse is what a hub's heartbeat says.
type Pulse struct {
	// RenewedAt is when the hub last renewed its Lease; the zero time when it never did.
	RenewedAt time.Time
	// Fresh is true when that is recent, so that the controllers run.
	Fresh bool
	// HubCluster is the managed cluster that is the hub itself, if it says that one is.
	HubCluster string
	// Hearing is what the hub says about clusters that it cannot hear.
	Hearing Hearing
}

// ReadPulse looks for the heartbeat of a hub.
func ReadPulse(ctx context.Context, reader client.Reader, now time.Time) (Pulse, error) {
	var lease coordinationv1.Lease
	err := reader.Get(ctx, HeartbeatKey, &lease)
	if apierrors.IsNotFound(err) {
		return Pulse{}, nil
	}
	if err != nil {
		return Pulse{}, fmt.Errorf("read Lease %s: %w", HeartbeatKey, err)
	}
	return pulseOf(&lease, now), nil
}

func pulseOf(lease *coordinationv1.Lease, now time.Time) Pulse {
	if lease.Spec.RenewTime == nil {
		return Pulse{}
	}
	duration := heartbeatDuration
	if s := lease.Spec.LeaseDurationSeconds; s != nil {
		duration = time.Duration(*s) * time.Second
	}
	renewedAt := lease.Spec.RenewTime.Time
	return Pulse{
		RenewedAt: renewedAt, Fresh: now.Sub(renewedAt) <= duration, HubCluster: lease.Annotations[musterv1alpha1.HubClusterAnnotation],
		Hearing: decodeHearing(lease.Annotations[musterv1alpha1.HearingAnnotation]),
	}
}
