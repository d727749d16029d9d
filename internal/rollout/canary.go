package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// CanaryPass lets the agent of a work leave a step of a canary.
type CanaryPass struct {
	Cluster, Work string
	UID           string
	Generation    int64
	Step          int
}

// CanaryProgress says where clusters are with the steps of a canary.
type CanaryProgress struct {
	// Step is the first at which one of them is, Steps how many there are, Clusters how many clusters are at one.
	Step, Steps, Clusters int
	// Unapproved is the first step that some wait for a person to approve, with who waits; 0 is none.
	Unapproved int
	waiting    []string
}

// canaries looks at the clusters that take the change through the steps of a canary: which of them may leave a step, which wait for an
// approval, and which are measured. An analysis that fails stops the rollout.
type canaries struct {
	*decider
	steps     []musterv1alpha1.CanaryStep
	selection *Selection
	progress  CanaryProgress
	waiting   map[int][]*fleet.LiveWork // by step, those that wait for the hub
	followed  map[int][]*fleet.LiveWork // by step, those in which a Rollout of another controller waits for a person
	passes    []CanaryPass
}

// canaries of the rollout; nil when no cluster is at a step of one.
func (d *decider) canaries(s *Selection) *canaries {
	if d.in.Returning {
		return nil
	}
	c := &canaries{decider: d, selection: s, waiting: map[int][]*fleet.LiveWork{}, followed: map[int][]*fleet.LiveWork{}}
	if d.in.Strategy.Canary != nil {
		c.steps = d.in.Strategy.Canary.Steps
	}
	clusters := map[string]bool{}
	for i := range d.in.Live {
		lw := &d.in.Live[i]
		at := lw.Status.Canary
		if at == nil || lw.Deleting || d.in.Unreachable[lw.Cluster] || d.in.Holds.On(lw.Cluster) != nil {
			continue
		}
		clusters[lw.Cluster] = true
		if c.progress.Step == 0 || at.Step < c.progress.Step {
			c.progress.Step = at.Step
		}
		switch {
		case !at.Waits():
		case at.Phase == fleet.CanaryFollowed:
			c.followed[at.Step] = append(c.followed[at.Step], lw)
		case at.Step <= len(c.steps):
			c.waiting[at.Step] = append(c.waiting[at.Step], lw)
		}
	}
	if len(clusters) == 0 {
		return nil
	}
	c.progress.Steps, c.progress.Clusters = len(c.steps), len(clusters)
	c.decide()
	return c
}

// decide says of the clusters that wait whether they go on. One that comes late, when no rollout goes on any more, has what the others
// have proved.
func (c *canaries) decide() {
	late := c.in.RolloutStarted.IsZero()
	measured := c.measure()
	for _, n := range slices.Sorted(maps.Keys(c.waiting)) {
		name, step := musterv1alpha1.CanaryStepName(n), &c.steps[n-1]
		skipped := c.in.Skipped[name] || late
		c.pass(n, c.waiting[n], skipped || !step.WaitsForPerson() || c.in.Approved[name], func(lw *fleet.LiveWork) bool {
			return skipped || step.Analysis == nil || measured[lw]
		})
	}
	for _, n := range slices.Sorted(maps.Keys(c.followed)) {
		name := musterv1alpha1.CanaryStepName(n)
		c.pass(n, c.followed[n], c.in.Approved[name] || c.in.Skipped[name], func(*fleet.LiveWork) bool { return true })
	}
	slices.SortFunc(c.passes, func(a, b CanaryPass) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Work, b.Work))
	})
}

// pass lets works leave a step when it is approved and they have been measured, or notes who waits for an approval.
func (c *canaries) pass(n int, works []*fleet.LiveWork, approved bool, measured func(*fleet.LiveWork) bool) {
	for _, lw := range works {
		if approved && measured(lw) {
			c.passes = append(c.passes, CanaryPass{Cluster: lw.Cluster, Work: lw.Name, UID: lw.UID, Generation: lw.Generation, Step: n})
		}
	}
	if !approved && c.progress.Unapproved == 0 {
		c.progress.Unapproved, c.progress.waiting = n, clustersIn(works)
	}
}

// measure has the clusters measured that wait at a step together, one step at a time, and says which works have been, well. Those that come
// to the step later are measured later.
func (c *canaries) measure() map[*fleet.LiveWork]bool {
	n, name, clusters := c.batch()
	if n == 0 {
		return nil
	}
	run := RunOf(c.in.Analyses, c.in.Revision, c.in.RolloutStarted, name)
	if run != nil { // who came since, or is not seen yet to have gone on, is not among them
		clusters = run.Clusters
	}
	v := VerdictOf(c.steps[n-1].Analysis, run)
	is := &Measured{Step: name, Clusters: clusters, Verdict: v}
	switch s := c.selection; {
	case v.Phase == musterv1alpha1.AnalysisSuccessful:
		well := map[*fleet.LiveWork]bool{}
		for _, lw := range c.waiting[n] {
			well[lw] = slices.Contains(clusters, lw.Cluster)
		}
		return well
	case v.Phase == musterv1alpha1.AnalysisFailed:
		s.Waiting += len(s.Selected)
		s.Stopped, s.Selected, s.Measured = true, nil, is
	case s.Measured == nil && !s.Stopped:
		s.Measured = is
	}
	return nil
}

// maxBatch is how many clusters are measured together: as many as a status names.
const maxBatch = 100

// batch is the step that is measured, the name of its analysis, and the clusters: those of the analysis that goes on, as long as one of them
// waits for it, or else those that wait at the first step.
func (c *canaries) batch() (step int, name string, clusters []string) {
	if m := c.in.Measuring; m != nil {
		if n := musterv1alpha1.CanaryStepOf(m.Step); n > 0 && n <= len(c.steps) && c.measures(n) {
			for _, cluster := range clustersIn(c.waiting[n]) {
				if slices.Contains(m.Clusters, cluster) {
					return n, m.Step, m.Clusters
				}
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(c.waiting)) {
		if c.measures(n) {
			clusters = clustersIn(c.waiting[n])
			clusters = clusters[:min(len(clusters), maxBatch)]
			return n, musterv1alpha1.CanaryStepName(n) + " of " + clusters[0], clusters
		}
	}
	return 0, "", nil
}

// measures says that somebody waits at a step for its analysis.
func (c *canaries) measures(n int) bool {
	return len(c.waiting[n]) > 0 && c.steps[n-1].Analysis != nil && !c.in.Skipped[musterv1alpha1.CanaryStepName(n)] && !c.in.RolloutStarted.IsZero()
}

func clustersIn(works []*fleet.LiveWork) []string {
	var names []string
	for _, lw := range works {
		names = append(names, lw.Cluster)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// note adds to a step what the canaries come to. Who has stopped passes nothing.
func (c *canaries) note(step *Step) {
	if c == nil {
		return
	}
	step.Rollout.Canary = &c.progress
	if !step.Rollout.Stopped {
		step.Passes = c.passes
	}
}

// wait says what the clusters wait for that no agent ends.
func (c *CanaryProgress) wait(owner string) string {
	name := musterv1alpha1.CanaryStepName(c.Unapproved)
	return fmt.Sprintf("step %s waits for an approval on %s: muster approve %s --step %s", name, someOf(c.waiting), owner, name)
}

// inCanary is true for a cluster whose agent takes the change through the steps of a canary, and has not failed. How long that takes is theirs
// to say.
func inCanary(works []*fleet.LiveWork) bool {
	return slices.ContainsFunc(works, func(lw *fleet.LiveWork) bool {
		return lw.Status.Canary != nil && lw.Status.Canary.Phase != fleet.CanaryFailed
	})
}

// checkedSteps are all steps with an analysis, with the field of each.
func checkedSteps(r *musterv1alpha1.Rollout) map[string]*musterv1alpha1.RolloutAnalysis {
	all := map[string]*musterv1alpha1.RolloutAnalysis{}
	for i := range r.Steps {
		all[fmt.Sprintf("steps[%d]", i)] = r.Steps[i].Analysis
	}
	if r.Canary != nil {
		for i := range r.Canary.Steps {
			all[fmt.Sprintf("canary.steps[%d]", i)] = r.Canary.Steps[i].Analysis
		}
	}
	maps.DeleteFunc(all, func(_ string, a *musterv1alpha1.RolloutAnalysis) bool { return a == nil })
	return all
}

// StepOf is the name of the step that an analysis is of, without the cluster after which that of a canary is named.
func StepOf(analysis string) string {
	step, _, _ := strings.Cut(analysis, " ")
	return step
}
