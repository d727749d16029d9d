package crds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// No definition has a field with a default that may be null, so the rule is tested on a schema of its own.
func TestNullStaysWhereItIsAllowed(t *testing.T) {
	field := func(nullable bool) map[string]any { return map[string]any{"default": "x", "nullable": nullable} }
	schema := map[string]any{"properties": map[string]any{"allowed": field(true), "not": field(false)}}
	got := map[string]any{"allowed": nil, "not": nil}
	fill(got, schema)
	if diff := cmp.Diff(map[string]any{"allowed": nil, "not": "x"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
