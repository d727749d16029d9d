package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/source"
)

// worktree is the revision of files that are not committed.
const worktree = "worktree"

// repository is a fleet repository on this disk.
type repository struct {
	dir  string // that the person named
	path string // of the fleet, relative to root; as Git writes it
	root string // of the working tree; empty for a bare repository
	git  *source.Local
	urls []string // of its remotes, and of itself
}

// openRepository opens the Git repository that dir is in. Path is where in it the fleet is: when empty, the nearest folder
// above dir with a muster.yaml, else the root.
func openRepository(dir, path string) (*repository, error) {
	local, err := source.OpenLocal(dir)
	if err != nil {
		return nil, err
	}
	r := &repository{dir: dir, git: local, path: filepath.ToSlash(filepath.Clean(path))}
	opened, err := git.PlainOpenWithOptions(dir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err == nil {
		if tree, err := opened.Worktree(); err == nil {
			r.root = tree.Filesystem.Root()
		}
		r.urls = urlsOf(opened)
	}
	if absolute, err := filepath.Abs(firstOf(r.root, dir)); err == nil {
		r.urls = append(r.urls, "file://"+filepath.ToSlash(absolute))
	}
	if path == "" {
		r.path = r.fleetPath()
	}
	return r, nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func urlsOf(r *git.Repository) []string {
	var urls []string
	remotes, err := r.Remotes()
	if err != nil {
		return nil
	}
	for _, remote := range remotes {
		urls = append(urls, remote.Config().URLs...)
	}
	return urls
}

// fleetPath looks for muster.yaml from the named folder upwards.
func (r *repository) fleetPath() string {
	dir, err := realPath(r.dir)
	root, err2 := realPath(r.root)
	if r.root == "" || err != nil || err2 != nil {
		return "."
	}
	relative, err := filepath.Rel(root, fleetRoot(dir, root))
	if err != nil || !filepath.IsLocal(relative) {
		return "."
	}
	return filepath.ToSlash(relative)
}

func realPath(dir string) (string, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

// fleetRoot is the nearest folder from dir up to top that holds a muster.yaml, else top.
func fleetRoot(dir, top string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, fleet.ConfigurationFile)); err == nil {
			return at
		}
		if at == top || at == filepath.Dir(at) {
			return top
		}
	}
}

// commit resolves what git rev-parse takes.
func (r *repository) commit(revision string) (string, error) {
	full, err := r.git.Resolve(revision)
	if err != nil {
		return "", fmt.Errorf("%q is no commit, branch or tag of %s: %w", revision, r.dir, err)
	}
	return full, nil
}

// snapshot opens a full commit, or the working tree.
func (r *repository) snapshot(revision string) (fleet.Snapshot, error) {
	if revision != worktree {
		s, err := r.git.Snapshot(revision, r.path)
		if err != nil {
			return s, fmt.Errorf("open %s: %w", fleet.ShortRevision(revision), err)
		}
		return s, nil
	}
	if r.root == "" {
		return fleet.Snapshot{}, fmt.Errorf("%s is a bare repository without files: name two commits", r.dir)
	}
	return openFolder(filepath.Join(r.root, filepath.FromSlash(r.path)))
}

// openFolder is the fleet in a folder, as its files are now. Links do not lead out of it, as on the hub.
func openFolder(dir string) (fleet.Snapshot, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fleet.Snapshot{}, fmt.Errorf("there is no folder %s", dir)
	}
	if err != nil {
		return fleet.Snapshot{}, fmt.Errorf("open the fleet: %w", err)
	}
	return fleet.Snapshot{Revision: worktree, Tree: fleet.TreeOf(root.FS())}, nil
}

// comparison are the two revisions that diff compares.
type comparison struct{ base, head string }

// revisions reads what a person wants compared:
//
//	                 HEAD with the working tree
//	BASE             BASE with the working tree
//	BASE HEAD        BASE with HEAD, as BASE..HEAD
//	BASE...HEAD      what they have in common with HEAD: what a pull request changes
func (r *repository) revisions(args []string) (comparison, error) {
	base, head, sinceFork := "HEAD", worktree, false
	switch {
	case len(args) == 2:
		base, head = args[0], args[1]
	case len(args) == 1 && strings.Contains(args[0], "..."):
		base, head, _ = strings.Cut(args[0], "...")
		sinceFork = true
	case len(args) == 1 && strings.Contains(args[0], ".."):
		base, head, _ = strings.Cut(args[0], "..")
	case len(args) == 1:
		base = args[0]
	}
	base, head = firstOf(base, "HEAD"), firstOf(head, worktree)
	var c comparison
	var err error
	if c.base, err = r.commit(base); err != nil {
		return c, err
	}
	c.head = head
	if head != worktree {
		if c.head, err = r.commit(head); err != nil {
			return c, err
		}
	}
	if !sinceFork {
		return c, nil
	}
	tip := c.head
	if tip == worktree {
		if tip, err = r.commit("HEAD"); err != nil {
			return c, err
		}
	}
	c.base, err = r.git.MergeBase(c.base, tip)
	return c, err
}
