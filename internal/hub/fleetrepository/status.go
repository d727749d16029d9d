package fleetrepository

import (
	"fmt"
	"slices"
	"strings"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The conditions of a FleetRepository. True is good; Ready is derived from the others.
const (
	ConditionFetched   = "Fetched"   // the remote was read, and this is its newest commit
	ConditionPlanned   = "Planned"   // the commit has a plan without faults
	ConditionDelivered = "Delivered" // the newest commit is what applications are planned at
	ConditionReady     = "Ready"
)

// The reasons of those conditions, besides the reasons of faults.
const (
	ReasonSucceeded = "Succeeded"
	ReasonFaults    = "Faults"   // some definitions or applications have faults; the rest went on
	ReasonHeld      = "Held"     // deletions wait for an approval
	ReasonWaiting   = "Waiting"  // for placements to be decided
	ReasonFailed    = "Failed"   // the hub failed; it is retried
	ReasonStale     = "Stale"    // an older commit is delivered
	ReasonUnknown   = "NotAsked" // an earlier stage failed
)

// statusOf is the status for a report.
func statusOf(repo *musterv1alpha1.FleetRepository, out *report, err error, now time.Time) musterv1alpha1.FleetRepositoryStatus {
	status := *repo.Status.DeepCopy()
	status.ObservedGeneration = repo.Generation
	status.FetchedRevision = out.fetched
	if out.plan != nil && err == nil {
		status.Held = out.held
		status.Definitions = int32(len(out.accepted))
	}
	if out.delivered {
		status.Plan = out.plan.Digest
	}
	if out.delivered && status.Revision != out.delivery.Snapshot.Revision {
		status.Revision = out.delivery.Snapshot.Revision
		delivered := metav1.NewTime(now)
		status.DeliveredAt = &delivered
	}
	faults := out.faults
	for _, e := range []error{err, out.fetchErr} { // of the repository itself
		if f, ok := fleet.AsFault(e); ok {
			faults = append([]fleet.Fault{f}, faults...)
		}
	}
	if err == nil || len(faults) > 0 {
		status.FaultCount = int32(len(faults))
		status.Faults = hubFaults(faults)
	}
	for _, c := range conditionsOf(out, err, status.Revision) {
		c.ObservedGeneration = repo.Generation
		meta.SetStatusCondition(&status.Conditions, c)
	}
	return status
}

func conditionsOf(out *report, err error, revision string) []metav1.Condition {
	fetched := fetchedCondition(out)
	planned := plannedCondition(out, err)
	delivered := deliveredCondition(out, err, revision)
	ready := metav1.Condition{
		Type: ConditionReady, Status: metav1.ConditionTrue, Reason: ReasonSucceeded,
		Message: "delivered " + fleet.ShortRevision(revision),
	}
	for _, c := range []metav1.Condition{fetched, delivered, planned} {
		if c.Status != metav1.ConditionTrue {
			ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, c.Reason, c.Message
			break
		}
	}
	if ready.Status == metav1.ConditionTrue && out.held != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, ReasonHeld, out.held.Message
	}
	return []metav1.Condition{fetched, planned, delivered, ready}
}

func fetchedCondition(out *report) metav1.Condition {
	c := metav1.Condition{Type: ConditionFetched, Status: metav1.ConditionTrue, Reason: ReasonSucceeded, Message: "fetched " + fleet.ShortRevision(out.fetched)}
	switch {
	case out.fetchErr != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, string(fleet.SourceUnavailable), out.fetchErr.Error()
		if f, ok := fleet.AsFault(out.fetchErr); ok {
			c.Reason, c.Message = string(f.Reason), f.Message
		}
	case out.rewritten != "":
		c.Reason, c.Message = string(fleet.HistoryRewritten), out.rewritten
	}
	return c
}

// rewrittenMessage is the message of a rewritten history.
func rewrittenMessage(before, head string) string {
	return fmt.Sprintf("the history was rewritten: %s does not follow from the commit before it, %s, and is delivered all the same; deletions are guarded",
		fleet.ShortRevision(head), fleet.ShortRevision(before))
}

// reasonOf is the reason of a fault, or Failed for any other error.
func reasonOf(err error) string {
	if f, ok := fleet.AsFault(err); ok {
		return string(f.Reason)
	}
	return ReasonFailed
}

func plannedCondition(out *report, err error) metav1.Condition {
	c := metav1.Condition{Type: ConditionPlanned, Status: metav1.ConditionTrue, Reason: ReasonSucceeded}
	switch {
	case len(out.faults) > 0:
		c.Status, c.Reason = metav1.ConditionFalse, ReasonFaults
		c.Message = fleet.Headline(out.faults)
	case out.plan != nil:
		c.Message = "plan " + shortPlan(out.plan.Digest)
	case err != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, reasonOf(err), err.Error()
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, ReasonUnknown, "no commit was fetched"
	}
	return c
}

func deliveredCondition(out *report, err error, revision string) metav1.Condition {
	c := metav1.Condition{Type: ConditionDelivered, Status: metav1.ConditionFalse}
	switch {
	case err != nil:
		c.Reason, c.Message = reasonOf(err), err.Error()
	case out.waiting != "":
		c.Reason, c.Message = ReasonWaiting, out.waiting
	case !out.delivered:
		c.Reason, c.Message = ReasonStale, "nothing is delivered"
		if revision != "" {
			c.Message = "the last good commit stays: " + fleet.ShortRevision(revision)
		}
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, ReasonSucceeded, "delivered "+fleet.ShortRevision(revision)
		if len(out.renaming) > 0 {
			c.Message += "; renamed, and not everywhere yet: " + strings.Join(out.renaming[:min(len(out.renaming), 20)], ", ")
		}
		if len(out.differs) > 0 {
			c.Message += "; decided otherwise than planned, and the live decisions win: " + strings.Join(out.differs, ", ")
		}
	}
	return c
}

// withinRights leaves out faults about single clusters that the repository may have no right to know of. A plan assumes that the
// API server accepts all definitions: a repository that asks for the clusters of others must not learn their names from it. The
// rejection itself is reported. A definition that the API server rejected hides
//
//	an Application              its own faults
//	a Placement                 the faults of the applications that it decides for
//	a ManagedClusterSetBinding  the faults of its namespace
//	a ManagedClusterSet         the faults of the namespaces that it is bound to
//	a ManagedCluster            the faults on it
func withinRights(faults []fleet.Fault, p *plan.Plan, accepted map[fleet.ObjectKey]bool) []fleet.Fault {
	missing, beyond := map[string]bool{}, map[string]bool{} // definitions; namespaces
	for i := range p.Definitions.All {
		key := p.Definitions.All[i].Key
		if accepted[key] {
			continue
		}
		missing[key.String()] = true
		beyond[key.Namespace] = beyond[key.Namespace] || key.Kind == "ManagedClusterSetBinding"
	}
	if len(missing) == 0 {
		return faults
	}
	for i := range p.World.Bindings {
		if b := &p.World.Bindings[i]; missing["ManagedClusterSet "+b.Spec.ClusterSet] {
			beyond[b.Namespace] = true
		}
	}
	for _, a := range p.Applications {
		for _, name := range a.Application.PlacementNames() {
			if missing["Placement "+a.Application.Namespace+"/"+name] {
				missing["Application "+a.Key()] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(faults), func(f fleet.Fault) bool {
		namespace, _, _ := strings.Cut(f.Application, "/")
		return f.Cluster != "" && (missing["Application "+f.Application] || beyond[namespace] || missing["ManagedCluster "+f.Cluster])
	})
}

// hubFaults are the first twenty faults. Equal faults of one application on many clusters become one, which names the first cluster.
func hubFaults(faults []fleet.Fault) []musterv1alpha1.Fault {
	var list []musterv1alpha1.Fault
	for _, g := range fleet.GroupFaults(faults) {
		if len(list) == 20 {
			break
		}
		f := musterv1alpha1.Fault{
			Reason: string(g.Reason), Application: g.Application, File: g.File, Line: int32(g.Line), Message: g.Message, ActionRequiredBy: string(g.ActionRequiredBy),
		}
		if len(g.Clusters) > 0 {
			f.Cluster = g.Clusters[0]
		}
		if len(g.Clusters) > 1 {
			f.Clusters = int32(len(g.Clusters))
		}
		if g.Object != "" {
			f.Message = g.Object + ": " + g.Message
		}
		list = append(list, f)
	}
	return list
}
