package rollout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// The sentences of this simulation: never more clusters of a step change at a time than its maxConcurrency; no cluster of a step changes
// before the steps ahead of it are proved, and the first one is measured; nothing returns without a failure, and never past the last good
// revision; a rollout ends.
//
// Commits come at random, some of them bad. Agents take works up late and report late; clusters fall silent and come back; the hub
// starts over, and reads works as they were some moments ago, though never as they were before its own writes, and reachability late.
type rolling struct {
	t      *testing.T
	random *rand.Rand
	now    time.Time
	// moments are all works as they were, the newest last. Wrote is the first of them that has the hub's last write.
	moments [][]fleet.LiveWork
	wrote   int
	sites   []*site
	// Of the hub, as the API has it.
	commit, good, refused int
	started               time.Time
	returning             bool

	// runs are what was measured, and measures the step that is to be, as the API has them.
	runs     []musterv1alpha1.AnalysisRun
	measures string

	rollouts, returns, silences, restarts, measured, failed int
}

// site is one cluster as it really is.
type site struct {
	name   string
	step   int
	work   fleet.LiveWork
	silent bool
	// undisturbed is true for one that has answered ever since its last change; known is when the hub learned that it answers or not.
	undisturbed bool
	known       bool // silent, as the hub knows it
	takes       time.Time
}

const (
	soak     = 3 * time.Minute
	deadline = 15 * time.Minute
)

var rollingSizes = []struct{ clusters, concurrency int }{{2, 1}, {6, 2}, {5, 3}}

func isBad(commit int) bool { return commit%4 == 3 }

func rollingStrategy() musterv1alpha1.Rollout {
	r := musterv1alpha1.Rollout{RolloutStrategy: clusterv1alpha1.RolloutStrategy{Type: clusterv1alpha1.Progressive, Progressive: &clusterv1alpha1.RolloutProgressive{
		RolloutConfig: clusterv1alpha1.RolloutConfig{MinSuccessTime: metav1.Duration{Duration: soak}, ProgressDeadline: "15m"},
	}}, OnFailure: musterv1alpha1.FailureRollback}
	for i, size := range rollingSizes {
		n := intstr.FromInt32(int32(size.concurrency))
		var analysis *musterv1alpha1.RolloutAnalysis
		if i == 0 {
			analysis = &musterv1alpha1.RolloutAnalysis{Metrics: []musterv1alpha1.RolloutMetric{{Name: "errors", Count: 2, FailureLimit: 1}}}
		}
		r.Steps = append(r.Steps, musterv1alpha1.RolloutStep{
			Analysis: analysis,
			Name:     fmt.Sprintf("step-%d", i), MaxConcurrency: &n,
			ClusterSelector: &musterv1alpha1.ClusterSelector{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"step": fmt.Sprint(i)}}},
		})
	}
	return r
}

func newRolling(t *testing.T, seed uint64) *rolling {
	s := &rolling{t: t, random: rand.New(rand.NewPCG(seed, 14)), now: rolloutNow}
	for step, size := range rollingSizes {
		for i := range size.clusters {
			name := fmt.Sprintf("%c-%d", 'z'-rune(step), i) // names and steps are in different orders
			lw := edit(live(name, 0, settings), func(lw *fleet.LiveWork) {
				lw.SpecDigest, lw.MetaDigest = digestOf(0), work.MetaDigest(s.wants(name, 0))
				lw.WrittenAt, lw.Status.Since, lw.Status.Health = s.now.Add(-time.Hour), s.now.Add(-time.Hour), fleet.HealthHealthy
			})
			s.sites = append(s.sites, &site{name: name, step: step, work: lw, undisturbed: true})
		}
	}
	s.snap()
	return s
}

func digestOf(commit int) string { return fmt.Sprintf("commit-%d", commit) }

func (s *rolling) wants(cluster string, commit int) *workv1.ManifestWork {
	w := wants(cluster, 0, settings)
	w.Annotations[musterv1alpha1.ContentDigestAnnotation] = digestOf(commit)
	return w
}

// wanted is the commit that the clusters are to have.
func (s *rolling) wanted() int {
	if s.returning {
		return s.good
	}
	return s.commit
}

func (s *rolling) snap() {
	var all []fleet.LiveWork
	for _, c := range s.sites {
		all = append(all, c.work)
	}
	s.moments = append(s.moments, all)
}

// pass lets something happen.
func (s *rolling) pass(commits bool) {
	s.now = s.now.Add(time.Duration(1+s.random.IntN(40)) * time.Second)
	c := s.sites[s.random.IntN(len(s.sites))]
	switch k := s.random.IntN(100); {
	case k < 2 && commits:
		s.commit++
		s.returning = false
	case k < 6 && commits:
		if c.silent = !c.silent; c.silent {
			s.silences++
		}
		c.undisturbed = false
	case k < 12:
		for _, c := range s.sites {
			c.known = c.silent
		}
	case k < 50:
		for range len(s.sites) {
			s.agent(s.sites[s.random.IntN(len(s.sites))])
		}
	case k < 62:
		s.measure()
	case k < 64:
		s.restarts++
		s.wrote = len(s.moments) - 1 // a hub that starts over reads all works as they are
	default:
		s.hub()
	}
}

// run is what was measured of the first step in the rollout that goes on, or nil.
func (s *rolling) run() *musterv1alpha1.AnalysisRun {
	return RunOf(s.runs, digestOf(s.commit), s.started, "step-0")
}

// measure takes a measurement, if a step is to be measured: most are good, some fail, some say nothing.
func (s *rolling) measure() {
	if s.measures == "" || s.started.IsZero() || s.returning {
		return
	}
	run := s.run()
	if run == nil {
		s.runs = append(s.runs, musterv1alpha1.AnalysisRun{Revision: digestOf(s.commit), StartedAt: metav1.NewTime(s.started), Step: s.measures})
		run = &s.runs[len(s.runs)-1]
	}
	r := ResultOf(run, "errors")
	r.At = metav1.NewTime(s.now)
	switch k := s.random.IntN(10); {
	case k < 5:
		r.Outcome, r.Successful = musterv1alpha1.AnalysisSuccessful, r.Successful+1
	case k < 8:
		r.Outcome, r.Failed = musterv1alpha1.AnalysisFailed, r.Failed+1
	default:
		r.Outcome, r.Inconclusive = musterv1alpha1.AnalysisInconclusive, r.Inconclusive+1
	}
	run.Metrics = []musterv1alpha1.MetricResult{r}
	s.measured++
}

// agent applies and reports, if it is time.
func (s *rolling) agent(c *site) {
	st := &c.work.Status
	switch {
	case c.silent || s.now.Before(c.takes):
		return
	case !st.Observed:
		st.Observed, st.Applied, st.Health, st.Since = true, true, fleet.HealthProgressing, s.now
		c.takes = s.now.Add(time.Duration(s.random.IntN(120)) * time.Second)
	case st.Health == fleet.HealthProgressing:
		st.Health, st.Since = fleet.HealthHealthy, s.now
		if c.work.SpecDigest != digestOf(s.good) && isBad(commitOf(c.work.SpecDigest)) {
			st.Health = fleet.HealthDegraded
		}
	default:
		return
	}
	s.snap()
}

func commitOf(digest string) int {
	var n int
	if _, err := fmt.Sscanf(digest, "commit-%d", &n); err != nil {
		panic(err)
	}
	return n
}

// hub makes one step, as the application controller does.
func (s *rolling) hub() {
	behind := min(s.random.IntN(6), len(s.moments)-1-s.wrote)
	in := Input{
		Owner: web, Now: s.now, Live: slices.Clone(s.moments[len(s.moments)-1-behind]), Complete: true, MaxClusterPercent: 100, PlanDigest: digestOf(s.wanted()),
		Decisions: map[string]fleet.Decision{}, Labels: map[string]map[string]string{}, Unreachable: map[string]bool{},
		RolloutStarted: s.started, Returning: s.returning, Revision: digestOf(s.commit), Analyses: s.runs,
	}
	strategy := rollingStrategy()
	in.Strategy = &strategy
	var works []*workv1.ManifestWork
	for _, c := range s.sites {
		in.Decisions[c.name] = fleet.Decision{Cluster: c.name, Chosen: true}
		in.Labels[c.name] = map[string]string{"step": fmt.Sprint(c.step)}
		if c.known {
			in.Unreachable[c.name] = true
		}
		works = append(works, s.wants(c.name, s.wanted()))
	}
	step := next(in, works)
	if step.Rollout.Invalid != nil {
		s.t.Fatal(step.Rollout.Invalid)
	}
	s.measures = ""
	if m := step.Rollout.Measured; m != nil && m.Phase != musterv1alpha1.AnalysisFailed {
		s.measures = m.Step
	}
	if step.Return && !s.returning {
		s.taken()
		return
	}
	if step.Return {
		s.t.Fatalf("a return returns: %s", step.Rollout.Failure())
	}
	if s.started.IsZero() != step.Rollout.Started.IsZero() {
		if step.Rollout.Started.IsZero() {
			s.rollouts++
			s.proved(in)
		}
		s.started = step.Rollout.Started // recorded before anything is written
	}
	for _, c := range step.Now {
		s.write(c)
	}
	if len(step.Now) > 0 {
		s.snap()
		s.wrote = len(s.moments) - 1
		s.check(step)
	}
}

// taken notes that the change is taken back, which has a reason.
func (s *rolling) taken() {
	failed := slices.ContainsFunc(s.sites, func(c *site) bool {
		late := !c.silent && s.now.Sub(c.work.WrittenAt) >= deadline
		return !c.work.WrittenAt.Before(s.started) && (c.work.Status.Health == fleet.HealthDegraded || late || !c.undisturbed)
	})
	if run := s.run(); run != nil && run.Metrics[0].Failed > 1 {
		failed, s.failed = true, s.failed+1
	}
	if !failed {
		s.t.Fatalf("commit %d is taken back and no cluster has failed", s.commit)
	}
	s.returns++
	s.returning, s.refused, s.started = true, s.commit, time.Time{}
}

// proved notes a commit as good, as the hub does when its rollout has ended.
func (s *rolling) proved(in Input) {
	if s.returning || len(in.Unreachable) == len(s.sites) {
		return
	}
	if isBad(s.commit) && !slices.ContainsFunc(s.sites, func(c *site) bool { return !c.undisturbed || c.silent }) {
		s.t.Fatalf("commit %d is bad, and proved on clusters that answer", s.commit)
	}
	if !isBad(s.commit) {
		s.good = s.commit
	}
}

func (s *rolling) write(c work.Change) {
	i := slices.IndexFunc(s.sites, func(of *site) bool { return of.name == c.Cluster })
	of := s.sites[i]
	if of.work.Generation != c.Live.Generation {
		return // the precondition
	}
	of.work.Generation++
	of.work.SpecDigest, of.work.MetaDigest = c.Wanted.Annotations[musterv1alpha1.ContentDigestAnnotation], work.MetaDigest(c.Wanted)
	of.work.WrittenAt, of.work.Status.Observed = s.now, false // what was reported of before stays
	of.undisturbed = !of.silent && !of.known
	of.takes = s.now.Add(time.Duration(s.random.IntN(120)) * time.Second)
}

// done is true for a cluster that is proved: healthy with what is wanted for the time of the soak.
func (s *rolling) done(c *site) bool {
	st := c.work.Status
	return c.work.SpecDigest == digestOf(s.wanted()) && st.Observed && st.Health == fleet.HealthHealthy && s.now.Sub(st.Since) >= soak
}

// check holds the sentences against the clusters as they really are, after the hub has written.
func (s *rolling) check(step Step) {
	last := 0
	for _, c := range step.Now {
		i := slices.IndexFunc(s.sites, func(of *site) bool { return of.name == c.Cluster })
		last = max(last, s.sites[i].step)
	}
	for i, size := range rollingSizes {
		flying := 0
		for _, c := range s.sites {
			if c.step != i || !c.undisturbed || c.silent || c.known {
				continue
			}
			begun := c.work.SpecDigest == digestOf(s.wanted()) && !c.work.WrittenAt.Before(s.started)
			if proved := s.done(c) || s.returning && c.work.Status.Observed && c.work.Status.Health == fleet.HealthHealthy; begun && !proved && s.now.Sub(c.work.WrittenAt) < min(deadline, returnDeadline) {
				flying++
			}
			if !s.returning && i < last && !s.done(c) && !c.work.WrittenAt.Before(s.started) {
				s.t.Fatalf("step %d changes while %s of step %d is not proved: %+v, now %v", last, c.name, i, c.work.Status, s.now)
			}
			if !s.returning && i < last && c.work.SpecDigest != digestOf(s.wanted()) {
				s.t.Fatalf("step %d changes while %s of step %d has %s", last, c.name, i, c.work.SpecDigest)
			}
		}
		if run := s.run(); !s.returning && i < last && i == 0 && s.changedIn(0) && (run == nil || run.Metrics[0].Successful < 2 || run.Metrics[0].Failed > 1) {
			s.t.Fatalf("step %d changes while what was measured of step 0 is %+v", last, run)
		}
		if flying > size.concurrency {
			s.t.Fatalf("%d clusters of step %d change at a time, %d may: %s", flying, i, size.concurrency, summary(step))
		}
	}
	if s.returning && s.wanted() > s.refused {
		s.t.Fatalf("returns from %d to %d", s.refused, s.wanted())
	}
}

// changedIn is true when a cluster of a step that answers has changed in this rollout.
func (s *rolling) changedIn(step int) bool {
	return slices.ContainsFunc(s.sites, func(c *site) bool {
		return c.step == step && c.undisturbed && !c.silent && !c.known && !c.work.WrittenAt.Before(s.started) && c.work.SpecDigest == digestOf(s.wanted())
	})
}

// settle lets all clusters answer and nothing be committed any more, until the rollout has ended.
func (s *rolling) settle() {
	if isBad(s.commit) && !s.returning {
		s.commit++
	}
	for _, c := range s.sites {
		c.silent, c.known = false, false
	}
	for range 5000 {
		ended := s.started.IsZero() && !slices.ContainsFunc(s.sites, func(c *site) bool {
			return c.work.SpecDigest != digestOf(s.wanted()) || !c.work.Status.Observed || c.work.Status.Health != fleet.HealthHealthy
		})
		if ended {
			return
		}
		s.pass(false)
	}
	for _, c := range s.sites {
		s.t.Logf("%s: %s %+v", c.name, c.work.SpecDigest, c.work.Status)
	}
	s.t.Fatalf("the rollout of %d does not end (returning %v, started %v)", s.wanted(), s.returning, s.started)
}

func TestRolloutsKeepTheirPromises(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := newRolling(t, seed)
			for range 10 {
				for range 1000 {
					s.pass(true)
				}
				s.settle()
			}
			t.Logf("%d rollouts ended, %d returns, %d silences, %d restarts, %d measurements, %d failed analyses", s.rollouts, s.returns, s.silences, s.restarts, s.measured, s.failed)
			if s.measured < 50 || s.failed < 1 || s.rollouts < 20 || s.returns < 3 || s.silences < 50 || s.restarts < 50 {
				t.Error("the simulation tries too little")
			}
		})
	}
}
