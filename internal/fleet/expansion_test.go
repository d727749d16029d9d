package fleet_test

import (
	"strings"
	"testing"

	"github.com/muster-io/muster/internal/fleet"
)

func TestDocumentsFit(t *testing.T) {
	script := "#!/bin/sh\necho \"usage: $0\"\n" + strings.Repeat("for f in *.conf */*.conf; do test -e \"$f\" && cat \"$f\"; done\n", 2000)
	image := "\x89PNG\r\n\x1a\n" + strings.Repeat("\x00\xff*&\x01", 20_000)
	long := "a: &a " + strings.Repeat("x", 100_000) + "\nb: [" + strings.Repeat("*a,", 10_000) + "]\n"
	for name, c := range map[string]struct {
		text string
		fits bool
		why  string
	}{
		"few aliases":       {"a: &a {b: 1}\nc: [*a, *a]\nd: {<<: *a}\n---\ne: '*'\n", true, "an alias is no mistake"},
		"alias of itself":   {"a: &a [*a]\n", false, "it has no end"},
		"long":              {long, false, "a GB"},
		"second document":   {"a: b\n---\n" + long, false, "each counts"},
		"script":            {script, true, "it is no YAML, and nobody writes out what it has no aliases of"},
		"image":             {image, true, "it is no YAML"},
		"for one parser":    {long + "---\n,%Y\n", false, "one parser stumbles over what comes next, the other does not look at it"},
		"the same field":    {strings.Repeat("a: b\n", 3000), false, "of each two an error is made"},
		"very many fields":  {fields(100_000), false, "each is compared with each"},
		"some thousands":    {fields(10_000), true, "a large map is no mistake"},
		"many of the large": {"a: &a\n" + strings.ReplaceAll("\n"+fields(10_000), "\n", "\n  ") + "\nb: [" + strings.Repeat("*a,", 20) + "]\n", false, "each is compared again"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := fleet.DocumentsFit([]byte(c.text)); (err == nil) != c.fits {
				t.Errorf("%s: got %v", c.why, err)
			}
		})
	}
}

func fields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("f")
		for ; i > 0; i /= 10 {
			b.WriteByte(byte('0' + i%10))
		}
		b.WriteString(": x\n")
	}
	return b.String()
}
