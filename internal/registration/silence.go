package registration

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// latePeriods is how many lease periods without a renewal make a cluster late. An agent renews once a period. When the first
// cluster of an outage that is not its own reaches the deadline of five periods, all others are late.
const latePeriods = 3

// SilenceLimit says how many clusters fall silent together when the cause is more likely on the hub's side: at least Clusters,
// and at least Percent of those that the hub was hearing. Clusters 0 turns the rule off.
type SilenceLimit struct {
	Clusters int
	Percent  int
}

// MassSilence is a time in which so many clusters are silent that none of them is called silent.
type MassSilence struct {
	Since time.Time
	// Approved is true when a person has said that the clusters are really away: they are called silent.
	Approved bool
}

// Signal is what the hub knows of one cluster's lease; Beat is nil when there is none.
type Signal struct {
	Cluster *clusterv1.ManagedCluster
	Beat    *Beat
}

// Hearing counts the clusters that the hub was hearing until one grace period ago, or hears.
type Hearing struct {
	Of    int
	Heard int // have renewed their lease since the hub listens
	Late  int // have missed renewals, or were called silent less than a grace period ago, or before the mass silence began
	// NotYetHeard counts clusters that have not renewed since the hub began to listen, and whose time to do so is not over.
	NotYetHeard int
}

// Hear counts. Clusters that are not accepted, that never joined, and that were silent long before do not count. Mass is the mass
// silence that goes on, nil when none does: in one, a renewal that the hub itself has missed does not count as heard.
func Hear(signals []Signal, presence *Presence, mass *MassSilence, now time.Time) Hearing {
	var h Hearing
	for _, s := range signals {
		available := find(s.Cluster.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
		if available == nil || !meta.IsStatusConditionTrue(s.Cluster.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) ||
			!s.Cluster.DeletionTimestamp.IsZero() {
			continue
		}
		since, _ := presence.Since(LeasePeriod(s.Cluster))
		if available.Status == metav1.ConditionUnknown && !available.LastTransitionTime.Add(LeaseDeadline(s.Cluster)).After(mass.began(now)) {
			continue
		}
		h.Of++
		switch {
		case s.Beat != nil && s.Beat.last().After(since):
			h.Heard++
		case now.Sub(since) < LeaseDeadline(s.Cluster):
			h.NotYetHeard++
		}
		if available.Status == metav1.ConditionUnknown || late(s, since, mass, now) {
			h.Late++
		}
	}
	return h
}

// began is the time from which a cluster counts as silent long before. While nobody has said that a mass silence is real, the
// clusters that were called silent at its beginning belong to it until they are heard: it does not end by waiting.
func (m *MassSilence) began(now time.Time) time.Time {
	if m == nil || m.Approved {
		return now
	}
	return m.Since
}

func late(s Signal, since time.Time, mass *MassSilence, now time.Time) bool {
	if mass != nil {
		since = time.Time{}
	}
	heard := heardAt(s.Cluster, s.Beat, since)
	return !heard.IsZero() && now.Sub(heard) >= latePeriods*LeasePeriod(s.Cluster)
}

// exceeds is true when so many clusters are late that the cause is more likely on the hub's side.
func (l SilenceLimit) exceeds(h Hearing) bool {
	return l.Clusters > 0 && h.Late >= l.Clusters && h.Late*100 >= l.Percent*h.Of
}

// Judge says whether a mass silence begins, goes on or has ended; nil is none. Approved is the time of the mass silence that a
// person has called real. The end is an absence of the hub, so that each cluster has its whole grace period again.
//
//	before      late clusters exceed the limit   after
//	none        no                               none
//	none        yes                              begins now
//	goes on     yes                              goes on
//	goes on     no                               none, and presence has one absence more
func Judge(h Hearing, limit SilenceLimit, presence *Presence, before *MassSilence, approved, now time.Time) *MassSilence {
	exceeds := limit.exceeds(h)
	switch {
	case !exceeds && before != nil:
		presence.Add(Absence{From: before.Since, To: wall(now)})
		return nil
	case !exceeds:
		return nil
	case before != nil:
		return &MassSilence{Since: before.Since, Approved: approved.Equal(before.Since)}
	}
	return &MassSilence{Since: wall(now).UTC().Truncate(time.Second)} // as it is written
}
