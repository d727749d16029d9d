package main

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// TestUnmapProgram: the process has fewer pages of its program after it has given them back, and runs on.
func TestUnmapProgram(t *testing.T) {
	mapped := func() int {
		t.Helper()
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		kilobytes, err := strconv.Atoi(string(regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(status)[1]))
		if err != nil {
			t.Fatal(err)
		}
		return kilobytes
	}
	before := mapped()
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
	if after := mapped(); after > before/2 {
		t.Errorf("%d kB of files are mapped, and %d were", after, before)
	}
}
