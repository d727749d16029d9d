package review_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/review"
)

func TestDelivery(t *testing.T) {
	ctx := context.Background()
	planner := &plan.Planner{Renderer: render.New(1 << 20)}
	w := fleet.World{FromRepository: true}
	p, err := planner.Build(ctx, fleet.Snapshot{Repository: "muster-system/fleet", Revision: "abc", Tree: treeOf(shop, clusters)}, w)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		change func(works []fleet.LiveWork, app *musterv1alpha1.Application)
		label  string
		want   []string
		why    string
	}{
		"through": {nil, "", []string{"retail Through: healthy on 4 clusters"}, ""},
		"by environment": {func(works []fleet.LiveWork, _ *musterv1alpha1.Application) {
			works[0].Status.Applied = false // prod-1
		}, "env", []string{"retail (prod) Underway: applied on 2 of 3, healthy on 2", "retail (staging) Through: healthy on 1 cluster"}, ""},
		"another set": {func(works []fleet.LiveWork, _ *musterv1alpha1.Application) { works[1].SetDigest = "old" }, "",
			[]string{"retail Underway: applied on 3 of 4, healthy on 3"}, "what a cluster says of an older set counts for nothing"},
		"half a set":   {func(works []fleet.LiveWork, _ *musterv1alpha1.Application) { works[1].SetSize = 2 }, "", []string{"retail Underway: applied on 3 of 4, healthy on 3"}, ""},
		"not observed": {func(works []fleet.LiveWork, _ *musterv1alpha1.Application) { works[1].Status.Observed = false }, "", []string{"retail Underway: applied on 3 of 4, healthy on 3"}, ""},
		"not healthy": {func(works []fleet.LiveWork, _ *musterv1alpha1.Application) {
			works[1].Status.Health = fleet.HealthUnknown
		}, "",
			[]string{"retail Underway: applied on 4 of 4, healthy on 3"}, "not reported is no success"},
		"failed": {func(works []fleet.LiveWork, app *musterv1alpha1.Application) {
			works[1].Status.Applied = false
			app.Status.Clusters = []musterv1alpha1.ClusterStatus{{Cluster: "prod-2", State: "Failed", Message: "quota exceeded"}}
		}, "env", []string{"retail (prod) Stuck: applied on 2 of 3: retail/web on prod-2: quota exceeded", "retail (staging) Through: healthy on 1 cluster"}, ""},
		"failed before": {func(works []fleet.LiveWork, app *musterv1alpha1.Application) {
			app.Status.Revision = "older"
			app.Status.Clusters = []musterv1alpha1.ClusterStatus{{Cluster: "prod-2", State: "Failed"}}
		}, "", []string{"retail Through: healthy on 4 clusters"}, "of another commit"},
		"held": {func(_ []fleet.LiveWork, app *musterv1alpha1.Application) {
			app.Status.Held = &musterv1alpha1.Held{Message: "retail/web would leave 1 of 4 clusters"}
		}, "", []string{"retail Stuck: applied on 4 of 4: retail/web would leave 1 of 4 clusters"}, "a person has to act"},
		"held and approved": {func(_ []fleet.LiveWork, app *musterv1alpha1.Application) {
			app.Annotations = map[string]string{musterv1alpha1.ApprovedPlanAnnotation: "p"}
			app.Status.Held = &musterv1alpha1.Held{Plan: "p", Message: "retail/web would leave 1 of 4 clusters"}
		}, "", []string{"retail Underway: applied on 4 of 4, healthy on 4"}, "nobody has to act: it is not stuck, and not through either"},
		"another plan approved": {func(_ []fleet.LiveWork, app *musterv1alpha1.Application) {
			app.Annotations = map[string]string{musterv1alpha1.ApprovedPlanAnnotation: "other"}
			app.Status.Held = &musterv1alpha1.Held{Plan: "p", Message: "retail/web would leave 1 of 4 clusters"}
		}, "", []string{"retail Stuck: applied on 4 of 4: retail/web would leave 1 of 4 clusters"}, ""},
		"stopped": {func(_ []fleet.LiveWork, app *musterv1alpha1.Application) {
			app.Status.Rollout = &musterv1alpha1.RolloutStatus{Phase: musterv1alpha1.RolloutStopped, Message: "2 failed"}
		}, "", []string{"retail Stuck: applied on 4 of 4: retail/web: the rollout is stopped: 2 failed"}, ""},
	}
	for name, c := range cases {
		works := plan.Delivered(w, p, p.Definitions).Works
		for i := range works {
			works[i].Status.Health = fleet.HealthHealthy
		}
		app := &musterv1alpha1.Application{Status: musterv1alpha1.ApplicationStatus{Revision: "abc"}}
		if c.change != nil {
			c.change(works, app)
		}
		environments := map[string]string{}
		for i := range p.World.Clusters {
			environments[p.World.Clusters[i].Name] = p.World.Clusters[i].Labels[c.label]
		}
		groups := review.Delivery(p, func(fleet.Owner) []fleet.LiveWork { return works }, map[string]*musterv1alpha1.Application{"retail/web": app}, environments)
		var got []string
		for _, g := range groups {
			got = append(got, g.Name+" "+string(g.Progress)+": "+g.Line())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", name, c.why, diff)
		}
		text := review.Summary("<!-- m -->", "abcdef0123", groups)
		if _, well := review.Finished(groups); !strings.HasPrefix(text, "<!-- m -->\n### Muster: ") || strings.Contains(text, "❌ stuck abcdef0") != (strings.Contains(strings.Join(got, ""), "Stuck")) || well && !strings.Contains(text, "✅ delivered") {
			t.Errorf("%s: summary %s", name, text)
		}
	}
}

// TestRemovalIsHeld: a commit that takes an application away is not through while the removal waits for an approval.
func TestRemovalIsHeld(t *testing.T) {
	held := &musterv1alpha1.Held{Plan: "p", Message: "1 application left the repository"}
	well := review.Group{Name: "retail", Progress: review.Through, Clusters: 1, Applied: 1, Healthy: 1}
	for name, c := range map[string]struct {
		group              review.Group
		done, finishesWell bool
		line, summary      string
	}{
		"held":     {review.Removal(held, false), true, false, "1 application left the repository", "❌ stuck"},
		"approved": {review.Removal(held, true), false, false, "approved, and not gone yet", "✅ delivered"},
		"gone":     {review.Removal(nil, true), true, true, "nothing waits for an approval", "✅ delivered"},
	} {
		groups := []review.Group{well, c.group}
		done, ok := review.Finished(groups)
		if done != c.done || ok != c.finishesWell || c.group.Line() != c.line || !strings.Contains(review.Summary("", "abc", groups), c.summary) {
			t.Errorf("%s: done %v, well %v, %q", name, done, ok, c.group.Line())
		}
	}
}
