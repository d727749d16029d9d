// Package placement keeps the PlacementDecisions and the status of every Placement equal to what its scheduling gives.
//
// One round for one placement: the facts from the cache, the result from internal/placement, the pages in an order that
// never loses a cluster which is chosen before and after, the status last. A reader that believes pages only when they
// number what the status says (internal/placement.Read) therefore sees the old set until the new one is whole.
//
// A change of a cluster, a set, a binding or a score reschedules the placements that it can affect and no others, and a
// burst of changes of clusters or scores reschedules each of them once; a page that somebody changes or deletes is made
// again. A failed read or write leaves the pages as they are and is tried again. A placement with OCM's annotation
// experimental-scheduling-disable is left to another scheduler.
//
// Debug answers how a placement would be scheduled, and the metrics scheduling_* tell how long it takes, both in OCM's words.
//
// Nothing but the CRDs of cluster.open-cluster-management.io is needed on the API server.
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

// pagesOfWhom fills the index. A page that has the name and not the label stands where the placement's own has to be.
func pagesOfWhom(page client.Object) []string {
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

	facts  facts
	ledger ledger
	bursts bursts
	// queue replaces the controller's own in tests.
	queue func(string, workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request]
	// interests are what the placements look at, by their name.
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
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &clusterv1beta1.PlacementDecision{}, pagesByPlacement, pagesOfWhom); err != nil {
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
