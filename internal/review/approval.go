package review

import (
	"iter"
	"regexp"
	"strings"
)

// minDigest is how much of a digest an approval on a host gives: the author of a change, who may write anything into it, must not
// be able to find another change whose digest begins like the approved one.
const minDigest = 16

var approval = regexp.MustCompile(`^/muster\s+approve\s+([0-9a-f]{16,64})\s*$`)

// Approves says whether a comment approves a plan: a line of it is "/muster approve" and the beginning of the digest.
func Approves(comment, digest string) bool {
	for line := range commands(comment) {
		m := approval.FindStringSubmatch(line) // a quoted line begins with >
		if m != nil && len(m[1]) >= minDigest && strings.HasPrefix(digest, m[1]) {
			return true
		}
	}
	return false
}

// commands are the lines of a comment that are no code.
func commands(comment string) iter.Seq[string] {
	return func(yield func(string) bool) {
		inFence := false
		for line := range strings.Lines(comment) {
			line = strings.TrimRight(line, "\r\n")
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				inFence = !inFence
				continue
			}
			if !inFence && !yield(line) {
				return
			}
		}
	}
}

// Asks says whether a comment approves some plan, whichever.
func Asks(comment string) bool {
	for line := range strings.Lines(comment) {
		if strings.HasPrefix(line, "/muster approve") {
			return true
		}
	}
	return false
}
