package work

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/muster-io/muster/internal/fleet"
)

// Claims say which owner has an object on a cluster. The first one keeps it:
//
//  1. the owner whose live work holds it; of two, the older owner
//  2. among owners that are new to the object, the older one
//  3. among equally old ones, the first by namespace/name
//
// An owner without a creation time, as in a repository that no hub has read, is younger than all that have one.
// The namespace that createNamespace makes is shared and belongs to nobody.
type Claims struct {
	holders map[claimKey]*fleet.LiveWork
	created map[fleet.Owner]time.Time
}

type claimKey struct {
	cluster string
	object  fleet.ObjectKey
}

// Claimant is an owner that wants objects on a cluster.
type Claimant struct {
	Owner   fleet.Owner
	Objects []fleet.ObjectKey
}

// NewClaims reads which owner has which objects, and when each owner was created. The order of live does not matter.
func NewClaims(live []fleet.LiveWork, created map[fleet.Owner]time.Time) *Claims {
	c := &Claims{holders: map[claimKey]*fleet.LiveWork{}, created: created}
	for i := range live {
		lw := &live[i]
		if lw.Owner.IsZero() {
			continue
		}
		for _, key := range lw.Objects {
			if isShared(lw, key) {
				continue
			}
			claim := claimKey{lw.Cluster, key.Identity()}
			if holder := c.holders[claim]; holder == nil || c.compareWorks(lw, holder) < 0 {
				c.holders[claim] = lw
			}
		}
	}
	return c
}

// compareWorks orders works by their owner, and those of one owner, as in the middle of a handover, by name.
func (c *Claims) compareWorks(a, b *fleet.LiveWork) int {
	return cmp.Or(c.compare(a.Owner, b.Owner), cmp.Compare(a.Name, b.Name))
}

// isShared is true for a namespace that the work leaves on the cluster: so works hold the namespace of createNamespace.
func isShared(lw *fleet.LiveWork, key fleet.ObjectKey) bool {
	return isNamespace(key) && slices.ContainsFunc(lw.Kept, func(kept fleet.ObjectKey) bool {
		return kept.Group == "" && kept.Resource == "namespaces" && kept.Name == key.Name
	})
}

// compare orders owners by age, then by name.
func (c *Claims) compare(a, b fleet.Owner) int {
	older := func(x, y time.Time) int {
		switch {
		case x.IsZero() == y.IsZero():
			return x.Compare(y)
		case x.IsZero():
			return 1
		}
		return -1
	}
	return cmp.Or(older(c.created[a], c.created[b]), cmp.Compare(a.String(), b.String()))
}

// Holder is the live work that has an object on a cluster, or nil.
func (c *Claims) Holder(cluster string, object fleet.ObjectKey) *fleet.LiveWork {
	return c.holders[claimKey{cluster, object.Identity()}]
}

// Release says that the holder of an object on a cluster gives it up.
func (c *Claims) Release(cluster string, object fleet.ObjectKey) {
	delete(c.holders, claimKey{cluster, object.Identity()})
}

// Resolve tells which claimants cannot have what they want on a cluster, with the fault ObjectClaimed for each. A
// claimant that gets a fault gets none of its objects. Claims stay as they are; the order of claimants does not matter.
func (c *Claims) Resolve(cluster string, claimants []Claimant) map[fleet.Owner]fleet.Fault {
	if c.settled(cluster, claimants) {
		return nil
	}
	sorted := slices.Clone(claimants)
	slices.SortFunc(sorted, func(a, b Claimant) int { return c.compare(a.Owner, b.Owner) })
	given := map[fleet.ObjectKey]fleet.Owner{}
	faults := map[fleet.Owner]fleet.Fault{}
	for _, claimant := range sorted {
		holder, object := c.obstacle(cluster, claimant, given)
		if !holder.IsZero() {
			faults[claimant.Owner] = Claimed(cluster, claimant.Owner, holder, object)
			continue
		}
		for _, key := range claimant.Objects {
			given[key.Identity()] = claimant.Owner
		}
	}
	return faults
}

// settled: no two claimants want one object, and no other owner holds what one wants. So it is on nearly every cluster.
func (c *Claims) settled(cluster string, claimants []Claimant) bool {
	wanted := map[fleet.ObjectKey]bool{}
	for _, claimant := range claimants {
		for _, key := range claimant.Objects {
			id := key.Identity()
			if lw := c.Holder(cluster, id); wanted[id] || lw != nil && lw.Owner != claimant.Owner {
				return false
			}
			wanted[id] = true
		}
	}
	return true
}

// obstacle is the first object, in the order in which objects are applied, that another owner has.
func (c *Claims) obstacle(cluster string, claimant Claimant, given map[fleet.ObjectKey]fleet.Owner) (fleet.Owner, fleet.ObjectKey) {
	objects := slices.SortedFunc(slices.Values(claimant.Objects), compareKeys)
	for _, key := range objects {
		holder := given[key.Identity()]
		if lw := c.Holder(cluster, key); lw != nil {
			holder = lw.Owner
		}
		if !holder.IsZero() && holder != claimant.Owner {
			return holder, key
		}
	}
	return fleet.Owner{}, fleet.ObjectKey{}
}

// Claimed is the fault of an owner that wants an object which another one has.
func Claimed(cluster string, owner, holder fleet.Owner, object fleet.ObjectKey) fleet.Fault {
	return fleet.Fault{
		Reason: fleet.ObjectClaimed, ActionRequiredBy: fleet.User, Application: owner.String(), Cluster: cluster, Object: object.String(),
		Message: fmt.Sprintf("%s has it on this cluster: rename the object, or take it out of one of the two", holder.WithKind()),
	}
}
