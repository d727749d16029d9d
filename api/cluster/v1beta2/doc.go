// Package v1beta2 holds ManagedClusterSet, which groups clusters, with ManagedClusterSetBinding,
// which lets a namespace use a group.
//
// Group cluster.open-cluster-management.io, version v1beta2. Fields, defaults, validation, names of
// conditions, labels and finalizers are those of Open Cluster Management; a test in api compares
// the generated schemas with its own, field by field.
//
// +kubebuilder:object:generate=true
// +groupName=cluster.open-cluster-management.io
package v1beta2
