package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/muster-io/muster/internal/review"
)

type reviewFlags struct {
	diff                   diffFlags
	failOn                 []string
	markdown, sarif, junit string
	link                   string
	change                 review.Change
}

// reviewAnswer is the answer of review.
type reviewAnswer struct {
	review.Verdict
	*diffAnswer
}

func reviewCommand(c *cli) *cobra.Command {
	var f reviewFlags
	cmd := &cobra.Command{
		Use:   "review [BASE...HEAD | BASE..HEAD | BASE [HEAD]]",
		Short: "Check a pull request in a CI job, where no hub does it",
		Long: "Compares what muster diff compares, holds it against the ReviewPolicies of BASE as it is, and says whether the change passes. It writes\n" +
			"the text of a comment, SARIF for annotations and JUnit for test reports; examples/ci has workflow files that use them.\n\n" +
			"Exits 0 when the change passes, 1 when it does not, 2 on trouble.",
		Example: "  muster review origin/main...HEAD --markdown review.md --sarif review.sarif --junit review.xml",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.review(cmd.Context(), f, args) },

		Annotations: exitsAsDiff,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.diff.repo, "repo", ".", "a folder of the Git repository")
	flags.StringVar(&f.diff.path, "path", "", "folder of the repository that holds the fleet (default: by muster.yaml, else the root)")
	flags.BoolVar(&f.diff.full, "full", false, "leave nothing out of the Markdown")
	flags.StringSliceVar(&f.failOn, "fail-on", []string{"faults", "held"}, "what the change must not have, beside what a policy denies: faults (new ones), held (deletions that would wait for an approval); none")
	flags.StringVar(&f.markdown, "markdown", "", "file for the text of a comment")
	flags.StringVar(&f.sarif, "sarif", "", "file for SARIF 2.1.0")
	flags.StringVar(&f.junit, "junit", "", "file for a JUnit report")
	flags.StringVar(&f.link, "link", "", "where the whole text is, when a comment has no room for it: the URL of the job")
	flags.StringVar(&f.change.Author, "author", "", "change.author of policies: the user of the host")
	flags.StringSliceVar(&f.change.Teams, "teams", nil, "change.teams of policies: the author's teams")
	flags.StringVar(&f.change.Title, "title", "", "change.title of policies")
	flags.StringSliceVar(&f.change.Labels, "labels", nil, "change.labels of policies: those of the pull request")
	f.diff.world.add(cmd)
	return cmd
}

func (c *cli) review(ctx context.Context, f reviewFlags, args []string) error {
	failOn, err := failuresOf(f.failOn)
	if err != nil {
		return err
	}
	r, err := openRepository(f.diff.repo, f.diff.path)
	if err != nil {
		return err
	}
	which, err := r.revisions(args)
	if err != nil {
		return err
	}
	w, note, err := c.worldOf(ctx, f.diff.world, place{r.urls, r.path})
	if err != nil {
		return err
	}
	answer, err := c.compare(ctx, r, which, w.World, note, f.diff.world.sources, f.change)
	if err != nil {
		return err
	}
	c.warn(note)
	text := review.Text{World: note.text(c.now()), Limit: review.CommentLimit, Whole: f.link, FailOn: failOn}
	if f.diff.full {
		text.Limit = 0
	}
	if err := writeReports(answer.Review, f, text, r.path); err != nil {
		return err
	}
	a := reviewAnswer{answer.Verdict(failOn...), answer}
	if c.output == "markdown" {
		err = write(c.out, []byte(answer.Markdown(text)))
	} else {
		err = c.print(a, func(p *printer) { printReview(p, a) })
	}
	if err == nil && !a.OK {
		err = exitError{code: 1}
	}
	return err
}

// failuresOf reads what a person lets fail a check.
func failuresOf(names []string) ([]review.Failure, error) {
	var list []review.Failure
	for _, name := range names {
		switch name {
		case "faults":
			list = append(list, review.OnFaults)
		case "held":
			list = append(list, review.OnHeld)
		case "none", "":
		default:
			return nil, fmt.Errorf("--fail-on %q is not one of faults, held, none", name)
		}
	}
	return list, nil
}

// writeReports writes the files that were asked for.
func writeReports(r *review.Review, f reviewFlags, text review.Text, folder string) error {
	for _, report := range []struct {
		file string
		make func() ([]byte, error)
	}{
		{f.markdown, func() ([]byte, error) { return []byte(r.Markdown(text)), nil }},
		{f.sarif, func() ([]byte, error) { return r.SARIF(version, folder) }},
		{f.junit, func() ([]byte, error) { return r.JUnit(folder, text.FailOn...) }},
	} {
		if report.file == "" {
			continue
		}
		data, err := report.make()
		if err != nil {
			return err
		}
		if err := os.WriteFile(report.file, data, 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

func printReview(p *printer, a reviewAnswer) {
	verdict := p.paint(green, "PASSES")
	if !a.OK {
		verdict = p.paint(red, "FAILS")
	}
	p.linef("%s   %s", verdict, strings.TrimSpace(a.Line))
	p.findings(a.Findings)
	p.section(len(a.Held), "holds", func(i int) { p.hold(a.Held[i]) })
	p.faults("FAULT", red, a.NewFaults)
	p.faults("WARNING", yellow, a.NewWarnings)
}
