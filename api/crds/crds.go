// Package crds holds the CustomResourceDefinitions that are generated from the types in api.
package crds

import (
	"embed"
	"path"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// onManagedClusters are the resources that the agent needs on its own cluster. All others are the hub's.
var onManagedClusters = map[string]bool{
	"cluster.open-cluster-management.io_clusterclaims":     true,
	"work.open-cluster-management.io_appliedmanifestworks": true,
}

// Hub returns the definitions of the kinds that a hub serves, one YAML document each, sorted by group,
// then resource.
func Hub() [][]byte {
	return documents(func(resource string) bool { return !onManagedClusters[resource] })
}

// Agent returns the definitions of the kinds that a managed cluster serves, one YAML document each, sorted
// by group, then resource. A hub that is its own managed cluster needs them beside those of Hub.
func Agent() [][]byte {
	return documents(func(resource string) bool { return onManagedClusters[resource] })
}

// documents returns the embedded files that are wanted. Their names are <group>_<resource>.yaml.
func documents(wanted func(resource string) bool) [][]byte {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the files are part of the binary
	}
	var docs [][]byte
	for _, entry := range entries {
		if !wanted(strings.TrimSuffix(entry.Name(), path.Ext(entry.Name()))) {
			continue
		}
		doc, err := files.ReadFile(entry.Name())
		if err != nil {
			panic(err) // as above
		}
		docs = append(docs, doc)
	}
	return docs
}
