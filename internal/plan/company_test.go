package plan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"sigs.k8s.io/yaml"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/source"
	"github.com/muster-io/muster/internal/test/charts"
	"github.com/muster-io/muster/internal/test/registry"
)

// The company: 300 clusters of three environments in three regions on three platforms, five teams, eight applications each. What
// differs by environment, region or platform is said once, in ClusterValues; what applications have in common once, in muster.yaml; what
// differs by application, in its file. Teams have their content where companies have it: see companySources.
const (
	companyClusters     = 300
	companyApplications = 40
)

var (
	companyTeams        = []string{"checkout", "catalog", "data", "edge", "platform"}
	companyRegions      = []string{"eu", "us", "ap"}
	companyPlatforms    = []string{"eks", "aks", "metal"}
	companyEnvironments = []string{"dev", "staging", "prod"}
)

// environmentOf: of five clusters one is for development, one for staging, three are for production.
func environmentOf(i int) string { return companyEnvironments[min(i%5, 2)] }

func company(sources companySources) fstest.MapFS {
	files := fstest.MapFS{}
	add := func(name, text string) { files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
	for i := range companyClusters {
		env, region, platform := environmentOf(i), companyRegions[i/5%3], companyPlatforms[i/15%3]
		name := fmt.Sprintf("%s-%s-%s-%03d", env, region, platform, i)
		add("clusters/"+env+"/"+name+".yaml", fmt.Sprintf(`apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata:
  name: %s
  labels: {cluster.open-cluster-management.io/clusterset: %s, env: %s, region: %s, platform: %s}
spec: {hubAcceptsClient: true}
`, name, env, env, region, platform))
	}
	for _, env := range companyEnvironments {
		add("clustersets/"+env+".yaml", "apiVersion: cluster.open-cluster-management.io/v1beta2\nkind: ManagedClusterSet\nmetadata: {name: "+env+"}\n")
	}
	values := func(name, selector string, priority int, text string) {
		add("clustervalues/"+name+".yaml", fmt.Sprintf("apiVersion: muster.dev/v1alpha1\nkind: ClusterValues\nmetadata: {name: %s, namespace: muster-system}\nspec:\n  selector: {labelSelector: {matchLabels: {%s}}}\n  priority: %d\n  values: {%s}\n",
			strings.ReplaceAll(name, "/", "-"), selector, priority, text))
	}
	values("all", "", 0, "domain: example.com, registry: registry.example.com, replicas: 1, logLevel: info")
	for _, region := range companyRegions {
		values("region/"+region, "region: "+region, 10, "domain: "+region+".example.com, proxy: {url: 'http://proxy."+region+":3128'}")
	}
	for _, platform := range companyPlatforms {
		values("platform/"+platform, "platform: "+platform, 10, "storageClass: "+platform+"-ssd, ingress: {class: "+platform+"}")
	}
	values("env/dev", "env: dev", 20, "logLevel: debug")
	values("env/prod", "env: prod", 20, "replicas: 3, apps: {pdb: {enabled: true}}")
	add("muster.yaml", companyDefaults(sources))
	for i, team := range companyTeams {
		text := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + team + "}\n"
		for _, env := range companyEnvironments {
			text += "---\napiVersion: cluster.open-cluster-management.io/v1beta2\nkind: ManagedClusterSetBinding\nmetadata: {name: " + env + ", namespace: " + team + "}\nspec: {clusterSet: " + env + "}\n"
			text += "---\napiVersion: cluster.open-cluster-management.io/v1beta1\nkind: Placement\nmetadata: {name: " + env + ", namespace: " + team + "}\nspec: {clusterSets: [" + env + "]}\n"
		}
		add("tenants/"+team+".yaml", text)
		for n := range companyApplications / len(companyTeams) {
			companyApplication(add, sources, team, n, i*companyApplications/len(companyTeams)+n)
		}
	}
	for name, text := range companyChart("service") {
		add("charts/"+name, text)
	}
	return files
}

// companyDefaults are what applications have in common, and how the teams' chart repositories are opened.
func companyDefaults(sources companySources) string {
	return `apiVersion: muster.dev/v1alpha1
kind: FleetConfiguration
spec:
  defaults:
  - spec:
      destination: {namespace: '${{ application.name }}', createNamespace: true}
      commonMetadata: {labels: {team: '${{ application.namespace }}'}}
      helm:
        clusterValues: apps
        valuesFiles: [values.yaml]
        values:
          image: '${{ cluster.values.registry }}/${{ application.name }}'
          host: '${{ application.name }}.${{ cluster.values.domain }}'
          replicas: '${{ cluster.values.replicas }}'
          logLevel: '${{ cluster.values.logLevel }}'
          storageClass: '${{ cluster.values.storageClass }}'
          ingressClass: '${{ cluster.values.ingress.class }}'
          proxy: '${{ cluster.values.?proxy.?url.orValue("") }}'
  - namespaces: [edge]
    spec: {chartRepositories: [{url: '` + sources.charts + `', secretRef: {name: charts}}]}
`
}

// companyApplication: five of a team's eight applications are of the team's chart, two are overlays by environment, one is plain YAML.
func companyApplication(add func(name, text string), sources companySources, team string, i, number int) {
	name := fmt.Sprintf("%s-%d", team, i)
	folder := "applications/" + team + "/" + name
	head := "apiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: " + name + ", namespace: " + team + "}\nspec:\n"
	switch {
	case i < 5:
		where := "placementRefs: [{name: dev}, {name: staging}, {name: prod}]"
		if i == 4 { // where the platform has disks
			where = "placement: {predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {platform: metal}}}}]}"
		}
		add(folder+"/application.yaml", head+"  "+where+"\n  source: "+sources.chartOf(team)+fmt.Sprintf(`
  helm: {values: {tag: "1.%d"}}
  overrides:
  - {name: next, clusterSelector: {labelSelector: {matchLabels: {env: dev}}}, helm: {values: {tag: "2.%d"}}}
`, number, number))
		add(folder+"/values.yaml", "settings: {owner: "+name+"}\n")
	case i < 7:
		add(folder+"/application.yaml", head+"  placementRefs: [{name: staging}, {name: prod}]\n  source: "+sources.overlayOf(team, name)+"\n  kustomize: {path: '${{ label(\"env\") }}'}\n")
		if team != "data" {
			for file, text := range companyOverlay(name) {
				add("overlays/"+name+"/"+file, text)
			}
		}
	default:
		add(folder+"/application.yaml", head+"  placementRef: {name: prod}\n  source: {path: manifests/"+name+"}\n  yaml: {exclude: [drafts]}\n")
		add("manifests/"+name+"/quota.yaml", "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: quota}\nspec: {hard: {pods: \"10\"}}\n")
		add("manifests/"+name+"/values.yaml", "left: behind\n")
		add("manifests/"+name+"/drafts/broken.yaml", "not: [yaml\n")
	}
}

// companyChart are the files of the chart of services.
func companyChart(name string) map[string]string {
	files := map[string]string{
		name + "/Chart.yaml":  "apiVersion: v2\nname: " + name + "\nversion: 1.0.0\n",
		name + "/values.yaml": "replicas: 1\nimage: none\npdb: {enabled: false}\nlogLevel: info\n",
	}
	for _, kind := range []string{"Deployment", "Service", "Ingress", "PodDisruptionBudget", "ConfigMap"} {
		files[name+"/templates/"+strings.ToLower(kind)+".yaml"] = companyTemplates[kind]
	}
	return files
}

// companyOverlay are the files of an overlay with two environments.
func companyOverlay(name string) map[string]string {
	files := map[string]string{
		"base/kustomization.yaml": "resources: [web.yaml]\n",
		"base/web.yaml":           "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: " + name + "}]}}}\n",
	}
	for _, env := range []string{"staging", "prod"} {
		files[env+"/kustomization.yaml"] = "resources: [../base]\nnameSuffix: \"\"\ncommonAnnotations: {env: " + env + "}\n"
	}
	return files
}

// companySources are where the teams have their content: checkout and platform in the fleet repository; catalog in a chart repository, in
// a range of versions; data in a registry, its overlays as artifacts; edge in a Git repository under a tag, whose chart has one of the private
// chart repository as a dependency.
type companySources struct {
	fleet.Sources
	charts, registry, git string // addresses
}

// newCompanySources starts the servers, and has fetched what the applications name.
func newCompanySources(t testing.TB) companySources {
	t.Helper()
	repository, artifacts := charts.New(t), registry.New(t)
	repository.Change(func(s *charts.State) { s.User, s.Password = "ann", "hunter2" })
	artifacts.Change(func(s *registry.State) { s.User, s.Password = "ann", "hunter2" })
	repository.PublishArchive("service", "1.0.0", charts.Archive(companyChart("service")))
	artifacts.Push("charts/service", "1.0.0", registry.Chart, charts.Archive(companyChart("service")))
	repository.Publish("common", "1.0.0", "-- templates/all.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-common}\n")
	root := t.TempDir()
	chart := companyChart("edge")
	chart["edge/Chart.yaml"] += "dependencies: [{name: common, version: 1.0.0, repository: '" + repository.URL + "'}]\n"
	git := newGitRepository(t, root, chart)
	s := companySources{charts: repository.URL, registry: "oci://" + artifacts.Host(), git: git}
	var remotes []string
	library := &source.Library{
		Dir: t.TempDir(), Git: &source.Store{Dir: t.TempDir(), Local: []string{root}}, Wanted: func(remote string) { remotes = append(remotes, remote) },
		Secret: func(_ context.Context, _, name string) (map[string][]byte, error) {
			ca := map[string][]byte{"charts": repository.CA(), "registry": artifacts.CA()}[name]
			return map[string][]byte{"username": []byte("ann"), "password": []byte("hunter2"), "ca.crt": ca}, nil
		},
	}
	for _, name := range []string{"data-5", "data-6"} {
		artifacts.Push("overlays/"+name, "stable", registry.Flux, charts.Archive(companyOverlay(name)))
	}
	find := func(namespace, text string) {
		var of musterv1alpha1.Source
		if err := yaml.UnmarshalStrict([]byte(text), &of); err != nil {
			t.Fatal(err)
		}
		_, _ = library.Sources().Find(fleet.ReferenceOf(namespace, of)) // it is not there yet
	}
	for _, team := range []string{"catalog", "data", "edge"} {
		find(team, s.chartOf(team))
	}
	find("edge", "{chart: {repo: '"+s.charts+"', name: common, version: 1.0.0, secretRef: {name: charts}}}")
	find("data", s.overlayOf("data", "data-5"))
	find("data", s.overlayOf("data", "data-6"))
	for _, remote := range remotes {
		if looked := library.Look(t.Context(), remote); looked.Err != nil {
			t.Fatal(looked.Err)
		}
	}
	s.Sources = library.Sources()
	return s
}

// chartOf is the source of a team's chart.
func (s companySources) chartOf(team string) string {
	switch team {
	case "catalog":
		return "{chart: {repo: '" + s.charts + "', name: service, version: ^1, secretRef: {name: charts}}}"
	case "data":
		return "{chart: {repo: '" + s.registry + "/charts', name: service, version: 1.0.0, secretRef: {name: registry}}}"
	case "edge":
		return "{git: {url: '" + s.git + "', ref: {tag: v1}, path: edge}}"
	}
	return "{path: charts/service}"
}

// overlayOf is the source of a team's overlay.
func (s companySources) overlayOf(team, name string) string {
	if team == "data" {
		return "{oci: {url: '" + s.registry + "/overlays/" + name + "', tag: stable, secretRef: {name: registry}}}"
	}
	return "{path: overlays/" + name + "}"
}

// newGitRepository makes a repository of files, with a tag v1, and gives its address.
func newGitRepository(t testing.TB, root string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(root, "charts")
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "--quiet", "--initial-branch=main"}, {"add", "--all"}, {"commit", "--quiet", "--message", "charts"}, {"tag", "v1"}} {
		command := exec.Command("git", args...)
		command.Dir = dir
		command.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.com",
			"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	return "file://" + dir
}

var companyTemplates = map[string]string{
	"Deployment": `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      containers:
      - name: main
        image: {{ printf "%s:%s" .Values.image .Values.tag | quote }}
        env: [{name: HTTP_PROXY, value: {{ .Values.proxy | quote }}}]
`,
	"Service": "apiVersion: v1\nkind: Service\nmetadata: {name: {{ .Release.Name }}}\nspec: {selector: {app: {{ .Release.Name }}}, ports: [{port: 80}]}\n",
	"Ingress": `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: {{ .Release.Name }}}
spec:
  ingressClassName: {{ .Values.ingressClass }}
  rules: [{host: {{ .Values.host }}, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: {{ .Release.Name }}, port: {number: 80}}}}]}}]
`,
	"PodDisruptionBudget": "{{ if .Values.pdb.enabled }}\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: {{ .Release.Name }}}\nspec: {maxUnavailable: 1, selector: {matchLabels: {app: {{ .Release.Name }}}}}\n{{ end }}\n",
	"ConfigMap":           "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {settings: {{ .Values.settings | toJson | quote }}, logLevel: {{ .Values.logLevel }}, storageClass: {{ .Values.storageClass }}}\n",
}

func buildCompany(t testing.TB, planner *plan.Planner, earlier *plan.Plan, sources fleet.Sources, files fstest.MapFS) *plan.Plan {
	t.Helper()
	tree := commitOf(files)
	defs, err := fleet.Load(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	p, err := planner.LoadedAfter(t.Context(), earlier, fleet.Snapshot{Repository: "muster-system/fleet", Revision: "head", Tree: tree}, defs, fleet.World{FromRepository: true, Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Faults) > 0 || len(p.Warnings) > 0 {
		t.Fatalf("%d faults, %d warnings, the first: %v %v", len(p.Faults), len(p.Warnings), p.Faults[:min(1, len(p.Faults))], p.Warnings[:min(1, len(p.Warnings))])
	}
	return p
}

// TestCompany plans the fixture company: each cluster gets what its environment, region and platform say, wherever the content of the team is,
// and nothing was copied to say it.
func TestCompany(t *testing.T) {
	sources := newCompanySources(t)
	files := company(sources)
	p := buildCompany(t, &plan.Planner{Renderer: render.New(256 << 20)}, nil, sources, files)
	if len(p.Applications) != companyApplications || len(p.World.Clusters) != companyClusters {
		t.Fatalf("%d applications, %d clusters", len(p.Applications), len(p.World.Clusters))
	}
	for number, team := range []string{0: "checkout", 8: "catalog", 16: "data"} {
		if team == "" {
			continue
		}
		for name, want := range map[string]map[string]string{
			"prod-us-aks-022": {
				"Deployment": `"image":"registry.example.com/TEAM-0:1.NUMBER"`, "Ingress": `"host":"TEAM-0.us.example.com"`, "ConfigMap": `"logLevel":"info"`,
				"PodDisruptionBudget": `"maxUnavailable":1`, "Deployment replicas": `"replicas":3`, "Ingress class": `"ingressClassName":"aks"`, "ConfigMap team": `"team":"TEAM"`,
			},
			"dev-eu-eks-000": {
				"Deployment": `"image":"registry.example.com/TEAM-0:2.NUMBER"`, "ConfigMap": `"logLevel":"debug"`, "Deployment replicas": `"replicas":1`,
				"Deployment proxy": `http://proxy.eu:3128`, "PodDisruptionBudget": "", "Namespace": `"name":"TEAM-0"`,
			},
		} {
			byKind := companyObjects(t, p, team+"/"+team+"-0", name)
			for what, text := range want {
				kind, _, _ := strings.Cut(what, " ")
				text = strings.NewReplacer("TEAM", team, "NUMBER", fmt.Sprint(number)).Replace(text)
				if text == "" && byKind[kind] != "" || !strings.Contains(byKind[kind], text) {
					t.Errorf("%s of %s: %s has no %s: %s", name, team, what, text, byKind[kind])
				}
			}
		}
	}
	if deployment := companyObjects(t, p, "data/data-5", "prod-us-aks-022")["Deployment"]; !strings.Contains(deployment, `"env":"prod"`) {
		t.Errorf("the overlay of an artifact gives %s", deployment)
	}
	if objects := companyObjects(t, p, "edge/edge-0", "prod-us-aks-022"); objects["ConfigMap edge-0"] == "" || objects["ConfigMap edge-0-common"] == "" {
		t.Errorf("the chart of a Git repository gives %v", slices.Sorted(maps.Keys(objects)))
	}
	companyCopies(t, files)
}

// companyObjects are the objects of an application on a cluster, by kind, of which the last one counts, and by kind and name.
func companyObjects(t *testing.T, p *plan.Plan, application, cluster string) map[string]string {
	t.Helper()
	content, err := p.Find(application).On(cluster).Content()
	if err != nil {
		t.Fatal(err)
	}
	byKind := map[string]string{}
	for _, m := range content.Manifests {
		byKind[m.Key.Kind], byKind[m.Key.Kind+" "+m.Key.Name] = string(m.JSON), string(m.JSON)
	}
	return byKind
}

// companyCopies finds what is said twice: a value of one application that another one has too, or a file.
func companyCopies(t *testing.T, files fstest.MapFS) {
	t.Helper()
	said := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch {
		case strings.HasSuffix(name, "/application.yaml"):
			var app musterv1alpha1.Application
			if err := yaml.UnmarshalStrict(files[name].Data, &app); err != nil {
				t.Fatal(err)
			}
			helms := []*musterv1alpha1.Helm{app.Spec.Helm}
			for _, o := range app.Spec.Overrides {
				helms = append(helms, o.Helm)
			}
			for _, helm := range helms {
				if helm != nil && helm.Values != nil {
					said[string(helm.Values.Raw)] = append(said[string(helm.Values.Raw)], name)
				}
			}
			if len(app.Spec.Destination.Namespace)+len(app.Spec.CommonMetadata.Labels) > 0 {
				t.Errorf("%s says what muster.yaml says for all", name)
			}
		case strings.HasPrefix(name, "applications/"), strings.HasPrefix(name, "clustervalues/"), strings.HasPrefix(name, "charts/"):
			said[string(files[name].Data)] = append(said[string(files[name].Data)], name)
		}
	}
	for text, names := range said {
		if len(names) > 1 {
			t.Errorf("%v say the same: %s", names, text)
		}
	}
}

// What a plan of the company may take on two cores. A machine that does other things as well makes it longer, but not its processor
// time: the shorter one counts.
const (
	mostColdSeconds = 60
	mostWarmSeconds = 2
)

// BenchmarkCompany plans the company without anything remembered, then reviews a change of one application.
func BenchmarkCompany(b *testing.B) {
	sources := newCompanySources(b)
	files := company(sources)
	const changed = "applications/catalog/catalog-2/values.yaml"
	var cold, coldCPU, warm, warmCPU, all, peak float64
	var renders, one int64
	for b.Loop() {
		planner := &plan.Planner{Renderer: render.New(256 << 20)}
		highest := heapPeak("/memory/classes/heap/objects:bytes")
		began, cpu := time.Now(), cpuSeconds(b)
		base := buildCompany(b, planner, nil, sources, files)
		cold += time.Since(began).Seconds()
		coldCPU += cpuSeconds(b) - cpu
		peak = max(peak, highest())
		renders = planner.Renderer.Stats().Renders

		review := func(file, text string) float64 {
			next := maps.Clone(files)
			next[file] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
			began := time.Now()
			head := buildCompany(b, planner, base, sources, next)
			difference, err := plan.Compare(base, head, fleet.Redactor{Key: []byte("key")})
			if err != nil {
				b.Fatal(err)
			}
			if len(difference.Applications) == 0 {
				b.Fatal("nothing changes")
			}
			if _, err := json.Marshal(difference); err != nil {
				b.Fatal(err)
			}
			return time.Since(began).Seconds()
		}
		cpu = cpuSeconds(b)
		warm += review(changed, "settings: {owner: somebody}\n")
		warmCPU += cpuSeconds(b) - cpu
		one = planner.Renderer.Stats().Renders - renders
		all += review("clustervalues/all.yaml", strings.Replace(string(files["clustervalues/all.yaml"].Data), "registry.example.com", "mirror.example.com", 1))
	}
	n := float64(b.N)
	b.Logf("cold plan of %d applications on %d clusters: %.1f s, %.1f of processor time (at most %d), %d renders, %.0f MiB of heap; diff of one application, warm: %.2f s, %.2f of processor time (at most %d), %d renders; of a value of all clusters: %.1f s",
		companyApplications, companyClusters, cold/n, coldCPU/n, mostColdSeconds, renders, peak, warm/n, warmCPU/n, mostWarmSeconds, one, all/n)
	b.ReportMetric(cold/n, "s/cold")
	b.ReportMetric(warm/n, "s/one-application-diff")
	b.ReportMetric(all/n, "s/all-applications-diff")
	b.ReportMetric(peak, "peak-MiB")
	if took := min(cold, coldCPU) / n; took > mostColdSeconds {
		b.Errorf("a cold plan takes %.1f s, more than %d", took, mostColdSeconds)
	}
	if took := min(warm, warmCPU) / n; took > mostWarmSeconds {
		b.Errorf("a warm diff of one application takes %.2f s, more than %d", took, mostWarmSeconds)
	}
}

// cpuSeconds is the processor time of this process so far.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
