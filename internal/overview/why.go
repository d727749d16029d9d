package overview

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
)

// Reasons are the answer of why, about an application or a placement.
type Reasons struct {
	Subject   string `json:"subject"`
	Placement string `json:"placement"`
	Problem   string `json:"problem,omitempty"` // with the placement itself
	// Summary says how many clusters each step of the placement took away.
	Summary string `json:"summary,omitempty"`
	// Condition says why the placement has not what it asks for; Complaints are what is wrong besides, such as unknown sets.
	Condition  string   `json:"condition,omitempty"`
	Complaints []string `json:"complaints,omitempty"`
	// Scheduler says that another scheduler than ours decides, and whether its decisions are complete.
	Scheduler []string              `json:"scheduler,omitempty"`
	Decisions []placement.Explained `json:"decisions"`
	// Of an application on the cluster: what could not be planned, what the hub says, and the works.
	Faults    []fleet.Fault                 `json:"faults,omitempty"`
	Row       *musterv1alpha1.ClusterStatus `json:"row,omitempty"`
	Held      *musterv1alpha1.Held          `json:"held,omitempty"`
	Overrides []string                      `json:"overrides,omitempty"`
	// Sources are what its references to other repositories and registries resolved to.
	Sources []musterv1alpha1.SourceStatus `json:"sources,omitempty"`
	// Left are objects that hold data and that the application has left on the cluster, which the scheduler has replaced.
	Left  []string         `json:"left,omitempty"`
	Works []fleet.LiveWork `json:"works,omitempty"`
	// Waits says what else stands between the newest commit and the cluster, a line each, outermost first.
	Waits []string `json:"waits,omitempty"`
}

// Knowledge is what why asks: a hub, or a repository that was planned.
type Knowledge struct {
	World *fleet.World
	Plan  *plan.Plan // nil on a hub
	// Of a hub: whether it runs, and the repositories that it watches.
	Hub          Hub
	Repositories []musterv1alpha1.FleetRepository
	AddOns       []addonv1alpha1.ClusterManagementAddOn
	Installed    []addonv1alpha1.ManagedClusterAddOn
}

// cluster checks the name of a cluster.
func (k *Knowledge) cluster(name string) error {
	var known []string
	for i := range k.World.Clusters {
		known = append(known, k.World.Clusters[i].Name)
	}
	if slices.Contains(known, name) {
		return nil
	}
	return Unknown("cluster", name, known)
}

// Named explains what has the name: an application where a cluster is named with it, else a placement.
func (k *Knowledge) Named(key, cluster string) (*Reasons, error) {
	isPlacement := slices.ContainsFunc(k.World.Placements, func(p clusterv1beta1.Placement) bool { return p.Namespace+"/"+p.Name == key })
	i := slices.IndexFunc(k.World.Applications, func(a musterv1alpha1.Application) bool { return a.Namespace+"/"+a.Name == key })
	isAddOn := slices.ContainsFunc(k.AddOns, func(a addonv1alpha1.ClusterManagementAddOn) bool { return a.Name == key })
	switch {
	case isAddOn: // its name has no namespace, so that nothing else has it
		return k.AddOn(key, cluster)
	case isPlacement && (cluster == "" || i < 0):
		return k.Placement(key, cluster)
	case i < 0 && !isPlacement:
		var known []string
		for _, a := range k.World.Applications {
			known = append(known, a.Namespace+"/"+a.Name)
		}
		for _, p := range k.World.Placements {
			known = append(known, p.Namespace+"/"+p.Name)
		}
		for _, a := range k.AddOns {
			known = append(known, a.Name)
		}
		return nil, Unknown("application, placement or add-on", key, known)
	case cluster == "":
		return k.Placement(k.World.Applications[i].Namespace+"/"+k.World.Applications[i].PlacementNames()[0], "")
	default:
		return k.Application(&k.World.Applications[i], cluster)
	}
}

// Placement explains one cluster, or all when none is named.
func (k *Knowledge) Placement(key, cluster string) (*Reasons, error) {
	i := slices.IndexFunc(k.World.Placements, func(p clusterv1beta1.Placement) bool { return p.Namespace+"/"+p.Name == key })
	if i < 0 {
		var known []string
		for _, p := range k.World.Placements {
			known = append(known, p.Namespace+"/"+p.Name)
		}
		return nil, Unknown("placement", key, known)
	}
	p := &k.World.Placements[i]
	var clusters []string
	if cluster != "" {
		if err := k.cluster(cluster); err != nil {
			return nil, err
		}
		clusters = []string{cluster}
	}
	why := placement.NewIndex(k.World).Why(p, clusters...)
	r := &Reasons{
		Subject: "placement " + key, Placement: key, Problem: why.Problem, Summary: why.Summary,
		Condition: why.Condition, Complaints: why.Complaints, Decisions: why.Clusters,
	}
	switch {
	case k.Plan != nil:
	case p.Annotations[clusterv1beta1.PlacementDisableAnnotation] == "true":
		k.asTheirs(p, r)
	default:
		k.asLive(p, r.Decisions)
	}
	return r, nil
}

// asLive lets the decisions on the hub count, whoever made them, where they are a complete set.
func (k *Knowledge) asLive(p *clusterv1beta1.Placement, decisions []placement.Explained) {
	live, complete := placement.Read(p, k.World.Decisions)
	if !complete {
		return
	}
	for i := range decisions {
		d := &decisions[i]
		_, chosen := slices.BinarySearch(live, d.Cluster)
		switch {
		case chosen && !d.Chosen:
			d.Chosen, d.Reason, d.Change = true, "chosen by the decisions on the hub, although: "+d.Reason, ""
		case !chosen && d.Chosen:
			d.Chosen, d.Reason, d.Change = false, "not yet in the decisions on the hub, although: "+d.Reason, "the hub has to schedule the placement"
		}
	}
}

// asTheirs lets nothing but the decisions on the hub count: our scheduler leaves the placement to another one.
func (k *Knowledge) asTheirs(p *clusterv1beta1.Placement, r *Reasons) {
	live, complete := placement.Read(p, k.World.Decisions)
	r.Problem, r.Condition, r.Complaints = "", "", nil
	r.Summary = Count(len(live), "cluster") + " chosen by another scheduler"
	r.Scheduler = []string{"another scheduler decides: annotation " + clusterv1beta1.PlacementDisableAnnotation + "=true"}
	if text := unfinished(p, len(live), complete); text != "" {
		r.Scheduler = append(r.Scheduler, text)
	}
	for i := range r.Decisions {
		x := placement.Explained{Decision: fleet.Decision{Cluster: r.Decisions[i].Cluster, Reason: "not in its decisions"}, Change: "the other scheduler has to choose it"}
		if _, x.Chosen = slices.BinarySearch(live, x.Cluster); x.Chosen {
			x.Reason, x.Change = "in its decisions", ""
		}
		r.Decisions[i] = x
	}
}

// unfinished says why nothing may be concluded from the decisions of another scheduler; "" when they are complete.
func unfinished(p *clusterv1beta1.Placement, named int, complete bool) string {
	const so = ", so that applications do not follow it"
	switch {
	case !complete && named == 0 && p.Status.NumberOfSelectedClusters == 0:
		return "it has written no decisions yet" + so
	case !complete:
		return fmt.Sprintf("its decisions are not complete%s: they name %s, and status.numberOfSelectedClusters is %d",
			so, Count(named, "cluster"), p.Status.NumberOfSelectedClusters)
	case !placement.Scheduled(p):
		return fmt.Sprintf("it has not said in condition %s that generation %d is scheduled%s", clusterv1beta1.PlacementConditionSatisfied, p.Generation, so)
	}
	return ""
}

// placements explains a cluster by the placement that chose it, or else by the first.
func (k *Knowledge) placements(a *musterv1alpha1.Application, cluster string) (*Reasons, error) {
	var first *Reasons
	for _, name := range a.PlacementNames() {
		r, err := k.Placement(a.Namespace+"/"+name, cluster)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(r.Decisions, func(x placement.Explained) bool { return x.Chosen }) {
			return r, nil
		}
		if first == nil {
			first = r
		}
	}
	return first, nil
}

// Application explains an application on a cluster.
func (k *Knowledge) Application(a *musterv1alpha1.Application, cluster string) (*Reasons, error) {
	key := a.Namespace + "/" + a.Name
	r, err := k.placements(a, cluster)
	if err != nil {
		return nil, err
	}
	r.Subject = "application " + key + " on " + cluster
	if k.Plan == nil {
		k.onHub(r, a, cluster)
	} else if planned := k.Plan.Find(key); planned != nil {
		for _, f := range planned.Faults {
			if f.Cluster == cluster || f.Cluster == "" {
				r.Faults = append(r.Faults, f)
			}
		}
		for _, u := range planned.Sources {
			r.Sources = append(r.Sources, u.Status())
		}
		for _, c := range planned.Clusters {
			if c.Name == cluster {
				r.Overrides = c.Overrides
			}
		}
	}
	for _, lw := range k.World.Works {
		if lw.Owner.String() == key && lw.Cluster == cluster {
			r.Works = append(r.Works, lw)
		}
	}
	return r, nil
}

// onHub adds what a hub says of an application on a cluster.
func (k *Knowledge) onHub(r *Reasons, a *musterv1alpha1.Application, cluster string) {
	r.Held, r.Sources = a.Status.Held, a.Status.Sources
	for _, l := range a.Status.Left {
		if l.Cluster == cluster {
			r.Left = l.Objects
		}
	}
	r.Waits = k.waits(a, cluster)
	for i := range a.Status.Clusters {
		if a.Status.Clusters[i].Cluster != cluster {
			continue
		}
		row := a.Status.Clusters[i]
		if row.State == "Drifted" && a.Spec.Sync.Drift == musterv1alpha1.DriftReport {
			row.ActionRequiredBy = string(fleet.User) // it is reported, and nothing corrects it
		}
		r.Row = &row
	}
}

// waits says what on a hub stands between the newest commit and a cluster: the hub, the repository, the application, the
// cluster, and works that their agent has not taken up.
func (k *Knowledge) waits(a *musterv1alpha1.Application, cluster string) []string {
	now := k.World.Time
	waits := k.hubWaits(now)
	i := slices.IndexFunc(k.Repositories, func(r musterv1alpha1.FleetRepository) bool {
		return r.Namespace+"/"+r.Name == a.Annotations[musterv1alpha1.RepositoryAnnotation]
	})
	delivered := ""
	if i >= 0 {
		delivered = k.Repositories[i].Status.Revision
		waits = append(waits, repositoryWaits(&k.Repositories[i], now)...)
	}
	planned := meta.FindStatusCondition(a.Status.Conditions, "Planned")
	switch {
	case planned == nil || a.Status.ObservedGeneration != a.Generation:
		waits = append(waits, "the hub has not seen the application as it is now")
	case planned.Status != metav1.ConditionTrue && planned.Reason != "Faults": // faults have rows of their own
		waits = append(waits, "the application is not planned: "+planned.Message)
	case delivered != "" && a.Status.Revision != delivered:
		waits = append(waits, fmt.Sprintf("the application is planned at %s, and %s is delivered", OrNone(fleet.ShortRevision(a.Status.Revision)), fleet.ShortRevision(delivered)))
	}
	for _, h := range a.Status.OnHold {
		waits = append(waits, "the application is "+rollout.HoldText(h))
	}
	for i := range k.World.Clusters {
		m := &k.World.Clusters[i]
		if state, message := ClusterState(m); m.Name == cluster && state != ClusterAvailable {
			waits = append(waits, fmt.Sprintf("the cluster is %s%s: what it has stays, and changes wait for it", state, sinceOf(m, now, message)))
		}
	}
	for _, w := range k.World.Works {
		if w.Owner == fleet.OwnerOf(a) && w.Cluster == cluster && !w.Status.Observed {
			waits = append(waits, fmt.Sprintf("the agent has not reported on work %s as it is now", w.Name))
		}
	}
	return waits
}

// hubWaits says what keeps the hub from its work.
func (k *Knowledge) hubWaits(now time.Time) []string {
	var waits []string
	if !k.Hub.Current() {
		waits = append(waits, "the hub: "+k.Hub.Says(now))
	}
	for _, text := range []string{k.Hub.Away(now), k.Hub.MassSilence(now)} {
		if text != "" {
			waits = append(waits, "the hub: "+text)
		}
	}
	return waits
}

// repositoryWaits says why a repository's newest commit is not delivered.
func repositoryWaits(r *musterv1alpha1.FleetRepository, now time.Time) []string {
	name := "repository " + r.Namespace + "/" + r.Name
	var waits []string
	if c := Unreadable(r); c != nil {
		stays := ""
		if r.Status.DeliveredAt != nil {
			stays = fmt.Sprintf("; %s of %s ago stays", fleet.ShortRevision(r.Status.Revision), Age(now.Sub(r.Status.DeliveredAt.Time)))
		}
		waits = append(waits, fmt.Sprintf("%s cannot be fetched for %s: %s%s", name, Age(now.Sub(c.LastTransitionTime.Time)), c.Message, stays))
	}
	if text := Rewritten(r); text != "" {
		waits = append(waits, name+": "+text)
	}
	c := meta.FindStatusCondition(r.Status.Conditions, "Delivered")
	if c != nil && c.Status != metav1.ConditionTrue {
		waits = append(waits, fmt.Sprintf("%s has fetched %s and not delivered it, which waits for: %s", name, OrNone(fleet.ShortRevision(r.Status.FetchedRevision)), c.Message))
	}
	return waits
}

// sinceOf tells how long a cluster has been as it is, and what the hub says of it.
func sinceOf(m *clusterv1.ManagedCluster, now time.Time, message string) string {
	text := ""
	if c := meta.FindStatusCondition(m.Status.Conditions, clusterv1.ManagedClusterConditionAvailable); c != nil {
		text = " for " + Age(now.Sub(c.LastTransitionTime.Time))
	}
	if message != "" {
		text += " (" + strings.TrimSuffix(message, ".") + ")"
	}
	return text
}
