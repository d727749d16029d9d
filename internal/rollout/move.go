package rollout

import (
	"fmt"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// dropped are the objects that a change takes out of its work.
func dropped(c work.Change) []fleet.ObjectKey {
	if c.Live == nil {
		return nil
	}
	if c.Wanted == nil {
		return c.Live.Objects
	}
	stays := identities(wantedObjects(c))
	var gone []fleet.ObjectKey
	for _, key := range c.Live.Objects {
		if !stays[key.Identity()] {
			gone = append(gone, key)
		}
	}
	return gone
}

func wantedObjects(c work.Change) []fleet.ObjectKey {
	keys, err := work.ParseObjects(c.Wanted.Annotations[musterv1alpha1.ObjectsAnnotation])
	if err != nil {
		panic(fmt.Sprintf("objects of planned work %s: %v", c.Name, err)) // written by work.Wanted
	}
	return keys
}

func identities(keys []fleet.ObjectKey) map[fleet.ObjectKey]bool {
	set := make(map[fleet.ObjectKey]bool, len(keys))
	for _, key := range keys {
		set[key.Identity()] = true
	}
	return set
}

type objectOn struct {
	cluster string
	object  fleet.ObjectKey
}

// holders are, for every object on a cluster, the changes whose wanted work holds it; a work of another application counts as
// one that stays as it is.
type holders map[objectOn][]work.Change

// holdersOf looks at clusters on which a work changes: on the others nothing can be lost.
func holdersOf(changes work.Changes, elsewhere []fleet.LiveWork) holders {
	h, changing := holders{}, map[string]bool{}
	for _, c := range changes {
		changing[c.Cluster] = changing[c.Cluster] || c.Action == work.Update || c.Action == work.Delete
	}
	for _, c := range changes {
		if c.Wanted == nil || !changing[c.Cluster] {
			continue
		}
		for _, key := range wantedObjects(c) {
			at := objectOn{c.Cluster, key.Identity()}
			h[at] = append(h[at], c)
		}
	}
	for i := range elsewhere {
		lw := &elsewhere[i]
		for _, key := range lw.Objects {
			at := objectOn{lw.Cluster, key.Identity()}
			h[at] = append(h[at], work.Change{Action: work.Keep, Cluster: lw.Cluster, Name: lw.Name, Application: lw.Application, Live: lw})
		}
	}
	return h
}

// moved holds a change that drops an object which another wanted work of the cluster holds, until the live one of that
// name holds it too and reports it Applied at its generation. Else the agent would delete the object in between. Works
// that hold moved objects become witnesses: they must still be at that generation when the change is made. So it is when
// the object is given up to another application.
func (d *decider) moved(c *work.Change, gone []fleet.ObjectKey) (HeldReason, string) {
	for _, key := range gone {
		gaining := d.holders[objectOn{c.Cluster, key.Identity()}]
		if len(gaining) == 0 {
			switch by := d.in.Awaited[c.Cluster][key.Identity()]; by {
			case "":
			case NotKnown:
				return MovePending, fmt.Sprintf("%s is not wanted here any more, and whether another application wants it is known when the repository is planned", key)
			default:
				return MovePending, fmt.Sprintf("%s moves to application %s, which does not have it yet; a fault of that one comes first", key, by)
			}
			continue // not wanted any more
		}
		i := slices.IndexFunc(gaining, func(g work.Change) bool { return applied(g.Live, key) })
		if i < 0 {
			return MovePending, fmt.Sprintf("%s moves to work %s and is not applied there yet", key, gaining[0].Name)
		}
		witness := work.Witness{Name: gaining[i].Name, UID: gaining[i].Live.UID, Generation: gaining[i].Live.Generation}
		if !slices.Contains(c.Witnesses, witness) {
			c.Witnesses = append(c.Witnesses, witness)
		}
	}
	return "", ""
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
