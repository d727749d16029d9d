package main

import (
	"fmt"
	"strings"

	"github.com/muster-io/muster/internal/plan"
)

// printMarkdown prints a comment for a pull request: what matters first, the rest in folds.
func printMarkdown(p *printer, a *diffAnswer, world string) {
	d, lines := a.Difference, headline(a, world)
	p.line("### Muster: " + lines[1])
	p.line()
	p.line(lines[0])
	p.line()
	if d.Empty() && len(d.Held)+len(d.NewWarnings) == 0 {
		p.line("Nothing changes.")
		return
	}
	p.bullets("⏸ Held", len(d.Held), func(q *printer) {
		q.section(len(d.Held), "holds", func(i int) { q.hold(d.Held[i]) })
	})
	p.bullets("❌ New faults", len(d.NewFaults), func(q *printer) { q.faults("FAULT", "", d.NewFaults) })
	p.bullets("✅ Resolved faults", len(d.ResolvedFaults), func(q *printer) { q.faults("RESOLVED", "", d.ResolvedFaults) })
	p.bullets("⚠ New warnings", len(d.NewWarnings), func(q *printer) { q.faults("WARNING", "", d.NewWarnings) })
	for _, x := range d.Definitions {
		p.fold(fmt.Sprintf("%s %s", x.Edit, code(x.Object.String())), func(q *printer) { q.definition(x) })
	}
	p.section(len(d.Placements), "placements", func(i int) {
		x := d.Placements[i]
		p.fold(fmt.Sprintf("placement %s: %s", code(x.Placement), counts(x.Before, x.After)), func(q *printer) { q.placement(x) })
	})
	p.section(len(d.Applications), "applications", func(i int) {
		x := d.Applications[i]
		p.fold(applicationTitle(x), func(q *printer) { q.application(x) })
	})
}

func applicationTitle(x plan.ApplicationDifference) string {
	title := fmt.Sprintf("application %s%s: %s", code(x.Application), became(x), counts(x.Before, x.After))
	if n := len(x.Changes); n > 0 {
		title += ", " + count(n, "kind") + " of change"
	}
	return title
}

// code is text between tags, where Markdown is not read.
func code(text string) string {
	return "<code>" + strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(oneLine(text)) + "</code>"
}

// bullets prints what a reviewer must see, not folded.
func (p *printer) bullets(title string, n int, body func(*printer)) {
	if n == 0 {
		return
	}
	p.line("**" + title + "**")
	p.line()
	p.block(body)
}

// fold prints what a reviewer may want to see.
func (p *printer) fold(title string, body func(*printer)) {
	p.line("<details><summary>" + title + "</summary>")
	p.line()
	p.block(body)
	p.line("</details>")
	p.line()
}

// block prints text as it is; its fence is longer than any in the text.
func (p *printer) block(body func(*printer)) {
	q := &printer{full: p.full}
	body(q)
	fence := "```"
	for strings.Contains(q.b.String(), fence) {
		fence += "`"
	}
	p.line(fence)
	p.b.WriteString(q.b.String())
	p.line(fence)
	p.line()
}
