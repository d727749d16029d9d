package main

import (
	"github.com/spf13/cobra"

	"github.com/muster-io/muster/internal/demo"
	"github.com/muster-io/muster/internal/demo/charthost"
)

func demoCommand(*cli) *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a hub with three clusters and show what Muster does",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = cmd.OutOrStdout()
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave the fleet running at the end")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "folder for the fleet; left out, a temporary one")
	cmd.Flags().StringVar(&o.Example, "fleet", "examples/fleet-repo", "fleet repository to begin with")
	cmd.AddCommand(&cobra.Command{
		Use:    demo.ChartHost + " FOLDER",
		Short:  "Serve the charts of the demo, which starts it",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE:   func(cmd *cobra.Command, args []string) error { return charthost.Serve(cmd.Context(), args[0]) },
	})
	return cmd
}
