package render

import (
	"encoding/base64"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/gobwas/glob"
	"helm.sh/helm/v3/pkg/chart"
)

// chartFiles is what charts see as .Files: as Helm gives it, and in an order.
type chartFiles map[string][]byte

func filesOf(from []*chart.File) chartFiles {
	f := chartFiles{}
	for _, file := range from {
		f[file.Name] = file.Data
	}
	return f
}

// GetBytes gives a file, and nothing for one that is not there.
func (f chartFiles) GetBytes(name string) []byte {
	if data, ok := f[name]; ok {
		return data
	}
	return []byte{}
}

// Get gives a file as text.
func (f chartFiles) Get(name string) string { return string(f.GetBytes(name)) }

const (
	// maxPattern is the length of a pattern, and maxWildcards how many wildcards it has: matching tries their combinations.
	maxPattern   = 256
	maxWildcards = 8
)

// Glob gives the files whose name matches; all of the top when the pattern is wrong, as Helm does.
func (f chartFiles) Glob(pattern string) (chartFiles, error) {
	stars := strings.Count(strings.ReplaceAll(pattern, "**", "*"), "*")
	if len(pattern) > maxPattern || stars > maxWildcards || strings.Count(pattern, "{") > maxWildcards {
		return nil, &unbounded{"matches files with a pattern of too many wildcards: use several"}
	}
	matcher, err := glob.Compile(pattern, '/')
	if err != nil {
		matcher, _ = glob.Compile("**")
	}
	matching := chartFiles{}
	for name, data := range f {
		if matcher.Match(name) {
			matching[name] = data
		}
	}
	return matching, nil
}

// AsConfig gives the files as the data of a ConfigMap. Of files of one base name the last one counts.
func (f chartFiles) AsConfig() string {
	return f.as(func(data []byte) string { return string(data) })
}

// AsSecrets gives the files as the data of a Secret.
func (f chartFiles) AsSecrets() string { return f.as(base64.StdEncoding.EncodeToString) }

func (f chartFiles) as(text func([]byte) string) string {
	if f == nil {
		return ""
	}
	data := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		data[path.Base(name)] = text(f[name])
	}
	return toYAML(data)
}

// Lines gives the lines of a file.
func (f chartFiles) Lines(name string) []string {
	if f == nil || len(f[name]) == 0 {
		return []string{}
	}
	return strings.Split(strings.TrimSuffix(string(f[name]), "\n"), "\n")
}
