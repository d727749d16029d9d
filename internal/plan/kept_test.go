package plan_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

// ownContent is the bench's fleet in which every chart gives every cluster a content of its own, with so much text in it that all
// of them share.
func ownContent(clusters int, shared string) fstest.MapFS {
	files := benchFleet(clusters)
	for i := range benchApplications {
		name := fmt.Sprintf("app-%02d", i)
		text := strings.ReplaceAll(benchChartApplication, "NAME", name)
		text = strings.Replace(text, "helm: {values: {", `helm: {values: {cluster: "${{ cluster.name }}", `, 1)
		files["applications/shop/"+name+"/application.yaml"] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
		if i >= benchApplications/2 {
			for kind, template := range benchTemplates {
				files["charts/"+name+"/templates/"+kind+".yaml"] = &fstest.MapFile{Data: []byte(template), Mode: 0o644}
			}
			files["charts/"+name+"/Chart.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: v2\nname: " + name + "\nversion: 1.0.0\n"), Mode: 0o644}
			files["charts/"+name+"/values.yaml"] = &fstest.MapFile{Data: []byte("replicas: 2\nregion: none\nports: [80, 443]\n"), Mode: 0o644}
		}
		files["charts/"+name+"/templates/own.yaml"] = &fstest.MapFile{Mode: 0o644, Data: fmt.Appendf(nil,
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\ndata: {cluster: {{ .Values.cluster }}, text: %q}\n", shared)}
	}
	return files
}

func buildOwn(tb testing.TB, planner *plan.Planner, files fstest.MapFS, w fleet.World) *plan.Plan {
	tb.Helper()
	p, err := planner.Build(tb.Context(), fleet.Snapshot{Repository: "muster-system/fleet", Revision: "head", Tree: commitOf(files)}, w)
	if err != nil {
		tb.Fatal(err)
	}
	if len(p.Faults) > 0 {
		tb.Fatalf("%d faults, the first: %v", len(p.Faults), p.Faults[0])
	}
	return p
}

// TestPlanIsSmall holds that a plan does not keep what each cluster gets as often as there are clusters: of the 20 KiB that
// each gets here, all but a few bytes are the same.
func TestPlanIsSmall(t *testing.T) {
	const clusters, most = 20, 2 << 10 // bytes for one application on one cluster
	planner := &plan.Planner{Renderer: render.New(64 << 10)}
	p := buildOwn(t, planner, ownContent(clusters, strings.Repeat("some text, ", 20<<10/11)), fleet.World{FromRepository: true})
	with := heapInUse()
	p.Applications = nil
	held := int64(with) - int64(heapInUse())
	runtime.KeepAlive(p)
	runtime.KeepAlive(planner)
	if per := held / (clusters * benchApplications); per > most {
		t.Errorf("the plan keeps %d bytes for each application on each cluster, want at most %d", per, most)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools have let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestContentIsKeptWhole holds that what is opened again is what was rendered.
func TestContentIsKeptWhole(t *testing.T) {
	planner := &plan.Planner{Renderer: render.New(64 << 20)}
	files := ownContent(5, strings.Repeat("ü\\n<&> ", 9000)) // more than a window of the compression
	p := buildOwn(t, planner, files, fleet.World{FromRepository: true})
	for i := range p.Applications[0].Clusters {
		c := &p.Applications[0].Clusters[i]
		app := p.Definitions.Find("muster.dev", "Application", "shop", "app-00")
		want, err := planner.Renderer.Render(t.Context(), render.Input{
			Application: p.Applications[0].Application, File: app.File, LineOf: app.LineOf, Tree: commitOf(files), Cluster: clusterOf(p, c.Name),
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Content()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-rendered +opened):\n%s", c.Name, diff)
		}
	}
}

// BenchmarkCompare compares two plans that differ on every cluster, each of which has a content of its own.
func BenchmarkCompare(b *testing.B) {
	const most = 500 // MiB of live heap: what a collector has not taken yet is no measure
	files := ownContent(benchClusters, "text")
	changed := maps.Clone(files)
	for i := range benchApplications {
		name := fmt.Sprintf("charts/app-%02d/values.yaml", i)
		changed[name] = &fstest.MapFile{Data: []byte("replicas: 3\nregion: none\nports: [80, 443]\n"), Mode: 0o644}
	}
	for b.Loop() {
		planner := &plan.Planner{Renderer: render.New(128 << 20)}
		highest := heapPeak("/gc/heap/live:bytes")
		w := fleet.World{FromRepository: true}
		base := buildOwn(b, planner, files, w)
		head := buildOwn(b, planner, changed, plan.Delivered(w, base, base.Definitions))
		d, err := plan.Compare(base, head, fleet.Redactor{})
		if err != nil {
			b.Fatal(err)
		}
		peak := highest()
		if d.Summary.Updated != benchClusters*benchApplications {
			b.Fatalf("%d updates, want %d", d.Summary.Updated, benchClusters*benchApplications)
		}
		if peak > most {
			b.Fatalf("at most %.0f MiB of heap, want less than %d", peak, most)
		}
		b.ReportMetric(peak, "peak-MiB")
	}
}

func clusterOf(p *plan.Plan, name string) *clusterv1.ManagedCluster {
	i := slices.IndexFunc(p.World.Clusters, func(c clusterv1.ManagedCluster) bool { return c.Name == name })
	return &p.World.Clusters[i]
}
