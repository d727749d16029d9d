package render

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// FolderHash identifies all that a chart, an overlay or a folder of manifests renders from in its repository, for every cluster: the
// folder, what its overlays name, the charts beside it that its charts depend on, and what these name.
func FolderHash(tree fleet.Tree, dir string) (string, error) {
	sum := sha256.New()
	names := []string{dir}
	for i := 0; i < len(names); i++ { // it grows
		hash, err := tree.Hash(names[i])
		if err != nil {
			return "", fmt.Errorf("hash %s: %w", names[i], err)
		}
		fmt.Fprintf(sum, "%s %s\n", names[i], hash)
		for _, named := range slices.Concat(chartsBeside(tree, names[i]), namedByOverlay(tree, names[i])) {
			if _, err := fs.Stat(tree, named); err == nil && !slices.Contains(names, named) { // the render says what is not there
				names = append(names, named)
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// chartsBeside are the folders of the repository that a chart depends on.
func chartsBeside(tree fleet.Tree, dir string) []string {
	list, err := dependenciesIn(tree, path.Join(dir, "Chart.yaml"))
	if err != nil {
		return nil // the render says so
	}
	var names []string
	for _, d := range list {
		if beside, ok := strings.CutPrefix(d.Repository, "file://"); ok {
			names = append(names, path.Join(dir, beside))
		}
	}
	return names
}

// namedByOverlay are the files and folders that a kustomization may name: each of its texts may be a name, that of a file in a generator may
// follow a key, and a chart is in the folder of charts.
func namedByOverlay(tree fleet.Tree, dir string) []string {
	var names []string
	for _, file := range engine.KustomizationFiles {
		data, err := tree.ReadFile(path.Join(dir, file))
		if err != nil {
			continue
		}
		var all any
		var charts struct {
			HelmGlobals struct{ ChartHome string }
			HelmCharts  []struct{ Name string }
		}
		if yaml.Unmarshal(data, &all) != nil {
			continue // the render says so
		}
		for _, text := range textsIn(all) {
			_, after, _ := strings.Cut(text, "=")
			names = append(names, path.Join(dir, text), path.Join(dir, after))
		}
		if yaml.Unmarshal(data, &charts) != nil {
			continue
		}
		for _, c := range charts.HelmCharts {
			names = append(names, path.Join(dir, charts.HelmGlobals.ChartHome, c.Name), path.Join(dir, "charts", c.Name))
		}
	}
	return names
}

// textsIn are the texts of a YAML value, in an order that does not change.
func textsIn(value any) []string {
	var texts []string
	switch v := value.(type) {
	case string:
		texts = append(texts, v)
	case []any:
		for _, item := range v {
			texts = append(texts, textsIn(item)...)
		}
	case map[string]any:
		for _, item := range v {
			texts = append(texts, textsIn(item)...)
		}
		slices.Sort(texts)
	}
	return texts
}
