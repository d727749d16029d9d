package review

import (
	"fmt"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
)

// CommentLimit is how long a comment may be on GitHub: the host with the least room.
const CommentLimit = 65536

// Text is how a review becomes a comment.
type Text struct {
	// Marker is a hidden first line by which the comment is found again; empty is none.
	Marker string
	// World says where the facts come from.
	World string
	// Limit of the whole in bytes; 0 is none.
	Limit int
	// Whole is where all of it is, for a text that had to leave something out: a link or a command.
	Whole string
	// NoTags is true for a host that shows HTML as text: nothing folds there.
	NoTags bool
	// OnHost is true in a comment on the pull request itself.
	OnHost bool
	// Approvers are who may approve there, as people are told; with none, nobody can before the merge.
	Approvers []string
	// FailOn as in Verdict.
	FailOn []Failure
	// Notes of the hub: what became of an approval, what it could not find out.
	Notes []string
}

// amount is how much of each list is written.
type amount struct {
	sections, groups, objects, fields, names, value int
	titles                                          bool // of applications, without their resources
}

// amounts from all that there is to titles alone. The first that fits into the limit is taken.
var amounts = []amount{
	{1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 30, false},
	{40, 8, 12, 12, 6, 400, false},
	{40, 4, 6, 6, 4, 120, false},
	{20, 3, 4, 4, 3, 80, true},
	{5, 2, 2, 2, 2, 60, true},
}

// Markdown is the review as a comment: what decides about the merge first, the rest in folds. It is never longer than the limit.
func (r *Review) Markdown(t Text) string {
	first := 1
	if t.Limit == 0 {
		first = 0
	}
	var text string
	for _, a := range amounts[first:] {
		w := &markdown{Text: t, amount: a}
		w.review(r)
		if text = w.b.String(); t.Limit == 0 || len(text) <= t.Limit {
			return text
		}
	}
	w := &markdown{Text: t} // a repository whose names are longer than its comments
	w.head(r)
	w.leftOut()
	text = w.b.String()
	if len(text) > t.Limit {
		text = strings.ToValidUTF8(text[:t.Limit], "")
	}
	return text
}

// markdown is a text in the making.
type markdown struct {
	Text
	amount
	b    strings.Builder
	less bool // something was left out
}

func (w *markdown) line(format string, args ...any) {
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	if text == "" && strings.HasSuffix(w.b.String(), "\n\n") {
		return
	}
	w.b.WriteString(strings.TrimRight(text, " ") + "\n")
}

func (w *markdown) review(r *Review) {
	w.head(r)
	if r.Empty() && len(r.Held)+len(r.NewWarnings)+len(r.Findings) == 0 {
		w.line("Nothing changes.")
		return
	}
	w.findings(r)
	w.placements(r)
	w.applications(r)
	w.definitions(r)
	w.held(r)
	w.faults("❌ New faults", r.NewFaults)
	w.faults("✅ Resolved faults", r.ResolvedFaults)
	w.faults("⚠ New warnings", r.NewWarnings)
	if w.less {
		w.leftOut()
	}
}

func (w *markdown) head(r *Review) {
	if w.Marker != "" {
		w.line("%s", w.Marker)
	}
	v := r.Verdict(w.FailOn...)
	mark := ""
	if w.OnHost {
		mark = "✅ "
		if !v.OK {
			mark = "❌ "
		}
	}
	w.line("### Muster: %s%s", mark, escape(v.Line))
	w.line("")
	parts := []string{
		"plan " + short(r.Head.Plan),
		fmt.Sprintf("base %s → head %s", fleet.ShortRevision(r.Base.Revision), fleet.ShortRevision(r.Head.Revision)),
	}
	if w.World != "" {
		parts = append(parts, escape(w.World))
	}
	if r.Summary.Clusters > 0 {
		parts = append(parts, count(r.Summary.Clusters, "cluster"))
	}
	w.line("%s", strings.Join(parts, " · "))
	w.line("")
	if r.blind() {
		w.line("> No cluster is known here, so that this says nothing about what changes on clusters.")
		if !w.OnHost {
			w.line("> `muster world save` writes down those of a hub, and `--world FILE` plans with them.")
		}
		w.line("")
	}
	for _, note := range w.Notes {
		w.line("> %s", escape(oneLine(note)))
		w.line("")
	}
}

func (w *markdown) leftOut() {
	where := w.Whole
	if where == "" {
		where = "muster diff -o markdown --full"
	}
	if strings.HasPrefix(where, "https://") || strings.HasPrefix(where, "http://") {
		w.line("Not everything fits here: [the whole](%s).", where)
		return
	}
	w.line("Not everything fits here: %s shows the whole.", span(where))
}

// some gives the first of a list, and writes nothing of the rest but that there is one.
func some[T any](w *markdown, list []T, limit int) ([]T, int) {
	if len(list) <= limit {
		return list, 0
	}
	w.less = true
	return list[:limit], len(list) - limit
}

func (w *markdown) findings(r *Review) {
	if len(r.Findings) == 0 {
		return
	}
	w.line("**Policies**")
	w.line("")
	shown, more := some(w, r.Findings, w.sections)
	for _, f := range shown {
		mark := "⚠"
		if f.Deny {
			mark = "⛔"
		}
		where := ""
		if f.File != "" {
			where = " " + span(position(f.File, f.Line))
		}
		w.line("- %s **%s**: %s%s", mark, escape(f.Policy), escape(f.Message), where)
	}
	w.more(more, "rule")
	w.line("")
}

func (w *markdown) more(n int, what string) {
	if n > 0 {
		w.line("- … %s more", count(n, what))
	}
}

func (w *markdown) placements(r *Review) {
	if len(r.Placements) == 0 {
		return
	}
	w.line("**Placements**")
	w.line("")
	shown, more := some(w, r.Placements, w.sections)
	for _, p := range shown {
		w.line("- %s%s: %s %s", span(p.Placement), edited(p.Edit), counts(p.Before, p.After), span(position(p.File, p.Line)))
		if p.Problem != "" {
			w.line("  - misconfigured: %s", span(p.Problem))
		}
		w.groups("  ", "+", p.Gained)
		w.groups("  ", "−", p.Lost)
		fields, less := some(w, p.Fields, w.fields)
		for _, f := range fields {
			w.line("  - %s", span(w.change(plan.FieldChange{FieldChange: f})))
		}
		if less > 0 {
			w.line("  - … %s more", count(less, "field"))
		}
	}
	w.more(more, "placement")
	w.line("")
}

// groups writes clusters that are gained or lost, with the reason.
func (w *markdown) groups(indent, sign string, groups []plan.ClusterGroup) {
	shown, more := some(w, groups, w.amount.groups)
	for _, g := range shown {
		reason := g.Reason
		if g.Was != "" && g.Was != g.Reason {
			reason += " (was: " + g.Was + ")"
		}
		w.line("%s- %s%d %s: %s", indent, sign, len(g.Clusters), w.list(g.Clusters), span(shorten(oneLine(reason), w.value)))
	}
	if more > 0 {
		w.line("%s- %s … %s more", indent, sign, count(more, "reason"))
	}
}

// list names clusters.
func (w *markdown) list(names []string) string {
	shown, more := some(w, names, w.names)
	text := span(strings.Join(shown, " "))
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (w *markdown) applications(r *Review) {
	if len(r.Applications) == 0 {
		return
	}
	w.line("**Applications**")
	w.line("")
	shown, more := some(w, r.Applications, w.sections)
	for _, a := range shown {
		title := fmt.Sprintf("application %s%s: %s", w.code(a.Application), w.became(a), counts(a.Before, a.After))
		if n := len(a.Changes); n > 0 {
			title += ", " + count(n, "kind") + " of change"
		}
		if w.titles {
			w.less = true
			w.line("- %s", title)
			continue
		}
		w.fold(title, func() { w.application(a) })
	}
	if more > 0 {
		w.line("… %s more", count(more, "application"))
	}
	w.line("")
}

func (w *markdown) application(a plan.ApplicationDifference) {
	if a.File != "" {
		w.line("- %s", span(position(a.File, a.Line)))
	}
	w.groups("", "+", a.Gained)
	w.groups("", "−", a.Lost)
	if len(a.Recovered) > 0 {
		w.line("- +%d %s: can be planned again", len(a.Recovered), w.list(a.Recovered))
	}
	fields, less := some(w, a.Fields, w.fields)
	for _, f := range fields {
		w.line("- %s", span(w.change(plan.FieldChange{FieldChange: f})))
	}
	w.more(less, "field")
	w.line("")
	groups, more := some(w, a.Changes, w.amount.groups)
	for _, g := range groups {
		about := ""
		if g.Label != "" {
			about = " (" + span(g.Label) + ")"
		}
		if len(g.Overrides) > 0 {
			about += ", overrides " + span(strings.Join(g.Overrides, ", "))
		}
		w.line("%s%s: %s", count(len(g.Clusters), "cluster"), about, w.list(g.Clusters))
		w.line("")
		w.diff(g)
	}
	if more > 0 {
		w.line("… %s of clusters more", count(more, "group"))
		w.line("")
	}
}

// diff writes what the clusters of a group get, as a block that hosts colour.
func (w *markdown) diff(g plan.ChangeGroup) {
	var lines []string
	objects, more := some(w, g.Objects, w.objects)
	for _, o := range objects {
		lines = append(lines, w.object(o)...)
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("  … %s more", count(more, "object")))
	}
	if len(g.Delivery) > 0 {
		lines = append(lines, "! how it is applied")
		shown, less := some(w, g.Delivery, w.fields)
		for _, f := range shown {
			lines = append(lines, w.sides(plan.FieldChange{FieldChange: f})...)
		}
		if less > 0 {
			lines = append(lines, fmt.Sprintf("  … %s more", count(less, "field")))
		}
	}
	w.block("diff", lines)
}

func (w *markdown) object(o plan.ObjectChange) []string {
	sign, note := "!", ""
	switch o.Edit {
	case plan.Added:
		sign = "+"
	case plan.Removed:
		sign = "-"
	}
	if o.Stays {
		note += "   leaves the application and stays on the cluster"
	}
	if o.GainedBy != "" {
		note += "   moves to application " + o.GainedBy
	}
	if o.From != "" {
		note += fmt.Sprintf("   moves from work %s to %s", o.From, o.To)
	}
	lines := []string{fmt.Sprintf("%s %s%s", sign, o.Object, note)}
	shown, more := some(w, o.Fields, w.fields)
	for _, f := range shown {
		lines = append(lines, w.sides(f)...)
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("  … %s more", count(more, "field")))
	}
	return lines
}

// sides are the lines of one field that changes.
func (w *markdown) sides(f plan.FieldChange) []string {
	about := ""
	if f.Layer != "" {
		about = "   # " + f.Layer
	}
	if f.Varies {
		about += "   # another on each cluster"
	}
	if f.Before == "" && f.After == "" {
		return []string{"  " + f.Path + about}
	}
	if strings.Contains(f.Before, "\n") && strings.Contains(f.After, "\n") {
		lines := []string{"  " + f.Path + ":" + about}
		from, to := strings.Split(f.Before, "\n"), strings.Split(f.After, "\n")
		for len(from) > 0 && len(to) > 0 && from[0] == to[0] {
			from, to = from[1:], to[1:]
		}
		for len(from) > 0 && len(to) > 0 && from[len(from)-1] == to[len(to)-1] {
			from, to = from[:len(from)-1], to[:len(to)-1]
		}
		for _, side := range []struct {
			sign  string
			lines []string
		}{{"-", from}, {"+", to}} {
			shown, more := some(w, side.lines, w.fields)
			for _, line := range shown {
				lines = append(lines, side.sign+"   "+w.short(line))
			}
			if more > 0 {
				lines = append(lines, fmt.Sprintf("%s   … %s more", side.sign, count(more, "line")))
			}
		}
		return lines
	}
	var lines []string
	if f.Before != "" {
		lines = append(lines, fmt.Sprintf("-   %s: %s%s", f.Path, w.short(f.Before), about))
		about = ""
	}
	if f.After != "" {
		lines = append(lines, fmt.Sprintf("+   %s: %s%s", f.Path, w.short(f.After), about))
	}
	return lines
}

// change is one field in a line.
func (w *markdown) change(f plan.FieldChange) string {
	if f.Before == "" && f.After == "" {
		return f.Path
	}
	none := func(text string) string {
		if text == "" {
			return "(none)"
		}
		return w.short(text)
	}
	return fmt.Sprintf("%s: %s → %s", f.Path, none(f.Before), none(f.After))
}

func (w *markdown) short(text string) string {
	text = oneLine(text)
	cut := shorten(text, w.value)
	w.less = w.less || cut != text
	return cut
}

func (w *markdown) definitions(r *Review) {
	if len(r.Definitions) == 0 {
		return
	}
	var lines []string
	shown, more := some(w, r.Definitions, w.sections)
	for _, d := range shown {
		sign := map[plan.Edit]string{plan.Added: "+", plan.Removed: "-"}[d.Edit]
		if sign == "" {
			sign = "!"
		}
		lines = append(lines, fmt.Sprintf("%s %s   %s", sign, d.Object, position(d.File, d.Line)))
		fields, less := some(w, d.Fields, w.fields)
		for _, f := range fields {
			lines = append(lines, w.sides(plan.FieldChange{FieldChange: f})...)
		}
		if less > 0 {
			lines = append(lines, fmt.Sprintf("  … %s more", count(less, "field")))
		}
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("  … %s more", count(more, "definition")))
	}
	w.fold(count(len(r.Definitions), "other definition"), func() { w.block("diff", lines) })
}

func (w *markdown) held(r *Review) {
	if len(r.Held) == 0 {
		return
	}
	w.line("**⏸ Held**")
	w.line("")
	shown, more := some(w, r.Held, w.sections)
	for _, h := range shown {
		what := h.Application
		if what == "" {
			what = h.Definition
		}
		message := oneLine(h.Message)
		if h.Reason != rollout.ApprovalNeeded && h.Reason != plan.Released {
			message = string(h.Reason) + ": " + message
		}
		by := ""
		if who := r.Approved[h.Plan]; h.Plan != "" && who != "" {
			by = " ✅ approved by " + span(who)
		}
		where := ""
		if len(h.Clusters) > 0 {
			where = " " + w.list(h.Clusters)
		}
		w.line("- **%s**: %s%s%s", escape(what), escape(message), where, by)
	}
	w.more(more, "hold")
	w.line("")
	if w.OnHost && r.unapproved() > 0 {
		w.howToApprove(r)
	}
}

// howToApprove: on the pull request before the merge, or with the commands beside the holds after it.
func (w *markdown) howToApprove(r *Review) {
	if len(w.Approvers) == 0 {
		w.line("Nobody can approve this here, since `spec.review.approvers` of the FleetRepository names nobody: it waits for the command above after the merge.")
		w.line("")
		return
	}
	var who []string
	for _, name := range w.Approvers {
		who = append(who, span(name))
	}
	w.line("To approve what is held before the merge, one of %s, who is not its author, approves this pull request, or comments:", strings.Join(who, ", "))
	w.line("")
	w.block("", []string{"/muster approve " + shortDigest(r.Head.Plan)})
}

// shortDigest is as much of a digest as an approval gives: nobody finds another plan that begins so.
func shortDigest(digest string) string { return digest[:min(len(digest), minDigest)] }

func (w *markdown) faults(title string, faults []fleet.Fault) {
	if len(faults) == 0 {
		return
	}
	w.line("**%s**", title)
	w.line("")
	shown, more := some(w, fleet.GroupFaults(faults), w.sections)
	for _, f := range shown {
		text := ""
		if position := f.Position(); position != "" {
			text = span(position) + " "
		}
		if f.Application != "" {
			text += "**" + escape(f.Application) + "** "
		}
		if len(f.Clusters) > 0 {
			text += "on " + w.list(f.Clusters) + " "
		}
		if f.Object != "" {
			text += span(f.Object) + " "
		}
		text += escape(string(f.Reason)) + ": " + span(w.short(f.Message))
		if len(f.Remedies) > 0 {
			text += " → " + w.list(f.Remedies)
		}
		w.line("- %s", text)
	}
	w.more(more, "fault")
	w.line("")
}

// FaultText is a fault in a line of Markdown, for a note beside the line that it is about.
func FaultText(f fleet.FaultGroup) string {
	w := &markdown{amount: amounts[1]}
	text := "❌ " + string(f.Reason) + ": " + span(w.short(f.Message))
	if f.Application != "" {
		text += " (" + escape(f.Application)
		if len(f.Clusters) > 0 {
			text += " on " + w.list(f.Clusters)
		}
		text += ")"
	}
	return text
}

// block writes lines as they are; its fence is longer than any in them.
func (w *markdown) block(language string, lines []string) {
	for i := range lines {
		lines[i] = strings.TrimRight(oneLine(lines[i]), " ")
	}
	text := strings.Join(lines, "\n")
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	w.line("%s", fence+language)
	w.line("%s", text)
	w.line("%s", fence)
	w.line("")
}

func edited(e plan.Edit) string {
	if e == plan.Changed {
		return ""
	}
	return " (" + strings.ToLower(string(e)) + ")"
}

// became says whether an application is new, gone or renamed.
func (w *markdown) became(a plan.ApplicationDifference) string {
	if a.RenamedFrom != "" {
		return " (renamed from " + w.code(a.RenamedFrom) + ")"
	}
	return edited(a.Edit)
}

func counts(before, after int) string {
	if before == after {
		return count(after, "cluster")
	}
	return fmt.Sprintf("%d → %s", before, count(after, "cluster"))
}

// fold is a part that is not shown before somebody wants to see it.
func (w *markdown) fold(title string, part func()) {
	if w.NoTags {
		w.line("**%s**", title)
		w.line("")
		part()
		w.line("")
		return
	}
	w.line("<details><summary>%s</summary>", title)
	w.line("")
	part()
	w.line("</details>")
	w.line("")
}

// code is text between tags, where Markdown is not read.
func (w *markdown) code(text string) string {
	if w.NoTags {
		return span(text)
	}
	return "<code>" + strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "&#64;").Replace(oneLine(text)) + "</code>"
}

// span is text as it is, in a line: no link, no mention, no tag comes of it.
func span(text string) string {
	text = oneLine(text)
	if text == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if len(fence) > 1 || strings.HasPrefix(text, "`") {
		return fence + " " + text + " " + fence
	}
	return fence + text + fence
}

// escape is text of ours with values of others in it, read as plain text.
func escape(text string) string {
	var b strings.Builder
	for _, r := range oneLine(text) {
		switch {
		case strings.ContainsRune("\\`*_[]<>#|~&!", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '@':
			b.WriteString("@\u200b") // mentions nobody
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
