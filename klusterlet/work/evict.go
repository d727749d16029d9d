package work

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// forever is the grace period from which on nothing is evicted.
const forever = 100 * 365 * 24 * time.Hour

// evict starts, stops or ends the clock of a record:
//
//	its work is on this hub                                          no clock
//	another hub's, and this hub has a work of the name, applied      deleted: the objects are the new record's
//	no work, and the grace period is for ever                        no clock
//	no work, and a missing work proves nothing yet                   no clock
//	no work                                                          deleted after the grace period
func (e *engine) evict(ctx context.Context, record *workv1.AppliedManifestWork) (time.Duration, error) {
	var work workv1.ManifestWork
	err := e.works.Get(ctx, client.ObjectKey{Namespace: e.ClusterName, Name: record.Spec.ManifestWorkName}, &work)
	if client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("read the work: %w", err)
	}
	exists, ours := err == nil, record.Spec.HubHash == e.HubHash
	switch {
	case exists && ours:
		return 0, e.setClock(ctx, record, nil)
	case exists:
		applied, err := e.successor(ctx, record)
		if err != nil || !applied {
			return time.Minute, err
		}
		return 0, e.deleteRecord(ctx, record, "taken over from another hub")
	case e.EvictionGracePeriod >= forever:
		return 0, e.setClock(ctx, record, nil)
	}
	if e.EvictionAllowed != nil {
		allowed, err := e.EvictionAllowed(ctx)
		if err != nil {
			return 0, err
		}
		if !allowed {
			return time.Minute, e.setClock(ctx, record, nil)
		}
	}
	return e.clock(ctx, record)
}

func (e *engine) clock(ctx context.Context, record *workv1.AppliedManifestWork) (time.Duration, error) {
	if record.Status.EvictionStartTime == nil {
		now := metav1.Now()
		if err := e.setClock(ctx, record, &now); err != nil {
			return 0, err
		}
		return e.EvictionGracePeriod, nil
	}
	if left := time.Until(record.Status.EvictionStartTime.Add(e.EvictionGracePeriod)); left > 0 {
		return left, nil
	}
	return 0, e.deleteRecord(ctx, record, "its work is gone from the hub")
}

func (e *engine) setClock(ctx context.Context, record *workv1.AppliedManifestWork, start *metav1.Time) error {
	if (start == nil) == (record.Status.EvictionStartTime == nil) {
		return nil
	}
	record.Status.EvictionStartTime = start
	if err := e.spoke.Status().Update(ctx, record); err != nil {
		return fmt.Errorf("set the eviction time of AppliedManifestWork %s: %w", record.Name, err)
	}
	return nil
}

// successor says that this hub's record of the same work has applied everything that it lists.
func (e *engine) successor(ctx context.Context, old *workv1.AppliedManifestWork) (bool, error) {
	var record workv1.AppliedManifestWork
	err := e.spoke.Get(ctx, client.ObjectKey{Name: e.recordName(old.Spec.ManifestWorkName)}, &record)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read AppliedManifestWork %s: %w", e.recordName(old.Spec.ManifestWorkName), err)
	}
	for _, entry := range record.Status.AppliedResources {
		if entry.UID == "" {
			return false, nil
		}
	}
	return len(record.Status.AppliedResources) > 0, nil
}

func (e *engine) deleteRecord(ctx context.Context, record *workv1.AppliedManifestWork, why string) error {
	logr.FromContextOrDiscard(ctx).Info("Evict", "reason", why)
	if err := e.spoke.Delete(ctx, record, client.Preconditions{UID: &record.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("evict AppliedManifestWork %s: %w", record.Name, err)
	}
	return nil
}
