package rollout

import (
	"cmp"
	"fmt"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// Input is what a step is decided on, for one application.
type Input struct {
	// Application as namespace/name.
	Application string
	// Live works of the application on all clusters.
	Live []fleet.LiveWork
	// Complete is true when the plan is known to hold everything that it should: only then does absence mean anything.
	Complete bool
	// Faulty clusters could not be planned: their works stay.
	Faulty map[string]bool
	// Decisions of the placement by cluster, as far as there are any.
	Decisions map[string]fleet.Decision
	// Unreachable clusters do not answer.
	Unreachable map[string]bool
	// WhenUnreachable is the application's policy; empty is Keep.
	WhenUnreachable musterv1alpha1.UnreachablePolicy
	// Deletion says what becomes of the objects on a cluster that the application leaves; empty is Delete.
	Deletion musterv1alpha1.DeletionPolicy

	// PlanDigest is the plan that the changes lead to, ApprovedPlan the one that a person approved.
	PlanDigest   string
	ApprovedPlan string
	// MaxClusterPercent is the share of its clusters that the application may lose without an approval.
	MaxClusterPercent int
	// RecentRemovals that count against the guard: see Lately.
	RecentRemovals []musterv1alpha1.Removal
	// Elsewhere are live works of other applications that hold objects which this one lets go.
	Elsewhere []fleet.LiveWork
	// Awaited are, by cluster, objects that this application lets go and the application that wants them, or NotKnown.
	Awaited map[string]map[fleet.ObjectKey]string
}

// NotKnown stands for the application that may want an object, before that is known.
const NotKnown = "?"

// Step is what may be done now, and what may not.
type Step struct {
	// Now are the changes to make, in this order: gains before losses. Keep is not among them.
	Now work.Changes
	// Held changes wait, sorted by cluster and name.
	Held []Held
	// Guard is set when an approval is needed.
	Guard *GuardHold
	// Leaves are the clusters that the changes for now take the application from without an approval, and that are not among
	// the losses yet, sorted.
	Leaves []string
	// Approved is true when a person has approved the plan.
	Approved bool
}

// Held is a change that is not made yet, and why.
type Held struct {
	Change  work.Change
	Reason  HeldReason
	Message string
}

// HeldReason is a word for programs.
type HeldReason string

// The reasons to hold a change.
const (
	AbsenceUnproven    HeldReason = "AbsenceUnproven"    // the plan is not complete, or has a fault on this cluster
	ClusterUnreachable HeldReason = "ClusterUnreachable" // the cluster cannot hear it, or was dropped only because of that
	ApprovalNeeded     HeldReason = "ApprovalNeeded"     // the deletion guard
	MovePending        HeldReason = "MovePending"        // an object is moving to another work and is not there yet
	WorkDeleting       HeldReason = "WorkDeleting"       // the work of the same name is still being deleted
	WorkForeign        HeldReason = "WorkForeign"        // somebody else's work has the name
)

// Next decides. The checks are made in this order for every change; the first that objects holds it:
//
//	Refuse                       never made
//	Create                       the old work of the name is gone
//	Update that drops nothing    made
//	Update that drops, Delete    absenceProven, reachable, guard, moved
//
// A Delete that is to leave its objects on the cluster is made in two steps, the first of which is an Orphan.
func Next(changes work.Changes, in Input) Step {
	d := deciderOf(changes, in)
	var step Step
	for _, change := range changes {
		if change.Action == work.Keep {
			continue
		}
		reason, message := d.objection(&change)
		if reason != "" {
			step.Held = append(step.Held, Held{Change: change, Reason: reason, Message: message})
			continue
		}
		step.Now = append(step.Now, d.orphanFirst(change))
	}
	slices.SortStableFunc(step.Now, func(a, b work.Change) int {
		return cmp.Or(
			cmp.Compare(phase(a), phase(b)), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name),
		)
	})
	step.Guard = d.guard.hold(step.Held, in)
	step.Leaves, step.Approved = d.guard.leaves(step.Now), d.guard.approved
	return step
}

// phase orders the changes of a step: gains come before losses, on one cluster as among clusters.
func phase(c work.Change) int {
	switch {
	case c.Action == work.Create:
		return 0
	case c.Action == work.Update && len(dropped(c)) == 0:
		return 1
	case c.Action == work.Update:
		return 2
	case c.Action == work.Orphan:
		return 3
	}
	return 4
}

// decider is a step in the making: the input, arranged for the questions.
type decider struct {
	in Input
	// wantedOn are the clusters that have works in the plan.
	wantedOn map[string]bool
	holders  holders
	guard    guard
}

func deciderOf(changes work.Changes, in Input) *decider {
	d := &decider{in: in, wantedOn: map[string]bool{}, holders: holdersOf(changes, in.Elsewhere)}
	for _, c := range changes {
		if c.Wanted != nil {
			d.wantedOn[c.Cluster] = true
		}
	}
	d.guard = d.guardOf(changes)
	return d
}

// objection is the first reason against a change. It notes the witnesses that the change needs.
func (d *decider) objection(c *work.Change) (HeldReason, string) {
	switch {
	case c.Action == work.Refuse:
		return WorkForeign, c.Fault.Message
	case c.Action == work.Create && c.Live != nil:
		return WorkDeleting, fmt.Sprintf("work %s is still being deleted and comes back after", c.Name)
	case c.Action == work.Create:
		return "", ""
	}
	gone := dropped(*c)
	if c.Action == work.Update && len(gone) == 0 {
		return "", ""
	}
	for _, check := range []func(*work.Change, []fleet.ObjectKey) (HeldReason, string){
		d.absenceProven, // what a plan could not see is not gone
		d.reachable,     // unreachable is not deselected
		d.approved,      // the deletion guard
		d.moved,         // gains before losses
	} {
		if reason, message := check(c, gone); reason != "" {
			return reason, message
		}
	}
	return "", ""
}

// absenceProven holds what takes objects away while the plan cannot vouch for their absence: on a cluster with a fault
// anything, and elsewhere whole works as long as the plan is not complete.
func (d *decider) absenceProven(c *work.Change, _ []fleet.ObjectKey) (HeldReason, string) {
	switch {
	case d.in.Faulty[c.Cluster]:
		return AbsenceUnproven, fmt.Sprintf("%s could not be planned: its last good works stay", c.Cluster)
	case c.Action == work.Delete && !d.in.Complete:
		return AbsenceUnproven, "the plan is not complete: nothing is deleted until it is"
	}
	return "", ""
}

// reachable holds the deletion of a work on a cluster that cannot hear it, and on one that was dropped only because it did
// not answer, unless the application wants to be rescheduled.
func (d *decider) reachable(c *work.Change, _ []fleet.ObjectKey) (HeldReason, string) {
	if c.Action != work.Delete {
		return "", "" // an update waits on the hub until the cluster is back
	}
	if d.in.Unreachable[c.Cluster] {
		return ClusterUnreachable, fmt.Sprintf("%s does not answer: its works stay until it is back", c.Cluster)
	}
	decision := d.in.Decisions[c.Cluster]
	dropped := !d.wantedOn[c.Cluster] && !decision.Chosen && decision.Unreachable
	if dropped && d.in.WhenUnreachable != musterv1alpha1.UnreachableReschedule {
		return ClusterUnreachable, fmt.Sprintf("%s was dropped only because it did not answer: its works stay", c.Cluster)
	}
	return "", ""
}

// orphanFirst turns a Delete that is to leave its objects into the Orphan that comes before it. An emptied part of a
// cluster that keeps the application is deleted as it is: its objects are no longer wanted, or have moved.
func (d *decider) orphanFirst(c work.Change) work.Change {
	leaves := c.Action == work.Delete && !d.wantedOn[c.Cluster]
	if leaves && d.in.Deletion == musterv1alpha1.DeletionOrphan && !c.Live.Orphan {
		c.Action = work.Orphan
	}
	return c
}
