package engine

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
)

// KustomizationFiles are the names that Kustomize recognises, in its order.
var KustomizationFiles = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// Detect says what a folder or file holds by its files.
func Detect(tree fleet.Tree, dir string) ContentKind {
	switch {
	case IsArchive(dir), IsChart(tree, dir):
		return HelmChart
	case IsOverlay(tree, dir):
		return Kustomization
	}
	return PlainYAML
}

// IsArchive tells whether a name is that of a packed chart.
func IsArchive(name string) bool { return strings.HasSuffix(name, ".tgz") }

// IsChart tells whether a folder is a chart.
func IsChart(tree fleet.Tree, dir string) bool { return hasAny(tree, dir, "Chart.yaml") }

// IsOverlay tells whether a folder is an overlay of Kustomize.
func IsOverlay(tree fleet.Tree, dir string) bool { return hasAny(tree, dir, KustomizationFiles...) }

func hasAny(tree fleet.Tree, dir string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		info, err := fs.Stat(tree, path.Join(dir, name))
		return err == nil && !info.IsDir()
	})
}
