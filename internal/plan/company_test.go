package plan_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

// The company: 300 clusters of three environments in three regions on three platforms, five teams, eight applications each. What
// differs by environment, region or platform is said once, in ClusterValues; what differs by application, in its file.
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

func company() fstest.MapFS {
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
	for _, team := range companyTeams {
		text := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + team + "}\n"
		for _, env := range companyEnvironments {
			text += "---\napiVersion: cluster.open-cluster-management.io/v1beta2\nkind: ManagedClusterSetBinding\nmetadata: {name: " + env + ", namespace: " + team + "}\nspec: {clusterSet: " + env + "}\n"
			text += "---\napiVersion: cluster.open-cluster-management.io/v1beta1\nkind: Placement\nmetadata: {name: " + env + ", namespace: " + team + "}\nspec: {clusterSets: [" + env + "]}\n"
		}
		text += "---\napiVersion: muster.dev/v1alpha1\nkind: ClusterValues\nmetadata: {name: team, namespace: " + team + "}\nspec: {values: {team: {name: " + team + ", channel: '#" + team + "'}}}\n"
		add("tenants/"+team+".yaml", text)
		for i := range companyApplications / len(companyTeams) {
			companyApplication(add, team, i)
		}
	}
	add("charts/service/Chart.yaml", "apiVersion: v2\nname: service\nversion: 1.0.0\n")
	add("charts/service/values.yaml", "replicas: 1\nimage: none\npdb: {enabled: false}\nlogLevel: info\n")
	for _, kind := range []string{"Deployment", "Service", "Ingress", "PodDisruptionBudget", "ConfigMap"} {
		add("charts/service/templates/"+strings.ToLower(kind)+".yaml", companyTemplates[kind])
	}
	return files
}

// companyApplication: five of a team's eight applications are of the shared chart, two are overlays by environment, one is plain YAML.
func companyApplication(add func(name, text string), team string, i int) {
	name := fmt.Sprintf("%s-%d", team, i)
	folder := "applications/" + team + "/" + name
	head := "apiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: " + name + ", namespace: " + team + "}\nspec:\n  destination: {namespace: " + name + ", createNamespace: true}\n  commonMetadata: {labels: {team: '${{ cluster.values.team.name }}'}}\n"
	switch {
	case i < 5:
		where := "placementRefs: [{name: dev}, {name: staging}, {name: prod}]"
		if i == 4 { // where the platform has disks
			where = "placement: {predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {platform: metal}}}}]}"
		}
		add(folder+"/application.yaml", head+"  "+where+`
  source: {path: charts/service}
  helm:
    clusterValues: apps
    valuesFiles: [values.yaml]
    values:
      image: '${{ cluster.values.registry }}/`+name+`:1.0'
      host: '`+name+`.${{ cluster.values.domain }}'
      replicas: '${{ cluster.values.replicas }}'
      logLevel: '${{ cluster.values.logLevel }}'
      storageClass: '${{ cluster.values.storageClass }}'
      ingressClass: '${{ cluster.values.ingress.class }}'
      proxy: '${{ cluster.values.?proxy.?url.orValue("") }}'
  overrides:
  - name: next
    clusterSelector: {labelSelector: {matchLabels: {env: dev}}}
    kustomize: {images: [{name: registry.example.com/`+name+`, newTag: "1.1"}]}
`)
		add(folder+"/values.yaml", "settings: {owner: "+name+"}\n")
	case i < 7:
		add(folder+"/application.yaml", head+"  placementRefs: [{name: staging}, {name: prod}]\n  source: {path: overlays/"+name+"}\n  kustomize:\n    path: '${{ label(\"env\") }}'\n    replicas: [{name: web, count: 2}]\n")
		add("overlays/"+name+"/base/kustomization.yaml", "resources: [web.yaml]\n")
		add("overlays/"+name+"/base/web.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: "+name+"}]}}}\n")
		for _, env := range []string{"staging", "prod"} {
			add("overlays/"+name+"/"+env+"/kustomization.yaml", "resources: [../base]\nnameSuffix: \"\"\ncommonAnnotations: {env: "+env+"}\n")
		}
	default:
		add(folder+"/application.yaml", head+"  placementRef: {name: prod}\n  source: {path: manifests/"+name+"}\n  yaml: {exclude: [drafts]}\n")
		add("manifests/"+name+"/quota.yaml", "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: quota}\nspec: {hard: {pods: \"10\"}}\n")
		add("manifests/"+name+"/values.yaml", "left: behind\n")
		add("manifests/"+name+"/drafts/broken.yaml", "not: [yaml\n")
	}
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
        image: {{ .Values.image | quote }}
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

func buildCompany(t testing.TB, planner *plan.Planner, files fstest.MapFS) *plan.Plan {
	t.Helper()
	return buildCompanyAfter(t, planner, nil, files)
}

func buildCompanyAfter(t testing.TB, planner *plan.Planner, earlier *plan.Plan, files fstest.MapFS) *plan.Plan {
	t.Helper()
	tree := commitOf(files)
	defs, err := fleet.Load(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	p, err := planner.LoadedAfter(t.Context(), earlier, fleet.Snapshot{Repository: "muster-system/fleet", Revision: "head", Tree: tree}, defs, fleet.World{FromRepository: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Faults) > 0 || len(p.Warnings) > 0 {
		t.Fatalf("%d faults, %d warnings, the first: %v %v", len(p.Faults), len(p.Warnings), p.Faults[:min(1, len(p.Faults))], p.Warnings[:min(1, len(p.Warnings))])
	}
	return p
}

// TestCompany plans the fixture company: each cluster gets what its environment, region and platform say, and nothing was copied to say it.
func TestCompany(t *testing.T) {
	files := company()
	p := buildCompany(t, &plan.Planner{Renderer: render.New(256 << 20)}, files)
	if len(p.Applications) != companyApplications || len(p.World.Clusters) != companyClusters {
		t.Fatalf("%d applications, %d clusters", len(p.Applications), len(p.World.Clusters))
	}
	for name, want := range map[string]map[string]string{
		"prod-us-aks-022": {
			"Deployment": `"image":"registry.example.com/checkout-0:1.0"`, "Ingress": `"host":"checkout-0.us.example.com"`, "ConfigMap": `"logLevel":"info"`,
			"PodDisruptionBudget": `"maxUnavailable":1`, "Deployment replicas": `"replicas":3`, "Ingress class": `"ingressClassName":"aks"`, "ConfigMap team": `"team":"checkout"`,
		},
		"dev-eu-eks-000": {
			"Deployment": `"image":"registry.example.com/checkout-0:1.1"`, "ConfigMap": `"logLevel":"debug"`, "Deployment replicas": `"replicas":1`,
			"Deployment proxy": `http://proxy.eu:3128`, "PodDisruptionBudget": "",
		},
	} {
		content, err := p.Find("checkout/checkout-0").On(name).Content()
		if err != nil {
			t.Fatal(err)
		}
		byKind := map[string]string{}
		for _, m := range content.Manifests {
			byKind[m.Key.Kind] = string(m.JSON)
		}
		for what, text := range want {
			kind, _, _ := strings.Cut(what, " ")
			if text == "" && byKind[kind] != "" || !strings.Contains(byKind[kind], text) {
				t.Errorf("%s: %s has no %s: %s", name, what, text, byKind[kind])
			}
		}
	}
	copies := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(name, "clusters/") || strings.HasPrefix(name, "manifests/") || strings.HasPrefix(name, "overlays/") {
			continue
		}
		copies[string(files[name].Data)] = append(copies[string(files[name].Data)], name)
	}
	for _, names := range copies {
		if len(names) > 1 {
			t.Errorf("copies of each other: %v", names)
		}
	}
	if len(copies) > 2*companyApplications+30 {
		t.Errorf("%d files say what differs", len(copies))
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
	files := company()
	const changed = "applications/catalog/catalog-2/values.yaml"
	var cold, coldCPU, warm, warmCPU, all, peak float64
	var renders, one int64
	for b.Loop() {
		planner := &plan.Planner{Renderer: render.New(256 << 20)}
		highest := heapPeak("/memory/classes/heap/objects:bytes")
		began, cpu := time.Now(), cpuSeconds(b)
		base := buildCompany(b, planner, files)
		cold += time.Since(began).Seconds()
		coldCPU += cpuSeconds(b) - cpu
		peak = max(peak, highest())
		renders = planner.Renderer.Stats().Renders

		review := func(file, text string) float64 {
			next := maps.Clone(files)
			next[file] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
			began := time.Now()
			head := buildCompanyAfter(b, planner, base, next)
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
