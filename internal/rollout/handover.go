package rollout

import (
	"fmt"
	"slices"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

type objectOn struct {
	cluster string
	object  fleet.ObjectKey
}

// holders are, for every object on a cluster, the changes whose wanted work holds it. A work of another owner counts as one
// that stays as it is.
type holders map[objectOn][]work.Change

// holdersOf looks only at clusters on which a work changes: on the others nothing can be lost.
func (d *decider) holdersOf(changes []change) holders {
	h, changing := holders{}, map[string]bool{}
	for _, c := range changes {
		changing[c.Cluster] = changing[c.Cluster] || c.Action == work.Update || c.Action == work.Delete
	}
	for _, c := range changes {
		if !changing[c.Cluster] {
			continue
		}
		for _, key := range c.wanted {
			held := objectOn{c.Cluster, key.Identity()}
			h[held] = append(h[held], c.Change)
		}
	}
	for i := range d.in.OtherHolders {
		lw := &d.in.OtherHolders[i]
		for _, key := range lw.Objects {
			held := objectOn{lw.Cluster, key.Identity()}
			h[held] = append(h[held], work.Change{Action: work.Keep, Cluster: lw.Cluster, Name: lw.Name, Owner: lw.Owner, Live: lw})
		}
	}
	return h
}

// handedOver holds a change that drops an object which another wanted work of the cluster holds, until the live work of that
// name holds it too and reports it Applied at its generation. Otherwise the agent would delete the object in between. The work
// that has the object becomes a precondition of the change. The same goes for an object that another owner gets.
func (d *decider) handedOver(c *change) objection {
	for _, key := range c.dropped {
		gaining := d.holders[objectOn{c.Cluster, key.Identity()}]
		if len(gaining) == 0 {
			switch owner := d.in.WantedBy[c.Cluster][key.Identity()]; owner {
			case fleet.Owner{}: // nobody wants it any more
			case UnknownOwner:
				return objection{Reason: HandoverPending, Message: fmt.Sprintf("%s is not wanted here any more, and whether another application wants it is known when the repository is planned", key)}
			default:
				return objection{Reason: HandoverPending, Message: fmt.Sprintf("%s moves to %s, which does not have it yet; a fault of that one comes first", key, owner.WithKind())}
			}
			continue
		}
		i := slices.IndexFunc(gaining, func(g work.Change) bool { return applied(g.Live, key) })
		if i < 0 {
			return objection{Reason: HandoverPending, Message: fmt.Sprintf("%s moves to work %s and is not applied there yet", key, gaining[0].Name)}
		}
		holder := work.Precondition{Name: gaining[i].Name, UID: gaining[i].Live.UID, Generation: gaining[i].Live.Generation}
		if !slices.Contains(c.Preconditions, holder) {
			c.Preconditions = append(c.Preconditions, holder)
		}
	}
	return objection{}
}

// applied is true when a live work holds the object and its cluster reports it as applied at the work's generation.
func applied(live *fleet.LiveWork, key fleet.ObjectKey) bool {
	if live == nil || live.Deleting || !live.Status.Observed {
		return false
	}
	for i, held := range live.Objects {
		if held.Identity() == key.Identity() {
			return i < len(live.Status.AppliedObjects) && live.Status.AppliedObjects[i]
		}
	}
	return false
}

// otherGets is true for an object that a change drops and that another work of the cluster holds, or another owner gets.
func (d *decider) otherGets(c *change, key fleet.ObjectKey) bool {
	owner := d.in.WantedBy[c.Cluster][key.Identity()]
	return len(d.holders[objectOn{c.Cluster, key.Identity()}]) > 0 || !owner.IsZero() && owner != UnknownOwner
}

// isKept is true for an object that an orphaning rule of the work leaves on the cluster.
func isKept(live *fleet.LiveWork, key fleet.ObjectKey) bool {
	return slices.ContainsFunc(live.Kept, func(kept fleet.ObjectKey) bool {
		return kept.Group == key.Group && kept.Resource == key.Resource && kept.Namespace == key.Namespace && kept.Name == key.Name
	})
}
