package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Overlaid is a tree with other trees in it, by the folder that each is shown as. The folders above those are there even where
// the tree has none. What the tree has below such a folder is hidden.
func Overlaid(tree Tree, trees map[string]Tree) Tree {
	o := &overlaid{tree: tree, mounted: map[string]Tree{}}
	for name, t := range trees {
		o.mounted[name] = Mounted(name, t)
	}
	return o
}

type overlaid struct {
	tree    Tree
	mounted map[string]Tree
}

// of is the tree that has a name.
func (o *overlaid) of(name string) Tree {
	for at, tree := range o.mounted {
		if name == at || strings.HasPrefix(name, at+"/") {
			return tree
		}
	}
	return o.tree
}

// below are the names of the trees at or below a folder, sorted.
func (o *overlaid) below(dir string) []string {
	names := slices.Sorted(maps.Keys(o.mounted))
	return slices.DeleteFunc(names, func(name string) bool { return dir != "." && name != dir && !strings.HasPrefix(name, dir+"/") })
}

func (o *overlaid) Open(name string) (fs.File, error) { return o.of(name).Open(name) }

func (o *overlaid) ReadFile(name string) ([]byte, error) { return o.of(name).ReadFile(name) }

func (o *overlaid) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(o.of(name), name)
	if errors.Is(err, fs.ErrNotExist) && len(o.below(name)) > 0 {
		return folder(path.Base(name)), nil
	}
	return info, err
}

func (o *overlaid) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := o.of(name).ReadDir(name)
	below := o.below(name)
	if len(below) == 0 || o.mounted[name] != nil || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return entries, err
	}
	all := map[string]fs.DirEntry{}
	for _, e := range entries {
		all[e.Name()] = e
	}
	for _, place := range below {
		rest := place
		if name != "." {
			rest = strings.TrimPrefix(place, name+"/")
		}
		first, _, deeper := strings.Cut(rest, "/")
		all[first] = folder(first)
		if deeper {
			continue
		}
		info, err := fs.Stat(o.mounted[place], place)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			all[first] = fileEntry{info, first}
		}
	}
	list := make([]fs.DirEntry, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[key])
	}
	return list, nil
}

// Hash covers what is shown.
func (o *overlaid) Hash(name string) (string, error) {
	below := o.below(name)
	if len(below) == 0 || o.mounted[name] != nil {
		return o.of(name).Hash(name)
	}
	hash, err := o.tree.Hash(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", hash)
	for _, place := range below {
		hash, err := o.mounted[place].Hash(place)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q %q\n", place, hash)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// fileEntry is a file under the name that it is shown as.
type fileEntry struct {
	fs.FileInfo
	name string
}

func (f fileEntry) Name() string               { return f.name }
func (f fileEntry) Type() fs.FileMode          { return f.Mode().Type() }
func (f fileEntry) Info() (fs.FileInfo, error) { return f, nil }

// folder is a folder that is there because something is in it.
type folder string

func (f folder) Name() string               { return string(f) }
func (f folder) IsDir() bool                { return true }
func (f folder) Type() fs.FileMode          { return fs.ModeDir }
func (f folder) Mode() fs.FileMode          { return fs.ModeDir | 0o755 }
func (f folder) Size() int64                { return 0 }
func (f folder) ModTime() time.Time         { return time.Time{} }
func (f folder) Sys() any                   { return nil }
func (f folder) Info() (fs.FileInfo, error) { return f, nil }

// Sub is the tree below a folder of a tree. Links in it that lead out of it are followed as in the whole.
func Sub(tree Tree, dir string) Tree {
	if dir == "." {
		return tree
	}
	return sub{tree, dir}
}

type sub struct {
	tree Tree
	dir  string
}

func (s sub) Open(name string) (fs.File, error)    { return s.tree.Open(path.Join(s.dir, name)) }
func (s sub) ReadFile(name string) ([]byte, error) { return s.tree.ReadFile(path.Join(s.dir, name)) }
func (s sub) ReadDir(name string) ([]fs.DirEntry, error) {
	return s.tree.ReadDir(path.Join(s.dir, name))
}
func (s sub) Stat(name string) (fs.FileInfo, error) { return fs.Stat(s.tree, path.Join(s.dir, name)) }
func (s sub) Hash(name string) (string, error)      { return s.tree.Hash(path.Join(s.dir, name)) }
