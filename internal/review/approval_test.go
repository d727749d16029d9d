package review_test

import (
	"slices"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/review"
)

func TestApproves(t *testing.T) {
	const digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	cases := map[string]struct {
		comment string
		want    bool
		why     string
	}{
		"as it is asked for": {"/muster approve 0123456789abcdef", true, ""},
		"all of it":          {"/muster approve " + digest, true, ""},
		"with words":         {"looked at it\r\n/muster approve 0123456789abcdef\r\nthanks", true, ""},
		"another plan":       {"/muster approve 0123456789abcde0", false, ""},
		"too little":         {"/muster approve 0123456789", false, "its author could find another plan that begins so"},
		"a quote":            {"> /muster approve 0123456789abcdef\nno!", false, "somebody cites it"},
		"in a block":         {"```\n/muster approve 0123456789abcdef\n```", false, "the hub's own comment has it so"},
		"in a sentence":      {"do /muster approve 0123456789abcdef", false, ""},
		"nothing":            {"/muster approve", false, ""},
	}
	for name, c := range cases {
		if got := review.Approves(c.comment, digest); got != c.want {
			t.Errorf("%s: %v, want %v: %s", name, got, c.want, c.why)
		}
	}
}

func TestCodeOwners(t *testing.T) {
	tree := treeOf("-- CODEOWNERS --\nx @other\n-- .github/CODEOWNERS --\n# who\n* @acme/platform\n/applications/retail/ @alice @acme/retail # shop\n*.md\ndocs/ carol@example.com\n")
	for file, want := range map[string][]string{
		"placements/shops.yaml":                 {"acme/platform"},
		"applications/retail/a/applicatio.yaml": {"alice", "acme/retail"},
		"applications/retail/README.md":         nil,
		"docs/x.txt":                            nil,
	} {
		if got := review.CodeOwnersOf(tree, musterv1alpha1.HostGitHub).Of(file); !slices.Equal(got, want) {
			t.Errorf("%s is owned by %v, want %v", file, got, want)
		}
	}
}

// TestCodeOwnersOfGitea: its patterns are regular expressions for the complete path, and all that match count.
func TestCodeOwnersOfGitea(t *testing.T) {
	tree := treeOf("-- CODEOWNERS --\n# who\nplacements/.* @acme/platform # all of them\napplications/retail/.*\\\\.yaml @alice\n.*/storefront/.* @bob @alice\n!.*\\\\.md @carol\n*.yaml @broken\nteams\\ of/.* @dora\napplications @eve\nnobody/.*\n")
	for file, want := range map[string][]string{
		"placements/shops.yaml":                        {"carol", "acme/platform"},
		"applications/retail/x.yaml":                   {"carol", "alice"},
		"applications/retail/storefront/a.yaml":        {"carol", "bob", "alice"},
		"applications/retail/storefront/README.md":     {"bob", "alice"},
		"applications/README.md":                       nil,
		"teams of/README.md":                           {"dora"},
		"other/applications":                           {"carol"},
		"x/placements/shops.yaml/not-at-the-beginning": {"carol"},
	} {
		if got := review.CodeOwnersOf(tree, musterv1alpha1.HostForgejo).Of(file); !slices.Equal(got, want) {
			t.Errorf("%s is owned by %v, want %v", file, got, want)
		}
	}
}

// TestCodeOwnersWithSections: an owner in one section is none in another, so that a file with sections makes nobody an owner.
func TestCodeOwnersWithSections(t *testing.T) {
	for _, heading := range []string{"[Docs]", "^[Docs]", "[Docs][2] @docs"} {
		tree := treeOf("-- CODEOWNERS --\n* @acme/platform\n\n" + heading + "\n* @docs\n")
		if got := review.CodeOwnersOf(tree, musterv1alpha1.HostGitHub).Of("placements/shops.yaml"); got != nil {
			t.Errorf("with %s it is owned by %v", heading, got)
		}
	}
}
