package main

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestDependsOn: an application changes on a cluster when those that it depends on are ready there with what the same commit asks
// of them, across namespaces where the other side allows it; a cycle is a fault that names it.
func TestDependsOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+placementFile("shops", everyEdge))
	f.deliver()
	f.join("one")
	web := func(version string, spec string) string {
		return applicationFile("web", "shops", "manifests/web", "ordered", spec) + configMapFile("manifests/web/config.yaml", "web", "version", `"`+version+`"`)
	}
	const depends = "  dependsOn: [{name: shop}]"
	f.push(applicationFile("shop", "shops", "manifests/shop", "ordered", "") + serverFile("1") + web("1", depends))
	f.expectRow("retail/web", "one", "Pending DependencyPending", "depends on retail/shop, which is not")
	if f.on("one", &corev1.ConfigMap{}, "ordered", "web") {
		t.Error("it is there before what it depends on is ready")
	}
	f.serverIs("one", "1")
	f.expectHealthy("retail/web", f.repository().Status.Revision, 1)

	revision := f.push(serverFile("2") + web("2", depends))
	f.expectRow("retail/web", "one", "Pending DependencyPending", "depends on retail/shop, which is not")
	f.serverIs("one", "2")
	f.expectHealthy("retail/web", revision, 1)

	f.push(applicationFile("shop", "shops", "manifests/shop", "ordered", "  dependsOn: [{name: web}]"))
	f.expectFault("DependencyCycle", "retail/shop", "retail/shop -> retail/web -> retail/shop")
	f.push(applicationFile("shop", "shops", "manifests/shop", "ordered", "") + web("3", "  dependsOn: [{name: agent, namespace: platform}]"))
	f.expectFault("DependencyMissing", "retail/web", "platform/agent")
}

// TestDependsOnRemovals: an application leaves a cluster after those that depend on it and leave it too, whether a placement drops the cluster or
// both are deleted. One that stays keeps nobody.
func TestDependsOnRemovals(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+clusterFile("two", "tier: edge")+placementFile("shops", everyEdge))
	f.deliver()
	f.join("one")
	f.join("two")
	const free = "  deletionGuard: {maxClusterPercent: 100}"
	shop := applicationFile("shop", "shops", "manifests/shop", "reversed", free) + configMapFile("manifests/shop/config.yaml", "shop", "version", "one")
	web := func(depends string) string {
		return applicationFile("web", "shops", "manifests/web", "reversed", free+depends) + configMapFile("manifests/web/config.yaml", "web", "version", "one")
	}
	f.push(shop + web("\n  dependsOn: [{name: shop}]"))
	f.expectReady("retail/web")
	stays := func(cluster string, yes bool) { // something on the cluster keeps what the dependent has
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "reversed", Name: "web"}}
		f.edit(cluster, config, func() {
			config.Finalizers = nil
			if yes {
				config.Finalizers = []string{"example.com/stays"}
			}
		})
	}
	const waits = "retail/web depends on it, and goes from here first"

	stays("one", true)
	f.push(clusterFile("one", "tier: core"))
	f.expectRow("retail/shop", "one", "Pending DependentsPending", waits)
	f.expectRow("retail/web", "one", "Pending Removing", "ConfigMap", "reversed/web", "example.com/stays")
	if got := f.data("one", "reversed", "shop", "version"); got != "one" {
		t.Errorf("shop has left one before what depends on it: version %q", got)
	}
	stays("one", false)
	f.expectData("one", "reversed", "shop", "version", "")

	stays("two", true)
	f.push("-- applications/retail/shop/application.yaml --\n" + deleted + "-- applications/retail/web/application.yaml --\n" + deleted)
	f.approveLeaving("application retail/shop, on 1 clusters", "application retail/web, on 1 clusters")
	f.expectApplication("retail/shop", "Ready", metav1.ConditionFalse, "Removing", waits)
	f.expectApplication("retail/web", "Ready", metav1.ConditionFalse, "Removing", "reversed/web", "example.com/stays")
	if got := f.data("two", "reversed", "shop", "version"); got != "one" {
		t.Errorf("shop has left two before what depends on it: version %q", got)
	}
	stays("two", false)
	f.expectData("two", "reversed", "shop", "version", "")
	f.expectGone("retail/shop")

	f.push(shop + web("\n  dependsOn: [{name: shop}]"))
	f.expectReady("retail/web")
	f.push("-- applications/retail/shop/application.yaml --\n" + deleted)
	f.approveLeaving("application retail/shop, on 1 clusters")
	f.expectGone("retail/shop")
	f.expectData("two", "reversed", "web", "version", "one")
}

// serverIs waits for a version of the Deployment of serverFile, and says that it does well.
func (f *theFleet) serverIs(cluster, version string) {
	f.t.Helper()
	c, err := client.New(f.spokes[cluster].Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.eventually(func() string {
		var d appsv1.Deployment
		if !f.on(cluster, &d, "ordered", "server") {
			return "there is no server"
		}
		var config corev1.ConfigMap
		if !f.on(cluster, &config, "ordered", "shop") || config.Data["version"] != version {
			return fmt.Sprintf("%s does not have version %s", cluster, version)
		}
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
			Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "Test", LastUpdateTime: metav1.Now(), LastTransitionTime: metav1.Now()}}}
		if err := c.Status().Update(f.ctx, &d); err != nil {
			return err.Error()
		}
		return ""
	})
}
