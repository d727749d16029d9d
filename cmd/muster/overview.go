package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/rollout"
)

// row is a repository on the screen.
func repositoryRow(v overview.Repository, now time.Time) []string {
	state := v.State
	if v.UnreadableSince != nil {
		state = fmt.Sprintf("for %s: %s", age(now.Sub(v.UnreadableSince.Time)), state)
	}
	if v.Rewritten != "" {
		state += "; its history was rewritten"
	}
	since := ""
	if v.DeliveredAt != nil {
		since = age(now.Sub(v.DeliveredAt.Time))
	}
	return []string{
		v.Repository, orNone(fleet.ShortRevision(v.Fetched)), orNone(fleet.ShortRevision(v.Delivered)), orNone(since),
		orNone(short(v.Plan)), fmt.Sprint(v.Faults), state,
	}
}

func printOverview(p *printer, o overview.Fleet, now time.Time) {
	printPulse(p, o.Hub, now)
	total := 0
	for _, n := range o.Clusters {
		total += n
	}
	parts := []string{p.paint(bold, fmt.Sprintf("CLUSTERS %d", total))}
	for _, state := range overview.ClusterStates {
		if n := o.Clusters[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", state, n))
		}
	}
	p.line(strings.Join(parts, "   "))
	rows := [][]string{{"REPOSITORY", "FETCHED", "DELIVERED", "AGO", "PLAN", "FAULTS", "STATE"}}
	for _, r := range o.Repositories {
		rows = append(rows, repositoryRow(r, now))
	}
	p.table(p.cutLast(rows))
	rows = [][]string{{"APPLICATION", "REVISION", "CURRENT", "OFFLINE", "FAILED", "DRIFT", "STATE"}}
	for _, a := range o.Applications {
		rows = append(rows, []string{
			a.Application, fleet.ShortRevision(a.Revision), fmt.Sprintf("%d/%d", a.Current, a.Clusters),
			fmt.Sprint(a.Offline), fmt.Sprint(a.Faulty), fmt.Sprint(a.Drifted), a.State,
		})
	}
	p.table(p.cutLast(rows))
	if len(o.AddOns) > 0 {
		rows = [][]string{{"ADD-ON", "CLUSTERS", "AVAILABLE", "WAITS"}}
		for _, a := range o.AddOns {
			rows = append(rows, []string{a.Name, fmt.Sprint(a.Clusters), fmt.Sprint(a.Available), orNone(a.Waits)})
		}
		p.table(p.cutLast(rows))
	}
	printNeeds(p, o.NeedsYou)
}

// besideIt is how long a text may be that has the next step beside it; that of a longer one stands below.
const besideIt = 100

func printNeeds(p *printer, needs []overview.Need) {
	if len(needs) == 0 {
		return
	}
	p.line(p.paint(yellow, "NEEDS YOU"))
	var rows [][]string
	shown, more := limited(p, needs, 30)
	who, what, next := 0, 0, 0
	for _, n := range shown {
		rows = append(rows, []string{"  " + n.Who, n.What, n.Next})
		who, what, next = max(who, utf8.RuneCountInString(n.Who)), max(what, utf8.RuneCountInString(n.What)), max(next, utf8.RuneCountInString(n.Next))
	}
	if what <= besideIt && (p.width == 0 || who+what+next+6 <= p.width) {
		p.columns(rows)
	} else {
		for _, n := range shown {
			p.paragraph(fmt.Sprintf("  %-*s  ", who, n.Who), n.What)
			p.linef("  %*s  → %s", who, "", n.Next)
		}
	}
	if more > 0 {
		p.linef("  … %d more: -o json has them all", more)
	}
}

func printApplication(p *printer, v applicationView, now time.Time) {
	s := v.Status
	printPulse(p, v.Hub, now)
	p.linef("%s %s   %s", p.paint(bold, "APPLICATION"), v.Application, v.State)
	p.linef("  revision %s   last good %s   plan %s", orNone(fleet.ShortRevision(s.Revision)), orNone(fleet.ShortRevision(s.LastGoodRevision)), orNone(short(s.Plan)))
	p.linef("  clusters %d   current %d   healthy %d   offline %d   failed %d   drifted %d   held %d",
		s.Summary.Clusters, s.Summary.Current, s.Summary.Healthy, s.Summary.Offline, s.Summary.Faulty, s.Summary.Drifted, s.Summary.Held)
	p.conditions(s.Conditions)
	if h := s.Held; h != nil {
		p.linef("%s %s", p.paint(yellow, "HELD"), oneLine(h.Message))
		p.linef("  %s", strings.Join(h.Items, ", "))
	}
	for _, h := range s.OnHold {
		p.linef("%s %s; %s with a change that waits for its end", p.paint(yellow, "ON HOLD"), oneLine(rollout.HoldText(h)), count(int(h.Clusters), "cluster"))
	}
	for _, l := range s.Left {
		p.linef("%s on %s, which the scheduler has replaced, for %s: %s", p.paint(yellow, "LEFT"), l.Cluster, age(now.Sub(l.At.Time)), strings.Join(l.Objects, ", "))
	}
	rows := [][]string{{"CLUSTER", "STATE", "SINCE", "REASON", "MESSAGE", "WHERE", "MOVE"}}
	for _, r := range s.Clusters {
		since := ""
		if r.Since != nil {
			since = age(now.Sub(r.Since.Time))
		}
		rows = append(rows, []string{r.Cluster, r.State, since, r.Reason, p.cut(r.Message, 100), position(r.File, int(r.Line)), r.ActionRequiredBy})
	}
	p.table(rows)
	if more := int(s.Summary.Clusters-s.Summary.Healthy) - len(s.Clusters); more > 0 {
		p.linef("… these are the worst, %d more are not healthy; of any one: muster why %s CLUSTER", more, v.Application)
	}
	printNeeds(p, v.NeedsYou)
}

func printCluster(p *printer, v clusterView, now time.Time) {
	printPulse(p, v.Hub, now)
	p.linef("%s %s   %s   %s", p.paint(bold, "CLUSTER"), v.Cluster, v.State, v.Kubernetes)
	if v.Message != "" {
		p.linef("  %s", oneLine(v.Message))
	}
	for _, t := range v.Taints {
		p.linef("  taint %s=%s:%s", t.Key, t.Value, t.Effect)
	}
	rows := [][]string{{"APPLICATION", "WORK", "REVISION", "OBJECTS", "APPLIED", "HEALTH", "PROBLEM"}}
	for _, w := range v.Works {
		problem := ""
		if len(w.Status.Problems) > 0 {
			first := w.Status.Problems[0]
			problem = fmt.Sprintf("%s %s: %s", first.State, first.Object, first.Message)
		}
		applied := "no"
		switch {
		case w.Deleting:
			applied = "deleting"
		case !w.Status.Observed:
			applied = "pending"
		case w.Status.Applied:
			applied = "yes"
		}
		rows = append(rows, []string{
			orNone(w.Owner.String()), w.Name, fleet.ShortRevision(w.Revision), fmt.Sprint(len(w.Objects)), applied, string(w.Status.Health), p.cut(problem, 100),
		})
	}
	p.table(rows)
}
