package plan

import (
	"cmp"
	"fmt"
	"slices"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// hold adds what the hub would not do yet of an application; either side may be nil.
func (c *comparer) hold(base, head *Application) error {
	if head == nil {
		c.holdRemoved(base)
		return nil
	}
	changes, err := head.guardedChanges()
	if err != nil {
		return err
	}
	step := rollout.Next(changes, head.ReviewInput(c.head.World))
	byReason := map[rollout.HeldReason]*Hold{}
	for _, h := range step.Held {
		if h.Reason == rollout.HandoverPending || h.Reason == rollout.ReplacementPending || h.Reason == rollout.WorkDeleting {
			continue // they resolve themselves
		}
		hold := byReason[h.Reason]
		if hold == nil {
			hold = &Hold{Application: head.Key(), Reason: h.Reason, Message: h.Message}
			byReason[h.Reason] = hold
		}
		if !slices.Contains(hold.Clusters, h.Change.Cluster) {
			hold.Clusters = append(hold.Clusters, h.Change.Cluster)
		}
	}
	if hold := byReason[rollout.ApprovalNeeded]; hold != nil && step.Guard != nil {
		hold.Message, hold.Deletions, hold.Plan = step.Guard.Message, step.Guard.Deletions, head.Digest
		if fleet.HoldsSecrets(head.Sources) { // the hub's plan has another digest
			hold.Plan, hold.Message = "", step.Guard.Message+"; a review does not read the values of Secrets: approve the plan that muster status names after the merge"
		}
	}
	for _, reason := range []rollout.HeldReason{
		rollout.ApprovalNeeded, rollout.ClusterUnreachable, rollout.AbsenceUnproven, rollout.WorkForeign,
	} {
		if hold := byReason[reason]; hold != nil {
			slices.Sort(hold.Clusters)
			c.out.Held = append(c.out.Held, *hold)
		}
	}
	c.keepBack(head)
	return nil
}

// keepBack adds what people keep back of an application, and what it does not get before those that it follows.
func (c *comparer) keepBack(head *Application) {
	w := c.head.World
	var changing []string
	for _, cluster := range head.Clusters {
		if !settled(head.live[cluster.Name], cluster.SetDigest) || len(head.live[cluster.Name]) == 0 {
			changing = append(changing, cluster.Name)
		}
	}
	if f := head.Application.Spec.Follows; f != nil && len(changing) > 0 {
		c.out.Held = append(c.out.Held, Hold{
			Application: head.Key(), Reason: rollout.FollowsPending, Clusters: slices.Clone(changing), Message: followsText(head.Key(), f),
		})
	}
	holds := rollout.HoldsOf(w.Holds, head.Application, c.head.Repository, w.Time)
	holds.Select(w.Clusters)
	by := map[*musterv1alpha1.Hold][]string{}
	for _, cluster := range changing {
		hold := holds.On(cluster)
		if hold == nil {
			hold = holds.Pin
		}
		if hold != nil {
			by[hold] = append(by[hold], cluster)
		}
	}
	for _, hold := range holds.All {
		if clusters := by[hold]; len(clusters) > 0 {
			c.out.Held = append(c.out.Held, Hold{
				Application: head.Key(), Reason: rollout.OnHold, Clusters: clusters, Message: rollout.HoldText(rollout.OnHoldOf(hold)),
			})
		}
	}
}

func followsText(key string, f *musterv1alpha1.Follows) string {
	who := "application " + f.Application + " has"
	if f.Application == "" {
		who = "the applications of environment " + f.Environment + " have"
	}
	text := fmt.Sprintf("%s gets this when %s proved it", key, who)
	if f.MinSuccessTime.Duration > 0 {
		text += fmt.Sprintf(" for %s", f.MinSuccessTime.Duration)
	}
	return text
}

// holdRemoved: an application that leaves the repository while it runs on clusters is kept until that is approved.
func (c *comparer) holdRemoved(base *Application) {
	var on []string
	for _, lw := range c.head.World.Works {
		if lw.Owner == base.Owner() && !slices.Contains(on, lw.Cluster) {
			on = append(on, lw.Cluster)
		}
	}
	if len(on) == 0 {
		return
	}
	slices.Sort(on)
	c.out.Held = append(c.out.Held, Hold{
		Application: base.Key(), Reason: rollout.ApprovalNeeded, Clusters: on, Deletions: 1, Plan: c.head.Digest,
		Message: fmt.Sprintf("%s leaves the repository and runs on %d clusters: approve with muster approve --plan %s; if it was only renamed, the new one says %s: %s",
			base.Key(), len(on), fleet.ShortRevision(c.head.Digest), musterv1alpha1.MovedFromAnnotation, base.Application.Name),
	})
}

// unchanged stands for the works of a cluster on which nothing can be lost.
var unchanged = &workv1.ManifestWork{}

// guardedChanges are the changes from the live works, for the guard. A stand-in is there for clusters on which nothing can be lost, so that the works
// of a large fleet need not be made at once.
func (a *Application) guardedChanges() (work.Changes, error) {
	var changes work.Changes
	for _, c := range a.Clusters {
		live := a.live[c.Name]
		if len(live) == 0 || settled(live, c.SetDigest) {
			changes = append(changes, work.Change{Action: work.Keep, Cluster: c.Name, Wanted: unchanged})
			continue
		}
		set, err := a.Works(c)
		if err != nil {
			return nil, err
		}
		changes = append(changes, work.Diff(live, set.Works)...)
	}
	for _, name := range a.Losing() {
		changes = append(changes, work.Diff(a.live[name], nil)...)
	}
	return changes, nil
}

// settled is true when the live works are the complete set of this digest.
func settled(live []fleet.LiveWork, set string) bool {
	return !slices.ContainsFunc(live, func(lw fleet.LiveWork) bool {
		return lw.SetDigest != set || lw.SetSize != len(live) || lw.Deleting || lw.OwnerDigest == ""
	})
}

// Delivered is a world in which a plan has been carried out everywhere: what stands for a hub when there is none. Clusters that
// the next commit does not name stay in it, as they do on a hub.
func Delivered(w fleet.World, p *Plan, next *fleet.Definitions) fleet.World {
	out := w
	sets := map[string][]fleet.LiveWork{}
	objects := map[string][]fleet.ObjectKey{} // shared by the works that hold the same
	for a, set := range p.Works() {
		key := a.Key() + " " + set.Digest
		if _, ok := sets[key]; !ok {
			sets[key] = applied(set, objects)
		}
		for _, lw := range sets[key] {
			lw.Cluster = set.Cluster
			out.Works = append(out.Works, lw)
		}
	}
	slices.SortFunc(out.Works, func(a, b fleet.LiveWork) int {
		return cmp.Or(compare(a.Cluster, b.Cluster), compare(a.Name, b.Name))
	})
	for _, a := range p.Applications { // what a hub notes: a change of the placement is told from an exchange by the scheduler
		onHub := musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{
			Namespace: a.Application.Namespace, Name: a.Application.Name, Annotations: map[string]string{musterv1alpha1.RepositoryAnnotation: p.Repository},
		}}
		onHub.Status.Settled = &musterv1alpha1.Settled{Grounds: a.Grounds, Clusters: int32(len(a.Clusters))}
		out.Applications = append(slices.Clip(out.Applications), onHub)
	}
	for i := range p.World.Clusters {
		m := &p.World.Clusters[i]
		key := fleet.ObjectKey{Group: clusterv1.GroupVersion.Group, Kind: "ManagedCluster", Name: m.Name}
		if cluster(&w, m.Name) == nil && !next.Named[key] {
			out.Clusters = append(slices.Clip(out.Clusters), *m)
		}
	}
	slices.SortFunc(out.Clusters, func(a, b clusterv1.ManagedCluster) int { return compare(a.Name, b.Name) })
	return out
}

// applied are the works of a set as they look once their cluster has applied them.
func applied(set work.Set, objects map[string][]fleet.ObjectKey) []fleet.LiveWork {
	var list []fleet.LiveWork
	for _, w := range set.Works {
		w.Generation = 1
		lw := work.Live(w)
		names := w.Annotations[musterv1alpha1.ObjectsAnnotation]
		if _, ok := objects[names]; !ok {
			objects[names] = lw.Objects
		}
		lw.Objects = objects[names]
		lw.Status = fleet.WorkStatus{Observed: true, Applied: true, Health: fleet.HealthUnknown}
		lw.Status.AppliedObjects = make([]bool, len(lw.Objects))
		for i := range lw.Status.AppliedObjects {
			lw.Status.AppliedObjects[i] = true
		}
		list = append(list, lw)
	}
	return list
}
