// Package workgc deletes works that are complete and whose time to live is over, as OCM's work manager does.
package workgc

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
)

// Name of the controller, for --controllers.
const Name = "work-gc"

// Collector deletes a work when its condition Complete has been True for spec.deleteOption.ttlSecondsAfterFinished.
type Collector struct {
	// Client writes, Reader reads past the cache.
	Client client.Client
	Reader client.Reader
	// Works is the index of live works.
	Works *hub.Works
	// Now is the clock.
	Now func() time.Time
}

// Setup registers the controller. It wakes for works that are complete and have a time to live.
func (c *Collector) Setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named(Name).WatchesRawSource(c.Works.Source(func(e hub.WorkEvent) []reconcile.Request {
		if e.After == nil || !expires(e.After) {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: e.After.Cluster, Name: e.After.Name}}}
	})).Complete(c)
}

// expires is true for a work that nobody would make again: one that an owner made is its owner's to delete.
func expires(lw *fleet.LiveWork) bool {
	return !lw.ExpiresAt.IsZero() && !lw.Deleting && lw.Owner.IsZero()
}

// Reconcile deletes one work whose time is over, or looks again when it is.
func (c *Collector) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	lw := c.Works.Get(request.Namespace, request.Name)
	if lw == nil || !expires(lw) {
		return reconcile.Result{}, nil
	}
	if left := lw.ExpiresAt.Sub(c.Now()); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	var current workv1.ManifestWork
	if err := c.Reader.Get(ctx, request.NamespacedName, &current); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if now := hub.LiveWork(&current); now.UID != lw.UID || !expires(&now) || now.ExpiresAt.After(c.Now()) {
		return reconcile.Result{}, nil // the index will say so
	}
	err := c.Client.Delete(ctx, &current, client.Preconditions{UID: &current.UID, ResourceVersion: &current.ResourceVersion})
	switch {
	case apierrors.IsConflict(err):
		return reconcile.Result{}, nil // it has changed, and wakes us
	case client.IgnoreNotFound(err) != nil:
		return reconcile.Result{}, fmt.Errorf("delete work %s, which is complete: %w", request, err)
	}
	ctrl.LoggerFrom(ctx).Info("deleted a work that is complete", "cluster", request.Namespace, "work", request.Name)
	return reconcile.Result{}, nil
}
