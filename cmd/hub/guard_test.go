package main

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

func TestDeletionsAreGuarded(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge, site: a")+clusterFile("two", "tier: edge, site: b")+clusterFile("three", "tier: edge, site: c")+
		placementFile("edge", everyEdge)+placementFile("shops", everyEdge)+
		applicationFile("shop", "shops", "manifests/shop", "guard", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red")+
		applicationFile("kept", "edge", "manifests/kept", "guard", "  deletion: {application: Orphan}")+configMapFile("manifests/kept/config.yaml", "kept", "color", "red")+
		applicationFile("data", "edge", "manifests/data", "guard", "")+configMapFile("manifests/data/config.yaml", "data", "color", "red")+protected)
	f.deliver()
	for _, name := range []string{"one", "two", "three"} {
		f.join(name)
	}
	f.push("")
	for _, app := range []string{"retail/shop", "retail/kept", "retail/data"} {
		f.expectCurrent(app)
	}
	f.run("a typo in a predicate is held while updates go on, and the next commit resolves it", typoIsHeld)
	f.run("an approved plan is carried out to its end, once", approvedPlan)
	f.run("a force-push is held like any other commit", forcePush)
	f.run("content that shrinks or becomes empty is held, and one object may go", contentShrinks)
	f.run("a namespace, a volume claim and a definition are not deleted without an approval", protectedKinds)
	f.run("an application that leaves Git is held until it is approved, and leaves its objects where it says so", applicationLeaves)
}

const protected = `-- manifests/data/protected.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: guard-data}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.guard.example.com}
spec:
  group: guard.example.com
  scope: Namespaced
  names: {plural: lamps, singular: lamp, kind: Lamp, listKind: LampList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
`

// expectHeld waits until an application holds that many deletions, with the parts in what it says of them.
func (f *theFleet) expectHeld(key string, n int, parts ...string) *musterv1alpha1.Held {
	f.t.Helper()
	var held *musterv1alpha1.Held
	f.eventually(func() string {
		held = f.application(key).Status.Held
		if n == 0 && held == nil {
			return ""
		}
		if held == nil || int(held.Deletions) != n {
			return fmt.Sprintf("%s holds %+v, want %d deletions", key, held, n)
		}
		return has("held", held.Message+" "+strings.Join(held.Items, " "), parts...)
	})
	return held
}

func typoIsHeld(f *theFleet) {
	gone := f.watchDeletions(f.cp.Config(), works, "")
	only := `{predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge, site: a}}}}]}`
	f.push(placementFile("shops", only) + configMapFile("manifests/shop/config.yaml", "shop", "color", "blue"))
	f.expectHeld("retail/shop", 2, "would leave 2 of 3 clusters", "two", "three", "muster approve --plan")
	f.expectData("one", "guard", "shop", "color", "blue")
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "Held", "would leave 2 of 3 clusters")
	f.expectRow("retail/shop", "two", "Held", "ApprovalNeeded")
	f.push(placementFile("shops", everyEdge))
	f.expectReady("retail/shop")
	f.expectHeld("retail/shop", 0)
	f.expectData("two", "guard", "shop", "color", "blue")
	if names := gone.list(); len(names) > 0 {
		f.t.Errorf("works were deleted: %v", names)
	}
}

func approvedPlan(f *theFleet) {
	f.agents["three"]() // its part of the deletions takes until it is back
	f.push(placementFile("shops", `{predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {site: a}}}}]}`))
	held := f.expectHeld("retail/shop", 2)
	f.approve(f.application("retail/shop"), held)
	f.expectData("two", "guard", "shop", "color", "")
	f.expectHeld("retail/shop", 0)
	f.eventually(func() string { // the work of two outlives its objects by a moment
		if n := len(f.worksOf("retail/shop")); n != 2 {
			return fmt.Sprintf("%d works, want that of one and the one of three that is being deleted", n)
		}
		return ""
	})
	f.startAgent("three")
	f.expectData("three", "guard", "shop", "color", "")
	f.expectReady("retail/shop")
	f.expectData("one", "guard", "shop", "color", "blue")

	// The same mistake later wants an approval of its own.
	f.push(placementFile("shops", everyEdge))
	f.expectHealthy("retail/shop", f.repository().Status.Revision, 3)
	f.push(placementFile("shops", `{predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {site: a}}}}]}`))
	f.expectHeld("retail/shop", 2)
	f.push(placementFile("shops", everyEdge))
	f.expectReady("retail/shop")
}

// forcePush rewrites the history twice: without an application and with a placement that chooses less, then without the placement.
func forcePush(f *theFleet) {
	gone := f.watchDeletions(f.cp.Config(), works, "")
	good := f.repository().Status.Revision
	f.repo.Git("checkout", "--quiet", "--orphan", "rewritten")
	revision := f.repo.Commit("-- applications/retail/kept/application.yaml --\n" + deleted +
		placementFile("shops", `{predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {site: a}}}}]}`))
	f.repo.Git("branch", "--quiet", "--force", "main", "HEAD")
	f.expectDelivered(revision)
	f.expectRepository("Fetched", metav1.ConditionTrue, "HistoryRewritten")
	f.expectRepository("Ready", metav1.ConditionFalse, "Held", "1 application left the repository and runs on clusters")
	f.expectHeld("retail/shop", 2, "would leave 2 of 3 clusters")
	f.repo.Git("checkout", "--quiet", "--orphan", "again")
	f.repo.Commit("-- placements/shops.yaml --\n" + deleted)
	f.repo.Git("branch", "--quiet", "--force", "main", "HEAD")
	f.expectApplication("retail/shop", "Planned", metav1.ConditionFalse, "Faults", "placement \"shops\" is not in namespace retail")
	f.repo.Git("checkout", "--quiet", "main")
	f.repo.Git("reset", "--quiet", "--hard", good)
	f.expectDelivered(good)
	f.expectReady("retail/shop")
	f.expectReady("retail/kept")
	f.expectRepository("Ready", metav1.ConditionTrue, "Succeeded")
	if names := gone.list(); len(names) > 0 {
		f.t.Errorf("works were deleted: %v", names)
	}
}

// contentShrinks takes objects from an application that stays on its clusters.
func contentShrinks(f *theFleet) {
	one, two := configMapFile("manifests/kept/one.yaml", "kept-one", "color", "red"), configMapFile("manifests/kept/two.yaml", "kept-two", "color", "red")
	f.push(one + two)
	f.expectReady("retail/kept")
	gone := f.watchDeletions(f.spokes["one"].Config(), schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "guard")
	f.push("-- manifests/kept/one.yaml --\n" + deleted + "-- manifests/kept/two.yaml --\n" + deleted)
	f.expectHeld("retail/kept", 2, "retail/kept would lose 2 of 4 objects", "ConfigMap guard/kept-one", "muster approve --plan")
	f.push("-- manifests/kept/config.yaml --\n# kind: ConfigMap\n")
	f.expectHeld("retail/kept", 3, "retail/kept would lose all its objects on 3 of 3 clusters, for which its content is empty")
	f.expectRow("retail/kept", "two", "Pending", "ApprovalNeeded", "the content for two is empty: 3 objects would be deleted")
	if names := gone.list(); len(names) > 0 {
		f.t.Errorf("deleted: %v", names)
	}
	f.push(two + configMapFile("manifests/kept/config.yaml", "kept", "color", "red"))
	f.expectReady("retail/kept")
	f.expectHeld("retail/kept", 0)
	f.expectData("one", "guard", "kept-one", "color", "")
	f.push("-- manifests/kept/two.yaml --\n" + deleted)
	held := f.expectHeld("retail/kept", 1, "retail/kept would lose 2 of 4 objects") // the one of before counts
	f.approve(f.application("retail/kept"), held)
	f.expectReady("retail/kept")
	f.expectData("one", "guard", "kept-two", "color", "")
	f.expectData("one", "guard", "kept", "color", "red")
}

func protectedKinds(f *theFleet) {
	f.push("-- manifests/data/protected.yaml --\n" + deleted + configMapFile("manifests/data/config.yaml", "data", "color", "blue"))
	held := f.expectHeld("retail/data", 6, "Namespace guard-data on one", "PersistentVolumeClaim guard/data on two", "protected")
	for _, cluster := range []string{"one", "two", "three"} {
		if !f.on(cluster, &corev1.PersistentVolumeClaim{}, "guard", "data") || !f.on(cluster, &corev1.Namespace{}, "", "guard-data") {
			f.t.Errorf("%s has lost what is protected", cluster)
		}
	}
	f.approve(f.application("retail/data"), held)
	f.expectReady("retail/data")
	f.expectData("one", "guard", "data", "color", "blue")
	f.eventually(func() string {
		var claim corev1.PersistentVolumeClaim
		if f.on("one", &claim, "guard", "data") && claim.DeletionTimestamp == nil {
			return "the claim is still there, although its deletion was approved"
		}
		return ""
	})
	definition := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"}}
	if !f.on("one", definition, "", "lamps.guard.example.com") {
		f.t.Error("the definition is gone: it stays, whatever is approved")
	}
}

func applicationLeaves(f *theFleet) {
	f.push("-- applications/retail/shop/application.yaml --\n" + deleted + "-- applications/retail/kept/application.yaml --\n" + deleted)
	f.eventually(func() string {
		held := f.repository().Status.Held
		if held == nil || held.Deletions != 2 {
			return fmt.Sprintf("the repository holds %+v", held)
		}
		return has("held", held.Message+strings.Join(held.Items, " "), "application retail/shop, on 3 clusters", "application retail/kept, on 3 clusters", "muster approve --plan")
	})
	f.expectApplication("retail/shop", "Planned", metav1.ConditionFalse, "Waiting", "its removal is held")
	if n := len(f.worksOf("retail/shop")); n != 3 {
		f.t.Errorf("%d works, want all 3", n)
	}
	f.agents["three"]()
	f.available("three", false)
	f.expectRow("retail/data", "three", "Offline") // the hub has noticed
	repo := f.repository()
	f.approve(repo, repo.Status.Held)
	f.expectData("two", "guard", "shop", "color", "")
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "Removing", "1 works are left, 1 of them on clusters that do not answer")
	for name, w := range f.worksOf("retail/shop") {
		if w.DeletionTimestamp != nil {
			f.t.Errorf("the deletion of %s was begun, and its cluster cannot hear it", name)
		}
	}
	f.startAgent("three")
	f.available("three", true)
	for _, app := range []string{"retail/shop", "retail/kept"} {
		f.eventually(func() string {
			if a := f.application(app); a.Name != "" {
				return app + " is still there"
			}
			return ""
		})
	}
	for _, cluster := range []string{"one", "two", "three"} {
		f.expectData(cluster, "guard", "shop", "color", "")
		if got := f.data(cluster, "guard", "kept", "color"); got != "red" {
			f.t.Errorf("%s has kept %q, want it left there", cluster, got)
		}
	}
	f.expectRepository("Ready", metav1.ConditionTrue, "Succeeded")
	f.eventually(func() string {
		if a := f.repository().Annotations[musterv1alpha1.ApprovedPlanAnnotation]; a != "" {
			return "the approval is used and still there"
		}
		return ""
	})
}

// TestSmallCommitsAreHeld: each commit takes an application from no more than a tenth of its clusters, the clusters keep up
// with it, and the third is held all the same: by the hub that saw the first ones, and by one that did not.
func TestSmallCommitsAreHeld(t *testing.T) {
	t.Parallel()
	var archive strings.Builder
	name := func(i int) string { return fmt.Sprintf("edge-%02d", i) }
	for i := range 20 {
		archive.WriteString(clusterFile(name(i), "tier: edge"))
	}
	f := newFleet(t, tenant+archive.String()+placementFile("edge", everyEdge)+
		applicationFile("shop", "edge", "manifests/shop", "erosion", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red"))
	f.deliver()
	f.push("")
	for i := range 20 {
		f.available(name(i), true) // without an agent: nothing keeps a work that is deleted
	}
	expectWorks := func(n int) {
		t.Helper()
		f.eventually(func() string {
			if have := len(f.worksOf("retail/shop")); have != n {
				return fmt.Sprintf("%d works, want %d", have, n)
			}
			return ""
		})
	}
	expectWorks(20)
	for i := range 2 {
		f.push(clusterFile(name(i), "tier: none"))
		expectWorks(19 - i)
	}
	f.stop()
	f.startHub()
	f.push(clusterFile(name(2), "tier: none"))
	held := f.expectHeld("retail/shop", 1, "would leave 3 of 20 clusters, 2 of them within the last day and without an approval", name(2))
	expectWorks(18)
	f.approve(f.application("retail/shop"), held)
	expectWorks(17)
	f.eventually(func() string {
		if losses := f.application("retail/shop").Status.RecentRemovals; losses != nil {
			return fmt.Sprintf("%v still counts, and a person has seen it", losses)
		}
		return ""
	})
}
