package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// overview is the fleet on one screen.
type overview struct {
	Hub          hubView          `json:"hub"`
	Clusters     map[string]int   `json:"clusters"` // by state
	Repositories []repositoryView `json:"repositories"`
	Applications []applicationRow `json:"applications"`
	NeedsYou     []need           `json:"needsYou"`
}

type repositoryView struct {
	Repository  string       `json:"repository"`
	Fetched     string       `json:"fetched,omitempty"`
	Delivered   string       `json:"delivered,omitempty"`
	DeliveredAt *metav1.Time `json:"deliveredAt,omitempty"`
	// UnreadableSince is when the remote, or what it holds, could not be fetched any more.
	UnreadableSince *metav1.Time `json:"unreadableSince,omitempty"`
	// Rewritten says that the delivered commit does not follow from the one before it.
	Rewritten string `json:"rewritten,omitempty"`
	Plan      string `json:"plan,omitempty"`
	Faults    int    `json:"faults"`
	Ready     bool   `json:"ready"`
	State     string `json:"state"`
}

type applicationRow struct {
	Application string `json:"application"`
	Revision    string `json:"revision,omitempty"`
	musterv1alpha1.Summary
	Ready bool   `json:"ready"`
	State string `json:"state"`
}

// need is something that waits for a person, and the next step.
type need struct {
	Who  string `json:"who"` // namespace, repository, cluster, or the hub
	What string `json:"what"`
	Next string `json:"next"`
}

// overviewOf is pure: facts in, the screen out, sorted.
func overviewOf(f hubFacts, now time.Time) overview {
	o := overview{Hub: f.hub, Clusters: map[string]int{}, Repositories: []repositoryView{}, Applications: []applicationRow{}, NeedsYou: []need{}}
	for i := range f.clusters {
		state, _ := clusterState(&f.clusters[i])
		o.Clusters[state]++
	}
	for i := range f.repositories {
		o.Repositories = append(o.Repositories, repositoryOf(&f.repositories[i]))
	}
	for i := range f.applications {
		a := &f.applications[i]
		o.Applications = append(o.Applications, applicationRow{
			Application: a.Namespace + "/" + a.Name, Revision: a.Status.Revision, Summary: a.Status.Summary, Ready: ready(a), State: stateOf(a),
		})
	}
	slices.SortFunc(o.Repositories, func(a, b repositoryView) int { return cmp.Compare(a.Repository, b.Repository) })
	slices.SortFunc(o.Applications, func(a, b applicationRow) int { return cmp.Compare(a.Application, b.Application) })
	o.NeedsYou = append(o.NeedsYou, needsOf(f, now)...)
	return o
}

// inOrder: everything is as Git says, and nobody is waited for.
func (o overview) inOrder() bool {
	return o.Hub.current() && len(o.NeedsYou) == 0 &&
		!slices.ContainsFunc(o.Repositories, func(r repositoryView) bool { return !r.Ready }) &&
		!slices.ContainsFunc(o.Applications, func(a applicationRow) bool { return !a.Ready })
}

func repositoryOf(r *musterv1alpha1.FleetRepository) repositoryView {
	v := repositoryView{
		Repository: r.Namespace + "/" + r.Name, Fetched: r.Status.FetchedRevision, Delivered: r.Status.Revision, DeliveredAt: r.Status.DeliveredAt,
		Plan: r.Status.Plan, Faults: int(r.Status.FaultCount), State: readyText(r.Status.Conditions),
		Ready: meta.IsStatusConditionTrue(r.Status.Conditions, "Ready"), Rewritten: rewritten(r),
	}
	if c := unreadable(r); c != nil {
		v.UnreadableSince = &c.LastTransitionTime
	}
	return v
}

// unreadable is the condition of a repository that cannot be fetched, else nil.
func unreadable(r *musterv1alpha1.FleetRepository) *metav1.Condition {
	if c := meta.FindStatusCondition(r.Status.Conditions, "Fetched"); c != nil && c.Status == metav1.ConditionFalse {
		return c
	}
	return nil
}

// rewritten is what is said of a history that was rewritten, else "".
func rewritten(r *musterv1alpha1.FleetRepository) string {
	if c := meta.FindStatusCondition(r.Status.Conditions, "Fetched"); c != nil && c.Reason == string(fleet.HistoryRewritten) {
		return c.Message
	}
	return ""
}

// row is a repository on the screen.
func (v repositoryView) row(now time.Time) []string {
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

// ready: the hub has seen the application as it is, and nothing is wrong with it.
func ready(a *musterv1alpha1.Application) bool {
	return a.Status.ObservedGeneration == a.Generation && a.Status.Held == nil && meta.IsStatusConditionTrue(a.Status.Conditions, "Ready")
}

func readyText(conditions []metav1.Condition) string {
	ready := meta.FindStatusCondition(conditions, "Ready")
	switch {
	case ready == nil:
		return "Waiting: for the hub to see it"
	case ready.Status == metav1.ConditionTrue && ready.Reason == "NoClusters":
		return "Ready, on no cluster: " + ready.Message
	case ready.Status == metav1.ConditionTrue:
		return "Ready"
	}
	return ready.Reason + ": " + ready.Message
}

// needsOf lists what waits for a person, each with the next step: the hub first, then what is held, faults, drift, clusters.
func needsOf(f hubFacts, now time.Time) []need {
	var ofHub, held, faults, drift, clusters []need
	if !f.hub.current() {
		ofHub = append(ofHub, need{Who: "hub", What: f.hub.says(now), Next: "start it: muster up here, hub --kubeconfig FILE elsewhere"})
	}
	if h := f.hub.Hearing; h != nil && h.Silence != nil && h.Silence.Approved < h.Silence.Clusters {
		ofHub = append(ofHub, need{
			Who: "hub", What: fmt.Sprintf("%d of %d clusters are silent at once, and none is tainted or moved", h.Silence.Clusters-h.Silence.Approved, h.Of),
			Next: "find out what separates them from the hub; if they are really away: muster approve --silence",
		})
	}
	for i := range f.repositories {
		r := &f.repositories[i]
		held = append(held, heldNeed(r.Namespace, r.Status.Held)...)
		faults = append(faults, repositoryNeeds(r)...)
	}
	for i := range f.applications {
		a := &f.applications[i]
		held = append(held, heldNeed(a.Namespace, a.Status.Held)...)
		faults = append(faults, applicationNeeds(a)...)
	}
	for _, d := range f.drift {
		if !d.Healed {
			drift = append(drift, need{
				Who:  d.namespace(),
				What: fmt.Sprintf("%s @ %s: %s %s→%s by %s, %s, Report mode", d.name(), d.Cluster, d.Path, d.Was, d.Is, d.Manager, age(now.Sub(d.Time))),
				Next: "muster drift " + d.Application,
			})
		}
	}
	for i := range f.clusters {
		m := &f.clusters[i]
		switch state, _ := clusterState(m); state {
		case clusterWaiting:
			if reserved := fleet.ReservedName(m.Name); reserved != "" {
				clusters = append(clusters, need{
					Who: m.Name, What: "asks to join, and never can: " + reserved, Next: "kubectl delete managedcluster " + m.Name + ", and let its agent join under another name",
				})
				continue
			}
			clusters = append(clusters, need{Who: m.Name, What: "waits to be accepted", Next: "muster accept " + m.Name})
		case clusterReleased:
			clusters = append(clusters, need{
				Who: m.Name, What: "left the repository and stays", Next: "muster detach " + m.Name + " --keep-workloads|--clean",
			})
		default:
			if asks := whoAsks(m); asks != "" {
				clusters = append(clusters, need{Who: m.Name, What: asks, Next: "find out who that is; it stays outside"})
			}
		}
	}
	var all []need
	for _, list := range [][]need{ofHub, held, faults, drift, clusters} {
		slices.SortFunc(list, func(a, b need) int {
			return cmp.Or(cmp.Compare(a.Who, b.Who), cmp.Compare(a.What, b.What), cmp.Compare(a.Next, b.Next))
		})
		all = append(all, slices.Compact(list)...)
	}
	return all
}

// repositoryNeeds are the faults of a repository that a person can do something about, a history that was rewritten, and the
// hub's own trouble with it.
func repositoryNeeds(r *musterv1alpha1.FleetRepository) []need {
	key := r.Namespace + "/" + r.Name
	var needs []need
	for _, x := range r.Status.Faults {
		if x.ActionRequiredBy != string(fleet.Controller) || x.Application == "" {
			needs = append(needs, faultNeed(r, x))
		}
	}
	if what := rewritten(r); what != "" {
		needs = append(needs, need{Who: key, What: what, Next: "ask who force-pushed; the next push ends this notice"})
	}
	if c := meta.FindStatusCondition(r.Status.Conditions, "Ready"); c != nil && c.Status == metav1.ConditionFalse && c.Reason == "Failed" {
		needs = append(needs, need{Who: key, What: "the hub fails, and tries again: " + c.Message, Next: "read the hub's log if it stays"})
	}
	return needs
}

// applicationNeeds are what clusters refuse. What could not be planned is among the faults of the repository, if there is one.
func applicationNeeds(a *musterv1alpha1.Application) []need {
	var needs []need
	for _, row := range a.Status.Clusters {
		if row.State == "Failed" || row.State == "Faulty" && a.Annotations[musterv1alpha1.RepositoryAnnotation] == "" {
			needs = append(needs, need{
				Who: a.Namespace, What: fmt.Sprintf("%s @ %s: %s: %s", a.Name, row.Cluster, row.Reason, row.Message),
				Next: cmp.Or(correct(row.File, int(row.Line)), fmt.Sprintf("muster why %s/%s %s", a.Namespace, a.Name, row.Cluster)),
			})
		}
	}
	return needs
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

func faultNeed(r *musterv1alpha1.FleetRepository, f musterv1alpha1.Fault) need {
	what := f.Reason + ": " + f.Message
	switch {
	case f.Application != "" && f.Clusters > 1:
		what = fmt.Sprintf("%s on %d clusters: %s", f.Application, f.Clusters, what)
	case f.Application != "" && f.Cluster != "":
		what = fmt.Sprintf("%s on %s: %s", f.Application, f.Cluster, what)
	case f.Application != "":
		what = f.Application + ": " + what
	}
	return need{Who: r.Namespace + "/" + r.Name, What: what, Next: nextOf(r, f)}
}

// nextOf is what to do about a fault: where it stands is to be corrected; what stands nowhere is in the FleetRepository itself,
// or in what the remote holds.
func nextOf(r *musterv1alpha1.FleetRepository, f musterv1alpha1.Fault) string {
	edit := fmt.Sprintf("kubectl -n %s edit fleetrepository %s", r.Namespace, r.Name)
	switch {
	case f.Reason == string(fleet.Forbidden) && f.File != "":
		return fmt.Sprintf("give the account the right that it lacks, or take %s out", position(f.File, int(f.Line)))
	case f.File != "":
		return correct(f.File, int(f.Line))
	case f.Application != "" && f.Cluster != "":
		return fmt.Sprintf("muster why %s %s", f.Application, f.Cluster)
	case f.Application != "":
		return "muster status " + f.Application
	case f.Reason == string(fleet.RepositoryEmpty):
		return "push the fleet's definitions to it"
	case f.Reason == string(fleet.SourceUnavailable) && strings.Contains(f.Message, `cannot get resource "secrets"`): // the API server's words
		return fmt.Sprintf("let the hub read Secrets there: kubectl -n %s create rolebinding %s --clusterrole=%[2]s --serviceaccount=%s:%s",
			r.Namespace, hub.RepositoryRole, registration.SystemNamespace, hub.Account)
	case f.Reason == string(fleet.SourceUnavailable):
		return "correct spec.url, spec.ref or its Secret: " + edit
	case f.Reason == string(fleet.ContentMissing):
		return "correct spec.path: " + edit
	}
	return "kubectl -n " + r.Namespace + " describe fleetrepository " + r.Name
}

// correct names the place of a cause, "" when it has none.
func correct(file string, line int) string {
	if file == "" {
		return ""
	}
	return "correct " + position(file, line)
}

func printOverview(p *printer, o overview, now time.Time) {
	printPulse(p, o.Hub, now)
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
	rows := [][]string{{"REPOSITORY", "FETCHED", "DELIVERED", "AGO", "PLAN", "FAULTS", "STATE"}}
	for _, r := range o.Repositories {
		rows = append(rows, r.row(now))
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
	printNeeds(p, o.NeedsYou)
}

// besideIt is how long a text may be that has the next step beside it; that of a longer one stands below.
const besideIt = 100

func printNeeds(p *printer, needs []need) {
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

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
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
