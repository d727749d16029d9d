package render

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
	"github.com/muster-io/muster/internal/render/memo"
)

// reading is what one run looked at in the tree, and how each looked: the run depends on nothing else of the tree.
type reading map[string]string

// How something is looked at: whether it is there, or what it and all below it is.
const (
	lookExists  = "e"
	lookContent = "c"
)

// view is the tree and the cluster's APIs as one input has them. It is the host of a run, and notes what the run asks for.
type view struct {
	fleet.Tree
	// beside is the tree that the application's file is in, below BesidePrefix.
	beside fleet.Tree
	apis   *fleet.APIs
	// hashes that are known already.
	hashes map[string]string

	mu       sync.Mutex
	saw      reading
	usesAPIs bool
}

func newView(in Input, s source) *view {
	return &view{Tree: s.tree, beside: in.Tree, apis: in.apis(), hashes: map[string]string{s.path: s.hash}, saw: reading{}}
}

// treeOf gives the tree that a name is in, and the name there.
func (v *view) treeOf(name string) (fleet.Tree, string) {
	if below, ok := strings.CutPrefix(name, engine.BesidePrefix); ok {
		return v.beside, below
	}
	if name+"/" == engine.BesidePrefix {
		return v.beside, "."
	}
	return v.Tree, name
}

// APIs notes that the run depends on them.
func (v *view) APIs() *fleet.APIs {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.usesAPIs = true
	return v.apis
}

// Stat tells whether there is a file or folder.
func (v *view) Stat(name string) (fs.FileInfo, error) {
	v.note(name, lookExists)
	tree, name := v.treeOf(name)
	return fs.Stat(tree, name)
}

// Open is not needed to read.
func (v *view) Open(name string) (fs.File, error) {
	v.note(name, lookContent)
	tree, name := v.treeOf(name)
	return tree.Open(name)
}

// ReadFile reads a file.
func (v *view) ReadFile(name string) ([]byte, error) {
	v.note(name, lookContent)
	tree, name := v.treeOf(name)
	return tree.ReadFile(name)
}

// ReadDir lists a folder.
func (v *view) ReadDir(name string) ([]fs.DirEntry, error) {
	v.note(name, lookContent)
	tree, name := v.treeOf(name)
	return tree.ReadDir(name)
}

// Hash identifies all of a file or folder: what is read below it afterwards is not noted.
func (v *view) Hash(name string) (string, error) {
	v.note(name, lookContent)
	return v.hash(name)
}

func (v *view) hash(name string) (string, error) {
	if hash, ok := v.hashes[name]; ok {
		return hash, nil
	}
	tree, name := v.treeOf(name)
	return tree.Hash(name)
}

// note records a look. Each name is recorded once, the stronger look wins.
func (v *view) note(name, how string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if saw, ok := v.saw[name]; ok && (saw[:1] == how || how == lookExists) || v.covered(name) {
		return
	}
	v.saw[name] = v.look(name, how)
}

// covered: the content of a folder above was looked at. A folder's hash says nothing of what its links lead to, so that only
// what is there by its own name is covered.
func (v *view) covered(name string) bool {
	for above := path.Dir(name); ; above = path.Dir(above) {
		if saw, ok := v.saw[above]; ok && saw[:1] == lookContent {
			return true
		}
		if above == "." || above == "/" || above+"/" == engine.BesidePrefix {
			return false
		}
	}
}

// look gives how a name in the tree looks: the way of looking, then what was seen.
func (v *view) look(name, how string) string {
	if how == lookExists {
		tree, name := v.treeOf(name)
		info, err := fs.Stat(tree, name)
		if err != nil {
			return how + " missing"
		}
		return fmt.Sprintf("%s %v", how, info.IsDir())
	}
	hash, err := v.hash(name)
	if err != nil {
		return how + " missing"
	}
	return how + " " + hash
}

// as tells how a reading looks here.
func (v *view) as(r reading) reading {
	mine := make(reading, len(r))
	for name, saw := range r {
		mine[name] = v.look(name, saw[:1])
	}
	return mine
}

func (r reading) digest() string {
	parts := make([]string, 0, 2*len(r))
	for _, name := range slices.Sorted(maps.Keys(r)) {
		parts = append(parts, name, r[name])
	}
	return memo.Digest(parts...)
}
