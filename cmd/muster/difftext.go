package main

import (
	"fmt"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/review"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

// How much of each is shown without --full.
const (
	maxSections = 40 // placements, applications
	maxGroups   = 8
	maxObjects  = 12
	maxFields   = 12
	maxValue    = 70 // characters
)

func printDifference(p *printer, a *diffAnswer, world string) {
	d := a.Difference
	for _, line := range headline(a, world) {
		p.line(line)
	}
	if d.Empty() && len(d.Held)+len(d.NewWarnings)+len(a.Findings) == 0 {
		p.line("nothing changes")
		return
	}
	p.findings(a.Findings)
	p.section(len(d.Definitions), "definitions", func(i int) { p.definition(d.Definitions[i]) })
	p.section(len(d.Placements), "placements", func(i int) { p.placement(d.Placements[i]) })
	p.section(len(d.Applications), "applications", func(i int) { p.application(d.Applications[i]) })
	p.section(len(d.Held), "holds", func(i int) { p.hold(d.Held[i]) })
	p.faults("FAULT", red, d.NewFaults)
	p.faults("RESOLVED", green, d.ResolvedFaults)
	p.faults("WARNING", yellow, d.NewWarnings)
}

// headline says what was compared, where, and how much changes.
func headline(a *diffAnswer, world string) []string {
	s := a.Summary
	what := []string{
		fmt.Sprintf("%d of %s", s.ChangedApplications, count(s.Applications, "application")),
		fmt.Sprintf("+%d −%d clusters", s.Gained, s.Lost),
		count(s.Updated, "update"),
	}
	if s.Held > 0 {
		what = append(what, fmt.Sprintf("%d HELD", s.Held))
	}
	if s.NewFaults > 0 {
		what = append(what, count(s.NewFaults, "new fault"))
	}
	if s.ResolvedFaults > 0 {
		what = append(what, fmt.Sprintf("%d resolved", s.ResolvedFaults))
	}
	if s.NewWarnings > 0 {
		what = append(what, count(s.NewWarnings, "new warning"))
	}
	what = append(what, a.rendering.String())
	return []string{
		fmt.Sprintf("plan %s · base %s → head %s · %s · %s", short(a.Head.Plan),
			fleet.ShortRevision(a.Base.Revision), fleet.ShortRevision(a.Head.Revision), world, count(s.Clusters, "cluster")),
		strings.Join(what, " · "),
	}
}

// findings prints the rules of policies that the change breaks.
func (p *printer) findings(findings []review.Finding) {
	for _, f := range findings {
		title := p.paint(yellow, "WARNED")
		if f.Deny {
			title = p.paint(red, "DENIED")
		}
		p.linef("%s by %s   %s   %s", title, p.paint(bold, f.Policy), position(f.File, f.Line), f.Message)
	}
}

// section prints at most maxSections things.
func (p *printer) section(n int, noun string, one func(i int)) {
	for i := range n {
		if i == maxSections && !p.full {
			p.linef("… %d more %s (--full shows them)", n-i, noun)
			return
		}
		one(i)
	}
}

func (p *printer) sign(e plan.Edit) string {
	switch e {
	case plan.Added:
		return p.paint(green, "+")
	case plan.Removed:
		return p.paint(red, "−")
	}
	return "~"
}

func (p *printer) definition(d plan.DefinitionDifference) {
	p.linef("%s %s %s   %s", p.paint(bold, "DEFINITION"), p.sign(d.Edit), d.Object, position(d.File, d.Line))
	p.fields("    ", plain(d.Fields))
}

func plain(fields []work.FieldChange) []plan.FieldChange {
	var list []plan.FieldChange
	for _, f := range fields {
		list = append(list, plan.FieldChange{FieldChange: f})
	}
	return list
}

func edited(e plan.Edit) string {
	if e == plan.Changed {
		return ""
	}
	return " (" + strings.ToLower(string(e)) + ")"
}

func (p *printer) placement(d plan.PlacementDifference) {
	p.linef("%s %s%s   %s   %s", p.paint(bold, "PLACEMENT"), d.Placement, edited(d.Edit), position(d.File, d.Line), counts(d.Before, d.After))
	if d.Problem != "" {
		p.linef("  ! misconfigured: %s", oneLine(d.Problem))
	}
	p.clusters(green, "+", d.Gained)
	p.clusters(red, "−", d.Lost)
	p.fields("    ", plain(d.Fields))
}

func counts(before, after int) string {
	if before == after {
		return count(after, "cluster")
	}
	return fmt.Sprintf("%d → %s", before, count(after, "cluster"))
}

// clusters prints groups of clusters: how many, why, which.
func (p *printer) clusters(style, sign string, groups []plan.ClusterGroup) {
	shown, more := limited(p, groups, maxGroups)
	for _, g := range shown {
		reason := g.Reason
		if g.Was != "" && g.Was != g.Reason {
			reason += " (was: " + g.Was + ")"
		}
		p.linef("  %s %3d  %s   %s", p.paint(style, sign), len(g.Clusters), oneLine(reason), p.names(g.Clusters))
	}
	if more > 0 {
		p.linef("  %s … %d more reasons", sign, more)
	}
}

// became says whether an application is new, removed or renamed.
func became(d plan.ApplicationDifference) string {
	if d.RenamedFrom != "" {
		return " (renamed from " + d.RenamedFrom + ")"
	}
	return edited(d.Edit)
}

func (p *printer) application(d plan.ApplicationDifference) {
	p.linef("%s %s%s   %s   %s", p.paint(bold, "APPLICATION"), d.Application, became(d), position(d.File, d.Line), counts(d.Before, d.After))
	p.clusters(green, "+", d.Gained)
	p.clusters(red, "−", d.Lost)
	if len(d.Recovered) > 0 {
		p.linef("  %s %3d  can be planned again   %s", p.paint(green, "+"), len(d.Recovered), p.names(d.Recovered))
	}
	p.fields("    ", plain(d.Fields))
	shown, more := limited(p, d.Changes, maxGroups)
	for i, g := range shown {
		p.changes(groupName(i), g)
	}
	if more > 0 {
		p.linef("  … %d more groups of clusters (--full shows them)", more)
	}
}

// groupName is A, B, …, Z, AA, AB and so on.
func groupName(i int) string {
	name := ""
	for i++; i > 0; i = (i - 1) / 26 {
		name = string(rune('A'+(i-1)%26)) + name
	}
	return name
}

// about describes the clusters of a group, beside their names.
func about(g plan.ChangeGroup) string {
	var notes []string
	if g.Label != "" {
		notes = append(notes, g.Label)
	}
	if len(g.Overrides) > 0 {
		notes = append(notes, "overrides "+strings.Join(g.Overrides, ", "))
	}
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, "; ") + ")"
}

func (p *printer) changes(name string, g plan.ChangeGroup) {
	p.linef("  %s  %s%s   %s", p.paint(bold, name), count(len(g.Clusters), "cluster"), about(g), p.names(g.Clusters))
	shown, more := limited(p, g.Objects, maxObjects)
	for _, o := range shown {
		p.object(o)
	}
	if more > 0 {
		p.linef("     … %d more objects (--full shows them)", more)
	}
	if len(g.Delivery) > 0 {
		p.line("     ~ how it is applied")
		p.fields("         ", plain(g.Delivery))
	}
}

func (p *printer) object(o plan.ObjectChange) {
	text := fmt.Sprintf("     %s %s", p.sign(o.Edit), o.Object)
	if o.Stays {
		text += "   (leaves the application and stays on the cluster)"
	}
	if o.GainedBy != "" {
		text += "   moves to application " + o.GainedBy
	}
	if o.From != "" {
		text += fmt.Sprintf("   moves from work %s to %s", o.From, o.To)
	}
	p.line(text)
	p.fields("         ", o.Fields)
}

func (p *printer) fields(indent string, fields []plan.FieldChange) {
	shown, more := limited(p, fields, maxFields)
	for _, f := range shown {
		p.field(indent, f)
	}
	if more > 0 {
		p.linef("%s… %d more fields (--full shows them)", indent, more)
	}
}

func (p *printer) field(indent string, f plan.FieldChange) {
	layer := ""
	if f.Layer != "" {
		layer = "   " + p.paint(faint, f.Layer)
	}
	if f.Varies {
		layer += "   another on each cluster"
	}
	if strings.Contains(f.Before, "\n") && strings.Contains(f.After, "\n") {
		p.linef("%s%s:%s", indent, f.Path, layer)
		p.textChange(indent+"  ", f.Before, f.After)
		return
	}
	if f.Before == "" && f.After == "" {
		p.linef("%s%s%s", indent, f.Path, layer)
		return
	}
	p.linef("%s%s: %s → %s%s", indent, f.Path, p.value(f.Before), p.value(f.After), layer)
}

func (p *printer) value(text string) string {
	if text == "" {
		return "(none)"
	}
	text = oneLine(text)
	if p.full {
		return text
	}
	return shorten(text, maxValue)
}

// textChange shows the lines between the first and the last that differ.
func (p *printer) textChange(indent, before, after string) {
	from, to := strings.Split(before, "\n"), strings.Split(after, "\n")
	for len(from) > 0 && len(to) > 0 && from[0] == to[0] {
		from, to = from[1:], to[1:]
	}
	for len(from) > 0 && len(to) > 0 && from[len(from)-1] == to[len(to)-1] {
		from, to = from[:len(from)-1], to[:len(to)-1]
	}
	for _, side := range []struct {
		style, sign string
		lines       []string
	}{{red, "−", from}, {green, "+", to}} {
		shown, more := limited(p, side.lines, 4)
		for _, line := range shown {
			p.linef("%s%s %s", indent, p.paint(side.style, side.sign), p.value(line))
		}
		if more > 0 {
			p.linef("%s%s … %d more lines", indent, side.sign, more)
		}
	}
}

func (p *printer) hold(h plan.Hold) {
	what := h.Application
	if what == "" {
		what = h.Definition
	}
	p.linef("%s %s   %s", p.paint(yellow, "HELD"), p.paint(bold, what), holdReason(h))
	if len(h.Clusters) > 0 {
		p.linef("  %4d  %s", len(h.Clusters), p.names(h.Clusters))
	}
}

func holdReason(h plan.Hold) string {
	if h.Reason == rollout.ApprovalNeeded || h.Reason == plan.Released {
		return oneLine(h.Message)
	}
	return string(h.Reason) + ": " + oneLine(h.Message)
}
