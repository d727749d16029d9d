package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/embedded"
	"github.com/muster-io/muster/internal/hub/cluster"
)

// upTimeout is how long a cluster of an embedded fleet may take to join.
const upTimeout = 3 * time.Minute

func upCommand(c *cli) *cobra.Command {
	o := embedded.Options{Detached: true}
	var clusters int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a hub on this machine, and clusters to try it with",
		Long: `Start a hub on this machine, and clusters to try it with: real control planes, whose workloads run on fake nodes.
The fleet runs until muster down. A second muster up of the same folder with the same flags finds it as it was; clusters that are
not asked for again stay down.`,
		Example: "  muster up --clusters 2\n  muster status\n  muster down",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Dir = c.state
			for i := range clusters {
				o.Clusters = append(o.Clusters, fmt.Sprintf("cluster-%d", i+1))
			}
			o.Progress = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
			return up(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	cmd.Flags().IntVar(&clusters, "clusters", 0, "managed clusters to start and join")
	cmd.Flags().StringSliceVar(&o.Repositories, "local-repositories", nil, "folders below which file:// repositories may be read")
	return cmd
}

// up starts the fleet and lets its clusters in, which is the person's right who started both.
func up(ctx context.Context, out io.Writer, o embedded.Options) error {
	for i, dir := range o.Repositories {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		o.Repositories[i] = absolute
	}
	fleet, err := embedded.Up(ctx, o)
	if err != nil {
		return err
	}
	c, err := clientOf(embedded.HubKubeconfig(fleet.Dir))
	if err != nil {
		return err
	}
	for _, name := range o.Clusters {
		if err := joined(ctx, c, name, true); err != nil {
			return err
		}
		o.Progress(name + ": joined")
	}
	fmt.Fprintf(out, "The hub runs. Its kubeconfig: %s\n", embedded.HubKubeconfig(fleet.Dir))
	for _, name := range o.Clusters {
		fmt.Fprintf(out, "Cluster %s: %s\n", name, embedded.ClusterKubeconfig(fleet.Dir, name))
	}
	fmt.Fprintln(out, "Next: muster status; give the hub a FleetRepository; muster down ends it.")
	return nil
}

func clientOf(kubeconfig string) (client.Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the hub's kubeconfig: %w", err)
	}
	config.QPS = -1
	return client.New(config, client.Options{Scheme: scheme})
}

// joined waits until a cluster is available; with accept, its request is approved when it comes.
func joined(ctx context.Context, c client.Client, name string, accept bool) error {
	last := "its agent has not asked yet"
	err := wait.PollUntilContextTimeout(ctx, 300*time.Millisecond, upTimeout, true, func(ctx context.Context) (bool, error) {
		var mc clusterv1.ManagedCluster
		if err := c.Get(ctx, client.ObjectKey{Name: name}, &mc); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		if meta.IsStatusConditionTrue(mc.Status.Conditions, clusterv1.ManagedClusterConditionAvailable) {
			return true, nil
		}
		if accept {
			if _, err := cluster.Accept(ctx, c, name, cluster.AcceptOptions{}); err != nil {
				last = err.Error()
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("cluster %s does not join: %s (%w)", name, last, err)
	}
	return nil
}

func downCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the hub and clusters that muster up started",
		Long:  "End the hub and clusters that muster up started. Their data stays in the folder; remove it to forget them.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := embedded.Down(c.state); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "Ended. The data is in "+c.state+".")
			return nil
		},
	}
}
