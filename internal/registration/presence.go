package registration

import (
	"slices"
	"time"
)

// Absence is a time in which the hub could hear no cluster: it did not run, it did not lead, or its API server did not answer.
type Absence struct{ From, To time.Time }

func (a Absence) duration() time.Duration { return a.To.Sub(a.From) }

// Presence is what a hub has observed of its own presence. Silence is judged by it: a cluster that could not be heard was not
// silent. The zero value is a hub that has not started.
type Presence struct {
	started time.Time
	contact time.Time
	// absences since the start, the oldest first. Each is longer than all later ones: a shorter one before a longer one
	// decides nothing.
	absences []Absence
}

// Start begins the observation, at the start of a process or when it becomes the leader.
func (p *Presence) Start(now time.Time) {
	*p = Presence{started: wall(now), contact: wall(now)}
}

// Contact notes that the API server has answered. It is called once a period: a pause of more than two periods is an absence,
// which is returned. It is the API server's, or that of a machine that slept.
func (p *Presence) Contact(now time.Time, period time.Duration) *Absence {
	absence := Absence{From: p.contact, To: wall(now)}
	p.contact = absence.To
	if absence.duration() <= 2*period {
		return nil
	}
	p.Add(absence)
	return &absence
}

// Add notes an absence that ends now.
func (p *Presence) Add(absence Absence) {
	p.absences = slices.DeleteFunc(p.absences, func(a Absence) bool { return a.duration() <= absence.duration() })
	p.absences = append(p.absences, absence)
}

// Since is when the present time of listening to a cluster began: at the start, or after the last absence that was long enough
// for a renewal to be lost in it. It is false when the hub has not started.
func (p *Presence) Since(leasePeriod time.Duration) (time.Time, bool) {
	since := p.started
	for _, a := range p.absences {
		if a.duration() >= leasePeriod {
			since = a.To
		}
	}
	return since, !since.IsZero()
}

// wall drops the monotonic clock, which stands still while a machine sleeps.
func wall(t time.Time) time.Time { return t.Round(0) }
