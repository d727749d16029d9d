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
	p.Start(now, 0)
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
	p.Add(registration.Absence{From: at, To: at.Add(time.Second), Mass: true})
	mass := at.Add(time.Second).Sub(now)
	answer(time.Minute)
	if got := since(2 * time.Minute); got != mass {
		t.Errorf("each cluster has its whole grace period since a mass silence, and a shorter absence after it takes nothing of that: %s, want %s", got, mass)
	}
}

// TestBetweenContacts: leases are read before the heartbeat has noticed that the API server was away.
func TestBetweenContacts(t *testing.T) {
	for name, test := range map[string]struct {
		period, pause time.Duration
		since, deaf   time.Duration // of a cluster with a lease of 10 s
	}{
		"in time":            {2 * time.Second, 3 * time.Second, 0, 0},
		"late":               {2 * time.Second, 3100 * time.Millisecond, 0, 1100 * time.Millisecond},
		"away":               {2 * time.Second, 9 * time.Second, 0, 7 * time.Second},
		"a renewal was lost": {2 * time.Second, 10 * time.Second, 10 * time.Second, 0},
		"nobody asks":        {0, time.Hour, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var p registration.Presence
			p.Start(now, test.period)
			cluster := &clusterv1.ManagedCluster{}
			cluster.Spec.LeaseDurationSeconds = 10
			at := now.Add(test.pause)
			l, _ := p.At(at).Listen(cluster, beat(now, now))
			if got := l.Since.Sub(now); got != test.since || l.Deaf != test.deaf {
				t.Errorf("listens since %s and was deaf for %s, want %s and %s", got, l.Deaf, test.since, test.deaf)
			}
			if before, _ := p.Listen(cluster, beat(now, now)); !before.Since.Equal(now) || before.Deaf != 0 {
				t.Errorf("a look has noted %+v", before)
			}
			if got := p.Answered(at, 10*time.Second); got != (test.period == 0 || test.pause < 10*time.Second) {
				t.Errorf("answered: %t", got)
			}
		})
	}
}

// TestSilentAfterAbsence: the deadline counts from the last renewal, and from no earlier time than the hub listens since.
func TestSilentAfterAbsence(t *testing.T) {
	cluster := &clusterv1.ManagedCluster{}
	old := beat(ago(time.Hour), ago(time.Hour))
	if silent, next := registration.Silent(cluster, old, registration.Listening{Since: ago(10 * time.Second)}, now); silent != nil || next != 290*time.Second {
		t.Errorf("the hub listens for 10 s: silent %v, next look in %s", silent, next)
	}
	if silent, _ := registration.Silent(cluster, old, registration.Listening{Since: ago(300 * time.Second)}, now); silent == nil {
		t.Error("the hub has listened for a whole grace period")
	}
	if silent, _ := registration.Silent(cluster, beat(ago(300*time.Second), ago(300*time.Second)), registration.Listening{Since: ago(time.Hour)}, now); silent == nil {
		t.Error("a hub that listens for long keeps OCM's deadline")
	}
}

// member is a cluster of a fleet, accepted, that renewed its lease a time ago.
func member(last time.Duration, available metav1.ConditionStatus, changed time.Duration) registration.Signal {
	c := &clusterv1.ManagedCluster{Status: clusterv1.ManagedClusterStatus{Conditions: []metav1.Condition{
		{Type: clusterv1.ManagedClusterConditionHubAccepted, Status: metav1.ConditionTrue},
		{Type: clusterv1.ManagedClusterConditionAvailable, Status: available, Reason: clusterv1.ReasonLeaseUpdateStopped, LastTransitionTime: metav1.NewTime(ago(changed))},
	}}}
	return registration.Signal{Cluster: c, Beat: beat(ago(last), ago(last))}
}

// TestEndOfMassSilence: when it ends, a cluster that has not renewed yet has its whole grace period again, however short the silence was.
func TestEndOfMassSilence(t *testing.T) {
	limit := registration.SilenceLimit{Clusters: 10, Percent: 30}
	var presence registration.Presence
	presence.Start(ago(24*time.Hour), 0)
	var signals []registration.Signal
	for i := range 20 { // renewed within a minute, five minutes ago
		signals = append(signals, member(300*time.Second-time.Duration(i)*3*time.Second, metav1.ConditionTrue, time.Hour))
	}
	mass := registration.Judge(registration.Hear(signals, &presence, nil, now), limit, &presence, nil, registration.Approval{}, now)
	if mass == nil {
		t.Fatal("20 clusters are late, and it is no mass silence")
	}
	later := now.Add(34 * time.Second) // shorter than the period of a lease
	for i := 9; i < 20; i++ {
		signals[i].Beat = beat(later.Add(-time.Second), later.Add(-time.Second))
	}
	if mass = registration.Judge(registration.Hear(signals, &presence, mass, later), limit, &presence, mass, registration.Approval{}, later); mass != nil {
		t.Fatalf("11 of 20 clusters are heard again, and it goes on: %+v", mass)
	}
	for i, s := range signals {
		listening, _ := presence.Listen(s.Cluster, s.Beat)
		if c, _ := registration.Silent(s.Cluster, s.Beat, listening, later); c != nil {
			t.Errorf("cluster %d is called silent in the second in which the mass silence ends", i)
		}
	}
	longAfter := later.Add(301 * time.Second)
	listening, _ := presence.Listen(signals[0].Cluster, signals[0].Beat)
	if c, _ := registration.Silent(signals[0].Cluster, signals[0].Beat, listening, longAfter); c == nil {
		t.Error("a cluster that stays silent is never called so")
	}
}

// TestGapsAddUp: an API server that is away for a moment again and again, too short for a renewal to be lost in one of the gaps, is
// away nevertheless.
func TestGapsAddUp(t *testing.T) {
	var p registration.Presence
	p.Start(now, 0)
	cluster, last := &clusterv1.ManagedCluster{}, beat(now, now)
	at := now
	deaf := func() time.Duration {
		l, _ := p.Listen(cluster, last)
		return l.Deaf
	}
	for i := range 1000 {
		at = at.Add([]time.Duration{2200 * time.Millisecond, 3 * time.Second}[i%2])
		p.Contact(at, 2*time.Second)
	}
	if deaf() != 0 {
		t.Errorf("contacts that are hardly late are no gaps: %s", deaf())
	}
	for range 1000 { // more than are kept
		at = at.Add(3500 * time.Millisecond)
		p.Contact(at, 2*time.Second)
	}
	if got := deaf(); got != 1500*time.Second {
		t.Errorf("1,000 gaps of 1.5 s: %s", got)
	}
	last = beat(at.Add(-35*time.Second), at.Add(-35*time.Second))
	if got := deaf(); got != 15*time.Second {
		t.Errorf("10 gaps since the last renewal: %s", got)
	}
	l := registration.Listening{Deaf: time.Minute}
	old := beat(ago(320*time.Second), ago(320*time.Second))
	if silent, next := registration.Silent(cluster, old, l, now); silent != nil || next != 40*time.Second {
		t.Errorf("of 320 s the hub was deaf for 60: silent %v, next look in %s", silent, next)
	}
}

// TestApprovedSilence: what a person calls real is about the clusters that were late then.
func TestApprovedSilence(t *testing.T) {
	mass := &registration.MassSilence{Since: ago(10 * time.Minute), Approved: ago(5 * time.Minute)}
	then, later := member(15*time.Minute, metav1.ConditionTrue, time.Hour), member(6*time.Minute, metav1.ConditionTrue, time.Hour)
	if !mass.MayDeclare(then) || mass.MayDeclare(later) {
		t.Errorf("may be called silent: %t, and one that fell silent later: %t", mass.MayDeclare(then), mass.MayDeclare(later))
	}
	var presence registration.Presence
	presence.Start(ago(time.Hour), 0)
	h := registration.Hear([]registration.Signal{then, later}, &presence, mass, now)
	if h.Late != 2 || h.Covered != 1 {
		t.Errorf("%+v", h)
	}
	limit := registration.SilenceLimit{Clusters: 2, Percent: 30}
	if again := registration.Judge(h, limit, &presence, mass, registration.Approval{Since: mass.Since, Counted: now}, now); !again.MayDeclare(later) {
		t.Error("a second approval covers it")
	}
	if mass = registration.Judge(h, limit, &presence, mass, registration.Approval{Since: mass.Since, Counted: ago(7 * time.Minute)}, now); !mass.Approved.Equal(ago(5 * time.Minute)) {
		t.Errorf("an older approval takes nothing back: %s", mass.Approved)
	}
}

// TestMixedLeases: clusters with a short lease are called silent before those with a long one are late. As soon as these are, all of
// them are spared.
func TestMixedLeases(t *testing.T) {
	var presence registration.Presence
	presence.Start(ago(time.Hour), 0)
	var signals []registration.Signal
	for range 5 {
		fast := member(181*time.Second, metav1.ConditionUnknown, 171*time.Second)
		fast.Cluster.Spec.LeaseDurationSeconds = 2
		fast.Cluster.Spec.Taints = registration.WantTaints(fast.Cluster, registration.NoDoubt, now)
		signals = append(signals, fast)
	}
	for range 8 {
		signals = append(signals, member(181*time.Second, metav1.ConditionTrue, time.Hour))
	}
	gone := member(24*time.Hour, metav1.ConditionUnknown, 23*time.Hour)
	limit := registration.SilenceLimit{Clusters: 10, Percent: 30}
	mass := registration.Judge(registration.Hear(append(signals, gone), &presence, nil, now), limit, &presence, nil, registration.Approval{}, now)
	if mass == nil || mass.Grace != 300*time.Second || !mass.Spares(signals[0]) || mass.Spares(gone) || mass.Spares(signals[12]) {
		t.Fatalf("13 clusters are silent together, and it is %+v", mass)
	}
	if taints := registration.WantTaints(signals[0].Cluster, registration.Spared, now); len(taints) > 0 {
		t.Errorf("a cluster that is spared has %v", taints)
	}
	for range 8 {
		signals[len(signals)-1] = member(30*time.Second, metav1.ConditionTrue, time.Hour)
		signals = signals[:len(signals)-1]
	}
	if mass = registration.Judge(registration.Hear(signals, &presence, nil, now), limit, &presence, nil, registration.Approval{}, now); mass != nil {
		t.Errorf("the others are heard, so that the five are silent: %+v", mass)
	}
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
		approved                   registration.Approval
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
		"approved":               {why: "a person says that it is real", heard: 20, late: 10, listens: 2 * time.Hour, before: going, approved: registration.Approval{Since: going.Since, Counted: now}, want: true, wantApproved: true},
		"approved, another one":  {why: "an approval is for one mass silence", heard: 20, late: 10, listens: 2 * time.Hour, before: going, approved: registration.Approval{Since: ago(48 * time.Hour), Counted: now}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			var p registration.Presence
			p.Start(ago(test.listens), 0)
			signals := fleetOf(test.heard, test.late, test.declared, test.old)
			h := registration.Hear(signals, &p, test.before, now)
			got := registration.Judge(h, registration.SilenceLimit{Clusters: 10, Percent: 30}, &p, test.before, test.approved, now)
			if (got != nil) != test.want || got != nil && got.Approved.IsZero() == test.wantApproved {
				t.Errorf("%s: %+v of %+v", test.why, got, h)
			}
			if since, _ := p.Since(time.Minute); test.before != nil && got == nil && !since.Equal(now) {
				t.Errorf("the end begins a whole grace period, and the hub listens since %s", since)
			}
			if test.before == nil && registration.Judge(h, registration.SilenceLimit{Percent: 30}, &p, nil, registration.Approval{}, now) != nil {
				t.Error("the rule is turned off")
			}
		})
	}
}

// TestMassSilenceStays: clusters that fall silent one after the other are some called silent before there are enough of them. They
// belong to the mass silence until they are heard, or a person has said that it is real: it does not end by waiting.
func TestMassSilenceStays(t *testing.T) {
	var presence registration.Presence
	presence.Start(ago(24*time.Hour), 0)
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
	judge := func(approved registration.Approval) *registration.MassSilence {
		return registration.Judge(registration.Hear(signals, &presence, mass, now), limit, &presence, mass, approved, now)
	}
	if mass = judge(registration.Approval{}); mass == nil || !mass.Approved.IsZero() {
		t.Fatalf("nobody was heard and nobody has said anything, and it is %+v", mass)
	}
	if mass = judge(registration.Approval{Since: mass.Since, Counted: now}); mass == nil || mass.Approved.IsZero() {
		t.Fatalf("a person has said that it is real, and it is %+v", mass)
	}
	for i := range signals {
		signals[i] = member(time.Second, metav1.ConditionTrue, time.Second)
	}
	if mass = judge(registration.Approval{}); mass != nil {
		t.Errorf("all are heard, and it is %+v", mass)
	}
}

// TestSilenceSimulated: hubs that restart, API servers that do not answer for long or again and again for a moment, outages of one
// cluster and of most of them, agents that flap, all at random, with leases of ten and of forty seconds. These sentences are checked at
// every second:
//
//	a cluster is called silent only after its whole grace period in which the hub listened and it did not renew,
//	and never while many are silent and no person has said that it is real
//	a cluster that is away is called silent in the end, unless many are silent at once
//	of the clusters that an outage of most of them has silenced, none has the taint once most are late
func TestSilenceSimulated(t *testing.T) {
	declared, mass, spared := 0, 0, 0
	for seed := range uint64(40) {
		s := newOutages(t, seed)
		for range 3600 {
			s.second()
		}
		declared, mass, spared = declared+s.declared, mass+s.masses, spared+s.spared
	}
	t.Logf("%d clusters called silent, %d times many at once, %d times spared", declared, mass, spared)
	if declared == 0 || mass == 0 || spared == 0 {
		t.Errorf("%d clusters were called silent, %d mass silences, %d spared: the simulation tries nothing", declared, mass, spared)
	}
}

const shortPeriod, longPeriod = 10 * time.Second, 40 * time.Second

// outages is a fleet of 20 clusters, five of them with a short lease period, and its hub.
type outages struct {
	t      *testing.T
	random *rand.Rand
	now    time.Time

	serverUntil, hubUntil, networkUntil time.Time // is away until then
	flapsUntil                          time.Time // the API server is away for a moment every few seconds
	networkFrom                         time.Time // since when the network is away
	served, beats                       time.Time // the API server answered last, and is asked again by the heartbeat
	server, started                     bool
	// up are the seconds in which the hub has had contact with its API server, since both are there and no mass silence goes on; upLong
	// those since the last pause in which a renewal of a long lease period could be lost.
	up     int
	upLong int
	agents []*simulatedAgent

	presence                 registration.Presence
	mass                     *registration.MassSilence
	declared, masses, spared int
}

type simulatedAgent struct {
	signal registration.Signal
	period time.Duration
	until  time.Time // is away until then
	renews time.Time
	// unheard are the seconds in which the hub had contact with its API server since the last renewal, and waited those in which it
	// should have called the agent silent, had there been no other reason against it.
	unheard, waited int
	calledAt        time.Time
}

func (a *simulatedAgent) available() *metav1.Condition { return &a.signal.Cluster.Status.Conditions[1] }

func newOutages(t *testing.T, seed uint64) *outages {
	s := &outages{t: t, random: rand.New(rand.NewPCG(seed, 11)), now: now}
	for i := range 20 {
		a := &simulatedAgent{signal: member(0, metav1.ConditionTrue, 0), period: longPeriod}
		if i%4 == 1 {
			a.period = shortPeriod
		}
		a.signal.Cluster.Spec.LeaseDurationSeconds = int32(a.period / time.Second)
		s.agents = append(s.agents, a)
	}
	return s
}

// second lets one second pass.
func (s *outages) second() {
	s.now = s.now.Add(time.Second)
	s.outage()
	s.server = !s.now.Before(s.serverUntil) && (!s.now.Before(s.flapsUntil) || s.random.IntN(3) > 0)
	process := !s.now.Before(s.hubUntil)
	s.started = s.started && process
	for _, a := range s.agents {
		s.agent(a)
	}
	if !s.server || !process {
		return
	}
	switch pause := s.now.Sub(s.served); {
	case !s.started:
		s.presence.Start(s.now, time.Second)
		s.up, s.upLong = 0, 0
	case pause >= shortPeriod: // the heartbeat comes a little later than the leases are read
		s.beats = s.now.Add(time.Duration(s.random.IntN(3)) * time.Second)
		if s.up = 0; pause >= longPeriod {
			s.upLong = 0
		}
	}
	s.started, s.served = true, s.now
	if !s.now.Before(s.beats) {
		s.presence.Contact(s.now, time.Second)
	}
	s.up++
	s.upLong++
	s.judge()
}

// outage begins an outage now and then.
func (s *outages) outage() {
	long := func() time.Time { return s.now.Add(time.Duration(1+s.random.IntN(400)) * time.Second) }
	switch s.random.IntN(1500) {
	case 0:
		s.serverUntil = long()
	case 1:
		s.hubUntil = long()
	case 2, 3:
		s.networkUntil, s.networkFrom = long(), s.now
	case 4, 5, 6, 7, 8, 9:
		s.agents[s.random.IntN(len(s.agents))].until = long()
	case 10:
		s.flapsUntil = long()
	}
}

// agent renews its lease when it is time, and says that it is available.
func (s *outages) agent(a *simulatedAgent) {
	reaches := s.server && !s.now.Before(a.until)
	if !s.now.Before(s.networkUntil) || a == s.agents[0] { // the first cluster is on the hub's side of the network
		if reaches && !s.now.Before(a.renews) {
			a.unheard, a.signal.Beat = 0, beat(s.now, s.now)
			a.renews = s.now.Add(a.period*3/4 + time.Duration(s.random.Int64N(int64(a.period/4))))
			if available := a.available(); available.Status != metav1.ConditionTrue {
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
		a.unheard++
		signals = append(signals, a.signal)
		if a.available().Status != metav1.ConditionUnknown && min(a.unheard, s.up) >= 3*int(a.period/time.Second) {
			missing++
		}
	}
	before := s.mass
	presence := s.presence.At(s.now)
	h := registration.Hear(signals, presence, before, s.now)
	s.mass = registration.Judge(h, registration.SilenceLimit{Clusters: 6, Percent: 30}, &s.presence, before, registration.Approval{}, s.now)
	switch {
	case before == nil && s.mass != nil:
		s.masses++
	case before != nil && s.mass == nil: // each cluster has its whole grace period again
		s.up, s.upLong = 0, 0
	}
	for i, a := range s.agents {
		listening, _ := s.presence.At(s.now).Listen(a.signal.Cluster, a.signal.Beat)
		silent, _ := registration.Silent(a.signal.Cluster, a.signal.Beat, listening, s.now)
		switch {
		case a.available().Status == metav1.ConditionUnknown:
			s.taint(i, a, silent)
		case silent == nil || !s.mass.MayDeclare(a.signal):
			s.inTime(i, a, missing)
			continue
		default:
			s.declare(i, a, silent, missing)
		}
		a.waited = 0
	}
}

// declare calls a cluster silent.
func (s *outages) declare(i int, a *simulatedAgent, silent *metav1.Condition, missing int) {
	if missing > 6 {
		s.t.Fatalf("at %s: %d clusters are missing, and one was called silent", s.now, missing)
	}
	listens := s.up
	if a.period == longPeriod {
		listens = s.upLong
	}
	if grace := 5 * int(a.period/time.Second); a.unheard < grace-1 || listens < grace-1 {
		s.t.Fatalf("at %s: cluster %d was called silent; the hub could have heard it for %d s, and listens for %d s", s.now, i, a.unheard, listens)
	}
	*a.available() = *silent
	a.available().LastTransitionTime, a.calledAt = metav1.NewTime(s.now), s.now
	s.declared++
}

// taint gives a cluster that is called silent its taint, or takes it away.
func (s *outages) taint(i int, a *simulatedAgent, silent *metav1.Condition) {
	doubt := registration.NoDoubt
	switch {
	case s.mass.Spares(a.signal):
		doubt = registration.Spared
	case silent == nil:
		doubt = registration.Unproven
	}
	had := len(a.signal.Cluster.Spec.Taints) > 0
	a.signal.Cluster.Spec.Taints = registration.WantTaints(a.signal.Cluster, doubt, s.now)
	has := len(a.signal.Cluster.Spec.Taints) > 0
	if had && !has {
		s.spared++
	}
	outage := s.now.Before(s.networkUntil) && s.now.Sub(s.networkFrom) > 4*longPeriod && time.Duration(s.up)*time.Second > 4*longPeriod
	if has && outage && a.calledAt.After(s.networkFrom) {
		s.t.Fatalf("at %s: all but one are away since %s, and cluster %d, called silent at %s, is tainted; the mass silence is %+v",
			s.now, s.networkFrom, i, a.calledAt, s.mass)
	}
}

// inTime fails when a cluster that has been away for long is not called silent.
func (s *outages) inTime(i int, a *simulatedAgent, missing int) {
	if a.waited++; missing > 2 || s.mass != nil {
		a.waited = 0
	}
	if a.waited = min(a.waited, a.unheard, s.up); a.waited > 6*int(a.period/time.Second) {
		s.t.Fatalf("at %s: cluster %d was not heard for %d s in which the hub listened, and is not called silent", s.now, i, a.waited)
	}
}
