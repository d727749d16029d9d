package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/hub"
)

// The states of a hub.
const (
	hubRuns    = "running"
	hubSilent  = "silent"  // its controllers have stopped saying that they run
	hubNever   = "never"   // no controllers have run on this API server
	hubUnknown = "unknown" // the person may not ask
)

// hubView is whether the hub's controllers run, and what they say about clusters that they cannot hear.
type hubView struct {
	State    string       `json:"state"`
	LastSeen *time.Time   `json:"lastSeen,omitempty"` // of one that is silent
	Message  string       `json:"message,omitempty"`
	Hearing  *hub.Hearing `json:"hearing,omitempty"`
}

// lookAtHub never fails: whoever may not see the Lease still gets the rest.
func lookAtHub(ctx context.Context, reader client.Reader, now time.Time) hubView {
	pulse, err := hub.ReadPulse(ctx, reader, now)
	switch {
	case err != nil:
		return hubView{State: hubUnknown, Message: "whether the hub runs cannot be seen: " + err.Error()}
	case pulse.Seen.IsZero():
		return hubView{State: hubNever}
	case !pulse.Fresh:
		return hubView{State: hubSilent, LastSeen: &pulse.Seen}
	}
	v := hubView{State: hubRuns}
	if pulse.Hearing != (hub.Hearing{}) {
		v.Hearing = &pulse.Hearing
	}
	return v
}

// current: what is shown is of now, as far as can be told.
func (h hubView) current() bool { return h.State == hubRuns || h.State == hubUnknown }

// says is the hub's line.
func (h hubView) says(now time.Time) string {
	switch h.State {
	case hubRuns:
		return "running"
	case hubSilent:
		return fmt.Sprintf("last seen %s ago: what is shown may be old", age(now.Sub(*h.LastSeen)))
	case hubNever:
		return "never seen: its controllers have not run against this API server"
	}
	return h.Message
}

// printPulse prints what matters about the hub. A hub that runs, and hears its clusters, is not worth a line.
func printPulse(p *printer, h hubView, now time.Time) {
	if !h.current() {
		p.linef("%s %s", p.paint(red, "HUB"), oneLine(h.says(now)))
	}
	if text := h.away(now); text != "" {
		p.linef("%s %s", p.paint(yellow, "HUB"), text)
	}
	if text := h.massSilence(now); text != "" {
		p.linef("%s %s", p.paint(red, "HUB"), text)
	}
}

// away says when the hub was away, and how many clusters it hears again; "" when that is over.
func (h hubView) away(now time.Time) string {
	if h.Hearing == nil || h.Hearing.Away == nil {
		return ""
	}
	a := h.Hearing.Away
	text := fmt.Sprintf("was away from %s to %s", clock(a.From, now), clock(a.To, now))
	if h.Hearing.Of > 0 {
		text += fmt.Sprintf(", clusters are being heard again: %d of %d", h.Hearing.Heard, h.Hearing.Of)
	}
	return text
}

// massSilence says that many clusters are silent at once; "" when they are not.
func (h hubView) massSilence(now time.Time) string {
	if h.Hearing == nil || h.Hearing.Silence == nil {
		return ""
	}
	s := h.Hearing.Silence
	text := fmt.Sprintf("%d of %d clusters are silent at once, since %s", s.Clusters, h.Hearing.Of, clock(s.Since, now))
	switch {
	case s.Approved > 0 && s.Approved == s.Clusters:
		return text + ": approved as real, each is treated as silent"
	case s.Approved > 0:
		return text + fmt.Sprintf(": %d of them approved as real, and treated as silent; the others fell silent later, and are neither tainted nor moved until they are heard again", s.Approved)
	}
	return text + ": more likely a fault on the hub's side, so nothing is tainted or moved until they are heard again"
}

// clock is a time of today, or with its date, in UTC.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Year() == now.Year() && t.YearDay() == now.YearDay() {
		return t.Format("15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04:05 UTC")
}
