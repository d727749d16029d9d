// Package v1alpha1 holds ClusterPermission: rights on one managed cluster, written down on the hub.
//
// Group rbac.open-cluster-management.io, version v1alpha1. Fields, defaults, validation and names of conditions are those
// of Open Cluster Management's cluster-permission; a test in api compares the generated schemas with its own, field by field.
//
// +kubebuilder:object:generate=true
// +groupName=rbac.open-cluster-management.io
package v1alpha1
