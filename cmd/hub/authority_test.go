package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/test"
)

// team is what examples/fleet-repo gives the team retail: an account that may write applications and placements in its namespace.
const team = `-- tenants/retail/rbac.yaml --
apiVersion: v1
kind: ServiceAccount
metadata: {name: repository, namespace: retail}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: deliver, namespace: retail}
rules:
- apiGroups: [muster.dev]
  resources: [applications]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [cluster.open-cluster-management.io]
  resources: [placements]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [cluster.open-cluster-management.io]
  resources: [placementdecisions, managedclustersetbindings]
  verbs: [get, list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deliver, namespace: retail}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: deliver}
subjects:
- {kind: ServiceAccount, name: repository, namespace: retail}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: hub, namespace: retail}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "muster:repositories"}
subjects:
- {kind: ServiceAccount, name: muster-hub, namespace: muster-system}
`

func TestAuthority(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+team+clusterFile("one", "tier: edge")+placementFile("edge", everyEdge)+
		other)
	f.deliver()
	f.push("")
	f.available("one", true)
	tenants := f.tenantRepository(escape)
	f.run("a tenant's repository writes what its account may, and no more", func(f *theFleet) { tenantIsBounded(f, tenants) })
	f.run("where the hub may not act as the account it says what to bind", func(f *theFleet) { unboundNamespace(f, tenants) })
	f.run("an object of another owner is taken over only where its owner allows it", func(f *theFleet) { takeOver(f, tenants) })
	f.run("the marks of a repository that is gone bind nobody", func(f *theFleet) { marksOfNobody(f, tenants) })
	f.run("a person's denial is not taken back by Git", denial)
	f.run("the taints of Git, of a person and of the hub stay side by side", taintsMerge)
	f.run("a cluster from Git is unreachable from its first moment on", bornUnreachable)
	f.run("a namespace that leaves Git is released and not deleted", namespaceIsReleased)
}

// other is a namespace with clusters, and none of the tenant's.
const other = `-- tenants/other.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: edge, namespace: other}
spec: {clusterSet: edge}
`

// tenantRepository is a second FleetRepository, in namespace retail.
func (f *theFleet) tenantRepository(archive string) *test.Repository {
	f.t.Helper()
	repo := test.NewRepository(f.t, archive)
	f.create(&musterv1alpha1.FleetRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shops"},
		Spec: musterv1alpha1.FleetRepositorySpec{
			URL: "file://" + repo.Dir, Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "repository",
			Interval: metav1.Duration{Duration: 1e9},
		},
	})
	return repo
}

// expectFaultOf waits for a fault of any repository, described as reason, file:line, message.
func (f *theFleet) expectFaultOf(key types.NamespacedName, parts ...string) {
	f.t.Helper()
	f.eventually(func() string {
		var r musterv1alpha1.FleetRepository
		if err := f.client.Get(f.ctx, key, &r); err != nil {
			return err.Error()
		}
		var all []string
		for _, fault := range r.Status.Faults {
			text := fmt.Sprintf("%s %s:%d %s", fault.Reason, fault.File, fault.Line, fault.Message)
			if has("", text, parts...) == "" {
				return ""
			}
			all = append(all, text)
		}
		return fmt.Sprintf("no fault with %q among %q; conditions %v", parts, all, r.Status.Conditions)
	})
}

var shops = types.NamespacedName{Namespace: "retail", Name: "shops"}

// escape is a tenant's repository that wants more than it may.
var escape = applicationFile("shop", "own", "manifests/shop", "shop", "") + configMapFile("manifests/shop/config.yaml", "shop", "color", "red") +
	placementFile("own", everyEdge) + `-- tenants/escape.yaml --
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: escape}
rules: []
---
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: escape, namespace: other}
spec: {}
---
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: escape, namespace: other}
spec:
  placementRef: {name: escape}
  source: {path: 'manifests/${{ label("tells-the-name-of-the-cluster") }}'}
  destination: {namespace: other}
`

func tenantIsBounded(f *theFleet, tenants *test.Repository) {
	f.expectFaultOf(shops, "Forbidden", "tenants/escape.yaml:1", "ClusterRole escape", "retail/repository")
	f.expectFaultOf(shops, "Forbidden", "tenants/escape.yaml:6", "Placement other/escape", "retail/repository")
	f.expectFaultOf(shops, "Forbidden", "tenants/escape.yaml:11", "Application other/escape", "retail/repository")
	f.eventually(func() string {
		if a := f.application("retail/shop"); a.Name == "" {
			return "the application was not delivered"
		}
		return ""
	})
	var p clusterv1beta1.Placement
	if err := f.client.Get(f.ctx, types.NamespacedName{Namespace: "other", Name: "escape"}, &p); err == nil {
		f.t.Error("the tenant has written into another namespace")
	}
	var role rbacv1.ClusterRole
	if err := f.client.Get(f.ctx, types.NamespacedName{Name: "escape"}, &role); err == nil {
		f.t.Error("the tenant has written a cluster-scoped object")
	}
	f.eventually(func() string {
		if len(f.worksOf("retail/shop")) != 1 {
			return "the tenant's application has no work"
		}
		return ""
	})
	revision := tenants.Commit("") // planned now that placements choose the cluster
	var repo musterv1alpha1.FleetRepository
	f.eventually(func() string {
		if err := f.client.Get(f.ctx, shops, &repo); err != nil {
			return err.Error()
		}
		if repo.Status.Revision != revision {
			return "the tenant's commit is not delivered"
		}
		return ""
	})
	for _, fault := range repo.Status.Faults {
		if fault.Cluster != "" {
			f.t.Errorf("the tenant learns of cluster %s, where it has no application: %s", fault.Cluster, fault.Message)
		}
	}
}

func unboundNamespace(f *theFleet, repo *test.Repository) {
	f.create(&musterv1alpha1.FleetRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "unbound"},
		Spec: musterv1alpha1.FleetRepositorySpec{
			URL: "file://" + repo.Dir, Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "default",
			Interval: metav1.Duration{Duration: 1e9},
		},
	})
	f.expectFaultOf(types.NamespacedName{Namespace: "other", Name: "unbound"}, "Forbidden",
		"the hub may not act as service account other/default", "bind ClusterRole muster:repositories to service account muster-system/muster-hub in namespace other")
}

func takeOver(f *theFleet, tenants *test.Repository) {
	tenants.Commit(placementFile("edge", `{numberOfClusters: 1}`))
	f.expectFaultOf(shops, "OwnedElsewhere", "placements/edge.yaml:1", "repository muster-system/fleet has it", "muster.dev/allow-takeover-by=retail/shops")
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "edge"}}
	f.change(p, func() {})
	if p.Spec.NumberOfClusters != nil {
		f.t.Fatal("the tenant has changed a placement of the root repository")
	}
	f.annotate(p, musterv1alpha1.TakeOverAnnotation, "retail/shops")
	f.eventually(func() string {
		f.change(p, func() {})
		if p.Spec.NumberOfClusters == nil || p.Annotations[musterv1alpha1.RepositoryAnnotation] != "retail/shops" {
			return "the placement is not taken over"
		}
		return ""
	})
	f.expectFault("OwnedElsewhere", "placements/edge.yaml", "repository retail/shops has it")
	f.push("-- placements/edge.yaml --\n" + deleted)
	f.expectRepository("Ready", metav1.ConditionTrue, "Succeeded")
	f.change(p, func() {}) // the repository that has let go does not take it away
}

// marksOfNobody: a repository was deleted after its account had lost its rights, and could not take its marks off.
func marksOfNobody(f *theFleet, tenants *test.Repository) {
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{
		Namespace: "retail", Name: "left", Annotations: map[string]string{musterv1alpha1.RepositoryAnnotation: "retail/gone"},
	}}
	f.create(p)
	tenants.Commit(placementFile("left", `{numberOfClusters: 1}`))
	f.eventually(func() string {
		f.change(p, func() {})
		if p.Spec.NumberOfClusters == nil || p.Annotations[musterv1alpha1.RepositoryAnnotation] != "retail/shops" {
			return "the placement is not taken over"
		}
		return ""
	})
}

func (f *theFleet) cluster(name string) *clusterv1.ManagedCluster {
	f.t.Helper()
	var c clusterv1.ManagedCluster
	if err := f.client.Get(f.ctx, types.NamespacedName{Name: name}, &c); err != nil {
		f.t.Fatal(err)
	}
	return &c
}

func denial(f *theFleet) {
	f.eventually(func() string {
		if !meta.IsStatusConditionTrue(f.cluster("one").Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) {
			return "the cluster is not accepted"
		}
		return ""
	})
	c := f.cluster("one")
	f.change(c, func() { c.Spec.HubAcceptsClient = false })
	f.expectFault("OwnedElsewhere", "ManagedCluster one", "a person has denied the cluster", "muster accept one")
	f.push(clusterFile("one", "tier: edge, site: a"))
	f.eventually(func() string {
		if f.cluster("one").Labels["site"] != "a" {
			return "the labels of a denied cluster do not follow"
		}
		return ""
	})
	if f.cluster("one").Spec.HubAcceptsClient {
		f.t.Error("Git has accepted the cluster again")
	}
	c = f.cluster("one")
	f.change(c, func() { c.Spec.HubAcceptsClient = true })
	f.expectRepository("Ready", metav1.ConditionTrue, "Succeeded")
}

func taintsMerge(f *theFleet) {
	taints := func(want ...string) {
		f.t.Helper()
		f.eventually(func() string {
			var have []string
			for _, t := range f.cluster("one").Spec.Taints {
				have = append(have, t.Key)
			}
			if fmt.Sprint(have) != fmt.Sprint(want) {
				return fmt.Sprintf("taints %v, want %v", have, want)
			}
			return ""
		})
	}
	withTaints := func(list string) string {
		return clusterFile("one", "tier: edge, site: a") + "  taints: " + list + "\n"
	}
	f.push(withTaints("[{key: git.example.com/a, effect: NoSelect}, {key: git.example.com/b, effect: NoSelect}]"))
	taints("git.example.com/a", "git.example.com/b")
	f.available("one", false)
	taints("cluster.open-cluster-management.io/unreachable", "git.example.com/a", "git.example.com/b")
	c := f.cluster("one")
	f.change(c, func() {
		c.Spec.Taints = append(c.Spec.Taints, clusterv1.Taint{Key: "person.example.com/x", Effect: clusterv1.TaintEffectNoSelect, TimeAdded: clusterv1.TaintTime{Time: metav1.Now()}})
	})
	f.push(withTaints("[{key: git.example.com/c, effect: NoSelect}, {key: git.example.com/a, effect: NoSelect}]"))
	taints("cluster.open-cluster-management.io/unreachable", "git.example.com/a", "git.example.com/c", "person.example.com/x")
	f.available("one", true)
	taints("git.example.com/a", "git.example.com/c", "person.example.com/x")
	f.push(clusterFile("one", "tier: edge, site: a"))
	taints("person.example.com/x")
}

// bornUnreachable: a placement that is decided before the hub has looked at a new cluster must not choose it.
func bornUnreachable(f *theFleet) {
	c, err := dynamic.NewForConfig(f.hubConfig())
	if err != nil {
		f.t.Fatal(err)
	}
	clusters := c.Resource(clusterv1.GroupVersion.WithResource("managedclusters"))
	list, err := clusters.List(f.ctx, metav1.ListOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(f.ctx, patience)
	defer cancel()
	w, err := clusters.Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion(), FieldSelector: "metadata.name=late"})
	if err != nil {
		f.t.Fatal(err)
	}
	defer w.Stop()
	f.push(clusterFile("late", "tier: edge") + "  taints: [{key: git.example.com/a, effect: NoSelect}]\n")
	arrived := false
	for e := range w.ResultChan() {
		o, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			f.t.Fatalf("the watch ended with %v", e.Object)
		}
		taints, _, _ := unstructured.NestedSlice(o.Object, "spec", "taints")
		if text := fmt.Sprint(taints); !strings.Contains(text, clusterv1.ManagedClusterTaintUnreachable) || !strings.Contains(text, "git.example.com/a") {
			f.t.Errorf("%s, with labels %v, it has the taints %v", e.Type, o.GetLabels(), taints)
		}
		if arrived = o.GetLabels()["tier"] == "edge"; arrived {
			break
		}
	}
	if !arrived {
		f.t.Fatalf("the watch ended before the cluster was as Git has it\n%s", f.describe())
	}
	f.push("-- clusters/late.yaml --\n" + deleted)
}

func namespaceIsReleased(f *theFleet) {
	namespace := func() *corev1.Namespace {
		var n corev1.Namespace
		if err := f.client.Get(f.ctx, types.NamespacedName{Name: "other"}, &n); err != nil {
			f.t.Fatal(err)
		}
		return &n
	}
	before := namespace()
	if before.Labels[musterv1alpha1.OwnerLabel] == "" || before.Annotations[musterv1alpha1.RepositoryAnnotation] != "muster-system/fleet" {
		f.t.Fatalf("the namespace has no marks: %v %v", before.Labels, before.Annotations)
	}
	f.push("-- tenants/other.yaml --\n" + deleted)
	f.eventually(func() string {
		n := namespace()
		if n.UID != before.UID || n.DeletionTimestamp != nil {
			f.t.Fatalf("it was deleted: %+v", n.ObjectMeta)
		}
		if n.Labels[musterv1alpha1.OwnerLabel] != "" || n.Annotations[musterv1alpha1.RepositoryAnnotation] != "" {
			return fmt.Sprintf("it has the marks of the repository: %v %v", n.Labels, n.Annotations)
		}
		return ""
	})
}
