// Package addon decides what an add-on is on one cluster.
//
// In go the ClusterManagementAddOn, the ManagedClusterAddOn, the AddOnTemplate and the AddOnDeploymentConfigs of a cluster; out come
// the configurations that the cluster should have, the manifests of the add-on with its variables replaced and its pods set up, and the
// ManifestWorks that carry them. Variables are replaced once: what a value brings is
// never read as a variable again.
package addon
