package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
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
	var repositories []string
	cmd := &cobra.Command{
		Use:   "up [CLUSTER...]",
		Short: "Start a hub on this machine, and clusters to try it with",
		Long: `Start a hub on this machine, and clusters to try it with: real control planes, whose workloads run on fake nodes. With --real
new clusters have a node of this machine, whose pods are containers: docs/try.md says what that needs.
The fleet runs until muster down. The folder of --state remembers what it is made of: another muster up, without arguments, finds
it as it was, with its addresses and authorities. It starts what does not run, after muster down, after a reboot, or because a
program died, and leaves alone what does.

Clusters that are named, and cluster-1 to cluster-N of --clusters N, come to those that are there; none is dropped. To take one
away: muster detach CLUSTER --clean takes it from the hub, muster down CLUSTER out of the fleet on this machine.`,
		Example: "  muster up --clusters 2\n  muster status\n  muster down\n  muster up",
		RunE: func(cmd *cobra.Command, args []string) error {
			if clusters < 0 {
				return fmt.Errorf("--clusters=%d: a fleet has no fewer than 0 clusters; muster down CLUSTER takes one out", clusters)
			}
			o.Dir, o.Clusters = c.state, args
			for i := range clusters {
				o.Clusters = append(o.Clusters, fmt.Sprintf("cluster-%d", i+1))
			}
			if cmd.Flags().Changed("local-repositories") {
				var err error
				if o.Repositories, err = folders(repositories); err != nil {
					return err
				}
			}
			o.Progress = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
			return up(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Real, "real", false, "give new clusters a real node, whose pods are containers, in place of fake ones (root on Linux; make node)")
	cmd.Flags().IntVar(&clusters, "clusters", 0, "have at least cluster-1 to cluster-N")
	cmd.Flags().StringSliceVar(&repositories, "local-repositories", nil,
		"folders below which file:// repositories may be read, in place of the earlier ones; \"\" is none (default: the earlier ones)")
	return cmd
}

// folders are the paths that are not empty, made absolute.
func folders(paths []string) ([]string, error) {
	all := []string{}
	for _, p := range paths {
		if p == "" {
			continue
		}
		absolute, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		all = append(all, absolute)
	}
	return all, nil
}

// up starts the fleet and accepts its clusters: the person who starts both may do that.
func up(ctx context.Context, out io.Writer, o embedded.Options) error {
	fleet, err := embedded.Up(ctx, o)
	if err != nil {
		return err
	}
	c, err := clientOf(embedded.HubKubeconfig(fleet.Dir))
	if err != nil {
		return err
	}
	for _, name := range fleet.Options.Clusters {
		state, err := admitted(ctx, c, name)
		if err != nil {
			return err
		}
		o.Progress(name + ": " + state)
	}
	fmt.Fprintf(out, "The hub runs. Its kubeconfig: %s\n", embedded.HubKubeconfig(fleet.Dir))
	for _, name := range fleet.Options.Clusters {
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

// admitted accepts a cluster when its agent asks, waits until it is available, and says what became of it. A cluster that a
// person denied stays denied, and is not waited for.
func admitted(ctx context.Context, c client.Client, name string) (state string, err error) {
	last := "its agent has not asked yet"
	err = wait.PollUntilContextTimeout(ctx, 300*time.Millisecond, upTimeout, true, func(ctx context.Context) (bool, error) {
		var mc clusterv1.ManagedCluster
		if err := c.Get(ctx, client.ObjectKey{Name: name}, &mc); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		switch {
		case !mc.DeletionTimestamp.IsZero():
			last = "it is being detached" // and joins again when that is done
			return false, nil
		case denied(&mc):
			state = "denied on the hub; muster accept " + name + " lets it in again"
			return true, nil
		case available(&mc):
			state = "joined"
			return true, nil
		}
		if _, err := cluster.Accept(ctx, c, name, cluster.AcceptOptions{}); err != nil {
			last = err.Error()
		}
		return false, nil
	})
	if err != nil {
		return "", fmt.Errorf("cluster %s does not join: %s (%w)", name, last, err)
	}
	return state, nil
}

// denied says whether the cluster was accepted once, and is not accepted now.
func denied(c *clusterv1.ManagedCluster) bool {
	return !c.Spec.HubAcceptsClient && meta.FindStatusCondition(c.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) != nil
}

func downCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "down [CLUSTER...]",
		Short: "End the hub and clusters that muster up started",
		Long: `End the hub and clusters that muster up started. Their data stays in the folder of --state, and muster up starts them again;
remove the folder to forget them.

With clusters, only those are ended, and muster up starts them again only when it is told their names. The hub keeps what it knows
of them; muster detach CLUSTER first takes them from it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if err := embedded.RemoveClusters(c.state, args...); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Ended %s. muster up %s starts it again.\n", strings.Join(args, ", "), strings.Join(args, " "))
				return nil
			}
			if err := embedded.Down(c.state); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "Ended. The data is in "+c.state+"; muster up starts it again.")
			return nil
		},
	}
}
