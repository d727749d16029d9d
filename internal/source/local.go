package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	gitcache "github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/muster-io/muster/internal/fleet"
)

// Local is a repository on this disk that belongs to whoever runs the program: for the command line, which reads
// commits of the folder that it is called in. It is safe for concurrent use.
type Local struct {
	mu    sync.Mutex
	repo  *git.Repository
	cache *cache
}

// OpenLocal opens the repository that dir is in.
func OpenLocal(dir string) (*Local, error) {
	repo, err := git.PlainOpenWithOptions(dir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		repo, err = git.PlainOpen(dir) // a bare one
	}
	if err != nil {
		return nil, fmt.Errorf("open the repository of %s: %w", dir, plainOpening(err))
	}
	if disk, ok := repo.Storer.(*filesystem.Storage); ok { // a clone that was made with --shared borrows objects from another folder
		repo.Storer = filesystem.NewStorageWithOptions(disk.Filesystem(), gitcache.NewObjectLRUDefault(), filesystem.Options{AlternatesFS: osfs.New("/")})
	}
	return &Local{repo: repo, cache: newCache(cacheBytes)}, nil
}

// errSHA256 is a repository in Git's newer format.
var errSHA256 = errors.New("names its objects by SHA-256, which is not supported: serve it with SHA-1 names")

// plainOpening says what it is that Git's library does not know.
func plainOpening(err error) error {
	if errors.Is(err, git.ErrUnknownExtension) && strings.Contains(err.Error(), "objectformat") {
		return errSHA256
	}
	return err
}

// Resolve finds the full commit of what git rev-parse takes: a branch, a tag, HEAD~1, an abbreviated commit.
func (l *Local) Resolve(revision string) (string, error) {
	l.mu.Lock()
	h, err := l.repo.ResolveRevision(plumbing.Revision(revision))
	l.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("resolve %q: %w", revision, err)
	}
	c, err := commit(l, *h)
	if err != nil {
		return "", fmt.Errorf("resolve %q: %w", revision, err)
	}
	return c.Hash.String(), nil
}

// MergeBase is the newest commit that both full revisions contain: what main...branch compares the branch with.
func (l *Local) MergeBase(a, b string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left, err := l.repo.CommitObject(plumbing.NewHash(a))
	if err != nil {
		return "", fmt.Errorf("read commit %s: %w", a, err)
	}
	right, err := l.repo.CommitObject(plumbing.NewHash(b))
	if err != nil {
		return "", fmt.Errorf("read commit %s: %w", b, err)
	}
	bases, err := left.MergeBase(right)
	if err != nil {
		return "", fmt.Errorf("find what %s and %s have in common: %w", a, b, err)
	}
	if len(bases) == 0 {
		return "", fmt.Errorf("commits %s and %s have no history in common", a, b)
	}
	return bases[0].Hash.String(), nil
}

// Snapshot opens a full commit, rooted at dir as Store.Snapshot does.
func (l *Local) Snapshot(revision, dir string) (fleet.Snapshot, error) {
	return snapshot(l, l.cache, DefaultMaxFile, plumbing.NewHash(revision), dir)
}

func (l *Local) read(h plumbing.Hash) (plumbing.ObjectType, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	object, err := l.repo.Storer.EncodedObject(plumbing.AnyObject, h)
	if err != nil {
		return 0, nil, err
	}
	return content(object)
}

func (l *Local) size(h plumbing.Hash) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, err := l.repo.Storer.EncodedObjectSize(h)
	if !errors.Is(err, plumbing.ErrObjectNotFound) {
		return size, err
	}
	object, err := l.repo.Storer.EncodedObject(plumbing.AnyObject, h) // unlike the size, it is looked for in alternates
	if err != nil {
		return 0, err
	}
	return object.Size(), nil
}

// remoteFolder is a remote under file://. Objects are copied from it one by one: go-git would run the program git-upload-pack,
// which a hub's image does not have.
type remoteFolder struct{ *Local }

func openRemoteFolder(s *Store, path string) (conn, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if real == "" {
		real = filepath.Clean(path)
	}
	if !s.mayRead(real) {
		return nil, errNotAllowed
	}
	repo, err := git.PlainOpenWithOptions(real, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		return nil, plainOpening(err)
	}
	return remoteFolder{&Local{repo: repo}}, nil
}

// errBorrows is a repository under file:// whose objects lie in another one: that one may be out of bounds.
var errBorrows = errors.New("borrows objects of another repository (objects/info/alternates), which are not read: " +
	"run `git repack -a -d` there and delete that file")

// lacking explains an object that is not there.
func (r remoteFolder) lacking(err error) error {
	disk, ok := r.repo.Storer.(*filesystem.Storage)
	if !ok || !errors.Is(err, plumbing.ErrObjectNotFound) {
		return err
	}
	if _, statErr := disk.Filesystem().Stat("objects/info/alternates"); statErr == nil {
		return errBorrows
	}
	return err
}

// errNotAllowed is a file:// repository outside of Store.Local.
var errNotAllowed = errors.New("not below a folder that this hub reads repositories from")

func (s *Store) mayRead(path string) bool {
	return slices.ContainsFunc(s.Local, func(root string) bool {
		if real, err := filepath.EvalSymlinks(root); err == nil {
			root = real
		}
		relative, err := filepath.Rel(root, path)
		return err == nil && filepath.IsLocal(relative)
	})
}

func (r remoteFolder) close() {}

func (r remoteFolder) refs(context.Context) (offer, error) {
	o := offer{named: map[plumbing.ReferenceName]plumbing.Hash{}, anyCommit: true}
	refs, err := r.repo.References()
	if err != nil {
		return o, err
	}
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() == plumbing.HashReference && strings.HasPrefix(string(ref.Name()), "refs/") {
			o.named[ref.Name()] = ref.Hash()
		}
		return nil
	})
	if err != nil {
		return o, err
	}
	head, err := storer.ResolveReference(r.repo.Storer, plumbing.HEAD)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	o.head = head.Hash()
	return o, nil
}

// fetch copies the objects that the mirror lacks. A pack is added in one step: an object that the mirror has is there with all that
// it refers to, and is not walked again, so that the cost follows the change.
func (r remoteFolder) fetch(ctx context.Context, m *mirror, wants []wanted, limit int64) (int64, error) {
	shallow, err := r.repo.Storer.Shallow()
	if err != nil {
		return 0, err
	}
	var missing []plumbing.Hash
	var bytes int64
	listed := map[plumbing.Hash]bool{}
	var queue []plumbing.Hash
	for _, want := range wants {
		queue = append(queue, want.object)
	}
	isWanted := slices.Clone(queue)
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		h := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if listed[h] || m.packs.has(h) {
			continue
		}
		listed[h] = true
		size, err := r.size(h)
		err = r.lacking(err)
		if errors.Is(err, plumbing.ErrObjectNotFound) && slices.Contains(isWanted, h) {
			continue // check returns the error
		}
		if err != nil {
			return 0, fmt.Errorf("read object %s: %w", h, err)
		}
		if bytes += size; bytes > limit {
			return bytes, errTooLarge
		}
		missing = append(missing, h)
		next, err := r.needs(h, slices.Contains(shallow, h))
		if err != nil {
			return 0, err
		}
		for _, n := range next {
			if n.leaf && !listed[n.hash] && !m.packs.has(n.hash) {
				listed[n.hash] = true
				missing = append(missing, n.hash)
			} else if !n.leaf {
				queue = append(queue, n.hash)
			}
		}
	}
	if len(missing) == 0 {
		return 0, nil
	}
	return m.packs.write(missing, r)
}

// need is an object that another refers to; a leaf refers to nothing.
type need struct {
	hash plumbing.Hash
	leaf bool
}

// needs are the objects that one refers to. The parents of a shallow commit are missing.
func (r remoteFolder) needs(h plumbing.Hash, shallow bool) ([]need, error) {
	kind, data, err := r.read(h)
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", h, r.lacking(err))
	}
	switch kind {
	case plumbing.TreeObject:
		return treeNeeds(data)
	case plumbing.CommitObject, plumbing.TagObject:
		return headerNeeds(data, shallow), nil
	}
	return nil, nil
}

func treeNeeds(data []byte) ([]need, error) {
	entries, err := parseTree(data)
	if err != nil {
		return nil, err
	}
	var needs []need
	for _, e := range entries {
		if !e.isSubmodule() {
			needs = append(needs, need{e.hash, !e.isDir()})
		}
	}
	return needs, nil
}

// headerNeeds reads the first lines of a commit or a tag.
func headerNeeds(data []byte, shallow bool) []need {
	var needs []need
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if key != "tree" && key != "parent" && key != "object" {
			break
		}
		if key != "parent" || !shallow {
			needs = append(needs, need{hash: plumbing.NewHash(value)})
		}
	}
	return needs
}
