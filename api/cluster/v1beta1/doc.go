// Package v1beta1 holds Placement, the question which clusters to choose, with PlacementDecision,
// its answer.
//
// Group cluster.open-cluster-management.io, version v1beta1. Fields, defaults, validation, names of
// conditions, labels and finalizers are those of Open Cluster Management; a test in api compares
// the generated schemas with its own, field by field.
//
// +kubebuilder:object:generate=true
// +groupName=cluster.open-cluster-management.io
package v1beta1
