// Package v1alpha1 holds the kinds of add-ons: ClusterManagementAddOn, what an add-on is and where it goes;
// ManagedClusterAddOn, the add-on on one cluster; AddOnTemplate, what it is made of; AddOnDeploymentConfig, how it is
// set up.
//
// Group addon.open-cluster-management.io, version v1alpha1, which is the one that is stored. Fields, defaults, validation, names of
// conditions, labels and finalizers are those of Open Cluster Management; a test in api compares
// the generated schemas with its own, field by field.
//
// +kubebuilder:object:generate=true
// +groupName=addon.open-cluster-management.io
package v1alpha1
