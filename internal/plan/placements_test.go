package plan_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
)

// withPlacement is the shops' fleet with another way to say where the application web belongs.
func withPlacement(t *testing.T, where string, more ...string) *plan.Plan {
	t.Helper()
	const fleetFiles = `
-- clustersets/all.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSet
metadata: {name: all}
spec: {clusterSelector: {selectorType: LabelSelector, labelSelector: {}}}
-- tenants/shop.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: all, namespace: shop}
spec: {clusterSet: all}
-- placements/eu.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: eu, namespace: shop}
spec: {predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {region: eu}}}}]}
-- placements/prod.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: prod, namespace: shop}
spec: {predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {env: prod}}}}]}
-- manifests/web.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
`
	archive := fleetFiles
	for name, labels := range map[string]string{"a": "region: eu, env: dev", "b": "region: eu, env: prod", "c": "region: us, env: prod", "d": "region: us, env: dev"} {
		archive += "-- clusters/" + name + ".yaml --\napiVersion: cluster.open-cluster-management.io/v1\nkind: ManagedCluster\nmetadata: {name: " + name + ", labels: {" + labels + "}}\nspec: {hubAcceptsClient: true}\n"
	}
	archive += "-- applications/web.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: shop}\nspec:\n  source: {path: manifests/web.yaml}\n  " + where + "\n"
	return build(t, mapOf(archive+strings.Join(more, "")), fleet.World{FromRepository: true})
}

func chosen(a *plan.Application) string {
	var names []string
	for _, c := range a.Clusters {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

func TestPlacements(t *testing.T) {
	for name, test := range map[string]struct {
		where, want string
		faults      []string
	}{
		"one":              {where: "placementRef: {name: eu}", want: "a b"},
		"several":          {where: "placementRefs: [{name: eu}, {name: prod}]", want: "a b c"},
		"its own":          {where: "placement: {predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {region: us}}}}]}", want: "c d"},
		"its own, number":  {where: "placement: {numberOfClusters: 1}", want: "a"},
		"none":             {where: "yaml: {}", faults: []string{"applications/web.yaml:4: Application shop/web: set exactly one of spec.placementRef, spec.placementRefs and spec.placement: it says on which clusters the application belongs"}},
		"two":              {where: "placementRef: {name: eu}\n  placement: {}", faults: []string{"applications/web.yaml:6: Application shop/web: set exactly one of spec.placementRef, spec.placementRefs and spec.placement: it says on which clusters the application belongs"}},
		"one is missing":   {where: "placementRefs: [{name: eu}, {name: nowhere}]", faults: []string{`shop/web: applications/web.yaml:6: placement "nowhere" is not in namespace shop: define it, or correct the name`}},
		"its own is wrong": {where: "placement:\n    predicates:\n    - requiredClusterSelector: {labelSelector: {matchExpressions: [{key: a, operator: Like}]}}", faults: []string{"applications/web.yaml:8", "placement shop/web is misconfigured: applications/web.yaml:8"}},
		"unknown field":    {where: "placement: {predicate: []}", faults: []string{"applications/web.yaml:6"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := withPlacement(t, test.where)
			if len(p.Faults) != len(test.faults) {
				t.Fatalf("faults: %v", p.Faults)
			}
			for i, want := range test.faults {
				if !strings.Contains(p.Faults[i].Error(), want) {
					t.Errorf("fault %q, want %q", p.Faults[i].Error(), want)
				}
			}
			if a := p.Find("shop/web"); test.faults == nil && chosen(a) != test.want {
				t.Errorf("chosen %s, want %s", chosen(a), test.want)
			}
		})
	}
}

// TestOwnPlacementIsADefinition: the placement of an application is applied and pruned as any other, also while the application is invalid.
func TestOwnPlacementIsADefinition(t *testing.T) {
	key := fleet.ObjectKey{Group: "cluster.open-cluster-management.io", Kind: "Placement", Namespace: "shop", Name: "web"}
	p := withPlacement(t, "placement: {numberOfClusters: 1}")
	d := p.Definitions.Find(key.Group, key.Kind, key.Namespace, key.Name)
	if d == nil || d.Line != 6 {
		t.Fatalf("the placement is not defined: %v", d)
	}
	want := map[string]any{
		"apiVersion": "cluster.open-cluster-management.io/v1beta1", "kind": "Placement",
		"metadata": map[string]any{"namespace": "shop", "name": "web"}, "spec": map[string]any{"numberOfClusters": int64(1)},
	}
	if diff := cmp.Diff(want, d.Source.Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p := withPlacement(t, "placement: {numberOfClusters: 1}\n  nothing: x"); !p.Definitions.Named[key] {
		t.Error("the placement of an invalid application would be pruned")
	}
	twice := withPlacement(t, "placement: {numberOfClusters: 1}", "-- placements/web.yaml --\napiVersion: cluster.open-cluster-management.io/v1beta1\nkind: Placement\nmetadata: {name: web, namespace: shop}\nspec: {}\n")
	if len(twice.Faults) == 0 || twice.Faults[0].Reason != fleet.DefinitionTwice {
		t.Errorf("faults: %v", twice.Faults)
	}
}

func mapOf(archive string) fstest.MapFS {
	files := fstest.MapFS{}
	for _, part := range strings.Split(archive, "\n-- ") {
		name, text, ok := strings.Cut(strings.TrimPrefix(part, "-- "), " --\n")
		if ok {
			files[strings.TrimSpace(name)] = &fstest.MapFile{Data: []byte(text + "\n")}
		}
	}
	return files
}
