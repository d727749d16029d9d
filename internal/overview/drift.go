package overview

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/fleet"
)

// Drift is one field that drifted on one cluster.
type Drift struct {
	Application string `json:"application"`
	Cluster     string `json:"cluster"`
	drift.Record
}

func (r Drift) namespace() string { return strings.Split(r.Application, "/")[0] }

func (r Drift) name() string { return r.Application[strings.LastIndex(r.Application, "/")+1:] }

// OwnedBy selects the works of an application.
func OwnedBy(app *musterv1alpha1.Application) client.MatchingLabels {
	return client.MatchingLabels{musterv1alpha1.OwnerLabel: fleet.OwnerOf(app).Digest()}
}

// DriftOf are the records of one application.
func DriftOf(ctx context.Context, hub client.Client, app *musterv1alpha1.Application) ([]Drift, error) {
	rows, _, err := DriftRows(ctx, hub, OwnedBy(app))
	return rows, err
}

// driftPage is how many works are read at a time, so that a large fleet's manifests are never all in memory.
const driftPage = 200

// DriftRows reads the records that clusters report in the status of works: sorted, what is still different first.
func DriftRows(ctx context.Context, hub client.Client, options ...client.ListOption) ([]Drift, int, error) {
	rows, total := []Drift{}, 0
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
	slices.SortFunc(rows, func(a, b Drift) int {
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

func recordsOf(w *workv1.ManifestWork) ([]Drift, int) {
	var rows []Drift
	total := 0
	for _, m := range w.Status.ResourceStatus.Manifests {
		if report, ok := drift.Parse(m); ok {
			total += report.Total
			rows = append(rows, DriftIn(w, m)...)
		}
	}
	return rows, total
}

// DriftIn are the records of one object of a work.
func DriftIn(w *workv1.ManifestWork, m workv1.ManifestCondition) []Drift {
	var rows []Drift
	report, _ := drift.Parse(m) // none is empty
	for _, r := range report.Records {
		rows = append(rows, Drift{Application: w.Annotations[musterv1alpha1.ApplicationAnnotation], Cluster: w.Namespace, Record: r})
	}
	return rows
}
