package source

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/test/charts"
)

func TestUnpack(t *testing.T) {
	file := func(name string) tar.Header {
		return tar.Header{Name: name, Mode: 0o644, Size: 1, Typeflag: tar.TypeReg}
	}
	var many []tar.Header
	for i := range maxArchiveFiles + 1 {
		many = append(many, file(fmt.Sprintf("web/%d", i)))
	}
	cases := map[string]struct {
		headers []tar.Header
		strip   int
		want    string // files, or what the error says
	}{
		"files":              {[]tar.Header{file("web/a"), {Name: "web/b/", Typeflag: tar.TypeDir, Mode: 0o755}, file("./web/b/c")}, 1, "a b/c"},
		"not stripped":       {[]tar.Header{file("web/a"), file("b")}, 0, "b web/a"},
		"written on Windows": {[]tar.Header{file(`web\b\c`)}, 1, "b/c"},
		"a global header":    {[]tar.Header{{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, file("web/a")}, 1, "a"},
		"up":                 {[]tar.Header{file("web/../../etc/passwd")}, 1, `"web/../../etc/passwd", which leads out of it`},
		"up on Windows":      {[]tar.Header{file(`web\..\..\a`)}, 1, "which leads out of it"},
		"absolute":           {[]tar.Header{file("/etc/passwd")}, 0, "which leads out of it"},
		"a drive":            {[]tar.Header{file("c:/a")}, 0, "which leads out of it"},
		"a symbolic link":    {[]tar.Header{{Name: "web/a", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}}, 1, `"web/a", which is a link or a device`},
		"a hard link":        {[]tar.Header{{Name: "web/a", Linkname: "web/b", Typeflag: tar.TypeLink}}, 1, "which is a link or a device"},
		"a device":           {[]tar.Header{{Name: "web/a", Typeflag: tar.TypeChar}}, 1, "which is a link or a device"},
		"a file and folder":  {[]tar.Header{file("web/a"), file("web/a/b")}, 1, `"a" as a file and as a folder`},
		"too many files":     {many, 1, "more than 10000 files"},
		"nothing":            {nil, 1, "holds no files"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			data := charts.ArchiveOf(c.headers, func(name string) string {
				for _, h := range c.headers {
					if h.Name == name && h.Size == 0 {
						return ""
					}
				}
				return "x"
			})
			files, err := unpack(bytes.NewReader(data), c.strip)
			got := strings.Join(slices.Sorted(maps.Keys(files)), " ")
			if err != nil {
				got = err.Error()
			}
			if err == nil && got != c.want || err != nil && !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestBombsDoNotUnpack: what is small to send and large to unpack is refused before it is in memory.
func TestBombsDoNotUnpack(t *testing.T) {
	one := bomb()
	if _, err := unpack(bytes.NewReader(one), 1); err == nil || !strings.Contains(err.Error(), "more than 100 MiB of files") {
		t.Errorf("%d bytes that unpack to more than %d: %v", len(one), maxUnpacked, err)
	}
	zeros := strings.Repeat("\x00", maxUnpacked/2+1)
	beside := charts.Archive(map[string]string{"1": zeros, "2": zeros, "web/Chart.yaml": "name: web\n"})
	if _, err := unpack(bytes.NewReader(beside), 1); err == nil || !strings.Contains(err.Error(), "more than 100 MiB of files") {
		t.Errorf("files outside of the chart's folder that unpack to more than %d: %v", maxUnpacked, err)
	}
	if _, err := unpack(bytes.NewReader(one[:len(one)/2]), 1); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("half of it: %v", err)
	}
	if _, err := unpack(strings.NewReader("<html>"), 1); err == nil || !strings.Contains(err.Error(), "no gzipped archive") {
		t.Errorf("a page: %v", err)
	}
}

// bomb is the archive of a chart that is small to send, and unpacks to more than is allowed.
var bomb = sync.OnceValue(func() []byte {
	zeros := strings.Repeat("\x00", maxUnpacked/4+1)
	return charts.Archive(map[string]string{"web/Chart.yaml": "name: web\n", "web/1": zeros, "web/2": zeros, "web/3": zeros, "web/4": zeros})
})

// largeChart is the archive of a chart of 30 MB that does not compress.
var largeChart = sync.OnceValue(func() []byte {
	noise := make([]byte, 30_000_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	return charts.Archive(map[string]string{"web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 4.12.0\n", "web/files/noise": string(noise)})
})

func TestLargeChartsAreRefused(t *testing.T) {
	repo := charts.New(t)
	repo.PublishArchive("web", "4.12.0", largeChart())
	s := newShelf(t)
	s.secrets["retail/ca"] = map[string][]byte{"ca.crt": repo.CA()}
	chart := chartOf(repo, "retail", "4.12.0", "ca")
	if _, err := s.look(chart); err == nil || !strings.Contains(err.Error(), "has more than the 20 MiB that are fetched") {
		t.Errorf("a chart of 30 MB: %v", err)
	}
	s.MaxArchive = 40 << 20
	s.finds(chart, "4.12.0") // only its size was wrong
}

// TestKeptFilesAreATree: equal content has equal hashes, whatever remote it came from, and a file is read as it was packed.
func TestKeptFilesAreATree(t *testing.T) {
	files := map[string][]byte{"Chart.yaml": []byte("name: web"), "templates/a.yaml": []byte("a: 1"), "templates/sub/b.yaml": nil}
	name := t.TempDir() + "/folder/content.zip"
	must(t, keepFiles(name, files))
	tree, err := openKept(name, "sha256:1")
	must(t, err)
	other, err := openKept(name, "sha256:2")
	must(t, err)
	entries, err := tree.ReadDir("templates")
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, fmt.Sprint(e.Name(), e.IsDir()))
	}
	if diff := cmp.Diff([]string{"a.yamlfalse", "subtrue"}, names); diff != "" {
		t.Errorf("templates (-want +got)\n%s", diff)
	}
	if data, err := tree.ReadFile("templates/a.yaml"); err != nil || string(data) != "a: 1" {
		t.Errorf("a file: %q, %v", data, err)
	}
	hash := func(tree interface{ Hash(string) (string, error) }, name string) string {
		h, err := tree.Hash(name)
		must(t, err)
		return h
	}
	if hash(tree, ".") == hash(other, ".") || hash(tree, ".") == hash(tree, "templates") {
		t.Error("hashes do not tell contents apart")
	}
	if _, err := tree.Hash("missing"); err == nil {
		t.Error("a missing file has a hash")
	}
}
