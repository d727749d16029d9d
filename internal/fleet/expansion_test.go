package fleet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/muster-io/muster/internal/fleet"
)

func TestAliasesThatExpand(t *testing.T) {
	long := "a: &a " + strings.Repeat("x", 100_000) + "\nb: [" + strings.Repeat("*a,", 10_000) + "]\n"
	fields := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "f%d: x\n", i)
		}
		return b.String()
	}
	for name, row := range map[string]struct {
		text string
		fits bool
		why  string
	}{
		"few aliases":      {"a: &a {b: 1}\nc: [*a, *a]\nd: {<<: *a}\n---\ne: '*'\n", true, "an alias is no mistake"},
		"alias of itself":  {"a: &a [*a]\n", false, "it has no end"},
		"long":             {long, false, "a GB"},
		"second document":  {"a: b\n---\n" + long, false, "each counts"},
		"the same field":   {strings.Repeat("a: b\n", 3000), true, "whoever reads it finds it there twice"},
		"very many fields": {fields(100_000), true, "a large map is no mistake"},
		"larger":           {"a: |\n" + strings.Repeat("  "+strings.Repeat("x", 1000)+"\n", 3000), false, "no API server accepts it"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fleet.ReadYAML(row.text)
			if fits := err == nil; fits != row.fits || !fits && !errors.Is(err, fleet.ErrExpands) && !errors.Is(err, fleet.ErrDocument) {
				t.Errorf("%s: got %v", row.why, err)
			}
		})
	}
}
