package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/placement"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

func whyCommand(c *cli) *cobra.Command {
	var (
		flags worldFlags
		repo  string
	)
	cmd := &cobra.Command{
		Use:   "why NAMESPACE/NAME|ADDON [CLUSTER]",
		Short: "Say why an application is or is not on a cluster, or a placement chose it, and what would have to change",
		Long: "Of an application and a cluster: the decision, faults, holds, works, and what else stands in between, such as a cluster that\n" +
			"is offline or a commit that is not delivered. Of a placement, or of an application without a\n" +
			"cluster: the step that dropped each cluster, the unmet requirement, scores, rank, spread and group, and what would have to\n" +
			"change for it to be chosen. Of an add-on: what it waits for on each cluster. Asks the hub; with --repo a repository's files, in the world of --world or of the files themselves.",
		Example: "  muster why retail/storefront eks-prod-1\n  muster why retail/edge --repo .\n  muster why mirror edge-1",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := c.know(cmd.Context(), repo, flags)
			if err != nil {
				return err
			}
			cluster := slices.Concat(args[1:], []string{""})[0]
			r, err := k.Named(args[0], cluster)
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
			r, err := k.Placement(args[0], slices.Concat(args[1:], []string{""})[0])
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

func (c *cli) know(ctx context.Context, repo string, flags worldFlags) (*overview.Knowledge, error) {
	if repo == "" && flags.world == "" {
		reader, _, err := c.hub()
		if err != nil {
			return nil, fmt.Errorf("%w; or ask a repository with --repo", err)
		}
		w, err := hub.Observe(ctx, reader, c.now())
		if err != nil {
			return nil, err
		}
		return overview.KnowledgeOf(ctx, reader, w, c.now())
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
	p, _, err := flags.sources.planned(ctx, &w.World, func(w fleet.World) (*plan.Plan, error) { return planner.Build(ctx, s, w) })
	if err != nil {
		return nil, err
	}
	switch err := noFleet(p, s.Tree, dir); {
	case err == nil:
		c.warn(note)
	case repo != "": // a saved world is asked wherever one is
		return nil, err
	}
	return &overview.Knowledge{World: p.World, Plan: p}, nil
}

func printReasons(p *printer, r *overview.Reasons, cluster string) {
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
	for _, s := range r.Sources {
		p.linef("  source: %s", oneLine(fleet.SourceText(s)))
	}
	p.faults("FAULT", red, r.Faults)
	if r.Row != nil {
		p.linef("  %s: %s %s  %s  (action required by: %s)", r.Row.State, r.Row.Reason, oneLine(r.Row.Message),
			position(r.Row.File, int(r.Row.Line)), orNone(r.Row.ActionRequiredBy))
	}
	for _, text := range r.Waits {
		p.linef("  %s %s", p.paint(yellow, "WAITS"), oneLine(text))
	}
	if len(r.Left) > 0 {
		p.linef("  %s the scheduler has replaced this cluster, and these objects stay on it, since they hold data: %s", p.paint(yellow, "LEFT"), strings.Join(r.Left, ", "))
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
