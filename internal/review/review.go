package review

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
)

// Review is a compared change and what the policies say of it.
type Review struct {
	*plan.Difference
	// Findings of the policies, those that deny first.
	Findings []Finding `json:"findings,omitempty"`
	// Approved says, by the digest of a held plan, who approved it: a person of the host.
	Approved map[string]string `json:"approved,omitempty"`
}

// Input is what a review is made of.
type Input struct {
	// Base and Head were built in the same world.
	Base, Head *plan.Plan
	// Redact hashes sensitive values.
	Redact   fleet.Redactor
	Policies []Policy
	Change   Change
	// Faults that the plans cannot know of: definitions that the API server refuses.
	Faults []fleet.Fault
	// Tenant is true for a repository that must not learn of clusters beyond its own sets, not even how many there are.
	Tenant bool
}

// Of compares the plans and holds the change against the policies.
func Of(ctx context.Context, in Input) (*Review, error) {
	d, err := plan.Compare(in.Base, in.Head, in.Redact)
	if err != nil {
		return nil, err
	}
	d.NewFaults = append(d.NewFaults, in.Faults...)
	policies, err := newPolicyFaults(in.Base.Definitions, in.Head.Definitions)
	if err != nil {
		return nil, err
	}
	d.NewFaults = append(d.NewFaults, policies...)
	fleet.SortFaults(d.NewFaults)
	d.Summary.NewFaults = len(d.NewFaults)
	if in.Tenant {
		d.Summary.Clusters = 0
	}
	r := &Review{Difference: d}
	r.Findings, err = in.evaluate(ctx, d)
	return r, err
}

// newPolicyFaults are the faults of the head's policies that those of the base have not.
func newPolicyFaults(base, head *fleet.Definitions) ([]fleet.Fault, error) {
	was, err := PolicyFaults(base)
	if err != nil {
		return nil, err
	}
	is, err := PolicyFaults(head)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(is, func(f fleet.Fault) bool {
		return slices.ContainsFunc(was, func(o fleet.Fault) bool { return o.Object == f.Object && o.Message == f.Message })
	}), nil
}

// Finding is a rule of a policy that the change breaks.
type Finding struct {
	Policy string `json:"policy"` // namespace/name
	Deny   bool   `json:"deny"`
	// Message for the author.
	Message string `json:"message"`
	// File and Line of the rule, where it is known.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// Failure is a reason why a change fails its check.
type Failure string

// The reasons that a repository can choose from. A policy that denies always fails the check.
const (
	OnFaults Failure = "Faults" // new ones
	OnHeld   Failure = "Held"   // deletions that nobody has approved
)

// Verdict is the answer of a check.
type Verdict struct {
	OK bool `json:"ok"`
	// Line says it, in at most 140 characters: the least that a host has room for.
	Line string `json:"line"`
}

// maxLine is how long the description of a commit status may be on GitHub.
const maxLine = 140

// Verdict says whether the change passes.
func (r *Review) Verdict(failOn ...Failure) Verdict {
	s := r.Summary
	parts := []string{fmt.Sprintf("%d of %s", s.ChangedApplications, count(s.Applications, "application")), fmt.Sprintf("+%d −%d clusters", s.Gained, s.Lost)}
	if r.blind() {
		parts = append(parts, "no cluster is known")
	}
	say := func(n int, what string) {
		if n > 0 {
			parts = append(parts, count(n, what))
		}
	}
	say(s.Updated, "update")
	say(s.NewFaults, "fault")
	unapproved := r.unapproved()
	if s.Held > 0 && unapproved > 0 {
		parts = append(parts, fmt.Sprintf("%d held", unapproved))
	}
	if done := s.Held - unapproved; done > 0 {
		parts = append(parts, fmt.Sprintf("%d approved", done))
	}
	denied, warned := 0, ""
	for _, f := range r.Findings {
		if f.Deny {
			denied++
			if denied == 1 {
				parts = append(parts, "denied by "+f.Policy)
			}
		} else if warned == "" {
			warned = f.Policy
		}
	}
	if denied > 1 {
		parts[len(parts)-1] += fmt.Sprintf(" and %d more", denied-1)
	}
	if warned != "" {
		parts = append(parts, "warning of "+warned)
	}
	v := Verdict{OK: denied == 0, Line: shorten(strings.Join(parts, ", "), maxLine)}
	for _, why := range failOn {
		v.OK = v.OK && (why != OnFaults || s.NewFaults == 0) && (why != OnHeld || unapproved == 0)
	}
	return v
}

// blind: a plan without clusters says nothing about any, which must not look as if nothing changed on them.
func (r *Review) blind() bool { return r.Summary.Clusters == 0 && r.Summary.Applications > 0 }

// unapproved counts the deletions that wait for an approval and have none.
func (r *Review) unapproved() int {
	n := 0
	for _, h := range r.Held {
		if r.Approved[h.Plan] == "" {
			n += h.Deletions
		}
	}
	return n
}

// HeldPlans are the digests that an approval of this change would approve, sorted as the holds are.
func (r *Review) HeldPlans() []string {
	var plans []string
	seen := map[string]bool{}
	for _, h := range r.Held {
		if h.Reason == rollout.ApprovalNeeded && h.Plan != "" && !seen[h.Plan] {
			seen[h.Plan] = true
			plans = append(plans, h.Plan)
		}
	}
	return plans
}

// count with its noun: 1 cluster, 2 clusters.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// shorten cuts a text to a number of characters.
func shorten(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}

// short is a digest as people write it.
func short(digest string) string { return digest[:min(len(digest), 8)] }

// oneLine removes line breaks and control characters.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return -1
		}
		return r
	}, text)
}

// position of something in a file.
func position(file string, line int) string { return fleet.Fault{File: file, Line: line}.Position() }
