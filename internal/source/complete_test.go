package source

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/muster-io/muster/internal/fleet"
)

// A repository that names another's folder or file by its hash, and does not have it, does not get it: neither from the
// objects that are remembered nor from what is remembered by their hash.
func TestWhatAServerLeavesOutIsNotFoundElsewhere(t *testing.T) {
	root := t.TempDir()
	private := newRepository(t, filepath.Join(root, "private.git"))
	revision := private.push("main", private.commit(map[string]file{"charts/secret/values.yaml": text("password: hunter2")}))
	s := newStore(t, root)
	_, err := s.Fetch(t.Context(), Remote{URL: private.dir})
	must(t, err)
	snap, err := s.Snapshot(private.dir, revision, "")
	must(t, err)
	readText(t, snap, "charts/secret/values.yaml") // and remembered

	thief := newRepository(t, filepath.Join(root, "thief.git"))
	for name, entry := range map[string]object.TreeEntry{
		"folder": {Name: "charts", Mode: filemode.Dir, Hash: plumbing.NewHash(gitRun(t, private.dir, "rev-parse", "main:charts"))},
		"file":   {Name: "values.yaml", Mode: filemode.Regular, Hash: plumbing.NewHash(gitRun(t, private.dir, "rev-parse", "main:charts/secret/values.yaml"))},
	} {
		t.Run(name, func(t *testing.T) {
			tree := thief.store(&object.Tree{Entries: []object.TreeEntry{entry}})
			commit := thief.store(&object.Commit{Message: name, TreeHash: tree})
			url := "https://git.example.com/" + name + ".git"
			m, err := s.mirror(url, &address{shown: url})
			must(t, err)
			local, err := OpenLocal(thief.dir)
			must(t, err)
			var pack strings.Builder // what no honest server sends
			_, _, err = encodePack(&pack, []plumbing.Hash{commit, tree}, local)
			must(t, err)
			_, err = m.packs.receive(strings.NewReader(pack.String()), 1<<20)
			must(t, err)
			if _, err := m.check(t.Context(), wanted{object: commit}); err == nil || !strings.Contains(err.Error(), "without all of its files") {
				t.Errorf("a commit that lacks its files is taken: %v", err)
			}
		})
	}
}

func TestFoldersWithoutEnd(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	nested := func(levels, times int) plumbing.Hash {
		tree := r.store(&object.Tree{Entries: []object.TreeEntry{{Name: "a.yaml", Mode: filemode.Regular, Hash: r.blob("a")}}})
		for range levels {
			var entries []object.TreeEntry
			for i := range times {
				entries = append(entries, object.TreeEntry{Name: fmt.Sprintf("%02d", i), Mode: filemode.Dir, Hash: tree})
			}
			tree = r.store(&object.Tree{Entries: entries})
		}
		return tree
	}
	push := func(tree plumbing.Hash) {
		r.push("main", r.store(&object.Commit{Message: "m", TreeHash: tree}).String())
	}
	for name, row := range map[string]struct {
		tree plumbing.Hash
		says string
		why  string
	}{
		"deepest":   {nested(maxDepth-1, 1), "", "the limit itself is allowed"},
		"deep":      {nested(maxDepth, 1), "nested more than 256 deep", "whoever walks it runs out of stack"},
		"many":      {nested(6, 10), "", "a million files are many and few enough"},
		"explosive": {nested(12, 10), "more than 2000000 files", "thirteen folders that a walk never comes to the end of"},
	} {
		push(row.tree)
		s := newStore(t, root)
		_, err := s.Fetch(t.Context(), Remote{URL: r.dir})
		if row.says == "" {
			if err != nil {
				t.Errorf("%s: %v: %s", name, err, row.why)
			}
			continue
		}
		expectFault(t, err, fleet.ContentRefused, fleet.User, row.says)
	}
	// What is known of a folder counts where it is deeper as well.
	s := newStore(t, root)
	push(nested(maxDepth-1, 1))
	_, err := s.Fetch(t.Context(), Remote{URL: r.dir})
	must(t, err)
	push(nested(maxDepth, 1))
	_, err = s.Fetch(t.Context(), Remote{URL: r.dir})
	expectFault(t, err, fleet.ContentRefused, fleet.User, "nested more than 256 deep")
}

func TestHasFetched(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	first := r.commit(map[string]file{"a.yaml": text("first")})
	second := r.push("main", r.commit(map[string]file{"a.yaml": text("second")}, first))
	url := serveHTTP(t, root, basic("ann", "s3cret")).URL + "/fleet.git"
	s := newStore(t)
	remote := Remote{URL: url, Owner: "ann's", Credentials: credentials(t, "username", "ann", "password", "s3cret")}
	_, err := s.Fetch(t.Context(), remote)
	must(t, err)
	_, err = s.Fetch(t.Context(), Remote{URL: url, Owner: "bob's"})
	expectFault(t, err, fleet.SourceUnavailable, fleet.Controller, "refuses the credentials")
	expect := func(owner, revision string, want bool) {
		t.Helper()
		for _, store := range []*Store{s, {Dir: s.Dir}} { // after a restart too
			if have, err := store.HasFetched(url, owner, revision); err != nil || have != want {
				t.Errorf("%s has fetched %.7s: %v, %v", owner, revision, have, err)
			}
		}
	}
	expect("ann's", second, true)
	expect("ann's", first, true) // it came along
	expect("bob's", second, false)
	expect("bob's", first, false)
	expect("ann's", strings.Repeat("a", 40), false)
	must(t, s.Pin(url, "ann's", second))
	rewritten := r.push("main", r.commit(map[string]file{"a.yaml": text("rewritten")}))
	_, err = s.Fetch(t.Context(), remote)
	must(t, err)
	expect("ann's", rewritten, true)
	expect("ann's", second, true) // what was delivered stays
	must(t, s.Unpin(url, "ann's"))
	expect("ann's", second, false)
	expect("ann's", rewritten, false)
}

// Credentials are for the host that they were written down for, and not for one that it sends us to.
func TestRedirectTakesNoCredentialsElsewhere(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	want := r.push("main", r.commit(map[string]file{"a.yaml": text("a")}))
	var asked, told atomic.Int32
	elsewhere := serveHTTP(t, root, func(r *http.Request) bool {
		asked.Add(1)
		if r.Header.Get("Authorization") != "" {
			told.Add(1)
		}
		return true
	})
	for _, other := range []string{elsewhere.URL, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)} {
		here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other+r.URL.RequestURI(), http.StatusFound)
		}))
		t.Cleanup(here.Close)
		for _, secret := range []Credentials{credentials(t, "username", "ann", "password", "hunter2"), credentials(t, "bearerToken", "hunter2")} {
			got, err := newStore(t).Fetch(t.Context(), Remote{URL: here.URL + "/fleet.git", Credentials: secret})
			if err != nil || got != want {
				t.Errorf("a repository that moved is followed: %q, %v", got, err)
			}
		}
	}
	if asked.Load() == 0 || told.Load() > 0 {
		t.Errorf("of %d requests elsewhere, %d carried the credentials", asked.Load(), told.Load())
	}
}

// A Secret that changes counts from the next fetch on, in both directions.
func TestCredentialsRotate(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	r.push("main", r.commit(map[string]file{"a.yaml": text("a")}))
	var accepted atomic.Value
	accepted.Store("one")
	server := serveHTTP(t, root, func(r *http.Request) bool { return basic("ann", accepted.Load().(string))(r) })
	s := newStore(t)
	fetch := func(password string) error {
		_, err := s.Fetch(t.Context(), Remote{URL: server.URL + "/fleet.git", Credentials: credentials(t, "username", "ann", "password", password)})
		return err
	}
	must(t, fetch("one"))
	accepted.Store("two")
	expectFault(t, fetch("one"), fleet.SourceUnavailable, fleet.Controller, "refuses the credentials")
	must(t, fetch("two"))
}

// Names that a file system of another kind could not tell apart, or that are no text, are what Git says they are.
func TestOddNames(t *testing.T) {
	snap := open(t, map[string]file{"a.yaml": text("small"), "A.yaml": text("large"), "data/\xff.bin": text("odd"), "données/é.yaml": text("é")}, "")
	for name, want := range map[string]string{"a.yaml": "small", "A.yaml": "large", "données/é.yaml": "é"} {
		if have := readText(t, snap, name); have != want {
			t.Errorf("%s reads %q", name, have)
		}
	}
	if _, err := snap.Tree.ReadFile("data/\xff.bin"); err == nil || !strings.Contains(err.Error(), "invalid") {
		t.Errorf("a name that is no UTF-8: %v", err)
	}
	if list, err := snap.Tree.ReadDir("data"); err != nil || len(list) != 1 {
		t.Errorf("it does not spoil its folder: %v, %v", list, err)
	}
	if _, err := fleet.Load(t.Context(), open(t, map[string]file{"clusters/\xff.yaml": text("a: b")}, "").Tree); err != nil {
		t.Errorf("it does not spoil the repository: %v", err)
	}
}
