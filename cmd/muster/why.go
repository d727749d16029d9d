package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

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
	Subject   string           `json:"subject"`
	Placement string           `json:"placement"`
	Problem   string           `json:"problem,omitempty"` // with the placement itself
	Decisions []fleet.Decision `json:"decisions"`
	// Of an application on the cluster: what could not be planned, what the hub says, and the works.
	Faults    []fleet.Fault                 `json:"faults,omitempty"`
	Row       *musterv1alpha1.ClusterStatus `json:"row,omitempty"`
	Held      *musterv1alpha1.Held          `json:"held,omitempty"`
	Overrides []string                      `json:"overrides,omitempty"`
	Works     []fleet.LiveWork              `json:"works,omitempty"`
}

// knowledge is what why asks: a hub, or a repository that was planned.
type knowledge struct {
	world *fleet.World
	plan  *plan.Plan // nil on a hub
}

func whyCommand(c *cli) *cobra.Command {
	var (
		flags worldFlags
		repo  string
	)
	cmd := &cobra.Command{
		Use:   "why NAMESPACE/APPLICATION CLUSTER",
		Short: "Say why an application is or is not on a cluster, and how it is doing there",
		Long: "Asks the hub for the decision, faults, holds and works. With --repo it asks a repository's files instead, in the world\n" +
			"of --world or of the files themselves.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := c.know(cmd.Context(), repo, flags)
			if err != nil {
				return err
			}
			r, err := k.application(args[0], args[1])
			if err != nil {
				return err
			}
			return c.print(r, func(p *printer) { printReasons(p, r, args[1]) })
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
		return &knowledge{world: w}, err
	}
	s, err := folderOf(slices.DeleteFunc([]string{repo}, func(dir string) bool { return dir == "" }))
	if err != nil {
		return nil, err
	}
	w, note, err := c.worldOf(ctx, flags, nil, "")
	if err != nil {
		return nil, err
	}
	s.Repository = note.Repository
	planner := &plan.Planner{Renderer: render.New(rendererBytes)}
	p, err := planner.Build(ctx, s, w.World)
	if err != nil {
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
	index := placement.NewIndex(k.world)
	result := index.Schedule(p)
	r := &reasons{Subject: "placement " + key, Placement: key, Problem: result.Misconfigured(), Decisions: result.Decisions}
	if cluster == "" {
		return r, nil
	}
	if err := k.cluster(cluster); err != nil {
		return nil, err
	}
	r.Decisions = []fleet.Decision{index.Explain(p, &result, cluster)}
	if k.plan == nil { // what is on the hub counts, whoever decided it
		if chosen, complete := placement.Read(p, k.world.Decisions); complete {
			r.Decisions[0].Chosen = slices.Contains(chosen, cluster)
		}
	}
	return r, nil
}

// application explains an application on a cluster.
func (k *knowledge) application(key, cluster string) (*reasons, error) {
	i := slices.IndexFunc(k.world.Applications, func(a musterv1alpha1.Application) bool { return a.Namespace+"/"+a.Name == key })
	if i < 0 {
		var known []string
		for _, a := range k.world.Applications {
			known = append(known, a.Namespace+"/"+a.Name)
		}
		return nil, unknown("application", key, known)
	}
	a := &k.world.Applications[i]
	r, err := k.placement(a.Namespace+"/"+a.Spec.PlacementRef.Name, cluster)
	if err != nil {
		return nil, err
	}
	r.Subject = "application " + key + " on " + cluster
	if k.plan == nil {
		r.Held = a.Status.Held
		for i := range a.Status.Clusters {
			if a.Status.Clusters[i].Cluster == cluster {
				r.Row = &a.Status.Clusters[i]
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
		if lw.Application == key && lw.Cluster == cluster {
			r.Works = append(r.Works, lw)
		}
	}
	return r, nil
}

func printReasons(p *printer, r *reasons, cluster string) {
	p.line(p.paint(bold, r.Subject))
	if r.Problem != "" {
		p.linef("  placement %s is misconfigured: %s", r.Placement, oneLine(r.Problem))
	}
	rows := [][]string{{"CLUSTER", "CHOSEN", "STEP", "REASON"}}
	for _, d := range r.Decisions {
		chosen := "no"
		if d.Chosen {
			chosen = "yes"
		}
		rows = append(rows, []string{d.Cluster, chosen, d.Step, d.Reason})
	}
	p.table(rows)
	if len(r.Overrides) > 0 {
		p.linef("  overrides: %s", strings.Join(r.Overrides, ", "))
	}
	p.faults("FAULT", red, r.Faults)
	if r.Row != nil {
		p.linef("  %s: %s %s  %s  (whose move: %s)", r.Row.State, r.Row.Reason, oneLine(r.Row.Message),
			position(r.Row.File, int(r.Row.Line)), orNone(r.Row.Move))
	}
	if r.Held != nil && slices.Contains(r.Held.Items, cluster) {
		p.linef("  %s %s", p.paint(yellow, "HELD"), oneLine(r.Held.Message))
	}
	for _, w := range r.Works {
		p.linef("  work %s at %s: %s, applied %v, %s", w.Name, orNone(fleet.ShortRevision(w.Revision)), count(len(w.Objects), "object"), w.Status.Applied, orNone(string(w.Status.Health)))
		for _, x := range w.Status.Problems {
			p.linef("    %s %s: %s", x.State, x.Object, oneLine(x.Message))
		}
	}
}
