package overview

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
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// Fleet is the fleet on one screen.
type Fleet struct {
	Hub          Hub            `json:"hub"`
	Clusters     map[string]int `json:"clusters"` // by state
	Repositories []Repository   `json:"repositories"`
	Applications []Application  `json:"applications"`
	AddOns       []AddOn        `json:"addOns,omitempty"`
	NeedsYou     []Need         `json:"needsYou"`
}

// Repository is one on that screen.
type Repository struct {
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

// Application is one on that screen.
type Application struct {
	Application string `json:"application"`
	Revision    string `json:"revision,omitempty"`
	musterv1alpha1.Summary
	Ready bool   `json:"ready"`
	State string `json:"state"`
}

// Need is something that waits for a person, and the next step.
type Need struct {
	Who  string `json:"who"` // namespace, repository, cluster, or the hub
	What string `json:"what"`
	Next string `json:"next"`
}

// FleetOf is pure: facts in, the screen out, sorted.
func FleetOf(f Facts, now time.Time) Fleet {
	o := Fleet{Hub: f.Hub, Clusters: map[string]int{}, Repositories: []Repository{}, Applications: []Application{}, NeedsYou: []Need{}}
	for i := range f.Clusters {
		state, _ := ClusterState(&f.Clusters[i])
		o.Clusters[state]++
	}
	for i := range f.Repositories {
		o.Repositories = append(o.Repositories, RepositoryOf(&f.Repositories[i]))
	}
	for i := range f.Applications {
		a := &f.Applications[i]
		o.Applications = append(o.Applications, Application{
			Application: a.Namespace + "/" + a.Name, Revision: a.Status.Revision, Summary: a.Status.Summary, Ready: ApplicationReady(a), State: ApplicationState(a),
		})
	}
	slices.SortFunc(o.Repositories, func(a, b Repository) int { return cmp.Compare(a.Repository, b.Repository) })
	slices.SortFunc(o.Applications, func(a, b Application) int { return cmp.Compare(a.Application, b.Application) })
	if len(f.AddOns) > 0 {
		o.AddOns = AddOnsOf(f.AddOns, f.Installed)
	}
	o.NeedsYou = append(o.NeedsYou, NeedsOf(f, now)...)
	return o
}

// InOrder says that everything is as Git says, and nobody is waited for.
func (o Fleet) InOrder() bool {
	return o.Hub.Current() && len(o.NeedsYou) == 0 &&
		!slices.ContainsFunc(o.Repositories, func(r Repository) bool { return !r.Ready }) &&
		!slices.ContainsFunc(o.Applications, func(a Application) bool { return !a.Ready }) &&
		!slices.ContainsFunc(o.AddOns, func(a AddOn) bool { return a.Waits != "" })
}

// RepositoryOf is a repository on that screen.
func RepositoryOf(r *musterv1alpha1.FleetRepository) Repository {
	v := Repository{
		Repository: r.Namespace + "/" + r.Name, Fetched: r.Status.FetchedRevision, Delivered: r.Status.Revision, DeliveredAt: r.Status.DeliveredAt,
		Plan: r.Status.Plan, Faults: int(r.Status.FaultCount), State: ReadyText(r.Status.Conditions),
		Ready: meta.IsStatusConditionTrue(r.Status.Conditions, "Ready"), Rewritten: Rewritten(r),
	}
	if c := Unreadable(r); c != nil {
		v.UnreadableSince = &c.LastTransitionTime
	}
	return v
}

// Unreadable is the condition of a repository that cannot be fetched, else nil.
func Unreadable(r *musterv1alpha1.FleetRepository) *metav1.Condition {
	if c := meta.FindStatusCondition(r.Status.Conditions, "Fetched"); c != nil && c.Status == metav1.ConditionFalse {
		return c
	}
	return nil
}

// Rewritten is what is said of a history that was rewritten, else "".
func Rewritten(r *musterv1alpha1.FleetRepository) string {
	if c := meta.FindStatusCondition(r.Status.Conditions, "Fetched"); c != nil && c.Reason == string(fleet.HistoryRewritten) {
		return c.Message
	}
	return ""
}

// ApplicationState is an application in a few words.
func ApplicationState(a *musterv1alpha1.Application) string {
	if h := a.Status.Held; h != nil {
		return fmt.Sprintf("Held: %s", Count(int(h.Deletions), "deletion"))
	}
	if a.Status.ObservedGeneration != a.Generation {
		return "Waiting: for the hub to see it"
	}
	return ReadyText(a.Status.Conditions)
}

// ApplicationReady says that the hub has seen the application as it is, and nothing is wrong with it.
func ApplicationReady(a *musterv1alpha1.Application) bool {
	return a.Status.ObservedGeneration == a.Generation && a.Status.Held == nil && meta.IsStatusConditionTrue(a.Status.Conditions, "Ready")
}

// ReadyText is the condition Ready in a few words.
func ReadyText(conditions []metav1.Condition) string {
	c := meta.FindStatusCondition(conditions, "Ready")
	switch {
	case c == nil:
		return "Waiting: for the hub to see it"
	case c.Status == metav1.ConditionTrue && c.Reason == "NoClusters":
		return "Ready, on no cluster: " + c.Message
	case c.Status == metav1.ConditionTrue:
		return "Ready"
	}
	return c.Reason + ": " + c.Message
}

// NeedsOf lists what waits for a person, each with the next step: the hub first, then what is held, faults, drift, clusters.
func NeedsOf(f Facts, now time.Time) []Need {
	var ofHub, held, faults, drift, clusters []Need
	if !f.Hub.Current() {
		ofHub = append(ofHub, Need{Who: "hub", What: f.Hub.Says(now), Next: "start it: muster up here, hub --kubeconfig FILE elsewhere"})
	}
	if h := f.Hub.Hearing; h != nil && h.Silence != nil && h.Silence.Approved < h.Silence.Clusters {
		ofHub = append(ofHub, Need{
			Who: "hub", What: fmt.Sprintf("%d of %d clusters are silent at once, and none is tainted or moved", h.Silence.Clusters-h.Silence.Approved, h.Of),
			Next: "find out what separates them from the hub; if they are really away: muster approve --silence",
		})
	}
	for i := range f.Repositories {
		r := &f.Repositories[i]
		held = append(held, heldNeed(r.Namespace, r.Status.Held)...)
		faults = append(faults, repositoryNeeds(r)...)
	}
	for i := range f.Applications {
		a := &f.Applications[i]
		held = append(held, heldNeed(a.Namespace, a.Status.Held)...)
		faults = append(faults, applicationNeeds(a)...)
	}
	for _, d := range f.Drift {
		if !d.Healed {
			drift = append(drift, Need{
				Who:  d.namespace(),
				What: fmt.Sprintf("%s @ %s: %s %s→%s by %s, %s, Report mode", d.name(), d.Cluster, d.Path, d.Was, d.Is, d.Manager, Age(now.Sub(d.Time))),
				Next: "muster drift " + d.Application,
			})
		}
	}
	for i := range f.Clusters {
		m := &f.Clusters[i]
		switch state, _ := ClusterState(m); state {
		case ClusterWaiting:
			if reserved := fleet.ReservedName(m.Name); reserved != "" {
				clusters = append(clusters, Need{
					Who: m.Name, What: "asks to join, and never can: " + reserved, Next: "kubectl delete managedcluster " + m.Name + ", and let its agent join under another name",
				})
				continue
			}
			clusters = append(clusters, Need{Who: m.Name, What: "waits to be accepted", Next: "muster accept " + m.Name})
		case ClusterReleased:
			clusters = append(clusters, Need{
				Who: m.Name, What: "left the repository and stays", Next: "muster detach " + m.Name + " --keep-workloads|--clean",
			})
		default:
			if asks := WhoAsks(m); asks != "" {
				clusters = append(clusters, Need{Who: m.Name, What: asks, Next: "find out who that is; it stays outside"})
			}
		}
	}
	var all []Need
	for _, list := range [][]Need{ofHub, held, faults, drift, clusters} {
		slices.SortFunc(list, func(a, b Need) int {
			return cmp.Or(cmp.Compare(a.Who, b.Who), cmp.Compare(a.What, b.What), cmp.Compare(a.Next, b.Next))
		})
		all = append(all, slices.Compact(list)...)
	}
	return all
}

// repositoryNeeds are the faults of a repository that a person can do something about, a history that was rewritten, and the
// hub's own trouble with it.
func repositoryNeeds(r *musterv1alpha1.FleetRepository) []Need {
	key := r.Namespace + "/" + r.Name
	var needs []Need
	for _, x := range r.Status.Faults {
		if x.ActionRequiredBy != string(fleet.Controller) || x.Application == "" {
			needs = append(needs, faultNeed(r, x))
		}
	}
	if what := Rewritten(r); what != "" {
		needs = append(needs, Need{Who: key, What: what, Next: "ask who force-pushed; the next push ends this notice"})
	}
	if c := meta.FindStatusCondition(r.Status.Conditions, "Ready"); c != nil && c.Status == metav1.ConditionFalse && c.Reason == "Failed" {
		needs = append(needs, Need{Who: key, What: "the hub fails, and tries again: " + c.Message, Next: "read the hub's log if it stays"})
	}
	return append(needs, reviewNeeds(r)...)
}

// reviewNeeds is what keeps the hub from reviewing pull requests. A host that is away or sets a limit is asked again, and a plan that is not the
// one that was approved is among what is held.
func reviewNeeds(r *musterv1alpha1.FleetRepository) []Need {
	next := map[string]string{
		"Unauthorized": "put a new token into its Secret", "Forbidden": "give its token the rights that docs/review.md lists",
		"NotFound": "correct spec.review.repository, or give its token the rights that docs/review.md lists",
		"Invalid":  fmt.Sprintf("correct spec.review: kubectl -n %s edit fleetrepository %s", r.Namespace, r.Name), "TeamUnknown": "correct spec.review.approvers, or let its account see the team",
	}
	if r.Status.Review == nil || next[r.Status.Review.Reason] == "" {
		return nil
	}
	return []Need{{Who: r.Namespace + "/" + r.Name, What: "pull requests: " + r.Status.Review.Reason + ": " + r.Status.Review.Message, Next: next[r.Status.Review.Reason]}}
}

// applicationNeeds are what clusters refuse. What could not be planned is among the faults of the repository, if there is one.
func applicationNeeds(a *musterv1alpha1.Application) []Need {
	var needs []Need
	for _, row := range a.Status.Clusters {
		if row.State == "Failed" || row.State == "Faulty" && a.Annotations[musterv1alpha1.RepositoryAnnotation] == "" {
			needs = append(needs, Need{
				Who: a.Namespace, What: fmt.Sprintf("%s @ %s: %s: %s", a.Name, row.Cluster, row.Reason, row.Message),
				Next: cmp.Or(Correct(row.File, int(row.Line)), fmt.Sprintf("muster why %s/%s %s", a.Namespace, a.Name, row.Cluster)),
			})
		}
	}
	return needs
}

func heldNeed(namespace string, h *musterv1alpha1.Held) []Need {
	if h == nil {
		return nil
	}
	// The message ends with the command, which has a column of its own.
	what, _, _ := strings.Cut(h.Message, ": approve with")
	what, _, _ = strings.Cut(what, ": muster approve")
	return []Need{{
		Who: namespace, What: fmt.Sprintf("%s held: %s", Count(int(h.Deletions), "deletion"), what),
		Next: "muster approve --plan " + Short(h.Plan),
	}}
}

func faultNeed(r *musterv1alpha1.FleetRepository, f musterv1alpha1.Fault) Need {
	what := f.Reason + ": " + f.Message
	switch {
	case f.Application != "" && f.Clusters > 1:
		what = fmt.Sprintf("%s on %d clusters: %s", f.Application, f.Clusters, what)
	case f.Application != "" && f.Cluster != "":
		what = fmt.Sprintf("%s on %s: %s", f.Application, f.Cluster, what)
	case f.Application != "":
		what = f.Application + ": " + what
	}
	return Need{Who: r.Namespace + "/" + r.Name, What: what, Next: nextOf(r, f)}
}

// nextOf is what to do about a fault: where it stands is to be corrected; what stands nowhere is in the FleetRepository itself,
// or in what the remote holds.
func nextOf(r *musterv1alpha1.FleetRepository, f musterv1alpha1.Fault) string {
	edit := fmt.Sprintf("kubectl -n %s edit fleetrepository %s", r.Namespace, r.Name)
	switch {
	case f.Reason == string(fleet.Forbidden) && f.File != "":
		return fmt.Sprintf("give the account the right that it lacks, or take %s out", Position(f.File, int(f.Line)))
	case f.File != "":
		return Correct(f.File, int(f.Line))
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

// Correct names the place of a cause, "" when it has none.
func Correct(file string, line int) string {
	if file == "" {
		return ""
	}
	return "correct " + Position(file, line)
}
