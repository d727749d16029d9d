package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// GuardHold is what waits for a person: muster approve --plan <PlanDigest>.
type GuardHold struct {
	// Deletions is how many clusters and protected objects would go.
	Deletions int
	// Clusters that the application would be taken from.
	Clusters int
	// Items name the first twenty.
	Items   []string
	Message string
}

// maxItems is how many deletions are named.
const maxItems = 20

// guard is the deletion guard of one step.
type guard struct {
	// lost are the clusters that the application is being taken from, or was lately, of all that it was on.
	lost map[string]bool
	all  int
	// left are those of them that it is not on any more.
	left map[string]bool
	// tooMany is true when that is more than is allowed.
	tooMany bool
	// approved is true when a person has approved the plan.
	approved bool
	// off is true when any loss is allowed: nothing has to be remembered.
	off     bool
	holders holders
	in      Input
}

// guardOf counts against what is live and was lately, and not against the plan before, so that many small commits add up:
// those that follow each other faster than clusters do, by the deletions that were begun and are not finished; those that
// clusters keep up with, by the losses of the last Window. A cluster counts as lost when it has works, or lately had, and the
// plan has none for it, unless they stay for another reason: a fault, an incomplete plan, or because it does not answer.
//
// Losing k of n clusters is held when k·100 > n·MaxClusterPercent. With 10 percent: one of nine is held, one of ten is
// not, two of ten are.
//
// Not guarded: what leaves slowly, no more than MaxClusterPercent in any Window. An object that leaves an application which
// stays on the cluster, unless its kind is protected. A cluster that is detached. An application that goes: who deleted it
// decided, and a repository that drops it is guarded where its definitions are pruned.
func (d *decider) guardOf(changes work.Changes) guard {
	g := guard{
		lost: map[string]bool{}, left: map[string]bool{}, holders: d.holders, in: d.in, off: d.in.MaxClusterPercent >= 100,
		approved: d.in.PlanDigest != "" && d.in.ApprovedPlan == d.in.PlanDigest,
	}
	goes := map[string]bool{} // works that are being deleted, or that could be but for the guard
	clusters := map[string]bool{}
	for _, loss := range d.in.RecentRemovals {
		for _, name := range loss.Clusters {
			clusters[name], goes[name], g.left[name] = true, true, true
		}
	}
	for _, lw := range d.in.Live {
		clusters[lw.Cluster], goes[lw.Cluster] = true, false
	}
	for _, lw := range d.in.Live {
		goes[lw.Cluster] = goes[lw.Cluster] || lw.Deleting
	}
	for _, c := range changes {
		goes[c.Cluster] = goes[c.Cluster] || d.couldGo(c)
	}
	for name := range clusters {
		if goes[name] && !d.wantedOn[name] {
			g.lost[name] = true
		} else {
			delete(g.left, name)
		}
	}
	g.all = len(clusters)
	g.tooMany = len(g.lost)*100 > g.all*d.in.MaxClusterPercent
	return g
}

// couldGo is true for the deletion of a work that nothing but the guard may hold, and whose objects go with it.
func (d *decider) couldGo(c work.Change) bool {
	if c.Action != work.Delete || d.givenUp(c) {
		return false
	}
	unproven, _ := d.absenceProven(&c, nil)
	away, _ := d.reachable(&c, nil)
	return unproven == "" && away == ""
}

// givenUp is true when works that stay hold all objects of a work: it goes, and the objects do not.
func (d *decider) givenUp(c work.Change) bool {
	return len(c.Live.Objects) > 0 && !slices.ContainsFunc(c.Live.Objects, func(key fleet.ObjectKey) bool {
		return len(d.holders[objectOn{c.Cluster, key.Identity()}]) == 0 && !d.in.moves(c.Cluster, key)
	})
}

// moves says that another application is to have an object.
func (in Input) moves(cluster string, key fleet.ObjectKey) bool {
	by := in.Awaited[cluster][key.Identity()]
	return by != "" && by != NotKnown
}

// leaves are the clusters that changes take the application from, that have to be remembered and are not yet.
func (g guard) leaves(changes work.Changes) []string {
	leaves := map[string]bool{}
	if g.off || g.approved {
		return nil
	}
	for _, c := range changes {
		if (c.Action == work.Delete || c.Action == work.Orphan) && g.lost[c.Cluster] && !g.left[c.Cluster] {
			leaves[c.Cluster] = true
		}
	}
	return slices.Sorted(maps.Keys(leaves))
}

// approved holds a deletion that the guard objects to, until the plan that it belongs to is approved.
func (d *decider) approved(c *work.Change, gone []fleet.ObjectKey) (HeldReason, string) {
	if d.guard.approved {
		return "", ""
	}
	if c.Action == work.Delete && d.guard.lost[c.Cluster] && d.guard.tooMany {
		return ApprovalNeeded, fmt.Sprintf("the application would leave %d of %d clusters", len(d.guard.lost), d.guard.all)
	}
	if items := d.guard.protected(*c, gone); len(items) > 0 {
		return ApprovalNeeded, fmt.Sprintf("%s would be deleted", items[0])
	}
	return "", ""
}

// protected are the objects among those a change drops whose loss cannot be undone: namespaces, volume claims and
// definitions that neither stay behind nor move to another work.
func (g guard) protected(c work.Change, gone []fleet.ObjectKey) []fleet.ObjectKey {
	if c.Action == work.Delete && c.Live.Orphan {
		return nil
	}
	var list []fleet.ObjectKey
	for _, key := range gone {
		if !isProtected(key) || staysBehind(c.Live, key) || len(g.holders[objectOn{c.Cluster, key.Identity()}]) > 0 || g.in.moves(c.Cluster, key) {
			continue
		}
		list = append(list, key)
	}
	return list
}

func isProtected(key fleet.ObjectKey) bool {
	switch key.Group + "/" + key.Kind {
	case "/Namespace", "/PersistentVolumeClaim", "apiextensions.k8s.io/CustomResourceDefinition":
		return true
	}
	return false
}

// staysBehind is true for what the work's orphaning rules leave on the cluster.
func staysBehind(live *fleet.LiveWork, key fleet.ObjectKey) bool {
	return slices.ContainsFunc(live.Kept, func(kept fleet.ObjectKey) bool {
		return kept.Group == key.Group && kept.Resource == key.Resource && kept.Namespace == key.Namespace && kept.Name == key.Name
	})
}

// hold is what is told of the changes that wait for an approval; nil when none does.
func (g guard) hold(held []Held, in Input) *GuardHold {
	clusters := map[string]bool{}
	var objects []string
	for _, h := range held {
		if h.Reason != ApprovalNeeded {
			continue
		}
		if h.Change.Action == work.Delete && g.lost[h.Change.Cluster] && g.tooMany {
			clusters[h.Change.Cluster] = true
			continue
		}
		for _, key := range g.protected(h.Change, dropped(h.Change)) {
			objects = append(objects, fmt.Sprintf("%s on %s", key, h.Change.Cluster))
		}
	}
	if len(clusters)+len(objects) == 0 {
		return nil
	}
	slices.Sort(objects)
	out := &GuardHold{
		Deletions: len(clusters) + len(objects), Clusters: len(clusters),
		Items: append(slices.Sorted(maps.Keys(clusters)), objects...),
	}
	if len(out.Items) > maxItems {
		out.Items = out.Items[:maxItems]
	}
	var what []string
	if len(clusters) > 0 {
		what = append(what, g.tally(in.Application))
	}
	if len(objects) > 0 {
		what = append(what, fmt.Sprintf("%s would lose %d protected objects, the first is %s", in.Application, len(objects), objects[0]))
	}
	out.Message = strings.Join(what, ", and ") + ": approve with muster approve --plan " + fleet.ShortRevision(in.PlanDigest)
	return out
}

// tally says how many clusters an application would leave, and how many of those it has left before.
func (g guard) tally(application string) string {
	text := fmt.Sprintf("%s would leave %d of %d clusters", application, len(g.lost), g.all)
	if len(g.left) > 0 {
		text += fmt.Sprintf(", %d of them lately and without an approval", len(g.left))
	}
	return text
}
