package registration_test

import (
	"math/rand/v2"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/registration"
)

func TestPresence(t *testing.T) {
	var p registration.Presence
	if _, started := p.Since(time.Minute); started {
		t.Error("a hub that has not started listens")
	}
	p.Start(now)
	at := now
	answer := func(after time.Duration) *registration.Absence {
		at = at.Add(after)
		return p.Contact(at, 2*time.Second)
	}
	since := func(period time.Duration) time.Duration {
		t.Helper()
		s, started := p.Since(period)
		if !started {
			t.Fatal("it has started")
		}
		return s.Sub(now)
	}
	if answer(2*time.Second) != nil || answer(4*time.Second) != nil || since(time.Second) != 0 {
		t.Error("an answer that is a period late is no absence")
	}
	if a := answer(90 * time.Second); a == nil || a.To.Sub(a.From) != 90*time.Second {
		t.Errorf("a pause of 90 s: %v", a)
	}
	answer(10 * time.Second)
	for period, want := range map[time.Duration]time.Duration{
		5 * time.Second: 106 * time.Second, // the second pause was long enough to lose a renewal
		time.Minute:     96 * time.Second,  // only the first one was
		2 * time.Minute: 0,                 // none was
	} {
		if got := since(period); got != want {
			t.Errorf("a lease period of %s: listens since %s, want %s", period, got, want)
		}
	}
	answer(time.Hour)
	if got := since(2 * time.Minute); got != 106*time.Second+time.Hour {
		t.Errorf("a longer absence replaces the shorter ones: %s", got)
	}
}

// TestSilentAfterAbsence: the deadline counts from the last renewal, and from no earlier time than the hub listens since.
func TestSilentAfterAbsence(t *testing.T) {
	cluster := &clusterv1.ManagedCluster{}
	old := beat(ago(time.Hour), ago(time.Hour))
	if silent, next := registration.Silent(cluster, old, ago(10*time.Second), now); silent != nil || next != 290*time.Second {
		t.Errorf("the hub listens for 10 s: silent %v, next look in %s", silent, next)
	}
	if silent, _ := registration.Silent(cluster, old, ago(300*time.Second), now); silent == nil {
		t.Error("the hub has listened for a whole grace period")
	}
	if silent, _ := registration.Silent(cluster, beat(ago(300*time.Second), ago(300*time.Second)), ago(time.Hour), now); silent == nil {
		t.Error("a hub that listens for long keeps OCM's deadline")
	}
}

// member is a cluster of a fleet, accepted, that renewed its lease a time ago.
func member(last time.Duration, available metav1.ConditionStatus, changed time.Duration) registration.Signal {
	c := &clusterv1.ManagedCluster{Status: clusterv1.ManagedClusterStatus{Conditions: []metav1.Condition{
		{Type: clusterv1.ManagedClusterConditionHubAccepted, Status: metav1.ConditionTrue},
		{Type: clusterv1.ManagedClusterConditionAvailable, Status: available, LastTransitionTime: metav1.NewTime(ago(changed))},
	}}}
	return registration.Signal{Cluster: c, Beat: beat(ago(last), ago(last))}
}

func TestMassSilence(t *testing.T) {
	fleetOf := func(heard, late, declared, gone int) (signals []registration.Signal) {
		for range heard {
			signals = append(signals, member(30*time.Second, metav1.ConditionTrue, time.Hour))
		}
		for range late {
			signals = append(signals, member(200*time.Second, metav1.ConditionTrue, time.Hour))
		}
		for range declared {
			signals = append(signals, member(400*time.Second, metav1.ConditionUnknown, time.Minute))
		}
		for range gone {
			signals = append(signals, member(24*time.Hour, metav1.ConditionUnknown, 23*time.Hour))
		}
		never := member(time.Hour, metav1.ConditionTrue, 0)
		never.Cluster.Status.Conditions = never.Cluster.Status.Conditions[:1]
		return append(signals, never)
	}
	going := &registration.MassSilence{Since: ago(time.Hour)}
	for name, test := range map[string]struct {
		why                        string
		heard, late, declared, old int
		listens                    time.Duration
		before                     *registration.MassSilence
		approved                   time.Time
		want, wantApproved         bool
	}{
		"a third of thirty":      {why: "10 clusters and 30 %", heard: 20, late: 10, listens: time.Hour, want: true},
		"nine":                   {why: "too few to be suspicious", heard: 3, late: 9, listens: time.Hour},
		"ten of forty":           {why: "25 % is no large share", heard: 30, late: 10, listens: time.Hour},
		"one by one":             {why: "those that were called silent a minute ago count", heard: 20, late: 4, declared: 6, listens: time.Hour, want: true},
		"long gone":              {why: "clusters that are away for a day are not of this outage", heard: 100, late: 9, old: 90, listens: time.Hour},
		"long gone, and the end": {why: "nor of the fleet that is heard", heard: 20, late: 10, old: 90, listens: time.Hour, want: true},
		"after the start":        {why: "whom the hub did not hear because it was away is not late", late: 40, listens: time.Minute},
		"over a restart":         {why: "a mass silence goes on until clusters are heard", late: 40, listens: time.Minute, before: going, want: true},
		"goes on":                {why: "it lasts as long as clusters are silent", heard: 20, late: 10, listens: 2 * time.Hour, before: going, want: true},
		"ends":                   {why: "most are back", heard: 38, late: 2, listens: 2 * time.Hour, before: going},
		"approved":               {why: "a person says that it is real", heard: 20, late: 10, listens: 2 * time.Hour, before: going, approved: going.Since, want: true, wantApproved: true},
		"approved, another one":  {why: "an approval is for one mass silence", heard: 20, late: 10, listens: 2 * time.Hour, before: going, approved: ago(48 * time.Hour), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			var p registration.Presence
			p.Start(ago(test.listens))
			signals := fleetOf(test.heard, test.late, test.declared, test.old)
			h := registration.Hear(signals, &p, test.before, now)
			got := registration.Judge(h, registration.SilenceLimit{Clusters: 10, Percent: 30}, &p, test.before, test.approved, now)
			if (got != nil) != test.want || got != nil && got.Approved != test.wantApproved {
				t.Errorf("%s: %+v of %+v", test.why, got, h)
			}
			if since, _ := p.Since(time.Minute); test.before != nil && got == nil && !since.Equal(now) {
				t.Errorf("the end begins a whole grace period, and the hub listens since %s", since)
			}
			if test.before == nil && registration.Judge(h, registration.SilenceLimit{Percent: 30}, &p, nil, time.Time{}, now) != nil {
				t.Error("the rule is turned off")
			}
		})
	}
}

// TestMassSilenceStays: clusters that fall silent one after the other are some called silent before there are enough of them. They
// belong to the mass silence until they are heard, or a person has said that it is real: it does not end by waiting.
func TestMassSilenceStays(t *testing.T) {
	var presence registration.Presence
	presence.Start(ago(24 * time.Hour))
	var signals []registration.Signal
	for range 60 {
		signals = append(signals, member(time.Second, metav1.ConditionTrue, time.Hour))
	}
	for range 19 {
		signals = append(signals, member(30*time.Minute, metav1.ConditionUnknown, 25*time.Minute)) // called silent before it began
	}
	for range 21 {
		signals = append(signals, member(23*time.Minute, metav1.ConditionTrue, time.Hour))
	}
	limit, mass := registration.SilenceLimit{Clusters: 10, Percent: 30}, &registration.MassSilence{Since: ago(22 * time.Minute)}
	judge := func(approved time.Time) *registration.MassSilence {
		return registration.Judge(registration.Hear(signals, &presence, mass, now), limit, &presence, mass, approved, now)
	}
	if mass = judge(time.Time{}); mass == nil || mass.Approved {
		t.Fatalf("nobody was heard and nobody has said anything, and it is %+v", mass)
	}
	if mass = judge(mass.Since); mass == nil || !mass.Approved {
		t.Fatalf("a person has said that it is real, and it is %+v", mass)
	}
	for i := range signals {
		signals[i] = member(time.Second, metav1.ConditionTrue, time.Second)
	}
	if mass = judge(time.Time{}); mass != nil {
		t.Errorf("all are heard, and it is %+v", mass)
	}
}

// TestSilenceSimulated: hubs that restart, API servers that do not answer, outages of one cluster and of most of them, agents
// that flap, all at random. Two sentences are checked at every second:
//
//	a cluster is called silent only when the hub has listened for its whole grace period and it has not renewed in that time,
//	and never while many are silent and no person has said that it is real
//	a cluster that is away is called silent in the end, unless many are silent at once
func TestSilenceSimulated(t *testing.T) {
	declared, mass := 0, 0
	for seed := range uint64(40) {
		s := newOutages(t, seed)
		for range 3600 {
			s.second()
		}
		declared, mass = declared+s.declared, mass+s.masses
	}
	t.Logf("%d clusters called silent, %d times many at once", declared, mass)
	if declared == 0 || mass == 0 {
		t.Errorf("%d clusters were called silent, %d mass silences: the simulation tries nothing", declared, mass)
	}
}

const simulatedPeriod = 10 * time.Second

// outages is a fleet of 20 clusters whose agents renew every ten seconds, and its hub.
type outages struct {
	t      *testing.T
	random *rand.Rand
	now    time.Time

	serverUntil, hubUntil, networkUntil time.Time // is away until then
	server, started                     bool
	contact                             time.Time // the last one of the hub with its API server
	listening                           time.Time // since when they have been in contact, but for pauses in which no renewal is lost
	agents                              []*simulatedAgent

	presence         registration.Presence
	mass             *registration.MassSilence
	declared, masses int
}

type simulatedAgent struct {
	signal  registration.Signal
	until   time.Time // is away until then
	renews  time.Time
	renewed time.Time
	// away is since when it has not renewed although the hub listened and most others were heard.
	away time.Time
}

func newOutages(t *testing.T, seed uint64) *outages {
	s := &outages{t: t, random: rand.New(rand.NewPCG(seed, 11)), now: now}
	for range 20 {
		a := &simulatedAgent{signal: member(0, metav1.ConditionTrue, 0), renewed: now}
		a.signal.Cluster.Spec.LeaseDurationSeconds = int32(simulatedPeriod / time.Second)
		s.agents = append(s.agents, a)
	}
	return s
}

// second lets one second pass.
func (s *outages) second() {
	s.now = s.now.Add(time.Second)
	s.outage()
	s.server = !s.now.Before(s.serverUntil)
	process := !s.now.Before(s.hubUntil)
	s.started = s.started && process
	for _, a := range s.agents {
		s.agent(a)
	}
	if !s.server || !process {
		return
	}
	if !s.started || s.now.Sub(s.contact) >= simulatedPeriod {
		s.listening = s.now
	}
	if s.started {
		s.presence.Contact(s.now, time.Second)
	} else {
		s.presence.Start(s.now)
	}
	s.started, s.contact = true, s.now
	s.judge()
}

// outage begins an outage now and then.
func (s *outages) outage() {
	long := func() time.Time { return s.now.Add(time.Duration(1+s.random.IntN(300)) * time.Second) }
	switch s.random.IntN(1500) {
	case 0:
		s.serverUntil = long()
	case 1:
		s.hubUntil = long()
	case 2, 3:
		s.networkUntil = long()
	case 4, 5, 6, 7, 8, 9:
		s.agents[s.random.IntN(len(s.agents))].until = long()
	}
}

// agent renews its lease when it is time, and says that it is available.
func (s *outages) agent(a *simulatedAgent) {
	reaches := s.server && !s.now.Before(a.until)
	if !s.now.Before(s.networkUntil) || a == s.agents[0] { // the first cluster is on the hub's side of the network
		if reaches && !s.now.Before(a.renews) {
			a.renewed, a.signal.Beat = s.now, beat(s.now, s.now)
			a.renews = s.now.Add(simulatedPeriod*3/4 + time.Duration(s.random.Int64N(int64(simulatedPeriod/4))))
			available := &a.signal.Cluster.Status.Conditions[1]
			if available.Status != metav1.ConditionTrue {
				available.Status, available.LastTransitionTime = metav1.ConditionTrue, metav1.NewTime(s.now)
			}
		}
	}
}

// judge does what the hub does, every second.
func (s *outages) judge() {
	var signals []registration.Signal
	missing := 0
	for _, a := range s.agents {
		signals = append(signals, a.signal)
		if a.signal.Cluster.Status.Conditions[1].Status != metav1.ConditionUnknown && s.now.Sub(a.renewed) >= 3*simulatedPeriod {
			missing++
		}
	}
	before := s.mass
	h := registration.Hear(signals, &s.presence, before, s.now)
	s.mass = registration.Judge(h, registration.SilenceLimit{Clusters: 6, Percent: 30}, &s.presence, before, time.Time{}, s.now)
	if before == nil && s.mass != nil {
		s.masses++
	}
	for i, a := range s.agents {
		available := &a.signal.Cluster.Status.Conditions[1]
		since, _ := s.presence.Since(simulatedPeriod)
		silent, _ := registration.Silent(a.signal.Cluster, a.signal.Beat, since, s.now)
		if silent == nil || s.mass != nil || available.Status == metav1.ConditionUnknown {
			s.inTime(i, a, missing)
			continue
		}
		*available = *silent
		available.LastTransitionTime = metav1.NewTime(s.now)
		s.declared++
		grace := 5 * simulatedPeriod
		if missing > 6 {
			s.t.Fatalf("at %s: %d clusters are missing, and one was called silent", s.now, missing)
		}
		if s.now.Sub(a.renewed) < grace || s.now.Sub(s.listening) < grace {
			s.t.Fatalf("at %s: cluster %d was called silent, renewed %s, the hub listens since %s", s.now, i, a.renewed, s.listening)
		}
	}
}

// inTime fails when a cluster that has been away for long is not called silent.
func (s *outages) inTime(i int, a *simulatedAgent, missing int) {
	if missing > 2 || s.mass != nil || a.signal.Cluster.Status.Conditions[1].Status == metav1.ConditionUnknown {
		a.away = s.now
		return
	}
	from := a.renewed
	for _, t := range []time.Time{a.away, s.listening} {
		if t.After(from) {
			from = t
		}
	}
	if s.now.Sub(from) > 6*simulatedPeriod {
		s.t.Fatalf("at %s: cluster %d has not renewed since %s, the hub listens since %s, and it is not called silent", s.now, i, a.renewed, s.listening)
	}
}
