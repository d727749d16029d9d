package source

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/fleet"
)

// open makes a commit of the files and opens it, through a mirror as the hub does.
func open(t *testing.T, files map[string]file, dir string) fleet.Snapshot {
	t.Helper()
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	r.push("main", r.commit(files))
	s := newStore(t, root)
	s.MaxFile = 1000
	revision, err := s.Fetch(t.Context(), Remote{URL: r.dir})
	must(t, err)
	snap, err := s.Snapshot(r.dir, revision, dir)
	must(t, err)
	return snap
}

func TestTreeIsAFileSystem(t *testing.T) {
	files := map[string]file{
		"fleet/a.yaml":          text("a: 1\n"),
		"fleet/run.sh":          script("#!/bin/sh\n"),
		"fleet/apps/x/values":   text("v"),
		"fleet/apps/x.y":        text("sorts before x/ in Git and after x here"),
		"fleet/linked.yaml":     link("../shared/b.yaml"),
		"fleet/linked":          link("../shared"),
		"fleet/apps/twice.yaml": link("../linked/b.yaml"),
		"fleet/empty":           text(""),
		"shared/b.yaml":         text("b: 1\n"),
	}
	snap := open(t, files, "/fleet/")
	if err := fstest.TestFS(snap.Tree, "a.yaml", "run.sh", "apps/x/values", "linked.yaml", "empty"); err != nil {
		t.Error(err)
	}
	below, err := fs.Sub(snap.Tree, "apps")
	must(t, err)
	if err := fstest.TestFS(below, "x/values", "x.y"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"linked.yaml": "b: 1\n", "linked/b.yaml": "b: 1\n", "apps/twice.yaml": "b: 1\n"} {
		if got := readText(t, snap, name); got != want {
			t.Errorf("%s reads %q", name, got)
		}
	}
	var walked []string
	must(t, fs.WalkDir(snap.Tree, ".", func(name string, d fs.DirEntry, err error) error {
		walked = append(walked, name+" "+d.Type().String())
		return err
	}))
	want := []string{
		". d---------", "a.yaml ----------", "apps d---------", "apps/twice.yaml L---------", "apps/x d---------",
		"apps/x/values ----------", "apps/x.y ----------", "empty ----------", "linked L---------", "linked.yaml L---------", "run.sh ----------",
	}
	if diff := cmp.Diff(want, walked); diff != "" {
		t.Error(diff)
	}
}

func TestSnapshotFolder(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	revision := r.push("main", r.commit(map[string]file{"fleet/a.yaml": text("a"), "f": text("f"), "up": link("..")}))
	s := newStore(t, root)
	_, err := s.Fetch(t.Context(), Remote{URL: r.dir})
	must(t, err)
	cases := map[string]struct{ dir, says, why string }{
		"all":     {"", "", "no folder is the whole repository"},
		"dot":     {"./", "", "as people write it"},
		"folder":  {"fleet", "", ""},
		"missing": {"flete", "has no folder flete", "the fault names it"},
		"file":    {"f", "not a folder", ""},
		"outside": {"../etc", "not a folder in a repository", "dots lead out"},
		"link":    {"up", "leads out of the repository", "a link does as well"},
	}
	for name, c := range cases {
		_, err := s.Snapshot(r.dir, revision, c.dir)
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v: %s", name, err, c.why)
			}
			continue
		}
		if _, ok := fleet.AsFault(err); !ok || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v does not say %q: %s", name, err, c.says, c.why)
		}
	}
}

func TestRefusedContent(t *testing.T) {
	snap := open(t, map[string]file{
		"fleet/fine.yaml":        text("fine: true"),
		"fleet/binary.yaml":      text("a\x00b"),
		"fleet/archive.tgz":      text("a\x00b"),
		"fleet/lfs.tgz":          text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"),
		"fleet/crypt.yaml":       text("\x00GITCRYPT\x00abc"),
		"fleet/huge.yaml":        text(strings.Repeat("x", 1001)),
		"fleet/largest.yaml":     text(strings.Repeat("x", 1000)),
		"fleet/absolute.yaml":    link("/etc/passwd"),
		"fleet/outside.yaml":     link("../../etc/passwd"),
		"fleet/around.yaml":      link("../../fleet/fine.yaml"),
		"fleet/circle.yaml":      link("circle.yaml"),
		"fleet/ping":             link("pong/x"),
		"fleet/pong":             link("ping/x"),
		"fleet/dangling.yaml":    link("nothing.yaml"),
		"fleet/through.yaml":     link("fine.yaml/x"),
		"fleet/long.yaml":        link(strings.Repeat("x", 5000)),
		"fleet/module":           {filemode.Submodule, strings.Repeat("ab", 20)},
		"fleet/intomodule.yaml":  link("module/a.yaml"),
		"fleet/tobinary.yaml":    link("binary.yaml"),
		"fleet/rootlevel.yaml":   link("../top.yaml"),
		"top.yaml":               text("top"),
		"fleet/linkedfolder":     link("/etc"),
		"fleet/folder/deep.yaml": text("deep"),
	}, "fleet")
	cases := map[string]struct{ says, why string }{
		"fine.yaml":           {"", ""},
		"largest.yaml":        {"", "the limit itself is allowed"},
		"archive.tgz":         {"", "a chart's archives are binary"},
		"rootlevel.yaml":      {"", "a link may leave the fleet's folder, and not the repository"},
		"binary.yaml":         {"it is binary", "YAML with a zero byte is none"},
		"tobinary.yaml":       {"it is binary", "through a link as well"},
		"lfs.tgz":             {"the filter of Git LFS", "its content is elsewhere"},
		"crypt.yaml":          {"the filter of git-crypt", "only who has the key can read it"},
		"huge.yaml":           {"it has 1001 bytes", "the limit is named"},
		"absolute.yaml":       {"is absolute", "it would be a file of the hub"},
		"linkedfolder/passwd": {"is absolute", "folders too"},
		"outside.yaml":        {"out of the repository", "dots lead out"},
		"around.yaml":         {"out of the repository", "out and in again is out"},
		"circle.yaml":         {"circle", "it would never end"},
		"ping":                {"circle", "two that lead to each other, each time further down"},
		"long.yaml":           {"target of 5000 bytes", "no path is that long"},
		"module":              {"submodule", "its content is elsewhere"},
		"intomodule.yaml":     {"submodule", "through a link as well"},
		"dangling.yaml":       {"not exist", "like a file that is not there"},
		"through.yaml":        {"not exist", "a file has nothing below it"},
		"missing.yaml":        {"not exist", ""},
		"folder":              {"is a folder", ""},
		"../top.yaml":         {"invalid", "names of a file system have no dots"},
	}
	for name, c := range cases {
		_, err := snap.Tree.ReadFile(name)
		switch {
		case c.says == "":
			if err != nil {
				t.Errorf("%s: %v: %s", name, err, c.why)
			}
			continue
		case err == nil || !strings.Contains(err.Error(), c.says):
			t.Errorf("%s: %v does not say %q: %s", name, err, c.says, c.why)
			continue
		case c.says == "not exist" || c.says == "is a folder" || c.says == "invalid":
			continue
		}
		fault, ok := fleet.AsFault(err)
		if !ok || fault.Reason != fleet.ContentRefused || fault.ActionRequiredBy != fleet.User || fault.File != name {
			t.Errorf("%s: %#v is not ContentRefused with the file", name, err)
		}
	}
	if _, err := fs.ReadDir(snap.Tree, "."); err != nil {
		t.Errorf("what is refused when it is read does not spoil the folder: %v", err)
	}
	if _, err := snap.Tree.ReadDir("module"); err == nil {
		t.Error("a submodule has no listing")
	}
	f, err := snap.Tree.Open("huge.yaml")
	must(t, err)
	if _, err := f.Read(make([]byte, 1)); !isRefused(err) {
		t.Errorf("read through Open: %v", err)
	}
}

func TestHash(t *testing.T) {
	base := map[string]file{
		"app/a.yaml":         text("a"),
		"app/sub/b.yaml":     text("b"),
		"app/run.sh":         text("run"),
		"linked/in.yaml":     link("../shared/values.yaml"),
		"linked/dir":         link("../shared"),
		"linked/own.yaml":    text("own"),
		"linked/self.yaml":   link("own.yaml"),
		"shared/values.yaml": text("v"),
		"shared/deeper":      link("../far"),
		"far/away.yaml":      text("far"),
		"round/a":            link("../round"),
		"round/b":            link("../linked"),
		"alias":              link("app"),
		"gone":               link("nowhere"),
		"out":                link("../.."),
	}
	cases := map[string]struct {
		change  map[string]file
		changed []string
		why     string
	}{
		"nothing":      {nil, nil, "equal content, equal hashes, in another repository too"},
		"a file":       {map[string]file{"app/sub/b.yaml": text("B")}, []string{".", "alias", "app", "app/sub", "app/sub/b.yaml"}, "and all folders above it, and who links to them"},
		"a mode":       {map[string]file{"app/run.sh": script("run")}, []string{".", "alias", "app", "app/run.sh"}, "a chart's script that can no longer run is another one"},
		"a name":       {map[string]file{"app/c.yaml": text("a")}, []string{".", "alias", "app"}, "names count"},
		"behind links": {map[string]file{"far/away.yaml": text("FAR")}, []string{".", "far", "linked", "linked/dir", "round", "round/b", "shared"}, "Git's own hash of linked is the same, and what is read through it is not"},
		"a target":     {map[string]file{"linked/self.yaml": link("in.yaml")}, []string{".", "linked", "linked/self.yaml", "round", "round/b"}, "the link points elsewhere"},
		"appears":      {map[string]file{"nowhere": text("now")}, []string{"."}, "a dangling link comes alive"},
	}
	names := []string{".", "app", "app/a.yaml", "app/sub", "app/sub/b.yaml", "app/run.sh", "alias", "linked", "linked/dir", "linked/self.yaml", "shared", "far", "round", "round/b"}
	before := open(t, base, "")
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(base)
			maps.Copy(files, c.change)
			after := open(t, files, "")
			changed := map[string]bool{}
			for _, n := range c.changed {
				changed[n] = true
			}
			for _, n := range names {
				old, err := before.Tree.Hash(n)
				must(t, err)
				now, err := after.Tree.Hash(n)
				must(t, err)
				if (old != now) != changed[n] {
					t.Errorf("%s: hash %s → %s: %s", n, old, now, c.why)
				}
			}
		})
	}
	same := func(a, b string) {
		t.Helper()
		left, err := before.Tree.Hash(a)
		must(t, err)
		right, err := before.Tree.Hash(b)
		must(t, err)
		if left != right {
			t.Errorf("%s and %s have one content and two hashes", a, b)
		}
	}
	same("alias", "app")
	same("linked/in.yaml", "shared/values.yaml")
	same("linked/dir/deeper/away.yaml", "far/away.yaml")
	if _, err := before.Tree.Hash("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing name is %v", err)
	}
	if _, err := before.Tree.Hash("out"); !isRefused(err) {
		t.Errorf("a link that leaves the repository is %v", err)
	}
}

func TestHashIsGits(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	revision := r.push("main", r.commit(map[string]file{"app/a.yaml": text("a"), "app/sub/b": text("b")}))
	s := newStore(t, root)
	_, err := s.Fetch(t.Context(), Remote{URL: r.dir})
	must(t, err)
	snap, err := s.Snapshot(r.dir, revision, "app")
	must(t, err)
	for name, object := range map[string]string{".": ":app", "sub": ":app/sub", "a.yaml": ":app/a.yaml"} {
		got, err := snap.Tree.Hash(name)
		must(t, err)
		if want := gitRun(t, r.dir, "rev-parse", "main"+object); got != want {
			t.Errorf("hash of %s is %s, git says %s", name, got, want)
		}
	}
}

func TestTreeIsSafeForConcurrentUse(t *testing.T) {
	files := map[string]file{}
	for _, d := range strings.Split("abcdefghij", "") {
		for _, f := range strings.Split("klmnopqrst", "") {
			files[d+"/"+f] = text(strings.Repeat(d+f, 100))
		}
	}
	snap := open(t, files, "")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for name, f := range files {
				data, err := snap.Tree.ReadFile(name)
				if err != nil || string(data) != f.content {
					t.Errorf("%s reads %q, %v", name, data, err)
				}
				clear(data) // it is the reader's own
				if _, err := snap.Tree.Hash(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(10_000)
	for i := range 1000 {
		c.put(kindBlob, [20]byte{byte(i), byte(i >> 8)}, bytes.Repeat([]byte{1}, 100), 100)
		c.get(kindBlob, [20]byte{0})
	}
	if c.size > 10_000 || len(c.items) != c.recent.Len() {
		t.Errorf("holds %d bytes in %d items", c.size, len(c.items))
	}
	if _, ok := c.get(kindBlob, [20]byte{0}); !ok {
		t.Error("what is used all the time is forgotten")
	}
	if _, ok := c.get(kindBlob, [20]byte{1}); ok {
		t.Error("what is used never is kept")
	}
}
