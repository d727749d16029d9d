package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/filemode"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// company is a Git host with a repository that has a submodule, which has one itself, and a file of Git LFS.
type company struct {
	root   string
	server *httptest.Server
	// asked are the requests, by path.
	asked map[string]int
	// files of Git LFS by their digest.
	files map[string]string
	// elsewhere is where the files are fetched from; empty is the same host.
	elsewhere string
	parent    *repository
	inner     string // commit
}

func newCompany(t *testing.T) *company {
	c := &company{root: t.TempDir(), asked: map[string]int{}, files: map[string]string{}}
	git := gitHandler(t, c.root, basic("ann", "hunter2"))
	c.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.asked[r.URL.Path]++
		if strings.Contains(r.URL.Path, "/info/lfs/") {
			c.lfs(w, r)
			return
		}
		git.ServeHTTP(w, r)
	}))
	t.Cleanup(c.server.Close)
	deep := newRepository(t, filepath.Join(c.root, "deep.git"))
	deepest := deep.push("main", deep.commit(map[string]file{"deep.yaml": text("deep: true")}))
	common := newRepository(t, filepath.Join(c.root, "common.git"))
	c.inner = common.commit(map[string]file{
		"common.yaml": text("common: true"), "vendor/deep": {filemode.Submodule, deepest},
		".gitmodules": text("[submodule \"deep\"]\n\tpath = vendor/deep\n\turl = ../deep.git\n"),
	})
	common.push("main", c.inner)
	c.parent = newRepository(t, filepath.Join(c.root, "charts.git"))
	c.push(t, "../common.git", c.pointer("large"))
	return c
}

// pointer is what Git has of a file that the server of Git LFS keeps.
func (c *company) pointer(content string) string {
	sum := sha256.Sum256([]byte(content))
	oid := hex.EncodeToString(sum[:])
	c.files[oid] = content
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", oid, len(content))
}

func (c *company) push(t *testing.T, url, pointer string) string {
	t.Helper()
	return c.parent.push("main", c.parent.commit(map[string]file{
		"chart/values.yaml": text("a: b"), "chart/files/large.bin": text(pointer), "chart/common": {filemode.Submodule, c.inner},
		".gitattributes": text("*.bin filter=lfs diff=lfs merge=lfs -text\n"),
		".gitmodules":    text("[submodule \"common\"]\n\tpath = chart/common\n\turl = " + url + "\n[submodule \"gone\"]\n\tpath = gone\n\turl = ../gone.git\n"),
	}))
}

// lfs is a server of Git LFS, as its specification says: a question for a batch, and downloads that want what the answer says.
func (c *company) lfs(w http.ResponseWriter, r *http.Request) {
	if oid, ok := strings.CutPrefix(r.URL.Path, "/charts.git/info/lfs/objects/file/"); ok {
		if r.Header.Get("X-Ticket") != oid {
			http.Error(w, "no ticket", http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(c.files[oid])) // the client may be gone
		return
	}
	user, password, _ := r.BasicAuth()
	var question struct {
		Operation string
		Objects   []struct {
			OID  string
			Size int
		}
	}
	switch {
	case r.URL.Path != "/charts.git/info/lfs/objects/batch" || r.Method != http.MethodPost:
		http.NotFound(w, r)
		return
	case user != "ann" || password != "hunter2":
		w.WriteHeader(http.StatusUnauthorized)
		return
	case r.Header.Get("Accept") != lfsJSON || json.NewDecoder(r.Body).Decode(&question) != nil || question.Operation != "download":
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	var objects []any
	for _, o := range question.Objects {
		said := map[string]any{"oid": o.OID, "size": o.Size}
		if _, ok := c.files[o.OID]; ok {
			host := c.server.URL
			if c.elsewhere != "" {
				host = c.elsewhere
			}
			said["actions"] = map[string]any{"download": map[string]any{
				"href": host + "/charts.git/info/lfs/objects/file/" + o.OID, "header": map[string]string{"X-Ticket": o.OID},
			}}
		} else {
			said["error"] = map[string]any{"code": 404, "message": "Object does not exist"}
		}
		objects = append(objects, said)
	}
	w.Header().Set("Content-Type", lfsJSON)
	_ = json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": objects}) // the client may be gone
}

func (c *company) source(change func(*musterv1alpha1.GitSource)) *fleet.Reference {
	source := musterv1alpha1.GitSource{URL: c.server.URL + "/charts.git", SecretRef: &musterv1alpha1.LocalReference{Name: "basic"}, Insecure: true}
	change(&source)
	return fleet.ReferenceOf("retail", musterv1alpha1.Source{Git: &source})
}

func (c *company) shelf(t *testing.T) *shelf {
	s := newShelf(t)
	s.Insecure, s.Git.Local = true, []string{c.root}
	s.secrets["retail/basic"] = map[string][]byte{"username": []byte("ann"), "password": []byte("hunter2")}
	return s
}

func both(s *musterv1alpha1.GitSource) { s.Submodules, s.LFS = true, true }

func TestSubmodulesAndLargeFiles(t *testing.T) {
	c := newCompany(t)
	s := c.shelf(t)
	r := c.source(both)
	reads := func(s *shelf, name, want string) {
		t.Helper()
		found, err := s.Sources().Find(r)
		must(t, err)
		if data, err := fs.ReadFile(found.Tree, name); err != nil || string(data) != want {
			t.Errorf("%s is %q, %v; want %q", name, data, err, want)
		}
	}
	s.finds(r, "")
	for _, s := range []*shelf{s, s.restart()} {
		reads(s, "chart/values.yaml", "a: b")
		reads(s, "chart/common/common.yaml", "common: true")
		reads(s, "chart/common/vendor/deep/deep.yaml", "deep: true")
		reads(s, "chart/files/large.bin", "large")
	}
	found, err := s.Sources().Find(r)
	must(t, err)
	var names []string
	must(t, fs.WalkDir(found.Tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	}))
	if want := ".gitattributes .gitmodules chart/common/.gitmodules chart/common/common.yaml chart/common/vendor/deep/deep.yaml chart/files/large.bin chart/values.yaml"; strings.Join(names, " ") != want {
		t.Errorf("the files are %q, want %s", names, want)
	}
	before, err := found.Tree.Hash("chart")
	must(t, err)

	// What is here is not fetched again; another commit brings what has changed.
	clear(c.asked)
	s.finds(r, "")
	if len(c.asked) != 1 || c.asked["/charts.git/info/refs"] != 1 {
		t.Errorf("a look at a repository that is as it was asked for %v", c.asked)
	}
	c.push(t, "../common.git", c.pointer("larger"))
	found = s.finds(r, "")
	if after, err := found.Tree.Hash("chart"); err != nil || after == before {
		t.Errorf("the hash is %s still, %v", after, err)
	}
	reads(s, "chart/files/large.bin", "larger")

	// Without them nothing is fetched, and a fault names the file.
	clear(c.asked)
	plain := s.finds(c.source(func(*musterv1alpha1.GitSource) {}), "")
	for name, want := range map[string]string{
		"chart/common/common.yaml": "set submodules: true", "chart/files/large.bin": "set lfs: true",
	} {
		_, err := fs.ReadFile(plain.Tree, name)
		if f, ok := fleet.AsFault(err); !ok || f.File != name || !strings.Contains(f.Message, want) {
			t.Errorf("%s without it: %v, want %s", name, err, want)
		}
	}
	if c.asked["/common.git/info/refs"]+c.asked["/charts.git/info/lfs/objects/batch"] > 0 {
		t.Errorf("it asked for %v", c.asked)
	}
}

// TestPartsThatFail: what cannot be fetched is named, and what was fetched before stays.
func TestPartsThatFail(t *testing.T) {
	stranger := http.NewServeMux() // another host, which must not see the Secret
	seen := ""
	stranger.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		seen += r.Header.Get("Authorization")
		http.NotFound(w, r)
	})
	other := httptest.NewServer(stranger)
	defer other.Close()
	for name, test := range map[string]struct {
		change func(c *company)
		want   string
	}{
		"a submodule that is gone":       {func(c *company) { c.push(t, "../nothing.git", c.pointer("x")) }, "submodule chart/common: "},
		"a commit that it does not have": {func(c *company) { c.inner = strings.Repeat("ab", 20); c.push(t, "../common.git", c.pointer("x")) }, "submodule chart/common: "},
		"a submodule of another host":    {func(c *company) { c.push(t, other.URL+"/common.git", c.pointer("x")) }, "submodule chart/common: " + other.URL},
		"a submodule of the hub's disk":  {func(c *company) { c.push(t, "/etc", c.pointer("x")) }, "it is a path of somebody's own disk"},
		"a file that is not there":       {func(c *company) { c.push(t, "../common.git", c.pointer("x")); clear(c.files) }, "does not give chart/files/large.bin (404: Object does not exist)"},
		"another file": {func(c *company) {
			p := c.pointer("right")
			c.push(t, "../common.git", p)
			for oid := range c.files {
				c.files[oid] = "wrong"
			}
		}, "is not what the repository says of chart/files/large.bin"},
		"a file of another host": {func(c *company) { c.elsewhere = other.URL; c.push(t, "../common.git", c.pointer("x")) }, "there is nothing (HTTP 404)"},
		"itself": {func(c *company) {
			loop := c.parent.commit(map[string]file{"x": text("x")})
			c.parent.push("loop", loop)
			for range maxSubmoduleDepth + 1 {
				loop = c.parent.commit(map[string]file{"in": {filemode.Submodule, loop}, ".gitmodules": text("[submodule \"in\"]\n\tpath = in\n\turl = ../charts.git\n")})
				c.parent.push(loop, loop)
			}
			c.parent.push("main", loop)
		}, "is one too many"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCompany(t)
			s := c.shelf(t)
			r := c.source(both)
			before := s.finds(r, "")
			test.change(c)
			found, err := s.look(r)
			if err != nil || found.Digest != before.Digest || !strings.Contains(found.Problem, test.want) {
				t.Errorf("found %+v, %v; want %s", found, err, test.want)
			}
			if data, err := fs.ReadFile(found.Tree, "chart/files/large.bin"); err != nil || string(data) != "large" {
				t.Errorf("what was there is %q, %v", data, err)
			}
			if _, err := c.shelf(t).look(r); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("from the start: %v", err)
			}
		})
	}
	if seen != "" {
		t.Errorf("another host was shown %q", seen)
	}
}

func TestResolveURL(t *testing.T) {
	for _, test := range []struct{ parent, address, want string }{
		{"https://git.example.com/team/charts.git", "../common.git", "https://git.example.com/team/common.git"},
		{"https://git.example.com/team/charts", "../../other/common.git", "https://git.example.com/other/common.git"},
		{"https://git.example.com/team/charts.git", "./sub.git", "https://git.example.com/team/charts.git/sub.git"},
		{"git@git.example.com:team/charts.git", "../common.git", "git@git.example.com:team/common.git"},
		{"ssh://git@git.example.com:2222/team/charts.git", "../common.git", "ssh://git@git.example.com:2222/team/common.git"},
		{"https://git.example.com/a.git", "https://other.example.com/b.git", "https://other.example.com/b.git"},
		{"https://git.example.com/a.git", "git@other.example.com:b.git", "git@other.example.com:b.git"},
		{"https://git.example.com/a.git", "https://ann:hunter2@other.example.com/b.git", ""},
		{"https://git.example.com/a.git", "/srv/b.git", ""},
		{"https://git.example.com/a.git", "ext::sh -c true", ""},
	} {
		got, err := resolveURL(test.parent, test.address)
		if (err != nil) != (test.want == "") || err == nil && got != test.want {
			t.Errorf("%s of %s is %q, %v; want %q", test.address, test.parent, got, err, test.want)
		}
	}
}
