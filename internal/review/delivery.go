package review

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
)

// Progress of a group of applications at a commit.
type Progress string

// The states of a group.
const (
	Underway Progress = "Underway"
	Through  Progress = "Through" // healthy everywhere it should be
	Stuck    Progress = "Stuck"   // something has failed, or waits for a person
)

// Group is what became of a commit for the applications of one namespace, in one environment.
type Group struct {
	Name string // namespace, or "namespace (environment)"
	// Namespace of its applications; empty for Removals.
	Namespace string
	Progress  Progress
	// Clusters that it should be on, those that have applied it, and those where all of it is healthy.
	Clusters, Applied, Healthy int
	// Reason of a group that is stuck: the first.
	Reason string
}

// Line describes the group in at most 140 characters, for a check of a Git host.
func (g Group) Line() string {
	switch g.Progress {
	case Through:
		if g.Name == Removals {
			return "nothing waits for an approval"
		}
		return "healthy on " + count(g.Clusters, "cluster")
	case Stuck:
		if g.Clusters == 0 {
			return shorten(oneLine(g.Reason), maxLine)
		}
		return shorten(fmt.Sprintf("applied on %d of %d: %s", g.Applied, g.Clusters, oneLine(g.Reason)), maxLine)
	}
	if g.Name == Removals {
		return "approved, and not gone yet"
	}
	return fmt.Sprintf("applied on %d of %d, healthy on %d", g.Applied, g.Clusters, g.Healthy)
}

// Removals is the name of the group of the applications that a commit takes away.
const Removals = "removed applications"

// Removal is what became of applications that left the repository: a repository that holds them waits for a person, unless they are
// approved already.
func Removal(held *musterv1alpha1.Held, approved bool) Group {
	switch {
	case held == nil:
		return Group{Name: Removals, Progress: Through}
	case approved:
		return Group{Name: Removals, Progress: Underway}
	}
	return Group{Name: Removals, Progress: Stuck, Reason: held.Message}
}

// Delivery says how far a plan has come: the works that it wants, the live ones, and what the applications on the hub say of themselves.
// Applications of one namespace are a group; one for each environment, of clusters that are in one.
func Delivery(p *plan.Plan, works func(fleet.Owner) []fleet.LiveWork, applications map[string]*musterv1alpha1.Application, environments map[string]string) []Group {
	t := &tally{
		environments: environments, applied: map[place]bool{}, healthy: map[place]bool{}, reasons: map[string][]string{}, of: map[string]map[string]bool{},
		underway: map[string]bool{},
	}
	for _, a := range p.Applications {
		t.count(a, works(a.Owner()))
	}
	for _, a := range p.Applications {
		if app := applications[a.Key()]; app != nil && app.Status.Revision == p.Revision { // else it says nothing of this commit yet
			t.hear(a.Key(), app)
		}
	}
	for _, f := range p.Faults {
		if namespace, _, ok := strings.Cut(f.Application, "/"); ok {
			t.blame(t.group(namespace, f.Cluster), f.Error())
		}
	}
	return t.groups()
}

// place is a cluster in a group.
type place struct{ group, cluster string }

// tally is a delivery that is being counted.
type tally struct {
	environments     map[string]string
	applied, healthy map[place]bool
	reasons          map[string][]string        // of groups
	of               map[string]map[string]bool // the groups of a namespace
	underway         map[string]bool            // groups in which something approved is to come
}

// group of a cluster, which is noted.
func (t *tally) group(namespace, cluster string) string {
	name := namespace
	if e := t.environments[cluster]; e != "" {
		name += " (" + e + ")"
	}
	if t.of[namespace] == nil {
		t.of[namespace] = map[string]bool{}
	}
	t.of[namespace][name] = true
	return name
}

func (t *tally) blame(group, reason string) { t.reasons[group] = append(t.reasons[group], reason) }

// count counts the clusters that an application is wanted on.
func (t *tally) count(a *plan.Application, works []fleet.LiveWork) {
	live := map[string][]fleet.LiveWork{}
	for _, lw := range works {
		live[lw.Cluster] = append(live[lw.Cluster], lw)
	}
	for _, c := range a.Clusters {
		where := place{t.group(a.Application.Namespace, c.Name), c.Name}
		is, well := stands(live[c.Name], c.SetDigest)
		if before, known := t.applied[where]; known {
			is, well = is && before, well && t.healthy[where]
		}
		t.applied[where], t.healthy[where] = is, well
	}
}

// hear notes what an application says is wrong with it: on a cluster, or as a whole.
func (t *tally) hear(key string, app *musterv1alpha1.Application) {
	namespace, _, _ := strings.Cut(key, "/")
	for _, row := range app.Status.Clusters {
		if slices.Contains([]string{"Faulty", "Failed", "Degraded"}, row.State) {
			t.blame(t.group(namespace, row.Cluster), fmt.Sprintf("%s on %s: %s", key, row.Cluster, cmp.Or(row.Message, row.Reason, row.State)))
		}
	}
	message := ""
	if r := app.Status.Rollout; r != nil && r.Phase == musterv1alpha1.RolloutStopped {
		message = key + ": the rollout is stopped: " + r.Message
	} else if held := app.Status.Held; held != nil && held.Plan != "" && app.Annotations[musterv1alpha1.ApprovedPlanAnnotation] == held.Plan {
		for group := range t.of[namespace] {
			t.underway[group] = true // approved, and not carried out yet
		}
	} else if held != nil {
		message = held.Message
	}
	if message != "" {
		for group := range t.of[namespace] {
			t.blame(group, message)
		}
	}
}

func (t *tally) groups() []Group {
	groups := map[string]*Group{}
	for namespace, names := range t.of {
		for name := range names {
			groups[name] = &Group{Name: name, Namespace: namespace}
		}
	}
	for at, is := range t.applied {
		g := groups[at.group]
		g.Clusters++
		if is {
			g.Applied++
		}
		if t.healthy[at] {
			g.Healthy++
		}
	}
	var list []Group
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		switch slices.Sort(t.reasons[name]); {
		case len(t.reasons[name]) > 0:
			g.Progress, g.Reason = Stuck, t.reasons[name][0]
		case g.Healthy == g.Clusters && !t.underway[name]:
			g.Progress = Through
		default:
			g.Progress = Underway
		}
		list = append(list, *g)
	}
	return list
}

// stands says whether a cluster has applied the complete set of works, and whether all of it is healthy.
func stands(live []fleet.LiveWork, set string) (applied, healthy bool) {
	n, size := 0, -1
	applied, healthy = true, true
	for _, lw := range live {
		if lw.Deleting || lw.SetDigest != set {
			continue
		}
		n, size = n+1, lw.SetSize
		applied = applied && lw.Status.Observed && lw.Status.Applied
		healthy = healthy && lw.Status.Health == fleet.HealthHealthy
	}
	if set == "" || size < 0 { // nothing is wanted of it, or nothing of it is there
		return false, false
	}
	applied = applied && n == size
	return applied, applied && healthy
}

// Summary is the comment on a merged pull request.
func Summary(marker, revision string, groups []Group) string {
	w := &markdown{Text: Text{Marker: marker}}
	if marker != "" {
		w.line("%s", marker)
	}
	mark := "✅ delivered"
	for _, g := range groups {
		if g.Progress == Stuck {
			mark = "❌ stuck"
		}
	}
	w.line("### Muster: %s %s", mark, fleet.ShortRevision(revision))
	w.line("")
	if len(groups) == 0 {
		w.line("No application of this repository is on a cluster.")
	}
	for _, g := range groups[:min(len(groups), 50)] {
		w.line("- %s **%s**: %s", map[Progress]string{Through: "✅", Stuck: "❌", Underway: "⏳"}[g.Progress], escape(g.Name), escape(g.Line()))
	}
	if n := len(groups) - 50; n > 0 {
		w.line("- … %s more", count(n, "group"))
	}
	return w.b.String()
}

// Finished says whether nothing is underway any more, and whether all went well.
func Finished(groups []Group) (done, well bool) {
	done, well = true, true
	for _, g := range groups {
		done = done && g.Progress != Underway
		well = well && g.Progress == Through
	}
	return done, well
}
