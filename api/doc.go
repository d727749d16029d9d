// Package api is the root of the kinds that Muster serves: one package for each group and version below it,
// their CustomResourceDefinitions in crds. It has no code of its own; its tests hold the generated schemas
// against testdata/ocm-fields.tsv, which lists every field of Open Cluster Management's kinds.
package api
