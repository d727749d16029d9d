package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInitWithinAClone: what init writes for a hub is a repository of its own, whatever clone it is in, and a fleet that is committed
// within a clone is followed at its path.
func TestInitWithinAClone(t *testing.T) {
	outer, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	git := func(dir string, args ...string) string {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git(outer, "init", "--quiet", "--initial-branch=main")
	git(outer, "remote", "add", "origin", "https://git.example.com/tools.git")
	write := func(name string, own bool) string {
		t.Helper()
		dir := filepath.Join(outer, name)
		if _, err := writeStarter(dir); err != nil {
			t.Fatal(err)
		}
		if err := commitStarter(t.Context(), dir, own); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	expect := func(dir string, embedded bool, wantURL, wantPath, says string) {
		t.Helper()
		url, path, err := (&cli{embedded: embedded}).repositoryOf(t.Context(), dir)
		if says != "" {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s is followed at %q, %v; want %q", dir, url, err, says)
			}
			return
		}
		if err != nil || url != wantURL || path != wantPath {
			t.Errorf("%s is followed at %q, path %q, %v", dir, url, path, err)
		}
	}
	own := write("own", true)
	if files := git(own, "ls-files"); !strings.Contains(files, "muster.yaml") {
		t.Errorf("the repository of its own holds %q", files)
	}
	expect(own, true, "file://"+own, "", "")
	expect(own, false, "", "", "Push it to a Git host")
	part := write("part", false)
	if _, err := os.Stat(filepath.Join(part, ".git")); err == nil {
		t.Error("a part of a clone is a repository of its own")
	}
	expect(part, true, "https://git.example.com/tools.git", "part", "")
	expect(t.TempDir(), false, "", "", "in no Git repository")
}

// TestCompletionNamesCommands: whatever is completed is a command.
func TestCompletionNamesCommands(t *testing.T) {
	root := newRoot(&cli{})
	for path := range completes {
		cmd, _, err := root.Find(strings.Fields(path)[1:])
		if err != nil || cmd.CommandPath() != path {
			t.Errorf("%s: there is no such command", path)
		}
	}
}
