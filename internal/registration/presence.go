package registration

import (
	"slices"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// Absence is a time in which the hub could hear no cluster: it did not run, it did not lead, or its API server did not answer.
type Absence struct {
	From, To time.Time
	// Mass is true when it was a mass silence: at its end each cluster has its whole grace period again, however short it was.
	Mass bool
}

func (a Absence) duration() time.Duration { return a.To.Sub(a.From) }

// Presence is what a hub has observed of its own presence. Silence is judged by it: a cluster that could not be heard was not
// silent. The zero value is a hub that has not started.
type Presence struct {
	started time.Time
	contact time.Time
	// period is how often the API server is asked; zero when nobody asks it.
	period time.Duration
	// absences since the start, the oldest first. Each is longer than all later ones: a shorter one before a longer one
	// decides nothing.
	absences []Absence
	// gaps since the start, the oldest first: how much later than a period each contact came. They add up.
	gaps []gap
}

// gap is a pause between two contacts, and how much of it the hub was deaf.
type gap struct {
	Absence
	deaf time.Duration
}

// maxGaps is how many gaps are kept. The two oldest become one when there are more.
const maxGaps = 512

// Start begins the observation, at the start of a process or when it becomes the leader. Contact is called once a period from then on,
// or never if that is zero.
func (p *Presence) Start(now time.Time, period time.Duration) {
	*p = Presence{started: wall(now), contact: wall(now), period: period}
}

// At is the presence if the API server answers now. The pause since the last contact counts already: who reads a lease after a pause
// may do so before the heartbeat has made the next contact.
func (p *Presence) At(now time.Time) *Presence {
	if p.period == 0 || wall(now).Sub(p.contact) <= p.period+p.period/2 {
		return p
	}
	is := *p
	is.absences, is.gaps = slices.Clone(p.absences), slices.Clone(p.gaps)
	is.Contact(now, p.period)
	return &is
}

// Answered is true when the API server has answered less than a duration ago, or nobody asks it.
func (p *Presence) Answered(now time.Time, within time.Duration) bool {
	return p.period == 0 || wall(now).Sub(p.contact) < within
}

// Contact notes that the API server has answered. It is called once a period: a pause of more than two periods is an absence,
// which is returned. It is the API server's, or that of a machine that slept.
func (p *Presence) Contact(now time.Time, period time.Duration) *Absence {
	absence := Absence{From: p.contact, To: wall(now)}
	p.contact, p.period = absence.To, period
	if absence.duration() > period+period/2 {
		p.noteGap(gap{absence, absence.duration() - period})
	}
	if absence.duration() <= 2*period {
		return nil
	}
	p.Add(absence)
	return &absence
}

func (p *Presence) noteGap(g gap) {
	p.gaps = append(p.gaps, g)
	if len(p.gaps) > maxGaps {
		p.gaps[1] = gap{Absence{From: p.gaps[0].From, To: p.gaps[1].To}, p.gaps[0].deaf + p.gaps[1].deaf}
		p.gaps = slices.Clone(p.gaps[1:])
	}
}

// Add notes an absence that ends now.
func (p *Presence) Add(absence Absence) {
	p.absences = slices.DeleteFunc(p.absences, func(a Absence) bool {
		return absence.Mass || !a.Mass && a.duration() <= absence.duration()
	})
	p.absences = append(p.absences, absence)
}

// Since is when the present time of listening to a cluster began: at the start, after the last mass silence, or after the last absence
// that was long enough for a renewal to be lost in it. It is false when the hub has not started.
func (p *Presence) Since(leasePeriod time.Duration) (time.Time, bool) {
	since := p.started
	for _, a := range p.absences {
		if a.Mass || a.duration() >= leasePeriod {
			since = a.To
		}
	}
	return since, !since.IsZero()
}

// Listening is how far a hub could hear a cluster: from a time on, except for short gaps since it last heard the cluster. Time in which
// the hub could hear nobody does not count as silence.
type Listening struct {
	Since time.Time
	Deaf  time.Duration
}

// Listen says how far the hub could hear a cluster since its last renewal. It is false when the hub has not started.
func (p *Presence) Listen(cluster *clusterv1.ManagedCluster, beat *Beat) (l Listening, started bool) {
	l.Since, started = p.Since(LeasePeriod(cluster))
	if len(p.gaps) == 0 {
		return l, started
	}
	from := heardAt(cluster, beat, l.Since)
	for _, g := range p.gaps {
		if g.To.After(from) {
			l.Deaf += min(g.deaf, g.To.Sub(from))
		}
	}
	return l, started
}

// wall drops the monotonic clock, which stands still while a machine sleeps.
func wall(t time.Time) time.Time { return t.Round(0) }
