package controlplane_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/muster-io/muster/internal/controlplane"
)

// parentVariable makes this test's binary a program that starts an etcd in the directory that it names, says so, and
// lives until its input ends.
const parentVariable = "CONTROLPLANE_TEST_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentVariable); dir != "" {
		os.Exit(parent(dir, len(os.Args) > 1 && os.Args[1] == "detached"))
	}
	os.Exit(m.Run())
}

func parent(dir string, detached bool) int {
	if _, err := controlplane.StartEtcd(context.Background(), controlplane.Options{Dir: dir, Detached: detached}); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("started")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// TestParentDies kills the program that started an etcd: an attached etcd dies with it, a detached one stays, is taken
// over by the next start, and ends with Stop.
func TestParentDies(t *testing.T) {
	t.Run("attached", func(t *testing.T) {
		p := orphan(t, t.TempDir(), "attached")
		eventually(t, func() error {
			if p.Alive() {
				return fmt.Errorf("%s (process %d) outlives its parent", p.Program, p.PID)
			}
			return nil
		})
	})
	t.Run("detached", func(t *testing.T) {
		dir := t.TempDir()
		p := orphan(t, dir, "detached")
		t.Cleanup(func() { check(t, controlplane.Stop(dir)) })
		if !p.Alive() {
			t.Fatal("a detached etcd died with its parent")
		}
		etcd, err := controlplane.StartEtcd(t.Context(), controlplane.Options{Dir: dir, Detached: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := etcd.Processes(); len(got) != 1 || got[0].PID != p.PID {
			t.Errorf("the next start runs %v, want to take over process %d", got, p.PID)
		}
		if err := controlplane.Stop(dir); err != nil {
			t.Fatal(err)
		}
		if p.Alive() {
			t.Error("etcd runs on after Stop")
		}
	})
}

// TestStopSparesStrangers: a recorded PID that another program has by now is not ended.
func TestStopSparesStrangers(t *testing.T) {
	dir := t.TempDir()
	record := fmt.Sprintf(`[{"program": "etcd", "pid": %d, "args": ["/bin/etcd", "--name=default"]}]`, os.Getpid())
	if err := os.WriteFile(dir+"/processes.json", []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, controlplane.Stop(dir)) // a wrong one would end this test
}

// orphan has another program start an etcd, kills that program and returns the etcd.
func orphan(t *testing.T, dir, how string) controlplane.Process {
	t.Helper()
	parent := exec.Command(os.Args[0], how)
	parent.Env = append(os.Environ(), parentVariable+"="+dir)
	if _, err := parent.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "started\n" {
		t.Fatalf("the parent said %q, %v", line, err)
	}
	opened, err := controlplane.Open(dir)
	if err == nil {
		t.Fatalf("an etcd alone opened as a control plane: %v", opened.Processes())
	}
	p := recorded(t, dir)
	if !p.Alive() {
		t.Fatalf("%v does not run", p)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	return p
}

func recorded(t *testing.T, dir string) controlplane.Process {
	t.Helper()
	data, err := os.ReadFile(dir + "/processes.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []controlplane.Process
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 {
		t.Fatalf("recorded %v, want one process", all)
	}
	return all[0]
}
