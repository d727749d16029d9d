package hub

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
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
	// Counted is when the clusters were counted.
	Counted time.Time `json:"counted"`
	// Clusters that are silent.
	Clusters int `json:"clusters"`
	// ApprovedAt is the count that a person has called real; absent when nobody has.
	ApprovedAt *time.Time `json:"approvedAt,omitempty"`
	// Approved are the clusters of that count that are still silent.
	Approved int `json:"approvedClusters,omitempty"`
	// GraceSeconds is the longest grace period of the clusters that were late when it began.
	GraceSeconds int64 `json:"graceSeconds,omitempty"`
}

// Approval is the annotation by which a person says that the silence is real.
func (s Silence) Approval() string {
	return s.Since.Format(time.RFC3339) + " " + s.Counted.Format(time.RFC3339Nano)
}

// approvalOf reads the annotation; any other text approves nothing.
func approvalOf(text string) (a registration.Approval) {
	since, counted, found := strings.Cut(text, " ")
	a.Since, _ = time.Parse(time.RFC3339, since)
	if a.Counted = a.Since; found {
		a.Counted, _ = time.Parse(time.RFC3339Nano, counted)
	}
	return a
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
	approved registration.Approval
	hearing  registration.Hearing
	counted  time.Time // the hearing
	// unsettled is when clusters had to be counted again last: the hub was away, or many were silent at once.
	unsettled time.Time
}

// Observing is a presence that begins now, for controllers without a heartbeat.
func Observing(now time.Time) *Presence {
	p := &Presence{}
	p.observed.Start(now, 0)
	return p
}

// start begins the observation after the hub whose pulse is given. If that one had been away itself and had not heard all clusters
// again, they still have to be heard.
func (p *Presence) start(before Pulse, now time.Time, period time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observed.Start(now, period)
	if before.RenewedAt.IsZero() {
		return
	}
	if !before.Fresh {
		p.away = &registration.Absence{From: before.RenewedAt, To: now}
	} else if a := before.Hearing.Away; a != nil {
		p.away = &registration.Absence{From: a.From, To: a.To}
	}
	if s := before.Hearing.Silence; s != nil {
		p.mass = &registration.MassSilence{Since: s.Since, Grace: time.Duration(s.GraceSeconds) * time.Second}
		if s.ApprovedAt != nil {
			p.mass.Approved = *s.ApprovedAt
		}
	}
}

// contact notes an answer of the API server, and what a person has approved.
func (p *Presence) contact(now time.Time, period time.Duration, approved string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if absence := p.observed.Contact(now, period); absence != nil && absence.To.Sub(absence.From) > heartbeatDuration {
		p.away = absence
	}
	p.approved = approvalOf(approved)
}

func (p *Presence) report() Hearing {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := Hearing{Heard: p.hearing.Heard, Of: p.hearing.Of}
	if p.away != nil {
		h.Away = &Away{From: p.away.From.UTC(), To: p.away.To.UTC()}
	}
	if p.mass != nil {
		h.Silence = &Silence{
			Since: p.mass.Since, Counted: p.counted, Clusters: p.hearing.Late, Approved: p.hearing.Covered, GraceSeconds: int64(p.mass.Grace / time.Second),
		}
		if at := p.mass.Approved; !at.IsZero() {
			h.Silence.ApprovedAt = &at
		}
	}
	return h
}

// Listen says how far the hub could hear a cluster since its last renewal; false when it has not begun to listen.
func (p *Presence) Listen(cluster *clusterv1.ManagedCluster, beat *registration.Beat, now time.Time) (registration.Listening, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.observed.At(now).Listen(cluster, beat)
}

// Spares is true for a cluster that belongs to a mass silence although it was called silent before that began.
func (p *Presence) Spares(s registration.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mass.Spares(s)
}

// Unsettled is true while clusters have to be counted again: the hub was away, or many are silent at once.
func (p *Presence) Unsettled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.away != nil || p.mass != nil
}

// trustDelay is how long the hub waits, after it has counted the clusters again, before it relies on their reports: clusters that it did
// not hear are called silent meanwhile.
const trustDelay = 30 * time.Second

// Trusts is true when the reports of clusters are up to date. After an absence of the hub, and while many clusters are silent at once,
// they may not be. A hub that counts no clusters trusts them.
func (p *Presence) Trusts(now time.Time) bool {
	if p == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.away == nil && p.mass == nil && p.observed.Answered(now, heartbeatDuration) && (p.unsettled.IsZero() || now.Sub(p.unsettled) >= trustDelay)
}

// Judge counts the clusters, and says which mass silence goes on now and which one did before.
func (p *Presence) Judge(signals []registration.Signal, limit registration.SilenceLimit, now time.Time) (before, after *registration.MassSilence, heard registration.Hearing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before = p.mass
	if p.away != nil || p.mass != nil {
		p.unsettled = now
	}
	p.hearing, p.counted = registration.Hear(signals, p.observed.At(now), before.With(p.approved), now), now.UTC()
	p.mass = registration.Judge(p.hearing, limit, &p.observed, before, p.approved, now)
	if p.hearing.NotYetHeard == 0 {
		p.away = nil
	}
	return before, p.mass, p.hearing
}
