package overview

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/hub"
)

// The states of a hub.
const (
	HubRuns    = "running"
	HubSilent  = "silent"  // its controllers have stopped saying that they run
	HubNever   = "never"   // no controllers have run on this API server
	HubUnknown = "unknown" // the person may not ask
)

// Hub is whether the hub's controllers run, and what they say about clusters that they cannot hear.
type Hub struct {
	State    string       `json:"state"`
	LastSeen *time.Time   `json:"lastSeen,omitempty"` // of one that is silent
	Message  string       `json:"message,omitempty"`
	Hearing  *hub.Hearing `json:"hearing,omitempty"`
}

// LookAtHub never fails: whoever may not see the Lease still gets the rest.
func LookAtHub(ctx context.Context, reader client.Reader, now time.Time) Hub {
	pulse, err := hub.ReadPulse(ctx, reader, now)
	switch {
	case err != nil:
		return Hub{State: HubUnknown, Message: "whether the hub runs cannot be seen: " + err.Error()}
	case pulse.RenewedAt.IsZero():
		return Hub{State: HubNever}
	case !pulse.Fresh:
		return Hub{State: HubSilent, LastSeen: &pulse.RenewedAt}
	}
	v := Hub{State: HubRuns}
	if pulse.Hearing != (hub.Hearing{}) {
		v.Hearing = &pulse.Hearing
	}
	return v
}

// Current says that what is shown is of now, as far as can be told.
func (h Hub) Current() bool { return h.State == HubRuns || h.State == HubUnknown }

// Says is the hub's line.
func (h Hub) Says(now time.Time) string {
	switch h.State {
	case HubRuns:
		return "running"
	case HubSilent:
		return fmt.Sprintf("last seen %s ago: what is shown may be old", Age(now.Sub(*h.LastSeen)))
	case HubNever:
		return "never seen: its controllers have not run against this API server"
	}
	return h.Message
}

// Away says when the hub was away, and how many clusters it hears again; "" when that is over.
func (h Hub) Away(now time.Time) string {
	if h.Hearing == nil || h.Hearing.Away == nil {
		return ""
	}
	a := h.Hearing.Away
	text := fmt.Sprintf("was away from %s to %s", Clock(a.From, now), Clock(a.To, now))
	if h.Hearing.Of > 0 {
		text += fmt.Sprintf(", clusters are being heard again: %d of %d", h.Hearing.Heard, h.Hearing.Of)
	}
	return text
}

// MassSilence says that many clusters are silent at once; "" when they are not.
func (h Hub) MassSilence(now time.Time) string {
	if h.Hearing == nil || h.Hearing.Silence == nil {
		return ""
	}
	s := h.Hearing.Silence
	text := fmt.Sprintf("%d of %d clusters are silent at once, since %s", s.Clusters, h.Hearing.Of, Clock(s.Since, now))
	switch {
	case s.Approved > 0 && s.Approved == s.Clusters:
		return text + ": approved as real, each is treated as silent"
	case s.Approved > 0:
		return text + fmt.Sprintf(": %d of them approved as real, and treated as silent; the others fell silent later, and are neither tainted nor moved until they are heard again", s.Approved)
	}
	return text + ": more likely a fault on the hub's side, so nothing is tainted or moved until they are heard again"
}
