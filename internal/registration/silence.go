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
	// Grace is the longest grace period of the clusters that were late when it began. Who was called silent no longer before belongs
	// to it: a cluster whose lease is short is judged before the others are late.
	Grace time.Duration
	// Approved is the count that a person has called real; the zero time when nobody has. It is about the clusters that were late then,
	// which are called silent, and not about those that fall silent later.
	Approved time.Time
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
	// Covered are those of the late ones that a person has called away.
	Covered int
	// NotYetHeard counts clusters that have not renewed since the hub began to listen, and whose time to do so is not over.
	NotYetHeard int
	// Grace is the longest grace period of the late clusters that are not called silent.
	Grace time.Duration
}

// Hear counts. Clusters that are not accepted, that never joined, and that were silent long before do not count. Mass is the mass
// silence that goes on, nil when none does: in one, a renewal that the hub itself has missed does not count as heard.
//
// Clusters fall silent together when they do within one grace period, the longest one of those that are late: of many clusters with
// leases of seconds and of minutes, the first are called silent long before the others are late.
func Hear(signals []Signal, presence *Presence, mass *MassSilence, now time.Time) Hearing {
	var h Hearing
	var counted []Signal
	for _, s := range signals {
		available := s.available()
		if available == nil || !meta.IsStatusConditionTrue(s.Cluster.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) ||
			!s.Cluster.DeletionTimestamp.IsZero() {
			continue
		}
		counted = append(counted, s)
		if available.Status != metav1.ConditionUnknown && late(s, presence, mass, now) {
			h.Grace = max(h.Grace, LeaseDeadline(s.Cluster))
		}
	}
	for _, s := range counted {
		if s.declared() && !s.declaredSince(mass.began(s, now), max(h.Grace, mass.grace())) {
			continue
		}
		h.Of++
		since, _ := presence.Since(LeasePeriod(s.Cluster))
		switch {
		case s.Beat != nil && s.Beat.last().After(since):
			h.Heard++
		case now.Sub(since) < LeaseDeadline(s.Cluster):
			h.NotYetHeard++
		}
		if s.declared() || late(s, presence, mass, now) {
			h.Late++
			if mass.covers(s) {
				h.Covered++
			}
		}
	}
	return h
}

// available is the Available condition, nil when the cluster has never joined.
func (s Signal) available() *metav1.Condition {
	return find(s.Cluster.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
}

// declared is true for a cluster that is called silent.
func (s Signal) declared() bool {
	available := s.available()
	return available != nil && available.Status == metav1.ConditionUnknown
}

// declaredSince is true when a cluster was called silent less than a grace period before a time, its own one or a longer one.
func (s Signal) declaredSince(t time.Time, grace time.Duration) bool {
	return s.available().LastTransitionTime.Add(max(LeaseDeadline(s.Cluster), grace)).After(t)
}

// began is the time from which a cluster counts as silent long before. While nobody has said that its silence is real, a cluster that
// was called silent at the beginning of a mass silence belongs to it until it is heard: it does not end by waiting.
func (m *MassSilence) began(s Signal, now time.Time) time.Time {
	if m == nil || m.covers(s) {
		return now
	}
	return m.Since
}

func (m *MassSilence) grace() time.Duration {
	if m == nil {
		return 0
	}
	return m.Grace
}

// covers is true for a cluster that was late at the count that a person has called real. It goes by the last renewal alone: when the
// hub writes a taint, the API server may note that as a change of the lease period.
func (m *MassSilence) covers(s Signal) bool {
	if m == nil || m.Approved.IsZero() || s.Beat == nil {
		return false
	}
	return !m.Approved.Before(s.Beat.last().Add(latePeriods * LeasePeriod(s.Cluster)))
}

// MayDeclare is true when a cluster whose lease has expired may be called silent.
func (m *MassSilence) MayDeclare(s Signal) bool { return m == nil || m.covers(s) }

// Spares is true for a cluster that was called silent before there were enough of them for a mass silence: as long as that goes on, the
// cluster has no taint.
func (m *MassSilence) Spares(s Signal) bool {
	return m != nil && s.declared() && s.declaredSince(m.Since, m.Grace) && !m.covers(s)
}

func late(s Signal, presence *Presence, mass *MassSilence, now time.Time) bool {
	l := Listening{}
	if mass == nil {
		l, _ = presence.Listen(s.Cluster, s.Beat)
	}
	heard := heardAt(s.Cluster, s.Beat, l.Since)
	return !heard.IsZero() && now.Sub(heard)-l.Deaf >= latePeriods*LeasePeriod(s.Cluster)
}

// exceeds is true when so many clusters are late that the cause is more likely on the hub's side.
func (l SilenceLimit) exceeds(h Hearing) bool {
	return l.Clusters > 0 && h.Late >= l.Clusters && h.Late*100 >= l.Percent*h.Of
}

// Approval is what a person says of a mass silence: which one, and at which count of its clusters.
type Approval struct{ Since, Counted time.Time }

// Judge says whether a mass silence begins, goes on or has ended; nil is none. The end is an absence of the hub, so that each cluster
// has its whole grace period again.
//
//	before      late clusters exceed the limit   after
//	none        no                               none
//	none        yes                              begins now
//	goes on     yes                              goes on; an approval of it counts
//	goes on     no                               none, and presence has one absence more
func Judge(h Hearing, limit SilenceLimit, presence *Presence, before *MassSilence, approval Approval, now time.Time) *MassSilence {
	exceeds := limit.exceeds(h)
	switch {
	case !exceeds && before != nil:
		presence.Add(Absence{From: before.Since, To: wall(now), Mass: true})
		return nil
	case !exceeds:
		return nil
	case before == nil:
		return &MassSilence{Since: wall(now).UTC().Truncate(time.Second), Grace: h.Grace} // as it is written
	}
	return before.With(approval)
}

// With is the mass silence with an approval, if that is about it.
func (m *MassSilence) With(approval Approval) *MassSilence {
	if m == nil || !approval.Since.Equal(m.Since) || !approval.Counted.After(m.Approved) {
		return m
	}
	after := *m
	after.Approved = approval.Counted
	return &after
}
