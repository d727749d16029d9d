package overview

import (
	"strings"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

func TestHeldBy(t *testing.T) {
	of := func(plans ...string) []HeldObject {
		var list []HeldObject
		for _, p := range plans {
			list = append(list, HeldObject{Kind: "Application", Name: "retail/" + p, Held: &musterv1alpha1.Held{Plan: p}})
		}
		return list
	}
	for name, row := range map[string]struct {
		held   []HeldObject
		prefix string
		want   int
		err    string
	}{
		"one":         {of("aaaaaa11", "bbbbbb22"), "aaaaaa", 1, ""},
		"same plan":   {of("aaaaaa11", "aaaaaa11"), "aaaaaa1", 2, ""},
		"ambiguous":   {of("aaaaaa11", "aaaaaa22"), "aaaaaa", 0, "2 plans"},
		"none so":     {of("aaaaaa11"), "cccccc", 0, "held are aaaaaa11 (Application retail/aaaaaa11)"},
		"none at all": {nil, "cccccc", 0, "nothing is held"},
		"too short":   {of("aaaaaa11"), "a", 0, "at least 6"},
		"empty":       {of("aaaaaa11"), "", 0, "at least 6"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := heldBy(row.held, row.prefix)
			if len(got) != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
