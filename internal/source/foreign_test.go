package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/muster-io/muster/internal/fleet"
)

// borrower is a repository whose objects lie in another one.
func borrower(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	lender, err := git.PlainInit(filepath.Join(root, "lender"), false)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := lender.Worktree()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "lender", "a.yaml"), []byte("a: b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Add("a.yaml"); err != nil {
		t.Fatal(err)
	}
	head, err := tree.Commit("x", &git.CommitOptions{Author: &object.Signature{Name: "a", Email: "a@example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(root, "shared")
	if _, err := git.PlainInit(shared, false); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"objects/info/alternates": filepath.Join(root, "lender", ".git", "objects") + "\n",
		"refs/heads/master":       head.String() + "\n",
	} {
		file := filepath.Join(shared, ".git", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return shared
}

// TestBorrowedObjects: the command line reads what a clone borrows, and a hub says that it does not.
func TestBorrowedObjects(t *testing.T) {
	dir := borrower(t)
	local, err := OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := local.Resolve("HEAD")
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := local.Snapshot(revision, ".")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := snapshot.Tree.ReadFile("a.yaml"); err != nil || string(data) != "a: b\n" {
		t.Errorf("got %q, %v", data, err)
	}
	s := &Store{Dir: t.TempDir(), Local: []string{dir}}
	_, err = s.Fetch(t.Context(), Remote{URL: "file://" + dir})
	if f, ok := fleet.AsFault(err); !ok || f.Reason != fleet.SourceUnavailable || f.ActionRequiredBy != fleet.User || !strings.Contains(f.Message, "borrows objects of another repository (objects/info/alternates)") {
		t.Errorf("got %v", err)
	}
}

// TestSHA256: what it is is said, wherever the repository lies.
func TestSHA256(t *testing.T) {
	dir := t.TempDir()
	repo, err := git.PlainInit(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	config, err := repo.Config()
	if err != nil {
		t.Fatal(err)
	}
	config.Raw.Section("core").SetOption("repositoryformatversion", "1")
	config.Raw.Section("extensions").SetOption("objectformat", "sha256")
	text, err := config.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".git", "config"), []byte(strings.Replace(string(text), "[core]", "[core]\n\trepositoryformatversion = 1", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	const says = "names its objects by SHA-256"
	if _, err := OpenLocal(dir); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v", err)
	}
	s := &Store{Dir: t.TempDir(), Local: []string{dir}}
	if _, err := s.Fetch(t.Context(), Remote{URL: "file://" + dir}); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v", err)
	}
}

// TestOtherFiltersAreNotRun: a file with a filter that nobody here has is what git makes of it in a clone without that filter.
func TestOtherFiltersAreNotRun(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	revision := r.push("main", r.commit(map[string]file{".gitattributes": text("*.yaml filter=tidy\n"), "a.yaml": text("a:   b\n")}))
	clone := filepath.Join(root, "clone")
	gitRun(t, root, "clone", "--quiet", r.dir, clone)
	want, err := os.ReadFile(filepath.Join(clone, "a.yaml"))
	must(t, err)
	s := newStore(t, root)
	_, err = s.Fetch(t.Context(), Remote{URL: "file://" + r.dir})
	must(t, err)
	snapshot, err := s.Snapshot("file://"+r.dir, revision, "")
	must(t, err)
	if got := readText(t, snapshot, "a.yaml"); got != string(want) {
		t.Errorf("it reads %q, git %q", got, want)
	}
}
