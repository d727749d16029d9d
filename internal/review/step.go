package review

import (
	"regexp"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
)

// Step is a step of a rollout that waits for an approval on a host.
type Step struct {
	// Application as namespace/name, the name of the step, and the revision that is rolled out.
	Application, Name, Revision string
}

var stepApproval = regexp.MustCompile(`^/muster\s+approve\s+(\S+/\S+)\s+(\S+)\s+([0-9a-f]{16,64})\s*$`)

// Command is the comment that approves the step.
func (s Step) Command() string {
	return "/muster approve " + s.Application + " " + s.Name + " " + s.Revision[:min(len(s.Revision), minDigest)]
}

// ApprovedBy says whether a comment approves the step, for its revision.
func (s Step) ApprovedBy(comment string) bool {
	for line := range commands(comment) {
		m := stepApproval.FindStringSubmatch(line)
		if m != nil && m[1] == s.Application && m[2] == s.Name && strings.HasPrefix(s.Revision, m[3]) {
			return true
		}
	}
	return false
}

// Waiting is the comment on a merged pull request about steps that wait for an approval.
func Waiting(revision string, steps []Step, approvers []string) string {
	w := &markdown{}
	w.line("### Muster: ⏳ %s waits for an approval", fleet.ShortRevision(revision))
	w.line("")
	for _, s := range steps[:min(len(steps), 20)] {
		w.line("- step **%s** of %s: comment %s", escape(s.Name), escape(s.Application), span(s.Command()))
	}
	if n := len(steps) - 20; n > 0 {
		w.line("- … %s more", count(n, "step"))
	}
	w.line("")
	var who []string
	for _, name := range approvers {
		who = append(who, span(name))
	}
	w.line("It takes one of %s, who is not the author.", strings.Join(who, ", "))
	return w.b.String()
}
