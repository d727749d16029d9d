// Package v1alpha1 holds SubmarinerConfig: how Submariner is set up on one managed cluster.
//
// Group submarineraddon.open-cluster-management.io, version v1alpha1. Fields and defaults are those of submariner-addon.
//
// +kubebuilder:object:generate=true
// +groupName=submarineraddon.open-cluster-management.io
package v1alpha1
