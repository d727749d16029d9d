// Package placement keeps the PlacementDecisions and the status of every Placement equal to what its scheduling gives.
//
// One reconciliation reads the facts from the cache, computes the result with internal/placement, writes the pages in an
// order in which no cluster that stays chosen is missing at any time, and writes the status last. A reader that accepts the pages
// only when they hold as many clusters as the status says (internal/placement.Read) reads the old set until the new one is complete.
//
// A change of a cluster, a set, a binding or a score reschedules only the placements that it can affect. Many changes of
// clusters or scores in a short time reschedule a placement once. A page that somebody changes or deletes is written
// again. A failed read or write leaves the pages as they are, and is retried. A placement with OCM's annotation
// experimental-scheduling-disable is left to another scheduler.
//
// Debug shows how a placement would be scheduled, and the metrics scheduling_* measure it, both with OCM's names.
//
// The API server needs only the CRDs of cluster.open-cluster-management.io.
package placement

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/hub/event"
	"github.com/muster-io/muster/internal/placement"
)

// pagesByPlacement is the name of the index over PlacementDecisions by the placement in their label or their name.
const pagesByPlacement = "muster.placement"

// placementsOfPage computes the keys of the index. A page with the name of a placement but not its label occupies the name of a page that
// the placement needs.
func placementsOfPage(page client.Object) []string {
	label, name := page.GetLabels()[clusterv1beta1.PlacementLabel], placement.NamedAfter(page.GetName())
	if name == "" || name == label {
		return []string{label}
	}
	return []string{label, name}
}

// Placements is the controller of Placements.
type Placements struct {
	// Client reads from a cache and writes to the API server.
	Client client.Client
	// Events go to the placement, with the page as the related object.
	Events events.EventRecorder
	// Now is the clock.
	Now func() time.Time
	// Concurrency is how many placements are scheduled at once.
	Concurrency int
	// Name of the controller, unique in a process.
	Name string

	facts     facts
	ledger    ledger
	debouncer debouncer
	// queue replaces the controller's own in tests.
	queue func(string, workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request]
	// interests are what the placements read, by their name.
	interests sync.Map
}

// Setup adds the controller to a manager whose scheme knows cluster v1, v1alpha1, v1beta1 and v1beta2.
func Setup(mgr ctrl.Manager) error {
	events, err := event.NewRecorder(mgr, "muster-placement")
	if err != nil {
		return err
	}
	r := &Placements{Client: mgr.GetClient(), Events: events, Now: time.Now, Concurrency: 8, Name: "placement"}
	return r.SetupWithManager(mgr)
}

// SetupWithManager adds the controller to a manager.
func (r *Placements) SetupWithManager(mgr ctrl.Manager) error {
	r.facts.reader = mgr.GetCache()
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &clusterv1beta1.PlacementDecision{}, pagesByPlacement, placementsOfPage); err != nil {
		return fmt.Errorf("index PlacementDecisions by placement: %w", err)
	}
	err := ctrl.NewControllerManagedBy(mgr).Named(r.Name).
		Watches(&clusterv1beta1.Placement{}, r.onPlacement()).
		Watches(&clusterv1beta1.PlacementDecision{}, r.onPage()).
		Watches(&clusterv1.ManagedCluster{}, r.onCluster()).
		Watches(&clusterv1beta2.ManagedClusterSet{}, r.onSet()).
		Watches(&clusterv1beta2.ManagedClusterSetBinding{}, r.onBinding()).
		Watches(&clusterv1alpha1.AddOnPlacementScore{}, r.onScore()).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Concurrency, NewQueue: r.queue}).
		Complete(reconcile.Func(r.Reconcile))
	if err != nil {
		return fmt.Errorf("set up the placement controller: %w", err)
	}
	return nil
}
