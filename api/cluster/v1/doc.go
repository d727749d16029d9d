// Package v1 holds ManagedCluster: a member of the fleet as its hub and its agent see it.
//
// Group cluster.open-cluster-management.io, version v1. Fields, defaults, validation, names of
// conditions, labels and finalizers are those of Open Cluster Management; a test in api compares
// the generated schemas with its own, field by field.
//
// +kubebuilder:object:generate=true
// +groupName=cluster.open-cluster-management.io
package v1
