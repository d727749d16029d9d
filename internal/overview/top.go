package overview

import (
	"cmp"
	"slices"
	"time"

	"github.com/muster-io/muster/internal/fleet"
)

// Top is what costs most and what lags most: clusters and applications by their works.
type Top struct {
	Applications []TopRow `json:"applications"`
	Clusters     []TopRow `json:"clusters"`
}

// TopRow is a cluster or an application.
type TopRow struct {
	Name string `json:"name"`
	// Of is on how many clusters an application is, or how many applications a cluster has.
	Of      int   `json:"of"`
	Works   int   `json:"works"`
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"` // of manifests: what the hub keeps, and what an agent reads
	// Waiting are works that their cluster has not applied as they are; Lag is how long the first of them has been waiting.
	Waiting int           `json:"waiting"`
	Lag     time.Duration `json:"lag"`
}

// The orders of Top.
const (
	ByCost = "cost"
	ByLag  = "lag"
)

// Tally adds up works as they are read, one by one: a fleet's manifests need not be in memory at once.
type Tally struct {
	now                    time.Time
	applications, clusters map[string]*TopRow
	pairs                  map[[2]string]bool
}

// NewTally begins at a time.
func NewTally(now time.Time) *Tally {
	return &Tally{now: now, applications: map[string]*TopRow{}, clusters: map[string]*TopRow{}, pairs: map[[2]string]bool{}}
}

// Add counts a work with so many bytes of manifests.
func (t *Tally) Add(w *fleet.LiveWork, bytes int64) {
	owner := w.Owner.String()
	if w.Owner.IsZero() {
		owner = "others"
	}
	first := !t.pairs[[2]string{owner, w.Cluster}]
	t.pairs[[2]string{owner, w.Cluster}] = true
	for _, row := range []*TopRow{rowOf(t.applications, owner), rowOf(t.clusters, w.Cluster)} {
		row.Works, row.Objects, row.Bytes = row.Works+1, row.Objects+len(w.Objects), row.Bytes+bytes
		if first {
			row.Of++
		}
		if !w.Status.Observed || !w.Status.Applied {
			row.Waiting++
			row.Lag = max(row.Lag, t.now.Sub(w.WrittenAt).Truncate(time.Second))
		}
	}
}

func rowOf(rows map[string]*TopRow, name string) *TopRow {
	if rows[name] == nil {
		rows[name] = &TopRow{Name: name}
	}
	return rows[name]
}

// Top gives the first rows of each kind in an order.
func (t *Tally) Top(by string, limit int) Top {
	first := func(all map[string]*TopRow) []TopRow {
		rows := make([]TopRow, 0, len(all))
		for _, row := range all {
			rows = append(rows, *row)
		}
		slices.SortFunc(rows, func(a, b TopRow) int {
			cost := cmp.Or(-cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Name, b.Name))
			if by == ByLag {
				return cmp.Or(-cmp.Compare(a.Lag, b.Lag), -cmp.Compare(a.Waiting, b.Waiting), cost)
			}
			return cost
		})
		return rows[:min(len(rows), limit)]
	}
	return Top{Applications: first(t.applications), Clusters: first(t.clusters)}
}
