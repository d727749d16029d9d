package plan_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/rollout"
)

// TestGroundsInReview: two of three clusters are chosen by name. A review says that a commit which exchanges one by other rules needs
// an approval, although the placement has as many clusters as before.
func TestGroundsInReview(t *testing.T) {
	placement := func(name, spec string) string {
		return "-- placements/" + name + ".yaml --\napiVersion: cluster.open-cluster-management.io/v1beta1\nkind: Placement\nmetadata: {name: " + name +
			", namespace: retail}\nspec: {numberOfClusters: 2, prioritizerPolicy: {mode: Exact}, " + spec + "}\n"
	}
	const prod = `predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {env: prod}}}}]`
	base := []string{shop, shopClusters, placement("shops", prod)}
	for name, row := range map[string]struct {
		changed string
		held    bool
	}{
		"nothing":   {"", false},
		"the chart": {"-- charts/web/values.yaml --\nreplicas: 3\n", false},
		"spread": {placement("shops", prod+
			`, spreadPolicy: {spreadConstraints: [{topologyKey: region, topologyKeyType: Label, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]}`), true},
		"a label": {shopCluster("a0", "env: prod, region: eu"), true},
		"another placement": {placement("other", prod+`, spreadPolicy: {spreadConstraints: [{topologyKey: region, topologyKeyType: Label, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]}`) +
			strings.Replace(shop[strings.Index(shop, "-- applications/web.yaml"):strings.Index(shop, "-- charts/web/Chart.yaml")], "name: shops", "name: other", 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			planner := &plan.Planner{Renderer: render.New(1 << 20)}
			build := func(tree fleet.Tree, w fleet.World) *plan.Plan {
				t.Helper()
				p, err := planner.Build(ctx, fleet.Snapshot{Repository: "muster-system/fleet", Revision: "one", Tree: tree}, w)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			w := fleet.World{Time: time.Unix(0, 0), FromRepository: true}
			before, head := treeOf(base...), treeOf(append(slices.Clone(base), row.changed)...)
			next, err := fleet.Load(ctx, head)
			if err != nil {
				t.Fatal(err)
			}
			w = plan.Delivered(w, build(before, w), next)
			d, err := plan.Compare(build(before, w), build(head, w), fleet.Redactor{Key: []byte("k")})
			if err != nil {
				t.Fatal(err)
			}
			held := slices.ContainsFunc(d.Held, func(h plan.Hold) bool { return h.Reason == rollout.ApprovalNeeded })
			if held != row.held {
				t.Errorf("held: %t, want %t; the review says %+v", held, row.held, lines(d))
			}
		})
	}
}
