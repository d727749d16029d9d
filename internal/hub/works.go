package hub

import (
	"encoding/json"
	"fmt"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// observedAnnotation holds, in the hub's cache only, the facts of a work whose manifests were dropped. No API server takes
// such a key: what has it was stripped here.
const observedAnnotation = "observed by the hub"

// StripWork is the cache transform for ManifestWorks: it keeps the facts, the digest of the actual spec among them, and drops
// the manifests, so that the hub's memory does not hold the fleet's. A work from the cache must therefore never be written
// back. A cache may strip an object twice, as it does with those of its first list: the second time changes nothing.
func StripWork(object any) (any, error) {
	w, ok := object.(*workv1.ManifestWork)
	if !ok || w.Annotations[observedAnnotation] != "" {
		return object, nil
	}
	facts, err := json.Marshal(whole(w))
	if err != nil {
		return nil, fmt.Errorf("digest work %s/%s: %w", w.Namespace, w.Name, err)
	}
	w.Spec = workv1.ManifestWorkSpec{}
	w.Status = workv1.ManifestWorkStatus{}
	w.ManagedFields = nil
	w.Annotations = map[string]string{observedAnnotation: string(facts)}
	return w, nil
}

// LiveWork gives the facts of a work from the hub's cache, or of a whole one.
func LiveWork(w *workv1.ManifestWork) fleet.LiveWork {
	facts, stripped := w.Annotations[observedAnnotation]
	if !stripped {
		return whole(w)
	}
	var live fleet.LiveWork
	if err := json.Unmarshal([]byte(facts), &live); err != nil {
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
