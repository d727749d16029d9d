package hub

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/muster-io/muster/internal/registration"
)

// Hearing is what a hub says on the Lease of its heartbeat about clusters that it cannot hear. It is empty when all is well.
type Hearing struct {
	// Away is the last absence of the hub, until each cluster is heard again or has had its whole grace period.
	Away *Away `json:"away,omitempty"`
	// Silence is the mass silence that goes on.
	Silence *Silence `json:"silence,omitempty"`
	// Heard clusters, of those that should be heard.
	Heard int `json:"heard,omitempty"`
	Of    int `json:"of,omitempty"`
}

// Away is a time in which the hub did not run, or could not reach its API server.
type Away struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Silence says that many clusters are silent at once.
type Silence struct {
	Since time.Time `json:"since"`
	// Clusters that are silent.
	Clusters int `json:"clusters"`
	// Approved is true when a person has said that they are really away.
	Approved bool `json:"approved,omitempty"`
}

func (h Hearing) encode() string {
	if h.Away == nil && h.Silence == nil {
		return ""
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // times and numbers
	}
	return string(text)
}

// decodeHearing reads what a hub wrote; a text that it did not write is nothing.
func decodeHearing(text string) Hearing {
	var h Hearing
	if json.Unmarshal([]byte(text), &h) != nil {
		return Hearing{}
	}
	return h
}

// Presence is what the heartbeat and the cluster controllers of a hub share: since when the hub can hear clusters, and what it
// hears.
type Presence struct {
	mu       sync.Mutex
	observed registration.Presence
	away     *registration.Absence
	mass     *registration.MassSilence
	approved time.Time // the mass silence that a person has called real
	hearing  registration.Hearing
}

// Observing is a presence that begins now, for controllers without a heartbeat.
func Observing(now time.Time) *Presence {
	p := &Presence{}
	p.observed.Start(now)
	return p
}

// start begins the observation after the hub whose pulse is given.
func (p *Presence) start(before Pulse, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observed.Start(now)
	if before.RenewedAt.IsZero() {
		return
	}
	if !before.Fresh {
		p.away = &registration.Absence{From: before.RenewedAt, To: now}
	}
	if s := before.Hearing.Silence; s != nil {
		p.mass = &registration.MassSilence{Since: s.Since, Approved: s.Approved}
	}
}

// contact notes an answer of the API server, and what a person has approved.
func (p *Presence) contact(now time.Time, period time.Duration, approved string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if absence := p.observed.Contact(now, period); absence != nil && absence.To.Sub(absence.From) > heartbeatDuration {
		p.away = absence
	}
	p.approved, _ = time.Parse(time.RFC3339, approved) // any other text approves nothing
}

func (p *Presence) report() Hearing {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := Hearing{Heard: p.hearing.Heard, Of: p.hearing.Of}
	if p.away != nil {
		h.Away = &Away{From: p.away.From.UTC(), To: p.away.To.UTC()}
	}
	if p.mass != nil {
		h.Silence = &Silence{Since: p.mass.Since, Clusters: p.hearing.Late, Approved: p.mass.Approved}
	}
	return h
}

// Since is when the hub began to listen to clusters of a lease period; false when it has not.
func (p *Presence) Since(leasePeriod time.Duration) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.observed.Since(leasePeriod)
}

// Unsettled is true while clusters have to be counted again: the hub was away, or many are silent at once.
func (p *Presence) Unsettled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.away != nil || p.mass != nil
}

// Judge counts the clusters, and says which mass silence goes on now and which one did before.
func (p *Presence) Judge(signals []registration.Signal, limit registration.SilenceLimit, now time.Time) (before, after *registration.MassSilence, heard registration.Hearing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before = p.mass
	p.hearing = registration.Hear(signals, &p.observed, before, now)
	p.mass = registration.Judge(p.hearing, limit, &p.observed, before, p.approved, now)
	if p.hearing.NotYetHeard == 0 {
		p.away = nil
	}
	return before, p.mass, p.hearing
}
