package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
)

// progress is how far the hub is with one revision.
type progress struct {
	Revision string `json:"revision"`
	// Delivered is the delivered commit that contains the revision: the revision itself, or a later one.
	Delivered string `json:"delivered,omitempty"`
	Done      bool   `json:"done"`
	// Ready are the applications that run the revision. Clusters is the sum of their clusters, Healthy that of the healthy ones.
	Ready    []string `json:"ready"`
	Clusters int      `json:"clusters"`
	Healthy  int      `json:"healthy"`
	// Missing has a line for each thing that is still missing.
	Missing []string `json:"missing"`
	// Blocked are the lines of Missing that only a person can resolve, with what to do.
	Blocked []string `json:"blocked"`
	// Unproven has a line for each application about which nothing is known: no cluster that has it answers.
	Unproven []string `json:"unproven"`
	// Offline are clusters that are not waited for, a line for each application.
	Offline []string      `json:"offline"`
	Took    time.Duration `json:"tookNanoseconds"`
	// sure is true when a line of Blocked is certain. What a cluster refuses is not: it may accept it later.
	sure bool
	// undefined is true when the revision is delivered, does not define the application, and has no fault that explains it.
	undefined bool
}

// asked is what the command waits for.
type asked struct {
	revision    string
	application string // all when empty
	// contains says whether a later commit contains the revision, and whether that can be known here. Nil: it cannot.
	contains func(later string) (yes, known bool)
}

func waitCommand(c *cli) *cobra.Command {
	var (
		a       asked
		timeout time.Duration
		keep    bool
	)
	cmd := &cobra.Command{
		Use:   "wait --revision REV",
		Short: "Wait until every application runs a commit, but for clusters that are offline",
		Long: "REV is a commit, its first characters, or, in a Git repository, what git rev-parse takes. A later commit counts when the\n" +
			"repository here shows that it contains REV.\n\n" +
			"Clusters that are offline are named and not waited for, as long as each application runs on one that answers. Where a\n" +
			"person has to act, by an approval or another commit, that is said at once, and the command ends unless --keep-waiting.\n\n" +
			"Ends as diff(1) does: 0 it runs, 1 it does not, or nothing shows that it does, and what is missing is named, 2 it could\n" +
			"not be found out.",
		Args:        cobra.NoArgs,
		Annotations: exitsAsDiff,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, _, err := c.hub()
			if err != nil {
				return err
			}
			a.revision, a.contains = resolved(a.revision)
			patience := stuck
			if keep {
				patience = timeout
			}
			return c.wait(cmd.Context(), hub, a, timeout, patience)
		},
	}
	cmd.Flags().StringVar(&a.revision, "revision", "", "the commit")
	cmd.Flags().StringVar(&a.application, "application", "", "wait for this one only, namespace/name")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long")
	cmd.Flags().BoolVar(&keep, "keep-waiting", false, "wait on where a person has to act first")
	if err := cmd.MarkFlagRequired("revision"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// resolved is the full commit, and a function that says what contains it, if this folder is in a repository that has the commit.
func resolved(revision string) (string, func(string) (yes, known bool)) {
	r, err := openRepository(".", ".")
	if err != nil {
		return revision, nil
	}
	full, err := r.commit(revision)
	if err != nil {
		return revision, nil
	}
	return full, func(later string) (yes, known bool) {
		if _, err := r.commit(later); err != nil {
			return false, false
		}
		base, err := r.git.MergeBase(full, later)
		return err == nil && base == full, true
	}
}

const (
	// waitPeriod is how often wait looks.
	waitPeriod = 500 * time.Millisecond
	// stuck is how long a person has to be needed before the command ends: a hub that has just planned a commit may not have
	// read all of its own results yet.
	stuck = 5 * time.Second
	// refusing is how long clusters have to refuse an object before the command ends: another work may be about to bring the
	// kind of the object.
	refusing = 30 * time.Second
)

// wait ends when the revision runs everywhere, when the time is up, or when a person has been needed for longer than patience.
func (c *cli) wait(ctx context.Context, hub client.Client, a asked, timeout, patience time.Duration) error {
	start := c.now()
	free := start // the last time at which no person was needed
	last := ""
	for {
		facts, err := overview.Gather(ctx, hub, c.now())
		if err != nil {
			return err
		}
		p := progressOf(facts, a)
		p.Took = c.now().Sub(start).Round(time.Millisecond)
		if p.undefined {
			// The facts were read one after the other: the application may have come in between.
			if _, err := getApplication(ctx, hub, a.application); err != nil {
				return err
			}
		}
		if p.Done {
			return c.print(p, func(out *printer) { printProgress(out, p) })
		}
		if len(p.Blocked) == 0 {
			free = c.now()
		}
		if now := strings.Join(p.lacks(), "; "); now != last {
			fmt.Fprintf(c.errs, "%4s  %s\n", age(p.Took), shorten(oneLine(now), 160))
			last = now
		}
		enough := patience
		if !p.sure {
			enough = max(patience, refusing)
		}
		if c.now().Sub(free) >= enough && len(p.Blocked) > 0 || p.Took >= timeout {
			return c.missed(p, "")
		}
		if !pause(ctx, waitPeriod) {
			return c.missed(p, "interrupted; ")
		}
	}
}

// missed ends a wait without success: programs get the same answer as after a success, people get a message.
func (c *cli) missed(p progress, how string) error {
	if err := c.print(p, func(*printer) {}); err != nil {
		return err
	}
	return exitError{code: exitChanges, message: how + p.failure()}
}

// lacks are all the lines that keep the wait from succeeding.
func (p *progress) lacks() []string { return slices.Concat(p.Missing, p.Unproven) }

// failure says why the wait did not succeed: what waits for a person, what is late, or what is unknown.
func (p *progress) failure() string {
	revision := fleet.ShortRevision(p.Revision)
	list := listed(p.lacks())
	switch {
	case len(p.Blocked) > 0:
		return fmt.Sprintf("%s waits for you, and does not get everywhere by itself:%s", revision, listed(p.Blocked))
	case len(p.Missing) > 0:
		return fmt.Sprintf("%s is not everywhere after %s:%s", revision, p.Took.Round(time.Second), list)
	}
	return fmt.Sprintf("nothing shows that %s runs, after %s:%s", revision, p.Took.Round(time.Second), list)
}

// listed is each text on a line of its own.
func listed(texts []string) string {
	var b strings.Builder
	for _, text := range texts {
		b.WriteString("\n  " + oneLine(text))
	}
	return b.String()
}

// progressOf is pure. A revision runs when its repository has delivered it, and each of its applications is planned at it
// and healthy on every cluster that answers, at least one.
func progressOf(f overview.Facts, a asked) progress {
	p := progress{Revision: a.revision, Ready: []string{}, Missing: []string{}, Blocked: []string{}, Unproven: []string{}, Offline: []string{}}
	if f.Hub.State == overview.HubSilent || f.Hub.State == overview.HubNever {
		p.Missing = append(p.Missing, "the hub does not keep its word up to date: muster status")
	}
	delivered, faults := p.repositories(f.Repositories, a)
	onHub := map[string]bool{}
	for i := range f.Applications {
		onHub[f.Applications[i].Namespace+"/"+f.Applications[i].Name] = true
	}
	if len(delivered) == 0 {
		p.Missing = append(p.Missing, undelivered(f.Repositories, a)...)
		p.fallShort(faults, a, onHub)
		return p
	}
	applications, away := 0, awayOf(f.Clusters)
	for i := range f.Applications {
		app := &f.Applications[i]
		key := app.Namespace + "/" + app.Name
		revision, ours := delivered[app.Annotations[musterv1alpha1.RepositoryAnnotation]]
		if a.application != "" && key != a.application || a.application == "" && !ours {
			continue
		}
		applications++
		l := lacking(app, revision, chosenBy(f.Placements, app), away).because(app, faults)
		if held := heldRemoval(f.Repositories, app, revision); held != "" {
			l = lack{blocked, held}
		}
		p.add(app, l, away)
	}
	p.fallShort(faults, a, onHub)
	explained := slices.ContainsFunc(faults, func(f shortcoming) bool { return f.about(a.application) })
	if a.application != "" && applications == 0 && !explained {
		p.Missing, p.undefined = append(p.Missing, a.application+": is not on the hub"), true
	}
	if applications > 0 && p.Clusters == 0 && len(p.lacks()) == 0 {
		p.Unproven = append(p.Unproven, "no placement chose a cluster, so that nothing runs it"+joiningNote(f.Clusters))
	}
	for _, list := range [][]string{p.Ready, p.Missing, p.Blocked, p.Unproven, p.Offline} {
		slices.Sort(list)
	}
	p.Done = len(p.lacks()) == 0
	return p
}

// repositories gives the commit that each repository has delivered, where it contains the revision, and the faults of that commit;
// where none is delivered, the faults of the commit that is fetched.
func (p *progress) repositories(all []musterv1alpha1.FleetRepository, a asked) (delivered map[string]string, faults []shortcoming) {
	delivered = map[string]string{}
	for i := range all {
		r := &all[i]
		there := a.counts(r.Status.Revision) && r.Status.ObservedGeneration == r.Generation
		if there {
			delivered[r.Namespace+"/"+r.Name] = r.Status.Revision
			p.Delivered = r.Status.Revision
		}
		if there && r.Status.FetchedRevision == r.Status.Revision || !there && a.counts(r.Status.FetchedRevision) {
			faults = append(faults, shortcomings(r)...)
			p.notListed(r, a)
		}
	}
	return delivered, faults
}

// fallShort adds the faults of a commit that keep something from the hub. An application that is on the hub is left out: add tells
// about it.
func (p *progress) fallShort(faults []shortcoming, a asked, onHub map[string]bool) {
	for _, f := range faults {
		said := slices.ContainsFunc(p.Blocked, func(line string) bool { return strings.HasSuffix(line, ": "+f.text()) })
		if said || onHub[f.Application] || a.application != "" && !f.about(a.application) {
			continue
		}
		p.Missing = append(p.Missing, f.line())
		if f.needsUser() {
			p.Blocked, p.sure = append(p.Blocked, f.line()), true
		}
	}
}

// notListed adds that a status has no room for all faults: one of them may be about an application that is not on the hub.
func (p *progress) notListed(r *musterv1alpha1.FleetRepository, a asked) {
	if more := unlisted(r); more > 0 && a.application == "" {
		p.Unproven = append(p.Unproven, fmt.Sprintf("repository %s/%s: %s more: muster validate in a clone lists them", r.Namespace, r.Name, count(more, "fault")))
	}
}

// counts says whether a delivered commit is the wanted one, or is known to contain it.
func (a asked) counts(delivered string) bool {
	if delivered == "" {
		return false
	}
	if strings.HasPrefix(delivered, a.revision) {
		return true
	}
	if a.contains == nil {
		return false
	}
	yes, _ := a.contains(delivered)
	return yes
}

// add counts one application.
func (p *progress) add(a *musterv1alpha1.Application, l lack, away map[string]bool) {
	key := a.Namespace + "/" + a.Name
	p.Clusters += int(a.Status.Summary.Clusters)
	p.Healthy += int(a.Status.Summary.Healthy)
	line := key + ": " + l.text
	switch l.how {
	case nothing:
		p.Ready = append(p.Ready, key)
	case unproven:
		p.Unproven = append(p.Unproven, line)
	case blocked, refused:
		p.Blocked = append(p.Blocked, line)
		p.Missing = append(p.Missing, line)
		p.sure = p.sure || l.how == blocked
	case pending:
		p.Missing = append(p.Missing, line)
	}
	if names := offlineOf(a, away); names != "" {
		p.Offline = append(p.Offline, key+": "+names)
	}
}

// undelivered says why no repository has delivered a revision.
func undelivered(repositories []musterv1alpha1.FleetRepository, a asked) []string {
	var missing []string
	for i := range repositories {
		r := &repositories[i]
		text := fmt.Sprintf("repository %s/%s is at %s", r.Namespace, r.Name, orNone(fleet.ShortRevision(r.Status.Revision)))
		if strings.HasPrefix(r.Status.FetchedRevision, a.revision) {
			text = fmt.Sprintf("repository %s/%s has fetched it and not delivered it", r.Namespace, r.Name)
		} else if r.Status.Revision != "" && !a.knows(r.Status.Revision) {
			text += ", and whether that contains it is not known here: ask in a clone that has fetched both"
		}
		for _, kind := range []string{"Fetched", "Delivered"} {
			if c := meta.FindStatusCondition(r.Status.Conditions, kind); c != nil && c.Status != "True" {
				text += ": " + c.Message
				break
			}
		}
		missing = append(missing, text)
	}
	if len(missing) == 0 {
		return []string{"the hub has no FleetRepository"}
	}
	slices.Sort(missing)
	return missing
}

// knows says whether it can be known here that a delivered commit contains the wanted one.
func (a asked) knows(delivered string) bool {
	if a.contains == nil {
		return false
	}
	_, known := a.contains(delivered)
	return known
}

// how says in which way an application lacks something.
type how int

const (
	nothing  how = iota
	pending      // it comes by itself
	blocked      // a person has to act
	refused      // a cluster refuses it: a person has to act, unless the cluster accepts it later
	unproven     // no cluster that has it answers
)

type lack struct {
	how  how
	text string
}

// lacking says what an application lacks at a revision. chosen is how many clusters its placement chose, away has the clusters
// that do not answer.
func lacking(a *musterv1alpha1.Application, revision string, chosen int, away map[string]bool) lack {
	s := a.Status.Summary
	planned := meta.FindStatusCondition(a.Status.Conditions, "Planned")
	switch {
	case a.Status.RolledBack != nil && a.Status.RolledBack.Refused == revision:
		return lack{blocked, readyMessage(a)}
	case a.Status.Revision != revision:
		return unplanned(a, planned)
	case a.Status.ObservedGeneration != a.Generation || planned == nil:
		return lack{pending, "waits for the hub to see it"}
	case a.Status.Held != nil:
		return lack{blocked, a.Status.Held.Message}
	case planned.Status != "True" && planned.Reason == "Faults" && faultOfAuthor(a) != nil:
		f := faultOfAuthor(a)
		return lack{blocked, fmt.Sprintf("%s; %s", planned.Message, cmp.Or(overview.Correct(f.File, int(f.Line)), fmt.Sprintf("muster why %s/%s %s", a.Namespace, a.Name, f.Cluster)))}
	case planned.Status != "True":
		return lack{pending, planned.Message}
	case s.Faulty > 0:
		return failing(a)
	case s.Clusters > 0 && s.Offline >= s.Clusters:
		return lack{unproven, fmt.Sprintf("nothing shows that it works: no cluster of its %d answers: %s", s.Clusters, offlineOf(a, away))}
	case s.Clusters == 0 && chosen > 0:
		return lack{unproven, fmt.Sprintf("its placement chose %s, and none has it", count(chosen, "cluster"))}
	case unhealthy(a.Status, away):
		return lack{pending, fmt.Sprintf("healthy on %d of %s", s.Healthy, count(int(s.Clusters), "cluster"))}
	}
	return lack{}
}

// unplanned says why an application is not planned at a revision yet.
func unplanned(a *musterv1alpha1.Application, planned *metav1.Condition) lack {
	if planned != nil && planned.Status != "True" {
		return lack{pending, planned.Message}
	}
	return lack{pending, "is planned at " + orNone(fleet.ShortRevision(a.Status.Revision))}
}

// readyMessage is what the hub says of an application as a whole.
func readyMessage(a *musterv1alpha1.Application) string {
	if c := meta.FindStatusCondition(a.Status.Conditions, "Ready"); c != nil {
		return c.Message
	}
	return ""
}

// heldRemoval says what a person has to do when the revision does not define the application and its repository holds it. The
// status names some of those that are held.
func heldRemoval(repositories []musterv1alpha1.FleetRepository, a *musterv1alpha1.Application, revision string) string {
	for i := range repositories {
		r := &repositories[i]
		if r.Namespace+"/"+r.Name != a.Annotations[musterv1alpha1.RepositoryAnnotation] || r.Status.Held == nil || r.Status.Revision != revision {
			continue
		}
		for _, item := range r.Status.Held.Items {
			if strings.HasPrefix(item, "application "+a.Namespace+"/"+a.Name+",") {
				return r.Status.Held.Message
			}
		}
		if int(r.Status.Held.Deletions) > len(r.Status.Held.Items) && a.Status.Revision != revision {
			return r.Status.Held.Message
		}
	}
	return ""
}

// because is the lack with its cause, where a fault of the repository is the reason that it does not end by itself.
func (l lack) because(a *musterv1alpha1.Application, faults []shortcoming) lack {
	i := slices.IndexFunc(faults, func(s shortcoming) bool { return s.explains(a) })
	if l.how != pending || i < 0 {
		return l
	}
	return lack{blocked, faults[i].text()}
}

// failing is the lack of an application that clusters cannot apply.
func failing(a *musterv1alpha1.Application) lack {
	on, where := count(int(a.Status.Summary.Faulty), "cluster"), "muster status "+a.Namespace+"/"+a.Name
	for i := range a.Status.Clusters {
		if r := &a.Status.Clusters[i]; r.State == "Failed" && r.ActionRequiredBy == string(fleet.User) {
			return lack{refused, fmt.Sprintf("failed on %s: %s: %s: %s", on, r.Cluster, r.Message, where)}
		}
	}
	return lack{pending, fmt.Sprintf("failed on %s: %s", on, where)}
}

// faultOfAuthor is what another commit has to resolve. That two applications claim one object may end by itself, when the
// other one lets go.
func faultOfAuthor(a *musterv1alpha1.Application) *musterv1alpha1.ClusterStatus {
	for i := range a.Status.Clusters {
		r := &a.Status.Clusters[i]
		if r.State == "Faulty" && r.ActionRequiredBy == string(fleet.User) && r.Reason != string(fleet.ObjectClaimed) {
			return r
		}
	}
	return nil
}

// unhealthy says that a cluster which answers is not healthy yet. The rows name the twenty worst; an offline cluster may count
// as healthy too, so that the sums alone do not tell.
func unhealthy(s musterv1alpha1.ApplicationStatus, away map[string]bool) bool {
	if s.Summary.Healthy+s.Summary.Offline < s.Summary.Clusters {
		return true
	}
	return slices.ContainsFunc(s.Clusters, func(r musterv1alpha1.ClusterStatus) bool {
		return r.State != "Offline" && r.State != "Drifted" && !away[r.Cluster]
	})
}

// awayOf are the clusters that do not answer, or have not yet.
func awayOf(clusters []clusterv1.ManagedCluster) map[string]bool {
	away := map[string]bool{}
	for i := range clusters {
		if state, _ := overview.ClusterState(&clusters[i]); state == overview.ClusterOffline || state == overview.ClusterJoining {
			away[clusters[i].Name] = true
		}
	}
	return away
}

// offlineOf names an application's clusters that do not answer, as far as its rows do.
func offlineOf(a *musterv1alpha1.Application, away map[string]bool) string {
	var names []string
	for _, r := range a.Status.Clusters {
		if r.State == "Offline" || away[r.Cluster] {
			names = append(names, r.Cluster)
		}
	}
	slices.Sort(names)
	if more := int(a.Status.Summary.Offline) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("(%d more)", more))
	}
	return strings.Join(names, " ")
}

// chosenBy is how many clusters an application's placements chose; of several, at least.
func chosenBy(placements []clusterv1beta1.Placement, a *musterv1alpha1.Application) int {
	most := 0
	for i := range placements {
		if p := &placements[i]; p.Namespace == a.Namespace && slices.Contains(a.PlacementNames(), p.Name) {
			most = max(most, int(p.Status.NumberOfSelectedClusters))
		}
	}
	return most
}

// joiningNote names clusters that have not been there yet.
func joiningNote(clusters []clusterv1.ManagedCluster) string {
	var names []string
	for i := range clusters {
		if state, _ := overview.ClusterState(&clusters[i]); state == overview.ClusterJoining || state == overview.ClusterWaiting {
			names = append(names, clusters[i].Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return fmt.Sprintf(" (not joined yet: %s)", strings.Join(names, " "))
}

func printProgress(p *printer, x progress) {
	text := fleet.ShortRevision(x.Revision)
	if x.Delivered != "" && !strings.HasPrefix(x.Delivered, x.Revision) {
		text = fmt.Sprintf("%s, which contains %s,", fleet.ShortRevision(x.Delivered), text)
	}
	if len(x.Ready) == 0 {
		p.linef("%s is delivered after %s, and defines no application", text, x.Took)
		return
	}
	text += fmt.Sprintf(" runs after %s: healthy on %d of %s over %s", x.Took, x.Healthy, count(x.Clusters, "cluster"), count(len(x.Ready), "application"))
	if len(x.Ready) > 1 {
		text += ", the clusters of each counted"
	}
	p.line(text)
	for _, line := range x.Offline {
		p.linef("  offline, and not waited for: %s", line)
	}
}
