package renderworker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/renderworker"
)

// TestMain makes this program a worker where a pool of a test starts it as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == renderworker.Subcommand {
		if err := renderworker.Main(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func newPool(t testing.TB, workers int, bounds renderworker.Bounds) *renderworker.Pool {
	t.Helper()
	pool, err := renderworker.New(workers, bounds)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func tree(archive string) fleet.Tree {
	files := fstest.MapFS{}
	for _, file := range txtar.Parse([]byte(archive)).Files {
		files[file.Name] = &fstest.MapFile{Data: file.Data, Mode: 0o644}
	}
	return fleet.TreeOf(files)
}

func input(t testing.TB, tree fleet.Tree, name, spec string) render.Input {
	t.Helper()
	app := &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &app.Spec); err != nil {
		t.Fatal(err)
	}
	return render.Input{
		Application: app, File: "applications/" + name + ".yaml", Tree: tree,
		Cluster: &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "edge-7", Labels: map[string]string{"region": "eu"}}},
	}
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"

const chartHead = "-- chart/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\n"

// content is a chart, an overlay and plain YAML, and what an engine has to ask for to render them.
const content = chartHead + `
-- chart/values.yaml --
replicas: 1
-- chart/values.schema.json --
{"properties": {"replicas": {"type": "integer"}}}
-- chart/templates/x.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {replicas: "{{ .Values.replicas }}", file: {{ .Files.Get "f.txt" | quote }}, version: "{{ .Capabilities.KubeVersion.Version }}", policy: "{{ .Capabilities.APIVersions.Has "policy/v1" }}"}
-- chart/f.txt --
text
-- applications/values.yaml --
replicas: 3
-- overlay/kustomization.yaml --
resources: [../yaml/a.yaml]
nameSuffix: -prod
-- yaml/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
-- yaml/b/b.yaml --
apiVersion: v1
kind: Service
metadata: {name: b}
`

// TestAWorkerGivesTheSame: bytes, faults and what is remembered are those of an engine in this process.
func TestAWorkerGivesTheSame(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 2, renderworker.DefaultBounds)
	for name, spec := range map[string]string{
		"chart":            `{source: {path: chart}, helm: {valuesFiles: [values.yaml, {path: none.yaml, optional: true}], values: {more: '${{ cluster.name }}'}}}`,
		"overlay":          `{source: {path: overlay}}`,
		"yaml":             `{source: {path: yaml}}`,
		"values that fail": `{source: {path: chart}, helm: {values: {replicas: three}}}`,
		"no such file":     `{source: {path: chart}, helm: {valuesFiles: [none.yaml]}}`,
		"no such folder":   `{source: {path: none}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			workers, local := render.NewWith(pool, 1<<20), render.New(1<<20)
			for _, version := range []string{"v1.31.2", "v1.33.0", "v1.31.2"} {
				in := input(t, tree(content), "web", spec)
				in.APIs = fleet.NewAPIs(version, nil)
				want, wantErr := local.Render(t.Context(), in)
				got, err := workers.Render(t.Context(), in)
				if wantErr != nil {
					if err == nil || err.Error() != wantErr.Error() {
						t.Fatalf("want the fault %v, got %v", wantErr, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if got.Digest != want.Digest || len(got.Manifests) == 0 || fmt.Sprint(got.Values) != fmt.Sprint(want.Values) {
					t.Errorf("want %s %v, got %s %v", want.Digest, want.Values, got.Digest, got.Values)
				}
			}
			if got, want := workers.Stats(), local.Stats(); got != want {
				t.Errorf("what is remembered differs: %+v, want %+v", got, want)
			}
		})
	}
}

// endless are contents that take more time or memory than there is, by the bounds of which one is passed.
func endless() map[string]struct{ archive, path, spec, says string } {
	chart := func(template string) string { return chartHead + "-- chart/templates/x.yaml --\n" + template + "\n" }
	schema := `-- chart/values.schema.json --
{"$ref": "#/$defs/a0", "$defs": {`
	for i := range 40 {
		schema += fmt.Sprintf(`"a%d": {"allOf": [{"$ref": "#/$defs/a%d"}, {"$ref": "#/$defs/a%d"}]}, `, i, i+1, i+1)
	}
	schema += `"a40": {"type": "object"}}}` + "\n"
	doubling := "-- o0/kustomization.yaml --\nresources: [a.yaml]\n-- o0/a.yaml --\n" + configMap
	for i := range 30 {
		doubling += fmt.Sprintf("-- o%[2]d/kustomization.yaml --\nresources: [u, v]\n"+
			"-- o%[2]d/u/kustomization.yaml --\nresources: [../../o%[1]d]\nnameSuffix: -u\n"+
			"-- o%[2]d/v/kustomization.yaml --\nresources: [../../o%[1]d]\nnameSuffix: -v\n", i, i+1)
	}
	copying := "-- o/kustomization.yaml --\nresources: [a.yaml]\npatches:\n- target: {kind: ConfigMap}\n  patch: |-\n"
	for i := range 40 {
		copying += fmt.Sprintf("    - {op: copy, from: /data, path: /data/x%d}\n", i)
	}
	copying += "-- o/a.yaml --\n" + configMap + "data: {a: b}\n"
	replacing := "-- o/kustomization.yaml --\nresources: [a.yaml]\nreplacements:\n"
	for i := range 60 { // each value is put before the other one
		from, to := [2]string{"a", "b"}[i%2], [2]string{"b", "a"}[i%2]
		replacing += fmt.Sprintf("- {source: {kind: ConfigMap, fieldPath: data.%s}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.%s], options: {delimiter: '-', index: -1}}]}\n", from, to)
	}
	replacing += "-- o/a.yaml --\n" + configMap + "data: {a: b, b: c}\n"
	type content = struct{ archive, path, spec, says string }
	return map[string]content{
		"a range that does not end":    {chart("{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}"), "chart", "", "takes longer than"},
		"a text that doubles":          {chart(`{{ $s := "a" }}{{ range until 64 }}{{ $s = print $s $s }}{{ end }}`), "chart", "", "of memory"},
		"a list that grows":            {chart(`{{ $d := dict }}{{ range $i := until 10000000 }}{{ $_ := set $d (toString $i) (repeat 1000 (toString $i)) }}{{ end }}`), "chart", "", "of memory"},
		"a value that renders itself":  {chart("{{ tpl .Values.self . }}"), "chart", "helm: {values: {self: '{{ tpl .Values.self . }}'}}", "takes"},
		"a template that calls itself": {chart("{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}"), "chart", "", "exceeded maximum template depth"},
		"an include of itself":         {chart("{{ define \"a\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}"), "chart", "", "the templates include each other without end"},
		"templates that call others":   {chart("{{ define \"a\" }}{{ if . }}{{ template \"a\" (sub . 1) }}{{ template \"a\" (sub . 1) }}{{ end }}{{ end }}{{ template \"a\" 60 }}"), "chart", "", "takes longer than"},
		"a schema that does not end":   {chart(configMap) + schema, "chart", "", "takes longer than"},
		"bases that double":            {doubling, "o30", "", "takes"},
		"a patch that copies":          {copying, "o", "", "takes"},
		"replacements that grow":       {replacing, "o", "", "of memory"},
		"too much output":              {chart(`{{ range until 9000 }}` + strings.ReplaceAll(configMap, "settings", "s{{ . }}") + `data: {a: {{ repeat 1000 "a" }}}` + "\n---\n{{ end }}"), "chart", "", "renders more than"},
	}
}

// TestWhatDoesNotEndIsAFault: charts and overlays that would never end are faults within their bounds. Others go on next to them,
// and this process does not grow.
func TestWhatDoesNotEndIsAFault(t *testing.T) {
	// What takes memory or output is given the time to do so, whatever else this machine does.
	patient := render.NewWith(newPool(t, 1, renderworker.Bounds{Time: 5 * time.Minute, Memory: 256 << 20, Output: 4 << 20}), 8<<20)
	r := render.NewWith(newPool(t, 2, renderworker.Bounds{Time: 2 * time.Second, Memory: 384 << 20, Output: 4 << 20}), 8<<20)
	before := resident(t)
	var all sync.WaitGroup
	for name, c := range endless() {
		all.Go(func() {
			began, r := time.Now(), r
			if c.says == "of memory" || c.says == "renders more than" || strings.Contains(c.says, "template") {
				r = patient
			}
			_, err := r.Render(t.Context(), input(t, tree(c.archive), "web", "{source: {path: "+c.path+"}, "+c.spec+"}"))
			f, ok := fleet.AsFault(err)
			want := fleet.RenderTooExpensive
			if strings.Contains(c.says, "template") { // Helm's own bound is passed first
				want = fleet.RenderFailed
			}
			if !ok || f.Reason != want || f.ActionRequiredBy != fleet.User || f.Application != "shop/web" || !strings.Contains(f.Message, c.says) {
				t.Errorf("%s: got %v", name, err)
			}
			t.Logf("%s: %v after %v", name, err, time.Since(began).Round(time.Millisecond))
		})
	}
	for i := range 40 {
		all.Go(func() {
			spec := fmt.Sprintf("{source: {path: %s}}", []string{"chart", "overlay", "yaml"}[i%3])
			if i%3 == 0 {
				spec = fmt.Sprintf("{source: {path: chart}, helm: {values: {replicas: %d}}}", i)
			}
			if _, err := r.Render(t.Context(), input(t, tree(content), fmt.Sprintf("web-%d", i), spec)); err != nil {
				t.Errorf("another application: %v", err)
			}
		})
	}
	all.Wait()
	runtime.GC()
	if grown := resident(t) - before; grown > 100<<20 {
		t.Errorf("this process took %d MiB more at its peak", grown>>20)
	}
}

// resident is the most memory that this process has had, in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("only Linux tells the memory of a process")
	}
	_, peak, _ := strings.Cut(string(data), "VmHWM:")
	kilobytes, err := strconv.ParseInt(strings.Fields(peak)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// TestAKilledWorkerIsReplaced: an idle worker that is killed costs a job nothing, not even the one more try that it has.
func TestAKilledWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 2, renderworker.DefaultBounds)
	defer pool.HoldRetries()()
	r := render.NewWith(pool, 1<<20)
	for i := range 3 {
		var both sync.WaitGroup
		for k := range 2 {
			both.Go(func() {
				in := input(t, tree(content), "web", fmt.Sprintf("{source: {path: chart}, helm: {values: {replicas: %d}}}", 2*i+k))
				if _, err := r.Render(t.Context(), in); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		pool.KillIdle()
	}
}

// TestKilledFromOutside: a worker that another process kills, twice too, is no mistake of an author, and is not remembered.
func TestKilledFromOutside(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a process that was killed from outside from one that ended for want of memory")
	}
	t.Parallel()
	pool := newPool(t, 1, renderworker.DefaultBounds)
	r := render.NewWith(pool, 1<<20)
	in := input(t, tree(content), "web", "{source: {path: chart}}")
	worker := pool.SetCommand("/bin/sh", "-c", "kill -9 $$")
	_, err := r.Render(t.Context(), in)
	if f, ok := fleet.AsFault(err); !ok || f.Reason != fleet.RenderFailed || f.ActionRequiredBy != fleet.Controller || !strings.Contains(f.Message, "killed from outside") {
		t.Errorf("got %v", err)
	}
	pool.SetCommand(worker...)
	if _, err := r.Render(t.Context(), in); err != nil {
		t.Errorf("tried again: %v", err)
	}
}

// TestJobsThatTakeLongLeaveAWorker: however many jobs do not end, others are rendered meanwhile.
func TestJobsThatTakeLongLeaveAWorker(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 2, renderworker.Bounds{Time: time.Hour, Memory: 512 << 20, Output: 1 << 20})
	pool.SetSlice(100 * time.Millisecond)
	r := render.NewWith(pool, 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	var endlessOnes sync.WaitGroup
	never := endless()["a range that does not end"]
	for i := range 5 {
		endlessOnes.Go(func() {
			_, err := r.Render(ctx, input(t, tree(never.archive), "web", fmt.Sprintf("{source: {path: chart}, helm: {values: {n: %d}}}", i)))
			if _, isFault := fleet.AsFault(err); isFault || err == nil {
				t.Errorf("got %v", err)
			}
		})
	}
	for i := range 10 {
		if _, err := r.Render(t.Context(), input(t, tree(content), "web", fmt.Sprintf("{source: {path: chart}, helm: {values: {replicas: %d}}}", i))); err != nil {
			t.Errorf("another application: %v", err)
		}
	}
	cancel()
	endlessOnes.Wait()
}

// TestCancelled: a job that nobody waits for ends its worker and is no fault.
func TestCancelled(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, renderworker.DefaultBounds)
	r := render.NewWith(pool, 1<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	never := endless()["a range that does not end"]
	_, err := r.Render(ctx, input(t, tree(never.archive), "web", "{source: {path: chart}}"))
	if _, isFault := fleet.AsFault(err); isFault || ctx.Err() == nil || err == nil {
		t.Errorf("got %v", err)
	}
	if _, err := r.Render(t.Context(), input(t, tree(content), "web", "{source: {path: yaml}}")); err != nil {
		t.Errorf("the pool goes on: %v", err)
	}
}

// TestWorkersHaveNothing: a worker has no environment, and is the first to go when memory runs out.
func TestWorkersHaveNothing(t *testing.T) {
	t.Setenv("SECRET", "hunter2")
	pool := newPool(t, 1, renderworker.DefaultBounds)
	if _, err := render.NewWith(pool, 1<<20).Render(t.Context(), input(t, tree(content), "web", "{source: {path: yaml}}")); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pool.Workers() {
		folder := fmt.Sprintf("/proc/%d", pid)
		environment, err := os.ReadFile(filepath.Join(folder, "environ"))
		if err != nil {
			t.Skip("only Linux tells the environment of a process")
		}
		if strings.Contains(string(environment), "SECRET") {
			t.Error("the worker has the environment of its program")
		}
		if adjusted, err := os.ReadFile(filepath.Join(folder, "oom_score_adj")); err != nil || strings.TrimSpace(string(adjusted)) != "1000" {
			t.Errorf("oom_score_adj is %q, %v", adjusted, err)
		}
	}
}

// TestMetrics: what the pool tells of its workers is what happens to them.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(renderworker.Metrics()...)
	read := func(name, bound string) float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if family.GetName() == name && (bound == "" || m.GetLabel()[0].GetValue() == bound) {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		return 0
	}
	starts, kills, jobs := read("muster_render_worker_starts_total", ""), read("muster_render_worker_kills_total", "time"), read("muster_render_duration_seconds", "")
	pool := newPool(t, 1, renderworker.Bounds{Time: 2 * time.Second, Memory: 512 << 20, Output: 1 << 20})
	r := render.NewWith(pool, 1<<20)
	never := endless()["a range that does not end"]
	var both sync.WaitGroup
	both.Go(func() {
		_, err := r.Render(t.Context(), input(t, tree(never.archive), "endless", "{source: {path: chart}}"))
		if f, ok := fleet.AsFault(err); !ok || f.Reason != fleet.RenderTooExpensive {
			t.Errorf("got %v", err)
		}
	})
	for read("muster_render_worker_starts_total", "") == starts {
		time.Sleep(time.Millisecond)
	}
	both.Go(func() {
		if _, err := r.Render(t.Context(), input(t, tree(content), "web", "{source: {path: yaml}}")); err != nil {
			t.Error(err)
		}
	})
	for read("muster_render_queue_length", "") == 0 {
		time.Sleep(time.Millisecond)
	}
	both.Wait()
	if got := read("muster_render_worker_kills_total", "time") - kills; got != 2 {
		t.Errorf("%v workers were killed for their time, want 2: the job was tried twice", got)
	}
	if got := read("muster_render_worker_starts_total", "") - starts; got != 3 {
		t.Errorf("%v workers were started, want 3: for two tries and the other job", got)
	}
	if got := read("muster_render_duration_seconds", "") - jobs; got != 3 {
		t.Errorf("%v jobs were measured, want 3", got)
	}
	if got := read("muster_render_queue_length", ""); got != 0 {
		t.Errorf("%v jobs wait, and there are none", got)
	}
}
