package review_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/review"
)

// BenchmarkReview is what the hub does for a pull request between the fetch and the comment: both sides planned in the live world of
// 100 applications on 1,000 clusters each, one application changed, compared, held against a policy and written down. Cold, nothing was
// rendered before; warm, the base was, as it is on a hub that delivers it.
func BenchmarkReview(b *testing.B) {
	const applications, sites = 100, 1000
	var archive strings.Builder
	archive.WriteString(shop)
	for i := range sites {
		archive.WriteString(cluster(fmt.Sprintf("edge-%04d", i), "env: prod"))
	}
	for i := range applications - 1 {
		fmt.Fprintf(&archive, "-- applications/app-%02d.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: app-%02d, namespace: retail}\n"+
			"spec:\n  placementRef: {name: shops}\n  source: {path: charts/web}\n  destination: {namespace: app-%02d}\n  helm: {values: {tag: \"%d\", token: a}}\n", i, i, i, i)
		fmt.Fprintf(&archive, "-- charts/app-%02d/Chart.yaml --\n{apiVersion: v2, name: web, version: 1.0.0}\n-- charts/app-%02d/templates/config.yaml --\n"+
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app-%02d}\ndata: {tag: \"{{ .Values.tag }}\"}\n", i, i, i)
	}
	text := archive.String()
	for i := range applications - 1 {
		text = strings.Replace(text, "source: {path: charts/web}\n  destination: {namespace: app-", fmt.Sprintf("source: {path: charts/app-%02d}\n  destination: {namespace:  app-", i), 1)
	}
	text += policy("Deny", `plan.images.all(i, !i.endsWith(":latest"))`, "pin a version")
	before, after := treeOf(text), treeOf(text, edit("applications/web.yaml", `tag: "1"`, `tag: "2"`))
	ctx := context.Background()
	build := func(p *plan.Planner, earlier *plan.Plan, revision string, tree fleet.Tree, w fleet.World) *plan.Plan {
		defs, err := fleet.Load(ctx, tree)
		if err != nil {
			b.Fatal(err)
		}
		out, err := p.LoadedAfter(ctx, earlier, fleet.Snapshot{Repository: "muster-system/fleet", Revision: revision, Tree: tree}, defs, w)
		if err != nil {
			b.Fatal(err)
		}
		return out
	}
	planner := &plan.Planner{Renderer: render.New(256 << 20)}
	first := build(planner, nil, "1111111", before, fleet.World{FromRepository: true})
	w := plan.Delivered(fleet.World{}, first, first.Definitions)
	w.Clusters = first.World.Clusters
	delivered := build(planner, first, "1111111", before, w) // as the hub keeps it
	delivered.World = nil
	whole := func(p *plan.Planner, earlier *plan.Plan, name string) {
		begin, cpu := time.Now(), processTime(b)
		base := build(p, earlier, "1111111", before, w)
		head := build(p, base, "2222222", after, w)
		r, err := review.Of(ctx, review.Input{Base: base, Head: head, Policies: review.Policies(base.Definitions, nil, "muster-system/fleet")})
		if err != nil {
			b.Fatal(err)
		}
		if line := r.Verdict().Line; line != fmt.Sprintf("1 of %d applications, +0 −0 clusters, %d updates", applications, sites) {
			b.Fatal(line)
		}
		if text := r.Markdown(review.Text{Limit: review.CommentLimit}); !strings.Contains(text, "web:2") {
			b.Fatal(text)
		}
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), name+"-ms")
		b.ReportMetric(float64((processTime(b) - cpu).Milliseconds()), name+"-cpu-ms")
	}
	for b.Loop() {
		whole(&plan.Planner{Renderer: render.New(256 << 20)}, nil, "cold")
		whole(planner, delivered, "warm")
	}
}

// processTime is the CPU time of this process: what a busy machine does not lengthen.
func processTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
