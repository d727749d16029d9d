package main

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	agent "github.com/muster-io/muster/klusterlet/work"
)

// TestHubIsRebuiltFromGit: a hub that lost everything plans the same works from the repository, and the clusters do not notice:
// what is applied stays applied, by its UID, while the new hub knows nothing and when it knows again.
func TestHubIsRebuiltFromGit(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shopIn("rebuilt")+clusterFile("one", "tier: edge"))
	f.deliver()
	f.join("one")
	revision := f.push("")
	f.expectHealthy("retail/shop", revision, 1)
	var before corev1.ConfigMap
	if !f.on("one", &before, "rebuilt", "shop") {
		t.Fatal("nothing is applied")
	}

	f.lose()
	// An agent that is impatient to evict what the hub does not know, but for the mark that an empty hub does not set.
	f.startAgentWith("one", func(a *agent.Agent) {
		a.EvictionGracePeriod = time.Millisecond
		a.EvictionAllowed = func(ctx context.Context) (bool, error) {
			var namespace corev1.Namespace
			err := f.client.Get(ctx, types.NamespacedName{Name: "one"}, &namespace)
			return namespace.Annotations[musterv1alpha1.FirstPlanAnnotation] != "", client.IgnoreNotFound(err)
		}
	})
	f.deliver()
	f.available("one", true)
	f.expectHealthy("retail/shop", revision, 1)
	var after corev1.ConfigMap
	if !f.on("one", &after, "rebuilt", "shop") || after.UID != before.UID {
		t.Errorf("the object is %s, was %s: it was deleted while the hub was rebuilt", after.UID, before.UID)
	}
	next := f.push("-- manifests/shop/config.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {color: green}\n")
	f.expectHealthy("retail/shop", next, 1)
	if !f.on("one", &after, "rebuilt", "shop") || after.Data["color"] != "green" || after.UID != before.UID {
		t.Errorf("the rebuilt hub does not reach the object: %v", after.Data)
	}
}
