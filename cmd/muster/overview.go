package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// overview is the fleet on one screen.
type overview struct {
	Clusters     map[string]int   `json:"clusters"` // by state
	Repositories []repositoryView `json:"repositories"`
	Applications []applicationRow `json:"applications"`
	NeedsYou     []need           `json:"needsYou"`
}

type repositoryView struct {
	Repository string `json:"repository"`
	Fetched    string `json:"fetched,omitempty"`
	Delivered  string `json:"delivered,omitempty"`
	Plan       string `json:"plan,omitempty"`
	Faults     int    `json:"faults"`
	State      string `json:"state"`
}

type applicationRow struct {
	Application string `json:"application"`
	Revision    string `json:"revision,omitempty"`
	musterv1alpha1.Summary
	State string `json:"state"`
}

// need is something that waits for a person, and the next step.
type need struct {
	Who  string `json:"who"` // namespace, or cluster
	What string `json:"what"`
	Next string `json:"next,omitempty"`
}

// overviewOf is pure: facts in, the screen out, sorted.
func overviewOf(f hubFacts, now time.Time) overview {
	o := overview{Clusters: map[string]int{}, Repositories: []repositoryView{}, Applications: []applicationRow{}, NeedsYou: []need{}}
	for i := range f.clusters {
		state, _ := clusterState(&f.clusters[i])
		o.Clusters[state]++
	}
	for i := range f.repositories {
		r := &f.repositories[i]
		o.Repositories = append(o.Repositories, repositoryView{
			Repository: r.Namespace + "/" + r.Name, Fetched: r.Status.FetchedRevision, Delivered: r.Status.Revision,
			Plan: r.Status.Plan, Faults: int(r.Status.FaultCount), State: readyText(r.Status.Conditions),
		})
	}
	for i := range f.applications {
		a := &f.applications[i]
		o.Applications = append(o.Applications, applicationRow{
			Application: a.Namespace + "/" + a.Name, Revision: a.Status.Revision, Summary: a.Status.Summary, State: stateOf(a),
		})
	}
	slices.SortFunc(o.Repositories, func(a, b repositoryView) int { return cmp.Compare(a.Repository, b.Repository) })
	slices.SortFunc(o.Applications, func(a, b applicationRow) int { return cmp.Compare(a.Application, b.Application) })
	o.NeedsYou = append(o.NeedsYou, needsOf(f, now)...)
	return o
}

// stateOf is an application in a few words.
func stateOf(a *musterv1alpha1.Application) string {
	if h := a.Status.Held; h != nil {
		return fmt.Sprintf("Held: %s", count(int(h.Deletions), "deletion"))
	}
	if a.Status.ObservedGeneration != a.Generation {
		return "Waiting: for the hub to see it"
	}
	return readyText(a.Status.Conditions)
}

func readyText(conditions []metav1.Condition) string {
	ready := meta.FindStatusCondition(conditions, "Ready")
	switch {
	case ready == nil:
		return "Waiting: for the hub to see it"
	case ready.Status == metav1.ConditionTrue:
		return "Ready"
	}
	return ready.Reason + ": " + ready.Message
}

// needsOf lists what waits for a person: what is held first, then faults, drift, clusters.
func needsOf(f hubFacts, now time.Time) []need {
	var held, faults, drift, clusters []need
	for i := range f.repositories {
		r := &f.repositories[i]
		key := r.Namespace + "/" + r.Name
		held = append(held, heldNeed(r.Namespace, r.Status.Held)...)
		for _, x := range r.Status.Faults {
			if x.Move != string(fleet.Machine) || x.Application == "" {
				faults = append(faults, faultNeed(key, x))
			}
		}
	}
	for i := range f.applications {
		a := &f.applications[i]
		held = append(held, heldNeed(a.Namespace, a.Status.Held)...)
		for _, row := range a.Status.Clusters {
			// What could not be planned is among the faults of the repository, if there is one.
			if row.State == "Failed" || row.State == "Faulty" && a.Annotations[musterv1alpha1.RepositoryAnnotation] == "" {
				faults = append(faults, need{
					Who: a.Namespace, What: fmt.Sprintf("%s @ %s: %s: %s", a.Name, row.Cluster, row.Reason, row.Message), Next: position(row.File, int(row.Line)),
				})
			}
		}
	}
	for _, d := range f.drift {
		if !d.Healed {
			drift = append(drift, need{
				Who: d.namespace(), What: d.name() + " @ " + d.Cluster,
				Next: fmt.Sprintf("%s %s→%s by %s, %s, Report mode", d.Path, d.Was, d.Is, d.Manager, age(now.Sub(d.Time))),
			})
		}
	}
	for i := range f.clusters {
		m := &f.clusters[i]
		switch state, _ := clusterState(m); state {
		case clusterWaiting:
			clusters = append(clusters, need{Who: m.Name, What: "waits to be accepted", Next: "muster accept " + m.Name})
		case clusterReleased:
			clusters = append(clusters, need{
				Who: m.Name, What: "left the repository and stays", Next: "muster detach " + m.Name + " --keep-workloads|--clean",
			})
		}
	}
	var all []need
	for _, list := range [][]need{held, faults, drift, clusters} {
		slices.SortFunc(list, func(a, b need) int {
			return cmp.Or(cmp.Compare(a.Who, b.Who), cmp.Compare(a.What, b.What), cmp.Compare(a.Next, b.Next))
		})
		all = append(all, list...)
	}
	return all
}

func heldNeed(namespace string, h *musterv1alpha1.Held) []need {
	if h == nil {
		return nil
	}
	// The message ends with the command, which has a column of its own.
	what, _, _ := strings.Cut(h.Message, ": approve with")
	what, _, _ = strings.Cut(what, ": muster approve")
	return []need{{
		Who: namespace, What: fmt.Sprintf("%s held: %s", count(int(h.Deletions), "deletion"), what),
		Next: "muster approve --plan " + short(h.Plan),
	}}
}

func faultNeed(repository string, f musterv1alpha1.Fault) need {
	what := f.Reason + ": " + f.Message
	switch {
	case f.Application != "" && f.Clusters > 1:
		what = fmt.Sprintf("%s on %d clusters: %s", f.Application, f.Clusters, what)
	case f.Application != "" && f.Cluster != "":
		what = fmt.Sprintf("%s on %s: %s", f.Application, f.Cluster, what)
	case f.Application != "":
		what = f.Application + ": " + what
	}
	return need{Who: repository, What: what, Next: position(f.File, int(f.Line))}
}

func printOverview(p *printer, o overview) {
	total := 0
	for _, n := range o.Clusters {
		total += n
	}
	parts := []string{p.paint(bold, fmt.Sprintf("CLUSTERS %d", total))}
	for _, state := range []string{clusterAvailable, clusterOffline, clusterJoining, clusterWaiting, clusterDenied, clusterReleased, clusterLeaving} {
		if n := o.Clusters[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", state, n))
		}
	}
	p.line(strings.Join(parts, "   "))
	rows := [][]string{{"REPOSITORY", "FETCHED", "DELIVERED", "PLAN", "FAULTS", "STATE"}}
	for _, r := range o.Repositories {
		rows = append(rows, []string{
			r.Repository, fleet.ShortRevision(r.Fetched), fleet.ShortRevision(r.Delivered), short(r.Plan), fmt.Sprint(r.Faults), shorten(r.State, 80),
		})
	}
	p.table(rows)
	rows = [][]string{{"APPLICATION", "REVISION", "CURRENT", "OFFLINE", "FAILED", "DRIFT", "STATE"}}
	for _, a := range o.Applications {
		rows = append(rows, []string{
			a.Application, fleet.ShortRevision(a.Revision), fmt.Sprintf("%d/%d", a.Current, a.Clusters),
			fmt.Sprint(a.Offline), fmt.Sprint(a.Faulty), fmt.Sprint(a.Drifted), shorten(a.State, 80),
		})
	}
	p.table(rows)
	if len(o.NeedsYou) == 0 {
		return
	}
	p.line(p.paint(yellow, "NEEDS YOU"))
	rows = nil
	shown, more := limited(p, o.NeedsYou, 30)
	for _, n := range shown {
		rows = append(rows, []string{"  " + n.Who, shorten(n.What, 100), n.Next})
	}
	p.columns(rows)
	if more > 0 {
		p.linef("  … %d more", more)
	}
}

func printApplication(p *printer, a *musterv1alpha1.Application, now time.Time) {
	s := a.Status
	p.linef("%s %s/%s   %s", p.paint(bold, "APPLICATION"), a.Namespace, a.Name, stateOf(a))
	p.linef("  revision %s   last good %s   plan %s", orNone(fleet.ShortRevision(s.Revision)), orNone(fleet.ShortRevision(s.LastGoodRevision)), orNone(short(s.Plan)))
	p.linef("  clusters %d   current %d   healthy %d   offline %d   failed %d   drifted %d   held %d",
		s.Summary.Clusters, s.Summary.Current, s.Summary.Healthy, s.Summary.Offline, s.Summary.Faulty, s.Summary.Drifted, s.Summary.Held)
	rows := [][]string{{"CONDITION", "STATUS", "REASON", "MESSAGE"}}
	for _, c := range s.Conditions {
		rows = append(rows, []string{c.Type, string(c.Status), c.Reason, c.Message})
	}
	p.table(rows)
	if h := s.Held; h != nil {
		p.linef("%s %s", p.paint(yellow, "HELD"), oneLine(h.Message))
		p.linef("  %s", strings.Join(h.Items, ", "))
	}
	rows = [][]string{{"CLUSTER", "STATE", "SINCE", "REASON", "MESSAGE", "WHERE", "MOVE"}}
	for _, r := range s.Clusters {
		since := ""
		if r.Since != nil {
			since = age(now.Sub(r.Since.Time))
		}
		rows = append(rows, []string{r.Cluster, r.State, since, r.Reason, shorten(r.Message, 100), position(r.File, int(r.Line)), r.Move})
	}
	p.table(rows)
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func printCluster(p *printer, v clusterView) {
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
			orNone(w.Application), w.Name, fleet.ShortRevision(w.Revision), fmt.Sprint(len(w.Objects)), applied, string(w.Status.Health), shorten(problem, 100),
		})
	}
	p.table(rows)
}
