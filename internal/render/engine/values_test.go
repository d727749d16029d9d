package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/muster-io/muster/internal/fleet"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// TestValuesFilesAreHelms holds that a values file says what Helm reads in it.
func TestValuesFilesAreHelms(t *testing.T) {
	for _, value := range []string{
		"2024-01-01", "2024-01-01T10:00:00Z", "yes", "No", "on", "y", `"yes"`, "0777", "0o777", "0x1F", "1_000", "1.10", "12345678", "12345678901234567890",
		"1e3", "12e03", ".5", "~", "null", "[a, yes, 2024-01-01]", "{yes: no, 1: 0777, 2024-01-01: x}", "'0777'", "1:30", "0b11", "{<<: {p: 1, q: 1}, p: 2}",
	} {
		t.Run(value, func(t *testing.T) {
			helms, err := loader.LoadValues(strings.NewReader("v: " + value))
			if err != nil {
				t.Fatal(err)
			}
			file, err := parseValues("v.yaml", []byte("v: "+value))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(helms, file.values); diff != "" {
				t.Errorf("Helm (-) and a values file (+):\n%s", diff)
			}
		})
	}
}

func TestValuesFiles(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		line int // of the fault
		says string
		why  string
	}{
		"empty":           {"", 0, "", "as Helm takes it"},
		"comments":        {"# a: b\n---\n# c\n", 0, "", "as Helm takes it"},
		"separator":       {"---\na: b\n---\n", 0, "", "an empty document is none"},
		"two documents":   {"a: b\nc: {d: e}\n---\nc: {f: g}\na: null\n", 0, "", "Helm merges them"},
		"a list":          {"- a\n", 1, "values must be a map", "nothing can be merged"},
		"no last newline": {"a: |\n  x", 0, "", "as Helm reads it"},
	} {
		file, err := parseValues("v.yaml", []byte(row.text))
		if row.says == "" {
			helms, helmErr := loader.LoadValues(strings.NewReader(row.text))
			if err != nil || helmErr != nil {
				t.Errorf("%s: %s: %v, %v", name, row.why, err, helmErr)
			} else if diff := cmp.Diff(helms, file.values); diff != "" {
				t.Errorf("%s: %s (-helm +ours):\n%s", name, row.why, diff)
			}
			continue
		}
		if f, ok := fleet.AsFault(err); !ok || f.Line != row.line || !strings.Contains(f.Message, row.says) {
			t.Errorf("%s: %s: %v", name, row.why, err)
		}
	}
}
