package manifestworkreplicaset

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

// template is what every work of a ManifestWorkReplicaSet is to be, made once for a generation.
type template struct {
	spec   workv1.ManifestWorkSpec
	digest string
	labels map[string]string
	// steers is the first object that its tenant does not deliver to the hub's own cluster; empty when there is none, and where an executor
	// bounds what it may do there.
	steers string
	// hubs are the clusters that are the hub itself.
	hubs map[string]bool
}

func templateOf(set *workv1alpha1.ManifestWorkReplicaSet) template {
	t := template{spec: work.WithHealth(set.Spec.ManifestWorkTemplate), labels: maps.Clone(set.Labels)}
	if t.labels == nil {
		t.labels = map[string]string{}
	}
	maps.Copy(t.labels, work.OwnerSelector(ownerOf(set)))
	t.digest = work.SpecDigest(&workv1.ManifestWork{Spec: t.spec})
	if t.spec.Executor == nil {
		t.steers = steersHub(t.spec, set.Namespace)
	}
	return t
}

// steersHub finds the first manifest that no tenant of a namespace delivers to the hub's own cluster.
func steersHub(spec workv1.ManifestWorkSpec, namespace string) string {
	for _, m := range spec.Workload.Manifests {
		var o metav1.PartialObjectMetadata
		if err := json.Unmarshal(m.Raw, &o); err != nil {
			continue // the agent says so
		}
		gvk := o.GroupVersionKind()
		if plan.SteersHub(fleet.ObjectKey{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Namespace: o.Namespace, Name: o.Name}, namespace) {
			return strings.TrimSpace(gvk.Kind + " " + strings.TrimPrefix(o.Namespace+"/"+o.Name, "/"))
		}
	}
	return ""
}

func ownerOf(set *workv1alpha1.ManifestWorkReplicaSet) fleet.Owner {
	return fleet.ReplicaSetOwner(set.Namespace, set.Name)
}

// chosen is what is known of one placement that a ManifestWorkReplicaSet names.
type chosen struct {
	name      string
	placement *clusterv1beta1.Placement // nil when there is none
	groups    []placement.Group
	// complete is false while the pages of the placement are no complete set: nothing is concluded from what is not in them.
	complete bool
}

// choose reads the decisions of a placement.
func choose(name string, p *clusterv1beta1.Placement, decisions []clusterv1beta1.PlacementDecision) chosen {
	out := chosen{name: name, placement: p}
	if p != nil {
		out.groups, out.complete = placement.ReadSet(p, decisions)
	}
	return out
}

// report is what was decided for a ManifestWorkReplicaSet, and what came of it.
type report struct {
	chosen []chosen
	shares []rollout.Share
	// works are the live works by cluster, one of each: the one that stays.
	works map[string]*fleet.LiveWork
	// updated clusters have the work that the template asks for now.
	updated map[string]bool
	// changes to make: gains, then losses.
	gains, losses work.Changes
	refused       map[string]error
	// preventing says why nothing is done at all.
	preventing *fault
}

// fault is why nothing is done, for the condition that it belongs to. One that may pass by itself is not told for a while.
type fault struct {
	condition, reason, message string
	mayPass                    bool
}

// decide compares what the placements choose with the works that are there. It changes a cluster only when the strategy of its
// placement selects it, and deletes a work only when no placement that is left chooses its cluster. A template that steers the hub changes nothing
// on the hub's own cluster.
func decide(set *workv1alpha1.ManifestWorkReplicaSet, t template, placements []chosen, live []fleet.LiveWork, now time.Time) *report {
	out := &report{chosen: placements, works: map[string]*fleet.LiveWork{}, updated: map[string]bool{}, refused: map[string]error{}}
	if out.preventing = blockedBy(set, placements); out.preventing != nil {
		out.keep(live)
		return out
	}
	surplus := out.keep(live)
	targets := make([]rollout.Target, len(placements))
	for i, p := range placements {
		targets[i] = rollout.Target{Placement: p.name, Strategy: set.Spec.PlacementRefs[i].RolloutStrategy, Groups: out.groupsOf(p, t)}
	}
	var err error
	if out.shares, err = rollout.Over(targets, now); err != nil {
		out.preventing = &fault{condition: workv1alpha1.ManifestWorkReplicaSetConditionPlacementVerified, reason: workv1alpha1.ReasonNotAsExpected, message: err.Error()}
		return out
	}
	wanted := map[string]bool{}
	for i, share := range out.shares {
		for _, c := range share.Clusters {
			wanted[c.Name] = true
			_, selected := slices.BinarySearch(share.Selected, c.Name)
			if t.hubs[c.Name] && t.steers != "" {
				out.refused[c.Name] = fmt.Errorf("%s: not %s; name an executor, or deliver it from namespace %s", plan.HubProtected(c.Name, set.Namespace), t.steers, plan.RootNamespace)
				continue
			}
			out.change(set, t, placements[i].name, c.Name, selected)
		}
	}
	slices.SortFunc(out.gains, func(a, b work.Change) int { return cmp.Compare(a.Cluster, b.Cluster) })
	out.leave(set, wanted, surplus)
	return out
}

// blockedBy is what keeps everything as it is, or nil. Pages that are not a complete set do: a group that is missing might come
// first, and a cluster that is missing may still be chosen.
func blockedBy(set *workv1alpha1.ManifestWorkReplicaSet, placements []chosen) *fault {
	if key := set.Namespace + "." + set.Name; len(key) > maxLabel {
		return &fault{
			condition: workv1alpha1.ManifestWorkReplicaSetConditionManifestworkApplied, reason: workv1alpha1.ReasonInvalidManifestWorkName,
			message: fmt.Sprintf("the works carry the label %s=%s, whose value has %d characters and may have %d: take a shorter name",
				workv1alpha1.ManifestWorkReplicaSetLabelKey, key, len(key), maxLabel),
		}
	}
	verified := func(reason, message string, mayPass bool) *fault {
		return &fault{workv1alpha1.ManifestWorkReplicaSetConditionPlacementVerified, reason, message + ": the works stay as they are", mayPass}
	}
	for _, p := range placements {
		switch {
		case p.placement == nil:
			return verified(workv1alpha1.ReasonPlacementDecisionNotFound, fmt.Sprintf("there is no placement %s in namespace %s", p.name, set.Namespace), false)
		case len(p.groups) == 0:
			return verified(workv1alpha1.ReasonPlacementDecisionEmpty, fmt.Sprintf("placement %s has no decisions", p.name), false)
		case !p.complete:
			return verified(workv1alpha1.ReasonNotAsExpected, fmt.Sprintf("the decisions of placement %s are not as many as its status says", p.name), true)
		}
	}
	return nil
}

// maxLabel is how long the value of a label may be.
const maxLabel = 63

// keep notes one work of each cluster, by preference one that is not being deleted, and returns the others.
func (o *report) keep(live []fleet.LiveWork) (surplus []*fleet.LiveWork) {
	slices.SortFunc(live, func(a, b fleet.LiveWork) int {
		rank := func(lw fleet.LiveWork) int {
			if lw.Deleting {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	for i := range live {
		lw := &live[i]
		if o.works[lw.Cluster] == nil {
			o.works[lw.Cluster] = lw
		} else if !lw.Deleting {
			surplus = append(surplus, lw)
		}
	}
	return surplus
}

// groupsOf are the decision groups of a placement with the state of each cluster.
func (o *report) groupsOf(p chosen, t template) []rollout.Group {
	groups := make([]rollout.Group, len(p.groups))
	for i, g := range p.groups {
		groups[i] = rollout.Group{Name: g.Name, Index: int32(g.Index)}
		for _, name := range g.Clusters {
			c := rollout.Cluster{Name: name, State: rollout.ToApply}
			if lw := o.works[name]; lw != nil && !lw.Deleting && lw.SpecDigest == t.digest {
				c.State, c.Since = rollout.StateOf(lw)
				c.Offline = lw.HeldOnCluster() // it catches up when the hold on the cluster ends
				o.updated[name] = true
			}
			groups[i].Clusters = append(groups[i].Clusters, c)
		}
	}
	return groups
}

// change notes what is to be done on a cluster that a placement chooses. Its labels follow at once: they change nothing on the
// cluster.
func (o *report) change(set *workv1alpha1.ManifestWorkReplicaSet, t template, placement, cluster string, selected bool) {
	lw := o.works[cluster]
	if lw != nil && lw.Deleting {
		return // the work of its name comes back when this one is gone
	}
	labels := maps.Clone(t.labels)
	labels[workv1alpha1.PlacementNameLabelKey] = placement
	if !selected && (lw == nil || !o.updated[cluster] || hasLabels(lw.Labels, labels)) {
		return
	}
	owner := ownerOf(set)
	wanted := &workv1.ManifestWork{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: work.Name(owner, 0), Labels: labels}, Spec: t.spec,
	}
	change := work.Change{Action: work.Create, Cluster: cluster, Name: wanted.Name, Owner: owner, Live: lw, Wanted: wanted}
	if lw != nil {
		change.Action, change.Name, wanted.Name = work.Update, lw.Name, lw.Name
	}
	o.gains = append(o.gains, change)
}

func hasLabels(have, wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// leave notes the works to delete: those on clusters that no placement chooses, and second ones.
func (o *report) leave(set *workv1alpha1.ManifestWorkReplicaSet, wanted map[string]bool, surplus []*fleet.LiveWork) {
	leaving := surplus
	for _, cluster := range slices.Sorted(maps.Keys(o.works)) {
		if lw := o.works[cluster]; !wanted[cluster] && !lw.Deleting {
			leaving = append(leaving, lw)
		}
	}
	for _, lw := range leaving {
		o.losses = append(o.losses, work.Change{Action: work.Delete, Cluster: lw.Cluster, Name: lw.Name, Owner: ownerOf(set), Live: lw})
	}
}
