package controlplane_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/muster-io/muster/internal/controlplane"
)

// TestStartProgram: a program that runs is left alone, a dead one is started again, and a process that has by now the number
// of a dead one is neither taken for it nor ended.
func TestStartProgram(t *testing.T) {
	dir := t.TempDir()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	launch := func(want bool, seconds string) controlplane.Process {
		t.Helper()
		p, started, err := controlplane.StartProgram(dir, "hub", sleep, []string{seconds}, false)
		if err != nil {
			t.Fatal(err)
		}
		if started != want || !p.Alive() {
			t.Fatalf("started %v (alive %v), want %v", started, p.Alive(), want)
		}
		return p
	}
	first := launch(true, "3600")
	if again := launch(false, "3600"); again.PID != first.PID {
		t.Errorf("a program that runs was started again as %d", again.PID)
	}
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if first.Alive() {
			return fmt.Errorf("process %d lives", first.PID)
		}
		return nil
	})
	second := launch(true, "3600")
	if other := launch(true, "7200"); second.Alive() || other.PID == second.PID {
		t.Error("a program with other arguments is not ended first")
	}
	check(t, controlplane.StopPrograms(dir))

	// After a reboot: the number in the record is this test's.
	stale, err := json.Marshal([]controlplane.Process{{Program: "hub", PID: os.Getpid(), Args: []string{sleep, "3600"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "processes.json"), stale, 0o600); err != nil {
		t.Fatal(err)
	}
	if p := launch(true, "3600"); p.PID == os.Getpid() {
		t.Error("a stranger was taken for the program")
	}
	check(t, controlplane.StopPrograms(dir)) // ending the stranger would end this test
}

// TestTemporaryFolderIsTheSame: programs run in a folder of their own, and find the folder for temporary files that this one
// has, also when it is named relative to here.
func TestTemporaryFolderIsTheSame(t *testing.T) {
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", "./odd folder")
	if _, _, err := controlplane.StartProgram(dir, "env", "/bin/sh", []string{"-c", `echo "$TMPDIR"`}, false); err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(here, "odd folder") + "\n"
	eventually(t, func() error {
		said, err := os.ReadFile(controlplane.ProgramLog(dir, "env"))
		if err == nil && string(said) != want {
			err = fmt.Errorf("TMPDIR is %q, want %q", said, want)
		}
		return err
	})
}
