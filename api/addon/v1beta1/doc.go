// Package v1beta1 holds the kinds of add-ons in the version after v1alpha1: ClusterManagementAddOn and
// ManagedClusterAddOn say the same in other fields, AddOnTemplate and AddOnDeploymentConfig are the same.
//
// Group addon.open-cluster-management.io, version v1beta1, which is served and not stored. Fields, defaults, validation, names of
// conditions, labels and finalizers are those of Open Cluster Management; a test in api compares
// the generated schemas with its own, field by field.
//
// +kubebuilder:object:generate=true
// +groupName=addon.open-cluster-management.io
package v1beta1
