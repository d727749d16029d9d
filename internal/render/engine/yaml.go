package engine

import (
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/muster-io/muster/internal/fleet"
)

// manifestExtensions are the files of a folder that are manifests.
var manifestExtensions = []string{".yaml", ".yml", ".json"}

// Files says which files of a folder of manifests count.
type Files struct {
	Include, Exclude []string
	// Flat leaves out the folders below.
	Flat bool
}

func (f Files) digest() string {
	return strings.Join(f.Include, "\n") + "\n\n" + strings.Join(f.Exclude, "\n") + strconv.FormatBool(f.Flat)
}

// foreignFiles are those of other tools, which may name a kind: they count only where the application includes them.
var foreignFiles = []string{
	"Chart.yaml", "fleet.yaml", "kustomization.y*ml", "Kustomization", "skaffold.y*ml", "docker-compose*.y*ml", "compose.y*ml", "Taskfile.y*ml",
	"package.json", "package-lock.json", "renovate.json",
}

// dataFiles are those that hold no manifest as a rule: they are passed over without a word where they do not.
var dataFiles = []string{"values*.y*ml", "values*.json"}

// has tells whether a file, by its path below the folder, counts.
func (f Files) has(below string) bool {
	if matchesAny(f.Exclude, below) {
		return false
	}
	if len(f.Include) > 0 {
		return matchesAny(f.Include, below)
	}
	return slices.Contains(manifestExtensions, path.Ext(below)) && !matchesAny(foreignFiles, below)
}

// matchesAny tells whether a pattern matches a path, or a folder that it is in. A pattern without a slash is for names.
func matchesAny(patterns []string, below string) bool {
	for _, pattern := range patterns {
		pattern = strings.Trim(pattern, "/")
		if !strings.Contains(pattern, "/") {
			pattern = "**/" + pattern
		}
		for p := below; p != "."; p = path.Dir(p) {
			if ok, err := doublestar.Match(pattern, p); ok && err == nil {
				return true
			}
		}
	}
	return false
}

// readManifests reads plain manifests: one file, or the files of a folder and of those below it, sorted. Files of a folder without
// a manifest are skipped and named.
func readManifests(tree fleet.Tree, name string, which Files) (objects []Object, skipped []string, err error) {
	info, err := fs.Stat(tree, name)
	if err != nil {
		return nil, nil, fleet.Unreadable(name, err)
	}
	if !info.IsDir() {
		objects, _, err = readManifestFile(tree, name, false)
		return objects, nil, err
	}
	files, err := manifestFiles(tree, name, which.Flat, 0)
	if err != nil {
		return nil, nil, err
	}
	files = slices.DeleteFunc(files, func(file string) bool { return !which.has(under(file, name)) })
	passed := 0
	for _, file := range files {
		found, foreign, err := readManifestFile(tree, file, true)
		if err != nil {
			return nil, nil, err
		}
		if foreign {
			passed++
		}
		if foreign && !matchesAny(dataFiles, path.Base(file)) {
			skipped = append(skipped, file)
		}
		objects = append(objects, found...)
	}
	if len(files) == passed {
		return nil, nil, fleet.Fault{Reason: fleet.ContentMissing, ActionRequiredBy: fleet.User, File: name,
			Message: "the folder holds neither a chart, nor an overlay, nor manifests (*.yaml, *.yml, *.json)" + which.hint()}
	}
	return objects, skipped, nil
}

// under is the path of a file below a folder.
func under(file, folder string) string {
	if folder == "." {
		return file
	}
	return strings.TrimPrefix(file, folder+"/")
}

func (f Files) hint() string {
	if len(f.Include)+len(f.Exclude) == 0 && !f.Flat {
		return ""
	}
	return " that spec.yaml does not leave out"
}

func manifestFiles(tree fleet.Tree, dir string, flat bool, links int) ([]string, error) {
	entries, err := tree.ReadDir(dir)
	if err != nil {
		return nil, fleet.Unreadable(dir, err)
	}
	var files []string
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		info, err := fs.Stat(tree, name) // follows links
		if err != nil {
			return nil, fleet.Unreadable(name, err)
		}
		if !info.IsDir() {
			files = append(files, name)
			continue
		}
		if flat {
			continue
		}
		below := links
		if entry.Type()&fs.ModeSymlink != 0 {
			below++
		}
		if below > maxLinks {
			return nil, fleet.Fault{Reason: fleet.ContentRefused, ActionRequiredBy: fleet.User, File: name, Message: "links to folders lead in a circle"}
		}
		found, err := manifestFiles(tree, name, flat, below)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	return files, nil
}

// readManifestFile reads the manifests of a file. It is foreign, where that is allowed, if it holds documents and none of them
// names a kind or an API version.
func readManifestFile(tree fleet.Tree, file string, mayBeForeign bool) (objects []Object, foreign bool, err error) {
	data, err := tree.ReadFile(file)
	if err != nil {
		return nil, false, fleet.Unreadable(file, err)
	}
	if mayBeForeign && isForeign(string(data)) {
		return nil, true, nil
	}
	read, err := readFile(file, string(data))
	if err != nil {
		return nil, false, err
	}
	objects, err = writeAll(read)
	return objects, false, err
}

func isForeign(text string) bool {
	documents, err := fleet.ReadYAML(text)
	for _, y := range documents {
		var head map[string]json.RawMessage
		if json.Unmarshal(y.JSON, &head) == nil && (head["kind"] != nil || head["apiVersion"] != nil) {
			return false
		}
	}
	return err == nil && len(documents) > 0
}
