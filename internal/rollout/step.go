package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// Input is what a step is decided on, for one owner.
type Input struct {
	Owner fleet.Owner
	Now   time.Time
	// Live works of the owner on all clusters, with what the clusters report. A cluster of which there is no change keeps its
	// works.
	Live []fleet.LiveWork

	// Complete is true when the plan holds everything that it should: only then does absence mean anything.
	Complete bool
	// Faulty clusters could not be planned: their works stay.
	Faulty map[string]bool
	// Emptied clusters are planned, and the owner has no content for them.
	Emptied map[string]bool
	// Decisions of the placement by cluster, as far as there are any.
	Decisions map[string]fleet.Decision
	// Grounds identify what people have said about the decisions, see placement.ReadGrounds; empty when that is not known.
	Grounds string
	// Filled is how many places the placements have filled, if that is more than the clusters they have chosen: one that several
	// of them choose fills several. Missing is how many places no cluster fills.
	Filled, Missing int
	// Settled is what the owner was settled on last; nil when that is not known.
	Settled *musterv1alpha1.Settled
	// Left are the objects that the owner has left on clusters.
	Left []musterv1alpha1.LeftObjects
	// OtherHolders are live works of other owners that hold objects which this one gives up.
	OtherHolders []fleet.LiveWork
	// WantedBy are, by cluster, objects that this owner gives up and the owner that wants them, or UnknownOwner.
	WantedBy map[string]map[fleet.ObjectKey]fleet.Owner

	// DependencyPending says, by cluster, what the owner depends on and what is not ready there.
	DependencyPending map[string]string
	// DependentsPending says, by cluster that the owner is to leave, what depends on it and has to go from there first.
	DependentsPending map[string]string

	// Unreachable clusters do not answer.
	Unreachable map[string]bool
	// Unheard is true while reports of clusters may be out of date: the hub was away and has not heard all clusters since, or many are
	// silent at once. Then no report that another cluster is healthy removes anything.
	Unheard bool
	// AvailableSince is since when the others do, as far as that is known.
	AvailableSince map[string]time.Time
	// WhenUnreachable is the owner's policy; empty is Keep.
	WhenUnreachable musterv1alpha1.UnreachablePolicy
	// Deletion says what becomes of the objects on a cluster that the owner leaves; empty is Delete.
	Deletion musterv1alpha1.DeletionPolicy

	// Strategy says in which order gains and updates reach the clusters; nil is all at once. Its groups are those of Decisions.
	Strategy *musterv1alpha1.Rollout
	// Returning is true when a change has failed, and what is wanted is the revision before it: the clusters go in the reverse order.
	Returning bool
	// Labels of the clusters, for the steps of the strategy.
	Labels map[string]map[string]string
	// Approved are the steps that may begin, Skipped those that the next ones do not wait for; Aborted is true when a person takes the
	// rollout back.
	Approved, Skipped map[string]bool
	Aborted           bool
	// Revision that is rolled out, and what was measured of it and of others.
	Revision string
	Analyses []musterv1alpha1.AnalysisRun
	// Measuring is the analysis that the step before asked for, nil is none.
	Measuring *musterv1alpha1.AnalysisStatus
	// Windows of the strategy, and by cluster those that are for it; "" for clusters that it does not name.
	Windows   []OpenWindow
	WindowsOn map[string]WindowSet
	// Holds are those that people have put on the owner.
	Holds Holds
	// RolloutStarted is when the rollout that goes on began, as the step that began it said; zero when none does.
	RolloutStarted time.Time

	// PlanDigest is the plan that the changes lead to, ApprovedPlan the one that a person approved.
	PlanDigest   string
	ApprovedPlan string
	// MaxClusterPercent is the share of its clusters, or of its objects, that the owner may lose without an approval.
	MaxClusterPercent int
	// Removals are on record from earlier steps. GuardHolds is true when the step before this one waited for an approval.
	Removals   []musterv1alpha1.Removal
	GuardHolds bool
}

// UnknownOwner stands for the owner that may want an object, as long as that is not known.
var UnknownOwner = fleet.Owner{Kind: "Unknown"}

// Step is what may be done now, and what may not.
type Step struct {
	// Now are the changes to make, in this order: gains before losses. Keep is not among them.
	Now work.Changes
	// Held changes wait, sorted by cluster and name.
	Held []Held
	// Guard is set when an approval is needed.
	Guard *GuardHold
	// Approved is true when a person has approved the plan.
	Approved bool
	// Counted are the removals on record that count against the guard.
	Counted []musterv1alpha1.Removal
	// Removal is what the changes for now remove without an approval and what is not on record yet; nil when that is nothing.
	// Record it before the losses are made.
	Removal *musterv1alpha1.Removal
	// Rollout says how far the rollout is; nil without a strategy.
	Rollout *Rollout
	// Passes let agents leave a step of a canary, sorted.
	Passes []CanaryPass
	// Return is true when the rollout has failed and its strategy asks for the last good revision.
	Return bool
	// Swapped are the clusters that the scheduler has replaced and that the owner is still on, sorted.
	Swapped []string
	// Settled is what the owner is settled on now; nil when that is not known.
	Settled *musterv1alpha1.Settled
	// Left are the objects that the owner has left on clusters, those of this step included. Record them before the losses are made.
	Left []musterv1alpha1.LeftObjects
	// NextLook is when time alone may change the step; zero when only a change of something else does.
	NextLook time.Time
}

// Held is a change that is not made yet, and why.
type Held struct {
	Change  work.Change
	Reason  HeldReason
	Message string
	// Until is when time alone may end the wait; zero when something else has to change.
	Until time.Time
}

// HeldReason is a word for programs.
type HeldReason string

// The reasons to hold a change.
const (
	AbsenceUnproven    HeldReason = "AbsenceUnproven"    // the plan is not complete, or has a fault on this cluster
	ClusterUnreachable HeldReason = "ClusterUnreachable" // the cluster cannot hear it, or was dropped only because of that
	ApprovalNeeded     HeldReason = "ApprovalNeeded"     // the deletion guard
	HandoverPending    HeldReason = "HandoverPending"    // another work is to have an object and does not have it yet
	ReplacementPending HeldReason = "ReplacementPending" // the scheduler chose another cluster, on which the owner is not healthy yet
	WorkDeleting       HeldReason = "WorkDeleting"       // the work of the same name is still being deleted
	WorkForeign        HeldReason = "WorkForeign"        // a work that is not ours has the name
	RolloutPending     HeldReason = "RolloutPending"     // other clusters come first
	RolloutStopped     HeldReason = "RolloutStopped"     // too many clusters have failed
	DependencyPending  HeldReason = "DependencyPending"  // what the owner depends on is not ready on this cluster
	DependentsPending  HeldReason = "DependentsPending"  // what depends on the owner goes from this cluster first
	WindowClosed       HeldReason = "WindowClosed"       // it may not change at this time
	OnHold             HeldReason = "OnHold"             // a person keeps the cluster as it is
	FollowsPending     HeldReason = "FollowsPending"     // those that the owner follows have not proved the commit
)

// objection is why a change waits; the zero value is no objection.
type objection struct {
	Reason  HeldReason
	Message string
	Until   time.Time
}

// checks is the list that every change passes, whatever its action; the first objection holds it. A check that is not about a
// change lets it pass. A new reason to hold changes is one more entry. What passes them all is
// limited by the strategy, which looks at all clusters together.
func (d *decider) checks() []func(*change) objection {
	return []func(*change) objection{
		d.ownName,            // a work that is not ours is never overwritten
		d.nameFree,           // a name is free when the work that had it is gone
		d.absenceProven,      // what a plan could not see is not gone
		d.reachable,          // unreachable is not deselected
		d.dependencyReady,    // what the owner depends on comes first
		d.dependentsGone,     // and goes last
		d.replacementHealthy, // a swap surges first
		d.approved,           // the deletion guard
		d.handedOver,         // gains before losses
		d.windowOpen,         // at some times only
		d.notOnHold,          // nothing changes while a person says so
	}
}

// Next decides which of the changes may be made now. A Delete that is to leave its objects on the cluster takes two steps, the
// first of which is an Orphan.
func Next(changes work.Changes, in Input) Step {
	d := deciderOf(changes, in)
	step := Step{Approved: in.isApproved(), Counted: in.countedRemovals()}
	var now []change
	for i := range d.changes {
		c := &d.changes[i]
		if c.Action == work.Keep {
			continue
		}
		if o := d.objection(c); o.Reason != "" {
			step.Held = append(step.Held, Held{Change: c.Change, Reason: o.Reason, Message: o.Message, Until: o.Until})
			continue
		}
		now = append(now, *c)
	}
	now = d.limit(now, &step)
	for i := range now {
		now[i].Change = d.orphanFirst(&now[i])
		now[i].Drops = now[i].Action == work.Update && len(now[i].dropped) > 0
	}
	slices.SortStableFunc(now, func(a, b change) int {
		return cmp.Or(
			cmp.Compare(a.phase(), b.phase()), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name),
		)
	})
	for _, c := range now {
		step.Now = append(step.Now, c.Change)
	}
	step.Guard = d.guardHold()
	step.Removal = d.removal(now)
	step.Settled, step.Left = d.settled(), d.left(now)
	if d.exchange != nil {
		step.Swapped = d.exchange.replaced
	}
	step.lookAt(step.nextExpiry())
	step.lookAt(in.Holds.Expiry)
	slices.SortStableFunc(step.Held, func(a, b Held) int {
		return cmp.Or(cmp.Compare(a.Change.Cluster, b.Change.Cluster), cmp.Compare(a.Change.Name, b.Change.Name))
	})
	for _, h := range step.Held {
		step.lookAt(h.Until)
	}
	return step
}

// lookAt makes sure that the step is looked at again at a time; the zero time is none.
func (s *Step) lookAt(t time.Time) {
	if !t.IsZero() && (s.NextLook.IsZero() || t.Before(s.NextLook)) {
		s.NextLook = t
	}
}

// Idle is the next step after one that had nothing to do, when there is nothing to do again: only the time has changed, and
// what is on record.
func (s Step) Idle(in Input) Step {
	s.Approved, s.Counted = in.isApproved(), in.countedRemovals()
	s.NextLook = s.nextExpiry()
	s.lookAt(in.Holds.Expiry)
	return s
}

// change is a work.Change with the objects that it is about.
type change struct {
	work.Change
	wanted  []fleet.ObjectKey // in the wanted work
	dropped []fleet.ObjectKey // in the live work and not in the wanted one
	lost    []fleet.ObjectKey // dropped, and deleted on the cluster; known once the guard is asked
	guarded bool              // the guard holds it
}

// isDeletion is true for a change after which the work is gone, or about to go.
func (c *change) isDeletion() bool { return c.Action == work.Delete || c.Action == work.Orphan }

// phase orders the changes of a step: gains come before losses, on one cluster as among clusters.
func (c *change) phase() int {
	switch {
	case c.Action == work.Create:
		return 0
	case c.Action == work.Update && len(c.dropped) == 0:
		return 1
	case c.Action == work.Update:
		return 2
	case c.Action == work.Orphan:
		return 3
	}
	return 4
}

// decider is a step in the making: the input, arranged for the checks.
type decider struct {
	in      Input
	changes []change
	// wantedOn are the clusters of the changes that have works in the plan, or not.
	wantedOn map[string]bool
	holders  holders
	// waits are clusters that are to change, and on which a check holds every change that is left.
	waits map[string]bool
	// defers are clusters to change that wait for a time, a dependency or the end of a hold of all: a rollout does not pass them.
	defers   map[string]bool
	openings map[WindowSet]opening
	stepsOf  *steps // made for the first that asks for a window of a step
	// written is when each cluster changed in the rollout that goes on.
	written  map[string]time.Time
	loss     *guard // made for the first change that loses something
	exchange *swap  // the same
	was      *settledBefore
	count    *counted
	live     map[string][]*fleet.LiveWork // by cluster; made for the first that asks
}

func deciderOf(changes work.Changes, in Input) *decider {
	d := &decider{in: in, changes: make([]change, len(changes)), wantedOn: map[string]bool{}, waits: map[string]bool{}, defers: map[string]bool{}, written: map[string]time.Time{}}
	parsed := map[string][]fleet.ObjectKey{} // most clusters want the same objects
	for i, c := range changes {
		d.wantedOn[c.Cluster] = d.wantedOn[c.Cluster] || c.Wanted != nil
		d.changes[i] = change{Change: c, wanted: wantedObjects(c, parsed)}
		d.changes[i].dropped = droppedObjects(c, d.changes[i].wanted)
	}
	d.holders = d.holdersOf(d.changes)
	return d
}

func wantedObjects(c work.Change, parsed map[string][]fleet.ObjectKey) []fleet.ObjectKey {
	if c.Wanted == nil {
		return nil
	}
	text := c.Wanted.Annotations[musterv1alpha1.ObjectsAnnotation]
	keys, ok := parsed[text]
	if !ok {
		var err error
		if keys, err = work.ParseObjects(text); err != nil {
			panic(fmt.Sprintf("objects of planned work %s: %v", c.Name, err)) // package work wrote it
		}
		parsed[text] = keys
	}
	return keys
}

// droppedObjects are those that a change removes from its work.
func droppedObjects(c work.Change, wanted []fleet.ObjectKey) []fleet.ObjectKey {
	if c.Live == nil || c.Action == work.Keep {
		return nil
	}
	stays := make(map[fleet.ObjectKey]bool, len(wanted))
	for _, key := range wanted {
		stays[key.Identity()] = true
	}
	var dropped []fleet.ObjectKey
	for _, key := range c.Live.Objects {
		if !stays[key.Identity()] {
			dropped = append(dropped, key)
		}
	}
	return dropped
}

// objection is the first one against a change. The checks note the preconditions that the change needs.
func (d *decider) objection(c *change) objection {
	for _, check := range d.checks() {
		if o := check(c); o.Reason != "" {
			return o
		}
	}
	return objection{}
}

// ownName holds what would overwrite a work that is not the owner's.
func (d *decider) ownName(c *change) objection {
	if c.Action != work.Refuse {
		return objection{}
	}
	return objection{Reason: WorkForeign, Message: c.Fault.Message}
}

// nameFree holds the creation of a work while the old one of its name is being deleted.
func (d *decider) nameFree(c *change) objection {
	if c.Action != work.Create || c.Live == nil {
		return objection{}
	}
	return objection{Reason: WorkDeleting, Message: fmt.Sprintf("work %s is still being deleted and comes back after", c.Name)}
}

// loses is true for a change that removes objects from a work, or the work itself.
func (c *change) loses() bool {
	return c.Action == work.Delete || c.Action == work.Update && len(c.dropped) > 0
}

// absenceProven holds what removes objects while their absence from the plan proves nothing: on a cluster with a fault every
// loss, and elsewhere the deletion of a work as long as the plan is not complete.
func (d *decider) absenceProven(c *change) objection {
	switch {
	case !c.loses():
		return objection{}
	case d.in.Faulty[c.Cluster]:
		return objection{Reason: AbsenceUnproven, Message: fmt.Sprintf("%s could not be planned: its last good works stay", c.Cluster)}
	case c.Action == work.Delete && !d.in.Complete:
		return objection{Reason: AbsenceUnproven, Message: "the plan is not complete: nothing is deleted until it is"}
	}
	return objection{}
}

// reachable holds the deletion of a work on a cluster that cannot hear it, and on one that was dropped only because it did
// not answer, unless the owner wants to be rescheduled.
func (d *decider) reachable(c *change) objection {
	if c.Action != work.Delete {
		return objection{} // an update waits on the hub until the cluster is back
	}
	if d.in.Unreachable[c.Cluster] {
		return objection{Reason: ClusterUnreachable, Message: fmt.Sprintf("%s does not answer: its works stay until it is back", c.Cluster)}
	}
	decision := d.in.Decisions[c.Cluster]
	dropped := !d.wantedOn[c.Cluster] && !decision.Chosen && decision.Unreachable
	if dropped && d.in.WhenUnreachable != musterv1alpha1.UnreachableReschedule {
		return objection{Reason: ClusterUnreachable, Message: fmt.Sprintf("%s was dropped only because it did not answer: its works stay", c.Cluster)}
	}
	return objection{}
}

// dependencyReady holds gains and updates on a cluster until what the owner depends on is ready there.
func (d *decider) dependencyReady(c *change) objection {
	if pending := d.in.DependencyPending[c.Cluster]; pending != "" && (c.Action == work.Create || c.Action == work.Update) {
		return objection{Reason: DependencyPending, Message: pending}
	}
	return objection{}
}

// dependentsGone holds the removal from a cluster until what depends on the owner has gone from there, unless the objects stay anyway.
func (d *decider) dependentsGone(c *change) objection {
	pending := d.in.DependentsPending[c.Cluster]
	if pending == "" || !c.isDeletion() || d.wantedOn[c.Cluster] || d.in.Deletion == musterv1alpha1.DeletionOrphan {
		return objection{}
	}
	return objection{Reason: DependentsPending, Message: pending}
}

// orphanFirst turns a Delete that is to leave its objects into the Orphan that comes before it. An emptied part of a
// cluster that keeps the owner is deleted as it is: its objects are no longer wanted, or another part has them. On a cluster that
// the scheduler has replaced, what holds data stays.
func (d *decider) orphanFirst(c *change) work.Change {
	leaves := c.Action == work.Delete && !d.wantedOn[c.Cluster]
	if leaves && d.in.Deletion == musterv1alpha1.DeletionOrphan && !c.Live.Orphan {
		c.Action = work.Orphan
	} else if c.Leave = d.leave(c); len(c.Leave) > 0 {
		c.Action = work.Orphan
	}
	return c.Change
}

func sortedKeys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
