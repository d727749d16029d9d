package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/doctor"
	"github.com/muster-io/muster/internal/hub"
)

// versions are those of all parts.
type versions struct {
	Version string          `json:"version"` // of this program
	Hub     string          `json:"hub,omitempty"`
	Agents  []agentVersions `json:"agents,omitempty"`
	Message string          `json:"message,omitempty"` // why the hub's are not shown
}

// agentVersions are the clusters whose agents have one version.
type agentVersions struct {
	Version  string   `json:"version"` // empty: the agent tells none, as that of OCM
	Clusters []string `json:"clusters"`
	Problem  string   `json:"problem,omitempty"`
}

func versionCommand(c *cli) *cobra.Command {
	var local bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program, the hub and the agents",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Version: version}
			if !local {
				c.askVersions(cmd.Context(), &v)
			}
			return c.print(v, func(p *printer) { v.printTo(p) })
		},
	}
	cmd.Flags().BoolVar(&local, "client", false, "this program's version only; the hub is not asked")
	return cmd
}

func (v versions) printTo(p *printer) {
	if v.Hub == "" && v.Message == "" {
		p.line(v.Version)
		return
	}
	p.linef("client  %s", v.Version)
	if v.Message != "" {
		p.linef("hub     %s", v.Message)
		return
	}
	p.linef("hub     %s", v.Hub)
	for _, a := range v.Agents {
		name, who := a.Version, strings.Join(a.Clusters, ", ")
		if name == "" {
			name = "unknown"
		}
		if len(a.Clusters) > 5 {
			who = fmt.Sprintf("%s and %d more", strings.Join(a.Clusters[:5], ", "), len(a.Clusters)-5)
		}
		line := fmt.Sprintf("agents  %s: %s (%s)", name, count(len(a.Clusters), "cluster"), who)
		if a.Problem != "" {
			line += "; " + p.paint(red, a.Problem)
		}
		p.line(line)
	}
}

// askVersions asks the hub, where there is one. A version is worth no error.
func (c *cli) askVersions(ctx context.Context, v *versions) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	api, _, err := c.hub()
	if err != nil {
		return // no hub is named
	}
	var lease coordinationv1.Lease
	if err := api.Get(ctx, hub.HeartbeatKey, &lease); err != nil {
		v.Message = "its version cannot be seen: " + c.withNextStep(err).Error()
		return
	}
	v.Hub = lease.Annotations[musterv1alpha1.VersionAnnotation]
	if v.Hub == "" {
		v.Hub = "older than 0.1.0"
	}
	var clusters clusterv1.ManagedClusterList
	if err := api.List(ctx, &clusters); err != nil {
		v.Message = "the agents' versions cannot be seen: " + err.Error()
		return
	}
	v.Agents = agentsByVersion(v.Hub, clusters.Items)
}

func agentsByVersion(hub string, clusters []clusterv1.ManagedCluster) []agentVersions {
	names := map[string][]string{}
	for i := range clusters {
		v := claimOf(&clusters[i], musterv1alpha1.AgentVersionClaim)
		names[v] = append(names[v], clusters[i].Name)
	}
	var all []agentVersions
	for v, clusters := range names {
		slices.Sort(clusters)
		all = append(all, agentVersions{Version: v, Clusters: clusters, Problem: doctor.Skew(hub, v)})
	}
	slices.SortFunc(all, func(a, b agentVersions) int { return strings.Compare(a.Version, b.Version) })
	return all
}
