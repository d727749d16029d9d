package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/strvals"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/charts"
	"github.com/muster-io/muster/internal/chart"
	"github.com/muster-io/muster/internal/doctor"
	"github.com/muster-io/muster/internal/registration"
)

// chartRegistry is where the charts of a release lie.
const chartRegistry = "oci://ghcr.io/muster-io/charts/"

// chartOptions are what Helm's users expect of whatever installs a chart.
type chartOptions struct {
	name, namespace string
	values          []string // files
	set, json       []string
	timeout         time.Duration
}

func (o *chartOptions) flags(f *pflag.FlagSet, name, namespace string) {
	f.StringVar(&o.name, "release-name", name, "name of the release")
	if namespace != registration.SystemNamespace {
		f.StringVar(&o.namespace, "agent-namespace", namespace, "namespace of the agent on the cluster")
	} else {
		o.namespace = namespace
	}
	f.StringSliceVarP(&o.values, "values", "f", nil, "files with values of the chart")
	f.StringArrayVar(&o.set, "set", nil, "a value of the chart, as in helm: image.repository=registry.example.com/muster")
	f.StringArrayVar(&o.json, "set-json", nil, "a value of the chart in JSON, as in helm")
	f.DurationVar(&o.timeout, "timeout", 3*time.Minute, "how long to wait until it runs")
}

func (o *chartOptions) release(name string) chart.Release {
	return chart.Release{Chart: name, Version: chartVersion(), Name: o.name, Namespace: o.namespace, Values: map[string]any{}}
}

// chartVersion is that of the program; a program that was built without one has the chart's own.
func chartVersion() string {
	if version == "unknown" {
		return ""
	}
	return strings.TrimPrefix(version, "v")
}

// merge puts the values of files and flags over the given ones.
func (o *chartOptions) merge(values map[string]any) error {
	for _, file := range o.values {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--values: %w", err)
		}
		more := map[string]any{}
		if err := yaml.UnmarshalStrict(data, &more); err != nil {
			return fmt.Errorf("--values %s: %w", file, err)
		}
		over(values, more)
	}
	for _, set := range o.set {
		if err := strvals.ParseInto(set, values); err != nil {
			return fmt.Errorf("--set %s: %w", set, err)
		}
	}
	for _, set := range o.json {
		if err := strvals.ParseJSON(set, values); err != nil {
			return fmt.Errorf("--set-json %s: %w", set, err)
		}
	}
	return nil
}

// over puts values over others, maps merged.
func over(values, more map[string]any) {
	for key, value := range commonutil.MergeTables(more, values) {
		values[key] = value
	}
}

// helmCommand is the same as a command of Helm.
func (o *chartOptions) helmCommand(name, kubeconfig string, values ...string) []string {
	command := []string{"helm", "upgrade", "--install", o.name, chartRegistry + name}
	if v := chartVersion(); v != "" {
		command = append(command, "--version", v)
	}
	command = append(command, "--namespace", o.namespace, "--create-namespace")
	if kubeconfig != "" {
		command = append(command, "--kubeconfig", kubeconfig)
	}
	command = append(command, values...)
	for _, file := range o.values {
		command = append(command, "--values", file)
	}
	for _, set := range o.set {
		command = append(command, "--set", set)
	}
	for _, set := range o.json {
		command = append(command, "--set-json", set)
	}
	return command
}

// printManifest prints a release for kubectl apply, its namespace first. Muster's kinds are taken as served, so that a FleetRepository is
// one of the objects, after its kind, and not a hook.
func (c *cli) printManifest(r chart.Release) error {
	rendering, err := chart.Render(r, chart.Facts{APIVersions: []string{musterv1alpha1.GroupVersion.String()}})
	if err != nil {
		return err
	}
	data, err := rendering.Manifest()
	if err != nil {
		return err
	}
	namespace := fmt.Sprintf("---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n", r.Namespace)
	return write(c.out, append([]byte(namespace), data...))
}

func hubCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hub",
		Short: "Install the hub on a cluster",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(hubInstallCommand(c))
	return cmd
}

func hubInstallCommand(c *cli) *cobra.Command {
	var o chartOptions
	var manifest bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install or upgrade the hub on the cluster of --kubeconfig, and wait until it runs",
		Long: "Installs the hub's chart, which is part of this program, in namespace muster-system of the cluster of --kubeconfig, as an\n" +
			"administrator of it, and waits until its controllers run. It can be done again, and upgrades the hub. With --manifest it\n" +
			"prints the objects for kubectl apply, which has to be done twice where they hold a FleetRepository: its kind is served after\n" +
			"the first time. A hub that Helm has installed is upgraded with Helm.",
		Example: "  muster hub install --kubeconfig hub.kubeconfig --set fleetRepository.url=https://git.example.com/fleet.git",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			release := o.release(charts.Hub)
			if err := o.merge(release.Values); err != nil {
				return err
			}
			if manifest {
				return c.printManifest(release)
			}
			config, err := c.hubConfig()
			if err != nil {
				return err
			}
			if err := c.installHub(cmd.Context(), config, release, o.timeout); err != nil {
				return err
			}
			return c.print(map[string]any{"running": true, "namespace": release.Namespace}, func(p *printer) {
				p.line("the hub runs")
				if release.Values["fleetRepository"] == nil {
					p.line("next: a repository to follow (muster init DIR --hub), and a cluster (muster join NAME --install --cluster-kubeconfig FILE)")
				}
			})
		},
	}
	o.flags(cmd.Flags(), charts.Hub, registration.SystemNamespace)
	cmd.Flags().BoolVar(&manifest, "manifest", false, "print the hub's objects for kubectl apply")
	return cmd
}

// installHub installs the chart and waits until its pods are rolled out and the controllers say that they run.
func (c *cli) installHub(ctx context.Context, config *rest.Config, r chart.Release, timeout time.Duration) error {
	progress := c.progress("hub")
	if _, err := chart.Install(ctx, config, r, progress); err != nil {
		return fmt.Errorf("install the hub: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		missing := doctor.NotOK(doctor.HubRuns(waiting, config, c.now()))
		if len(missing) == 0 {
			progress("its controllers run")
			return nil
		}
		progress("it does not run yet: " + missing[0].Message)
		select {
		case <-waiting.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			var b strings.Builder
			fmt.Fprintf(&b, "the hub does not run after %s", timeout)
			for _, f := range missing {
				fmt.Fprintf(&b, "\n  %s: %s", f.Check, f.Message)
				if f.Next != "" {
					fmt.Fprintf(&b, "\n    next: %s", f.Next)
				}
			}
			return exitError{code: 1, message: b.String()}
		case <-time.After(time.Second):
		}
	}
}
