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

// hubView is whether somebody keeps up what the hub's API server says.
type hubView struct {
	State    string     `json:"state"`
	LastSeen *time.Time `json:"lastSeen,omitempty"` // of one that is silent
	Message  string     `json:"message,omitempty"`
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
	return hubView{State: hubRuns}
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

// printPulse says that what follows may be old. A hub that runs is not worth a line.
func printPulse(p *printer, h hubView, now time.Time) {
	if !h.current() {
		p.linef("%s %s", p.paint(red, "HUB"), oneLine(h.says(now)))
	}
}
