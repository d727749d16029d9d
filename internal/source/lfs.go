package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/muster-io/muster/internal/fleet"
)

// The bounds of what Git LFS keeps for one reference. A file that is larger than files may be stays what Git has of it, which is a fault where
// it is read.
const (
	maxLargeBytes  = 256 << 20
	maxLargeFiles  = 1000
	maxPointer     = 1024 // bytes, as the specification of Git LFS says
	largeBatch     = 100
	maxBatchAnswer = 1 << 20
	lfsJSON        = "application/vnd.git-lfs+json"
)

// pointer is what Git has in place of a file of Git LFS.
type pointer struct {
	path string
	oid  string
	size int64
}

var pointerBeginning = []byte("version https://git-lfs.github.com/spec/v1\n")

func parsePointer(data []byte) (p pointer, ok bool) {
	if !bytes.HasPrefix(data, pointerBeginning) {
		return p, false
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		switch key {
		case "oid":
			p.oid = strings.TrimPrefix(value, "sha256:")
		case "size":
			p.size, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	return p, hexDigest(p.oid) && p.size >= 0
}

// pointers finds the files of Git LFS in a folder, sorted.
func (t *tree) pointers(ctx context.Context, folder plumbing.Hash, below string) ([]pointer, error) {
	entries, err := t.entries(folder)
	if err != nil {
		return nil, err
	}
	var found []pointer
	for _, e := range entries {
		name := path.Join(below, e.name)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case e.isDir():
			inside, err := t.pointers(ctx, e.hash, name)
			if err != nil {
				return nil, err
			}
			found = append(found, inside...)
			continue
		case e.isLink(), e.isSubmodule():
			continue
		}
		if size, err := t.objects.size(e.hash); err != nil || size > maxPointer || size < int64(len(pointerBeginning)) {
			continue // it cannot be read, which is said where it is
		}
		data, err := t.blob(e.hash)
		if err != nil {
			return nil, err
		}
		if p, ok := parsePointer(data); ok && p.size <= t.maxFile {
			p.path = name
			found = append(found, p)
		}
	}
	return found, nil
}

// largeFiles fetches what Git LFS keeps of a tree.
func (g *gathering) largeFiles(ctx context.Context, t *tree, address, below string) error {
	wanted, err := t.pointers(ctx, t.root, "")
	if err != nil || len(wanted) == 0 {
		return err
	}
	var missing []pointer
	for _, p := range wanted {
		content := p.oid + ".lfs"
		if g.bytes += p.size; g.bytes > maxLargeBytes || len(g.parts) >= maxLargeFiles {
			return fleet.Reject(fleet.ContentRefused, fmt.Errorf("%s has more files of Git LFS than are fetched: %d files, %d MiB", Display(address), maxLargeFiles, maxLargeBytes>>20))
		}
		g.parts = append(g.parts, part{Path: path.Join(below, p.path), Content: content})
		if !g.has(remoteName(g.reference), content) && !slices.ContainsFunc(missing, func(m pointer) bool { return m.oid == p.oid }) {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	server, err := g.lfsServer(ctx, address)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(missing, largeBatch) {
		if err := g.download(ctx, server, batch); err != nil {
			return err
		}
	}
	return nil
}

// lfsServer is the server of Git LFS that belongs to a repository, with the credentials that open that.
func (g *gathering) lfsServer(ctx context.Context, address string) (*web, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fleet.Reject(fleet.SourceUnavailable, fmt.Errorf("%s: files of Git LFS are fetched over https only: write the https:// URL of the repository", Display(address)))
	}
	w := &web{client: g.clients.of(g.credentials, g.reference.Git.Insecure)}
	if sameHost(address, g.reference.Git.URL) {
		if w.credentials, err = g.Git.apps.login(ctx, g.credentials); err != nil {
			return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s: %w", Display(address), err))
		}
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if !strings.HasSuffix(u.Path, ".git") {
		u.Path += ".git"
	}
	u.Path += "/info/lfs/"
	w.home = u
	return w, nil
}

// batchAnswer is what a server of Git LFS says of the files that it is asked for.
type batchAnswer struct {
	Objects []struct {
		OID     string `json:"oid"`
		Actions map[string]struct {
			Href   string            `json:"href"`
			Header map[string]string `json:"header"`
		} `json:"actions"`
		Error *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	} `json:"objects"`
}

// download asks for a batch of files, and keeps each.
func (g *gathering) download(ctx context.Context, w *web, batch []pointer) error {
	objects := make([]map[string]any, len(batch))
	by := map[string]pointer{}
	for i, p := range batch {
		objects[i], by[p.oid] = map[string]any{"oid": p.oid, "size": p.size}, p
	}
	question, err := json.Marshal(map[string]any{"operation": "download", "transfers": []string{"basic"}, "hash_algo": "sha256", "objects": objects})
	if err != nil {
		return err
	}
	batches := w.home.JoinPath("objects", "batch")
	answer, err := w.do(ctx, http.MethodPost, batches, http.Header{"Accept": {lfsJSON}, "Content-Type": {lfsJSON}}, question, maxBatchAnswer)
	if err != nil {
		return err
	}
	var said batchAnswer
	if err := json.Unmarshal(answer.body, &said); err != nil {
		return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s is no server of Git LFS", w.shown(batches)))
	}
	for _, o := range said.Objects {
		p, ok := by[o.OID]
		if !ok {
			continue
		}
		delete(by, o.OID)
		if o.Error != nil {
			return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s does not give %s (%d: %s): push it with `git lfs push`", w.shown(w.home), p.path, o.Error.Code, shorten(o.Error.Message)))
		}
		action := o.Actions["download"]
		header := http.Header{}
		for name, value := range action.Header {
			header.Set(name, value)
		}
		if err := g.largeFileFrom(ctx, w, p, action.Href, header); err != nil {
			return err
		}
	}
	for _, p := range by {
		return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s says nothing of %s", w.shown(w.home), p.path))
	}
	return nil
}

// largeFileFrom fetches one file. What is said to authorize it goes in place of the source's own credentials.
func (g *gathering) largeFileFrom(ctx context.Context, w *web, p pointer, href string, header http.Header) error {
	address, err := url.Parse(href)
	if err != nil || address.Scheme != "https" && address.Scheme != "http" {
		return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s gives %s an address that is none", w.shown(w.home), p.path))
	}
	if address.Scheme == "http" && !g.reference.Git.Insecure {
		return plainHTTP(w.shown(address))
	}
	answer, err := w.do(ctx, http.MethodGet, address, header, nil, p.size)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(answer.body)
	if got := hex.EncodeToString(sum[:]); got != p.oid {
		return fleet.Fail(fleet.ContentRefused, fmt.Errorf("%s is not what the repository says of %s: it has digest %s and not %s", w.shown(address), p.path, shortHash(got), shortHash(p.oid)))
	}
	file := filepath.Join(g.Dir, remoteName(g.reference), p.oid+".lfs")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("keep %s: %w", p.path, err))
	}
	return fleet.Fail(fleet.SourceUnavailable, writeWhole(file, func(to io.Writer) error {
		_, err := to.Write(answer.body)
		return err
	}))
}

// largeFile is a file of Git LFS that is kept.
func (l *Library) largeFile(r *fleet.Reference, content string) (fleet.Tree, error) {
	data, err := os.ReadFile(filepath.Join(l.Dir, remoteName(r), content))
	if err != nil {
		return nil, err
	}
	return fleet.FileTree(data), nil
}
