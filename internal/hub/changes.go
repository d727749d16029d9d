package hub

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Changes counts the changes of the world that a repository is planned and delivered in. While the count stays, so does what
// comes of a commit: whoever keeps the count from before a look need not look again. What clusters report of their works and
// what the hub says of applications is no change.
type Changes struct{ count atomic.Uint64 }

// Count so far.
func (c *Changes) Count() uint64 { return c.count.Load() }

// Add counts a change.
func (c *Changes) Add() { c.count.Add(1) }

// Watch counts what changes in a cache and in the index of works, after they have it.
func (c *Changes) Watch(ctx context.Context, informers cache.Cache, works *Works) error {
	if _, err := works.Handle(func(e WorkEvent) {
		if e.PlanChanged() {
			c.Add()
		}
	}); err != nil {
		return err
	}
	for _, o := range []client.Object{
		&clusterv1.ManagedCluster{}, &clusterv1beta2.ManagedClusterSet{}, &clusterv1beta2.ManagedClusterSetBinding{},
		&clusterv1beta1.Placement{}, &clusterv1beta1.PlacementDecision{}, &clusterv1alpha1.AddOnPlacementScore{},
		&musterv1alpha1.Application{}, &musterv1alpha1.APISet{}, &musterv1alpha1.FleetRepository{}, &corev1.Namespace{},
	} {
		informer, err := informers.GetInformer(ctx, o)
		if err != nil {
			return fmt.Errorf("watch %T: %w", o, err)
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { c.Add() },
			DeleteFunc: func(any) { c.Add() },
			UpdateFunc: func(before, after any) {
				if matters(before.(client.Object), after.(client.Object)) {
					c.Add()
				}
			},
		})
		if err != nil {
			return fmt.Errorf("watch %T: %w", o, err)
		}
	}
	return nil
}

// matters says whether an update changes anything that a plan, or its delivery, reads.
func matters(before, after client.Object) bool {
	if before.GetResourceVersion() == after.GetResourceVersion() {
		return false // told again
	}
	switch after.(type) {
	case *musterv1alpha1.FleetRepository:
		return false // of others it matters that they are there; what they deliver comes as objects
	case *musterv1alpha1.Application:
		return before.GetGeneration() != after.GetGeneration() || !maps.Equal(before.GetLabels(), after.GetLabels()) ||
			!maps.Equal(before.GetAnnotations(), after.GetAnnotations())
	}
	return true
}
