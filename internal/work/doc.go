// Package work turns manifests into ManifestWorks.
//
// In go the rendered content of one application for one cluster and what is live there; out comes the Set of final works,
// to which nothing is added later. Names depend on the owner alone, an object stays in its part while it fits, and
// equal content gives equal bytes. Diff compares what is live with what is wanted.
package work
