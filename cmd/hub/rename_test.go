package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// An application is renamed by its file: muster.dev/moved-from says what it was. Nothing is deleted on clusters.
func TestApplicationsAreRenamed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge, site: a")+clusterFile("two", "tier: edge, site: b")+placementFile("edge", everyEdge)+
		applicationFile("shop", "edge", "manifests/shop", "moved", ignored)+settings("a: red, b: blue, token: first")+
		configMapFile("manifests/shop/other.yaml", "other", "color", "red"))
	f.deliver()
	f.join("one")
	f.join("two")
	f.push("")
	f.expectReady("retail/shop")
	f.run("one that is still defined is no former name", stillDefined)
	f.run("what changes with the name changes, what it does not set any more goes, and no object is made anew", renamedWithChanges)
	f.run("a cluster that is away while the name changes twice keeps its objects", renamedWhileAway)
	f.run("a rename that takes a cluster away is held like any other commit", renamedAndLess)
}

// ignored is left to the cluster once it is there, whatever the name of the application.
const ignored = "  sync: {ignore: [{kind: ConfigMap, name: settings, jsonPointers: [/data/token]}]}"

// renamed is an application file that says what it was.
func renamed(name, before, placement string) string {
	file := applicationFile(name, placement, "manifests/shop", "moved", ignored)
	return strings.Replace(file, "namespace: retail}", fmt.Sprintf("namespace: retail, annotations: {muster.dev/moved-from: %s}}", before), 1)
}

func without(application string) string {
	return "-- applications/retail/" + application + "/application.yaml --\n" + deleted
}

func settings(data string) string {
	return "-- manifests/shop/settings.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {" + data + "}\n"
}

// objectsOfShop are the UIDs of what the application has on a cluster.
func (f *theFleet) objectsOfShop(cluster string) map[string]types.UID {
	f.t.Helper()
	uids := map[string]types.UID{}
	for _, name := range []string{"settings", "other"} {
		var cm corev1.ConfigMap
		f.on(cluster, &cm, "moved", name)
		uids[name] = cm.UID
	}
	return uids
}

func (f *theFleet) expectSameObjects(cluster string, before map[string]types.UID) {
	f.t.Helper()
	for name, uid := range f.objectsOfShop(cluster) {
		if uid == "" || uid != before[name] {
			f.t.Errorf("ConfigMap %s on %s has UID %q, had %q", name, cluster, uid, before[name])
		}
	}
}

// expectGone waits until an application is not on the hub any more, nor any work of it.
func (f *theFleet) expectGone(key string) {
	f.t.Helper()
	f.eventually(func() string {
		namespace, name, _ := strings.Cut(key, "/")
		err := f.client.Get(f.ctx, types.NamespacedName{Namespace: namespace, Name: name}, &musterv1alpha1.Application{})
		if n := len(f.worksOf(key)); !apierrors.IsNotFound(err) || n > 0 {
			return fmt.Sprintf("%s is there, with %d works", key, n)
		}
		return ""
	})
}

func (f *theFleet) watchShop(cluster string) *deletions {
	f.t.Helper()
	return f.watchDeletions(f.spokes[cluster].Config(), schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "moved")
}

func stillDefined(f *theFleet) {
	f.push(renamed("store", "shop", "edge"))
	f.expectFault("RenameInvalid", "retail/store", "applications/retail/store/application.yaml:3", "muster.dev/moved-from: shop",
		"still defined at applications/retail/shop/application.yaml:1")
	f.expectApplication("retail/store", "Ready", metav1.ConditionFalse, "Faults", "still defined")
	f.push(without("store"))
	f.expectReady("retail/shop")
	f.expectGone("retail/store")
}

func renamedWithChanges(f *theFleet) {
	before := map[string]map[string]types.UID{"one": f.objectsOfShop("one"), "two": f.objectsOfShop("two")}
	gone := []*deletions{f.watchShop("one"), f.watchShop("two")}
	f.push(without("shop") + renamed("store", "shop", "edge") + settings("a: green, token: second"))
	f.expectReady("retail/store")
	f.expectGone("retail/shop")
	f.expectRepository("Ready", metav1.ConditionTrue, "Succeeded")
	for _, cluster := range []string{"one", "two"} {
		f.expectData(cluster, "moved", "settings", "a", "green")
		f.expectData(cluster, "moved", "settings", "b", "")
		f.expectData(cluster, "moved", "settings", "token", "first")
		f.expectSameObjects(cluster, before[cluster])
		f.expectOneManager(cluster, "settings")
	}
	for _, d := range gone {
		if names := d.list(); len(names) > 0 {
			f.t.Errorf("deleted on clusters: %v", names)
		}
	}
}

// expectOneManager waits until an object is held by no application that was.
func (f *theFleet) expectOneManager(cluster, name string) {
	f.t.Helper()
	f.eventually(func() string {
		var cm corev1.ConfigMap
		f.on(cluster, &cm, "moved", name)
		var managers []string
		for _, m := range cm.ManagedFields {
			if strings.HasPrefix(m.Manager, "work-agent-") && !slices.Contains(managers, m.Manager) {
				managers = append(managers, m.Manager)
			}
		}
		if len(managers) != 1 || len(cm.OwnerReferences) != 1 {
			return fmt.Sprintf("ConfigMap %s on %s is held by %v and owned by %v", name, cluster, managers, cm.OwnerReferences)
		}
		return ""
	})
}

func renamedWhileAway(f *theFleet) {
	before, gone := f.objectsOfShop("two"), f.watchShop("two")
	f.agents["two"]()
	f.available("two", false)
	f.expectRow("retail/store", "two", "Offline")
	f.push(without("store") + renamed("market", "store", "edge") + settings("a: white, token: third"))
	f.expectData("one", "moved", "settings", "a", "white")
	f.expectRow("retail/market", "two", "Offline")
	f.push(without("market") + renamed("bazaar", "market", "edge") + settings("a: black, token: third"))
	f.expectData("one", "moved", "settings", "a", "black")
	f.expectRow("retail/bazaar", "two", "Offline")
	f.eventually(func() string {
		return says(f.repository().Status.Conditions, "Delivered", metav1.ConditionTrue, "Succeeded",
			"renamed, and not everywhere yet", "retail/store to retail/bazaar")
	})
	if got := f.data("two", "moved", "settings", "a"); got != "green" {
		f.t.Errorf("the cluster that is away has %q", got)
	}
	f.available("two", true)
	f.startAgent("two")
	f.expectReady("retail/bazaar")
	f.expectGone("retail/store")
	f.expectGone("retail/market")
	f.expectData("two", "moved", "settings", "a", "black")
	f.expectData("two", "moved", "settings", "token", "first")
	f.expectSameObjects("two", before)
	f.expectOneManager("two", "settings")
	if names := gone.list(); len(names) > 0 {
		f.t.Errorf("deleted: %v", names)
	}
}

func renamedAndLess(f *theFleet) {
	only := `{predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {tier: edge, site: a}}}}]}`
	f.push(without("bazaar") + renamed("shop", "bazaar", "some") + placementFile("some", only))
	held := f.expectHeld("retail/shop", 1, "would leave 1 of 2 clusters", "two")
	f.expectData("two", "moved", "settings", "a", "black")
	f.approve(f.application("retail/shop"), held)
	f.expectData("two", "moved", "settings", "a", "")
	f.expectReady("retail/shop")
	f.expectGone("retail/bazaar")
	f.expectData("one", "moved", "settings", "a", "black")
}
