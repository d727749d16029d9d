package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/muster-io/muster/internal/controlplane"
)

// shopIn is a repository whose one application, retail/shop, puts ConfigMap shop into a namespace of the clusters with label
// tier: edge. Tests share the clusters: each has a namespace of its own.
func shopIn(namespace string) string {
	return tenant + placementFile("edge", everyEdge) + applicationFile("shop", "edge", "manifests/shop", namespace, "") +
		configMapFile("manifests/shop/config.yaml", "shop", "color", "red")
}

func TestPushReachesTheClusters(t *testing.T) {
	t.Parallel()
	f := newFleetOn(t, controlplane.Options{Name: "hub", Controllers: true}, shopIn("push")+clusterFile("one", "tier: edge")+clusterFile("two", "tier: edge"))
	f.deliver()
	f.join("one")
	f.join("two")
	first := f.push("")
	f.expectHealthy("retail/shop", first, 2)

	second := f.push("-- manifests/shop/config.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {color: blue}\n")
	f.expectHealthy("retail/shop", second, 2)
	for _, cluster := range []string{"one", "two"} {
		var cm corev1.ConfigMap
		if !f.on(cluster, &cm, "push", "shop") || cm.Data["color"] != "blue" {
			t.Errorf("%s has %v, want color blue", cluster, cm.Data)
		}
	}
	f.run("a cluster joins by its request", joinsByRequest)
	f.run("the hub is no administrator", isNoAdministrator)
}
