package fleet

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// Mounted shows a tree below a name, and nothing beside it: errors and faults name files as they are seen there.
func Mounted(name string, tree Tree) Tree { return mounted{name, tree} }

type mounted struct {
	mountPoint string
	tree       Tree
}

// inside is a name in the tree that is mounted.
func (m mounted) inside(op, name string) (string, error) {
	if name == m.mountPoint {
		return ".", nil
	}
	if below, ok := strings.CutPrefix(name, m.mountPoint+"/"); ok {
		return below, nil
	}
	return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// outside names in an error what the tree has named.
func (m mounted) outside(name string, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := AsFault(err); ok {
		if f.File != "" {
			f.File = path.Join(m.mountPoint, f.File)
		}
		return f
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		return &fs.PathError{Op: at.Op, Path: name, Err: at.Err}
	}
	return err
}

func (m mounted) Open(name string) (fs.File, error) {
	inside, err := m.inside("open", name)
	if err != nil {
		return nil, err
	}
	file, err := m.tree.Open(inside)
	return file, m.outside(name, err)
}

func (m mounted) Stat(name string) (fs.FileInfo, error) {
	inside, err := m.inside("stat", name)
	if err != nil {
		return nil, err
	}
	info, err := fs.Stat(m.tree, inside)
	return info, m.outside(name, err)
}

func (m mounted) ReadFile(name string) ([]byte, error) {
	inside, err := m.inside("read", name)
	if err != nil {
		return nil, err
	}
	data, err := m.tree.ReadFile(inside)
	return data, m.outside(name, err)
}

func (m mounted) ReadDir(name string) ([]fs.DirEntry, error) {
	inside, err := m.inside("readdir", name)
	if err != nil {
		return nil, err
	}
	entries, err := m.tree.ReadDir(inside)
	return entries, m.outside(name, err)
}

func (m mounted) Hash(name string) (string, error) {
	inside, err := m.inside("hash", name)
	if err != nil {
		return "", err
	}
	hash, err := m.tree.Hash(inside)
	return hash, m.outside(name, err)
}
