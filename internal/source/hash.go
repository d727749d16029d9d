package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Hash implements fleet.Tree. It is Git's hash of the object: of a folder, which covers the modes and names of all in it, or of a
// file, followed by "+x" when it is executable. A link has the hash of its target.
//
// A folder with links in it is the exception: Git's hash covers the paths of their targets and not the content, so the content is
// hashed too. Whether a folder has links is cached by its hash, so that the cost follows the change.
func (t *tree) Hash(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: "hash", Path: name, Err: fs.ErrInvalid}
	}
	e, real, err := t.find("hash", name, path.Join(t.base, name), true)
	if err != nil {
		return "", err
	}
	sum, err := t.hashOf(e, real, map[string]string{})
	if err != nil {
		return "", &fs.PathError{Op: "hash", Path: name, Err: err}
	}
	return sum, nil
}

// hashOf hashes an entry by its path without links. known has the paths that were hashed on the way, so that links in a circle
// end and a folder with many links to it is hashed once.
func (t *tree) hashOf(e entry, real string, known map[string]string) (string, error) {
	if sum, ok := known[real]; ok {
		return sum, nil
	}
	if !e.isDir() {
		if e.mode == modeExecutable {
			return e.hash.String() + "+x", nil
		}
		return e.hash.String(), nil
	}
	links, err := t.links(e.hash)
	if err != nil || len(links) == 0 {
		return e.hash.String(), err
	}
	known[real] = "circle"
	h := sha256.New()
	fmt.Fprintln(h, e.hash)
	for _, link := range links {
		sum, err := t.hashLink(real, link, known)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, link, sum)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	known[real] = sum
	return sum, nil
}

// hashLink hashes the target of a link in a folder. Inside the folder that is the path, since the folder's own hash covers the
// content; a link without a target, or out of the repository, is hashed as such.
func (t *tree) hashLink(folder, link string, known map[string]string) (string, error) {
	target, real, err := t.find("hash", link, path.Join(folder, link), true)
	var bad *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "missing", nil
	case errors.As(err, &bad) && isRefused(bad.Err):
		return "refused", nil
	case err != nil:
		return "", err
	case folder == "." || strings.HasPrefix(real+"/", folder+"/"):
		return "at " + strings.TrimPrefix(real, folder+"/"), nil
	}
	return t.hashOf(target, real, known)
}

// links are the paths of all links in a folder and below it, sorted.
func (t *tree) links(h plumbing.Hash) ([]string, error) {
	if v, ok := t.cache.get(kindLinks, h); ok {
		return v.([]string), nil
	}
	list, err := t.entries(h)
	if err != nil {
		return nil, err
	}
	var links []string
	size := 0
	for _, e := range list {
		switch {
		case e.isLink():
			links = append(links, e.name)
		case e.isDir():
			below, err := t.links(e.hash)
			if err != nil {
				return nil, err
			}
			for _, link := range below {
				links = append(links, path.Join(e.name, link))
			}
		}
	}
	for _, link := range links {
		size += len(link) + 16
	}
	t.cache.put(kindLinks, h, links, size)
	return links, nil
}
