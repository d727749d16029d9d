package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/rollout"
)

// holdFlags are what a person says of a hold.
type holdFlags struct {
	reason, until string
	lasts         time.Duration
	yes           bool
}

func (f *holdFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for others to read")
	cmd.Flags().StringVar(&f.until, "until", "", "when it ends by itself: 2026-12-27, 2026-12-27T08:00 in local time, or with a zone as in RFC 3339")
	cmd.Flags().DurationVar(&f.lasts, "for", 0, "how long it lasts, such as 4h")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	cmd.MarkFlagsMutuallyExclusive("until", "for")
	_ = cmd.MarkFlagRequired("reason") // the flag is there
}

// end is when the hold ends; nil when a person ends it.
func (f *holdFlags) end(now time.Time) (*metav1.Time, error) {
	if f.lasts > 0 {
		return &metav1.Time{Time: now.Add(f.lasts).Truncate(time.Second)}, nil
	}
	if f.until == "" {
		return nil, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		at, err := time.ParseInLocation(layout, f.until, time.Local)
		if err == nil && !at.After(now) {
			return nil, fmt.Errorf("--until %s is over", f.until)
		}
		if err == nil {
			return &metav1.Time{Time: at}, nil
		}
	}
	return nil, fmt.Errorf("--until %q is no time: 2026-12-27, 2026-12-27T08:00 or 2026-12-27T08:00:00+01:00", f.until)
}

// scope is what a pause is for.
type scope struct {
	namespace, repository, clusters string
	all                             bool
}

func (s *scope) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.namespace, "namespace", "", "all applications of a namespace")
	cmd.Flags().StringVar(&s.repository, "repository", "", "all applications of a FleetRepository, NAMESPACE/NAME")
	cmd.Flags().StringVar(&s.clusters, "clusters", "", "on the clusters with these labels only, such as tier=edge,site!=lab")
	cmd.Flags().BoolVar(&s.all, "all", false, "all applications")
	cmd.MarkFlagsMutuallyExclusive("namespace", "repository", "all")
}

// isOfOne is true for a Hold of one application by its name, alone.
func isOfOne(h *musterv1alpha1.Hold, namespace, name string) bool {
	of := h.Spec.Applications
	return h.Namespace == namespace && slices.Equal(of.Names, []string{name}) && (len(of.Namespaces) == 0 || slices.Equal(of.Namespaces, []string{namespace}))
}

// hold is the Hold of a scope, without what a person says of it.
func (s *scope) hold(args []string) (*musterv1alpha1.Hold, error) {
	h := &musterv1alpha1.Hold{}
	h.Namespace, h.Name = registration.SystemNamespace, "pause"
	switch {
	case len(args) > 0 && (s.namespace != "" || s.repository != "" || s.all):
		return nil, errors.New("an application is one: leave out --namespace, --repository and --all")
	case len(args) > 0:
		namespace, name, ok := strings.Cut(args[0], "/")
		if !ok {
			return nil, fmt.Errorf("%q is no application: give NAMESPACE/NAME", args[0])
		}
		h = overview.PauseOf(namespace, name)
	case s.repository != "":
		namespace, name, ok := strings.Cut(s.repository, "/")
		if !ok {
			return nil, fmt.Errorf("--repository %q is no repository: give NAMESPACE/NAME", s.repository)
		}
		h.Namespace, h.Name, h.Spec.Repositories = namespace, "pause-repository-"+name, []string{s.repository}
	case s.namespace != "":
		h.Namespace, h.Name = s.namespace, "namespace-pause" // no application has this Hold, nor --all in muster-system
		h.Spec.Applications.Namespaces = []string{s.namespace}
	case !s.all && s.clusters == "":
		return nil, errors.New("what? NAMESPACE/NAME of an application, --namespace, --repository, --clusters or --all")
	}
	if s.clusters != "" {
		selector, err := metav1.ParseToLabelSelector(s.clusters)
		if err != nil {
			return nil, fmt.Errorf("--clusters %q: %w", s.clusters, err)
		}
		h.Spec.ClusterSelector = &musterv1alpha1.ClusterSelector{LabelSelector: selector}
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(metav1.FormatLabelSelector(selector))) // never fails
		h.Name = fmt.Sprintf("%s-%08x", h.Name, sum.Sum32())
	}
	return h, nil
}

func pauseCommand(c *cli) *cobra.Command {
	var f holdFlags
	var s scope
	cmd := &cobra.Command{
		Use:   "pause NAMESPACE/NAME | --namespace N | --repository NAMESPACE/NAME | --clusters SELECTOR | --all",
		Short: "Keep applications as they are on their clusters, until muster resume or a time",
		Long: "Writes a Hold, which names you and the reason, and which kubectl get holds lists. What is committed meanwhile is planned and shown,\n" +
			"and comes to the clusters afterwards; nothing in Git changes. Says first what it holds, and asks.",
		Example: "  muster pause retail/storefront --reason 'call centre is down' --for 2h\n  muster pause --clusters tier=store --reason freeze --until 2026-12-27",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := s.hold(args)
			if err != nil {
				return err
			}
			return c.putHold(cmd, h, f)
		},
	}
	f.add(cmd)
	s.add(cmd)
	return cmd
}

func pinCommand(c *cli) *cobra.Command {
	var f holdFlags
	var to string
	cmd := &cobra.Command{
		Use:   "pin NAMESPACE/NAME --to REVISION",
		Short: "Give an application the content of a commit, and keep it there until muster unpin or a time",
		Long: "Rolls the commit out by the application's strategy. Placement, rollout and guards stay those of the delivered commit; nothing in Git\n" +
			"changes. Needs the right approve of the application. Says first what it does, and asks.",
		Example: "  muster pin retail/storefront --to 41aa9d0 --reason 'audit until Friday' --until 2026-12-04",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.pin(cmd, args[0], f, func(revisions []musterv1alpha1.GoodRevision, _ *musterv1alpha1.Application) (string, error) {
				return revisionIn(revisions, to)
			}, false)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the commit: one of muster rollout history by its first characters, or any in full")
	_ = cmd.MarkFlagRequired("to") // the flag is there
	f.add(cmd)
	return cmd
}

func rollbackCommand(c *cli) *cobra.Command {
	var f holdFlags
	var to string
	cmd := &cobra.Command{
		Use:   "rollback NAMESPACE/NAME [--to REVISION]",
		Short: "Return an application to a revision that was good, at once and in the reverse order, and keep it there",
		Long: "As muster pin, but the clusters go as when a change fails: those that changed last first, without minSuccessTime and approvals of\n" +
			"steps. It stays until muster unpin: push a commit that corrects it before.",
		Example: "  muster rollback retail/storefront --reason 'checkout is slow'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.pin(cmd, args[0], f, func(revisions []musterv1alpha1.GoodRevision, app *musterv1alpha1.Application) (string, error) {
				if to != "" {
					return revisionIn(revisions, to)
				}
				for _, r := range revisions {
					if r.Revision != app.Status.Revision {
						return r.Revision, nil
					}
				}
				return "", errors.New("no other revision of it was good: name one with --to")
			}, true)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the commit: one of muster rollout history by its first characters, or any in full (default: the last good one before the present)")
	f.add(cmd)
	return cmd
}

// revisionIn is a revision in full, given as it is or by the first characters of one that was good.
func revisionIn(good []musterv1alpha1.GoodRevision, text string) (string, error) {
	var found []string
	for _, r := range good {
		if strings.HasPrefix(r.Revision, text) && !slices.Contains(found, r.Revision) {
			found = append(found, r.Revision)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%q is the beginning of %s", text, count(len(found), "revision"))
	case len(text) == 40 || len(text) == 64:
		return text, nil
	}
	return "", fmt.Errorf("%q is none of its good revisions (muster rollout history), and no commit in full", text)
}

func (c *cli) pin(cmd *cobra.Command, name string, f holdFlags, choose func([]musterv1alpha1.GoodRevision, *musterv1alpha1.Application) (string, error), back bool) error {
	hub, _, err := c.hub()
	if err != nil {
		return err
	}
	app, err := applicationNamed(cmd.Context(), hub, name)
	if err != nil {
		return err
	}
	var history musterv1alpha1.RolloutHistory
	if err := hub.Get(cmd.Context(), client.ObjectKeyFromObject(app), &history); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("ask the hub: %w", err)
	}
	revision, err := choose(history.Revisions, app)
	if err != nil {
		return err
	}
	return c.putHold(cmd, overview.PinOf(app.Namespace, app.Name, revision, back), f)
}

// putHold says what a Hold does, asks, and writes it.
func (c *cli) putHold(cmd *cobra.Command, h *musterv1alpha1.Hold, f holdFlags) error {
	hub, _, err := c.hub()
	if err != nil {
		return err
	}
	h.Spec.Reason = f.reason
	if h.Spec.By, err = overview.WhoAmI(cmd.Context(), hub); err != nil {
		return err
	}
	if h.Spec.Until, err = f.end(c.now()); err != nil {
		return err
	}
	plan, err := planHold(cmd.Context(), hub, h)
	if err != nil {
		return err
	}
	return c.doHold(cmd, plan, f.yes, func() error { return overview.WriteHold(cmd.Context(), hub, h) })
}

// holdPlan is what a Hold does, or what its end does.
type holdPlan struct {
	Holds        []musterv1alpha1.OnHold `json:"holds"`
	Applications []heldApplication       `json:"applications"`
	Done         bool                    `json:"done"`

	what string
}

// heldApplication is an application that it is for.
type heldApplication struct {
	Application string `json:"application"`
	Revision    string `json:"revision,omitempty"`
	// Clusters of the application that it is on; Waiting is how many of all of them are to change.
	Clusters int `json:"clusters"`
	Waiting  int `json:"waiting,omitempty"`
	// Then is the revision that its clusters get.
	Then string `json:"then,omitempty"`
	// Rollout says how far a change is.
	Rollout string `json:"rollout,omitempty"`
}

func planHold(ctx context.Context, hub client.Reader, h *musterv1alpha1.Hold) (*holdPlan, error) {
	plan := &holdPlan{Holds: []musterv1alpha1.OnHold{rollout.OnHoldOf(h)}, Applications: []heldApplication{}, what: "would be"}
	return plan, plan.find(ctx, hub, h)
}

// find adds the applications of a Hold.
func (p *holdPlan) find(ctx context.Context, hub client.Reader, h *musterv1alpha1.Hold) error {
	var apps musterv1alpha1.ApplicationList
	var clusters clusterv1.ManagedClusterList
	if err := hub.List(ctx, &apps); err != nil {
		return fmt.Errorf("ask the hub: %w", err)
	}
	if h.Spec.ClusterSelector != nil {
		if err := hub.List(ctx, &clusters); err != nil {
			return fmt.Errorf("ask the hub: %w", err)
		}
	}
	for i := range apps.Items {
		app := &apps.Items[i]
		name := app.Namespace + "/" + app.Name
		if !rollout.HoldsApplication(h, app, app.Annotations[musterv1alpha1.RepositoryAnnotation]) ||
			slices.ContainsFunc(p.Applications, func(a heldApplication) bool { return a.Application == name }) {
			continue
		}
		s := app.Status
		held := heldApplication{Application: name, Revision: s.Revision, Clusters: int(s.Summary.Clusters), Waiting: int(s.Summary.Clusters - s.Summary.Current)}
		if h.Spec.ClusterSelector != nil {
			holds := rollout.Holds{All: []*musterv1alpha1.Hold{h}}
			holds.Select(clusters.Items)
			held.Clusters = holds.Count()
		}
		if h.Spec.Pin != nil {
			held.Then = h.Spec.Pin.Revision
		}
		if r := s.Rollout; r != nil {
			held.Rollout = fmt.Sprintf("%s at %s: %d of %d clusters have %s", r.Phase, orNone(r.Group), r.Updated, r.Clusters, fleet.ShortRevision(r.Revision))
		}
		p.Applications = append(p.Applications, held)
	}
	return nil
}

func (p *holdPlan) print(out *printer) {
	for _, h := range p.Holds {
		out.paragraph("", fmt.Sprintf("%s %s", count(len(p.Applications), "application"), p.what+" "+rollout.HoldText(h)))
	}
	rows := [][]string{{"  APPLICATION", "HAS", "GETS", "CLUSTERS", "WAITING", "ROLLOUT"}}
	for _, a := range p.Applications {
		rows = append(rows, []string{"  " + a.Application, orNone(fleet.ShortRevision(a.Revision)), orNone(fleet.ShortRevision(a.Then)), fmt.Sprint(a.Clusters), fmt.Sprint(a.Waiting), orNone(a.Rollout)})
	}
	if len(p.Applications) > 0 {
		out.table(rows)
	}
}

// doHold prints a plan, asks whether to go on, does it, and says so.
func (c *cli) doHold(cmd *cobra.Command, plan *holdPlan, yes bool, do func() error) error {
	asks := c.output == "table"
	if asks {
		if err := c.print(plan, func(p *printer) { plan.print(p) }); err != nil {
			return err
		}
	}
	if !yes {
		if err := c.confirmed(cmd); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	plan.Done = true
	return c.print(plan, func(p *printer) { p.line("done") })
}

// confirmed asks at a terminal whether to go on.
func (c *cli) confirmed(cmd *cobra.Command) error {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("nothing is done: say --yes to do it")
	}
	if err := write(c.errs, []byte("Go on? [y/N] ")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		return errors.New("nothing is done")
	}
	return nil
}

func resumeCommand(c *cli) *cobra.Command {
	var s scope
	var yes bool
	var named string
	cmd := &cobra.Command{
		Use:     "resume NAMESPACE/NAME | --namespace N | --repository NAMESPACE/NAME | --clusters SELECTOR | --all | --hold NAMESPACE/NAME",
		Short:   "End a pause: what has been committed since comes to the clusters",
		Example: "  muster resume retail/storefront\n  muster resume --hold muster-system/pause-51c2a9d0",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if named != "" {
				return c.endHolds(cmd, yes, func(h *musterv1alpha1.Hold) bool { return h.Namespace+"/"+h.Name == named })
			}
			of, err := s.hold(args)
			if err != nil {
				return err
			}
			return c.endHolds(cmd, yes, func(h *musterv1alpha1.Hold) bool {
				sameName := h.Namespace == of.Namespace && h.Name == of.Name
				ofOne := len(args) > 0 && s.clusters == "" && isOfOne(h, of.Namespace, of.Spec.Applications.Names[0])
				return h.Spec.Pin == nil && (sameName || ofOne)
			})
		},
	}
	cmd.Flags().StringVar(&named, "hold", "", "the Hold by its own name, as status and why show it")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	s.add(cmd)
	return cmd
}

func unpinCommand(c *cli) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "unpin NAMESPACE/NAME",
		Short: "End a pin or a rollback: the delivered commit is rolled out",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			namespace, name, ok := strings.Cut(args[0], "/")
			if !ok {
				return fmt.Errorf("%q is no application: give NAMESPACE/NAME", args[0])
			}
			return c.endHolds(cmd, yes, func(h *musterv1alpha1.Hold) bool {
				return h.Spec.Pin != nil && isOfOne(h, namespace, name)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// endHolds deletes the Holds that are meant.
func (c *cli) endHolds(cmd *cobra.Command, yes bool, meant func(*musterv1alpha1.Hold) bool) error {
	hub, _, err := c.hub()
	if err != nil {
		return err
	}
	var all musterv1alpha1.HoldList
	if err := hub.List(cmd.Context(), &all); err != nil {
		return fmt.Errorf("ask the hub: %w", err)
	}
	holds := slices.DeleteFunc(slices.Clone(all.Items), func(h musterv1alpha1.Hold) bool { return !meant(&h) })
	if len(holds) == 0 {
		var others []string
		for _, h := range all.Items {
			others = append(others, h.Namespace+"/"+h.Name)
		}
		return fmt.Errorf("no such hold; there are: %s", orNone(strings.Join(others, ", ")))
	}
	plan := &holdPlan{Applications: []heldApplication{}, what: "would no longer be"}
	for i := range holds {
		plan.Holds = append(plan.Holds, rollout.OnHoldOf(&holds[i]))
		was := holds[i].DeepCopy()
		was.Spec.Pin = nil // what comes is the delivered commit
		if err := plan.find(cmd.Context(), hub, was); err != nil {
			return err
		}
	}
	return c.doHold(cmd, plan, yes, func() error {
		for i := range holds {
			if err := overview.EndHold(cmd.Context(), hub, &holds[i]); err != nil {
				return err
			}
		}
		return nil
	})
}
