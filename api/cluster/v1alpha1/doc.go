// Package v1alpha1 holds AddOnPlacementScore, ClusterClaim, plus the rollout strategy that
// ManifestWorkReplicaSet takes.
//
// Group cluster.open-cluster-management.io, version v1alpha1. Fields, defaults, validation, names of
// conditions, labels and finalizers are those of Open Cluster Management; a test in api compares
// the generated schemas with its own, field by field.
//
// +kubebuilder:object:generate=true
// +groupName=cluster.open-cluster-management.io
package v1alpha1
