// Package engine runs charts, overlays and folders of manifests: a Job and what its Host answers become objects, or one fleet.Fault
// that names file and line and quotes no value. It knows neither applications nor what a cluster has beyond its APIs.
//
// Helm's and Kustomize's packages are imported here and, below internal/, by the package chart alone.
package engine
