package plan_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/fleet"
)

// TestCostlyCharts: an application that goes to the bounds of a render for cluster after cluster is not tried for all of them. One
// that does for some keeps the others.
func TestCostlyCharts(t *testing.T) {
	const (
		large = `"{{ len (repeat (int .Values.times) "x") }}"`
		// Of the calls only the last one matters, and each run takes a quarter of what one may.
		drawn = `"{{ if gt (int .Values.times) 100 }}{{ range 5 }}{{ $x := repeat 13000000 "x" }}{{ end }}` +
			`{{ $x := list (uuidv4) (uuidv4) (uuidv4) (uuidv4) (uuidv4) (uuidv4) (uuidv4) (uuidv4) }}{{ uuidv4 }}{{ end }}"`
	)
	repository := func(value string, costly ...int) string {
		text := contested + `
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
data: {a: ` + value + `}
`
		for i := 2; i <= 8; i++ {
			times := i
			for _, c := range costly {
				if c == i {
					times = 1e9 + i
				}
			}
			text += fmt.Sprintf("-- clusters/edge-%[1]d.yaml --\napiVersion: cluster.open-cluster-management.io/v1\nkind: ManagedCluster\n"+
				"metadata: {name: edge-%[1]d, labels: {cluster.open-cluster-management.io/clusterset: edge, times: \"%[2]d\"}}\nspec: {hubAcceptsClient: true}\n", i, times)
		}
		return strings.Replace(text, "clusterset: edge}}", `clusterset: edge, times: "1"}}`, 1)
	}
	for name, c := range map[string]struct {
		costly  []int
		planned string
		tried   string
		untried string
		value   string
		reason  fleet.Reason
	}{
		"None":  {planned: "1 2 3 4 5 6 7 8"},
		"Some":  {costly: []int{2, 7}, planned: "1 3 4 5 6 8", tried: "2 7"},
		"Three": {costly: []int{2, 4, 5}, planned: "1 3", tried: "2 4 5", untried: "6 7 8"},
		"Rest":  {costly: []int{2, 3, 4, 5, 6, 7, 8}, planned: "1", tried: "2 3 4", untried: "5 6 7 8"},
		"Drawn": {costly: []int{2, 4, 5}, planned: "1 3", tried: "2 4 5", untried: "6 7 8", value: drawn, reason: fleet.NotDeterministic},
	} {
		t.Run(name, func(t *testing.T) {
			a := buildText(t, repository(cmp.Or(c.value, large), c.costly...), fleet.World{FromRepository: true}).Find("retail/web")
			var planned, tried, untried []string
			for _, cluster := range a.Clusters {
				planned = append(planned, strings.TrimPrefix(cluster.Name, "edge-"))
			}
			for _, f := range a.Faults {
				if f.Reason != cmp.Or(c.reason, fleet.RenderTooCostly) || f.File != "charts/web/templates/a.yaml" {
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
