package review

import (
	"strings"
	"testing"
)

// TestStepApproval: a comment approves a step when a line of it, outside of code, names application, step and enough of the revision.
func TestStepApproval(t *testing.T) {
	s := Step{Application: "retail/shop", Name: "canary/2", Revision: "0123456789abcdef0123456789abcdef01234567"}
	for comment, want := range map[string]bool{
		s.Command():                     true,
		"good\n" + s.Command() + "\r\n": true,
		"/muster approve retail/shop canary/2 " + s.Revision:      true,
		"/muster approve retail/shop canary/2 0123456":            false, // too little of it
		"/muster approve retail/shop canary/2 0123456789abcdef99": false,
		"/muster approve retail/shop canary/1 0123456789abcdef":   false,
		"/muster approve retail/other canary/2 0123456789abcdef":  false,
		"> " + s.Command():                                         false,
		"```\n" + s.Command() + "\n```":                            false,
		"do not /muster approve retail/shop canary/2 0123456789ab": false,
	} {
		if s.ApprovedBy(comment) != want {
			t.Errorf("%q: %v, want %v", comment, !want, want)
		}
	}
	if text := Waiting(s.Revision, []Step{s}, []string{"acme/platform"}); !strings.Contains(text, "`"+s.Command()+"`") || !strings.Contains(text, "one of `acme/platform`") {
		t.Error(text)
	}
}
