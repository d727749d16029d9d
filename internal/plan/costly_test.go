package plan_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/render/engine"
	"github.com/muster-io/muster/internal/test/archive"
)

// bounded is an engine for which values of four digits are too expensive.
type bounded struct{ *engine.Local }

func (b bounded) Render(ctx context.Context, job engine.Job, host engine.Host) (*engine.Rendered, error) {
	if regexp.MustCompile(`"times":"\d{4}"`).Match(job.Layers[0].Data) {
		return nil, fleet.Fault{Reason: fleet.RenderTooExpensive, ActionRequiredBy: fleet.User, File: job.Path, Message: "takes too long"}
	}
	return b.Local.Render(ctx, job, host)
}

// TestCostlyCharts: an application that goes to the bounds of a render for cluster after cluster is not tried for all of them. One
// that does for some keeps the others.
func TestCostlyCharts(t *testing.T) {
	repository := func(costly ...int) string {
		text := archive.Retail + archive.Placement("all", "{}") + `
-- applications/web.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: web, namespace: retail}
spec:
  placementRef: {name: all}
  source: {path: charts/web}
  helm: {values: {times: '${{ label("times") }}'}}
-- charts/web/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- charts/web/templates/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {a: "{{ .Values.times }}"}
`
		for i := 1; i <= 8; i++ {
			times := i
			if slices.Contains(costly, i) {
				times = 1000 + i
			}
			text += archive.Cluster(fmt.Sprintf("edge-%d", i), fmt.Sprintf("times: \"%d\"", times))
		}
		return text
	}
	for name, c := range map[string]struct {
		costly  []int
		planned string
		tried   string
		untried string
	}{
		"None":  {planned: "1 2 3 4 5 6 7 8"},
		"Some":  {costly: []int{2, 7}, planned: "1 3 4 5 6 8", tried: "2 7"},
		"Three": {costly: []int{2, 4, 5}, planned: "1 3", tried: "2 4 5", untried: "6 7 8"},
		"Rest":  {costly: []int{2, 3, 4, 5, 6, 7, 8}, planned: "1", tried: "2 3 4", untried: "5 6 7 8"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &plan.Planner{Renderer: render.NewWith(bounded{engine.NewLocal(1<<20, engine.DefaultOutput)}, 1<<20)}
			files, err := txtar.FS(txtar.Parse([]byte(repository(c.costly...))))
			if err != nil {
				t.Fatal(err)
			}
			built, err := p.Build(t.Context(), fleet.Snapshot{Tree: fleet.TreeOf(files), Revision: "worktree"}, fleet.World{FromRepository: true})
			if err != nil {
				t.Fatal(err)
			}
			a := built.Find("retail/web")
			var planned, tried, untried []string
			for _, cluster := range a.Clusters {
				planned = append(planned, strings.TrimPrefix(cluster.Name, "edge-"))
			}
			for _, f := range a.Faults {
				if f.Reason != fleet.RenderTooExpensive || f.File != "charts/web" {
					t.Errorf("the fault is %s in %s", f.Reason, f.File)
				}
				if number := strings.TrimPrefix(f.Cluster, "edge-"); strings.HasPrefix(f.Message, "not tried") {
					untried = append(untried, number)
				} else {
					tried = append(tried, number)
				}
			}
			got := []string{strings.Join(planned, " "), strings.Join(tried, " "), strings.Join(untried, " ")}
			if diff := gocmp.Diff([]string{c.planned, c.tried, c.untried}, got); diff != "" {
				t.Errorf("planned, tried and untried clusters (-want +got):\n%s", diff)
			}
		})
	}
}
