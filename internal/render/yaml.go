package render

import (
	"io/fs"
	"path"
	"slices"

	"github.com/muster-io/muster/internal/fleet"
)

// manifestExtensions are the files of a folder that are manifests.
var manifestExtensions = []string{".yaml", ".yml", ".json"}

// readManifests reads plain manifests: one file, or the files of a folder and of those below it, sorted.
func readManifests(tree fleet.Tree, name string) ([]Object, error) {
	info, err := fs.Stat(tree, name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	if !info.IsDir() {
		return readManifestFile(tree, name)
	}
	files, err := manifestFiles(tree, name, 0)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fleet.Fault{Reason: fleet.ContentMissing, ActionRequiredBy: fleet.User, File: name,
			Message: "the folder holds neither a chart, nor an overlay, nor manifests (*.yaml, *.yml, *.json)"}
	}
	var objects []Object
	for _, file := range files {
		found, err := readManifestFile(tree, file)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	return objects, nil
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

func readManifestFile(tree fleet.Tree, file string) ([]Object, error) {
	data, err := tree.ReadFile(file)
	if err != nil {
		return nil, unreadable(file, err)
	}
	objects, err := readFile(file, string(data))
	if err != nil {
		return nil, err
	}
	return writeAll(objects)
}
