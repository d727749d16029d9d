package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/review"
)

// diffAnswer is the answer of diff.
type diffAnswer struct {
	World worldNote `json:"world"`
	// Sources are what content that is not in the repository resolved to.
	Sources []musterv1alpha1.SourceStatus `json:"sources,omitempty"`
	rendering
	*review.Review
}

// rendering counts what planning has rendered, once for each distinct input, and what it took from memory.
type rendering struct {
	Renders int64 `json:"renders"`
	Hits    int64 `json:"hits"`
}

func renderingOf(r *render.Renderer) rendering {
	s := r.Stats()
	return rendering{s.Renders, s.Hits}
}

func (r rendering) String() string {
	return fmt.Sprintf("%s, %d from memory", count(int(r.Renders), "render"), r.Hits)
}

type diffFlags struct {
	world  worldFlags
	repo   string
	path   string
	failOn []string
	full   bool
}

func diffCommand(c *cli) *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff [BASE...HEAD | BASE..HEAD | BASE [HEAD]]",
		Short: "Show what a change in the repository does to the fleet",
		Long: "Plans two states of the repository in the same world and compares the plans: the clusters that placements and\n" +
			"applications gain and lose, with the reasons; the resources that change, grouped by clusters that get the same change;\n" +
			"what would be held, and what cannot be planned.\n\n" +
			"  muster diff                  HEAD with the files as they are\n" +
			"  muster diff main             main with the files as they are\n" +
			"  muster diff main branch      the one with the other\n" +
			"  muster diff main...branch    what branch changes since it left main: a pull request\n\n" +
			"The world is that of the hub with --kubeconfig (or --world hub), that of a file with --world FILE, else what the\n" +
			"repository says: then the base counts as delivered everywhere, and clusters have no claims.\n\n" +
			"Exits 0 when nothing changes, 1 when something does, 2 on trouble or when --fail-on says so. Warnings are no change.",
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return c.diff(cmd.Context(), f, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.repo, "repo", ".", "a folder of the Git repository")
	flags.StringVar(&f.path, "path", "", "folder of the repository that holds the fleet (default: by muster.yaml, else the root)")
	flags.StringSliceVar(&f.failOn, "fail-on", nil, "exit 2 when there are: deletions, faults (new ones)")
	flags.BoolVar(&f.full, "full", false, "leave nothing out")
	f.world.add(cmd)
	return cmd
}

func (c *cli) diff(ctx context.Context, f diffFlags, args []string) error {
	for _, what := range f.failOn {
		if !slices.Contains([]string{"deletions", "faults"}, what) {
			return fmt.Errorf("--fail-on %q is not one of deletions, faults", what)
		}
	}
	r, err := openRepository(f.repo, f.path)
	if err != nil {
		return err
	}
	which, err := r.revisions(args)
	if err != nil {
		return err
	}
	w, note, err := c.worldOf(ctx, f.world, place{r.urls, r.path})
	if err != nil {
		return err
	}
	answer, err := c.compare(ctx, r, which, w.World, note, f.world.sources, review.Change{})
	if err != nil {
		return err
	}
	c.warn(note)
	if err := c.printDiff(answer, f.full); err != nil {
		return err
	}
	return exitOf(answer.Difference, f.failOn)
}

// compare builds both plans in the same world. Where the repository is the world, its base counts as delivered.
func (c *cli) compare(ctx context.Context, r *repository, which comparison, w fleet.World, note worldNote, fetch sourceFlags, change review.Change) (*diffAnswer, error) {
	from, err := r.snapshot(which.base)
	if err != nil {
		return nil, err
	}
	to, err := r.snapshot(which.head)
	if err != nil {
		return nil, err
	}
	places := from.Repository + " and " + to.Repository
	from.Repository, to.Repository = note.Repository, note.Repository
	planner := &plan.Planner{Renderer: render.New(rendererBytes)}
	var base, head *plan.Plan
	sources, err := fetch.fetch(ctx, &w, func(w fleet.World) (_ []*plan.Plan, err error) {
		base, head, err = bothSides(ctx, planner, w, from, to)
		return []*plan.Plan{base, head}, err
	})
	if err != nil {
		return nil, err
	}
	c.sayProblems(sources)
	if missing := noFleet(head, to.Tree, places); missing != nil && noFleet(base, from.Tree, places) != nil {
		return nil, missing
	}
	rules := base.Definitions
	if which.rules != which.base {
		if rules, err = r.definitions(ctx, which.rules); err != nil {
			return nil, err
		}
	}
	c.warnEmpty(note, head)
	result, err := review.Of(ctx, review.Input{
		Base: base, Head: head, Redact: fleet.Redactor{Key: []byte(rand.Text())}, Change: change,
		Policies: review.Policies(rules, nil, note.Repository),
	})
	if err != nil {
		return nil, err
	}
	return &diffAnswer{World: note, Sources: sources, rendering: renderingOf(planner.Renderer), Review: result}, nil
}

// bothSides builds the plans of two snapshots.
func bothSides(ctx context.Context, planner *plan.Planner, w fleet.World, from, to fleet.Snapshot) (base, head *plan.Plan, err error) {
	if base, err = planner.Build(ctx, from, w); err != nil {
		return nil, nil, err
	}
	next, err := fleet.Load(ctx, to.Tree)
	if err != nil {
		return nil, nil, fmt.Errorf("load %s: %w", fleet.ShortRevision(to.Revision), err)
	}
	if w.FromRepository {
		w = plan.Delivered(w, base, next)
	}
	head, err = planner.LoadedAfter(ctx, base, to, next, w)
	return base, head, err
}

// exitOf is how diff ends.
func exitOf(d *plan.Difference, failOn []string) error {
	var why []string
	if slices.Contains(failOn, "deletions") && d.Summary.Deletions() {
		why = append(why, fmt.Sprintf("deletions (%s lost, %s, %s removed)", count(d.Summary.Lost, "cluster"),
			count(d.Summary.DeletedObjects, "object"), count(d.Summary.RemovedDefinitions, "definition")))
	}
	if slices.Contains(failOn, "faults") && d.Summary.NewFaults > 0 {
		why = append(why, count(d.Summary.NewFaults, "new fault"))
	}
	switch {
	case len(why) > 0:
		return exitError{code: exitTrouble, message: "--fail-on: " + strings.Join(why, ", ")}
	case d.Empty():
		return nil
	}
	return exitError{code: exitChanges}
}

func (c *cli) printDiff(a *diffAnswer, full bool) error {
	if c.output == "markdown" {
		text := review.Text{World: a.World.text(c.now()), Limit: review.CommentLimit}
		if full {
			text.Limit = 0
		}
		return write(c.out, []byte(a.Markdown(text)))
	}
	return c.print(a, func(p *printer) {
		p.full = full
		printDifference(p, a, a.World.text(c.now()))
	})
}
