package hub

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// TestHeartbeat: what one process writes the other reads, again and again, and silence is told from life.
func TestHeartbeat(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := coordinationv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).Build()
	pulse := func(now time.Time) Pulse {
		t.Helper()
		p, err := ReadPulse(context.Background(), c, now)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if p := pulse(now); p.Fresh || !p.Seen.IsZero() {
		t.Errorf("a hub that never ran: %+v", p)
	}
	h := &Heartbeat{Client: c, Holder: "me", Now: func() time.Time { return now }}
	for range 2 { // the first makes the Lease, the second renews it
		now = now.Add(time.Minute)
		if err := h.beat(context.Background()); err != nil {
			t.Fatal(err)
		}
		if p := pulse(now.Add(29 * time.Second)); !p.Fresh || !p.Seen.Equal(now) {
			t.Errorf("29 s after a beat at %s: %+v", now, p)
		}
	}
	// The flag comes, another process that makes no plans beats, and the flag goes.
	name, none := "local", ""
	for i, row := range []struct {
		says *string
		want string
	}{{nil, ""}, {&name, "local"}, {nil, "local"}, {&none, ""}} {
		h.HubCluster = row.says
		if err := h.beat(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := pulse(now).HubCluster; got != row.want {
			t.Errorf("beat %d: the hub is cluster %q, want %q", i, got, row.want)
		}
	}
	if p := pulse(now.Add(31 * time.Second)); p.Fresh {
		t.Errorf("31 s after the last beat: %+v", p)
	}
}
