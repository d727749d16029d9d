package hub

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	corev1 "k8s.io/api/core/v1"
)

// twoTeams are a repository of team retail, whose clusters are in set edge, and one of team bank, whose clusters are in set vault
// and which ranks them by memory.
func teamFiles(team, set, placement string) string {
	return strings.NewReplacer("TEAM", team, "SET", set, "PLACEMENT", placement).Replace(`
-- tenants/TEAM.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: TEAM}
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: SET, namespace: TEAM}
spec: {clusterSet: SET}
-- placements/all.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: all, namespace: TEAM}
spec: PLACEMENT
-- applications/shop.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: shop, namespace: TEAM}
spec: {placementRef: {name: all}, source: {path: manifests/shop}}
-- manifests/shop/config.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: TEAM}
`)
}

// readsValues is an application of team bank that reads the values of clusters.
const readsValues = `
-- applications/rates.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: rates, namespace: bank}
spec: {placementRef: {name: all}, source: {path: 'manifests/${{ cluster.values.?rates.orValue("shop") }}'}, destination: {namespace: rates}}
`

func clusterIn(name, set string) *clusterv1.ManagedCluster {
	c := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1, ResourceVersion: "1", Labels: map[string]string{clusterv1beta2.ClusterSetLabel: set}}}
	meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionTrue})
	return c
}

// clusterValuesIn match the clusters of a set; none is all.
func clusterValuesIn(namespace, set string) *musterv1alpha1.ClusterValues {
	o := &musterv1alpha1.ClusterValues{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "values", Generation: 1}}
	if set != "" {
		o.Spec.Selector.LabelSelector.MatchLabels = map[string]string{clusterv1beta2.ClusterSetLabel: set}
	}
	return o
}

func setNamed(name string) *clusterv1beta2.ManagedClusterSet {
	return &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// changed is an object before and after somebody has changed it.
func changed[T client.Object](o T, change func(T)) (before, after client.Object) {
	next := o.DeepCopyObject().(T)
	next.SetResourceVersion("2")
	change(next)
	return o, next
}

// TestChangesAreCountedWhereTheyAreRead: a change counts for the repositories whose plan reads it and for no other; what clusters
// report of their resources counts only where a placement looks at it, and a work that becomes what was planned nowhere.
func TestChangesAreCountedWhereTheyAreRead(t *testing.T) {
	edge, vault := clusterIn("edge-1", "edge"), clusterIn("vault-1", "vault")
	sets := []client.Object{setNamed("edge"), setNamed("vault")}
	retail, bank := types.NamespacedName{Name: "retail"}, types.NamespacedName{Name: "bank"}
	plans := map[types.NamespacedName]*plan.Plan{}
	for key, files := range map[types.NamespacedName]string{
		retail: teamFiles("retail", "edge", "{}"),
		bank:   teamFiles("bank", "vault", "{prioritizerPolicy: {mode: Exact, configurations: [{weight: 1, scoreCoordinate: {type: BuiltIn, builtIn: ResourceAllocatableMemory}}]}}") + readsValues,
	} {
		plans[key] = planOf(t, files, fleet.World{
			Time: time.Unix(1e9, 0), Clusters: []clusterv1.ManagedCluster{*edge, *vault},
			ClusterSets: []clusterv1beta2.ManagedClusterSet{*setNamed("edge"), *setNamed("vault")},
		})
	}
	usage := func(c *clusterv1.ManagedCluster) {
		c.Status.Allocatable = clusterv1.ResourceList{"memory": resource.MustParse("1Gi")}
	}
	own := wantedWork(t, plans[retail])
	foreign := func(objects ...fleet.ObjectKey) WorkEvent {
		return WorkEvent{After: &fleet.LiveWork{Cluster: "edge-1", Name: "theirs", Owner: fleet.ApplicationOwner("other", "app"), Objects: objects}}
	}
	inNamespace := metav1.ObjectMeta{Namespace: "retail", Name: "x"}
	for name, row := range map[string]struct {
		change       func(*Changes)
		retail, bank uint64
	}{
		"usage":                {func(c *Changes) { c.cluster(changed(edge, usage)) }, 0, 0},
		"usage that is ranked": {func(c *Changes) { c.cluster(changed(vault, usage)) }, 0, 1},
		"label":                {func(c *Changes) { c.cluster(changed(edge, func(x *clusterv1.ManagedCluster) { x.Labels["a"] = "b" })) }, 1, 0},
		"cluster falls silent": {func(c *Changes) {
			c.cluster(changed(edge, func(x *clusterv1.ManagedCluster) { x.Status.Conditions[0].Status = metav1.ConditionUnknown }))
		}, 1, 0},
		"another set": {func(c *Changes) {
			c.cluster(changed(edge, func(x *clusterv1.ManagedCluster) { x.Labels[clusterv1beta2.ClusterSetLabel] = "vault" }))
		}, 1, 1},
		"new cluster":  {func(c *Changes) { c.cluster(nil, clusterIn("edge-2", "edge")) }, 1, 0},
		"lost cluster": {func(c *Changes) { c.cluster(vault, nil) }, 0, 1},
		"set": {func(c *Changes) {
			c.clusterSet(changed(setNamed("edge"), func(s *clusterv1beta2.ManagedClusterSet) { s.Generation = 2 }))
		}, 1, 0},
		"status of a set": {func(c *Changes) { c.clusterSet(changed(setNamed("edge"), func(*clusterv1beta2.ManagedClusterSet) {})) }, 0, 0},
		"binding": {func(c *Changes) {
			c.inNamespace(nil, &clusterv1beta2.ManagedClusterSetBinding{ObjectMeta: inNamespace})
		}, 1, 0},
		"decision": {func(c *Changes) { c.inNamespace(nil, &clusterv1beta1.PlacementDecision{ObjectMeta: inNamespace}) }, 1, 0},
		"score": {func(c *Changes) {
			s := &clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{Namespace: "edge-1", Name: "usage"}}
			s.Status.Scores = []clusterv1alpha1.AddOnPlacementScoreItem{{Name: "cpu", Value: 1}}
			c.score(nil, s)
		}, 0, 0},
		"status of an application": {func(c *Changes) {
			c.application(changed(&musterv1alpha1.Application{ObjectMeta: inNamespace}, func(a *musterv1alpha1.Application) { a.Status.Revision = "x" }))
		}, 0, 0},
		"approval": {func(c *Changes) {
			c.application(changed(&musterv1alpha1.Application{ObjectMeta: inNamespace}, func(a *musterv1alpha1.Application) {
				a.Annotations = map[string]string{musterv1alpha1.ApprovedPlanAnnotation: "x"}
			}))
		}, 1, 0},
		"values that nobody reads": {func(c *Changes) { c.clusterValues(nil, clusterValuesIn("retail", "")) }, 0, 0},
		"values of all":            {func(c *Changes) { c.clusterValues(nil, clusterValuesIn("muster-system", "")) }, 0, 1},
		"values of the team":       {func(c *Changes) { c.clusterValues(nil, clusterValuesIn("bank", "")) }, 0, 1},
		"values of other clusters": {func(c *Changes) { c.clusterValues(nil, clusterValuesIn("bank", "edge")) }, 0, 0},
		"values that matched": {func(c *Changes) {
			c.clusterValues(changed(clusterValuesIn("bank", "vault"), func(v *musterv1alpha1.ClusterValues) {
				v.Spec, v.Generation = clusterValuesIn("bank", "edge").Spec, 2
			}))
		}, 0, 1},
		"another repository": {func(c *Changes) { c.repository(nil, &musterv1alpha1.FleetRepository{}) }, 1, 1},
		"status of a repository": {func(c *Changes) {
			c.repository(changed(&musterv1alpha1.FleetRepository{}, func(*musterv1alpha1.FleetRepository) {}))
		}, 0, 0},
		"work as planned": {func(c *Changes) { c.work(WorkEvent{After: own}) }, 0, 0},
		"work taken away": {func(c *Changes) { c.work(WorkEvent{Before: own}) }, 1, 0},
		"work edited": {func(c *Changes) {
			edited := *own
			edited.SpecDigest = "x"
			c.work(WorkEvent{Before: own, After: &edited})
		}, 1, 0},
		"another's work":            {func(c *Changes) { c.work(foreign(fleet.ObjectKey{Kind: "ConfigMap", Name: "theirs"})) }, 0, 0},
		"another's work, my object": {func(c *Changes) { c.work(foreign(own.Objects...)) }, 1, 0},
		"account": {func(c *Changes) {
			c.namespace(changed(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bank"}}, func(n *corev1.Namespace) {
				n.Annotations = map[string]string{musterv1alpha1.DefaultServiceAccountAnnotation: "x"}
			}))
		}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := clusterv1beta2.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			c := &Changes{reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(sets...).Build()}
			for key, p := range plans {
				c.Begin(key)
				reads := *p
				r := ReadsOf(&reads, nil)
				reads.World = nil // as the controller leaves it
				c.Settle(key, r)
			}
			row.change(c)
			if r, b := c.Count(retail).Plan, c.Count(bank).Plan; r != row.retail || b != row.bank {
				t.Errorf("counted %d for retail, want %d; %d for bank, want %d", r, row.retail, b, row.bank)
			}
		})
	}
}

// TestEveryChangeCountsWhilePlanning: while a repository is planned nobody knows what the plan will read.
func TestEveryChangeCountsWhilePlanning(t *testing.T) {
	key := types.NamespacedName{Name: "retail"}
	c := &Changes{}
	c.Settle(key, ReadsOf(&plan.Plan{Definitions: &fleet.Definitions{}, World: &fleet.World{}}, nil))
	binding := &clusterv1beta2.ManagedClusterSetBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "bank"}}
	c.inNamespace(nil, binding)
	if n := c.Count(key).Plan; n != 0 {
		t.Fatalf("%d changes of what an empty plan reads", n)
	}
	from := c.Begin(key)
	c.inNamespace(nil, binding)
	if c.Count(key) == from {
		t.Error("a change while the repository is planned does not count")
	}
}

func planOf(t *testing.T, files string, w fleet.World) *plan.Plan {
	t.Helper()
	tree, err := txtar.FS(txtar.Parse([]byte(files)))
	if err != nil {
		t.Fatal(err)
	}
	planner := &plan.Planner{Renderer: render.New(1 << 20)}
	p, err := planner.Build(t.Context(), fleet.Snapshot{Repository: "muster-system/fleet", Revision: "0123456789abcdef", Tree: fleet.TreeOf(tree)}, w)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Faults) > 0 || len(p.Applications) == 0 || len(p.Applications[0].Clusters) != 1 {
		t.Fatalf("the plan is not what the test wants: faults %v", p.Faults)
	}
	return p
}

// wantedWork is the one work of a plan, as it is once it is written.
func wantedWork(t *testing.T, p *plan.Plan) *fleet.LiveWork {
	t.Helper()
	for _, set := range p.Works() {
		lw := LiveWork(set.Works[0])
		return &lw
	}
	t.Fatal("the plan has no works")
	return nil
}
