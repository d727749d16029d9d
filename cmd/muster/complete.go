package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// completionTimeout is how long a shell waits for names.
const completionTimeout = 3 * time.Second

// names of one kind on the hub, as the commands take them.
type names func(ctx context.Context, hub client.Reader) ([]string, error)

func applicationNames(ctx context.Context, hub client.Reader) ([]string, error) {
	var list musterv1alpha1.ApplicationList
	err := hub.List(ctx, &list)
	return namesOf(list.Items), err
}

func placementNames(ctx context.Context, hub client.Reader) ([]string, error) {
	var list clusterv1beta1.PlacementList
	err := hub.List(ctx, &list)
	return namesOf(list.Items), err
}

func clusterNames(ctx context.Context, hub client.Reader) ([]string, error) {
	var list clusterv1.ManagedClusterList
	err := hub.List(ctx, &list)
	return namesOf(list.Items), err
}

func repositoryNames(ctx context.Context, hub client.Reader) ([]string, error) {
	var list musterv1alpha1.FleetRepositoryList
	err := hub.List(ctx, &list)
	return namesOf(list.Items), err
}

func addOnNames(ctx context.Context, hub client.Reader) ([]string, error) {
	var list addonv1alpha1.ClusterManagementAddOnList
	err := hub.List(ctx, &list)
	return namesOf(list.Items), err
}

func namesOf[T any, P interface {
	*T
	client.Object
}](items []T) []string {
	all := make([]string, 0, len(items))
	for i := range items {
		all = append(all, nameOf(P(&items[i])))
	}
	return all
}

// completes says, by command, which names its arguments are: the last entry is for all further ones.
var completes = map[string][][]names{
	"muster status":          {{applicationNames, repositoryNames}},
	"muster status cluster":  {{clusterNames}},
	"muster drift":           {{applicationNames}},
	"muster tree":            {{applicationNames}},
	"muster logs":            {{applicationNames}},
	"muster rollout status":  {{applicationNames}},
	"muster rollout history": {{applicationNames}},
	"muster rollout retry":   {{applicationNames}},
	"muster rollout abort":   {{applicationNames}},
	"muster rollout skip":    {{applicationNames}},
	"muster approve":         {{applicationNames}},
	"muster pause":           {{applicationNames}},
	"muster resume":          {{applicationNames}},
	"muster pin":             {{applicationNames}},
	"muster unpin":           {{applicationNames}},
	"muster rollback":        {{applicationNames}},
	"muster why":             {{applicationNames, placementNames, addOnNames}, {clusterNames}},
	"muster why placement":   {{placementNames}, {clusterNames}},
	"muster addon status":    {{addOnNames}},
	"muster addon enable":    {{addOnNames}},
	"muster addon disable":   {{addOnNames}},
	"muster accept":          {{clusterNames}},
	"muster detach":          {{clusterNames}},
	"muster join":            {{clusterNames}},
	"muster kubeconfig":      {{clusterNames}},
}

// completesFlags says which names a flag takes, in every command that has it.
var completesFlags = map[string]names{
	"application": applicationNames, "cluster": clusterNames, "repository": repositoryNames,
}

// complete lets the shell complete names from the hub, in arguments and in flags. A hub that
// does not answer in time gives none, and no error into the command line.
func (c *cli) complete(parent *cobra.Command) {
	for _, cmd := range parent.Commands() {
		c.complete(cmd)
		if positions := completes[cmd.CommandPath()]; positions != nil {
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
				return c.ask(cmd, positions[min(len(args), len(positions)-1)], args, prefix)
			}
		}
		for flag, kind := range completesFlags {
			if cmd.Flags().Lookup(flag) == nil {
				continue
			}
			_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
				return c.ask(cmd, []names{kind}, nil, prefix)
			}) // fails for a flag that is not there, or has one already
		}
	}
}

func (c *cli) ask(cmd *cobra.Command, kinds []names, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(contextOf(cmd)), completionTimeout)
	defer cancel()
	hub, _, err := c.hub()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []string
	for _, kind := range kinds {
		found, err := kind(ctx, hub)
		if err != nil {
			continue
		}
		for _, name := range found {
			if strings.HasPrefix(name, prefix) && !slices.Contains(given, name) {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return all, cobra.ShellCompDirectiveNoFileComp
}

func contextOf(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}
