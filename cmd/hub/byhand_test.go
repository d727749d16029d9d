package main

import (
	"fmt"
	"testing"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/controlplane"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestTakenAwayByHand: what somebody takes away on the hub by hand comes back.
func TestTakenAwayByHand(t *testing.T) {
	t.Parallel()
	f := newFleetOn(t, controlplane.Options{Name: "hub", Controllers: true}, shopIn("byhand")+clusterFile("one", "tier: edge"))
	f.deliver()
	f.join("one")
	f.expectHealthy("retail/shop", f.push(""), 1)
	f.run("a work that has lost its owner gets the label back", ownerComesBack)
	f.run("a cluster's namespace comes back, with all works", namespaceComesBack)
}

func ownerComesBack(f *theFleet) {
	before := f.uids("retail/shop")
	for _, w := range f.works("one") {
		f.change(&w, func() { w.Labels = nil })
	}
	f.eventually(func() string {
		for _, w := range f.works("one") {
			if w.Labels[musterv1alpha1.OwnerLabel] == "" {
				return fmt.Sprintf("work %s has the labels %v", w.Name, w.Labels)
			}
		}
		return ""
	})
	f.expectCurrent("retail/shop")
	if now := f.uids("retail/shop"); fmt.Sprint(now) != fmt.Sprint(before) {
		f.t.Errorf("other works: %v, were %v", now, before)
	}
}

func namespaceComesBack(f *theFleet) {
	read := func() (*corev1.Namespace, error) {
		var space corev1.Namespace
		return &space, f.client.Get(f.ctx, types.NamespacedName{Name: "one"}, &space)
	}
	before, err := read()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.client.Delete(f.ctx, before, client.Preconditions{UID: &before.UID}); err != nil {
		f.t.Fatal(err)
	}
	f.eventually(func() string {
		now, err := read()
		switch {
		case err != nil:
			return err.Error()
		case now.UID == before.UID:
			return fmt.Sprintf("the namespace does not end: %v", now.Status.Conditions)
		case now.Annotations[musterv1alpha1.FirstPlanAnnotation] == "":
			return "nothing says that the cluster's works are complete"
		case len(f.works("one")) == 0:
			return "there are no works"
		case !meta.IsStatusConditionTrue(f.cluster("one").Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted):
			return fmt.Sprint(f.cluster("one").Status.Conditions)
		case !f.on("one", &corev1.ConfigMap{}, "byhand", "shop"):
			return "the workload is not there"
		}
		return ""
	})
	f.available("one", true)
	f.expectReady("retail/shop")
}
