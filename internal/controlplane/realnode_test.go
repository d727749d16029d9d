package controlplane_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/muster-io/muster/internal/controlplane"
)

// TestRealNodeMissing: what a machine lacks for a real node is named with the next step, programs first found, then all there.
func TestRealNodeMissing(t *testing.T) {
	dir := t.TempDir()
	node := controlplane.RealNode{Programs: dir}
	err := node.Missing()
	if err == nil {
		t.Fatal("nothing is missing in an empty folder")
	}
	if runtime.GOOS != "linux" {
		expectParts(t, err, "needs Linux")
		return
	}
	expectParts(t, err, "make node", dir)
	if os.Geteuid() != 0 {
		expectParts(t, err, "as root")
	}
	t.Setenv("PATH", dir)
	expectParts(t, node.Missing(), "install the package runc", "install the package iproute2")
	for _, program := range []string{"runc", "ip", "containerd", "containerd-shim-runc-v2", "ctr", "kubelet", "muster-pause-1.tar"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := node.Missing(); err != nil {
		for _, part := range []string{"make node", "package runc", "package iproute2"} {
			if contains(err, part) {
				t.Errorf("it is there, and said to be missing: %v", err)
			}
		}
	}
}

func expectParts(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !contains(err, part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}

func contains(err error, part string) bool { return err != nil && strings.Contains(err.Error(), part) }
