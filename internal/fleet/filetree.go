package fleet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"time"
)

// FileTree is a tree that is one file, for Mounted and Overlaid: its name is ".".
func FileTree(data []byte) Tree { return fileTree{data} }

type fileTree struct{ data []byte }

func (t fileTree) Open(name string) (fs.File, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &openBytes{bytes.NewReader(t.data), int64(len(t.data))}, nil
}

func (t fileTree) ReadFile(name string) ([]byte, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return bytes.Clone(t.data), nil
}

func (t fileTree) ReadDir(name string) ([]fs.DirEntry, error) {
	return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("is not a folder")}
}

func (t fileTree) Hash(name string) (string, error) {
	if name != "." {
		return "", &fs.PathError{Op: "hash", Path: name, Err: fs.ErrNotExist}
	}
	sum := sha256.Sum256(t.data)
	return hex.EncodeToString(sum[:]), nil
}

// openBytes is the open file of a fileTree.
type openBytes struct {
	*bytes.Reader
	size int64
}

func (f *openBytes) Stat() (fs.FileInfo, error) { return plainFile(f.size), nil }
func (f *openBytes) Close() error               { return nil }

// plainFile is what is known of a file by its size.
type plainFile int64

func (plainFile) Name() string       { return "." }
func (f plainFile) Size() int64      { return int64(f) }
func (plainFile) Mode() fs.FileMode  { return 0o644 }
func (plainFile) ModTime() time.Time { return time.Time{} }
func (plainFile) IsDir() bool        { return false }
func (plainFile) Sys() any           { return nil }
