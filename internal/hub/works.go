package hub

import (
	"encoding/json"
	"fmt"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// These annotations hold, in the hub's cache only, the facts of a work whose manifests were dropped: what it is, and what its
// cluster reports of it. No API server takes such keys: what has them was stripped here.
const (
	observedAnnotation = "observed by the hub"
	reportedAnnotation = "reported to the hub"
)

// StripWork is the cache transform for ManifestWorks: it keeps the facts, the digest of the actual spec among them, and drops
// the manifests, so that the hub's memory does not hold the fleet's. A work from the cache must therefore never be written
// back. A cache may strip an object twice, as it does with those of its first list: the second time changes nothing.
func StripWork(object any) (any, error) {
	w, ok := object.(*workv1.ManifestWork)
	if !ok || w.Annotations[observedAnnotation] != "" {
		return object, nil
	}
	live := whole(w)
	reported, err := json.Marshal(live.Status)
	if err != nil {
		return nil, fmt.Errorf("digest the status of work %s/%s: %w", w.Namespace, w.Name, err)
	}
	live.Status = fleet.WorkStatus{}
	facts, err := json.Marshal(live)
	if err != nil {
		return nil, fmt.Errorf("digest work %s/%s: %w", w.Namespace, w.Name, err)
	}
	w.Spec = workv1.ManifestWorkSpec{}
	w.Status = workv1.ManifestWorkStatus{}
	w.ManagedFields = nil
	w.Annotations = map[string]string{observedAnnotation: string(facts), reportedAnnotation: string(reported)}
	return w, nil
}

// LiveWork gives the facts of a work from the hub's cache, or of a whole one.
func LiveWork(w *workv1.ManifestWork) fleet.LiveWork {
	facts, stripped := w.Annotations[observedAnnotation]
	if !stripped {
		return whole(w)
	}
	var live fleet.LiveWork
	if json.Unmarshal([]byte(facts), &live) != nil || json.Unmarshal([]byte(w.Annotations[reportedAnnotation]), &live.Status) != nil {
		return whole(w) // never: StripWork wrote it
	}
	live.Deleting = w.DeletionTimestamp != nil
	return live
}

func whole(w *workv1.ManifestWork) fleet.LiveWork {
	live := work.Live(w)
	live.UID = string(w.UID)
	return live
}
