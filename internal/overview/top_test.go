package overview

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/fleet"
)

func TestTop(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	tally := NewTally(now)
	add := func(application, cluster string, objects int, bytes int64, waits time.Duration) {
		w := fleet.LiveWork{Cluster: cluster, Objects: make([]fleet.ObjectKey, objects), WrittenAt: now.Add(-waits)}
		if application != "" {
			w.Owner = fleet.ApplicationOwner("shop", application)
		}
		w.Status.Observed, w.Status.Applied = waits == 0, waits == 0
		tally.Add(&w, bytes)
	}
	add("web", "one", 3, 1000, 0)
	add("web", "one", 2, 500, 0)
	add("web", "two", 3, 1000, 90*time.Second)
	add("db", "one", 9, 9000, 0)
	add("", "three", 1, 10, time.Hour)
	for by, want := range map[string]Top{
		ByCost: {
			Applications: []TopRow{{Name: "shop/db", Of: 1, Works: 1, Objects: 9, Bytes: 9000}, {Name: "shop/web", Of: 2, Works: 3, Objects: 8, Bytes: 2500, Waiting: 1, Lag: 90 * time.Second}},
			Clusters:     []TopRow{{Name: "one", Of: 2, Works: 3, Objects: 14, Bytes: 10500}, {Name: "two", Of: 1, Works: 1, Objects: 3, Bytes: 1000, Waiting: 1, Lag: 90 * time.Second}},
		},
		ByLag: {
			Applications: []TopRow{{Name: "others", Of: 1, Works: 1, Objects: 1, Bytes: 10, Waiting: 1, Lag: time.Hour}, {Name: "shop/web", Of: 2, Works: 3, Objects: 8, Bytes: 2500, Waiting: 1, Lag: 90 * time.Second}},
			Clusters:     []TopRow{{Name: "three", Of: 1, Works: 1, Objects: 1, Bytes: 10, Waiting: 1, Lag: time.Hour}, {Name: "two", Of: 1, Works: 1, Objects: 3, Bytes: 1000, Waiting: 1, Lag: 90 * time.Second}},
		},
	} {
		if diff := cmp.Diff(want, tally.Top(by, 2)); diff != "" {
			t.Errorf("by %s (-want +got):\n%s", by, diff)
		}
	}
}
