package registration

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

const (
	// leaseTimes is how many lease periods may pass without a renewal.
	leaseTimes = 5
	// DefaultLeaseSeconds is the period of a ManagedCluster that names none.
	DefaultLeaseSeconds = 60
)

// LeasePeriod is how often an agent renews its lease.
func LeasePeriod(cluster *clusterv1.ManagedCluster) time.Duration {
	if s := cluster.Spec.LeaseDurationSeconds; s > 0 {
		return time.Duration(s) * time.Second
	}
	return DefaultLeaseSeconds * time.Second
}

// LeaseDeadline is how long after a renewal the hub calls the agent silent. Five of the longest periods that a cluster may name do not
// fit in a Duration: the deadline is the longest Duration then, instead of a negative one.
func LeaseDeadline(cluster *clusterv1.ManagedCluster) time.Duration {
	if period := LeasePeriod(cluster); period <= math.MaxInt64/leaseTimes {
		return leaseTimes * period
	}
	return math.MaxInt64
}

// Beat is one renewal of a lease, by two clocks.
type Beat struct {
	// Renewed is the time that the agent wrote, by its own clock.
	Renewed time.Time
	// Written is when it was written, by the hub's clock; the zero time when the API server did not say.
	Written time.Time
}

// BeatOf reads the last renewal from a lease, nil when there is none. The API server notes the time of every write in
// managedFields, so that an agent whose clock is wrong is not silent.
func BeatOf(lease *coordinationv1.Lease) *Beat {
	if lease == nil || lease.Spec.RenewTime == nil {
		return nil
	}
	beat := &Beat{Renewed: lease.Spec.RenewTime.Time}
	for _, entry := range lease.ManagedFields {
		if entry.Time != nil && entry.Time.After(beat.Written) {
			beat.Written = entry.Time.Time
		}
	}
	return beat
}

// last is when the hub heard of the agent.
func (b Beat) last() time.Time {
	if b.Written.IsZero() {
		return b.Renewed
	}
	return b.Written
}

// periodWritten is when the cluster's lease period was last written, as far as the API server notes it: the time of the last
// change by whoever set it. An agent keeps a period from then on; before, it kept another one, perhaps a much longer one.
func periodWritten(cluster *clusterv1.ManagedCluster) (last time.Time) {
	for _, entry := range cluster.ManagedFields {
		if entry.Time == nil || entry.FieldsV1 == nil || entry.Subresource != "" || !entry.Time.After(last) {
			continue
		}
		if bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(`"f:leaseDurationSeconds"`)) {
			last = entry.Time.Time
		}
	}
	return last
}

// Silent is the Available condition of a cluster whose agent has stopped renewing its lease, nil for one that has not;
// next is when to look again. Beat is nil when there is no lease. OCM's deadline counts from the last renewal, and only while the hub
// listens: nobody could have heard one before, or in between.
func Silent(cluster *clusterv1.ManagedCluster, beat *Beat, l Listening, now time.Time) (condition *metav1.Condition, next time.Duration) {
	deadline := LeaseDeadline(cluster)
	if beat == nil && cluster.DeletionTimestamp.IsZero() {
		return nil, deadline // the lease is about to be made
	}
	if beat != nil {
		if left := heardAt(cluster, beat, l.Since).Add(deadline).Sub(now.Add(-l.Deaf)); left > 0 {
			return nil, left
		}
	}
	return &metav1.Condition{
		Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionUnknown,
		Reason:  clusterv1.ReasonLeaseUpdateStopped,
		Message: "Registration agent stopped updating its lease.",
	}, LeasePeriod(cluster)
}

// heardAt is the time from which silence counts: the last renewal, or what made an earlier one impossible. It is zero when there is
// no lease.
func heardAt(cluster *clusterv1.ManagedCluster, beat *Beat, since time.Time) time.Time {
	if beat == nil {
		return time.Time{}
	}
	heard := beat.last()
	for _, t := range []time.Time{since, periodWritten(cluster)} {
		if t.After(heard) {
			heard = t
		}
	}
	return heard
}

// ClockSynced compares the clocks of hub and agent by the last renewal, nil when there is nothing to compare. OCM's rule:
// they are apart when they differ by five lease periods. The annotation skip-clock-sync-check turns it off.
func ClockSynced(cluster *clusterv1.ManagedCluster, beat *Beat, now time.Time) *metav1.Condition {
	if beat == nil || cluster.Annotations[clusterv1.SkipClockSyncCheckAnnotationKey] == "true" {
		return nil
	}
	reference := beat.Written
	if reference.IsZero() {
		if now.Sub(beat.Renewed) >= LeaseDeadline(cluster) {
			return nil // silence looks the same
		}
		reference = now
	}
	if reference.Sub(beat.Renewed).Abs() < LeaseDeadline(cluster) {
		return &metav1.Condition{
			Type: clusterv1.ManagedClusterConditionClockSynced, Status: metav1.ConditionTrue,
			Reason:  clusterv1.ReasonClockSynced,
			Message: "The clock of the managed cluster is synced with the hub.",
		}
	}
	return &metav1.Condition{
		Type: clusterv1.ManagedClusterConditionClockSynced, Status: metav1.ConditionFalse,
		Reason: clusterv1.ReasonClockOutOfSync,
		Message: fmt.Sprintf("The clocks of hub and managed cluster are %s or more apart. The agent reports nothing until they agree.",
			LeaseDeadline(cluster)),
	}
}

// WantLease is the lease that the hub makes for a cluster, and that the agent renews.
func WantLease(cluster *clusterv1.ManagedCluster, now time.Time) *coordinationv1.Lease {
	holder, seconds, renewed := clusterv1.ManagedClusterLeaseName, int32(LeasePeriod(cluster)/time.Second), metav1.NewMicroTime(now)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: clusterv1.ManagedClusterLeaseName, Namespace: cluster.Name,
			Labels: map[string]string{clusterv1.ClusterNameLabelKey: cluster.Name},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed},
	}
}

// find gives the condition of a type, nil when it is not there.
func find(conditions []metav1.Condition, kind string) *metav1.Condition {
	i := slices.IndexFunc(conditions, func(c metav1.Condition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &conditions[i]
}
