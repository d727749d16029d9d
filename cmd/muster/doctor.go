package main

import (
	"github.com/spf13/cobra"

	"github.com/muster-io/muster/internal/doctor"
)

func doctorCommand(c *cli) *cobra.Command {
	var managed string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what keeps the hub from working, or a cluster from joining",
		Long: "Checks what commonly fails, and says what to do about it. On the hub: address, DNS, proxy, certificate, credential, clock,\n" +
			"version, kinds older than this program, admission policies, rights, pods, controllers, signing of client certificates, requests\n" +
			"that wait, clusters, repositories. With --cluster-kubeconfig the cluster and its agent too: pods, kinds, rights, token or\n" +
			"certificate, and its way to the hub. Nothing is changed. Exit code 0: nothing found, 1: problems, 2: the hub is not reached.",
		Example:     "  muster doctor\n  muster doctor --cluster-kubeconfig edge-1.kubeconfig",
		Args:        cobra.NoArgs,
		Annotations: exitsAsDiff,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, err := c.examine(cmd, managed)
			if err != nil {
				return err
			}
			err = c.print(findings, func(p *printer) {
				for _, f := range findings {
					mark := map[doctor.State]string{doctor.OK: p.paint(green, "ok     "), doctor.Problem: p.paint(red, "PROBLEM"), doctor.Unknown: p.paint(faint, "unknown")}[f.State]
					p.linef("%s  %s: %s", mark, f.Check, f.Message)
					if f.Next != "" {
						p.line("           next: " + f.Next)
					}
				}
			})
			if err == nil && len(doctor.Problems(findings)) > 0 {
				return exitError{code: exitChanges}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&managed, "cluster-kubeconfig", "", "kubeconfig of a managed cluster, to look at its agent too")
	return cmd
}

// examine asks the hub where there is one, and the cluster that was named.
func (c *cli) examine(cmd *cobra.Command, managed string) ([]doctor.Finding, error) {
	var findings []doctor.Finding
	hub, err := c.hubConfig()
	if err != nil && managed == "" {
		return nil, err
	}
	if err == nil {
		findings = doctor.Hub(cmd.Context(), hub, c.now())
	}
	if managed == "" {
		return findings, nil
	}
	cluster, err := configOf(managed)
	if err != nil {
		return nil, err
	}
	return append(findings, doctor.OnCluster(cmd.Context(), cluster, c.now())...), nil
}
