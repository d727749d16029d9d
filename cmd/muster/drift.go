package main

import (
	"context"

	"github.com/muster-io/muster/internal/overview"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// driftAnswer is the answer of drift. Total counts records that clusters had to leave out too.
type driftAnswer struct {
	Total   int              `json:"total"`
	Records []overview.Drift `json:"records"`
}

func driftCommand(c *cli) *cobra.Command {
	var cluster string
	cmd := &cobra.Command{
		Use:   "drift [NAMESPACE/APPLICATION]",
		Short: "Show which fields on clusters are not, or were not, what Muster applied: by whom, since when",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, _, err := c.hub()
			if err != nil {
				return err
			}
			answer, err := gatherDrift(cmd.Context(), hub, args, cluster)
			if err != nil {
				return err
			}
			return c.print(answer, func(p *printer) { c.printDrift(p, answer) })
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "show one cluster")
	return cmd
}

func gatherDrift(ctx context.Context, hub client.Client, args []string, cluster string) (*driftAnswer, error) {
	var options []client.ListOption
	if len(args) > 0 {
		app, err := getApplication(ctx, hub, args[0])
		if err != nil {
			return nil, err
		}
		options = append(options, overview.OwnedBy(app))
	}
	if cluster != "" {
		if _, err := getCluster(ctx, hub, cluster); err != nil {
			return nil, err
		}
		options = append(options, client.InNamespace(cluster))
	}
	rows, total, err := overview.DriftRows(ctx, hub, options...)
	return &driftAnswer{Total: total, Records: rows}, err
}

func (c *cli) printDrift(p *printer, a *driftAnswer) {
	if a.Total == 0 {
		p.line("nothing has drifted")
		return
	}
	rows := [][]string{{"APPLICATION", "CLUSTER", "OBJECT", "FIELD", "WAS", "IS", "BY", "AGO", "STATE"}}
	for _, r := range a.Records {
		state := "differs"
		if r.Healed {
			state = "healed"
		}
		rows = append(rows, []string{
			r.Application, r.Cluster, r.Object, orNone(r.Path), shorten(r.Was, 40), shorten(r.Is, 40), r.Manager, age(c.now().Sub(r.Time)), state,
		})
	}
	p.table(rows)
	if more := a.Total - len(a.Records); more > 0 {
		p.linef("… %d more, which did not fit into the status of their works", more)
	}
}
