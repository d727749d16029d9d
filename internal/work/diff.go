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
// Whoever makes it holds two promises, so that a stale read does no harm: an Update, Orphan or Delete is made only while
// the work has Live.UID and is at Live.Generation, and only while every work in Witnesses has the UID and generation named there and is not
// being deleted, read from the API server and not from a cache. A Create that meets an existing work is no update.
type Change struct {
	Action      Action
	Cluster     string
	Name        string
	Application string
	// Live is the work as it is; nil for most of Create. A Create with a Live waits for that one to be gone.
	Live *fleet.LiveWork
	// Wanted is the final object; nil for Delete and Orphan.
	Wanted *workv1.ManifestWork
	// Witnesses hold the objects that this change takes out of its work because they have moved.
	Witnesses []Witness
	// Fault of a Refuse.
	Fault *fleet.Fault
}

// Witness is a work of the same cluster at a generation.
type Witness struct {
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

type place struct{ cluster, name string }

// Diff compares what is live with what is wanted. A live work without our owner is never overwritten or deleted: if its
// name is wanted, the change is refused with the fault WorkForeign, else there is none. One that has no owner at all, the
// wanted name and the application's annotation is ours, and gets its label back.
func Diff(live []fleet.LiveWork, wanted []*workv1.ManifestWork) Changes {
	at := make(map[place]*fleet.LiveWork, len(live))
	for i := range live {
		at[place{live[i].Cluster, live[i].Name}] = &live[i]
	}
	changes := make(Changes, 0, len(wanted))
	for _, w := range wanted {
		where := place{w.Namespace, w.Name}
		changes = append(changes, compareWork(at[where], w))
		delete(at, where)
	}
	for _, lw := range at {
		if lw.Owner == "" {
			continue
		}
		change := Change{Action: Delete, Cluster: lw.Cluster, Name: lw.Name, Application: lw.Application, Live: lw}
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
		Application: wanted.Annotations[musterv1alpha1.ApplicationAnnotation], Live: live, Wanted: wanted,
	}
	switch {
	case live == nil:
		change.Action = Create
	case live.Owner != wanted.Labels[musterv1alpha1.OwnerLabel] && !lostOwner(live, change.Application):
		change.Action, change.Fault = Refuse, foreign(change)
	case live.Deleting:
		change.Action = Create
	case live.SpecDigest == digestOf(wanted) && live.MetaDigest == MetaDigest(wanted):
		change.Action = Keep
	}
	return change
}

// lostOwner: a work that says whose it is and has no owner lost the label, and is marked again.
func lostOwner(live *fleet.LiveWork, application string) bool {
	return live.Owner == "" && live.Application != "" && live.Application == application
}

// digestOf a planned work is noted on it; computing it again would read every manifest.
func digestOf(w *workv1.ManifestWork) string {
	if digest := w.Annotations[musterv1alpha1.ContentDigestAnnotation]; digest != "" {
		return digest
	}
	return SpecDigest(w)
}

func foreign(change Change) *fleet.Fault {
	return &fleet.Fault{
		Reason: fleet.WorkForeign, ActionRequiredBy: fleet.User, Application: change.Application, Cluster: change.Cluster,
		Object: "ManifestWork " + change.Cluster + "/" + change.Name,
		Message: fmt.Sprintf("exists and was not made for this application: delete it, or give it the label %s=%s to hand it over",
			musterv1alpha1.OwnerLabel, change.Wanted.Labels[musterv1alpha1.OwnerLabel]),
	}
}

// OrphanPatch makes a work, as it must be before it is deleted, leave its objects on the cluster: a JSON merge patch, since a hub
// does not keep works at hand.
var OrphanPatch = []byte(`{"spec":{"deleteOption":{"propagationPolicy":"Orphan","selectivelyOrphans":null}}}`)
