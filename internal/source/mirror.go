package source

import (
	"container/heap"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	gitcache "github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// The refs of a mirror. The remote's refs are not copied under their own names: nobody works in a mirror.
const (
	refsFetched   = "refs/muster/fetched/"    // a ref of the remote, as it was fetched last
	refsFetchedBy = "refs/muster/fetched-by/" // the commit that a fleet repository fetched last
	refsDelivered = "refs/muster/delivered/"  // the commit that a fleet repository delivered last
	refsKept      = "refs/muster/kept/"       // what a fleet repository had delivered when the remote rewrote its history
)

// mirror is the bare repository that holds what was fetched from one address.
type mirror struct {
	dir      string
	packs    *packs
	fetching chan struct{} // a lock with one place, held during a fetch
	refs     sync.Mutex
}

// createMirror makes the folder of a mirror unless it exists. HEAD is written last: without it the folder is not a repository yet.
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
		{"HEAD", "ref: refs/heads/main\n"},
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
	return &mirror{dir: dir, packs: p, fetching: make(chan struct{}, 1)}, nil
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

// keptBy are the refs of the commits that an owner has pinned and that were rewritten since, the newest commit first.
func (m *mirror) keptBy(owner string) ([]*plumbing.Reference, error) {
	below, err := ownersRef(refsKept, owner)
	if err != nil {
		return nil, err
	}
	m.refs.Lock()
	refs, err := dotgit.New(osfs.New(m.dir)).Refs()
	m.refs.Unlock()
	if err != nil {
		return nil, err
	}
	when := map[plumbing.Hash]time.Time{}
	kept := slices.DeleteFunc(refs, func(ref *plumbing.Reference) bool {
		c, err := commit(m.packs, ref.Hash())
		if err != nil || !strings.HasPrefix(string(ref.Name()), string(below)+"/") {
			return true
		}
		when[ref.Hash()] = commitTime(c)
		return false
	})
	slices.SortFunc(kept, func(a, b *plumbing.Reference) int { return when[b.Hash()].Compare(when[a.Hash()]) })
	return kept, nil
}

// maxKept is how many rewritten commits of an owner are kept.
const maxKept = 20

// keepRewritten keeps the commit that a ref of an owner names, unless the next one descends from it.
func (m *mirror) keepRewritten(owner string, name plumbing.ReferenceName, next plumbing.Hash) error {
	old, err := m.ref(name)
	if err != nil || old.IsZero() {
		return err
	}
	if descends, err := isAncestor(m.packs, old, next); err != nil || descends {
		return err
	}
	below, err := ownersRef(refsKept, owner)
	if err != nil {
		return err
	}
	if err := m.setRef(below+"/"+plumbing.ReferenceName(old.String()), old); err != nil {
		return err
	}
	kept, err := m.keptBy(owner)
	for _, ref := range kept[min(len(kept), maxKept):] {
		err = errors.Join(err, m.removeRef(ref.Name()))
	}
	return err
}

// headsOf are the commits that an owner has fetched or pinned, and in whose history others are.
func (m *mirror) headsOf(owner string) ([]plumbing.Hash, error) {
	var heads []plumbing.Hash
	for _, refOf := range []func(string) (plumbing.ReferenceName, error){deliveredRef, fetchedByRef} {
		name, err := refOf(owner)
		if err != nil {
			return nil, err
		}
		head, err := m.ref(name)
		if err != nil {
			return nil, err
		}
		if !head.IsZero() {
			heads = append(heads, head)
		}
	}
	kept, err := m.keptBy(owner)
	for _, ref := range kept {
		heads = append(heads, ref.Hash())
	}
	return heads, err
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

// recordFetch records that an owner has fetched a commit.
func (m *mirror) recordFetch(owner, revision string) error {
	name, err := fetchedByRef(owner)
	if err != nil {
		return err
	}
	return m.setRef(name, plumbing.NewHash(revision))
}

func fetchedByRef(owner string) (plumbing.ReferenceName, error) {
	return ownersRef(refsFetchedBy, owner)
}
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

// commit reads a commit, or the commit of an annotated tag.
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

// byTime is a heap of commits, the youngest first.
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

// isAncestor says whether old is head or comes before it. The history that a shallow remote lacks is not searched.
func isAncestor(from objects, old, head plumbing.Hash) (bool, error) {
	first, err := commit(from, head)
	if err != nil {
		return false, err
	}
	queue, visited := byTime{first}, map[plumbing.Hash]bool{head: true}
	for len(queue) > 0 {
		c := heap.Pop(&queue).(*object.Commit)
		if c.Hash == old {
			return true, nil
		}
		for _, parent := range c.ParentHashes {
			if visited[parent] {
				continue
			}
			visited[parent] = true
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
