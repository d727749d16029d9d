package rollout

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// State is how far one cluster has come with what its owner wants on it now.
//
//	state        means                                                              in flight
//	ToApply      what is wanted is not written yet                                  when it is selected
//	Progressing  it is written, and not yet applied and healthy                     until the progress deadline
//	Failed       the cluster reports that it cannot be applied, or is degraded      until the progress deadline
//	TimedOut     Progressing or Failed for longer than the progress deadline        no
//	Succeeded    applied and healthy                                                until the minimum success time
type State string

// The states of a cluster in a rollout.
const (
	ToApply     State = "ToApply"
	Progressing State = "Progressing"
	Failed      State = "Failed"
	TimedOut    State = "TimedOut"
	Succeeded   State = "Succeeded"
)

// Cluster is one cluster of a rollout.
type Cluster struct {
	Name  string
	State State
	// Since is when the state began.
	Since time.Time
	// Offline clusters do not answer. They are never in flight and never block: one that is to change is selected beside the
	// others as soon as its phase has begun, and catches up when it is back.
	Offline bool
	// OnHold is true for an Offline cluster that answers, and on which somebody holds the owner: maxOffline does not count it.
	OnHold bool
	// Held clusters wait for something that is not the rollout's, such as an approval of what they would lose: they are skipped, and
	// prove nothing.
	Held bool
	// Canary is true for a cluster that takes the change through the steps of a canary: it has no deadline.
	Canary bool
	// Waits is true for a cluster in state ToApply that cannot change yet for another reason: its phase is not through without it.
	Waits bool
}

// Group is a decision group of a placement.
type Group struct {
	// Name is empty for a group that was made by size alone.
	Name     string
	Index    int32 // of the group, or of the step of a strategy that has some
	Clusters []Cluster
	// Approved is true for a step that may begin, Skipped for one that the next ones do not wait for.
	Approved, Skipped bool
	// Analysis is what was measured of a step, as far as it was.
	Analysis *musterv1alpha1.AnalysisRun
}

// label names a group for people.
func (g Group) label() string {
	if g.Name != "" {
		return g.Name
	}
	return strconv.Itoa(int(g.Index))
}

// Selection says which clusters may change now.
type Selection struct {
	// Selected are the clusters in state ToApply that may change now, sorted.
	Selected []string
	// InFlight are the clusters that have changed and count against the concurrency, sorted.
	InFlight []string
	// TimedOut and Failed are the clusters that count as failures, sorted. Of the failed, those are in flight too whose
	// progress deadline has not passed.
	TimedOut, Failed []string
	// Stopped is true when more clusters have failed than the strategy allows: no further cluster changes.
	Stopped bool
	// Unproven is true when no cluster of the group that the rollout is at answers, or more than maxOffline do not: that would prove
	// nothing to the next one.
	Unproven bool
	// Unapproved is true when the step that the rollout is at waits for an approval.
	Unapproved bool
	// Measured is the step whose analysis goes on or has failed, with the clusters that are measured and what the measurements amount to;
	// nil when there is none.
	Measured *Measured
	// Paced is true when the rate limit keeps clusters back.
	Paced bool
	// Group is the decision group that the rollout is at; empty when it does not go by groups, or has ended.
	Group string
	// Waiting is how many clusters are in state ToApply and not selected.
	Waiting int
	// Progress is how far each step, or group, is, in their order.
	Progress []Progress
	// Done is true when no cluster is left to change and none is in flight.
	Done bool
	// NextLook is when time alone changes the selection; zero when it does not.
	NextLook time.Time

	// holding are the clusters in flight that the next ones wait for.
	holding []string
}

// Progress is how far a step, or a group, is.
type Progress struct {
	// Name is empty for the clusters of none.
	Name string
	// Clusters of it, and how many of them have changed, and have failed.
	Clusters, Updated, Failed int
	// SoakUntil is when the last of those that are healthy has been so for minSuccessTime; zero when all have.
	SoakUntil time.Time
}

// progress of a phase, whether it has begun or not.
func (s *selector) progress(p phase) Progress {
	out := Progress{Name: p.group, Clusters: len(p.clusters)}
	for _, c := range p.clusters {
		if c.State == ToApply {
			continue
		}
		out.Updated++
		if c.State == Failed || s.timedOut(p, c) {
			out.Failed++
		}
		if end := c.Since.Add(p.minSuccessTime); c.State == Succeeded && !c.Offline && s.now.Before(end) && end.After(out.SoakUntil) {
			out.SoakUntil = end
		}
	}
	return out
}

// phase is a part of a rollout that ends before the next one begins.
type phase struct {
	group    string
	clusters []Cluster
	// concurrency is how many clusters may be in flight, maxFailures how many may fail.
	concurrency, maxFailures int
	// passesFailures is true when a failure that is allowed does not hold the next phase back.
	passesFailures bool
	// hasTimes is true for a phase with times of its own.
	hasTimes bool
	// minSuccessTime and deadline of its clusters; the deadline is math.MaxInt64 when there is none.
	minSuccessTime, deadline time.Duration
	// maxOffline clusters may not answer.
	maxOffline int
	// gated phases wait for an approval; skipped ones hold no other.
	gated, skipped bool
	// analysis has to be successful before the next phase, nil is none; run is what was measured.
	analysis *musterv1alpha1.RolloutAnalysis
	run      *musterv1alpha1.AnalysisRun
}

// Select decides which clusters may change now, by the rules of OCM's rolloutStrategy (cluster.open-cluster-management.io
// v1alpha1): mandatory groups come first and tolerate no failure; then a number of clusters at a time (Progressive), one group
// after the other (ProgressivePerGroup), or all. Clusters go by name within a phase; those that are in flight count first, so
// that there are never more than maxConcurrency. A cluster is done when it has succeeded for minSuccessTime, or has timed out.
//
// It fails when a field of the strategy is not valid.
func Select(strategy musterv1alpha1.Rollout, groups []Group, now time.Time) (Selection, error) {
	s := selector{now: now}
	phases, err := s.phasesOf(strategy, groups)
	if err != nil {
		return Selection{}, err
	}
	return s.selection(phases), nil
}

// returnDeadline is how long a cluster may take to return when the strategy has no progress deadline: what was good there once does
// not keep others from returning for ever.
const returnDeadline = 10 * time.Minute

// SelectReturn decides which clusters may return to the last good revision now: in the reverse order of Select, as many at a time.
// A return is not proved: a cluster that fails to return stops no other, and a success needs no minSuccessTime.
func SelectReturn(strategy musterv1alpha1.Rollout, groups []Group, now time.Time) (Selection, error) {
	s := selector{now: now, returning: true}
	phases, err := s.phasesOf(strategy, groups)
	if err != nil {
		return Selection{}, err
	}
	slices.Reverse(phases)
	for i := range phases {
		p := &phases[i]
		p.maxFailures, p.gated, p.skipped, p.analysis = len(p.clusters), false, false, nil
		p.minSuccessTime, p.deadline = 0, min(p.deadline, returnDeadline)
	}
	return s.selection(phases), nil
}

// selection goes through the phases up to the one that is not through.
func (s *selector) selection(phases []phase) Selection {
	for _, p := range phases {
		if len(p.clusters) > 0 {
			s.out.Progress = append(s.out.Progress, s.progress(p))
		}
	}
	for i, p := range phases {
		if !s.phase(p) {
			s.waitFor(phases[i+1:])
			break
		}
	}
	out := s.out
	out.Done = !out.Stopped && out.Measured == nil && len(out.Selected)+len(out.InFlight)+out.Waiting == 0
	out.Unproven = out.Unproven && out.Waiting > 0
	if out.Done {
		out.Group = ""
	}
	for _, list := range []*[]string{&out.Selected, &out.InFlight, &out.TimedOut, &out.Failed, &out.holding} {
		slices.Sort(*list)
	}
	return out
}

// selector is a selection in the making.
type selector struct {
	now       time.Time
	returning bool
	out       Selection
}

// configOf is what a strategy says under the name of its type.
func configOf(strategy musterv1alpha1.Rollout) (config clusterv1alpha1.RolloutConfig, mandatory []clusterv1alpha1.MandatoryDecisionGroup, maxConcurrency intstr.IntOrString) {
	switch strategy.Type {
	case clusterv1alpha1.Progressive:
		if p := strategy.Progressive; p != nil {
			return p.RolloutConfig, p.MandatoryDecisionGroups.MandatoryDecisionGroups, p.MaxConcurrency
		}
	case clusterv1alpha1.ProgressivePerGroup:
		if p := strategy.ProgressivePerGroup; p != nil {
			return p.RolloutConfig, p.MandatoryDecisionGroups.MandatoryDecisionGroups, maxConcurrency
		}
	default:
		if a := strategy.All; a != nil {
			return a.RolloutConfig, nil, maxConcurrency
		}
	}
	return config, nil, maxConcurrency
}

// phasesOf arranges the groups as the strategy says.
func (s *selector) phasesOf(strategy musterv1alpha1.Rollout, groups []Group) ([]phase, error) {
	groups = slices.Clone(groups)
	slices.SortStableFunc(groups, func(a, b Group) int { return cmp.Compare(a.Index, b.Index) })
	config, mandatory, maxConcurrency := configOf(strategy)
	minSuccessTime := config.MinSuccessTime.Duration
	deadline, err := parseDeadline(config.ProgressDeadline)
	if err != nil {
		return nil, err
	}
	phases, rest := mandatoryPhases(mandatory, groups)
	if len(strategy.Steps) > 0 {
		if phases, rest, err = stepPhases(strategy, groups); err != nil {
			return nil, err
		}
	}
	switch strategy.Type {
	case clusterv1alpha1.ProgressivePerGroup:
		for _, g := range rest {
			maxFailures, err := share("maxFailures", config.MaxFailures, len(g.Clusters), 0)
			if err != nil {
				return nil, err
			}
			phases = append(phases, phase{
				group: g.label(), clusters: g.Clusters, concurrency: len(g.Clusters), maxFailures: maxFailures, passesFailures: true,
			})
		}
	case clusterv1alpha1.Progressive:
		p := phase{clusters: clustersOf(rest), skipped: len(rest) == 1 && rest[0].Skipped}
		if p.concurrency, err = share("maxConcurrency", maxConcurrency, len(p.clusters), len(p.clusters)); err != nil {
			return nil, err
		}
		if p.maxFailures, err = share("maxFailures", config.MaxFailures, len(clustersOf(groups)), 0); err != nil {
			return nil, err
		}
		phases = append(phases, p)
	default: // all at once: there is nothing that a failure could stop, but it may be taken back
		minSuccessTime = 0
		all := clustersOf(groups)
		p := phase{clusters: all, concurrency: len(all), maxFailures: len(all)}
		if strategy.OnFailure == musterv1alpha1.FailureRollback {
			if p.maxFailures, err = share("maxFailures", config.MaxFailures, len(all), 0); err != nil {
				return nil, err
			}
		}
		phases = []phase{p}
	}
	for i := range phases {
		p := &phases[i]
		if !p.hasTimes {
			p.minSuccessTime, p.deadline = minSuccessTime, deadline
		}
		p.maxOffline = len(p.clusters)
		if strategy.MaxOffline != nil {
			if p.maxOffline, err = share("maxOffline", *strategy.MaxOffline, len(p.clusters), 0); err != nil {
				return nil, err
			}
		}
	}
	return phases, nil
}

// stepPhases are the phases of the steps, and the groups of no step. A group has the index of its step.
func stepPhases(strategy musterv1alpha1.Rollout, groups []Group) (phases []phase, rest []Group, err error) {
	config := clusterv1alpha1.RolloutProgressive{}
	if strategy.Progressive != nil {
		config = *strategy.Progressive
	}
	for _, g := range groups {
		if int(g.Index) >= len(strategy.Steps) {
			rest = append(rest, g)
			continue
		}
		step := strategy.Steps[g.Index]
		n := len(g.Clusters)
		p := phase{
			group: step.Name, clusters: g.Clusters, hasTimes: true, minSuccessTime: config.MinSuccessTime.Duration,
			gated: step.Approval == musterv1alpha1.ApprovalManual && !g.Approved, skipped: g.Skipped,
			analysis: step.Analysis, run: g.Analysis,
		}
		if step.MinSuccessTime != nil {
			p.minSuccessTime = step.MinSuccessTime.Duration
		}
		if p.deadline, err = parseDeadline(cmp.Or(step.ProgressDeadline, config.ProgressDeadline)); err != nil {
			return nil, nil, fmt.Errorf("step %s: %w", step.Name, err)
		}
		if p.concurrency, err = share("maxConcurrency", either(step.MaxConcurrency, config.MaxConcurrency), n, n); err != nil {
			return nil, nil, fmt.Errorf("step %s: %w", step.Name, err)
		}
		if p.maxFailures, err = share("maxFailures", either(step.MaxFailures, config.MaxFailures), n, 0); err != nil {
			return nil, nil, fmt.Errorf("step %s: %w", step.Name, err)
		}
		phases = append(phases, p)
	}
	return phases, rest, nil
}

func either(value *intstr.IntOrString, otherwise intstr.IntOrString) intstr.IntOrString {
	if value != nil {
		return *value
	}
	return otherwise
}

// mandatoryPhases are the groups that come first, in the order in which the strategy names them, and the groups that are left.
// A name may stand for several groups, which clustersPerDecisionGroup divided.
func mandatoryPhases(mandatory []clusterv1alpha1.MandatoryDecisionGroup, groups []Group) (phases []phase, rest []Group) {
	used := map[int]bool{}
	for _, m := range mandatory {
		for i, g := range groups {
			named := m.GroupName != "" && g.Name == m.GroupName
			if used[i] || !named && (m.GroupName != "" || g.Index != m.GroupIndex) {
				continue
			}
			used[i] = true
			phases = append(phases, phase{group: g.label(), clusters: g.Clusters, concurrency: len(g.Clusters)})
		}
	}
	for i, g := range groups {
		if !used[i] {
			rest = append(rest, g)
		}
	}
	return phases, rest
}

func clustersOf(groups []Group) []Cluster {
	var all []Cluster
	for _, g := range groups {
		all = append(all, g.Clusters...)
	}
	return all
}

// phase adds one phase to the selection. It is true when the phase is through and the next one may begin.
func (s *selector) phase(p phase) bool {
	s.out.Group = p.group
	clusters := slices.Clone(p.clusters)
	slices.SortFunc(clusters, func(a, b Cluster) int { return cmp.Compare(a.Name, b.Name) })
	if s.returning {
		slices.Reverse(clusters)
	}
	t := s.count(p, clusters)
	s.out.Waiting += t.waits
	if t.failures > p.maxFailures && !p.skipped || s.analysisFailed(p, t) {
		s.out.Stopped, s.out.Waiting = true, s.out.Waiting+len(t.pending)+len(t.offline)
		return false
	}
	s.out.holding = t.holding
	if s.out.Unapproved = p.gated && len(t.pending)+len(t.offline) > 0; s.out.Unapproved {
		s.out.Waiting += len(t.pending) + len(t.offline)
		return p.skipped
	}
	free := min(len(t.pending), max(0, p.concurrency-t.inFlight))
	s.out.Selected = append(append(s.out.Selected, t.pending[:free]...), t.offline...)
	s.out.Waiting += len(t.pending) - free
	s.out.Unproven = (t.answering == 0 && len(clusters) > 0 || t.away > p.maxOffline) && !s.returning && !p.skipped
	soaking := len(t.holding) > 0
	if len(t.pending)+t.waits+t.unproved == 0 && !s.out.Unproven && s.measure(p, t, soaking) {
		return false
	}
	return p.skipped || !soaking && len(t.pending)+t.waits == 0 && !s.out.Unproven
}

// tally counts the clusters of a phase.
type tally struct {
	// pending and offline clusters are to change; waits is how many cannot yet.
	pending, offline []string
	waits            int
	// holding are the clusters in flight that the next phase waits for.
	holding                             []string
	inFlight, failures, answering, away int
	// unproved clusters are in flight and not healthy; changed ones have changed in this rollout, and answer.
	unproved int
	changed  []string
}

// count notes the clusters that have changed, and counts all but those that are held.
func (s *selector) count(p phase, clusters []Cluster) (t tally) {
	for _, c := range clusters {
		if c.Held {
			continue
		}
		waits := c.State == ToApply && c.Waits
		switch {
		case !c.Offline:
			t.answering++
		case !waits && !c.OnHold:
			t.away++
		}
		switch {
		case waits:
			t.waits++
		case c.State == ToApply && c.Offline:
			t.offline = append(t.offline, c.Name)
		case c.State == ToApply:
			t.pending = append(t.pending, c.Name)
		case c.Offline: // never in flight, and never a failure
		default:
			s.countChanged(p, c, &t)
		}
	}
	return t
}

// countChanged counts a cluster that has changed and answers.
func (s *selector) countChanged(p phase, c Cluster, t *tally) {
	if c.State == Failed || s.timedOut(p, c) {
		t.failures++
	}
	if !c.Since.IsZero() {
		t.changed = append(t.changed, c.Name)
	}
	if s.note(p, c) {
		t.inFlight++
		if c.State != Succeeded && (c.State != Failed || !p.passesFailures) {
			t.unproved++
		}
		if c.State != Failed || !p.passesFailures {
			t.holding = append(t.holding, c.Name)
		}
	}
}

// note adds a cluster that has changed to the selection. It is true when the cluster is in flight.
func (s *selector) note(p phase, c Cluster) bool {
	switch {
	case s.timedOut(p, c):
		s.out.TimedOut = append(s.out.TimedOut, c.Name)
		return false
	case c.State == Failed, c.State == Progressing:
		if c.State == Failed {
			s.out.Failed = append(s.out.Failed, c.Name)
		}
		if c.State == Failed && s.returning {
			return false
		}
		if p.deadline != math.MaxInt64 && !c.Canary {
			s.lookAt(c.Since.Add(p.deadline))
		}
	case c.State == Succeeded && s.now.Before(c.Since.Add(p.minSuccessTime)):
		s.lookAt(c.Since.Add(p.minSuccessTime))
	default:
		return false
	}
	s.out.InFlight = append(s.out.InFlight, c.Name)
	return true
}

func (s *selector) timedOut(p phase, c Cluster) bool {
	if c.State == TimedOut {
		return true
	}
	return (c.State == Progressing || c.State == Failed) && !c.Canary && p.deadline != math.MaxInt64 && !s.now.Before(c.Since.Add(p.deadline))
}

func (s *selector) lookAt(t time.Time) {
	if s.out.NextLook.IsZero() || t.Before(s.out.NextLook) {
		s.out.NextLook = t
	}
}

// waitFor counts what is left to change in phases that have not begun again: clusters that changed before others came ahead of
// them are in flight there too.
func (s *selector) waitFor(phases []phase) {
	for _, p := range phases {
		for _, c := range p.clusters {
			switch {
			case c.State == ToApply:
				s.out.Waiting++
			case !c.Offline:
				s.note(p, c)
			}
		}
	}
}

// parseDeadline reads a progressDeadline: a number with the unit h, m or s, or None.
func parseDeadline(text string) (time.Duration, error) {
	if text == "" || text == clusterv1alpha1.ProgressDeadlineNone {
		return math.MaxInt64, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || text == "0" {
		return 0, fmt.Errorf("progressDeadline %q is not a number with the unit h, m or s, and not None", text)
	}
	return d, nil
}

// share is a number, or a percentage rounded up, of so many clusters. Zero and an absent value are the default.
func share(field string, value intstr.IntOrString, total, otherwise int) (int, error) {
	if value.Type == intstr.String && !strings.HasSuffix(value.StrVal, "%") && value.StrVal != "" {
		return 0, fmt.Errorf("%s %q is not a number and not a percentage", field, value.StrVal)
	}
	if value.Type == intstr.String && value.StrVal == "" {
		return otherwise, nil
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(&value, total, true)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s %q is not a number and not a percentage", field, value.String())
	}
	if n == 0 {
		return otherwise, nil
	}
	return n, nil
}
