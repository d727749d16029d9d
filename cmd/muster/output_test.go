package main

import "testing"

// TestPrinterIsSafe: only the printer colours, whatever the text wants, and one line is one line.
func TestPrinterIsSafe(t *testing.T) {
	const evil = "\x1b[31mEVIL\x1b[2J\r\nnext\u009b1m"
	for color, want := range map[bool]string{
		true:  "\x1b[1m[31mEVIL[2J  next1m\x1b[0m [31mEVIL[2J  next1m\n",
		false: "[31mEVIL[2J  next1m [31mEVIL[2J  next1m\n",
	} {
		p := &printer{color: color}
		p.line(p.paint(bold, evil), evil)
		if got := p.b.String(); got != want {
			t.Errorf("color %v: %q, want %q", color, got, want)
		}
	}
	if got, want := harmless("one\x1b[2J\ntwo\r"), "one[2J\ntwo "; got != want {
		t.Errorf("an error: %q, want %q", got, want)
	}
}
