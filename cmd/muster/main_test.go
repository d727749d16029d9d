package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/muster-io/muster/internal/test"
)

func TestMain(m *testing.M) {
	testscript.Main(test.Tests{M: m}, map[string]func(){"muster": main, "kubectl-muster": main})
}

// TestScripts runs the program as people do. Each script begins in a Git repository with the fleet of testdata/fleet as
// its one commit.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setupFleet,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "replace": replace, "commit": commit,
		},
	})
}

func setupFleet(env *testscript.Env) error {
	env.Vars = append(env.Vars,
		"HOME="+env.WorkDir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "KUBECONFIG=",
	)
	dir := filepath.Join(env.WorkDir, "fleet")
	if err := os.CopyFS(dir, os.DirFS("testdata/fleet")); err != nil {
		return err
	}
	env.Cd = dir
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"commit", "-q", "-m", "base"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env = dir, env.Vars
		if out, err := cmd.CombinedOutput(); err != nil {
			return errors.Join(err, errors.New(string(out)))
		}
	}
	return nil
}

// exits runs a program that must end with a code: exits 2 muster diff.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// replace edits a file: replace FILE OLD NEW. The text must be there; \n in the new one is a line break.
func replace(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	before := ts.ReadFile(args[0])
	after := strings.ReplaceAll(before, args[1], strings.ReplaceAll(args[2], `\n`, "\n"))
	if after == before {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(file, []byte(after), 0o644))
}

// commit commits everything on a branch, which is made anew: commit BRANCH.
func commit(ts *testscript.TestScript, _ bool, args []string) {
	for _, git := range [][]string{{"checkout", "-q", "-B", args[0]}, {"add", "-A", "."}, {"commit", "-q", "-m", args[0]}} {
		ts.Check(ts.Exec("git", git...))
	}
}
