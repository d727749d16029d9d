package hub

import (
	"cmp"
	"maps"
	"slices"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reads is what the last plan of one repository read of the hub, and its delivery. A change of anything else leaves both as
// they are.
type Reads struct {
	plan *plan.Plan
	// namespaces of its applications and placements.
	namespaces map[string]bool
	// sets that are bound to those namespaces, or that its files define.
	sets map[string]bool
	// clusters that are in those sets, that its files define, or that its applications are on.
	clusters map[string]bool
	// objects that its applications want on any cluster, or have there.
	objects map[fleet.ObjectKey]bool
	// leaving are applications that have left its files and are still on clusters.
	leaving map[string]bool
	// interests of its placements.
	interests []placement.Interest
	// readers are, by namespace, the clusters on which an application reads ClusterValues: their names, labels and claims.
	readers map[string]map[string]*clusterv1.ManagedCluster
	// definesValues are the namespaces in which its files define ClusterValues.
	definesValues map[string]bool
	// settled says that the plan has no faults and that no object goes from one application to another: then works that
	// become what the plan says change nothing in it.
	settled bool
}

// ReadsOf is what a plan reads. Leaving are the applications that its repository does not name any more and that still run.
func ReadsOf(p *plan.Plan, leaving []string) *Reads {
	r := &Reads{
		plan: p, namespaces: map[string]bool{}, sets: map[string]bool{}, clusters: map[string]bool{},
		objects: p.Objects(), leaving: map[string]bool{}, settled: p.Settled(),
		readers: map[string]map[string]*clusterv1.ManagedCluster{}, definesValues: map[string]bool{},
	}
	for _, application := range leaving {
		r.leaving[application] = true
	}
	for _, pl := range p.Placements {
		r.namespaces[pl.Placement.Namespace] = true
		r.interests = append(r.interests, placement.InterestOf(pl.Placement))
		for _, set := range pl.Placement.Spec.ClusterSets {
			r.sets[set] = true
		}
	}
	for _, a := range p.Applications {
		r.namespaces[a.Application.Namespace] = true
		for _, c := range a.Clusters {
			r.clusters[c.Name] = true
		}
		for _, lw := range a.Live() {
			r.clusters[lw.Cluster] = true
		}
		for _, f := range a.Faults {
			r.clusters[f.Cluster] = true
		}
	}
	r.noteReaders(p)
	for i := range p.Definitions.All {
		switch o := p.Definitions.All[i].Object.(type) {
		case *clusterv1.ManagedCluster:
			r.clusters[o.Name] = true
		case *clusterv1beta2.ManagedClusterSet:
			r.sets[o.Name] = true
		case *musterv1alpha1.ClusterValues:
			r.definesValues[o.Namespace] = true
		}
	}
	for i := range p.World.Bindings {
		if b := &p.World.Bindings[i]; r.namespaces[b.Namespace] {
			r.sets[b.Spec.ClusterSet] = true
		}
	}
	members := placement.Sets(p.World)
	for set := range r.sets {
		for _, cluster := range members[set] {
			r.clusters[cluster] = true
		}
	}
	return r
}

// cluster says whether a change of a cluster can change the plan; nil is a cluster that is not there. The sets are those that
// it is in now.
func (r *Reads) cluster(before, after *clusterv1.ManagedCluster, sets []string) bool {
	is := after
	if is == nil {
		is = before
	}
	if !r.clusters[is.Name] && !slices.ContainsFunc(sets, func(set string) bool { return r.sets[set] }) {
		return false
	}
	if before == nil || after == nil || ClusterChanged(before, after) {
		return true
	}
	return slices.ContainsFunc(r.interests, func(i placement.Interest) bool { return i.InCluster(before, after) })
}

// noteReaders notes on which clusters applications read ClusterValues: where they are planned, or could not be.
func (r *Reads) noteReaders(p *plan.Plan) {
	facts := map[string]*clusterv1.ManagedCluster{}
	for i := range p.World.Clusters {
		c := &p.World.Clusters[i]
		known := &clusterv1.ManagedCluster{}
		known.Name, known.Labels, known.Status.ClusterClaims = c.Name, c.Labels, c.Status.ClusterClaims
		facts[c.Name] = known
	}
	for _, a := range p.Applications {
		if !render.ReadsClusterValues(a.Application) {
			continue
		}
		on := r.readers[a.Application.Namespace]
		if on == nil {
			on = map[string]*clusterv1.ManagedCluster{}
			r.readers[a.Application.Namespace] = on
		}
		for _, d := range a.Decisions {
			if c := facts[d.Cluster]; c != nil && (d.Chosen || d.Unreachable) {
				on[d.Cluster] = c
			}
		}
	}
}

// clusterValues says whether a change of ClusterValues can change the plan; nil are ones that are not there.
func (r *Reads) clusterValues(before, after *musterv1alpha1.ClusterValues) bool {
	namespace := cmp.Or(after, before).Namespace
	shared := namespace == fleet.SharedNamespace
	if r.definesValues[namespace] || shared && len(r.definesValues) > 0 {
		return true
	}
	for reader, on := range r.readers {
		if !shared && reader != namespace {
			continue
		}
		for _, c := range on {
			if fleet.ValuesMatch(before, c) || fleet.ValuesMatch(after, c) {
				return true
			}
		}
	}
	return false
}

// score says whether the scores on a cluster can change the plan.
func (r *Reads) score(cluster string, interested func(placement.Interest) bool) bool {
	return r.clusters[cluster] && slices.ContainsFunc(r.interests, interested)
}

// work says whether a change of a work can change the plan or its delivery.
func (r *Reads) work(e WorkEvent) bool {
	lw := e.Work()
	owner := lw.Owner.String()
	if r.leaving[owner] || r.plan.Renames[owner] != "" {
		return true
	}
	if a := r.plan.Find(owner); a != nil {
		return !r.settled || !asPlanned(a, e)
	}
	if !r.clusters[lw.Cluster] {
		return false
	}
	for _, facts := range []*fleet.LiveWork{e.Before, e.After} {
		if facts != nil && slices.ContainsFunc(facts.Objects, func(o fleet.ObjectKey) bool { return r.objects[o.Identity()] }) {
			return true // another's work holds what an application of this repository wants
		}
	}
	return false
}

// asPlanned says that a work has become what the plan says of it: it is one of the wanted set, or it is on a cluster that the
// application leaves.
func asPlanned(a *plan.Application, e WorkEvent) bool {
	c := a.On(e.Work().Cluster)
	if c == nil {
		return true
	}
	if e.After == nil || e.After.Deleting || e.After.SetDigest != c.SetDigest {
		return false
	}
	edited := e.Before != nil && e.Before.SetDigest == e.After.SetDigest && e.Before.SpecDigest != e.After.SpecDigest
	return !edited && e.After.OwnerDigest == a.Owner().Digest()
}

// ClusterChanged says whether a cluster changed in anything that plans and statuses of applications read. What it reports of
// its resources is not among it: only some placements look at that.
func ClusterChanged(before, after *clusterv1.ManagedCluster) bool {
	return before.UID != after.UID || before.Generation != after.Generation ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		!maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations) ||
		!slices.Equal(before.Status.ClusterClaims, after.Status.ClusterClaims) ||
		before.Status.Version != after.Status.Version ||
		!slices.EqualFunc(before.Status.Conditions, after.Status.Conditions, func(a, b metav1.Condition) bool {
			return a.Type == b.Type && a.Status == b.Status
		})
}
