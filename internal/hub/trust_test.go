package hub

import (
	"testing"
	"time"

	"github.com/muster-io/muster/internal/registration"
)

// TestTrust: reports count for now's once every cluster that the hub could not hear has been heard or has had its time, and the hub has
// called silent what was not.
func TestTrust(t *testing.T) {
	start := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	var none *Presence
	p := &Presence{}
	if !none.Trusts(start) || !p.Trusts(start) {
		t.Error("a hub that counts no clusters trusts nobody")
	}
	p.start(Pulse{RenewedAt: start.Add(-time.Hour)}, start, 0)
	if p.Trusts(start.Add(time.Hour)) || !p.Unsettled() {
		t.Error("before the clusters are counted, old reports count")
	}
	counted := start.Add(time.Minute)
	p.Judge(nil, registration.SilenceLimit{}, counted) // no cluster is missing any more
	if p.Unsettled() {
		t.Error("the clusters have been counted, and are counted again")
	}
	for after, want := range map[time.Duration]bool{0: false, trustDelay - time.Second: false, trustDelay: true} {
		if got := p.Trusts(counted.Add(after)); got != want {
			t.Errorf("%s after the last count it is %t", after, got)
		}
	}
	quiet := &Presence{}
	quiet.start(Pulse{RenewedAt: start, Fresh: true}, start, HeartbeatPeriod)
	if !quiet.Trusts(start.Add(heartbeatDuration-time.Second)) || quiet.Trusts(start.Add(heartbeatDuration)) {
		t.Error("while the API server does not answer, old reports count")
	}
	quiet.Judge(nil, registration.SilenceLimit{}, start)
	if !quiet.Trusts(start) {
		t.Error("the clusters were counted, and nothing was wrong")
	}
	p.mass = &registration.MassSilence{Since: counted}
	if p.Trusts(counted.Add(time.Hour)) || !p.Unsettled() {
		t.Error("in a mass silence, old reports count")
	}
}
