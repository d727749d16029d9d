package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
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
	refs []string // short names of its branches and tags
	// shallow is true for a clone without all of the history.
	shallow bool
	urls    []string // of its remotes, and of itself
}

// openRepository opens the Git repository that dir is in. Path is where in it the fleet is: when empty, the nearest folder
// above dir with a muster.yaml, else the root.
func openRepository(dir, path string) (*repository, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("there is no folder %s: name one of the fleet's Git repository", dir)
	}
	local, err := source.OpenLocal(dir)
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return nil, fmt.Errorf("%s is in no Git repository: go to a clone of the fleet's repository, or name one (diff: --repo); muster validate needs no Git", dir)
	}
	if err != nil {
		return nil, err
	}
	r := &repository{dir: dir, git: local, path: filepath.ToSlash(filepath.Clean(path))}
	opened, err := git.PlainOpenWithOptions(dir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err == nil {
		if tree, err := opened.Worktree(); err == nil {
			r.root = tree.Filesystem.Root()
		}
		r.urls, r.refs = urlsOf(opened), refsOf(opened)
		if shallow, err := opened.Storer.Shallow(); err == nil {
			r.shallow = len(shallow) > 0
		}
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

func refsOf(r *git.Repository) []string {
	var names []string
	refs, err := r.References()
	if err != nil {
		return nil
	}
	_ = refs.ForEach(func(ref *plumbing.Reference) error { // they only help with a message
		if n := ref.Name(); n.IsBranch() || n.IsTag() || n.IsRemote() {
			names = append(names, n.Short())
		}
		return nil
	})
	return names
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
	for folder := dir; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, fleet.ConfigurationFile)); err == nil {
			return folder
		}
		if folder == top || folder == filepath.Dir(folder) {
			return top
		}
	}
}

// commit resolves what git rev-parse takes.
func (r *repository) commit(revision string) (string, error) {
	full, err := r.git.Resolve(revision)
	if err != nil {
		return "", fmt.Errorf("%q is no commit, branch or tag of %s: %s", revision, r.dir, r.whereIs(revision))
	}
	return full, nil
}

// whereIs is what to do about a revision that is not found.
func (r *repository) whereIs(revision string) string {
	switch near := overview.Nearest(revision, r.refs); {
	case revision == "HEAD":
		return "nothing is committed yet"
	case len(near) > 0:
		return "did you mean " + strings.Join(near, ", ") + "?"
	case r.shallow:
		return unshallow
	}
	return "get it with git fetch, or correct the name"
}

// unshallow is what to do about history that a clone does not have.
const unshallow = "this clone is shallow and may not reach so far: git fetch --unshallow, or in CI a checkout of the whole history"

// snapshot opens a full commit, or the working tree.
func (r *repository) snapshot(revision string) (fleet.Snapshot, error) {
	if revision != worktree {
		s, err := r.git.Snapshot(revision, r.path)
		if err != nil {
			return s, r.noFolder(revision, err)
		}
		s.Repository = fmt.Sprintf("%s at %s", filepath.Join(r.dir, filepath.FromSlash(r.path)), fleet.ShortRevision(revision))
		return s, nil
	}
	if r.root == "" {
		return fleet.Snapshot{}, fmt.Errorf("%s is a bare repository without files: name two commits", r.dir)
	}
	return openFolder(filepath.Join(r.root, filepath.FromSlash(r.path)))
}

// noFolder is the error of a commit that cannot be opened at the path, and where in it a fleet is.
func (r *repository) noFolder(revision string, err error) error {
	err = fmt.Errorf("open %s: %w", fleet.ShortRevision(revision), err)
	if root, failed := r.git.Snapshot(revision, "."); failed == nil {
		return fmt.Errorf("%w: %s", err, folderHint(root.Tree))
	}
	return err
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
	return fleet.Snapshot{Repository: dir, Revision: worktree, Tree: fleet.TreeOf(root.FS())}, nil
}

// definitions are those of a revision.
func (r *repository) definitions(ctx context.Context, revision string) (*fleet.Definitions, error) {
	s, err := r.snapshot(revision)
	if err != nil {
		return nil, err
	}
	defs, err := fleet.Load(ctx, s.Tree)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", fleet.ShortRevision(revision), err)
	}
	return defs, nil
}

// comparison are the two revisions that diff compares, and the one whose policies hold: where a change left the base, its author
// chose.
type comparison struct{ base, head, rules string }

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
	c.head, c.rules = head, c.base
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
	since, err := r.git.MergeBase(c.base, tip)
	switch {
	case err != nil && r.shallow:
		return c, fmt.Errorf("%s and %s have no commit in common here: %s", base, head, unshallow)
	case err != nil:
		return c, err
	}
	c.base = since
	return c, nil
}
