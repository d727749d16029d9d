package source

import (
	"container/heap"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	gitcache "github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// The refs of a mirror. Those of the remote are not copied under their names: a mirror is nobody's working repository.
const (
	refsFetched   = "refs/muster/fetched/"   // what was last seen of a remote's ref
	refsOpened    = "refs/muster/opened/"    // what a fleet repository fetched last
	refsDelivered = "refs/muster/delivered/" // what a fleet repository delivered last
)

// mirror is the bare repository that holds what was fetched from one address.
type mirror struct {
	dir   string
	packs *packs
	turn  chan struct{} // held by the one that fetches
	refs  sync.Mutex
}

// createMirror makes the folder of a mirror that is not there yet, complete or not at all.
func createMirror(dir, shown string) error {
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		return nil
	}
	for _, sub := range []string{"objects/pack", "objects/info", "refs/heads"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	files := []struct{ name, content string }{
		{"config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n"},
		{"description", shown + "\n"},
		{"HEAD", "ref: refs/heads/main\n"}, // last: it makes the folder a repository
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(dir, f.name), []byte(f.content), 0o600); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(dir))
}

func openMirror(dir string, bases gitcache.Object) (*mirror, error) {
	p, err := openPacks(filepath.Join(dir, "objects", "pack"), bases)
	if err != nil {
		return nil, err
	}
	return &mirror{dir: dir, packs: p, turn: make(chan struct{}, 1)}, nil
}

// ref is the value of a ref, or the zero hash.
func (m *mirror) ref(name plumbing.ReferenceName) (plumbing.Hash, error) {
	m.refs.Lock()
	defer m.refs.Unlock()
	ref, err := dotgit.New(osfs.New(m.dir)).Ref(name)
	if errors.Is(err, plumbing.ErrReferenceNotFound) || errors.Is(err, os.ErrNotExist) {
		return plumbing.ZeroHash, nil
	}
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return ref.Hash(), nil
}

func (m *mirror) setRef(name plumbing.ReferenceName, h plumbing.Hash) error {
	if old, err := m.ref(name); err == nil && old == h {
		return nil
	}
	m.refs.Lock()
	defer m.refs.Unlock()
	file := filepath.Join(m.dir, filepath.FromSlash(string(name)))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return writeFile(file, []byte(h.String()+"\n"), 0o600)
}

func (m *mirror) removeRef(name plumbing.ReferenceName) error {
	m.refs.Lock()
	defer m.refs.Unlock()
	return dotgit.New(osfs.New(m.dir)).RemoveRef(name)
}

// tips are the commits that the mirror's refs name.
func (m *mirror) tips() ([]plumbing.Hash, error) {
	m.refs.Lock()
	defer m.refs.Unlock()
	refs, err := dotgit.New(osfs.New(m.dir)).Refs()
	if err != nil {
		return nil, err
	}
	var tips []plumbing.Hash
	for _, ref := range refs {
		if ref.Type() == plumbing.HashReference && m.packs.has(ref.Hash()) {
			tips = append(tips, ref.Hash())
		}
	}
	return tips, nil
}

// open notes that an owner has fetched a commit.
func (m *mirror) open(owner, revision string) error {
	name, err := openedRef(owner)
	if err != nil {
		return err
	}
	return m.setRef(name, plumbing.NewHash(revision))
}

func openedRef(owner string) (plumbing.ReferenceName, error) { return ownersRef(refsOpened, owner) }
func deliveredRef(owner string) (plumbing.ReferenceName, error) {
	return ownersRef(refsDelivered, owner)
}

// ownersRef is a ref of an owner. Each part of the owner is escaped where Git's rules for names are narrower.
func ownersRef(below, owner string) (plumbing.ReferenceName, error) {
	name := plumbing.ReferenceName(below + strings.NewReplacer("%", "%25", ".", "%2E").Replace(owner))
	if owner == "" || name.Validate() != nil {
		return "", fmt.Errorf("%q cannot name the owner of a commit", owner)
	}
	return name, nil
}

// commit reads a commit; annotated tags are followed to theirs.
func commit(from objects, h plumbing.Hash) (*object.Commit, error) {
	for range 10 {
		kind, data, err := from.read(h)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", h, err)
		}
		encoded := &plumbing.MemoryObject{}
		encoded.SetType(kind)
		_, _ = encoded.Write(data) // into memory
		switch kind {
		case plumbing.CommitObject:
			return object.DecodeCommit(nil, encoded)
		case plumbing.TagObject:
			tag, err := object.DecodeTag(nil, encoded)
			if err != nil {
				return nil, err
			}
			h = tag.Target
		default:
			return nil, fmt.Errorf("%s is a %s and not a commit", h, kind)
		}
	}
	return nil, fmt.Errorf("%s is a tag of a tag of a tag, and so on", h)
}

// byTime walks commits, youngest first.
type byTime []*object.Commit

func (q byTime) Len() int           { return len(q) }
func (q byTime) Less(i, j int) bool { return q[i].Committer.When.After(q[j].Committer.When) }
func (q byTime) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *byTime) Push(c any)        { *q = append(*q, c.(*object.Commit)) }
func (q *byTime) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// isAncestor says whether old is head or comes before it. History that a shallow remote does not have counts as none.
func isAncestor(from objects, old, head plumbing.Hash) (bool, error) {
	first, err := commit(from, head)
	if err != nil {
		return false, err
	}
	queue, seen := byTime{first}, map[plumbing.Hash]bool{head: true}
	for len(queue) > 0 {
		c := heap.Pop(&queue).(*object.Commit)
		if c.Hash == old {
			return true, nil
		}
		for _, parent := range c.ParentHashes {
			if seen[parent] {
				continue
			}
			seen[parent] = true
			p, err := commit(from, parent)
			if errors.Is(err, plumbing.ErrObjectNotFound) {
				continue
			}
			if err != nil {
				return false, err
			}
			heap.Push(&queue, p)
		}
	}
	return false, nil
}

// commitTime is when a commit was made; files have no time of their own in Git.
func commitTime(c *object.Commit) time.Time { return c.Committer.When.UTC() }
