package fleet_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/muster-io/muster/internal/fleet"
)

// TestReadYAML holds the reader against kubectl's own decoder.
func TestReadYAML(t *testing.T) {
	for name, text := range map[string]string{
		"dates and bools":      "a: 2024-01-01\nb: yes\nc: No\nd: on\ne: 2024-01-01T10:00:00Z\nf: y\ng: \"yes\"\n",
		"numbers":              "a: 0777\nb: 0o777\nc: 0x1F\nd: 1_000\ne: 1.10\nf: 12345678901\ng: 1e3\nh: 12e03\ni: .5\nj: 0b11\nk: 18446744073709551615\nl: 1:30\n",
		"null":                 "a: ~\nb:\nc: null\nd: Null\n",
		"keys":                 "1: a\nyes: b\n1.5: c\n2024-01-01: d\n0777: e\n",
		"merge":                "a: &a {p: 1, q: 1}\nb: {<<: *a, p: 2}\n",
		"merge behind":         "a: &a {p: 1, q: 1}\nb:\n  p: 2\n  <<: *a\n",
		"merges":               "a: &a {p: 1, q: 1}\nb: &b {q: 2, r: 2}\nc:\n  <<: [*a, *b]\n  r: 3\n",
		"merge of a merge":     "a: &a {p: 1}\nb: &b {<<: *a, q: 2}\nc: {<<: *b, r: 3}\n",
		"two merges":           "a: &a {p: 1}\nb: &b {q: 2}\nc:\n  <<: *a\n  <<: *b\n",
		"aliases":              "a: &a [1, 2]\nb: *a\n",
		"strings":              "a: |\n  x\nb: >\n  x\n  y\nc: |-\n  x\nd: 'it''s'\ne: \"\\u263a\\x41\"\n",
		"no last newline":      "a: |\n  x",
		"kept newlines":        "a: |+\n  x\n\n",
		"kept without newline": "a: |+\n  x",
		"kept before the next": "a: |+\n  x\n\n---\nb: |+\n  y\n\n\n---\nc: |\n  z",
		"CRLF":                 "a: |\r\n  x\r\n  y\r\n---\r\nb: 1\r\n",
		"documents":            "# comment\n---\na: 1\n--- # comment\nb: 2\n---\n# only a comment\n---\n\n---\nc: 3\n---\n",
		"null documents":       "---\nnull\n---\n~\n---\na: 1\n",
		"JSON":                 "{\"a\": 1, \"b\": [true, null, 1.5, \"x\\/y\\ud83d\\ude00\"]}\n",
		"JSON stream":          "{\"a\": 1}\n{\"b\": 2}\n",
		"JSON stream, no line": "{\"a\": 1}{\"b\": 2} {\"c\": \"}{\"}",
		"JSON and separators":  "{\"a\": 1}\n---\n{\"b\": 2}\n",
		"JSON in lines":        "{\n  \"a\": 1\n}\n\n{\n  \"b\": 2\n}\n",
		"flow":                 "{a: 1, b: [x, yes]}\n---\n{c: 2,}\n",
		"list":                 "- a: 1\n- b: 2\n",
		"BOM":                  "\ufeffa: 1\n",
		"tagged":               "a: !!str 1\nb: !!int \"2\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			want := kubectlReads(t, text)
			documents, err := fleet.ReadYAML(text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, valuesOf(t, documents)); diff != "" {
				t.Errorf("kubectl (-) and ours (+):\n%s", diff)
			}
		})
	}
}

// kubectlReads are the documents that are not null.
func kubectlReads(t *testing.T, text string) []any {
	t.Helper()
	var documents []any
	decoder := kyaml.NewYAMLOrJSONDecoder(bufio.NewReader(strings.NewReader(text)), 4096)
	for {
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			t.Fatal("kubectl: ", err)
		}
		if raw = bytes.TrimSpace(raw); len(raw) > 0 && string(raw) != "null" {
			documents = append(documents, valueOf(t, raw))
		}
	}
}

func valueOf(t *testing.T, data []byte) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func valuesOf(t *testing.T, documents []fleet.YAML) []any {
	t.Helper()
	var values []any
	for _, y := range documents {
		values = append(values, valueOf(t, y.JSON))
	}
	return values
}

func TestReadYAMLBeyondKubectl(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		want []any
		why  string
	}{
		"end marker":  {"a: 1\n...\nb: 2\n", []any{map[string]any{"a": 1.0}, map[string]any{"b": 2.0}}, "kubectl drops the second silently"},
		"directive":   {"%YAML 1.1\n---\na: 1\n", []any{map[string]any{"a": 1.0}}, "kubectl takes the directive for a document"},
		"on the line": {"--- {a: 1}\n--- |\n  x\n", []any{map[string]any{"a": 1.0}, "x\n"}, "YAML allows it"},
	} {
		documents, err := fleet.ReadYAML(row.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(row.want, valuesOf(t, documents)); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", name, row.why, diff)
		}
	}
}

// TestReadYAMLFails holds that what cannot be read is an error at its line, and never silence.
func TestReadYAMLFails(t *testing.T) {
	for name, row := range map[string]struct {
		text  string
		line  int
		reads int
		says  string
	}{
		"JSON then text":       {"{\"a\": 1}\nfoo\n", 2, 0, "did not find expected"},
		"JSON then broken":     {"{\"a\": 1}\n{\"b\": \n", 2, 0, "did not find expected"},
		"flow then flow":       {"{a: 1}\n{b: 2}\n", 2, 0, "did not find expected"},
		"text then text":       {"\"a\"\n\"b\"\n", 2, 0, "did not find expected"},
		"second document":      {"a: 1\n---\nb: [\n", 3, 1, "did not find expected"},
		"tabs":                 {"a: 1\nb:\n\t- x\n", 3, 0, "cannot start any token"},
		"colon":                {"a: 1\nb: c: d\n", 2, 0, "mapping values are not allowed"},
		"unknown anchor":       {"a: 1\nb: *secret\n", 1, 0, "unknown"},
		"merge of text":        {"a: 1\n<<: secret\n", 1, 0, "map merge requires map or sequence of maps"},
		"no number of JSON":    {"---\na: .nan\n", 2, 0, "unsupported value"},
		"key of no JSON":       {"? {secret: 1}\n: b\n", 1, 0, "map key"},
		"alias of itself":      {"a: &a [*a]\n", 1, 0, "aliases"},
		"characters":           {"a: 1\nb: \"\x01\"\n", 1, 0, "control characters"},
		"JSON with a bad text": {"{\"a\": \"\xff\"}\n", 1, 0, "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			documents, err := fleet.ReadYAML(row.text)
			var y *fleet.YAMLError
			if !errors.As(err, &y) {
				t.Fatalf("got %v and %v", valuesOf(t, documents), err)
			}
			if y.Line != row.line || len(documents) != row.reads || !strings.Contains(y.Message, row.says) || strings.Contains(y.Message, "secret") {
				t.Errorf("got %d documents and line %d %q, want %d, line %d, %q", len(documents), y.Line, y.Message, row.reads, row.line, row.says)
			}
		})
	}
}

func TestLines(t *testing.T) {
	documents, err := fleet.ReadYAML("# c\na: 1\n---\n# comment\nx: &x {p: 1, q: 1}\ny:\n  <<: *x\n  p: 2\nz:\n- a\n- <<: [*x, {r: 1}]\n  q: 3\n---\n\n{\"k\": 1}\n{\"l\":\n  {\"m\": 2}}\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]int
	var begins []int
	for _, y := range documents {
		lines, twice, err := y.Lines()
		if err != nil || twice != "" {
			t.Errorf("line %d: %q, %v", y.Line, twice, err)
		}
		got, begins = append(got, lines), append(begins, y.Line)
	}
	want := []map[string]int{
		{"a": 2},
		{"x": 5, "x.p": 5, "x.q": 5, "y": 6, "y.p": 8, "y.q": 5, "z": 9, "z[0]": 10, "z[1]": 11, "z[1].p": 5, "z[1].q": 12, "z[1].r": 11},
		{"k": 15},
		{"l": 16, "l.m": 17},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := []int{2, 5, 15, 16}; !slices.Equal(begins, want) {
		t.Errorf("the documents begin at %v, want %v", begins, want)
	}
	for text, want := range map[string]string{
		"a: {b: 1, c: {d: 1, \"d\": 2}}\n":          "a.c.d",
		"a: [{b: 1, b: 2}]\n":                       "a[0].b",
		"a: &a {p: 1}\nb: {<<: *a, p: 2, <<: *a}\n": "",
		"a: &a {p: 1}\nb: {<<: *a, p: 2, p: 3}\n":   "b.p",
		"{\"a\": 1, \"a\": 2}\n":                    "a",
		"a: {\"<<\": 1}\n":                          "",
		"a: &a {p: 1, p: 2}\nb: {<<: [*a], p: 3}\n": "a.p",
	} {
		documents, err := fleet.ReadYAML(text)
		if err != nil || len(documents) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		if _, twice, _ := documents[0].Lines(); twice != want {
			t.Errorf("%s: %q is there twice, want %q", text, twice, want)
		}
	}
}

// FuzzReadYAML holds that no text is read otherwise than kubectl reads it: the same documents, or an error of ours, but for
// what kubectl drops or refuses.
func FuzzReadYAML(f *testing.F) {
	for _, text := range []string{"a: 1\n---\nb: yes\n", "{\"a\": 1}{\"b\": 2}", "a: &a {b: 1}\nc: {<<: *a, b: 2}\n", "a: |+\n x\n\n---\n", "...\n%Y\n--- |\n x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		documents, err := fleet.ReadYAML(text)
		if err != nil {
			return
		}
		for _, y := range documents {
			if !json.Valid(y.JSON) || y.Line < 1 || y.Line > strings.Count(text, "\n")+1 {
				t.Fatalf("line %d: %q", y.Line, y.JSON)
			}
			if lines, _, err := y.Lines(); err == nil {
				for path, line := range lines {
					if line < 1 || line > strings.Count(text, "\n")+1+strings.Count(text, "\r") {
						t.Fatalf("%s is in line %d", path, line)
					}
				}
			}
		}
	})
}
