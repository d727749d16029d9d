package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// Repository is a real Git repository in a temporary folder, with a branch main.
type Repository struct {
	t   testing.TB
	Dir string
}

// NewRepository makes a repository whose first commit holds the files of a txtar archive.
func NewRepository(t testing.TB, archive string) *Repository {
	t.Helper()
	r := &Repository{t: t, Dir: t.TempDir()}
	r.Git("init", "--quiet", "--initial-branch=main")
	r.Commit(archive)
	return r
}

// URL of the repository, as a FleetRepository names it.
func (r *Repository) URL() string { return "file://" + r.Dir }

// Commit writes the files of a txtar archive and commits everything; it returns the commit. A file with the one line
// "deleted" is deleted.
func (r *Repository) Commit(archive string) string {
	r.t.Helper()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		name := filepath.Join(r.Dir, filepath.FromSlash(f.Name))
		if strings.TrimSpace(string(f.Data)) == "deleted" {
			if err := os.Remove(name); err != nil {
				r.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	r.Git("add", "--all")
	r.Git("commit", "--quiet", "--allow-empty", "--message", "change")
	return strings.TrimSpace(r.Git("rev-parse", "HEAD"))
}

// Git runs a Git command in the repository and returns what it printed.
func (r *Repository) Git(args ...string) string {
	r.t.Helper()
	out, err := r.try(args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// Try runs a Git command that may fail.
func (r *Repository) Try(args ...string) error {
	_, err := r.try(args...)
	return err
}

func (r *Repository) try(args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = r.Dir
	cmd.Env = append(os.Environ(),
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.org", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.org",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
