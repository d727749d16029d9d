// Package v1alpha1 holds Muster's own kinds: what a fleet repository is, and what an application is.
//
// +kubebuilder:object:generate=true
// +groupName=muster.dev
package v1alpha1
