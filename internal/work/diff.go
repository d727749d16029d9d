package work

import (
	"cmp"
	"fmt"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// Action is what becomes of one work.
type Action string

// The actions. Orphan is no result of Diff: rollout puts it before a Delete that is to leave the objects on the cluster.
const (
	Create Action = "Create"
	Update Action = "Update"
	Orphan Action = "Orphan"
	Delete Action = "Delete"
	Keep   Action = "Keep"
	Refuse Action = "Refuse" // somebody else's work has the name; Fault says so
)

// Change is one work and what becomes of it.
//
// The writer of a change keeps two promises, so that a stale read does no harm. It makes an Update, Orphan or Delete only while
// the work has Live.UID and is at Live.Generation. And it makes the change only while every work in Preconditions has the UID
// and the generation named there and is not being deleted, as the API server says and not a cache. A Create that meets an
// existing work is no update.
type Change struct {
	Action  Action
	Cluster string
	Name    string
	Owner   fleet.Owner
	// Live is the work as it is; nil for most of Create. A Create with a Live waits for that one to be gone.
	Live *fleet.LiveWork
	// Wanted is the final object; nil for Delete and Orphan.
	Wanted *workv1.ManifestWork
	// Preconditions are the works that hold the objects which this change takes out of its work and which are to stay.
	Preconditions []Precondition
	// Leave are the objects that an Orphan leaves on the cluster, beside those that the work leaves already; none means all.
	Leave []fleet.ObjectKey
	// Drops is true for an Update that removes objects from its work. A step sets it.
	Drops bool
	// Fault of a Refuse.
	Fault *fleet.Fault
}

// Precondition is a work of the same cluster at a generation.
type Precondition struct {
	Name       string
	UID        string
	Generation int64
}

// Changes are sorted by cluster and name.
type Changes []Change

// Faults of what is refused.
func (c Changes) Faults() []fleet.Fault {
	var faults []fleet.Fault
	for _, ch := range c {
		if ch.Fault != nil {
			faults = append(faults, *ch.Fault)
		}
	}
	return faults
}

type workKey struct{ cluster, name string }

// Diff compares the live works of an owner with the wanted ones. A work that has another owner label, or none, is never
// overwritten or deleted: if its name is wanted, the change is refused with the fault WorkForeign, else there is no change.
// A work that lost its owner label, and whose name and annotation are the owner's, gets its label back.
func Diff(live []fleet.LiveWork, wanted []*workv1.ManifestWork) Changes {
	unwanted := make(map[workKey]*fleet.LiveWork, len(live))
	for i := range live {
		unwanted[workKey{live[i].Cluster, live[i].Name}] = &live[i]
	}
	changes := make(Changes, 0, len(wanted))
	for _, w := range wanted {
		key := workKey{w.Namespace, w.Name}
		changes = append(changes, compareWork(unwanted[key], w))
		delete(unwanted, key)
	}
	for _, lw := range unwanted {
		if lw.OwnerDigest == "" {
			continue
		}
		change := Change{Action: Delete, Cluster: lw.Cluster, Name: lw.Name, Owner: lw.Owner, Live: lw}
		if lw.Deleting {
			change.Action = Keep
		}
		changes = append(changes, change)
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name))
	})
	return changes
}

func compareWork(live *fleet.LiveWork, wanted *workv1.ManifestWork) Change {
	change := Change{
		Action: Update, Cluster: wanted.Namespace, Name: wanted.Name,
		Owner: OwnerOf(wanted), Live: live, Wanted: wanted,
	}
	switch {
	case live == nil:
		change.Action = Create
	case live.OwnerDigest != OwnerDigest(wanted) && !lostLabel(live, change.Owner):
		change.Action, change.Fault = Refuse, foreign(change)
	case live.Deleting:
		change.Action = Create
	case live.SpecDigest == digestOf(wanted) && live.MetaDigest == MetaDigest(wanted):
		change.Action = Keep
	}
	return change
}

// lostLabel is true for a work that names the owner in its annotation and has no owner label.
func lostLabel(live *fleet.LiveWork, owner fleet.Owner) bool {
	return live.OwnerDigest == "" && !owner.IsZero() && live.Owner == owner
}

// digestOf a planned work is in its annotation: to compute it again would read every manifest.
func digestOf(w *workv1.ManifestWork) string {
	if digest := w.Annotations[musterv1alpha1.ContentDigestAnnotation]; digest != "" {
		return digest
	}
	return SpecDigest(w)
}

func foreign(change Change) *fleet.Fault {
	return &fleet.Fault{
		Reason: fleet.WorkForeign, ActionRequiredBy: fleet.User, Application: change.Owner.String(), Cluster: change.Cluster,
		Object: "ManifestWork " + change.Cluster + "/" + change.Name,
		Message: fmt.Sprintf("exists and was not made for this %s: delete it, or give it the label %s=%s to hand it over",
			kindOf(change.Owner), musterv1alpha1.OwnerLabel, change.Wanted.Labels[musterv1alpha1.OwnerLabel]),
	}
}

// kindOf an owner, as a sentence has it.
func kindOf(owner fleet.Owner) string {
	if owner.IsApplication() || owner.IsZero() {
		return "application"
	}
	return owner.Kind
}

// OrphanPatch makes a work leave its objects on the cluster when it is deleted afterwards. It is a JSON merge patch, since a hub
// does not hold the specs of works.
var OrphanPatch = []byte(`{"spec":{"deleteOption":{"propagationPolicy":"Orphan","selectivelyOrphans":null}}}`)
