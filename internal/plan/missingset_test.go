package plan_test

import (
	"context"
	"testing"
	"testing/fstest"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

// TestUnknownSet: a set that nobody defines is a fault at its line in the placement, before the push; one that the hub makes is none.
func TestUnknownSet(t *testing.T) {
	for set, faults := range map[string]int{"nosuch": 1, "global": 0, "default": 0} {
		tree := fleet.TreeOf(fstest.MapFS{"placements/p.yaml": {Data: []byte("apiVersion: cluster.open-cluster-management.io/v1beta1\n" +
			"kind: Placement\nmetadata: {name: p, namespace: retail}\nspec:\n  clusterSets: [" + set + "]\n")}})
		planner := &plan.Planner{Renderer: render.New(1 << 20)}
		p, err := planner.Build(context.Background(), fleet.Snapshot{Repository: "a/b", Revision: "c", Tree: tree}, fleet.World{FromRepository: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Faults) != faults {
			t.Errorf("set %s: %d faults, want %d: %v", set, len(p.Faults), faults, p.Faults)
		}
		for _, f := range p.Faults {
			if f.Position() != "placements/p.yaml:5" || f.Reason != fleet.PlacementInvalid {
				t.Errorf("the fault is %s at %s", f.Reason, f.Position())
			}
		}
	}
}
