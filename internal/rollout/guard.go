package rollout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// GuardHold is what waits for a person: muster approve --plan <PlanDigest>.
type GuardHold struct {
	// Deletions is how many clusters and objects would go.
	Deletions int
	// Clusters that the owner would leave.
	Clusters int
	// Items name the first twenty.
	Items   []string
	Message string
}

// maxItems is how many deletions are named.
const maxItems = 20

// guard is the deletion guard of one step.
//
// It counts against what is live and was lost within Window, and not against the plan before, so that many small commits add
// up: by the deletions that were begun and are not finished, and by the removals on record.
//
// Clusters: one is lost when it has works, or has lost them within Window, and the plan has none for it, unless they stay for
// another reason: a fault, an incomplete plan, or because it does not answer. Losing k of n clusters is held when
// k·100 > n·MaxClusterPercent. With 10 percent: one of nine is held, one of ten is not, two of ten are.
//
// Objects, on the clusters that the owner stays on: one is lost when more than MaxClusterPercent of the clusters that have it
// drop it, and no new object of its kind and namespace comes in its place. Losing k of n objects is held when k is two or more
// and k·100 > n·MaxClusterPercent. Content that becomes empty is held unless the guard is off.
//
// Protected kinds: the loss of one is held always.
//
// A cluster that a swap replaces is not lost, see swap, and its protected objects stay there.
//
// Not guarded: what leaves slowly, no more than MaxClusterPercent in any Window. A cluster that is detached. An owner that is
// deleted: who deleted it decided, and a repository that drops it is guarded where its definitions are pruned.
type guard struct {
	// off is true when any loss is allowed: nothing has to be recorded.
	off      bool
	approved bool

	// lost are the clusters that the owner leaves or has left within Window, of all that it was on; left are those of them
	// that it is not on any more.
	lost, left      map[string]bool
	clusters        int
	tooManyClusters bool

	// lostObjects are the objects that the clusters lose on which the owner stays; recorded are those on record, of which
	// goneObjects are not live any more. All of these and all that are live are objects.
	lostObjects    map[fleet.ObjectKey]bool
	recorded       map[string]bool
	goneObjects    int
	objects        int
	tooManyObjects bool
}

// lossGuard is the guard of this step. Only changes that lose something need it: it looks at every live work.
func (d *decider) lossGuard() *guard {
	if d.loss == nil {
		d.loss = &guard{off: d.in.MaxClusterPercent >= 100, approved: d.in.isApproved()}
		d.countClusters(d.loss)
		d.countObjects(d.loss)
	}
	return d.loss
}

// isApproved is true when a person has approved the plan.
func (in Input) isApproved() bool {
	return in.PlanDigest != "" && in.ApprovedPlan == in.PlanDigest
}

func (d *decider) countClusters(g *guard) {
	g.lost, g.left = map[string]bool{}, map[string]bool{}
	leaves := map[string]bool{} // by cluster: its works are being deleted, or could be but for the guard
	for _, removal := range d.in.countedRemovals() {
		for _, name := range removal.Clusters {
			leaves[name], g.left[name] = true, true
		}
	}
	for _, lw := range d.in.Live {
		leaves[lw.Cluster] = false
	}
	for _, lw := range d.in.Live {
		leaves[lw.Cluster] = leaves[lw.Cluster] || lw.Deleting
	}
	for i := range d.changes {
		c := &d.changes[i]
		leaves[c.Cluster] = leaves[c.Cluster] || c.Action == work.Delete && d.onlyGuardHolds(c) && !d.handsAllOver(c)
	}
	for name, leaves := range leaves {
		if leaves && !d.wantedOn[name] && !d.isReplaced(name) {
			g.lost[name] = true
		} else {
			delete(g.left, name)
		}
	}
	g.clusters = len(leaves)
	g.tooManyClusters = len(g.lost)*100 > g.clusters*d.in.MaxClusterPercent
}

// onlyGuardHolds is true for a loss that no check before the guard holds.
func (d *decider) onlyGuardHolds(c *change) bool {
	return c.loses() && d.absenceProven(c).Reason == "" && d.reachable(c).Reason == ""
}

// handsAllOver is true when other works have, or get, all objects of a work that is deleted.
func (d *decider) handsAllOver(c *change) bool {
	return len(c.dropped) > 0 && !slices.ContainsFunc(c.dropped, func(key fleet.ObjectKey) bool { return !d.otherGets(c, key) })
}

// countObjects counts the objects of the clusters that the owner stays on, each once however many clusters have it.
func (d *decider) countObjects(g *guard) {
	had, losing := map[fleet.ObjectKey]int{}, map[fleet.ObjectKey]int{} // on how many clusters
	for i := range d.in.Live {
		if lw := &d.in.Live[i]; !g.lost[lw.Cluster] && !lw.Deleting {
			for _, key := range lw.Objects {
				had[key.Identity()]++
			}
		}
	}
	d.noteLostObjects()
	for _, c := range d.changes {
		if !g.lost[c.Cluster] {
			for _, key := range c.lost {
				losing[key.Identity()]++
			}
		}
	}
	g.lostObjects = map[fleet.ObjectKey]bool{}
	for key, n := range losing {
		if n*100 > had[key]*d.in.MaxClusterPercent {
			g.lostObjects[key] = true
		}
	}
	g.goneObjects = d.recordedObjects(g, had)
	lost := len(g.lostObjects) + g.goneObjects
	g.objects = len(had) + g.goneObjects
	g.tooManyObjects = lost > 1 && lost*100 > g.objects*d.in.MaxClusterPercent
}

// recordedObjects reads the objects on record, and counts those of them that are not live any more.
func (d *decider) recordedObjects(g *guard, had map[fleet.ObjectKey]int) int {
	g.recorded = map[string]bool{}
	for _, removal := range d.in.countedRemovals() {
		for _, name := range removal.Objects {
			g.recorded[name] = true
		}
	}
	gone := len(g.recorded)
	if gone > 0 {
		for key := range had {
			if g.recorded[key.String()] {
				gone--
			}
		}
	}
	return gone
}

// noteLostObjects notes on every change what its cluster loses by it. An object that a new one of its kind and namespace comes
// for, such as a generated ConfigMap of another name, is replaced and not lost. Protected objects are guarded on their own.
func (d *decider) noteLostObjects() {
	onCluster := map[string][]*change{}
	for i := range d.changes {
		onCluster[d.changes[i].Cluster] = append(onCluster[d.changes[i].Cluster], &d.changes[i])
	}
	for _, changes := range onCluster {
		if !slices.ContainsFunc(changes, d.onlyGuardHolds) {
			continue
		}
		arriving := arrivals(changes)
		for _, c := range changes {
			if !d.onlyGuardHolds(c) || c.Action == work.Delete && (c.Live.Orphan || d.isReplaced(c.Cluster)) {
				continue
			}
			for _, key := range c.dropped {
				if kind := kindIn(key); d.otherGets(c, key) || isKept(c.Live, key) || isProtected(key) {
					continue
				} else if arriving[kind] > 0 {
					arriving[kind]--
				} else {
					c.lost = append(c.lost, key)
				}
			}
		}
	}
}

// arrivals counts, by kind and namespace, the objects that the changes of one cluster bring and that no work of it had.
func arrivals(changes []*change) map[fleet.ObjectKey]int {
	had, arriving := map[fleet.ObjectKey]bool{}, map[fleet.ObjectKey]int{}
	for _, c := range changes {
		if c.Live != nil {
			for _, key := range c.Live.Objects {
				had[key.Identity()] = true
			}
		}
	}
	for _, c := range changes {
		for _, key := range c.wanted {
			if !had[key.Identity()] {
				arriving[kindIn(key)]++
			}
		}
	}
	return arriving
}

// kindIn is the kind and the namespace of an object.
func kindIn(key fleet.ObjectKey) fleet.ObjectKey {
	return fleet.ObjectKey{Group: key.Group, Kind: key.Kind, Namespace: key.Namespace}
}

// guardCauses are what the guard objects to in a change.
type guardCauses struct {
	clusterLost, contentEmpty bool
	lost, protected           []fleet.ObjectKey
}

func (d *decider) causes(c *change) guardCauses {
	g := d.lossGuard()
	if c.Action == work.Delete && g.lost[c.Cluster] && g.tooManyClusters {
		return guardCauses{clusterLost: true}
	}
	causes := guardCauses{contentEmpty: !g.off && d.in.Emptied[c.Cluster] && len(c.lost) > 0, protected: d.protected(c)}
	if c.Action == work.Delete && d.isReplaced(c.Cluster) {
		causes.protected = nil // they stay on the cluster
	}
	if g.tooManyObjects && !causes.contentEmpty {
		causes.lost = g.lostBy(c)
	}
	return causes
}

// approved holds a loss that the guard objects to, until the plan that it belongs to is approved.
func (d *decider) approved(c *change) objection {
	if !c.loses() {
		return objection{}
	}
	g := d.lossGuard()
	if g.approved {
		return objection{}
	}
	message := ""
	switch causes := d.causes(c); {
	case causes.clusterLost:
		message = fmt.Sprintf("%s would leave %d of %d clusters", d.in.Owner, len(g.lost), g.clusters)
	case causes.contentEmpty:
		message = fmt.Sprintf("the content for %s is empty: %d objects would be deleted", c.Cluster, len(c.lost))
	case len(causes.protected) > 0:
		message = fmt.Sprintf("%s would be deleted", causes.protected[0])
	case len(causes.lost) > 0:
		message = fmt.Sprintf("%s would lose %s", d.in.Owner, g.objectTally())
	default:
		return objection{}
	}
	c.guarded = true
	return objection{Reason: ApprovalNeeded, Message: message}
}

// lostBy are the objects that count as lost and that a change removes from a cluster on which the owner stays.
func (g *guard) lostBy(c *change) []fleet.ObjectKey {
	var lost []fleet.ObjectKey
	for _, key := range c.lost {
		if !g.lost[c.Cluster] && g.lostObjects[key.Identity()] {
			lost = append(lost, key)
		}
	}
	return lost
}

// protected are the objects among those a change drops whose loss cannot be undone: namespaces, volume claims and
// definitions that do not stay on the cluster.
func (d *decider) protected(c *change) []fleet.ObjectKey {
	if c.Action == work.Delete && c.Live.Orphan {
		return nil
	}
	var list []fleet.ObjectKey
	for _, key := range c.dropped {
		if isProtected(key) && !isKept(c.Live, key) && !d.otherGets(c, key) {
			list = append(list, key)
		}
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

// guardHold is what is told of the changes that wait for an approval; nil when none does.
func (d *decider) guardHold() *GuardHold {
	clusters, emptied := map[string]bool{}, map[string]bool{}
	objects, protected := map[string]bool{}, map[string]bool{}
	for i := range d.changes {
		c := &d.changes[i]
		if !c.guarded {
			continue
		}
		causes := d.causes(c)
		if causes.clusterLost {
			clusters[c.Cluster] = true
		}
		if causes.contentEmpty {
			emptied[c.Cluster] = true
		}
		for _, key := range causes.lost {
			objects[key.String()] = true
		}
		for _, key := range causes.protected {
			protected[fmt.Sprintf("%s on %s", key, c.Cluster)] = true
		}
	}
	if len(clusters)+len(emptied)+len(objects)+len(protected) == 0 {
		return nil
	}
	var parts []string
	say := func(named map[string]bool, format string, values ...any) {
		if len(named) > 0 {
			parts = append(parts, d.in.Owner.String()+" would "+fmt.Sprintf(format, values...))
		}
	}
	say(clusters, "leave %s", d.clusterTally())
	say(emptied, "lose all its objects on %d of %d clusters, for which its content is empty", len(emptied), d.lossGuard().clusters)
	say(objects, "lose %s", d.lossGuard().objectTally())
	say(protected, "lose %d protected objects, the first is %s", len(protected), first(protected))
	items := slices.Concat(sortedKeys(clusters), sortedKeys(emptied), sortedKeys(objects), sortedKeys(protected))
	return &GuardHold{
		Deletions: len(items), Clusters: len(clusters) + len(emptied), Items: items[:min(len(items), maxItems)],
		Message: strings.Join(parts, ", and ") + ": approve with muster approve --plan " + fleet.ShortRevision(d.in.PlanDigest),
	}
}

func first(set map[string]bool) string {
	if len(set) == 0 {
		return ""
	}
	return sortedKeys(set)[0]
}

// clusterTally says how many clusters the owner would leave, and how many of those it has left before.
func (d *decider) clusterTally() string {
	g := d.lossGuard()
	text := fmt.Sprintf("%d of %d clusters", len(g.lost), g.clusters)
	if len(g.left) > 0 {
		text += fmt.Sprintf(", %d of them within the last day and without an approval", len(g.left))
	}
	for i := range d.changes {
		if c := &d.changes[i]; c.guarded && g.lost[c.Cluster] && d.in.Emptied[c.Cluster] {
			return text + ", since its content is empty"
		}
	}
	return text
}

// objectTally says how many objects the owner would lose, those included that it has lost within Window.
func (g *guard) objectTally() string {
	return fmt.Sprintf("%d of %d objects", len(g.lostObjects)+g.goneObjects, g.objects)
}
