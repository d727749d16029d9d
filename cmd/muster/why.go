package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

// reasons are the answer of why, about an application or a placement.
type reasons struct {
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
	Works     []fleet.LiveWork              `json:"works,omitempty"`
	// Waits says what else stands between the newest commit and the cluster, a line each, outermost first.
	Waits []string `json:"waits,omitempty"`
}

// knowledge is what why asks: a hub, or a repository that was planned.
type knowledge struct {
	world *fleet.World
	plan  *plan.Plan // nil on a hub
	// Of a hub: whether it runs, and the repositories that it watches.
	hub          hubView
	repositories []musterv1alpha1.FleetRepository
}

func whyCommand(c *cli) *cobra.Command {
	var (
		flags worldFlags
		repo  string
	)
	cmd := &cobra.Command{
		Use:   "why NAMESPACE/NAME [CLUSTER]",
		Short: "Say why an application is or is not on a cluster, or a placement chose it, and what would have to change",
		Long: "Of an application and a cluster: the decision, faults, holds, works, and what else stands in between, such as a cluster that\n" +
			"is offline or a commit that is not delivered. Of a placement, or of an application without a\n" +
			"cluster: the step that dropped each cluster, the unmet requirement, scores, rank, spread and group, and what would have to\n" +
			"change for it to be chosen. Asks the hub; with --repo a repository's files, in the world of --world or of the files themselves.",
		Example: "  muster why retail/storefront eks-prod-1\n  muster why retail/edge --repo .",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := c.know(cmd.Context(), repo, flags)
			if err != nil {
				return err
			}
			cluster := slices.Concat(args[1:], []string{""})[0]
			r, err := k.named(args[0], cluster)
			if err != nil {
				return err
			}
			return c.print(r, func(p *printer) { printReasons(p, r, cluster) })
		},
	}
	of := &cobra.Command{
		Use:   "placement NAMESPACE/NAME [CLUSTER]",
		Short: "Say why a placement chose clusters, and why not the others",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := c.know(cmd.Context(), repo, flags)
			if err != nil {
				return err
			}
			r, err := k.placement(args[0], slices.Concat(args[1:], []string{""})[0])
			if err != nil {
				return err
			}
			return c.print(r, func(p *printer) { printReasons(p, r, "") })
		},
	}
	for _, x := range []*cobra.Command{cmd, of} {
		x.Flags().StringVar(&repo, "repo", "", "folder of a fleet repository to ask instead of the hub")
		flags.add(x)
	}
	cmd.AddCommand(of)
	return cmd
}

func (c *cli) know(ctx context.Context, repo string, flags worldFlags) (*knowledge, error) {
	if repo == "" && flags.world == "" {
		reader, _, err := c.hub()
		if err != nil {
			return nil, fmt.Errorf("%w; or ask a repository with --repo", err)
		}
		w, err := hub.Observe(ctx, reader, c.now())
		if err != nil {
			return nil, err
		}
		var repositories musterv1alpha1.FleetRepositoryList
		if err := reader.List(ctx, &repositories); err != nil {
			return nil, fmt.Errorf("ask the hub: %w", err)
		}
		return &knowledge{world: w, hub: lookAtHub(ctx, reader, c.now()), repositories: repositories.Items}, nil
	}
	s, files, err := folderOf(slices.DeleteFunc([]string{repo}, func(dir string) bool { return dir == "" }))
	if err != nil {
		return nil, err
	}
	w, note, err := c.worldOf(ctx, flags, files)
	if err != nil {
		return nil, err
	}
	dir := s.Repository
	s.Repository = note.Repository
	planner := &plan.Planner{Renderer: render.New(rendererBytes)}
	p, err := planner.Build(ctx, s, w.World)
	if err != nil {
		return nil, err
	}
	switch err := noFleet(p, s.Tree, dir); {
	case err == nil:
		c.warn(note)
	case repo != "": // a saved world is asked wherever one is
		return nil, err
	}
	return &knowledge{world: p.World, plan: p}, nil
}

// cluster checks the name of a cluster.
func (k *knowledge) cluster(name string) error {
	var known []string
	for i := range k.world.Clusters {
		known = append(known, k.world.Clusters[i].Name)
	}
	if slices.Contains(known, name) {
		return nil
	}
	return unknown("cluster", name, known)
}

// named explains what has the name: an application where a cluster is named with it, else a placement.
func (k *knowledge) named(key, cluster string) (*reasons, error) {
	isPlacement := slices.ContainsFunc(k.world.Placements, func(p clusterv1beta1.Placement) bool { return p.Namespace+"/"+p.Name == key })
	i := slices.IndexFunc(k.world.Applications, func(a musterv1alpha1.Application) bool { return a.Namespace+"/"+a.Name == key })
	switch {
	case isPlacement && (cluster == "" || i < 0):
		return k.placement(key, cluster)
	case i < 0 && !isPlacement:
		var known []string
		for _, a := range k.world.Applications {
			known = append(known, a.Namespace+"/"+a.Name)
		}
		for _, p := range k.world.Placements {
			known = append(known, p.Namespace+"/"+p.Name)
		}
		return nil, unknown("application or placement", key, known)
	case cluster == "":
		return k.placement(k.world.Applications[i].Namespace+"/"+k.world.Applications[i].Spec.PlacementRef.Name, "")
	default:
		return k.application(&k.world.Applications[i], cluster)
	}
}

// placement explains one cluster, or all when none is named.
func (k *knowledge) placement(key, cluster string) (*reasons, error) {
	i := slices.IndexFunc(k.world.Placements, func(p clusterv1beta1.Placement) bool { return p.Namespace+"/"+p.Name == key })
	if i < 0 {
		var known []string
		for _, p := range k.world.Placements {
			known = append(known, p.Namespace+"/"+p.Name)
		}
		return nil, unknown("placement", key, known)
	}
	p := &k.world.Placements[i]
	var clusters []string
	if cluster != "" {
		if err := k.cluster(cluster); err != nil {
			return nil, err
		}
		clusters = []string{cluster}
	}
	why := placement.NewIndex(k.world).Why(p, clusters...)
	r := &reasons{
		Subject: "placement " + key, Placement: key, Problem: why.Problem, Summary: why.Summary,
		Condition: why.Condition, Complaints: why.Complaints, Decisions: why.Clusters,
	}
	switch {
	case k.plan != nil:
	case p.Annotations[clusterv1beta1.PlacementDisableAnnotation] == "true":
		k.asTheirs(p, r)
	default:
		k.asLive(p, r.Decisions)
	}
	return r, nil
}

// asLive lets the decisions on the hub count, whoever made them, where they are a complete set.
func (k *knowledge) asLive(p *clusterv1beta1.Placement, decisions []placement.Explained) {
	live, complete := placement.Read(p, k.world.Decisions)
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
func (k *knowledge) asTheirs(p *clusterv1beta1.Placement, r *reasons) {
	live, complete := placement.Read(p, k.world.Decisions)
	r.Problem, r.Condition, r.Complaints = "", "", nil
	r.Summary = count(len(live), "cluster") + " chosen by another scheduler"
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
			so, count(named, "cluster"), p.Status.NumberOfSelectedClusters)
	case !placement.Scheduled(p):
		return fmt.Sprintf("it has not said in condition %s that generation %d is scheduled%s", clusterv1beta1.PlacementConditionSatisfied, p.Generation, so)
	}
	return ""
}

// application explains an application on a cluster.
func (k *knowledge) application(a *musterv1alpha1.Application, cluster string) (*reasons, error) {
	key := a.Namespace + "/" + a.Name
	r, err := k.placement(a.Namespace+"/"+a.Spec.PlacementRef.Name, cluster)
	if err != nil {
		return nil, err
	}
	r.Subject = "application " + key + " on " + cluster
	if k.plan == nil {
		r.Held = a.Status.Held
		r.Waits = k.waits(a, cluster)
		for i := range a.Status.Clusters {
			if a.Status.Clusters[i].Cluster == cluster {
				row := a.Status.Clusters[i]
				if row.State == "Drifted" && a.Spec.Sync.Drift == musterv1alpha1.DriftReport {
					row.ActionRequiredBy = string(fleet.User) // it is reported, and nothing corrects it
				}
				r.Row = &row
			}
		}
	} else if planned := k.plan.Find(key); planned != nil {
		for _, f := range planned.Faults {
			if f.Cluster == cluster || f.Cluster == "" {
				r.Faults = append(r.Faults, f)
			}
		}
		for _, c := range planned.Clusters {
			if c.Name == cluster {
				r.Overrides = c.Overrides
			}
		}
	}
	for _, lw := range k.world.Works {
		if lw.Owner.String() == key && lw.Cluster == cluster {
			r.Works = append(r.Works, lw)
		}
	}
	return r, nil
}

// waits says what on a hub stands between the newest commit and a cluster: the hub, the repository, the application, the
// cluster, and works that their agent has not taken up.
func (k *knowledge) waits(a *musterv1alpha1.Application, cluster string) []string {
	now := k.world.Time
	var waits []string
	if !k.hub.current() {
		waits = append(waits, "the hub: "+k.hub.says(now))
	}
	for _, text := range []string{k.hub.away(now), k.hub.massSilence(now)} {
		if text != "" {
			waits = append(waits, "the hub: "+text)
		}
	}
	i := slices.IndexFunc(k.repositories, func(r musterv1alpha1.FleetRepository) bool {
		return r.Namespace+"/"+r.Name == a.Annotations[musterv1alpha1.RepositoryAnnotation]
	})
	delivered := ""
	if i >= 0 {
		delivered = k.repositories[i].Status.Revision
		waits = append(waits, repositoryWaits(&k.repositories[i], now)...)
	}
	planned := meta.FindStatusCondition(a.Status.Conditions, "Planned")
	switch {
	case planned == nil || a.Status.ObservedGeneration != a.Generation:
		waits = append(waits, "the hub has not seen the application as it is now")
	case planned.Status != metav1.ConditionTrue && planned.Reason != "Faults": // faults have rows of their own
		waits = append(waits, "the application is not planned: "+planned.Message)
	case delivered != "" && a.Status.Revision != delivered:
		waits = append(waits, fmt.Sprintf("the application is planned at %s, and %s is delivered", orNone(fleet.ShortRevision(a.Status.Revision)), fleet.ShortRevision(delivered)))
	}
	for i := range k.world.Clusters {
		m := &k.world.Clusters[i]
		if state, message := clusterState(m); m.Name == cluster && state != clusterAvailable {
			waits = append(waits, fmt.Sprintf("the cluster is %s%s: what it has stays, and changes wait for it", state, sinceOf(m, now, message)))
		}
	}
	for _, w := range k.world.Works {
		if w.Owner == fleet.OwnerOf(a) && w.Cluster == cluster && !w.Status.Observed {
			waits = append(waits, fmt.Sprintf("the agent has not reported on work %s as it is now", w.Name))
		}
	}
	return waits
}

// repositoryWaits says why a repository's newest commit is not delivered.
func repositoryWaits(r *musterv1alpha1.FleetRepository, now time.Time) []string {
	name := "repository " + r.Namespace + "/" + r.Name
	var waits []string
	if c := unreadable(r); c != nil {
		stays := ""
		if r.Status.DeliveredAt != nil {
			stays = fmt.Sprintf("; %s of %s ago stays", fleet.ShortRevision(r.Status.Revision), age(now.Sub(r.Status.DeliveredAt.Time)))
		}
		waits = append(waits, fmt.Sprintf("%s cannot be fetched for %s: %s%s", name, age(now.Sub(c.LastTransitionTime.Time)), c.Message, stays))
	}
	if text := rewritten(r); text != "" {
		waits = append(waits, name+": "+text)
	}
	c := meta.FindStatusCondition(r.Status.Conditions, "Delivered")
	if c != nil && c.Status != metav1.ConditionTrue {
		waits = append(waits, fmt.Sprintf("%s has fetched %s and not delivered it, which waits for: %s", name, orNone(fleet.ShortRevision(r.Status.FetchedRevision)), c.Message))
	}
	return waits
}

// sinceOf tells how long a cluster has been as it is, and what the hub says of it.
func sinceOf(m *clusterv1.ManagedCluster, now time.Time, message string) string {
	text := ""
	if c := meta.FindStatusCondition(m.Status.Conditions, clusterv1.ManagedClusterConditionAvailable); c != nil {
		text = " for " + age(now.Sub(c.LastTransitionTime.Time))
	}
	if message != "" {
		text += " (" + strings.TrimSuffix(message, ".") + ")"
	}
	return text
}

func printReasons(p *printer, r *reasons, cluster string) {
	p.line(p.paint(bold, r.Subject))
	if r.Problem != "" {
		p.linef("  placement %s is misconfigured: %s", r.Placement, oneLine(r.Problem))
	}
	if r.Summary != "" && len(r.Decisions) != 1 {
		p.linef("  %s", oneLine(r.Summary))
		if r.Condition != "" {
			p.linef("  %s", oneLine(r.Condition))
		}
	}
	for _, text := range slices.Concat(r.Scheduler, r.Complaints) {
		p.linef("  %s", oneLine(text))
	}
	p.table(pipelineTable(r.Decisions))
	if len(r.Overrides) > 0 {
		p.linef("  overrides: %s", strings.Join(r.Overrides, ", "))
	}
	p.faults("FAULT", red, r.Faults)
	if r.Row != nil {
		p.linef("  %s: %s %s  %s  (action required by: %s)", r.Row.State, r.Row.Reason, oneLine(r.Row.Message),
			position(r.Row.File, int(r.Row.Line)), orNone(r.Row.ActionRequiredBy))
	}
	for _, text := range r.Waits {
		p.linef("  %s %s", p.paint(yellow, "WAITS"), oneLine(text))
	}
	if r.Held != nil && slices.Contains(r.Held.Items, cluster) {
		p.linef("  %s %s", p.paint(yellow, "HELD"), oneLine(r.Held.Message))
	}
	for _, w := range r.Works {
		p.linef("  work %s at %s: %s, applied %v, %s", w.Name, orNone(fleet.ShortRevision(w.Revision)), count(len(w.Objects), "object"), w.Status.Applied, orNone(string(w.Status.Health)))
		for _, wait := range w.Status.Waits {
			p.linef("    %s %s: %s", p.paint(yellow, "WAITS"), wait.Reason, oneLine(wait.Message))
		}
		for _, x := range w.Status.Problems {
			p.linef("    %s %s: %s", x.State, x.Object, oneLine(x.Message))
		}
	}
}

// pipelineTable is a placement's pipeline, a row for each cluster. Columns in which no cluster has anything are left out.
func pipelineTable(clusters []placement.Explained) [][]string {
	header := []string{"CLUSTER", "CHOSEN", "STEP", "RANK", "SCORE"}
	prioritizers := prioritizersOf(clusters)
	rows := [][]string{append(append(header, prioritizers...), "SPREAD", "GROUP", "REASON", "TO BE CHOSEN")}
	for _, c := range clusters {
		row := []string{c.Cluster, "no", c.Step, "", ""}
		if c.Chosen {
			row[1] = "yes"
		}
		if c.Rank > 0 {
			row[3], row[4] = strconv.Itoa(c.Rank), strconv.FormatInt(*c.Total, 10)
		}
		for _, name := range prioritizers {
			cell := ""
			for _, s := range c.Scores {
				if scoreHeader(s) == name {
					cell = strconv.FormatInt(s.Score, 10)
				}
			}
			row = append(row, cell)
		}
		rows = append(rows, append(row, strings.Join(c.Topology, " "), c.Group, c.Reason, c.Change))
	}
	for column := len(rows[0]) - 1; column >= 0; column-- {
		if !slices.ContainsFunc(rows[1:], func(row []string) bool { return row[column] != "" }) {
			for i := range rows {
				rows[i] = slices.Delete(rows[i], column, column+1)
			}
		}
	}
	return rows
}

// prioritizersOf are the headers of the scores, in the order of the placement.
func prioritizersOf(clusters []placement.Explained) []string {
	for _, c := range clusters {
		if len(c.Scores) > 0 {
			names := make([]string, len(c.Scores))
			for i, s := range c.Scores {
				names[i] = scoreHeader(s)
			}
			return names
		}
	}
	return nil
}

// scoreHeader is a prioritizer with its weight, where that is not 1.
func scoreHeader(s placement.Score) string {
	if s.Weight == 1 {
		return s.Prioritizer
	}
	return fmt.Sprintf("%d×%s", s.Weight, s.Prioritizer)
}
