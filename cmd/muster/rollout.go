package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/rollout"
)

func rolloutCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "See how far a change is on the clusters, and take it in hand",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(rolloutStatusCommand(c), rolloutHistoryCommand(c))
	cmd.AddCommand(handCommand(c, "retry", "Roll a change out that was taken back, once more", overview.Retry))
	cmd.AddCommand(handCommand(c, "abort", "Take the change that is rolled out back to the last good revision", overview.Abort))
	skip := handCommand(c, "skip", "Let the next steps begin although the present one is not proved", nil)
	step := skip.Flags().String("step", "", "the step (default: the one that the rollout is at)")
	skip.RunE = c.hand(func(app *musterv1alpha1.Application) (overview.Hand, error) { return overview.SkipStep(app, *step) })
	cmd.AddCommand(skip)
	return cmd
}

// rolloutAnswer is how far a rollout is.
type rolloutAnswer struct {
	Application string                        `json:"application"`
	Revision    string                        `json:"revision"`
	LastGood    string                        `json:"lastGood,omitempty"`
	Rollout     *musterv1alpha1.RolloutStatus `json:"rollout,omitempty"`
	RolledBack  *musterv1alpha1.RolledBack    `json:"rolledBack,omitempty"`
	Follows     *musterv1alpha1.FollowsStatus `json:"follows,omitempty"`
	OnHold      []musterv1alpha1.OnHold       `json:"onHold,omitempty"`
	// Message is what the hub says of the application as a whole.
	Message string `json:"message,omitempty"`
	Ready   bool   `json:"ready"`
	// Clusters are those that are not current and healthy, at most twenty.
	Clusters []musterv1alpha1.ClusterStatus `json:"clusters,omitempty"`
}

func rolloutStatusCommand(c *cli) *cobra.Command {
	var s screen
	cmd := &cobra.Command{
		Use:     "status NAMESPACE/NAME",
		Short:   "Show how far the rollout of an application is, and what it waits for",
		Example: "  muster rollout status retail/storefront --watch",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, _, err := c.hub()
			if err != nil {
				return err
			}
			return c.show(cmd.Context(), s, func(ctx context.Context) (answer, error) {
				app, err := applicationNamed(ctx, hub, args[0])
				if err != nil {
					return answer{}, err
				}
				a := rolloutAnswerOf(app)
				return answer{value: a, table: func(p *printer) { printRollout(p, a, c.now()) }, well: a.Ready}, nil
			})
		},
	}
	cmd.Flags().BoolVarP(&s.watch, "watch", "w", false, "show again whenever it changes, until interrupted")
	cmd.Flags().BoolVar(&s.exitCode, "exit-code", false, "exit 1 while it is not healthy everywhere")
	return cmd
}

func rolloutAnswerOf(app *musterv1alpha1.Application) rolloutAnswer {
	s := app.Status
	a := rolloutAnswer{
		Application: app.Namespace + "/" + app.Name, Revision: s.Revision, LastGood: s.LastGoodRevision, Rollout: s.Rollout, RolledBack: s.RolledBack, Follows: s.Follows, OnHold: s.OnHold,
		Clusters: s.Clusters,
	}
	if c := meta.FindStatusCondition(s.Conditions, "Ready"); c != nil {
		a.Message, a.Ready = c.Message, c.Status == "True"
	}
	return a
}

func printRollout(p *printer, a rolloutAnswer, now time.Time) {
	p.linef("%s   revision %s   last good %s", a.Application, orNone(fleet.ShortRevision(a.Revision)), orNone(fleet.ShortRevision(a.LastGood)))
	if r := a.Rollout; r != nil {
		at := ""
		if r.Group != "" {
			at = ", at " + r.Group
		}
		p.linef("  %s since %s%s: %d of %d clusters have %s, %d in flight, %d wait", r.Phase, r.StartedAt.UTC().Format(time.DateTime), at, r.Updated, r.Clusters,
			fleet.ShortRevision(r.Revision), r.InFlight, r.Waiting)
		if c := r.Canary; c != nil {
			p.linef("  canary at step %d of %d on %s", min(c.Step, c.Steps), c.Steps, count(int(c.Clusters), "cluster"))
		}
		for _, approved := range r.Approvals {
			p.linef("  step %s approved by %s at %s", approved.Step, approved.By, approved.At.UTC().Format(time.DateTime))
		}
	}
	if r := a.Rollout; r != nil {
		printSteps(p, r, now)
	}
	if r := a.Rollout; r != nil && r.Analysis != nil {
		printAnalysis(p, r.Analysis)
	}
	if f := a.Follows; f != nil && f.Message != "" {
		p.paragraph("  ", fleet.ShortRevision(f.Waiting)+" "+f.Message)
	}
	for _, h := range a.OnHold {
		p.paragraph("  ", rollout.HoldText(h))
	}
	if shown := a.Rollout != nil && len(a.Rollout.Steps) > 0 && strings.Contains(a.Message, a.Rollout.Message); a.Message != "" && !shown {
		p.paragraph("  ", a.Message)
	}
	rows := [][]string{}
	for _, c := range a.Clusters {
		rows = append(rows, []string{"  " + c.Cluster, c.State, c.Reason, oneLine(c.Message)})
	}
	if len(rows) > 0 {
		p.table(append([][]string{{"  CLUSTER", "STATE", "REASON", "MESSAGE"}}, rows...))
	}
}

// printSteps shows how far each step is, and what the one waits for that the rollout is at.
func printSteps(p *printer, r *musterv1alpha1.RolloutStatus, now time.Time) {
	rows := [][]string{{"  STEP", "CLUSTERS", "FAILED", "SOAK LEFT", "WAITS FOR"}}
	for _, s := range r.Steps {
		soak, waits := "-", ""
		if s.SoakUntil != nil && s.SoakUntil.After(now) {
			soak = s.SoakUntil.Sub(now).Round(time.Second).String()
		}
		if s.Name == r.Group {
			waits = oneLine(r.Message)
		}
		name := cmp.Or(s.Name, "others")
		if len(r.Steps) == 1 {
			name = cmp.Or(s.Name, "all")
		}
		rows = append(rows, []string{"  " + name, fmt.Sprintf("%d of %d", s.Updated, s.Clusters), fmt.Sprint(s.Failed), soak, waits})
	}
	if len(r.Steps) > 0 {
		p.table(rows)
	}
}

// printAnalysis shows what was measured of the step that the rollout is at.
func printAnalysis(p *printer, a *musterv1alpha1.AnalysisStatus) {
	p.linef("  analysis of step %s on %d clusters: %s", a.Step, len(a.Clusters), a.Phase)
	if len(a.Metrics) == 0 {
		return
	}
	rows := [][]string{{"    METRIC", "SUCCESSFUL", "FAILED", "INCONCLUSIVE", "LAST", "RESULT"}}
	for _, m := range a.Metrics {
		rows = append(rows, []string{
			"    " + m.Name, fmt.Sprint(m.Successful), fmt.Sprint(m.Failed), fmt.Sprint(m.Inconclusive), m.At.UTC().Format(time.TimeOnly), oneLine(cmp.Or(m.Message, m.Value)),
		})
	}
	p.table(rows)
}

func rolloutHistoryCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "history NAMESPACE/NAME",
		Short: "List the revisions of an application that were good, the newest first",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, _, err := c.hub()
			if err != nil {
				return err
			}
			app, err := applicationNamed(cmd.Context(), hub, args[0])
			if err != nil {
				return err
			}
			var history musterv1alpha1.RolloutHistory
			if err := hub.Get(cmd.Context(), client.ObjectKeyFromObject(app), &history); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("ask the hub: %w", err)
			}
			return c.print(history.Revisions, func(p *printer) {
				if len(history.Revisions) == 0 {
					p.line("no revision was good yet")
					return
				}
				rows := [][]string{{"REVISION", "GOOD SINCE", "CLUSTERS", "PLAN"}}
				for _, r := range history.Revisions {
					rows = append(rows, []string{fleet.ShortRevision(r.Revision), r.At.UTC().Format(time.DateTime), fmt.Sprint(r.Clusters), short(r.Plan)})
				}
				p.table(rows)
			})
		},
	}
}

func handCommand(c *cli, name, what string, says func(*musterv1alpha1.Application) (overview.Hand, error)) *cobra.Command {
	return &cobra.Command{
		Use: name + " NAMESPACE/NAME", Short: what, Args: cobra.ExactArgs(1),
		Long: what + ".\nNeeds the right approve of the application; who says it is on record.",
		RunE: c.hand(says),
	}
}

func (c *cli) hand(says func(*musterv1alpha1.Application) (overview.Hand, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		hub, _, err := c.hub()
		if err != nil {
			return err
		}
		return c.say(cmd.Context(), hub, args[0], says)
	}
}

// say writes what a person says of a rollout, under their name. It fails when the application has changed meanwhile.
func (c *cli) say(ctx context.Context, hub client.Client, name string, says func(*musterv1alpha1.Application) (overview.Hand, error)) error {
	app, err := applicationNamed(ctx, hub, name)
	if err != nil {
		return err
	}
	h, err := says(app)
	if err != nil {
		return err
	}
	if err := overview.Say(ctx, hub, app, h); err != nil {
		return err
	}
	return c.print(map[string]string{"application": name, "said": h.Said}, func(p *printer) { p.line(h.Said) })
}

func applicationNamed(ctx context.Context, hub client.Reader, name string) (*musterv1alpha1.Application, error) {
	namespace, short, ok := strings.Cut(name, "/")
	if !ok {
		return nil, fmt.Errorf("%q is no application: give NAMESPACE/NAME", name)
	}
	var app musterv1alpha1.Application
	if err := hub.Get(ctx, client.ObjectKey{Namespace: namespace, Name: short}, &app); err != nil {
		return nil, fmt.Errorf("ask the hub for application %s: %w", name, err)
	}
	return &app, nil
}
