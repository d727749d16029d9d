package plan_test

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

// exampleFiles is the fleet that newcomers begin with.
func exampleFiles(t *testing.T) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	example := os.DirFS("../../examples/fleet-repo")
	if err := fs.WalkDir(example, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(example, name)
		files[name] = &fstest.MapFile{Data: data}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return files
}

func buildWithoutFaults(t *testing.T, repo fs.FS) *plan.Plan {
	t.Helper()
	p := build(t, repo, fleet.World{FromRepository: true})
	for _, f := range p.Faults {
		t.Errorf("%s: %s", f.Reason, f.Error())
	}
	return p
}

// TestExampleIsPlanned: the example has no faults and one of everything that a newcomer looks for.
func TestExampleIsPlanned(t *testing.T) {
	p := buildWithoutFaults(t, exampleFiles(t))

	var clusters []string
	for i := range p.World.Clusters {
		l := p.World.Clusters[i].Labels
		clusters = append(clusters, fmt.Sprintf("%s: %s, %s", p.World.Clusters[i].Name, l["env"], l["cluster.open-cluster-management.io/clusterset"]))
	}
	slices.Sort(clusters)
	if diff := cmp.Diff([]string{
		"eks-dev-1: dev, core", "eks-prod-1: prod, core", "k3s-dev-1: dev, edge",
		"k3s-edge-1: prod, edge", "ocp-prod-1: prod, core", "ocp-staging-1: staging, core",
	}, clusters); diff != "" {
		t.Errorf("clusters (-want +have):\n%s", diff)
	}

	var placements []string
	for _, pl := range p.Placements {
		placements = append(placements, pl.Placement.Namespace+"/"+pl.Placement.Name)
	}
	if diff := cmp.Diff([]string{"platform/core", "platform/everywhere", "retail/shops"}, placements); diff != "" {
		t.Errorf("placements (-want +have):\n%s", diff)
	}

	on := map[string][]string{}
	for _, a := range p.Applications {
		for _, c := range a.Clusters {
			on[a.Key()] = append(on[a.Key()], strings.Join(append([]string{c.Name}, c.Overrides...), " with "))
		}
	}
	all := []string{"eks-dev-1", "eks-prod-1", "k3s-dev-1", "k3s-edge-1", "ocp-prod-1", "ocp-staging-1"}
	if diff := cmp.Diff(map[string][]string{
		"platform/baseline": all,
		"platform/ingress":  all,
		"platform/ledger":   {"eks-prod-1", "ocp-prod-1", "ocp-staging-1"},
		"retail/orders":     {"eks-prod-1", "k3s-edge-1 with edge"},
		"retail/storefront": {"eks-prod-1", "k3s-edge-1 with canary"},
	}, on); diff != "" {
		t.Errorf("clusters by application (-want +have):\n%s", diff)
	}
}

// TestExampleShowsEachKindOfContent: what a chart, an overlay and plain YAML come to on a cluster.
func TestExampleShowsEachKindOfContent(t *testing.T) {
	works := map[string]string{}
	for a, set := range buildWithoutFaults(t, exampleFiles(t)).Works() {
		for _, w := range set.Works {
			for _, m := range w.Spec.Workload.Manifests {
				works[a.Key()+" on "+w.Namespace] += string(m.Raw) + "\n"
			}
		}
	}
	for name, row := range map[string]struct{ on, holds, why string }{
		"values of a region":          {"retail/storefront on eks-prod-1", `"replicas":3`, "values/eu-west.yaml"},
		"values of another region":    {"retail/storefront on k3s-edge-1", `click-and-collect`, "values/eu-central.yaml"},
		"values of clusters":          {"retail/storefront on eks-prod-1", `currency: GBP`, "clustervalues/regions.yaml"},
		"values of other clusters":    {"retail/storefront on k3s-edge-1", `"host":"shop.eu-central.example.com"`, "clustervalues/regions.yaml"},
		"no canary":                   {"retail/storefront on eks-prod-1", `"image":"registry.k8s.io/pause:3.9"`, "values.yaml"},
		"canary":                      {"retail/storefront on k3s-edge-1", `"image":"registry.k8s.io/pause:3.10"`, "the override canary"},
		"a subchart":                  {"retail/orders on eks-prod-1", `"name":"orders-cache"`, "charts/orders/charts/cache"},
		"a subchart with condition":   {"retail/orders on eks-prod-1", `"kind":"StatefulSet"`, "charts/orders/charts/queue"},
		"an overlay of development":   {"platform/ingress on eks-dev-1", `"replicas":1`, "overlays/ingress/dev over base"},
		"an overlay of staging":       {"platform/ingress on ocp-staging-1", `"replicas":2`, "overlays/ingress/staging over base"},
		"an overlay of production":    {"platform/ingress on ocp-prod-1", `"replicas":3`, "overlays/ingress/prod over base"},
		"plain YAML":                  {"platform/baseline on k3s-dev-1", `"kind":"PriorityClass"`, "manifests/baseline"},
		"a definition of a chart":     {"platform/ledger on ocp-staging-1", `"kind":"CustomResourceDefinition"`, "charts/ledger/crds"},
		"an object of what it says":   {"platform/ledger on ocp-staging-1", `"kind":"Account"`, "charts/ledger/templates"},
		"an expression in the values": {"platform/ledger on ocp-staging-1", `"environment":"staging"`, `${{ label("env") }}`},
	} {
		if !strings.Contains(works[row.on], row.holds) {
			t.Errorf("%s (%s): %s does not hold %s:\n%s", name, row.why, row.on, row.holds, works[row.on])
		}
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestSamplesArePlanned: what the README and the pages about the language show is what Muster takes. Each sample replaces, or joins,
// what the example has.
func TestSamplesArePlanned(t *testing.T) {
	where := map[string]string{
		"Application":     "applications/retail/storefront/application.yaml",
		"FleetRepository": "tenants/fleet.yaml",
	}
	for page, kinds := range map[string][]string{"README.md": {"Application"}, "docs/fleet.md": {"Application"}, "docs/repositories.md": {"FleetRepository"}} {
		text, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		files := exampleFiles(t)
		var found []string
		for _, block := range yamlBlock.FindAllSubmatch(text, -1) {
			var named struct{ Kind string }
			if err := yaml.Unmarshal(block[1], &named); err != nil {
				t.Fatalf("%s: %v in\n%s", page, err, block[1])
			}
			found = append(found, named.Kind)
			files[where[named.Kind]] = &fstest.MapFile{Data: block[1]}
		}
		if !slices.Equal(found, kinds) {
			t.Errorf("%s has samples of %v, and %v are expected", page, found, kinds)
		}
		buildWithoutFaults(t, files)
	}
}

// TestOneApplication: what one application brings to one cluster is what the plan of everything says, and nothing else is rendered
// for it, unless the cluster knows a kind only through another application.
func TestOneApplication(t *testing.T) {
	files := exampleFiles(t)
	files["applications/platform/baseline/uses.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: muster.dev/v1alpha1\nkind: Application\n" +
		"metadata: {name: uses, namespace: platform}\nspec: {placementRef: {name: everywhere}, source: {path: uses}}\n")}
	files["applications/platform/baseline/brings.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: muster.dev/v1alpha1\nkind: Application\n" +
		"metadata: {name: brings, namespace: platform}\nspec: {placementRef: {name: everywhere}, source: {path: brings}}\n")}
	files["uses/a.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n")}
	files["brings/a.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\n" +
		"spec: {group: example.com, scope: Cluster, names: {kind: Thing, plural: things}, versions: [{name: v1, served: true}]}\n")}
	all := buildWithoutFaults(t, files)
	for _, a := range all.Applications {
		for _, c := range a.Clusters {
			planner := &plan.Planner{Renderer: render.New(1 << 20)}
			p, err := planner.On(t.Context(), fleet.Snapshot{Repository: all.Repository, Revision: all.Revision, Tree: fleet.TreeOf(files)}, fleet.World{FromRepository: true}, a.Key(), c.Name)
			if err != nil {
				t.Fatal(err)
			}
			one := p.Find(a.Key())
			if one == nil || len(one.Clusters) != 1 || one.Clusters[0].SetDigest != c.SetDigest {
				t.Errorf("%s on %s differs from the plan of everything: %+v", a.Key(), c.Name, one)
			}
			if renders := planner.Renderer.Stats().Renders; (renders == 1) != (a.Key() != "platform/uses") {
				t.Errorf("%s on %s: %d renders", a.Key(), c.Name, renders)
			}
		}
	}
}
