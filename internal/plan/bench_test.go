package plan_test

import (
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

const (
	benchClusters     = 1000
	benchApplications = 20 // half of them charts, half of them overlays
	benchRegions      = 4  // each application is another one in each region
)

// BenchmarkBuild plans a fleet of 1,000 clusters × 20 applications with 4 distinct inputs each, then plans it again after a
// change of one file. The floor is the plan of 4 clusters, one in each region, by a planner that remembers nothing: the
// same 80 renders, and next to nothing else.
func BenchmarkBuild(b *testing.B) {
	files := benchFleet(benchClusters)
	changes := []struct {
		file    string
		renders int64
		why     string
	}{
		{"charts/app-03/templates/service.yaml", benchRegions, "all renders of one chart read its templates"},
		{"overlays/app-12/base/deployment.yaml", benchRegions, "all overlays read their base"},
		{"overlays/app-12/region-1/patch.yaml", 1, "one overlay reads its patch"},
		{"clusters/edge-0007.yaml", 0, "no application reads the definition of a cluster"},
	}
	var first, floor, peak, again float64
	for b.Loop() {
		four := newBenchPlanner()
		floor += four.build(b, commitOf(benchFleet(benchRegions)), benchRegions, benchRegions*benchApplications).Seconds()

		p := newBenchPlanner()
		highest := heapPeak("/memory/classes/heap/objects:bytes")
		first += p.build(b, commitOf(files), benchClusters, benchRegions*benchApplications).Seconds()
		peak = max(peak, highest())
		for _, c := range changes {
			changed := maps.Clone(files)
			changed[c.file] = &fstest.MapFile{Data: append([]byte("# changed\n"), files[c.file].Data...), Mode: 0o644}
			took := p.build(b, commitOf(changed), benchClusters, c.renders).Seconds()
			again += took / float64(len(changes))
		}
	}
	n := float64(b.N)
	b.ReportMetric(first/n, "s/build")
	b.ReportMetric(again/n, "s/rebuild")
	b.ReportMetric(first/floor, "x-four-clusters")
	b.ReportMetric(again/first, "rebuild/build")
	b.ReportMetric(peak, "peak-MiB")
	b.Logf("plan of %d clusters × %d applications: %d renders, %.2f s, at most %.0f MiB of heap; ratio %.2f to the floor: %d clusters with the same renders, %.2f s",
		benchClusters, benchApplications, benchRegions*benchApplications, first/n, peak, first/floor, benchRegions, floor/n)
	b.Logf("plan after a change of one file: %d, %d, %d and %d renders, %.2f s; ratio %.2f to the floor: the first plan",
		changes[0].renders, changes[1].renders, changes[2].renders, changes[3].renders, again/n, again/first)
}

// benchPlanner is a planner and how often it has rendered.
type benchPlanner struct {
	plan.Planner
	renders int64
}

func newBenchPlanner() *benchPlanner {
	return &benchPlanner{Planner: plan.Planner{Renderer: render.New(256 << 20)}}
}

// build plans a commit, and fails unless it plans everything with this many renders.
func (p *benchPlanner) build(b *testing.B, tree fleet.Tree, clusters int, renders int64) time.Duration {
	b.Helper()
	began := time.Now()
	built, err := p.Build(b.Context(), fleet.Snapshot{Repository: "muster-system/fleet", Revision: "head", Tree: tree}, fleet.World{FromRepository: true})
	took := time.Since(began)
	if err != nil {
		b.Fatal(err)
	}
	if len(built.Faults) > 0 {
		b.Fatalf("%d faults, the first: %v", len(built.Faults), built.Faults[0])
	}
	planned := 0
	for _, a := range built.Applications {
		planned += len(a.Clusters)
	}
	if planned != clusters*benchApplications {
		b.Fatalf("%d applications on clusters are planned, want %d", planned, clusters*benchApplications)
	}
	done := p.Renderer.Stats().Renders
	if done-p.renders != renders {
		b.Fatalf("%d renders, want %d", done-p.renders, renders)
	}
	p.renders = done
	return took
}

// heapPeak begins to watch the heap; what it returns ends that and gives the highest it was above where it began, in MiB.
func heapPeak(metric string) func() float64 {
	runtime.GC()
	heap := []metrics.Sample{{Name: metric}}
	metrics.Read(heap)
	before := heap[0].Value.Uint64()
	highest := before
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(heap)
			highest = max(highest, heap[0].Value.Uint64())
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	return func() float64 {
		close(stop)
		<-stopped
		return float64(highest-before) / (1 << 20)
	}
}

// benchFleet is a fleet repository with so many clusters, spread evenly over the regions.
func benchFleet(clusters int) fstest.MapFS {
	files := fstest.MapFS{}
	add := func(name, content string) { files[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644} }
	add("clustersets/edge.yaml", "apiVersion: cluster.open-cluster-management.io/v1beta2\nkind: ManagedClusterSet\nmetadata: {name: edge}\n")
	add("tenants/shop.yaml", benchTenant)
	add("placements/everywhere.yaml", benchPlacement)
	for i := range clusters {
		name := fmt.Sprintf("edge-%04d", i)
		add("clusters/"+name+".yaml", fmt.Sprintf(benchCluster, name, i%benchRegions))
	}
	for i := range benchApplications {
		name := fmt.Sprintf("app-%02d", i)
		named := strings.NewReplacer("NAME", name).Replace
		if i < benchApplications/2 {
			add("applications/shop/"+name+"/application.yaml", named(benchChartApplication))
			add("charts/"+name+"/Chart.yaml", named("apiVersion: v2\nname: NAME\nversion: 1.0.0\n"))
			add("charts/"+name+"/values.yaml", "replicas: 2\nregion: none\nports: [80, 443]\n")
			for kind, text := range benchTemplates {
				add("charts/"+name+"/templates/"+kind+".yaml", text)
			}
			continue
		}
		add("applications/shop/"+name+"/application.yaml", named(benchOverlayApplication))
		add("overlays/"+name+"/base/kustomization.yaml", "resources: [deployment.yaml, service.yaml]\n")
		add("overlays/"+name+"/base/deployment.yaml", named(benchDeployment))
		add("overlays/"+name+"/base/service.yaml", named(benchService))
		for r := range benchRegions {
			folder := fmt.Sprintf("overlays/%s/region-%d/", name, r)
			add(folder+"kustomization.yaml", fmt.Sprintf("resources: [../base]\nlabels: [{pairs: {region: region-%d}}]\npatches: [{path: patch.yaml}]\n", r))
			add(folder+"patch.yaml", named(fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: NAME}\nspec: {replicas: %d}\n", r+1)))
		}
	}
	return files
}

const (
	benchTenant = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: edge, namespace: shop}
spec: {clusterSet: edge}
`
	benchPlacement = `apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: everywhere, namespace: shop}
spec: {clusterSets: [edge]}
`
	benchCluster = `apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata: {name: %s, labels: {cluster.open-cluster-management.io/clusterset: edge, region: region-%d}}
spec: {hubAcceptsClient: true}
`
	benchChartApplication = `apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: NAME, namespace: shop}
spec:
  placementRef: {name: everywhere}
  source: {path: charts/NAME}
  helm: {values: {region: "${{ label(\"region\") }}"}}
  destination: {namespace: NAME, createNamespace: true}
`
	benchOverlayApplication = `apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: NAME, namespace: shop}
spec:
  placementRef: {name: everywhere}
  source: {path: "overlays/NAME/${{ label(\"region\") }}"}
  destination: {namespace: NAME, createNamespace: true}
`
	benchDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - name: main
        image: registry.example.com/NAME:1.0.0
        ports: [{containerPort: 8080}]
        resources: {requests: {cpu: 100m, memory: 64Mi}}
`
	benchService = `apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80, targetPort: 8080}]}
`
)

// benchTemplates of each chart, by file.
var benchTemplates = map[string]string{
	"deployment": `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, labels: {region: {{ .Values.region | quote }}}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations: {checksum/config: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}}
    spec:
      containers:
      - name: main
        image: "registry.example.com/{{ .Chart.Name }}:{{ .Chart.Version }}"
        ports:
        {{- range .Values.ports }}
        - {containerPort: {{ . }}}
        {{- end }}
        resources: {requests: {cpu: 100m, memory: 64Mi}}
`,
	"service": `apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports:
  {{- range $i, $port := .Values.ports }}
  - {name: p{{ $i }}, port: {{ $port }}}
  {{- end }}
`,
	"config": `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {region: {{ .Values.region | quote }}}
`,
	"account": `apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Release.Name }}}
`,
}

// commit is a tree in memory that answers every question but once, as one of Git's, whose hashes are there beforehand.
type commit struct {
	fstest.MapFS
	answers *sync.Map
}

func commitOf(files fstest.MapFS) commit { return commit{MapFS: files, answers: &sync.Map{}} }

type answer struct {
	value any
	err   error
}

func ask[T any](c commit, question string, find func() (T, error)) (T, error) {
	if known, ok := c.answers.Load(question); ok {
		value, _ := known.(answer).value.(T)
		return value, known.(answer).err
	}
	value, err := find()
	c.answers.Store(question, answer{value, err})
	return value, err
}

func (c commit) Stat(name string) (fs.FileInfo, error) {
	return ask(c, "stat "+name, func() (fs.FileInfo, error) { return c.MapFS.Stat(name) })
}

func (c commit) ReadDir(name string) ([]fs.DirEntry, error) {
	return ask(c, "folder "+name, func() ([]fs.DirEntry, error) { return c.MapFS.ReadDir(name) })
}

func (c commit) Hash(name string) (string, error) {
	return ask(c, "hash "+name, func() (string, error) { return fleet.TreeOf(c.MapFS).Hash(name) })
}
