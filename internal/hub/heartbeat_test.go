package hub

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/registration"
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
	if p := pulse(now); p.Fresh || !p.RenewedAt.IsZero() {
		t.Errorf("a hub that never ran: %+v", p)
	}
	h := &Heartbeat{Client: c, Holder: "me", Now: func() time.Time { return now }}
	for range 2 { // the first makes the Lease, the second renews it
		now = now.Add(time.Minute)
		if err := h.beat(context.Background()); err != nil {
			t.Fatal(err)
		}
		if p := pulse(now.Add(29 * time.Second)); !p.Fresh || !p.RenewedAt.Equal(now) {
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

// TestHeartbeatBegins: the hub before this one is read once, before the first beat, however often that fails; a beat that fails does not
// end the next ones.
func TestHeartbeatBegins(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := coordinationv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	reads, patches := 0, 0
	ctx, end := context.WithCancel(context.Background())
	c := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if reads++; reads < 3 {
				return errors.New("connection refused")
			}
			return c.Get(ctx, key, o, options...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			if patches++; patches == 2 {
				return errors.New("connection refused")
			}
			if patches == 5 {
				end()
				return errors.New("the hub ends")
			}
			return c.Patch(ctx, o, p, options...)
		},
	}).Build()
	var said []string
	log := funcr.New(func(_, args string) { said = append(said, args) }, funcr.Options{})
	h := &Heartbeat{Client: c, Reader: c, Holder: "me", Presence: &Presence{}, Period: time.Millisecond, Now: time.Now}
	if err := h.Start(logr.NewContext(ctx, log)); err != nil {
		t.Error(err)
	}
	if reads != 3 || patches != 5 || len(said) != 3 {
		t.Errorf("%d reads, %d beats, and the log has %q", reads, patches, said)
	}
	if _, started := h.Presence.Listen(&clusterv1.ManagedCluster{}, nil, time.Now()); !started {
		t.Error("the hub does not listen")
	}
}

// TestPresenceIsTold: the Lease says when the hub was away, how many clusters are heard again, and that many are silent at once; the
// next hub goes on from there.
func TestPresenceIsTold(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := coordinationv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	ctx, down := context.Background(), false
	c := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			if down {
				return errors.New("connection refused")
			}
			return c.Patch(ctx, o, p, options...)
		},
	}).Build()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	begun := func() *Heartbeat {
		h := &Heartbeat{Client: c, Reader: c, Holder: "me", Presence: &Presence{}, Now: func() time.Time { return now }}
		if _, started := h.Presence.Listen(&clusterv1.ManagedCluster{}, nil, now); started {
			t.Error("a hub listens before it has started")
		}
		if err := h.begin(ctx); err != nil {
			t.Fatal(err)
		}
		return h
	}
	var signals []registration.Signal
	for range 12 {
		m := &clusterv1.ManagedCluster{Status: clusterv1.ManagedClusterStatus{Conditions: []metav1.Condition{
			{Type: clusterv1.ManagedClusterConditionHubAccepted, Status: metav1.ConditionTrue},
			{Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionTrue},
		}}}
		signals = append(signals, registration.Signal{Cluster: m, Beat: &registration.Beat{Renewed: now, Written: now}})
	}
	hearing := func(h *Heartbeat) Hearing {
		t.Helper()
		if err := h.beat(ctx); err != nil {
			t.Fatal(err)
		}
		pulse, err := ReadPulse(ctx, c, now)
		if err != nil {
			t.Fatal(err)
		}
		return pulse.Hearing
	}
	judge := func(h *Heartbeat) {
		h.Presence.Judge(signals, registration.SilenceLimit{Clusters: 10, Percent: 30}, now)
	}

	h := begun()
	if got := hearing(h); got != (Hearing{}) {
		t.Errorf("nothing has happened: %+v", got)
	}
	left := now
	now = now.Add(time.Hour)
	h = begun()
	for i := range 4 {
		signals[i].Beat = &registration.Beat{Renewed: now.Add(time.Second), Written: now.Add(time.Second)}
	}
	judge(h)
	if got := hearing(h); got.Away == nil || !got.Away.From.Equal(left) || !got.Away.To.Equal(now) || got.Heard != 4 || got.Of != 12 || got.Silence != nil {
		t.Errorf("the hub was away for an hour, and hears 4 of 12 clusters: %+v", got)
	}
	back := now
	now = now.Add(20 * time.Second)
	h = begun() // it restarts before it has heard the others
	judge(h)
	if got := hearing(h); got.Away == nil || !got.Away.From.Equal(left) || !got.Away.To.Equal(back) {
		t.Errorf("a hub that restarts still has to hear the clusters that it could not hear for an hour: %+v", got)
	}
	for range 200 { // the hub runs on, and the other clusters do not come back
		now = now.Add(HeartbeatPeriod)
		hearing(h)
		for i := range 2 {
			signals[i].Beat = &registration.Beat{Renewed: now, Written: now}
		}
		judge(h)
	}
	got := hearing(h)
	if got.Away != nil || got.Silence == nil || got.Silence.Clusters != 10 {
		t.Fatalf("each had its grace period, and 10 are silent: %+v", got)
	}
	since := got.Silence.Since

	now = now.Add(time.Minute)
	h = begun() // the next hub
	judge(h)
	if got = hearing(h); got.Silence == nil || !got.Silence.Since.Equal(since) || got.Silence.GraceSeconds != 300 {
		t.Fatalf("the mass silence goes on: %+v", got)
	}
	lease := &coordinationv1.Lease{}
	if err := c.Get(ctx, HeartbeatKey, lease); err != nil {
		t.Fatal(err)
	}
	lease.Annotations[musterv1alpha1.ApprovedSilenceAnnotation] = got.Silence.Approval()
	if err := c.Update(ctx, lease); err != nil {
		t.Fatal(err)
	}
	hearing(h)
	judge(h)
	if got := hearing(h); got.Silence == nil || got.Silence.ApprovedAt == nil || got.Silence.Approved != 10 {
		t.Errorf("a person has approved it: %+v", got)
	}
	h = begun() // the next hub knows it too
	judge(h)
	if got := hearing(h); got.Silence == nil || got.Silence.Approved != 10 {
		t.Errorf("a person has approved it: %+v", got)
	}
	for i := range signals {
		signals[i].Beat = &registration.Beat{Renewed: now.Add(time.Second), Written: now.Add(time.Second)}
	}
	judge(h)
	if got := hearing(h); got != (Hearing{}) {
		t.Errorf("all is well again: %+v", got)
	}

	down = true
	if h.beat(ctx) == nil {
		t.Fatal("the API server does not answer")
	}
	began := now
	now = now.Add(5 * time.Minute)
	down = false
	judge(h) // before the heartbeat has noticed that it was away
	if got, _ := h.Presence.Listen(&clusterv1.ManagedCluster{}, nil, now); !got.Since.Equal(now) || h.Presence.report().Silence != nil {
		t.Errorf("leases that are read before the heartbeat: the hub listens since %s, and says %+v", got.Since, h.Presence.report())
	}
	hearing(h)
	if got := hearing(h); got.Away == nil || !got.Away.From.Equal(began) {
		t.Errorf("the API server did not answer for five minutes: %+v", got)
	}
	if got, _ := h.Presence.Listen(&clusterv1.ManagedCluster{}, nil, now); !got.Since.Equal(now) {
		t.Errorf("each cluster has its whole grace period again, and the hub listens since %s", got.Since)
	}
}
