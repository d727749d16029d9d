package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// TestWorkflowFiles: the examples for CI systems are YAML, and what they call muster with is there.
func TestWorkflowFiles(t *testing.T) {
	files, err := filepath.Glob("../../examples/ci/*/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("examples: %v %v", files, err)
	}
	call := regexp.MustCompile(`muster review "[^\n]*(\n +--[^\n]*)*`)
	flag := regexp.MustCompile(`--([a-z-]+)`)
	root := newRoot(&cli{out: io.Discard, errs: io.Discard, now: time.Now})
	cmd, _, err := root.Find([]string{"review"})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var value map[string]any
		if err := yaml.UnmarshalStrict(data, &value); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if find := `startswith("<!-- muster review -->")`; !strings.Contains(string(data), find) || strings.Contains(string(data), "--edit-last") {
			t.Errorf("%s: it does not find its own comment with %s, and may edit another's", file, find)
		}
		if strings.Contains(string(data), `--author "$GITLAB_USER_LOGIN"`) {
			t.Errorf("%s: who started the pipeline is taken for the author", file)
		}
		text := call.FindString(string(data))
		found := flag.FindAllStringSubmatch(text, -1)
		if !strings.Contains(text, "...$") || len(found) < 5 {
			t.Errorf("%s: calls %q", file, text)
		}
		for _, f := range found {
			if cmd.Flags().Lookup(f[1]) == nil {
				t.Errorf("%s: muster review has no --%s", file, f[1])
			}
		}
	}
}
