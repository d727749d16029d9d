package main

import (
	"github.com/spf13/cobra"

	"github.com/muster-io/muster/internal/demo"
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
	return cmd
}
