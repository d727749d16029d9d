// Package works writes the ManifestWorks of an owner.
//
// In go the changes that a step allows; out come the works on the API server, and what the API server refused. Gains are
// written before losses, and a loss is recorded before it is written. A stale read does no harm: every change is made only while
// its work, and the works that get its objects, are at the generation that the step was decided on.
package works

import (
	"context"
	"fmt"
	"sync"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Writer writes works. It is the same for every kind of owner.
type Writer struct {
	// Client writes.
	Client client.Client
	// Reader reads past the cache.
	Reader client.Reader
	// Concurrency bounds the writes that run side by side.
	Concurrency int
}

// Refused are, by cluster, the answers of the API server that a retry does not change, and works that are not the owner's.
type Refused map[string]error

// Write makes changes: gains first, then updates that drop objects, then deletions. A refusal stays with its cluster, but no
// work is deleted then: what could not be gained is not paid for with a loss. Record is called before the first loss; when it is
// false, nothing is removed now. An error means that a retry may help.
func (w *Writer) Write(ctx context.Context, changes work.Changes, record func(context.Context) (bool, error)) (Refused, error) {
	var gains, drops, deletions []work.Change
	for _, c := range changes {
		switch {
		case c.Action == work.Orphan || c.Action == work.Delete:
			deletions = append(deletions, c)
		case c.Drops:
			drops = append(drops, c)
		default:
			gains = append(gains, c)
		}
	}
	refused := Refused{}
	if err := w.writeAll(ctx, gains, refused); err != nil {
		return refused, err
	}
	if len(drops) == 0 && (len(deletions) == 0 || len(refused) > 0) {
		return refused, nil
	}
	if recorded, err := record(ctx); err != nil || !recorded {
		return refused, err
	}
	if err := w.writeAll(ctx, drops, refused); err != nil || len(refused) > 0 {
		return refused, err
	}
	return refused, w.writeAll(ctx, deletions, refused)
}

// writeAll makes changes side by side. One that fails stops no other.
func (w *Writer) writeAll(ctx context.Context, changes []work.Change, refused Refused) error {
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(max(1, w.Concurrency))
	for _, c := range changes {
		group.Go(func() error {
			err := w.write(ctx, c)
			if err == nil {
				return nil
			}
			if isRefusal(err) {
				mu.Lock()
				defer mu.Unlock()
				refused[c.Cluster] = err
				return nil
			}
			return fmt.Errorf("%s work %s/%s: %w", c.Action, c.Cluster, c.Name, err)
		})
	}
	return group.Wait()
}

// isRefusal is true when a retry gets the same answer: the work is wrong, or not ours, or its cluster has no namespace yet.
func isRefusal(err error) bool {
	_, fault := fleet.AsFault(err)
	return fault || apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsNotFound(err) ||
		apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsBadRequest(err)
}
