package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
)

func statusCommand(c *cli) *cobra.Command {
	var (
		cluster string
		watch   bool
	)
	cmd := &cobra.Command{
		Use:   "status [NAMESPACE/APPLICATION | --cluster NAME]",
		Short: "Show the fleet, an application or a cluster: how far it is, and what needs a person",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := c.hub()
			if err != nil {
				return err
			}
			show := func(ctx context.Context) (any, func(*printer), error) { return c.overview(ctx, client) }
			switch {
			case len(args) > 0 && cluster != "":
				return fmt.Errorf("name an application or a --cluster, not both")
			case len(args) > 0:
				show = func(ctx context.Context) (any, func(*printer), error) {
					return c.applicationStatus(ctx, client, args[0])
				}
			case cluster != "":
				show = func(ctx context.Context) (any, func(*printer), error) { return c.clusterStatus(ctx, client, cluster) }
			}
			return c.show(cmd.Context(), watch, show)
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "show one cluster")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show again whenever it changes, until interrupted")
	return cmd
}

// watchPeriod is how often a watching command looks.
const watchPeriod = 2 * time.Second

// show prints once, or again whenever what it prints has changed.
func (c *cli) show(ctx context.Context, watch bool, get func(context.Context) (any, func(*printer), error)) error {
	last := ""
	for {
		value, table, err := get(ctx)
		if err != nil {
			if ctx.Err() != nil && watch {
				return nil
			}
			return err
		}
		if !watch {
			return c.print(value, table)
		}
		var b strings.Builder
		one := &cli{out: &b, output: c.output, noColor: !c.color(), now: c.now}
		if err := one.print(value, table); err != nil {
			return err
		}
		if text := b.String(); text != last {
			head := ""
			if c.terminal() {
				head = "\x1b[H\x1b[2J"
			} else if last != "" && c.output != "json" {
				head = "---\n"
			}
			if err := write(c.out, []byte(head+text)); err != nil {
				return err
			}
			last = text
		}
		if !pause(ctx, watchPeriod) {
			return nil
		}
	}
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

// hubFacts are what the overview is made of.
type hubFacts struct {
	clusters     []clusterv1.ManagedCluster
	applications []musterv1alpha1.Application
	repositories []musterv1alpha1.FleetRepository
	drift        []driftRow // of applications that only report it
}

func gather(ctx context.Context, hub client.Client) (hubFacts, error) {
	var (
		clusters     clusterv1.ManagedClusterList
		applications musterv1alpha1.ApplicationList
		repositories musterv1alpha1.FleetRepositoryList
	)
	for _, list := range []client.ObjectList{&clusters, &applications, &repositories} {
		if err := hub.List(ctx, list); err != nil {
			return hubFacts{}, fmt.Errorf("ask the hub: %w", err)
		}
	}
	f := hubFacts{clusters: clusters.Items, applications: applications.Items, repositories: repositories.Items}
	for i := range f.applications {
		a := &f.applications[i]
		if a.Spec.Sync.Drift != musterv1alpha1.DriftReport || a.Status.Summary.Drifted == 0 {
			continue
		}
		rows, err := driftOf(ctx, hub, a)
		if err != nil {
			return f, err
		}
		f.drift = append(f.drift, rows...)
	}
	return f, nil
}

func (c *cli) overview(ctx context.Context, hub client.Client) (any, func(*printer), error) {
	facts, err := gather(ctx, hub)
	if err != nil {
		return nil, nil, err
	}
	o := overviewOf(facts, c.now())
	return o, func(p *printer) { printOverview(p, o) }, nil
}

func (c *cli) applicationStatus(ctx context.Context, hub client.Client, key string) (any, func(*printer), error) {
	app, err := getApplication(ctx, hub, key)
	if err != nil {
		return nil, nil, err
	}
	view := struct {
		Application string                           `json:"application"`
		State       string                           `json:"state"`
		Status      musterv1alpha1.ApplicationStatus `json:"status"`
	}{key, stateOf(app), app.Status}
	return view, func(p *printer) { printApplication(p, app, c.now()) }, nil
}

// getApplication finds an application by namespace/name; its error lists names that are near.
func getApplication(ctx context.Context, hub client.Client, key string) (*musterv1alpha1.Application, error) {
	var list musterv1alpha1.ApplicationList
	if err := hub.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("ask the hub: %w", err)
	}
	var known []string
	for i := range list.Items {
		a := &list.Items[i]
		if a.Namespace+"/"+a.Name == key {
			return a, nil
		}
		known = append(known, a.Namespace+"/"+a.Name)
	}
	return nil, unknown("application", key, known)
}

// getCluster finds a cluster; its error lists names that are near.
func getCluster(ctx context.Context, hub client.Client, name string) (*clusterv1.ManagedCluster, error) {
	var list clusterv1.ManagedClusterList
	if err := hub.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("ask the hub: %w", err)
	}
	var known []string
	for i := range list.Items {
		if list.Items[i].Name == name {
			return &list.Items[i], nil
		}
		known = append(known, list.Items[i].Name)
	}
	return nil, unknown("cluster", name, known)
}

// clusterView is the answer about one cluster.
type clusterView struct {
	Cluster    string            `json:"cluster"`
	State      string            `json:"state"`
	Message    string            `json:"message,omitempty"`
	Kubernetes string            `json:"kubernetes,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Taints     []clusterv1.Taint `json:"taints,omitempty"`
	Works      []fleet.LiveWork  `json:"works,omitempty"`
}

func (c *cli) clusterStatus(ctx context.Context, reader client.Client, name string) (any, func(*printer), error) {
	cluster, err := getCluster(ctx, reader, name)
	if err != nil {
		return nil, nil, err
	}
	var works workv1.ManifestWorkList
	if err := reader.List(ctx, &works, client.InNamespace(name)); err != nil {
		return nil, nil, fmt.Errorf("ask the hub: %w", err)
	}
	v := clusterView{
		Cluster: name, Kubernetes: cluster.Status.Version.Kubernetes, Labels: cluster.Labels, Taints: cluster.Spec.Taints,
	}
	v.State, v.Message = clusterState(cluster)
	for i := range works.Items {
		v.Works = append(v.Works, hub.LiveWork(&works.Items[i]))
	}
	return v, func(p *printer) { printCluster(p, v) }, nil
}

// The states of a cluster.
const (
	clusterAvailable = "available"
	clusterOffline   = "offline"
	clusterJoining   = "joining"  // accepted, and has not been there yet
	clusterWaiting   = "waiting"  // for somebody to accept it
	clusterDenied    = "denied"   // was accepted once
	clusterReleased  = "released" // left Git and waits for muster detach
	clusterLeaving   = "leaving"  // is being detached
)

// clusterState says how a cluster is, and what the hub says about it.
func clusterState(m *clusterv1.ManagedCluster) (state, message string) {
	available := meta.FindStatusCondition(m.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
	accepted := meta.FindStatusCondition(m.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted)
	if available != nil {
		message = available.Message
	}
	released, isReleased := m.Annotations[musterv1alpha1.ReleasedAnnotation]
	switch {
	case m.DeletionTimestamp != nil:
		if c := meta.FindStatusCondition(m.Status.Conditions, clusterv1.ManagedClusterConditionDeleting); c != nil {
			message = c.Message
		}
		return clusterLeaving, message
	case isReleased:
		return clusterReleased, released
	case !m.Spec.HubAcceptsClient && accepted != nil:
		return clusterDenied, accepted.Message
	case !m.Spec.HubAcceptsClient:
		return clusterWaiting, ""
	case !meta.IsStatusConditionTrue(m.Status.Conditions, clusterv1.ManagedClusterConditionJoined):
		return clusterJoining, message
	case available != nil && available.Status == "True":
		return clusterAvailable, ""
	}
	return clusterOffline, message
}
