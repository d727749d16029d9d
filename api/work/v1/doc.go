// Package v1 holds ManifestWork, what a hub wants on one cluster, with AppliedManifestWork,
// the record on that cluster of what was applied.
//
// Group work.open-cluster-management.io, version v1. Fields, defaults, validation, names of
// conditions, labels and finalizers are those of Open Cluster Management; a test in api compares
// the generated schemas with its own, field by field.
//
// +kubebuilder:object:generate=true
// +groupName=work.open-cluster-management.io
package v1
