package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/muster-io/muster/internal/fleet"
)

// The bounds of folders and links.
const (
	maxTree = 64 << 20 // bytes of one folder's listing
	maxLink = 4096     // bytes of a link's target
	maxHops = 40       // links that one path may follow
)

// Git's modes of entries.
const (
	modeDir        = 0o040000
	modeExecutable = 0o100755
	modeLink       = 0o120000
	modeSubmodule  = 0o160000
)

// entry is one line of a Git tree.
type entry struct {
	name string
	mode uint32
	hash plumbing.Hash
}

func (e entry) isDir() bool       { return e.mode == modeDir }
func (e entry) isLink() bool      { return e.mode == modeLink }
func (e entry) isSubmodule() bool { return e.mode == modeSubmodule }

func (e entry) fileMode() fs.FileMode {
	switch {
	case e.isDir():
		return fs.ModeDir | 0o555
	case e.isLink():
		return fs.ModeSymlink | 0o777
	case e.isSubmodule():
		return fs.ModeIrregular
	case e.mode&0o111 != 0:
		return 0o555
	}
	return 0o444
}

// parseTree parses a tree object. It refuses names such as "..", which git never writes.
func parseTree(data []byte) ([]entry, error) {
	var entries []entry
	for len(data) > 0 {
		space, end := bytes.IndexByte(data, ' '), bytes.IndexByte(data, 0)
		if space < 0 || end < space || len(data) < end+21 {
			return nil, fmt.Errorf("a folder's listing is damaged")
		}
		mode, err := strconv.ParseUint(string(data[:space]), 8, 32)
		if err != nil {
			return nil, fmt.Errorf("a folder's listing is damaged: %w", err)
		}
		name := string(data[space+1 : end])
		if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
			return nil, fmt.Errorf("a folder lists the impossible name %q", name)
		}
		entries = append(entries, entry{name, uint32(mode), plumbing.Hash(data[end+1 : end+21])})
		data = data[end+21:]
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

// tree is a commit as a fleet.Tree. Objects are loaded when they are read. Names are relative to the fleet's folder; links may lead
// anywhere in the repository.
type tree struct {
	objects objects
	cache   *cache
	root    plumbing.Hash
	base    string // the fleet's folder in the repository
	maxFile int64
	time    time.Time
}

var (
	_ fleet.Tree    = (*tree)(nil)
	_ fs.StatFS     = (*tree)(nil)
	_ fs.ReadLinkFS = (*tree)(nil)
)

// snapshot opens a commit.
func snapshot(from objects, c *cache, maxFile int64, revision plumbing.Hash, dir string) (fleet.Snapshot, error) {
	made, err := commit(from, revision)
	if err != nil {
		return fleet.Snapshot{}, fleet.Fail(fleet.SourceUnavailable, err)
	}
	base := path.Clean(strings.Trim(dir, "/"))
	if !fs.ValidPath(base) {
		return fleet.Snapshot{}, fleet.Reject(fleet.ContentMissing, fmt.Errorf("%q is not a folder in a repository", dir))
	}
	t := &tree{objects: from, cache: c, root: made.TreeHash, maxFile: maxFile, time: commitTime(made)}
	info, err := t.Stat(base)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", base)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("commit %s has no folder %s", fleet.ShortRevision(made.Hash.String()), base)
	}
	if err != nil {
		return fleet.Snapshot{}, fleet.Reject(fleet.ContentMissing, err)
	}
	t.base = base
	return fleet.Snapshot{Revision: made.Hash.String(), Tree: t}, nil
}

// refuse makes the fault of content that is not read. It names the file as the caller did.
func refuse(op, name, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	return &fs.PathError{Op: op, Path: name, Err: fleet.Fault{
		Reason: fleet.ContentRefused, ActionRequiredBy: fleet.User, File: name, Message: message,
	}}
}

// entries lists a folder.
func (t *tree) entries(h plumbing.Hash) ([]entry, error) {
	if v, ok := t.cache.get(kindTree, h); ok {
		return v.([]entry), nil
	}
	size, err := t.objects.size(h)
	if err != nil {
		return nil, fmt.Errorf("read folder %s: %w", h, err)
	}
	if size > maxTree {
		return nil, fmt.Errorf("folder %s has a listing of more than %d MiB", h, maxTree>>20)
	}
	data, err := readAs(t.objects, plumbing.TreeObject, h)
	if err != nil {
		return nil, err
	}
	list, err := parseTree(data)
	if err != nil {
		return nil, err
	}
	t.cache.put(kindTree, h, list, len(data)+len(list)*48)
	return list, nil
}

// readAs reads an object, which has to be of that kind.
func readAs(from objects, want plumbing.ObjectType, h plumbing.Hash) ([]byte, error) {
	kind, data, err := from.read(h)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", want, h, err)
	}
	if kind != want {
		return nil, fmt.Errorf("read %s %s: it is a %s", want, h, kind)
	}
	return data, nil
}

func lookup(list []entry, name string) (entry, bool) {
	i, ok := slices.BinarySearchFunc(list, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
	if !ok {
		return entry{}, false
	}
	return list[i], true
}

// find resolves name from the repository's root. It follows links, the last one only if follow is set, and returns the entry and
// its path without links. op and shown are for the error.
func (t *tree) find(op, shown, name string, follow bool) (entry, string, error) {
	way := []entry{{mode: modeDir, hash: t.root}} // from the root to the current folder
	left := strings.Split(name, "/")
	for hops := 0; len(left) > 0; {
		part := left[0]
		left = left[1:]
		here := way[len(way)-1]
		switch {
		case part == "" || part == ".":
			continue
		case part == "..": // only targets of links have these
			if len(way) == 1 {
				return entry{}, "", refuse(op, shown, "a link on the way leads out of the repository: keep the target inside it")
			}
			way = way[:len(way)-1]
			continue
		case here.isSubmodule():
			return entry{}, "", refuse(op, shown, "%s is a submodule, which is not fetched: name its repository as a source, or, where this one is a source.git, set submodules: true", here.name)
		case !here.isDir():
			return entry{}, "", &fs.PathError{Op: op, Path: shown, Err: fs.ErrNotExist}
		}
		list, err := t.entries(here.hash)
		if err != nil {
			return entry{}, "", &fs.PathError{Op: op, Path: shown, Err: err}
		}
		next, ok := lookup(list, part)
		if !ok {
			return entry{}, "", &fs.PathError{Op: op, Path: shown, Err: fs.ErrNotExist}
		}
		if !next.isLink() || len(left) == 0 && !follow {
			way = append(way, next)
			continue
		}
		if hops++; hops > maxHops {
			return entry{}, "", refuse(op, shown, "links on the way lead in a circle: break it")
		}
		target, err := t.linkTarget(op, shown, next)
		if err != nil {
			return entry{}, "", err
		}
		left = append(strings.Split(target, "/"), left...)
	}
	names := make([]string, len(way))
	for i, e := range way {
		names[i] = e.name
	}
	return way[len(way)-1], path.Join(append([]string{"."}, names...)...), nil
}

// linkTarget reads a link; only relative ones can stay inside the repository.
func (t *tree) linkTarget(op, shown string, link entry) (string, error) {
	size, err := t.objects.size(link.hash)
	if err != nil {
		return "", &fs.PathError{Op: op, Path: shown, Err: err}
	}
	if size > maxLink {
		return "", refuse(op, shown, "link %s has a target of %d bytes", link.name, size)
	}
	data, err := t.blob(link.hash)
	if err != nil {
		return "", &fs.PathError{Op: op, Path: shown, Err: err}
	}
	if path.IsAbs(string(data)) {
		return "", refuse(op, shown, "link %s is absolute and leads out of the repository: make it relative", link.name)
	}
	return string(data), nil
}

// blob gives a file's content, which is shared: never change it.
func (t *tree) blob(h plumbing.Hash) ([]byte, error) {
	if v, ok := t.cache.get(kindBlob, h); ok {
		return v.([]byte), nil
	}
	data, err := readAs(t.objects, plumbing.BlobObject, h)
	if err != nil {
		return nil, err
	}
	t.cache.put(kindBlob, h, data, len(data))
	return data, nil
}

func (t *tree) entryOf(op, name string, follow bool) (entry, error) {
	if !fs.ValidPath(name) {
		return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	e, _, err := t.find(op, name, path.Join(t.base, name), follow)
	return e, err
}

// load reads a file. It refuses one that is too large, a submodule, what a filter has put in place of a file, or binary under the name of a
// text file.
func (t *tree) load(name string, e entry) ([]byte, error) {
	switch {
	case e.isDir():
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a folder")}
	case e.isSubmodule():
		return nil, refuse("read", name, "it is a submodule, which is not fetched: name its repository as a source, or, where this one is a source.git, set submodules: true")
	}
	size, err := t.objects.size(e.hash)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	if size > t.maxFile {
		return nil, refuse("read", name, "it has %d bytes, and a file may have %d: make it smaller or take it out", size, t.maxFile)
	}
	data, err := t.blob(e.hash)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	for beginning, filter := range filtered {
		if bytes.HasPrefix(data, []byte(beginning)) {
			return nil, refuse("read", name, "it is what the filter of %s has put in its place (.gitattributes), and the hub runs no filters: %s", filter.name, filter.remedy)
		}
	}
	if wantsText(name) && bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
		return nil, refuse("read", name, "it is binary, and %s files are text: save it as UTF-8", path.Ext(name))
	}
	return data, nil
}

// filtered are the beginnings of what filters commit in place of a file.
var filtered = map[string]struct{ name, remedy string }{
	string(pointerBeginning): {"Git LFS", "commit the file itself, or, where the repository is a source.git and the file is not too large, set lfs: true"},
	"\x00GITCRYPT\x00":       {"git-crypt", "commit the file itself"},
}

// wantsText says whether a file must be text by its name; others, such as a chart's archives, may be binary.
func wantsText(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml", ".json", ".tpl", ".toml", ".txt", ".env", ".properties":
		return true
	}
	return false
}

// Open implements fs.FS. A file's content is loaded when it is first read.
func (t *tree) Open(name string) (fs.File, error) {
	e, err := t.entryOf("open", name, true)
	if err != nil {
		return nil, err
	}
	info := info{tree: t, entry: e, name: path.Base(name)}
	if e.isDir() {
		list, err := t.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return &openDir{info, name, list}, nil
	}
	return &openFile{info: info, path: name}, nil
}

// ReadFile implements fs.ReadFileFS.
func (t *tree) ReadFile(name string) ([]byte, error) {
	e, err := t.entryOf("read", name, true)
	if err != nil {
		return nil, err
	}
	data, err := t.load(name, e)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(data), nil
}

// ReadDir implements fs.ReadDirFS. Links are listed as links; reading one follows it.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := t.entryOf("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if e.isSubmodule() {
		_, err := t.load(name, e)
		return nil, err
	}
	if !e.isDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("is not a folder")}
	}
	list, err := t.entries(e.hash)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	out := make([]fs.DirEntry, len(list))
	for i, e := range list {
		out[i] = info{tree: t, entry: e, name: e.name}
	}
	return out, nil
}

// Stat implements fs.StatFS.
func (t *tree) Stat(name string) (fs.FileInfo, error) {
	e, err := t.entryOf("stat", name, true)
	if err != nil {
		return nil, err
	}
	return info{tree: t, entry: e, name: path.Base(name)}.Info()
}

// Lstat implements fs.ReadLinkFS.
func (t *tree) Lstat(name string) (fs.FileInfo, error) {
	e, err := t.entryOf("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return info{tree: t, entry: e, name: path.Base(name)}.Info()
}

// ReadLink implements fs.ReadLinkFS.
func (t *tree) ReadLink(name string) (string, error) {
	e, err := t.entryOf("readlink", name, false)
	if err != nil {
		return "", err
	}
	if !e.isLink() {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return t.linkTarget("readlink", name, e)
}

// info is an entry as fs.DirEntry and, with its size, as fs.FileInfo.
type info struct {
	tree  *tree
	entry entry
	name  string
	bytes int64
}

func (i info) Name() string       { return i.name }
func (i info) IsDir() bool        { return i.entry.isDir() }
func (i info) Mode() fs.FileMode  { return i.entry.fileMode() }
func (i info) Type() fs.FileMode  { return i.Mode().Type() }
func (i info) Size() int64        { return i.bytes }
func (i info) ModTime() time.Time { return i.tree.time }
func (i info) Sys() any           { return nil }
func (i info) String() string     { return fs.FormatDirEntry(i) }

// Info looks up the size, which a folder's listing does not have.
func (i info) Info() (fs.FileInfo, error) {
	if i.entry.isDir() || i.entry.isSubmodule() {
		return i, nil
	}
	size, err := i.tree.objects.size(i.entry.hash)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: i.name, Err: err}
	}
	i.bytes = size
	return i, nil
}

type openFile struct {
	info   info
	path   string
	reader *bytes.Reader
	closed bool
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info.Info() }

func (f *openFile) Read(b []byte) (int, error) {
	if f.closed {
		return 0, &fs.PathError{Op: "read", Path: f.path, Err: fs.ErrClosed}
	}
	if f.reader == nil {
		data, err := f.info.tree.load(f.path, f.info.entry)
		if err != nil {
			return 0, err
		}
		f.reader = bytes.NewReader(data)
	}
	return f.reader.Read(b)
}

func (f *openFile) Close() error {
	f.closed = true
	return nil
}

type openDir struct {
	info info
	path string
	left []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.path, Err: errors.New("is a folder")}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.left) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.left) {
		n = len(d.left)
	}
	out := d.left[:n]
	d.left = d.left[n:]
	return slices.Clone(out), nil
}
