package application

import (
	"fmt"
	"slices"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/plan"
	"k8s.io/apimachinery/pkg/api/meta"
)

// decide fills in the decisions of the live placement, or a fault when there are none: a missing placement, or missing decisions, never
// mean that the application belongs on no cluster.
func decide(job *plan.Job, world *fleet.World, definition *fleet.Definition) {
	var choices []plan.Choice
	for _, name := range job.Application.PlacementNames() {
		choice, fault := choiceOf(job.Application, name, world, definition)
		if job.Fault = fault; fault != nil {
			return
		}
		choices = append(choices, choice)
	}
	job.Decided = plan.Union(choices, world, job.Application)
}

// choiceOf is what one placement has decided, and on which grounds.
func choiceOf(app *musterv1alpha1.Application, name string, world *fleet.World, definition *fleet.Definition) (_ plan.Choice, _ *fleet.Fault) {
	i := slices.IndexFunc(world.Placements, func(p clusterv1beta1.Placement) bool {
		return p.Namespace == app.Namespace && p.Name == name
	})
	fault := fleet.Fault{
		Application: app.Namespace + "/" + app.Name, File: definition.File, Line: definition.LineOf(app.PlacementField(name)),
	}
	if i < 0 {
		fault.Reason, fault.ActionRequiredBy = fleet.PlacementMissing, fleet.User
		fault.Message = fmt.Sprintf("placement %q is not in namespace %s: define it, or correct the name", name, app.Namespace)
		return plan.Choice{}, &fault
	}
	p := &world.Placements[i]
	if c := meta.FindStatusCondition(p.Status.Conditions, clusterv1beta1.PlacementConditionMisconfigured); c != nil && c.Status == "True" && c.ObservedGeneration == p.Generation {
		fault.Reason, fault.ActionRequiredBy = fleet.PlacementInvalid, fleet.User
		fault.Message = fmt.Sprintf("placement %q is misconfigured: %s", p.Name, c.Message)
		return plan.Choice{}, &fault
	}
	chosen, complete := placement.Read(p, world.Decisions)
	if !complete || !placement.Scheduled(p) {
		fault.Reason, fault.ActionRequiredBy = fleet.DecisionsIncomplete, fleet.Controller
		fault.Message = fmt.Sprintf("the decisions of placement %q are not complete yet", p.Name)
		return plan.Choice{}, &fault
	}
	decisions := decisionsOf(p, world, inBoundSets(world, app.Namespace, chosen))
	return plan.Choice{Placement: p, Decisions: decisions, Grounds: groundsOf(p, world)}, nil
}

// inBoundSets are the chosen clusters that the namespace may reach. Our scheduler chooses no others; decisions that somebody
// else wrote may.
func inBoundSets(world *fleet.World, namespace string, chosen []string) []string {
	members := placement.Sets(world)
	bound := map[string]bool{}
	for i := range world.Bindings {
		if b := &world.Bindings[i]; b.Namespace == namespace {
			for _, name := range members[b.Spec.ClusterSet] {
				bound[name] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(chosen), func(name string) bool { return !bound[name] })
}

// groundsOf are the grounds of the live decisions. Another scheduler names none: then only the hub's own taints are a reason to exchange
// clusters.
func groundsOf(p *clusterv1beta1.Placement, world *fleet.World) string {
	if p.Annotations[clusterv1beta1.PlacementDisableAnnotation] == "true" {
		return "external"
	}
	return placement.ReadGrounds(p, world.Decisions)
}

// lagging is true for a cluster that the live decisions lack although our scheduler would choose it, and there is a place for it. It was
// dropped while it did not answer, and is back: the scheduler is about to choose it again, so that it is not deselected. Another
// scheduler has reasons of its own.
func lagging(p *clusterv1beta1.Placement, d fleet.Decision, full bool) bool {
	return d.Chosen && !full && p.Annotations[clusterv1beta1.PlacementDisableAnnotation] != "true"
}

// decisionsOf are the live decisions, which win, and our scheduler's reasons for the clusters that have works and were not chosen.
func decisionsOf(p *clusterv1beta1.Placement, world *fleet.World, chosen []string) []fleet.Decision {
	decisions := make([]fleet.Decision, 0, len(chosen))
	groups := map[string]placement.Group{}
	for _, g := range placement.ReadGroups(p, world.Decisions) {
		for _, name := range g.Clusters {
			groups[name] = g
		}
	}
	for _, name := range chosen {
		g := groups[name]
		decisions = append(decisions, fleet.Decision{Cluster: name, Chosen: true, Step: placement.StepChosen, Group: g.Name, GroupIndex: g.Index})
	}
	index := placement.NewIndex(world)
	full := p.Spec.NumberOfClusters != nil && len(chosen) >= int(*p.Spec.NumberOfClusters)
	var result *placement.Result
	explained := map[string]bool{}
	for _, lw := range world.Works {
		if _, isChosen := slices.BinarySearch(chosen, lw.Cluster); isChosen || explained[lw.Cluster] {
			continue
		}
		explained[lw.Cluster] = true
		if result == nil {
			scheduled := index.Schedule(p)
			result = &scheduled
		}
		d := index.Explain(p, result, lw.Cluster)
		d.Unreachable = d.Unreachable || lagging(p, d, full)
		if d.Chosen && full { // the scheduler knows more: scores, and what other namespaces have chosen
			d.Step, d.Reason = placement.StepScores, fmt.Sprintf("%d are wanted, and others were chosen", len(chosen))
		}
		if p.Annotations[clusterv1beta1.PlacementDisableAnnotation] == "true" {
			d.Step = "" // another scheduler has decided, for reasons of its own
		}
		d.Chosen = false
		decisions = append(decisions, d)
	}
	return decisions
}
