package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/config"

	"github.com/muster-io/muster/internal/fleet"
)

// The bounds of what a repository has elsewhere.
const (
	maxSubmodules     = 32
	maxSubmoduleDepth = 4
)

// part is content of a commit that lies elsewhere: a submodule, or a file of Git LFS.
type part struct {
	// Path in the repository.
	Path string `json:"path"`
	// URL and Commit of a submodule.
	URL    string `json:"url,omitempty"`
	Commit string `json:"commit,omitempty"`
	// Content is the file that holds that of Git LFS, in the folder of the remote.
	Content string `json:"content,omitempty"`
}

// gathering is the search for the parts of one commit.
type gathering struct {
	*Library
	reference   *fleet.Reference
	credentials Credentials
	parts       []part
	bytes       int64 // of files of Git LFS
}

// partsOf fetches what a commit has elsewhere, as far as the reference asks for it. Those of a commit that is kept already are known.
func (l *Library) partsOf(ctx context.Context, r *fleet.Reference, c Credentials, revision string) ([]part, error) {
	if !r.Git.Submodules && !r.Git.LFS {
		return nil, nil
	}
	l.mu.Lock()
	h := l.held[r.Key()]
	if h != nil && h.record != nil && h.found != nil && h.record.Digest == revision {
		defer l.mu.Unlock()
		return h.record.Parts, nil
	}
	l.mu.Unlock()
	g := &gathering{Library: l, reference: r, credentials: c}
	err := g.gather(ctx, r.Git.URL, revision, "", 0)
	return g.parts, err
}

// gather fetches the parts of a commit, which is shown below a path.
func (g *gathering) gather(ctx context.Context, url, revision, below string, depth int) error {
	snapshot, err := g.Git.Snapshot(url, revision, "")
	if err != nil {
		return err
	}
	t := snapshot.Tree.(*tree)
	if g.reference.Git.LFS {
		if err := g.largeFiles(ctx, t, url, below); err != nil {
			return err
		}
	}
	if !g.reference.Git.Submodules {
		return nil
	}
	return g.submodules(ctx, t, url, below, depth)
}

// submodules fetches those of a tree, and what they have elsewhere.
func (g *gathering) submodules(ctx context.Context, t *tree, parent, below string, depth int) error {
	data, err := t.ReadFile(".gitmodules")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	modules := config.NewModules()
	if err == nil {
		err = modules.Unmarshal(data)
	}
	if err != nil {
		return fleet.Reject(fleet.ContentRefused, fmt.Errorf("%s: %s cannot be read: %w", Display(parent), path.Join(below, ".gitmodules"), err))
	}
	var list []*config.Submodule
	for _, m := range modules.Submodules {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *config.Submodule) int { return strings.Compare(a.Path, b.Path) })
	for _, m := range list {
		folder := path.Clean(m.Path)
		refuse := func(format string, args ...any) error {
			return fleet.Reject(fleet.ContentRefused, fmt.Errorf("%s: submodule %s %s", Display(parent), path.Join(below, folder), fmt.Sprintf(format, args...)))
		}
		if !fs.ValidPath(folder) || folder == "." {
			return refuse("has a path that leads out of the repository")
		}
		entry, err := t.entryOf("open", folder, false)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !entry.isSubmodule() {
			continue // .gitmodules names one that is not there any more
		}
		if err != nil {
			return err
		}
		if depth == maxSubmoduleDepth || g.count() >= maxSubmodules {
			return refuse("is one too many: %d are fetched, %d in one another", maxSubmodules, maxSubmoduleDepth)
		}
		address, err := resolveURL(parent, m.URL)
		if err != nil {
			return refuse("has no address that can be read: %v", err)
		}
		p := part{Path: path.Join(below, folder), URL: address, Commit: entry.hash.String()}
		if err := g.submodule(ctx, p); err != nil {
			return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("submodule %s: %w", p.Path, err))
		}
		g.parts = append(g.parts, p)
		if err := g.gather(ctx, p.URL, p.Commit, p.Path, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (g *gathering) count() int {
	n := 0
	for _, p := range g.parts {
		if p.URL != "" {
			n++
		}
	}
	return n
}

// submodule fetches the commit that the repository names.
func (g *gathering) submodule(ctx context.Context, p part) error {
	if strings.HasPrefix(p.URL, "http://") && !g.reference.Git.Insecure {
		return plainHTTP(p.URL)
	}
	remote := Remote{URL: p.URL, Ref: Ref{Commit: p.Commit}, Owner: g.reference.Key()}
	if sameHost(p.URL, g.reference.Git.URL) {
		remote.Credentials, remote.Insecure = g.credentials, g.reference.Git.Insecure
	}
	if _, err := g.Git.Fetch(ctx, remote); err != nil {
		return err
	}
	return g.Git.Pin(p.URL, remote.Owner, p.Commit)
}

// sameHost: what may see a Secret. One that only the name has in common may be somebody else's.
func sameHost(a, b string) bool {
	x, errX := parseAddress(a)
	y, errY := parseAddress(b)
	return errX == nil && errY == nil && x.scheme == y.scheme && x.host == y.host && x.user == y.user
}

// resolveURL is the address of a submodule: one that begins with a dot is relative to that of the repository.
func resolveURL(parent, address string) (string, error) {
	if !strings.HasPrefix(address, "./") && !strings.HasPrefix(address, "../") {
		if strings.HasPrefix(address, "/") {
			return "", errors.New("it is a path of somebody's own disk")
		}
		_, err := parseAddress(address)
		return address, err
	}
	base, err := parseAddress(parent)
	if err != nil {
		return "", err
	}
	joined := path.Join("/", base.path, address)
	if !strings.Contains(parent, "://") && base.scheme == "ssh" { // user@host:path
		prefix, _, _ := strings.Cut(parent, ":")
		if !strings.HasPrefix(base.path, "/") {
			joined = strings.TrimPrefix(joined, "/")
		}
		return prefix + ":" + joined, nil
	}
	if filepath.IsAbs(parent) {
		return joined, nil
	}
	u, err := url.Parse(parent)
	if err != nil {
		return "", errors.New("it is relative, and the repository's own address cannot be parsed")
	}
	u.Path, u.RawPath = joined, ""
	return u.String(), nil
}

// withParts is the tree of a commit with its parts in it.
func (l *Library) withParts(r *record, tree fleet.Tree, parts []part) (fleet.Tree, error) {
	below := map[string]fleet.Tree{}
	for i := 0; i < len(parts); i++ {
		p := parts[i]
		if p.Content != "" {
			data, err := l.largeFile(r.Reference, p.Content)
			if err != nil {
				return nil, err
			}
			below[p.Path] = data
			continue
		}
		key := r.Reference.Key()
		if fetched, err := l.Git.HasFetched(p.URL, key, p.Commit); err != nil || !fetched {
			return nil, errors.Join(err, fmt.Errorf("submodule %s was not fetched", p.Path))
		}
		snapshot, err := l.Git.Snapshot(p.URL, p.Commit, "")
		if err != nil {
			return nil, err
		}
		var inside []part // they come right after it
		for i+1 < len(parts) && strings.HasPrefix(parts[i+1].Path, p.Path+"/") {
			i++
			in := parts[i]
			in.Path = strings.TrimPrefix(in.Path, p.Path+"/")
			inside = append(inside, in)
		}
		if below[p.Path], err = l.withParts(r, snapshot.Tree, inside); err != nil {
			return nil, err
		}
	}
	if len(below) == 0 {
		return tree, nil
	}
	return fleet.Overlaid(tree, below), nil
}
