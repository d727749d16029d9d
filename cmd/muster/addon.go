package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/registration"
)

func addonCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{Use: "addon", Short: "Show add-ons, install them on clusters, and write new ones", Args: cobra.NoArgs}
	cmd.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the add-ons of the hub, with how many clusters have them", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.listAddOns(cmd.Context()) },
		},
		&cobra.Command{
			Use: "status ADDON", Short: "Show an add-on on each cluster", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return c.addOnStatus(cmd.Context(), args[0]) },
		},
		c.addOnChange("enable", "Install an add-on on clusters; "+builtInNames()+" come with Muster", getOrAddAddOn, enableAddOn),
		c.addOnChange("disable", "Take an add-on from clusters", getAddOn, disableAddOn),
		addonCreate(c),
	)
	return cmd
}

// addOnChange is a command that changes an add-on on the clusters that are named.
func (c *cli) addOnChange(use, short string, find func(context.Context, client.Client, string) (*addonv1alpha1.ClusterManagementAddOn, error), change func(context.Context, client.Client, *addonv1alpha1.ClusterManagementAddOn, string) (string, error)) *cobra.Command {
	var clusters []string
	cmd := &cobra.Command{
		Use: use + " ADDON --clusters CLUSTER,...", Short: short, Args: cobra.ExactArgs(1), Example: "  muster addon " + use + " proxy --clusters edge-1,edge-2",
		RunE: func(cmd *cobra.Command, args []string) error {
			server, _, err := c.hub()
			if err != nil {
				return err
			}
			cma, err := find(cmd.Context(), server, args[0])
			if err != nil {
				return err
			}
			var done []string
			var errs []error
			for _, name := range clusters {
				if _, err := getCluster(cmd.Context(), server, name); err != nil {
					errs = append(errs, err)
					continue
				}
				says, err := change(cmd.Context(), server, cma, name)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				done = append(done, says)
			}
			return errors.Join(c.print(done, func(p *printer) {
				for _, says := range done {
					p.line(says)
				}
			}), errors.Join(errs...))
		},
	}
	cmd.Flags().StringSliceVar(&clusters, "clusters", nil, "clusters, by name")
	if err := cmd.MarkFlagRequired("clusters"); err != nil {
		panic(err) // the flag of the line above
	}
	return cmd
}

// builtInNames are the add-ons that the klusterlet itself is the agent of.
func builtInNames() string {
	var names []string
	for _, cma := range addon.BuiltIn() {
		names = append(names, cma.Name)
	}
	return strings.Join(names, " and ")
}

// getOrAddAddOn reads an add-on of the hub. One that comes with Muster is put there first.
func getOrAddAddOn(ctx context.Context, server client.Client, name string) (*addonv1alpha1.ClusterManagementAddOn, error) {
	for _, cma := range addon.BuiltIn() {
		if cma.Name != name {
			continue
		}
		if err := server.Create(ctx, cma); client.IgnoreAlreadyExists(err) != nil {
			return nil, fmt.Errorf("put add-on %s on the hub: %w", name, err)
		}
	}
	return getAddOn(ctx, server, name)
}

func enableAddOn(ctx context.Context, server client.Client, cma *addonv1alpha1.ClusterManagementAddOn, cluster string) (string, error) {
	mca := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: cma.Name}}
	err := server.Create(ctx, mca)
	had := apierrors.IsAlreadyExists(err)
	if had {
		err = server.Get(ctx, client.ObjectKeyFromObject(mca), mca)
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("install add-on %s on cluster %s: %w", cma.Name, cluster, err)
	case !mca.DeletionTimestamp.IsZero():
		return "", fmt.Errorf("add-on %s is still being taken from cluster %s: muster why %s %s says what it waits for; enable it again when it is gone", cma.Name, cluster, cma.Name, cluster)
	}
	if cma.Annotations[musterv1alpha1.AgentRoleAnnotation] == musterv1alpha1.AgentRoleServiceAccount { // the hub does not hold these rights; who enables it gives them
		if err := server.Create(ctx, registration.WantServiceAccountBinding(mca)); client.IgnoreAlreadyExists(err) != nil {
			return "", fmt.Errorf("give the agent of cluster %s the rights of ClusterRole %s: %w", cluster, registration.ServiceAccountRole, err)
		}
	}
	if had {
		return fmt.Sprintf("cluster %s has add-on %s already", cluster, cma.Name), nil
	}
	return fmt.Sprintf("add-on %s is being installed on cluster %s: muster addon status %s", cma.Name, cluster, cma.Name), nil
}

func disableAddOn(ctx context.Context, server client.Client, cma *addonv1alpha1.ClusterManagementAddOn, cluster string) (string, error) {
	mca := &addonv1alpha1.ManagedClusterAddOn{}
	err := server.Get(ctx, client.ObjectKey{Namespace: cluster, Name: cma.Name}, mca)
	if apierrors.IsNotFound(err) {
		return fmt.Sprintf("cluster %s does not have add-on %s", cluster, cma.Name), nil
	}
	if err == nil && metav1.IsControlledBy(mca, cma) && cma.Spec.InstallStrategy.Type == addonv1alpha1.InstallPlacements {
		return "", fmt.Errorf("a placement of add-on %s chooses cluster %s, and the hub would install it again: change the placement, or spec.installStrategy of ClusterManagementAddOn %s", cma.Name, cluster, cma.Name)
	}
	if err == nil {
		err = server.Delete(ctx, mca, client.Preconditions{UID: &mca.UID})
	}
	if err != nil {
		return "", fmt.Errorf("take add-on %s from cluster %s: %w", cma.Name, cluster, err)
	}
	return fmt.Sprintf("add-on %s is being taken from cluster %s", cma.Name, cluster), nil
}

// getAddOn reads an add-on of the hub. One that is not there is answered with those that are.
func getAddOn(ctx context.Context, server client.Client, name string) (*addonv1alpha1.ClusterManagementAddOn, error) {
	var list addonv1alpha1.ClusterManagementAddOnList
	if err := server.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("ask the hub: %w", err)
	}
	return find(list.Items, "add-on", name)
}

func (c *cli) listAddOns(ctx context.Context) error {
	server, _, err := c.hub()
	if err != nil {
		return err
	}
	var addons addonv1alpha1.ClusterManagementAddOnList
	var installed addonv1alpha1.ManagedClusterAddOnList
	if err := errors.Join(server.List(ctx, &addons), server.List(ctx, &installed)); err != nil {
		return fmt.Errorf("ask the hub: %w", err)
	}
	rows := overview.AddOnsOf(addons.Items, installed.Items)
	return c.print(rows, func(p *printer) {
		if len(rows) == 0 {
			p.line("there are no add-ons: docs/addons.md has an example, and muster addon enable takes " + builtInNames() + " too")
			return
		}
		table := [][]string{{"ADDON", "INSTALLED BY", "CLUSTERS", "AVAILABLE", "ROLLOUT"}}
		for _, r := range rows {
			table = append(table, []string{r.Name, r.Strategy, fmt.Sprint(r.Clusters), fmt.Sprint(r.Available), orNone(strings.Join(r.Rollout, "; "))})
		}
		p.table(table)
	})
}

// addOnCluster is an add-on on one cluster.
type addOnCluster struct {
	Cluster   string `json:"cluster"`
	Available string `json:"available"`
	Progress  string `json:"progress"`
	Says      string `json:"says,omitempty"`
}

func (c *cli) addOnStatus(ctx context.Context, name string) error {
	server, _, err := c.hub()
	if err != nil {
		return err
	}
	if _, err := getAddOn(ctx, server, name); err != nil {
		return err
	}
	var installed addonv1alpha1.ManagedClusterAddOnList
	if err := server.List(ctx, &installed); err != nil {
		return fmt.Errorf("ask the hub: %w", err)
	}
	rows := addOnClusters(name, installed.Items)
	return c.print(rows, func(p *printer) {
		if len(rows) == 0 {
			p.linef("no cluster has add-on %s: muster addon enable %s --clusters CLUSTER", name, name)
			return
		}
		table := [][]string{{"CLUSTER", "AVAILABLE", "PROGRESS", "SAYS"}}
		for _, r := range rows {
			table = append(table, []string{r.Cluster, r.Available, r.Progress, orNone(r.Says)})
		}
		p.table(table)
	})
}

func addOnClusters(name string, installed []addonv1alpha1.ManagedClusterAddOn) []addOnCluster {
	rows := []addOnCluster{}
	for i := range installed {
		mca := &installed[i]
		if mca.Name != name {
			continue
		}
		row := addOnCluster{Cluster: mca.Namespace, Available: "Unknown", Progress: "Waiting"}
		if available := meta.FindStatusCondition(mca.Status.Conditions, addonv1alpha1.ConditionAvailable); available != nil {
			row.Available = string(available.Status)
		}
		if progress := meta.FindStatusCondition(mca.Status.Conditions, addonv1alpha1.ConditionProgressing); progress != nil {
			row.Progress = progress.Reason
		}
		row.Says = overview.AddOnWaits(mca)
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b addOnCluster) int { return strings.Compare(a.Cluster, b.Cluster) })
	return rows
}
