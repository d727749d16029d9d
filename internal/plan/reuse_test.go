package plan_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
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

// reuseFleet is a small fleet in which something of every kind is read: charts with values files, a dependency beside them and values of
// clusters, overlays, plain files, content from elsewhere, kinds that another application brings, defaults, accounts.
func reuseFleet() fstest.MapFS {
	files := fstest.MapFS{}
	add := func(name, text string) { files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
	add("muster.yaml", "apiVersion: muster.dev/v1alpha1\nkind: FleetConfiguration\nspec:\n  defaults:\n  - {namespaces: [shop], spec: {sync: {drift: Report}}}\n")
	add("clustersets/edge.yaml", "apiVersion: cluster.open-cluster-management.io/v1beta2\nkind: ManagedClusterSet\nmetadata: {name: edge}\n")
	for i := range 9 {
		add(fmt.Sprintf("clusters/edge-%d.yaml", i), fmt.Sprintf(benchCluster, fmt.Sprintf("edge-%d", i), i%3))
	}
	add("tenants/shop.yaml", strings.Replace(benchTenant, "{name: shop}", "{name: shop, annotations: {muster.dev/default-service-account: deployer}}", 1))
	add("placements/everywhere.yaml", benchPlacement)
	add("placements/some.yaml", "apiVersion: cluster.open-cluster-management.io/v1beta1\nkind: Placement\nmetadata: {name: some, namespace: shop}\nspec: {numberOfClusters: 4, clusterSets: [edge], predicates: [{requiredClusterSelector: {labelSelector: {matchExpressions: [{key: region, operator: NotIn, values: [region-9]}]}}}]}\n")
	add("clustervalues/all.yaml", "apiVersion: muster.dev/v1alpha1\nkind: ClusterValues\nmetadata: {name: all, namespace: muster-system}\nspec: {values: {domain: example.com, apps: {replicas: 1}}}\n")
	add("clustervalues/one.yaml", "apiVersion: muster.dev/v1alpha1\nkind: ClusterValues\nmetadata: {name: one, namespace: shop}\nspec: {selector: {labelSelector: {matchLabels: {region: region-1}}}, priority: 5, values: {domain: one.example.com}}\n")

	app := func(name, spec string) {
		add("applications/shop/"+name+"/application.yaml", "apiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: "+name+", namespace: shop}\nspec:\n  destination: {namespace: "+name+", createNamespace: true}\n"+spec)
	}
	app("web", `  placementRef: {name: everywhere}
  source: {path: charts/web}
  helm:
    clusterValues: apps
    valuesFiles: [values.yaml, {path: 'values/${{ label("region") }}.yaml', optional: true}]
    values: {host: 'web.${{ cluster.values.domain }}'}
  overrides:
  - name: first
    clusterSelector: {labelSelector: {matchLabels: {region: region-0}}}
    helm: {values: {tag: "2"}}
`)
	add("applications/shop/web/values.yaml", "replicas: 2\ntag: \"1\"\n")
	add("applications/shop/web/values/region-2.yaml", "tag: \"3\"\n")
	add("charts/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: common, version: 1.0.0, repository: 'file://../common'}]\n")
	add("charts/web/values.yaml", "replicas: 1\nhost: none\ntag: none\n")
	add("charts/web/templates/config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {host: {{ .Values.host }}, tag: {{ .Values.tag | quote }}, replicas: {{ .Values.replicas | quote }}, kube: {{ .Capabilities.KubeVersion.Version }}, common: {{ include \"common\" . }}}\n")
	add("charts/common/Chart.yaml", "apiVersion: v2\nname: common\nversion: 1.0.0\n")
	add("charts/common/templates/_common.tpl", "{{ define \"common\" }}shared{{ end }}\n")
	app("overlay", "  placementRef: {name: everywhere}\n  source: {path: 'overlays/${{ label(\"region\") }}'}\n")
	add("overlays/base/kustomization.yaml", "resources: [service.yaml]\n")
	add("overlays/base/service.yaml", strings.ReplaceAll(benchService, "NAME", "overlay"))
	for r := range 3 {
		add(fmt.Sprintf("overlays/region-%d/kustomization.yaml", r), "resources: [../base]\n")
	}
	app("plain", "  placementRef: {name: some}\n  source: {path: manifests}\n  dependsOn: [{name: web}]\n")
	add("manifests/config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {a: b}\n")
	app("operator", "  placementRef: {name: everywhere}\n  source: {path: operator}\n")
	add("operator/crd.yaml", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec: {group: example.com, scope: Namespaced, names: {kind: Thing, plural: things}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}\n")
	app("thing", "  placementRef: {name: everywhere}\n  source: {path: thing}\n")
	add("thing/thing.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: thing}\n")
	app("elsewhere", "  placementRef: {name: everywhere}\n  source: {chart: {repo: 'https://charts.example.com', name: far, version: 1.x.x}}\n")
	return files
}

// farSources has one chart, in a version that changes.
type farSources struct{ version string }

func (s farSources) Find(r *fleet.Reference) (*fleet.Found, error) {
	if s.version == "" {
		return nil, fleet.Fault{Reason: fleet.SourceUnavailable, ActionRequiredBy: fleet.Controller, Message: "not fetched"}
	}
	tree := fleet.TreeOf(fstest.MapFS{
		"Chart.yaml":            {Data: []byte("apiVersion: v2\nname: far\nversion: " + s.version + "\n"), Mode: 0o644},
		"templates/config.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: far}\ndata: {version: {{ .Chart.Version }}}\n"), Mode: 0o644},
	})
	return &fleet.Found{Name: "far@" + s.version, Version: s.version, Digest: "sha256:" + s.version, Tree: tree, Packed: true}, nil
}

// reuseChanges change a fleet and its world, each in another way.
var reuseChanges = map[string]func(r *rand.Rand, files fstest.MapFS, w *fleet.World){
	"a file": func(r *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		name := one(r, slices.Sorted(maps.Keys(files)))
		files[name] = &fstest.MapFile{Data: append([]byte("# changed\n"), files[name].Data...), Mode: 0o644}
	},
	"a template": func(r *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		rewrite(files, one(r, []string{"charts/web/templates/config.yaml", "charts/common/templates/_common.tpl", "manifests/config.yaml"}),
			one(r, []string{"shared", "a: b", "tag: {{"}), one(r, []string{"shared2", "a: c", "tagged: {{"}))
	},
	"a file is gone": func(r *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		delete(files, one(r, []string{"applications/shop/web/values/region-2.yaml", "charts/common/templates/_common.tpl", "operator/crd.yaml", "overlays/region-1/kustomization.yaml", "muster.yaml"}))
	},
	"a file is there": func(r *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		all := reuseFleet()
		all["applications/shop/web/values/region-1.yaml"] = &fstest.MapFile{Data: []byte("tag: \"7\"\n"), Mode: 0o644}
		name := one(r, slices.Sorted(maps.Keys(all)))
		files[name] = all[name]
	},
	"a label": func(r *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		name := fmt.Sprintf("edge-%d", r.IntN(9))
		files["clusters/"+name+".yaml"] = &fstest.MapFile{Data: fmt.Appendf(nil, benchCluster, name, r.IntN(4)), Mode: 0o644}
	},
	"a cluster is gone": func(r *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		delete(files, fmt.Sprintf("clusters/edge-%d.yaml", r.IntN(9)))
	},
	"values of clusters": func(r *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		rewrite(files, one(r, []string{"clustervalues/all.yaml", "clustervalues/one.yaml"}),
			one(r, []string{"example.com", "region-1", "priority: 5", "apps: {replicas: 1}"}), one(r, []string{"example.org", "region-2", "priority: 0", "apps: {replicas: 2}"}))
	},
	"a placement": func(r *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		rewrite(files, "placements/some.yaml", one(r, []string{"numberOfClusters: 4", "NotIn", "region-9"}), one(r, []string{"numberOfClusters: 3", "In", "region-1"}))
	},
	"an application": func(r *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		name := one(r, []string{"web", "overlay", "plain", "operator", "thing", "elsewhere"})
		rewrite(files, "applications/shop/"+name+"/application.yaml",
			one(r, []string{"createNamespace: true", "everywhere", "tag: \"2\"", "region-0"}), one(r, []string{"createNamespace: false", "some", "tag: \"4\"", "region-1"}))
	},
	"a rename": func(r *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		name := one(r, []string{"web", "plain"})
		rewrite(files, "applications/shop/"+name+"/application.yaml", "{name: "+name+",", "{name: "+name+"-new, annotations: {muster.dev/moved-from: "+name+"},")
	},
	"an object moves": func(_ *rand.Rand, files fstest.MapFS, _ *fleet.World) {
		files["thing/config.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain, namespace: plain}\ndata: {a: b}\n"), Mode: 0o644}
		if r, ok := files["manifests/config.yaml"]; ok {
			files["manifests/config.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(string(r.Data), "{name: plain}", "{name: other}", 1)), Mode: 0o644}
		}
	},
	"an account": func(r *rand.Rand, files fstest.MapFS, w *fleet.World) {
		rewrite(files, "tenants/shop.yaml", "deployer", one(r, []string{"operator", "deployer2"}))
		w.Accounts = map[string]string{"shop": one(r, []string{"shop/a", "shop/b"})}
	},
	"a version elsewhere": func(r *rand.Rand, _ fstest.MapFS, w *fleet.World) {
		w.Sources = farSources{one(r, []string{"1.0.0", "1.1.0", ""})}
	},
	"what a cluster serves": func(r *rand.Rand, _ fstest.MapFS, w *fleet.World) {
		if len(w.Clusters) > 0 {
			c := &w.Clusters[r.IntN(len(w.Clusters))]
			c.Status.Version.Kubernetes = one(r, []string{"v1.31.0", "v1.32.0"})
			c.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: "id.k8s.io", Value: fmt.Sprint(r.IntN(3))}}
		}
	},
	"the hub's cluster": func(r *rand.Rand, _ fstest.MapFS, w *fleet.World) { w.HubCluster = fmt.Sprintf("edge-%d", r.IntN(9)) },
	"a limit":           func(r *rand.Rand, _ fstest.MapFS, w *fleet.World) { w.ManifestLimit = r.IntN(2) << 20 },
}

func one[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func rewrite(files fstest.MapFS, name, from, to string) {
	if f, ok := files[name]; ok {
		files[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(f.Data), from, to)), Mode: 0o644}
	}
}

// TestReuseChangesNothing makes random changes to a fleet, one after the other. Each commit is planned after the plan before it and, by a
// planner that has seen nothing, alone: the two plans are the same.
func TestReuseChangesNothing(t *testing.T) {
	t.Parallel()
	const seeds, steps = 3, 20
	var calls, fresh int64
	renderer := render.New(64 << 20) // what is remembered of files is no plan
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 15))
		files, w := reuseFleet(), fleet.World{Sources: farSources{"1.0.0"}}
		planner := &plan.Planner{Renderer: render.New(64 << 20)}
		var last *plan.Plan
		var done []string
		for step := range steps {
			if step > 0 {
				name := one(r, slices.Sorted(maps.Keys(reuseChanges)))
				reuseChanges[name](r, files, &w)
				done = append(done, name)
			}
			s := fleet.Snapshot{Repository: "muster-system/fleet", Revision: fmt.Sprintf("%040d", step), Tree: fleet.TreeOf(maps.Clone(files))}
			defs, err := fleet.Load(t.Context(), s.Tree)
			if err != nil {
				t.Fatal(err)
			}
			before := calledOf(planner)
			is, err := planner.LoadedAfter(t.Context(), last, s, defs, w)
			if err != nil {
				t.Fatal(err)
			}
			calls += calledOf(planner) - before
			alone := &plan.Planner{Renderer: renderer}
			before = calledOf(alone)
			want, err := alone.Loaded(t.Context(), s, defs, w)
			if err != nil {
				t.Fatal(err)
			}
			fresh += calledOf(alone) - before
			if diff := cmp.Diff(string(format(t, want)), string(format(t, is))); diff != "" {
				t.Fatalf("seed %d, after %s (-alone +after the plan before):\n%s", seed, strings.Join(done, ", "), diff)
			}
			if diff := cmp.Diff(contentsOf(t, want), contentsOf(t, is)); diff != "" {
				t.Fatalf("seed %d, after %s, contents (-alone +after the plan before):\n%s", seed, strings.Join(done, ", "), diff)
			}
			last = is
			switch r.IntN(4) {
			case 0: // everything is delivered
				w.Works = nil
				w = plan.Delivered(w, is, is.Definitions)
				w.Applications = w.Applications[len(w.Applications)-len(is.Applications):]
				w.Clusters = slices.Clone(is.World.Clusters)
			case 1: // the pull request is dropped
				files = reuseFleet()
			}
		}
	}
	t.Logf("%d contents are asked for, %d without an earlier plan", calls, fresh)
}

func calledOf(p *plan.Planner) int64 {
	s := p.Renderer.Stats()
	return s.Renders + s.Hits
}

// contentsOf is what format leaves out.
func contentsOf(t *testing.T, p *plan.Plan) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, a := range p.Applications {
		for i := range a.Clusters {
			content, err := a.Clusters[i].Content()
			if err != nil {
				t.Fatal(err)
			}
			all[a.Key()+" "+a.Clusters[i].Name] = []any{content, a.Clusters[i].Options, a.Clusters[i].Empty, a.Clusters[i].SetDigest}
		}
		var sources []string
		for _, u := range a.Sources {
			sources = append(sources, fleet.SourceText(u.Status()))
		}
		all[a.Key()] = []any{sources, a.Digest, a.HandoverClusters(), a.Losing()}
	}
	return all
}

// TestReuseFollowsTheChange counts what is asked of the renderer after a change: the application thing needs kinds that another one
// brings, and is asked for once without them, on 9 clusters.
func TestReuseFollowsTheChange(t *testing.T) {
	t.Parallel()
	const without = 9
	for name, test := range map[string]struct {
		change func(files fstest.MapFS, w *fleet.World)
		want   int64
		why    string
	}{
		"nothing":              {func(fstest.MapFS, *fleet.World) {}, without, ""},
		"a comment in a label": {func(f fstest.MapFS, _ *fleet.World) { rewrite(f, "clusters/edge-4.yaml", "spec:", "# one\nspec:") }, without, "no fact of a cluster"},
		"a label":              {func(f fstest.MapFS, _ *fleet.World) { rewrite(f, "clusters/edge-4.yaml", "region-1", "region-2") }, without + 5, "one cluster of five applications"},
		"a template":           {func(f fstest.MapFS, _ *fleet.World) { rewrite(f, "charts/web/templates/config.yaml", "tag:", "label:") }, without + 9, "one application"},
		"a dependency's file": {func(f fstest.MapFS, _ *fleet.World) {
			rewrite(f, "charts/common/templates/_common.tpl", "shared", "all")
		}, without + 9, "one application"},
		"a file that was not there": {func(f fstest.MapFS, _ *fleet.World) {
			f["applications/shop/web/values/region-1.yaml"] = &fstest.MapFile{Data: []byte("tag: \"7\"\n"), Mode: 0o644}
		}, without + 9, "one application looked for it"},
		"a file that nobody reads": {func(f fstest.MapFS, _ *fleet.World) {
			f["docs/README.md"] = &fstest.MapFile{Data: []byte("hello"), Mode: 0o644}
		}, without, ""},
		"a value of three clusters": {func(f fstest.MapFS, _ *fleet.World) {
			rewrite(f, "clustervalues/one.yaml", "one.example.com", "two.example.com")
		}, without + 3*5 + 1, "three clusters of five applications, and one of the sixth"},
		"a limit of manifests": {func(_ fstest.MapFS, w *fleet.World) { w.ManifestLimit = 1 << 20 }, 58, "what was too large may fit"},
		"a version elsewhere":  {func(_ fstest.MapFS, w *fleet.World) { w.Sources = farSources{"1.1.0"} }, without + 9, "one application"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, w := reuseFleet(), fleet.World{Sources: farSources{"1.0.0"}}
			planner := &plan.Planner{Renderer: render.New(64 << 20)}
			build := func(earlier *plan.Plan) *plan.Plan {
				s := fleet.Snapshot{Repository: "muster-system/fleet", Revision: "head", Tree: fleet.TreeOf(maps.Clone(files))}
				defs, err := fleet.Load(t.Context(), s.Tree)
				if err != nil {
					t.Fatal(err)
				}
				out, err := planner.LoadedAfter(t.Context(), earlier, s, defs, w)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			first := build(nil)
			before := calledOf(planner)
			test.change(files, &w)
			build(first)
			if got := calledOf(planner) - before; got != test.want {
				t.Errorf("%d contents are asked for, want %d: %s", got, test.want, test.why)
			}
		})
	}
}

// TestApplicationAfterItsPlan: the hub's controller of an application takes over what its repository's plan has, and renders for the cluster
// that has another label since.
func TestApplicationAfterItsPlan(t *testing.T) {
	t.Parallel()
	planner := &plan.Planner{Renderer: render.New(64 << 20)}
	s := fleet.Snapshot{Repository: "muster-system/fleet", Revision: "head", Tree: fleet.TreeOf(reuseFleet())}
	p, err := planner.Build(t.Context(), s, fleet.World{Sources: farSources{"1.0.0"}})
	if err != nil {
		t.Fatal(err)
	}
	d := p.Definitions.Find("muster.dev", "Application", "shop", "web")
	job := func(w *fleet.World) plan.Job {
		return plan.Job{
			Application: p.Find("shop/web").Application, File: d.File, Line: d.Line, LineOf: d.LineOf, Defaulted: d.Defaulted, Snapshot: s,
			World: w, Values: plan.ValuesIn(w.ClusterValues, p.Definitions), Decided: p.Find("shop/web").Decided,
		}
	}
	changed := *p.World
	changed.Clusters = slices.Clone(changed.Clusters)
	changed.Clusters[4] = *changed.Clusters[4].DeepCopy()
	changed.Clusters[4].Labels["region"] = "region-2"
	for name, test := range map[string]struct {
		world *fleet.World
		want  int64
	}{"as it was": {p.World, 0}, "another label": {&changed, 1}} {
		alone, err := planner.Application(t.Context(), job(test.world))
		if err != nil {
			t.Fatal(err)
		}
		after := job(test.world)
		after.After(p, d)
		before := calledOf(planner)
		got, err := planner.Application(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		if calls := calledOf(planner) - before; calls != test.want {
			t.Errorf("%s: %d contents are asked for, want %d", name, calls, test.want)
		}
		alone.Seal()
		got.Seal()
		if alone.Digest != got.Digest || len(got.Clusters) != 9 {
			t.Errorf("%s: %d clusters, plan %s, want %s", name, len(got.Clusters), got.Digest, alone.Digest)
		}
		got.Release() // frees nothing of the plan
		for i := range p.Find("shop/web").Clusters {
			if _, err := p.Find("shop/web").Clusters[i].Content(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
