package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"
)

// Tree is a read-only file tree whose files and folders have hashes. It must be safe for concurrent use.
type Tree interface {
	fs.ReadDirFS
	fs.ReadFileFS
	// Hash identifies the content of a file or folder, below and including name: equal hashes mean equal content, names
	// and modes. A missing name is fs.ErrNotExist.
	Hash(name string) (string, error)
}

// Snapshot is one commit of a repository as a Tree that is rooted at the fleet's path.
type Snapshot struct {
	// Repository is namespace/name of the FleetRepository, or how a person named the place offline.
	Repository string
	// Revision is the full commit, or "worktree" for files that are not committed.
	Revision string
	// Tree holds the files.
	Tree Tree
}

// ShortRevision is the first seven characters of a commit, as Git prints them.
func ShortRevision(revision string) string {
	if len(revision) > 7 && revision != "worktree" {
		return revision[:7]
	}
	return revision
}

// TreeOf makes a Tree of any file system by hashing what is read. It suits working trees and tests; a commit's own
// hashes are cheaper. What Hash says stays as it was at first, for a plan asks for each cluster again, and what it read is kept for
// the first who reads it after that.
func TreeOf(files fs.FS) Tree { return &plainTree{FS: files} }

type plainTree struct {
	fs.FS
	hashes sync.Map // by name
	read   sync.Map // contents of files, by name
	size   atomic.Int64
}

// maxRead is how many bytes of files are kept at a time.
const maxRead = 32 << 20

func (t *plainTree) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(t.FS, name)
	return entries, plainLink(name, err)
}

func (t *plainTree) ReadFile(name string) ([]byte, error) {
	if data, ok := t.read.LoadAndDelete(name); ok {
		t.size.Add(-int64(len(data.([]byte))))
		return data.([]byte), nil
	}
	data, err := fs.ReadFile(t.FS, name)
	return data, plainLink(name, err)
}

// plainLink says of a link that leads out of the folder what it is. os.Root has no error for it that could be compared.
func plainLink(name string, err error) error {
	if err == nil || !strings.HasSuffix(err.Error(), "path escapes from parent") {
		return err
	}
	return Reject(ContentRefused, fmt.Errorf("%s is a link, or below one, that leads out of the repository, as every absolute one does: make it relative, to a file inside", name))
}

func (t *plainTree) Hash(name string) (string, error) {
	if known, ok := t.hashes.Load(name); ok {
		return known.(string), nil
	}
	hash, err := t.hash(name, 0)
	if err == nil {
		t.hashes.Store(name, hash)
	}
	return hash, err
}

// maxDepth ends a circle of links.
const maxDepth = 100

func (t *plainTree) hash(name string, depth int) (string, error) {
	if depth > maxDepth {
		return "", Reject(ContentRefused, fmt.Errorf("%s is nested more than %d folders deep: is there a circle of links?", name, maxDepth))
	}
	info, err := fs.Stat(t.FS, name)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if !info.IsDir() {
		data, err := fs.ReadFile(t.FS, name)
		if err != nil {
			return "", err
		}
		if t.size.Add(int64(len(data))) > maxRead {
			t.size.Add(-int64(len(data)))
		} else if earlier, ok := t.read.Swap(name, data); ok {
			t.size.Add(-int64(len(earlier.([]byte))))
		}
		h.Write(data)
		return hex.EncodeToString(h.Sum(nil)), nil
	}
	entries, err := fs.ReadDir(t.FS, name)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if entry.Name() == ".git" {
			continue
		}
		sum, err := t.hash(path.Join(name, entry.Name()), depth+1)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a dangling link: whoever reads it gets the fault
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %s %v\n", sum, entry.Name(), entry.IsDir())
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
