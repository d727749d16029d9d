package main

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/muster-io/muster/internal/controlplane"
)

// shopIn is a repository whose one application, retail/shop, puts ConfigMap shop into a namespace of the clusters with label
// tier: edge. Tests share the clusters: each has a namespace of its own.
func shopIn(namespace string) string {
	return fmt.Sprintf(`
-- tenants/retail.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: retail}
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: edge, namespace: retail}
spec: {clusterSet: edge}
-- clustersets/edge.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSet
metadata: {name: edge}
spec:
  clusterSelector: {selectorType: ExclusiveClusterSetLabel}
-- placements/edge.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: edge, namespace: retail}
spec:
  predicates:
  - requiredClusterSelector:
      labelSelector: {matchLabels: {tier: edge}}
-- applications/retail/shop/application.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: shop, namespace: retail}
spec:
  placementRef: {name: edge}
  source: {path: manifests/shop}
  destination: {namespace: %s, createNamespace: true}
-- manifests/shop/config.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: shop}
data: {color: red}
`, namespace)
}

func clusterFile(name, labels string) string {
	return fmt.Sprintf(`
-- clusters/%s.yaml --
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata:
  name: %s
  labels: {cluster.open-cluster-management.io/clusterset: edge, %s}
spec:
  hubAcceptsClient: true
  leaseDurationSeconds: 3600 # nobody renews it: whether a cluster is available is the test's to say
`, name, name, labels)
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
