// Package archive has files of small fleet repositories, in the txtar format, for tests.
package archive

import "fmt"

// Retail is the namespace of the applications, bound to the one cluster set, edge, and that set.
const Retail = `
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
`

// Cluster is an accepted cluster of set edge; labels are more of its labels, as YAML. Its lease is good for an hour: nobody renews
// it, and whether the cluster is available is the test's to say.
func Cluster(name, labels string) string {
	return fmt.Sprintf(`
-- clusters/%s.yaml --
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata:
  name: %s
  labels: {cluster.open-cluster-management.io/clusterset: edge, %s}
spec:
  hubAcceptsClient: true
  leaseDurationSeconds: 3600
`, name, name, labels)
}

// Placement is a placement in namespace retail; spec is YAML.
func Placement(name, spec string) string {
	return fmt.Sprintf(`-- placements/%s.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: %s, namespace: retail}
spec: %s
`, name, name, spec)
}

// Application is an application in namespace retail; more is YAML of its spec.
func Application(name, placement, source, destination, more string) string {
	return fmt.Sprintf(`-- applications/retail/%s/application.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: %s, namespace: retail}
spec:
  placementRef: {name: %s}
  source: {path: %s}
  destination: {namespace: %s, createNamespace: true}
%s
`, name, name, placement, source, destination, more)
}

// ConfigMap is content: a ConfigMap with one value.
func ConfigMap(file, name, key, value string) string {
	return fmt.Sprintf("-- %s --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {%s: %s}\n", file, name, key, value)
}
