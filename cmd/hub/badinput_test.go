package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

const everyEdge = `{predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge}}}}]}`

// chart has a template that fails for one size.
const chart = `-- charts/web/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- charts/web/templates/config.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data:
  color: %s
  size: {{ if eq .Values.size %q }}{{ fail "no room for it" }}{{ end }}{{ .Values.size }}
`

func TestBadInputIsNamedAndNothingIsLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge, size: small")+clusterFile("two", "tier: edge, size: large")+
		placementFile("edge", everyEdge)+
		applicationFile("shop", "edge", "manifests/shop", "bad", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red")+
		applicationFile("web", "edge", "charts/web", "bad", `  helm: {values: {size: '${{ label("size") }}'}}`)+fmt.Sprintf(chart, "red", "huge"))
	f.deliver()
	f.join("one")
	f.join("two")
	f.push("")
	f.expectReady("retail/shop")
	f.expectReady("retail/web")
	gone := f.watchDeletions(f.cp.Config(), works, "")

	f.run("a file that does not parse stops only itself, and nothing is pruned", malformedFile)
	f.run("a chart that fails on one cluster goes on to the others", chartFailsOnOneCluster)
	f.run("a placement that names an unknown set keeps the works", unknownSet)
	f.run("an object too large for a work is named", tooLarge)
	f.run("an object that the cluster refuses is named, and the others are applied", refusedObject)
	f.run("a placement that somebody deletes keeps the works", placementIsDeleted)
	if names := gone.list(); len(names) > 0 {
		t.Errorf("works were deleted: %v", names)
	}
	f.run("of two applications that claim one object the first keeps it, until it lets go", claimedObject)
	f.run("an object that is handed over to another work is never deleted", handedOver)
	f.run("the decisions of another scheduler win, and the difference is said", anotherScheduler)
}

func malformedFile(f *theFleet) {
	was := f.application("retail/shop").Status.Revision
	revision := f.push("-- applications/retail/shop/application.yaml --\nkind: Application\nmetadata: {name: shop\n" +
		"-- applications/retail/web/application.yaml --\n" + deleted + "-- placements/edge.yaml --\n" + deleted +
		placementFile("edge2", everyEdge) + applicationFile("other", "edge2", "manifests/other", "bad", "") +
		configMapFile("manifests/other/config.yaml", "other", "color", "green"))
	f.expectHealthy("retail/other", revision, 2)
	f.expectFault("FileMalformed", "applications/retail/shop/application.yaml:")
	f.expectRepository("Planned", metav1.ConditionFalse, "Faults", "applications/retail/shop/application.yaml:")
	f.expectApplication("retail/shop", "Planned", metav1.ConditionFalse, "Waiting", "cannot be read")
	if got := f.application("retail/shop").Status.Revision; got != was {
		f.t.Errorf("shop was planned at %s, which cannot be read", got)
	}
	for _, app := range []string{"retail/shop", "retail/web"} {
		if n := len(f.worksOf(app)); n != 2 {
			f.t.Errorf("%s has %d works, want its 2", app, n)
		}
	}
	if a := f.application("retail/web"); a.Name == "" || a.DeletionTimestamp != nil {
		f.t.Error("the application that no readable file names was pruned")
	}
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "edge"}}
	f.change(p, func() {}) // fails when it was pruned
	f.push(applicationFile("shop", "edge", "manifests/shop", "bad", "") + placementFile("edge", everyEdge) +
		applicationFile("web", "edge", "charts/web", "bad", `  helm: {values: {size: '${{ label("size") }}'}}`))
	f.expectReady("retail/shop")
	f.expectReady("retail/web")
	f.expectRepository("Ready", metav1.ConditionTrue, "Succeeded")
}

func chartFailsOnOneCluster(f *theFleet) {
	f.push(strings.TrimSuffix(fmt.Sprintf(chart, "blue", "large"), "\n") + "\n")
	f.expectData("one", "bad", "web", "color", "blue")
	f.expectRow("retail/web", "two", "Faulty", "RenderFailed", "charts/web/templates/config.yaml:6", "no room for it")
	f.expectFault("RenderFailed", "retail/web", "two", "charts/web/templates/config.yaml:6", "no room for it")
	if got := f.data("two", "bad", "web", "color"); got != "red" {
		f.t.Errorf("the cluster with the fault has color %q, want its last good red", got)
	}
	f.push(fmt.Sprintf(chart, "blue", "huge"))
	f.expectReady("retail/web")
	f.expectData("two", "bad", "web", "color", "blue")
}

func unknownSet(f *theFleet) {
	f.push(placementFile("edge", `{clusterSets: [nowhere]}`))
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "Held", "would leave 2 of 2 clusters")
	f.eventually(func() string {
		if held := f.application("retail/shop").Status.Held; held == nil || held.Deletions != 2 {
			return fmt.Sprintf("held %+v", held)
		}
		return ""
	})
	f.push(placementFile("edge", everyEdge))
	f.expectReady("retail/shop")
	f.eventually(func() string {
		if held := f.application("retail/shop").Status.Held; held != nil {
			return fmt.Sprintf("still held: %+v", held)
		}
		return ""
	})
}

func tooLarge(f *theFleet) {
	f.push(configMapFile("manifests/shop/config.yaml", "shop", "color", strings.Repeat("x", 600<<10)))
	f.expectFault("ManifestTooLarge", "retail/shop", "manifests/shop/config.yaml", "ConfigMap bad/shop", "divide it")
	f.expectRow("retail/shop", "one", "Faulty", "ManifestTooLarge", "500 KiB")
	for _, cluster := range []string{"one", "two"} {
		if got := f.data(cluster, "bad", "shop", "color"); got != "red" {
			f.t.Errorf("%s has color %.10q, want its last good red", cluster, got)
		}
	}
	f.push(configMapFile("manifests/shop/config.yaml", "shop", "color", "red"))
	f.expectReady("retail/shop")
}

func refusedObject(f *theFleet) {
	f.push(configMapFile("manifests/shop/refused.yaml", "refused", `"not a key"`, "red") +
		configMapFile("manifests/shop/config.yaml", "shop", "color", "blue"))
	f.expectRow("retail/shop", "one", "Failed", "ApplyFailed", "ConfigMap bad/refused", "a valid config key must consist of")
	f.expectApplication("retail/shop", "Applied", metav1.ConditionFalse, "Refused")
	f.expectData("one", "bad", "shop", "color", "blue")
	f.expectData("two", "bad", "shop", "color", "blue")
	f.push("-- manifests/shop/refused.yaml --\n" + deleted)
	f.expectReady("retail/shop")
}

// placementIsDeleted: no placement is a fault and not "no clusters". No file has it, so that nobody puts it back.
func placementIsDeleted(f *theFleet) {
	byHand := func() *clusterv1beta1.Placement {
		return &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "by-hand"}}
	}
	f.create(byHand())
	f.push(applicationFile("placed", "by-hand", "manifests/placed", "bad", "") + configMapFile("manifests/placed/config.yaml", "placed", "color", "red"))
	f.expectReady("retail/placed")
	works := f.uids("retail/placed")
	if len(works) != 2 {
		f.t.Fatalf("works %v, want one on each cluster", works)
	}
	if err := f.client.Delete(f.ctx, byHand()); err != nil {
		f.t.Fatal(err)
	}
	const missing = `placement "by-hand" is not in namespace retail`
	f.expectApplication("retail/placed", "Planned", metav1.ConditionFalse, "Faults", missing)
	for _, cluster := range []string{"one", "two"} {
		f.expectRow("retail/placed", cluster, "Faulty", "PlacementMissing", "applications/retail/placed/application.yaml:5", missing)
	}
	f.push("") // nor does a commit take them
	f.expectFault("PlacementMissing", "retail/placed", "applications/retail/placed/application.yaml:5", missing)
	f.create(byHand())
	f.expectReady("retail/placed")
	if now := f.uids("retail/placed"); !equality.Semantic.DeepEqual(works, now) {
		f.t.Errorf("the works are %v, were %v", now, works)
	}
}

// anotherScheduler chooses one cluster where the plan has two.
func anotherScheduler(f *theFleet) {
	revision := f.repo.Commit(strings.Replace(placementFile("theirs", everyEdge), "metadata: {",
		`metadata: {annotations: {`+clusterv1beta1.PlacementDisableAnnotation+`: "true"}, `, 1) +
		applicationFile("theirs", "theirs", "manifests/theirs", "bad", "") + configMapFile("manifests/theirs/config.yaml", "theirs", "color", "red"))
	f.expectRepository("Delivered", metav1.ConditionFalse, "Waiting", "placement retail/theirs to be decided")
	page := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{
		Namespace: "retail", Name: "theirs-1", Labels: map[string]string{clusterv1beta1.PlacementLabel: "theirs"},
	}}
	f.create(page)
	page.Status.Decisions = []clusterv1beta1.ClusterDecision{{ClusterName: "two"}}
	if err := f.client.Status().Update(f.ctx, page); err != nil {
		f.t.Fatal(err)
	}
	f.eventually(func() string {
		p := &clusterv1beta1.Placement{}
		if err := f.client.Get(f.ctx, types.NamespacedName{Namespace: "retail", Name: "theirs"}, p); err != nil {
			return err.Error()
		}
		p.Status.NumberOfSelectedClusters = 1
		meta.SetStatusCondition(&p.Status.Conditions, metav1.Condition{
			Type: clusterv1beta1.PlacementConditionSatisfied, Status: metav1.ConditionTrue, Reason: "Theirs", ObservedGeneration: p.Generation,
		})
		if err := f.client.Status().Update(f.ctx, p); err != nil {
			return err.Error()
		}
		return ""
	})
	f.expectDelivered(revision)
	f.expectRepository("Delivered", metav1.ConditionTrue, "Succeeded", "decided otherwise than planned, and the live decisions win: retail/theirs")
	f.expectReady("retail/theirs")
	for name := range f.worksOf("retail/theirs") {
		if !strings.HasPrefix(name, "two/") {
			f.t.Errorf("work %s, and the other scheduler has chosen two alone", name)
		}
	}
}

func claimedObject(f *theFleet) {
	f.push(applicationFile("a-first", "edge", "manifests/a", "bad", "") + configMapFile("manifests/a/config.yaml", "claimed", "by", "first") +
		applicationFile("b-second", "edge", "manifests/b", "bad", "") + configMapFile("manifests/b/config.yaml", "claimed", "by", "second"))
	f.expectReady("retail/a-first")
	f.expectRow("retail/b-second", "one", "Faulty", "ObjectClaimed", "ConfigMap bad/claimed", "application retail/a-first has it")
	f.expectFault("ObjectClaimed", "retail/b-second", "application retail/a-first has it")
	f.expectData("one", "bad", "claimed", "by", "first")

	f.push("-- manifests/a/config.yaml --\n" + deleted + configMapFile("manifests/a/other.yaml", "unclaimed", "by", "first"))
	f.expectReady("retail/b-second")
	f.expectReady("retail/a-first")
	f.expectData("one", "bad", "claimed", "by", "second")
	f.expectData("two", "bad", "claimed", "by", "second")
	f.expectRepository("Ready", metav1.ConditionTrue, "Succeeded")
}

func handedOver(f *theFleet) {
	large := func(name string, size int) string {
		return configMapFile("manifests/parts/"+name+".yaml", name, "x", strings.Repeat("x", size))
	}
	f.push(applicationFile("parts", "edge", "manifests/parts", "parts", "") + large("a", 20<<10) + large("b", 20<<10) + large("c", 40<<10))
	f.expectReady("retail/parts")
	before := f.partOf("one", "b")
	gone := f.watchDeletions(f.spokes["one"].Config(), schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "parts")
	uid := f.uidOf("one", "b")
	f.push(large("a", 490<<10))
	f.expectReady("retail/parts")
	if after := f.partOf("one", "b"); after == before {
		f.t.Fatalf("b is still in %s: nothing has moved", after)
	}
	if now := f.uidOf("one", "b"); now != uid || len(gone.list()) > 0 {
		f.t.Errorf("b has UID %s, had %s; deleted: %v", now, uid, gone.list())
	}
}

func (f *theFleet) uidOf(cluster, name string) string {
	f.t.Helper()
	var cm corev1.ConfigMap
	f.on(cluster, &cm, "parts", name)
	return string(cm.UID)
}

// partOf is the one work of the cluster that holds a ConfigMap, once only one does.
func (f *theFleet) partOf(cluster, configMap string) string {
	f.t.Helper()
	var holders []string
	f.eventually(func() string {
		holders = nil
		for name, w := range f.worksOf("retail/parts") {
			for _, m := range w.Spec.Workload.Manifests {
				if w.Namespace == cluster && strings.Contains(string(m.Raw[:min(len(m.Raw), 1<<20)]), fmt.Sprintf(`"name":%q`, configMap)) {
					holders = append(holders, name)
				}
			}
		}
		slices.Sort(holders)
		if len(holders) != 1 {
			return fmt.Sprintf("%s is in %v", configMap, holders)
		}
		return ""
	})
	return holders[0]
}
