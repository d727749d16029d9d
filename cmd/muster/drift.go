package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/fleet"
)

// driftRow is one field that drifted on one cluster.
type driftRow struct {
	Application string `json:"application"`
	Cluster     string `json:"cluster"`
	drift.Record
}

func (r driftRow) namespace() string { return strings.Split(r.Application, "/")[0] }

func (r driftRow) name() string { return r.Application[strings.LastIndex(r.Application, "/")+1:] }

// driftAnswer is the answer of drift. Total counts records that clusters had to leave out too.
type driftAnswer struct {
	Total   int        `json:"total"`
	Records []driftRow `json:"records"`
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
		options = append(options, ownedBy(app))
	}
	if cluster != "" {
		if _, err := getCluster(ctx, hub, cluster); err != nil {
			return nil, err
		}
		options = append(options, client.InNamespace(cluster))
	}
	rows, total, err := driftRows(ctx, hub, options...)
	return &driftAnswer{Total: total, Records: rows}, err
}

func ownedBy(app *musterv1alpha1.Application) client.MatchingLabels {
	return client.MatchingLabels{musterv1alpha1.OwnerLabel: fleet.OwnerOf(app).Digest()}
}

// driftOf are the records of one application.
func driftOf(ctx context.Context, hub client.Client, app *musterv1alpha1.Application) ([]driftRow, error) {
	rows, _, err := driftRows(ctx, hub, ownedBy(app))
	return rows, err
}

// driftPage is how many works are read at a time, so that a large fleet's manifests are never all in memory.
const driftPage = 200

// driftRows reads the records that clusters report in the status of works: sorted, what is still different first.
func driftRows(ctx context.Context, hub client.Client, options ...client.ListOption) ([]driftRow, int, error) {
	rows, total := []driftRow{}, 0
	next := ""
	for {
		var works workv1.ManifestWorkList
		page := append(slices.Clip(options), client.Limit(driftPage), client.Continue(next))
		if err := hub.List(ctx, &works, page...); err != nil {
			return nil, 0, fmt.Errorf("ask the hub for works: %w", err)
		}
		for i := range works.Items {
			found, n := recordsOf(&works.Items[i])
			rows, total = append(rows, found...), total+n
		}
		if next = works.Continue; next == "" {
			break
		}
	}
	slices.SortFunc(rows, func(a, b driftRow) int {
		return cmp.Or(
			cmp.Compare(rank(a.Healed), rank(b.Healed)), cmp.Compare(a.Application, b.Application),
			cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Path, b.Path),
		)
	})
	return rows, total, nil
}

func rank(healed bool) int {
	if healed {
		return 1
	}
	return 0
}

func recordsOf(w *workv1.ManifestWork) ([]driftRow, int) {
	var rows []driftRow
	total := 0
	for _, m := range w.Status.ResourceStatus.Manifests {
		report, ok := drift.Parse(m)
		if !ok {
			continue
		}
		total += report.Total
		for _, r := range report.Records {
			rows = append(rows, driftRow{
				Application: w.Annotations[musterv1alpha1.ApplicationAnnotation], Cluster: w.Namespace, Record: r,
			})
		}
	}
	return rows, total
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
