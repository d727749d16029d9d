package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/overview"
)

func statusCommand(c *cli) *cobra.Command {
	var s screen
	cmd := &cobra.Command{
		Use:   "status [NAMESPACE/NAME]",
		Short: "Show the fleet, an application, a repository or a cluster: how far it is, and what needs a person",
		Long: "Without a name, the fleet on one screen. A name is that of an application, else of a FleetRepository. Ends with 0 whatever it shows; with --exit-code, as diff(1) does: 0 all is well,\n" +
			"1 something is not or needs you, 2 it could not be found out.",
		Example:     "  muster status\n  muster status retail/storefront\n  muster status muster-system/fleet\n  muster status cluster eks-prod-1\n  muster status --exit-code -o json",
		Args:        cobra.MaximumNArgs(1),
		Annotations: exitsAsDiff,
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, _, err := c.hub()
			if err != nil {
				return err
			}
			return c.show(cmd.Context(), s, func(ctx context.Context) (answer, error) {
				if len(args) > 0 {
					return c.named(ctx, hub, args[0])
				}
				return c.overview(ctx, hub)
			})
		},
	}
	cmd.PersistentFlags().BoolVarP(&s.watch, "watch", "w", false, "show again whenever it changes, until interrupted")
	cmd.PersistentFlags().BoolVar(&s.exitCode, "exit-code", false, "end with 1 when something is not well or needs you")
	cmd.AddCommand(&cobra.Command{
		Use:         "cluster NAME",
		Short:       "Show a cluster: whether it answers, and its works, the worst first",
		Args:        cobra.ExactArgs(1),
		Annotations: exitsAsDiff,
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, _, err := c.hub()
			if err != nil {
				return err
			}
			return c.show(cmd.Context(), s, func(ctx context.Context) (answer, error) { return c.clusterStatus(ctx, hub, args[0]) })
		},
	})
	return cmd
}

// answer is what there is to show: as it is for programs, as a table for people, and whether all is well.
type answer struct {
	value any
	table func(*printer)
	well  bool
}

// screen is how it is shown.
type screen struct{ watch, exitCode bool }

// watchPeriod is how often a watching command looks.
const watchPeriod = 2 * time.Second

// show prints once, or again whenever what it prints has changed.
func (c *cli) show(ctx context.Context, s screen, get func(context.Context) (answer, error)) error {
	if s.watch {
		return c.follow(ctx, get, func() bool { return pause(ctx, watchPeriod) })
	}
	a, err := get(ctx)
	if err != nil {
		return err
	}
	if err := c.print(a.value, a.table); err != nil {
		return err
	}
	if s.exitCode && !a.well {
		return exitError{code: exitChanges}
	}
	return nil
}

// follow prints whenever the answer changes, as long as there is a next look. That something has become older is no change;
// on a terminal it is drawn all the same.
func (c *cli) follow(ctx context.Context, get func(context.Context) (answer, error), next func() bool) error {
	last := ""
	for {
		a, err := get(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		now, err := json.Marshal(a.value)
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		if string(now) != last || c.terminal() {
			if err := c.again(a, last == ""); err != nil {
				return err
			}
		}
		last = string(now)
		if !next() {
			return nil
		}
	}
}

// again prints an answer after another one.
func (c *cli) again(a answer, first bool) error {
	head := ""
	switch {
	case c.terminal():
		head = "\x1b[H\x1b[2J"
	case !first && c.output != "json":
		head = "---\n"
	}
	if err := write(c.out, []byte(head)); err != nil {
		return err
	}
	return c.print(a.value, a.table)
}

// pause waits; false when the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (c *cli) overview(ctx context.Context, hub client.Client) (answer, error) {
	facts, err := overview.Gather(ctx, hub, c.now())
	if err != nil {
		return answer{}, err
	}
	o := overview.FleetOf(facts, c.now())
	return answer{o, func(p *printer) { printOverview(p, o, c.now()) }, o.InOrder()}, nil
}

// applicationView is the answer about one application.
type applicationView struct {
	Hub         overview.Hub                     `json:"hub"`
	Application string                           `json:"application"`
	State       string                           `json:"state"`
	Status      musterv1alpha1.ApplicationStatus `json:"status"`
	NeedsYou    []overview.Need                  `json:"needsYou"`
}

func (c *cli) applicationStatus(facts overview.Facts, app *musterv1alpha1.Application) answer {
	v := applicationView{facts.Hub, app.Namespace + "/" + app.Name, overview.ApplicationState(app), app.Status, overview.NeedsOf(facts.Of(app), c.now())}
	well := len(v.NeedsYou) == 0 && overview.ApplicationReady(app)
	return answer{v, func(p *printer) { printApplication(p, v, c.now()) }, well}
}

// getApplication finds an application by namespace/name; its error lists names that are near.
func getApplication(ctx context.Context, hub client.Client, key string) (*musterv1alpha1.Application, error) {
	var list musterv1alpha1.ApplicationList
	if err := hub.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("ask the hub: %w", err)
	}
	return find(list.Items, "application", key)
}

// find gives the item of a name, or of namespace/name where it has a namespace. One that is not there is answered with names that are near.
func find[T any, P interface {
	*T
	client.Object
}](items []T, kind, key string) (*T, error) {
	var known []string
	for i := range items {
		name := nameOf(P(&items[i]))
		if name == key {
			return &items[i], nil
		}
		known = append(known, name)
	}
	return nil, overview.Unknown(kind, key, known)
}

// nameOf is what commands call an object.
func nameOf(o client.Object) string {
	if o.GetNamespace() == "" {
		return o.GetName()
	}
	return o.GetNamespace() + "/" + o.GetName()
}

// getCluster finds a cluster; its error lists names that are near.
func getCluster(ctx context.Context, hub client.Client, name string) (*clusterv1.ManagedCluster, error) {
	var list clusterv1.ManagedClusterList
	if err := hub.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("ask the hub: %w", err)
	}
	return find(list.Items, "cluster", name)
}

// clusterView is the answer about one cluster.
type clusterView struct {
	Hub        overview.Hub      `json:"hub"`
	Cluster    string            `json:"cluster"`
	State      string            `json:"state"`
	Message    string            `json:"message,omitempty"`
	Kubernetes string            `json:"kubernetes,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Taints     []clusterv1.Taint `json:"taints,omitempty"`
	Works      []fleet.LiveWork  `json:"works,omitempty"`
}

func (c *cli) clusterStatus(ctx context.Context, reader client.Client, name string) (answer, error) {
	cluster, err := getCluster(ctx, reader, name)
	if err != nil {
		return answer{}, err
	}
	var works workv1.ManifestWorkList
	if err := reader.List(ctx, &works, client.InNamespace(name)); err != nil {
		return answer{}, fmt.Errorf("ask the hub: %w", err)
	}
	v := clusterView{
		Hub: overview.LookAtHub(ctx, reader, c.now()), Cluster: name,
		Kubernetes: cluster.Status.Version.Kubernetes, Labels: cluster.Labels, Taints: cluster.Spec.Taints,
	}
	v.State, v.Message = overview.ClusterState(cluster)
	v.Message = strings.Join(slices.DeleteFunc([]string{v.Message, overview.WhoAsks(cluster)}, func(s string) bool { return s == "" }), "; ")
	for i := range works.Items {
		v.Works = append(v.Works, hub.LiveWork(&works.Items[i]))
	}
	slices.SortStableFunc(v.Works, func(a, b fleet.LiveWork) int {
		return cmp.Or(cmp.Compare(overview.WorkRank(a), overview.WorkRank(b)), cmp.Compare(a.Owner.String(), b.Owner.String()), cmp.Compare(a.Name, b.Name))
	})
	well := v.Hub.Current() && v.State == overview.ClusterAvailable && !slices.ContainsFunc(v.Works, func(w fleet.LiveWork) bool { return overview.WorkRank(w) < overview.DoneWell })
	return answer{v, func(p *printer) { printCluster(p, v, c.now()) }, well}, nil
}
