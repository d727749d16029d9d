package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// Rollout is how far the change of an owner has come over its clusters.
type Rollout struct {
	Selection
	// Started is when it began. Record it before the changes of its first step are made: it tells the clusters of this rollout
	// from those that changed earlier. Zero when no rollout goes on.
	Started time.Time
	// Invalid is set when a field of the strategy is not valid: nothing is selected.
	Invalid error
	// Aborted is true when a person takes it back.
	Aborted bool
	// OnHold says who holds it, and why; empty when nobody does.
	OnHold string
	// Closed says which window the first of the clusters waits for that may not change now; empty when all may.
	Closed string
	// Canary says where clusters are with the steps of a canary; nil when none is at one.
	Canary *CanaryProgress
	// Owner that is rolled out.
	Owner string
	// Clusters is how many there are, Updated how many of them have what is wanted.
	Clusters, Updated int
}

// clockTolerance is by how much the clock of the API server, which stamps works, may be behind the hub's.
const clockTolerance = time.Minute

// limit holds the changes of clusters that the strategy does not select, and returns the others. A change on a cluster that the
// owner leaves is no part of a rollout: the guard is there for it.
func (d *decider) limit(now []change, step *Step) []change {
	if d.in.Strategy == nil {
		return now
	}
	pending := d.pendingOn(now, step)
	groups, err := d.groups(pending)
	choose := Select
	if d.in.Returning {
		choose = SelectReturn
	}
	var selection Selection
	if err == nil {
		selection, err = choose(*d.in.Strategy, groups, d.in.Now)
	}
	d.throttle(&selection)
	canaries := d.canaries(&selection)
	d.noteRollout(selection, err, step)
	canaries.note(step)
	selection = step.Rollout.Selection
	for _, g := range groups {
		step.Rollout.Clusters += len(g.Clusters)
	}
	step.Rollout.Updated = step.Rollout.Clusters - len(selection.Selected) - selection.Waiting
	switch {
	case err != nil: // an API server with our schema does not let it through
	case selection.Done:
		step.Rollout.Started = time.Time{}
	case step.Rollout.Started.IsZero() && len(pending) > 0:
		step.Rollout.Started = d.in.Now
	}
	step.lookAt(selection.NextLook)
	reason, message := RolloutPending, step.Rollout.Message()
	if selection.Stopped {
		reason = RolloutStopped
	}
	return slices.DeleteFunc(now, func(c change) bool {
		if _, selected := slices.BinarySearch(selection.Selected, c.Cluster); selected || !pending[c.Cluster] {
			return false
		}
		step.Held = append(step.Held, Held{Change: c.Change, Reason: reason, Message: message})
		return true
	})
}

// noteRollout notes how far the rollout is, and whether it is taken back.
func (d *decider) noteRollout(selection Selection, err error, step *Step) {
	aborted := d.in.Aborted && !d.in.Returning && !d.in.RolloutStarted.IsZero()
	if aborted {
		selection.Stopped, selection.Selected, selection.Waiting = true, nil, selection.Waiting+len(selection.Selected)
	}
	step.Rollout = &Rollout{
		Selection: selection, Invalid: err, Started: d.in.RolloutStarted, Aborted: aborted, Closed: step.closed(), Owner: d.in.Owner.String(),
	}
	if d.in.Holds.Paused != nil {
		step.Rollout.OnHold = HoldText(OnHoldOf(d.in.Holds.Paused))
		return
	}
	step.Return = selection.Stopped && (aborted || d.in.Strategy.OnFailure == musterv1alpha1.FailureRollback)
}

// closed says which window the first change waits for.
func (s *Step) closed() string {
	first := Held{}
	for _, h := range s.Held {
		if h.Reason == WindowClosed && (first.Message == "" || h.Until.Before(first.Until)) {
			first = h
		}
	}
	return first.Message
}

// pendingOn are the clusters whose change the strategy decides about. Those whose change another check holds are noted: what is held is
// not there yet, whatever the cluster reports of what it has.
func (d *decider) pendingOn(now []change, step *Step) map[string]bool {
	pending := map[string]bool{}
	for _, c := range now {
		if d.wantedOn[c.Cluster] {
			pending[c.Cluster] = true
		}
	}
	for _, h := range step.Held {
		if d.isDeferred(h) {
			pending[h.Change.Cluster], d.defers[h.Change.Cluster] = true, true
		}
	}
	for i := range d.changes {
		if c := &d.changes[i]; c.Action != work.Keep && d.wantedOn[c.Cluster] && !pending[c.Cluster] {
			d.waits[c.Cluster] = true
		}
	}
	return pending
}

// isDeferred is true for a change that a rollout waits for, and does not pass.
func (d *decider) isDeferred(h Held) bool {
	switch h.Reason {
	case DependencyPending:
		return true
	case WindowClosed:
		return d.wantedOn[h.Change.Cluster]
	case OnHold:
		return d.wantedOn[h.Change.Cluster] && d.in.Holds.Paused != nil
	}
	return false
}

// Message says what the clusters wait for that are not selected.
func (r *Rollout) Message() string {
	s := &r.Selection
	of := ""
	if s.Group != "" {
		of = " of group " + s.Group
	}
	if r.OnHold != "" {
		return "the rollout is " + r.OnHold
	}
	if s.Unapproved {
		return fmt.Sprintf("step %s waits for an approval: muster approve %s --step %s", s.Group, r.Owner, s.Group)
	}
	switch {
	case r.Invalid != nil:
		return "spec.rollout: " + r.Invalid.Error()
	case s.Measured != nil && !s.Stopped:
		return s.Measured.wait()
	case r.Canary != nil && r.Canary.Unapproved > 0 && !s.Stopped:
		return r.Canary.wait(r.Owner)
	case s.Stopped:
		return fmt.Sprintf("the rollout is stopped: %s; push a commit that corrects it", r.Failure())
	case s.Unproven:
		return fmt.Sprintf("the rollout waits until a cluster%s answers", of)
	case s.Paced && !s.NextLook.IsZero():
		return fmt.Sprintf("the rollout goes on at %s: rateLimit", s.NextLook.UTC().Format(time.TimeOnly))
	case len(s.holding) > 0:
		return fmt.Sprintf("the rollout waits for %s%s", someOf(s.holding), of)
	}
	if len(s.Selected) == 0 && r.Closed != "" {
		return "the rollout " + r.Closed
	}
	if len(s.Selected) == 0 {
		return fmt.Sprintf("the rollout waits for what its clusters%s wait for", of)
	}
	return fmt.Sprintf("the rollout begins with %s%s", someOf(s.Selected), of)
}

// Failure names the clusters that failed, and the group that the rollout is at.
func (r *Rollout) Failure() string {
	if r.Aborted {
		return "the rollout was aborted"
	}
	if m := r.Measured; m != nil && m.Phase == musterv1alpha1.AnalysisFailed {
		return fmt.Sprintf("the analysis of step %s failed: %s", m.Step, m.Message)
	}
	text := someOf(slices.Sorted(slices.Values(slices.Concat(r.Failed, r.TimedOut)))) + " failed"
	if r.Group != "" {
		text += " of group " + r.Group
	}
	return text
}

// someOf names the first three.
func someOf(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

// groups are the decision groups with the state of each cluster that the owner has works on, or is to have.
func (d *decider) groups(pending map[string]bool) ([]Group, error) {
	steps, err := d.steps()
	if err != nil {
		return nil, err
	}
	live := map[string][]*fleet.LiveWork{}
	for i := range d.in.Live {
		if lw := &d.in.Live[i]; !lw.Deleting {
			live[lw.Cluster] = append(live[lw.Cluster], lw)
		}
	}
	byIndex := map[int]*Group{}
	for name, decision := range d.in.Decisions {
		if !decision.Chosen || !pending[name] && !d.waits[name] && (d.in.Faulty[name] || len(live[name]) == 0) {
			continue // a cluster that could not be planned changes nothing, and proves nothing
		}
		index, group := decision.GroupIndex, decision.Group
		if steps != nil {
			index, group = steps.of(name, d.in.Labels[name], decision.Group)
		}
		g := byIndex[index]
		if g == nil {
			g = &Group{Name: group, Index: int32(index), Approved: d.in.Approved[group], Skipped: d.in.Skipped[group]}
			if steps != nil {
				g.Analysis = RunOf(d.in.Analyses, d.in.Revision, d.in.RolloutStarted, group)
			}
			byIndex[index] = g
		}
		g.Clusters = append(g.Clusters, d.clusterOf(name, pending[name], live[name]))
	}
	groups := make([]Group, 0, len(byIndex))
	for _, g := range byIndex {
		groups = append(groups, *g)
	}
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Compare(a.Index, b.Index) })
	return groups, nil
}

// clusterOf is a cluster of the rollout with its state.
func (d *decider) clusterOf(name string, pending bool, works []*fleet.LiveWork) Cluster {
	c := Cluster{Name: name, State: ToApply, OnHold: !d.in.Unreachable[name] && heldOnCluster(works), Waits: d.in.DependencyPending[name] != "" || d.defers[name]}
	c.Offline = d.in.Unreachable[name] || c.OnHold
	if pending {
		c.Held = c.OnHold && c.Waits && d.in.Holds.Paused == nil // what it depends on may be held there too: nobody waits for it
		return c
	}
	c.State, c.Since = d.stateOf(works)
	c.Canary = inCanary(works)
	if c.Held = d.waits[name]; c.Held && d.begun(works) && d.in.Holds.On(name) == nil {
		c.Held, c.State = false, worseState(c.State, Progressing) // the first half of a change of two halves
	}
	d.noteWritten(name, works)
	return c
}

// heldOnCluster is true for a cluster on which somebody holds the owner: it is skipped, and catches up when the hold ends.
func heldOnCluster(works []*fleet.LiveWork) bool {
	return slices.ContainsFunc(works, (*fleet.LiveWork).HeldOnCluster)
}

// stateOf is the state of a cluster whose works are as they are wanted. What it reports counts only when it is about the work's
// generation, and only a cluster that has changed in this rollout can fail it: one that was ill before says nothing of the change.
func (d *decider) stateOf(works []*fleet.LiveWork) (State, time.Time) {
	state, since, written := Succeeded, time.Time{}, time.Time{}
	for _, lw := range works {
		if lw.WrittenAt.After(written) {
			written = lw.WrittenAt
		}
		if lw.Status.Since.After(since) {
			since = lw.Status.Since
		}
		switch {
		case !lw.Status.Observed:
			state = worseState(state, Progressing)
		case !lw.Status.Applied, lw.Status.Health == fleet.HealthDegraded:
			state = worseState(state, Failed)
		case lw.Status.Health != fleet.HealthHealthy:
			state = worseState(state, Progressing)
		}
	}
	if !d.begun(works) {
		return Succeeded, time.Time{}
	}
	if written.After(since) {
		since = written
	}
	return state, since
}

// begun is true when one of the works was written in the rollout that goes on.
func (d *decider) begun(works []*fleet.LiveWork) bool {
	return !d.in.RolloutStarted.IsZero() && slices.ContainsFunc(works, func(lw *fleet.LiveWork) bool {
		return !lw.WrittenAt.Add(clockTolerance).Before(d.in.RolloutStarted)
	})
}

func worseState(a, b State) State {
	order := []State{Failed, Progressing, Succeeded}
	if slices.Index(order, b) < slices.Index(order, a) {
		return b
	}
	return a
}
