package hub

import (
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

// HeartbeatKey is the Lease that a hub renews while its controllers run.
var HeartbeatKey = types.NamespacedName{Namespace: "muster-system", Name: "muster-hub-heartbeat"}

const (
	heartbeatPeriod = 10 * time.Second
	heartbeatMisses = 3 // periods without a renewal until the hub counts as silent
)

// Heartbeat renews a Lease while a hub's controllers run, so that whoever reads what they wrote can tell whether it is kept
// up. Of several hubs the one that leads does.
type Heartbeat struct {
	Client client.Client
	// Holder names the process.
	Holder string
	// HubCluster is the managed cluster that is the hub itself, "" when none is: plans depend on it. A process that makes no
	// plans does not know, and says nothing.
	HubCluster *string
	// Now is the clock.
	Now func() time.Time
}

// Start renews the Lease until the context ends.
func (h *Heartbeat) Start(ctx context.Context) error {
	ticker := time.NewTicker(heartbeatPeriod)
	defer ticker.Stop()
	for {
		if err := h.beat(ctx); err != nil && ctx.Err() == nil {
			logr.FromContextOrDiscard(ctx).Error(err, "Say that the hub runs")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (h *Heartbeat) beat(ctx context.Context) error {
	now, seconds := metav1.NewMicroTime(h.Now()), int32(heartbeatMisses*heartbeatPeriod/time.Second)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: HeartbeatKey.Namespace, Name: HeartbeatKey.Name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &h.Holder, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}
	before := bare(lease)
	if h.HubCluster != nil {
		lease.Annotations = map[string]string{musterv1alpha1.HubClusterAnnotation: *h.HubCluster}
	}
	err := h.Client.Patch(ctx, lease.DeepCopy(), client.MergeFrom(before))
	if apierrors.IsNotFound(err) {
		err = h.Client.Create(ctx, lease)
	}
	if err != nil {
		return fmt.Errorf("renew Lease %s: %w", HeartbeatKey, err)
	}
	return nil
}

// bare is a Lease that says nothing: compared with it, a patch has all that the other one says.
func bare(lease *coordinationv1.Lease) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: lease.ObjectMeta}
}

// Pulse is what the heartbeat of a hub tells.
type Pulse struct {
	// Seen is when the hub last said that it runs; the zero time when it never did.
	Seen time.Time
	// Fresh: that was not long ago, so that what the hub wrote is kept up.
	Fresh bool
	// HubCluster is the managed cluster that is the hub itself, if it says that one is.
	HubCluster string
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
	patience := heartbeatMisses * heartbeatPeriod
	if s := lease.Spec.LeaseDurationSeconds; s != nil {
		patience = time.Duration(*s) * time.Second
	}
	seen := lease.Spec.RenewTime.Time
	return Pulse{Seen: seen, Fresh: now.Sub(seen) <= patience, HubCluster: lease.Annotations[musterv1alpha1.HubClusterAnnotation]}
}
