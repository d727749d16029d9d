package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/work"
)

func topCommand(c *cli) *cobra.Command {
	var sort string
	var limit int
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show the applications and clusters that cost most, or lag most",
		Long: "Show applications and clusters by their works: how many objects and bytes of manifests they have on the hub, and how\n" +
			"many works their clusters have not applied yet, and for how long.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if sort != overview.ByCost && sort != overview.ByLag {
				return fmt.Errorf("--sort %q is not one of %s, %s", sort, overview.ByCost, overview.ByLag)
			}
			hub, _, err := c.hub()
			if err != nil {
				return err
			}
			tally, err := tallyOf(cmd.Context(), hub, c.now())
			if err != nil {
				return err
			}
			top := tally.Top(sort, max(limit, 1))
			return c.print(top, func(p *printer) {
				p.table(topTable("APPLICATION", "CLUSTERS", top.Applications))
				p.line()
				p.table(topTable("CLUSTER", "APPLICATIONS", top.Clusters))
			})
		},
	}
	cmd.Flags().StringVar(&sort, "sort", overview.ByLag, "lag, or cost: bytes of manifests")
	cmd.Flags().IntVarP(&limit, "limit", "n", 15, "rows of each table")
	return cmd
}

// worksAtOnce is how many works are read at a time.
const worksAtOnce = 500

// tallyOf reads all works, some at a time.
func tallyOf(ctx context.Context, hub client.Client, now time.Time) (*overview.Tally, error) {
	tally := overview.NewTally(now)
	next := ""
	for {
		var list workv1.ManifestWorkList
		if err := hub.List(ctx, &list, client.Limit(worksAtOnce), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("list works: %w", err)
		}
		for i := range list.Items {
			var bytes int64
			for _, m := range list.Items[i].Spec.Workload.Manifests {
				bytes += int64(len(m.Raw))
			}
			live := work.Live(&list.Items[i])
			tally.Add(&live, bytes)
		}
		if next = list.Continue; next == "" {
			return tally, nil
		}
	}
}

func topTable(name, of string, rows []overview.TopRow) [][]string {
	table := [][]string{{name, of, "WORKS", "OBJECTS", "KIB", "WAITING", "LAG"}}
	for _, r := range rows {
		lag := "-"
		if r.Waiting > 0 {
			lag = age(r.Lag)
		}
		table = append(table, []string{r.Name, fmt.Sprint(r.Of), fmt.Sprint(r.Works), fmt.Sprint(r.Objects), fmt.Sprintf("%.1f", float64(r.Bytes)/1024), fmt.Sprint(r.Waiting), lag})
	}
	return table
}
