package work

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// Claims say which application has an object on a cluster. The first owner keeps it:
//
//  1. the application whose live work holds it; of two, the older application
//  2. among applications that are new to the object, the older one
//  3. among equally old ones, the first by namespace/name
//
// An application without a creation time, as in a repository that no hub has read, is younger than all that have one.
// The namespace that createNamespace makes is shared and nobody's.
type Claims struct {
	holders map[claimKey]*fleet.LiveWork
	created map[string]time.Time
}

type claimKey struct {
	cluster string
	object  fleet.ObjectKey
}

// Claimant is an application that wants objects on a cluster.
type Claimant struct {
	Application string // namespace/name
	Objects     []fleet.ObjectKey
}

// NewClaims reads who has what. The order of the arguments does not matter.
func NewClaims(live []fleet.LiveWork, applications []musterv1alpha1.Application) *Claims {
	c := &Claims{holders: map[claimKey]*fleet.LiveWork{}, created: map[string]time.Time{}}
	for i := range applications {
		app := &applications[i]
		c.created[app.Namespace+"/"+app.Name] = app.CreationTimestamp.Time
	}
	for i := range live {
		lw := &live[i]
		if lw.Application == "" {
			continue
		}
		for _, key := range lw.Objects {
			if isShared(lw, key) {
				continue
			}
			at := claimKey{lw.Cluster, key.Identity()}
			if holder := c.holders[at]; holder == nil || c.compareWorks(lw, holder) < 0 {
				c.holders[at] = lw
			}
		}
	}
	return c
}

// compareWorks orders works by their application, and those of one application, as in the middle of a move, by name.
func (c *Claims) compareWorks(a, b *fleet.LiveWork) int {
	return cmp.Or(c.compare(a.Application, b.Application), cmp.Compare(a.Name, b.Name))
}

// isShared is true for a namespace that the work leaves behind: that is how the one of createNamespace is planned.
func isShared(lw *fleet.LiveWork, key fleet.ObjectKey) bool {
	return isNamespace(key) && slices.ContainsFunc(lw.Kept, func(kept fleet.ObjectKey) bool {
		return kept.Group == "" && kept.Resource == "namespaces" && kept.Name == key.Name
	})
}

// compare orders applications by age, then by name.
func (c *Claims) compare(a, b string) int {
	older := func(x, y time.Time) int {
		switch {
		case x.IsZero() == y.IsZero():
			return x.Compare(y)
		case x.IsZero():
			return 1
		}
		return -1
	}
	return cmp.Or(older(c.created[a], c.created[b]), cmp.Compare(a, b))
}

// Holder is the live work that has an object on a cluster, or nil.
func (c *Claims) Holder(cluster string, object fleet.ObjectKey) *fleet.LiveWork {
	return c.holders[claimKey{cluster, object.Identity()}]
}

// Release makes an object nobody's on a cluster: its holder lets it go.
func (c *Claims) Release(cluster string, object fleet.ObjectKey) {
	delete(c.holders, claimKey{cluster, object.Identity()})
}

// Resolve tells which claimants cannot have what they want on a cluster, with the fault ObjectClaimed for each. An
// application that gets a fault gets none of its objects. Claims stay as they are; the order of claimants does not matter.
func (c *Claims) Resolve(cluster string, claimants []Claimant) map[string]fleet.Fault {
	sorted := slices.Clone(claimants)
	slices.SortFunc(sorted, func(a, b Claimant) int { return c.compare(a.Application, b.Application) })
	taken := map[fleet.ObjectKey]string{}
	faults := map[string]fleet.Fault{}
	for _, claimant := range sorted {
		holder, object := c.obstacle(cluster, claimant, taken)
		if holder != "" {
			faults[claimant.Application] = Claimed(cluster, claimant.Application, holder, object)
			continue
		}
		for _, key := range claimant.Objects {
			taken[key.Identity()] = claimant.Application
		}
	}
	return faults
}

// obstacle is the first object, in the order of application, that another application has.
func (c *Claims) obstacle(cluster string, claimant Claimant, taken map[fleet.ObjectKey]string) (string, fleet.ObjectKey) {
	objects := slices.SortedFunc(slices.Values(claimant.Objects), compareKeys)
	for _, key := range objects {
		holder := taken[key.Identity()]
		if lw := c.Holder(cluster, key); lw != nil {
			holder = lw.Application
		}
		if holder != "" && holder != claimant.Application {
			return holder, key
		}
	}
	return "", fleet.ObjectKey{}
}

// Claimed is the fault of an application that wants an object which another one has.
func Claimed(cluster, application, holder string, object fleet.ObjectKey) fleet.Fault {
	return fleet.Fault{
		Reason: fleet.ObjectClaimed, ActionRequiredBy: fleet.User, Application: application, Cluster: cluster, Object: object.String(),
		Message: fmt.Sprintf("application %s has it on this cluster: rename the object, or take it out of one of the two", holder),
	}
}
