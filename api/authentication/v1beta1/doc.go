// Package v1beta1 holds ManagedServiceAccount: a service account of a managed cluster with a token on the hub.
//
// Group authentication.open-cluster-management.io, version v1beta1. Fields, defaults, validation, labels and names of conditions are
// those of Open Cluster Management's managed-serviceaccount; a test in api compares the generated schemas with its own, field by field.
//
// +kubebuilder:object:generate=true
// +groupName=authentication.open-cluster-management.io
package v1beta1
