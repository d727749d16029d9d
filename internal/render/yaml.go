package render

import (
	"encoding/json"
	"io/fs"
	"path"
	"slices"

	"github.com/muster-io/muster/internal/fleet"
)

// manifestExtensions are the files of a folder that are manifests.
var manifestExtensions = []string{".yaml", ".yml", ".json"}

// readManifests reads plain manifests: one file, or the files of a folder and of those below it, sorted. Files of a folder without
// a manifest, such as another tool's fleet.yaml or values.yaml, are skipped.
func readManifests(tree fleet.Tree, name string) (objects []Object, skipped []string, err error) {
	info, err := fs.Stat(tree, name)
	if err != nil {
		return nil, nil, unreadable(name, err)
	}
	if !info.IsDir() {
		objects, _, err = readManifestFile(tree, name, false)
		return objects, nil, err
	}
	files, err := manifestFiles(tree, name, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		found, foreign, err := readManifestFile(tree, file, true)
		if err != nil {
			return nil, nil, err
		}
		if foreign {
			skipped = append(skipped, file)
		}
		objects = append(objects, found...)
	}
	if len(files) == len(skipped) {
		return nil, nil, fleet.Fault{Reason: fleet.ContentMissing, ActionRequiredBy: fleet.User, File: name,
			Message: "the folder holds neither a chart, nor an overlay, nor manifests (*.yaml, *.yml, *.json)"}
	}
	return objects, skipped, nil
}

func manifestFiles(tree fleet.Tree, dir string, links int) ([]string, error) {
	entries, err := tree.ReadDir(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	var files []string
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		info, err := fs.Stat(tree, name) // follows links
		if err != nil {
			return nil, unreadable(name, err)
		}
		if !info.IsDir() {
			if slices.Contains(manifestExtensions, path.Ext(name)) {
				files = append(files, name)
			}
			continue
		}
		below := links
		if entry.Type()&fs.ModeSymlink != 0 {
			below++
		}
		if below > maxLinks {
			return nil, fleet.Fault{Reason: fleet.ContentRefused, ActionRequiredBy: fleet.User, File: name, Message: "links to folders lead in a circle"}
		}
		found, err := manifestFiles(tree, name, below)
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
		return nil, false, unreadable(file, err)
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
