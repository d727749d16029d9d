package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	addonv1beta1 "github.com/muster-io/muster/api/addon/v1beta1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub"
	hubaddon "github.com/muster-io/muster/internal/hub/addon"
)

// addonControllers run alone in these tests, beside real work agents.
var addonControllers = []string{"addon-install", "addon-configuration", "addon-deploy", "addon-feature"}

// TestAddOnAlone: a hub with the controllers of add-ons and no other, and real agents: a placement installs an add-on with a template, its
// objects are applied with the cluster's own values, its health follows the Deployment, an edit goes on, and it goes in order.
func TestAddOnAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "", func(o *Options) { o.Controllers, o.LocalRepositories = addonControllers, nil })
	for _, name := range []string{"one", "two"} {
		f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		f.create(&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}})
		c, err := client.New(f.join(name).Config(), client.Options{Scheme: Scheme()})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Create(f.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "addon-mirror"}}); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	f.decide("muster-system", "edge", "one", "two")
	f.create(mirrorTemplate(t, "1"))
	f.create(&addonv1alpha1.AddOnDeploymentConfig{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "mirror"},
		Spec: addonv1alpha1.AddOnDeploymentConfigSpec{
			AgentInstallNamespace: "addon-mirror", CustomizedVariables: []addonv1alpha1.CustomizedVariable{{Name: "LEVEL", Value: `de"bug`}},
			Registries: []addonv1alpha1.ImageMirror{{Source: "quay.io/mirror", Mirror: "registry.local/mirror"}},
		},
	})
	f.create(mirrorAddOn("edge"))

	mca := func(cluster string) *addonv1alpha1.ManagedClusterAddOn { return f.addOn(cluster, "mirror") }
	runs := func(cluster, version string) {
		f.deployed(cluster, "addon-mirror", "registry.local/mirror/server:"+version, true)
	}
	runs("one", "1")
	f.expectAddOn("one", "mirror", addonv1alpha1.ConditionAvailable, "True ProbeAvailable")
	f.expectAddOn("one", "mirror", addonv1alpha1.ConditionManifestApplied, "True AddonManifestApplied")
	f.expectAddOn("one", "mirror", addonv1alpha1.ConditionProgressing, "False Completed")
	f.expectAddOn("two", "mirror", addonv1alpha1.ConditionAvailable, "False ProbeUnavailable")
	f.expectFeature("one", "mirror", "available")
	f.expectFeature("two", "mirror", "unhealthy")
	runs("two", "1")
	f.expectAddOn("two", "mirror", addonv1alpha1.ConditionAvailable, "True ProbeAvailable")
	f.expectFeature("two", "mirror", "available")

	server := &appsv1.Deployment{}
	if !f.on("two", server, "addon-mirror", "server") {
		t.Fatal("the Deployment is not on two")
	}
	container := server.Spec.Template.Spec.Containers[0]
	if container.Image != "registry.local/mirror/server:1" {
		t.Errorf("image %s is not that of the mirror", container.Image)
	}
	got := map[string]string{}
	for _, e := range container.Env {
		got[e.Name] = e.Value
	}
	for name, want := range map[string]string{"CLUSTER_NAME": "two", "INSTALL_NAMESPACE": "addon-mirror", "LEVEL": `de"bug`, "HUB_KUBECONFIG": "/managed/hub-kubeconfig/kubeconfig"} {
		if got[name] != want {
			t.Errorf("environment %s=%q, want %q", name, got[name], want)
		}
	}
	f.eventually(func() string {
		return has("the progress of the placement", f.progress("mirror"), "Completed: 2/2 completed with no errors")
	})
	if configs := mca("one").Status.ConfigReferences; len(configs) != 2 || configs[0].LastAppliedConfig == nil || *configs[0].LastAppliedConfig != *configs[0].DesiredConfig {
		t.Errorf("configurations of one are %+v", configs)
	}

	edited := mirrorTemplate(t, "2")
	if err := f.client.Patch(f.ctx, edited, client.RawPatch(types.MergePatchType, encoded(t, map[string]any{"spec": edited.Spec}))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		runs(name, "2")
	}
	f.eventually(func() string {
		return has("the progress of the placement", f.progress("mirror"), "Completed: 2/2 completed with no errors")
	})

	for _, name := range []string{"one", "two"} {
		if works := f.works(name); len(works) != 1 || works[0].Name != "addon-mirror-deploy-0" || works[0].Generation != 2 {
			t.Errorf("%s has %d works; want one that was written twice: %+v", name, len(works), works)
		}
	}

	f.decide("muster-system", "edge", "two")
	f.eventually(func() string {
		if f.addOn("one", "mirror") != nil || len(f.works("one")) > 0 || f.on("one", &appsv1.Deployment{}, "addon-mirror", "server") {
			return "the add-on is still on one, which the placement has left"
		}
		return ""
	})
	f.expectFeature("one", "mirror", "")
	if err := f.client.Delete(f.ctx, mirrorAddOn("edge")); err != nil {
		t.Fatal(err)
	}
	f.eventually(func() string {
		err := f.client.Get(f.ctx, client.ObjectKey{Name: "mirror"}, &addonv1alpha1.ClusterManagementAddOn{})
		if !apierrors.IsNotFound(err) || f.addOn("two", "mirror") != nil || len(f.works("two")) > 0 {
			return "the add-on is still there"
		}
		return ""
	})
}

// expectFeature waits for the label by which placements select clusters that have an add-on; "" is none.
func (f *theFleet) expectFeature(cluster, name, want string) {
	f.t.Helper()
	f.eventually(func() string {
		c := &clusterv1.ManagedCluster{}
		if err := f.client.Get(f.ctx, client.ObjectKey{Name: cluster}, c); err != nil {
			return err.Error()
		}
		if got := c.Labels[addonv1alpha1.FeatureLabelPrefix+name]; got != want {
			return fmt.Sprintf("the label of add-on %s on cluster %s is %q, want %q", name, cluster, got, want)
		}
		return ""
	})
}

// TestAddOnVersions: clients of both versions at once, while certificates are replaced every few seconds and the authority once.
func TestAddOnVersions(t *testing.T) {
	t.Parallel()
	f := newFleetOn(t, controlplane.Options{Name: "versions"}, "", func(o *Options) {
		o.Controllers, o.LocalRepositories = addonControllers, nil
		o.ConversionAddress, o.conversionLife = "127.0.0.1:0", 6*time.Second
	})
	scheme := Scheme()
	if err := addonv1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	beta, err := client.New(f.cp.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	f.create(mirrorAddOn())
	f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "one"}})
	authorities := func() int {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := f.client.Get(f.ctx, client.ObjectKey{Name: hubaddon.Converted[0]}, crd); err != nil {
			t.Fatal(err)
		}
		if c := crd.Spec.Conversion; c != nil && c.Webhook != nil {
			return strings.Count(string(c.Webhook.ClientConfig.CABundle), "BEGIN CERTIFICATE")
		}
		return 0
	}
	look := func() string {
		cma := &addonv1beta1.ClusterManagementAddOn{}
		if err := beta.Get(f.ctx, client.ObjectKey{Name: "mirror"}, cma); err != nil {
			return err.Error()
		}
		if d := cma.Spec.DefaultConfigs; len(d) != 2 || d[0].Name != "mirror-template" {
			return fmt.Sprintf("as v1beta1 it has default configurations %+v", d)
		}
		return ""
	}
	f.eventually(look) // not served before the definition names the hub
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: hub.ConversionSecret}}
	if err := f.client.Delete(f.ctx, secret); err != nil {
		t.Fatal(err)
	}
	f.eventually(func() string {
		if n := authorities(); n != 2 {
			return fmt.Sprintf("%d authorities are trusted", n)
		}
		return ""
	})
	f.eventually(look)
	added := &addonv1beta1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{
		Namespace: "one", Name: "mirror", Annotations: map[string]string{addonv1alpha1.InstallNamespaceAnnotation: "edge"},
	}}
	if err := beta.Create(f.ctx, added); err != nil {
		t.Fatal(err)
	}
	if mca := f.addOn("one", "mirror"); mca == nil || mca.Spec.InstallNamespace != "edge" {
		t.Errorf("as v1alpha1 it is %+v", mca)
	}
}

// inGit is add-on mirror in a fleet repository, on the clusters of placement retail/edge, and says who it greets.
func inGit(whom string) string {
	return `-- addons/mirror.yaml --
apiVersion: addon.open-cluster-management.io/v1alpha1
kind: ClusterManagementAddOn
metadata: {name: mirror}
spec:
  supportedConfigs:
  - {group: addon.open-cluster-management.io, resource: addontemplates, defaultConfig: {name: mirror-1}}
  - {group: addon.open-cluster-management.io, resource: addondeploymentconfigs, defaultConfig: {namespace: muster-system, name: mirror}}
  installStrategy: {type: Placements, placements: [{namespace: retail, name: edge}]}
---
apiVersion: addon.open-cluster-management.io/v1alpha1
kind: AddOnTemplate
metadata: {name: mirror-1}
spec:
  addonName: mirror
  agentSpec:
    workload:
      manifests:
      - apiVersion: v1
        kind: ConfigMap
        metadata: {name: addon-in-git, namespace: default}
        data: {of: "{{CLUSTER_NAME}}", greets: "{{WHOM}}"}
      - apiVersion: batch/v1
        kind: Job
        metadata: {name: addon-in-git-bye, namespace: default, annotations: {addon.open-cluster-management.io/addon-pre-delete: ""}}
        spec: {template: {spec: {restartPolicy: Never, containers: [{name: bye, image: "bye:{{WHOM}}"}]}}}
---
apiVersion: addon.open-cluster-management.io/v1alpha1
kind: AddOnDeploymentConfig
metadata: {name: mirror, namespace: muster-system}
spec:
  agentInstallNamespace: default
  customizedVariables: [{name: WHOM, value: ` + whom + `}]
`
}

// TestAddOnInTheRepository: a push installs an add-on on the clusters that a placement chooses, another one changes it, and when its file
// is gone it is taken from them.
func TestAddOnInTheRepository(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+placementFile("edge", everyEdge)+clusterFile("one", "tier: edge")+clusterFile("two", "tier: edge")+clusterFile("three", "tier: core")+inGit("world"))
	f.deliver()
	f.join("one")
	f.join("two")
	f.available("three", true)
	f.push("")
	greets := func(whom string) {
		t.Helper()
		for _, cluster := range []string{"one", "two"} {
			f.eventually(func() string {
				var cm corev1.ConfigMap
				if !f.on(cluster, &cm, "default", "addon-in-git") || cm.Data["of"] != cluster || cm.Data["greets"] != whom {
					return fmt.Sprintf("%s has %v", cluster, cm.Data)
				}
				return ""
			})
			f.expectAddOn(cluster, "mirror", addonv1alpha1.ConditionAvailable, "True ProbeAvailable")
		}
	}
	greets("world")
	f.eventually(func() string {
		return has("the progress of the placement", f.progress("mirror"), "Completed: 2/2 completed with no errors")
	})
	if f.addOn("three", "mirror") != nil {
		t.Error("three has the add-on, and the placement does not choose it")
	}
	f.push(inGit("moon"))
	greets("moon")
	f.push("-- addons/mirror.yaml --\n" + deleted) // with the template, which its hook is in
	f.approveLeaving("1 add-on left the repository", "add-on mirror, on 2 clusters")
	for _, cluster := range []string{"one", "two"} {
		f.finish(cluster, "addon-in-git-bye")
	}
	f.eventually(func() string {
		if err := f.client.Get(f.ctx, client.ObjectKey{Name: "mirror-1"}, &addonv1alpha1.AddOnTemplate{}); !apierrors.IsNotFound(err) {
			return "the template is still on the hub: " + message(err)
		}
		for _, cluster := range []string{"one", "two"} {
			if f.addOn(cluster, "mirror") != nil || f.on(cluster, &corev1.ConfigMap{}, "default", "addon-in-git") {
				return "the add-on is still on " + cluster
			}
		}
		if err := f.client.Get(f.ctx, client.ObjectKey{Name: "mirror"}, &addonv1alpha1.ClusterManagementAddOn{}); !apierrors.IsNotFound(err) {
			return "the add-on is still on the hub"
		}
		return ""
	})
}

// approveLeaving waits until the repository holds the removal of what has left it, and approves.
func (f *theFleet) approveLeaving(says ...string) {
	f.t.Helper()
	f.eventually(func() string {
		held := f.repository().Status.Held
		if held == nil {
			return "the repository holds nothing"
		}
		return has("held", held.Message+strings.Join(held.Items, " "), says...)
	})
	repo := f.repository()
	f.approve(repo, repo.Status.Held)
}

// chartAddOn is add-on banner, which is made of a chart, on the clusters of placement retail/edge, one at a time.
func chartAddOn(version string) string {
	return `-- addons/banner.yaml --
apiVersion: addon.open-cluster-management.io/v1alpha1
kind: ClusterManagementAddOn
metadata: {name: banner, annotations: {muster.dev/addon-content: charts/banner}}
spec:
  supportedConfigs:
  - {group: addon.open-cluster-management.io, resource: addondeploymentconfigs, defaultConfig: {namespace: muster-system, name: banner}}
  installStrategy:
    type: Placements
    placements: [{namespace: retail, name: edge, rolloutStrategy: {type: Progressive, progressive: {maxConcurrency: 1}}}]
---
apiVersion: addon.open-cluster-management.io/v1alpha1
kind: AddOnDeploymentConfig
metadata: {name: banner, namespace: muster-system}
spec:
  agentInstallNamespace: default
  customizedVariables: [{name: text__greeting, value: hello}, {name: replicas, value: "3"}]
-- charts/banner/Chart.yaml --
apiVersion: v2
name: banner
version: ` + version + `
-- charts/banner/values.yaml --
text: {greeting: none, sign: '{{NAME}}'}
replicas: 1
-- charts/banner/templates/banner.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: addon-banner}
data:
  text: {{ .Values.text.greeting }} {{ .Values.text.sign }} {{ add .Values.replicas 1 }} {{ .Chart.Version }}
  release: {{ .Release.Name }} in {{ .Release.Namespace }}
`
}

// TestAddOnOfChart: an add-on may be a chart of its repository. It is rendered with the variables as values, a commit that changes the chart
// alone goes over the clusters by the strategy, and a chart that does not render stops it with what is there.
func TestAddOnOfChart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+placementFile("edge", everyEdge)+clusterFile("one", "tier: edge")+clusterFile("two", "tier: edge")+chartAddOn("1.0.0"))
	f.deliver()
	f.join("one")
	f.join("two")
	says := func(cluster, version string) string {
		var cm corev1.ConfigMap
		want := "hello {{NAME}} 4 " + version
		if !f.on(cluster, &cm, "default", "addon-banner") || cm.Data["text"] != want || cm.Data["release"] != "banner in default" {
			return fmt.Sprintf("%s has %v, want %q", cluster, cm.Data, want)
		}
		return ""
	}
	both := func(version string) {
		t.Helper()
		for _, cluster := range []string{"one", "two"} {
			f.eventually(func() string { return says(cluster, version) })
			f.expectAddOn(cluster, "banner", addonv1alpha1.ConditionAvailable, "True ProbeAvailable")
		}
		f.eventually(func() string {
			return has("the progress of the placement", f.progress("banner"), "Completed: 2/2 completed with no errors")
		})
	}
	f.push("")
	both("1.0.0")
	f.push(chartAddOn("1.1.0"))
	both("1.1.0")
	f.push("-- charts/banner/templates/banner.yaml --\n{{ fail \"no banner\" }}\n")
	f.eventually(func() string {
		return has("the progress of the placement", f.progress("banner"), "1 failed")
	})
	for _, cluster := range []string{"one", "two"} {
		if problem := says(cluster, "1.1.0"); problem != "" {
			t.Error("a chart that does not render took something away: " + problem)
		}
	}
	f.push("-- addons/banner.yaml --\n" + deleted)
	f.approveLeaving("1 add-on left the repository", "add-on banner, on 2 clusters")
	f.eventually(func() string {
		for _, cluster := range []string{"one", "two"} {
			if f.addOn(cluster, "banner") != nil || f.on(cluster, &corev1.ConfigMap{}, "default", "addon-banner") {
				return "the add-on is still on " + cluster
			}
		}
		return ""
	})
}

// TestRequiresAddOn: an application waits on each cluster until the add-on that it requires is available there, and says so.
func TestRequiresAddOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+clusterFile("two", "tier: edge")+placementFile("edge", everyEdge)+placementFile("shops", everyEdge)+
		applicationFile("web", "shops", "manifests/web", "ordered", "  requires: [mirror]")+configMapFile("manifests/web/config.yaml", "web", "version", `"1"`)+
		strings.NewReplacer("installStrategy: {type: Placements, placements: [{namespace: retail, name: edge}]}", "installStrategy: {type: Manual}", "addon-in-git", "addon-required").Replace(inGit("world")))
	f.deliver()
	f.join("one")
	f.join("two")
	revision := f.push("")
	f.expectRow("retail/web", "one", "Pending DependencyPending", "requires add-on mirror, which is not installed here")
	f.create(&addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "mirror"}})
	f.eventually(func() string {
		if !f.on("one", &corev1.ConfigMap{}, "ordered", "web") {
			return "one does not have the application, and the add-on is available"
		}
		return ""
	})
	f.expectRow("retail/web", "two", "Pending DependencyPending", "requires add-on mirror, which is not installed here")
	if f.on("two", &corev1.ConfigMap{}, "ordered", "web") {
		t.Error("two has the application, and not the add-on")
	}
	f.create(&addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "two", Name: "mirror"}})
	f.expectHealthy("retail/web", revision, 2)
}

// mirrorAddOn is an add-on with a template and a configuration, installed by placements of muster-system.
func mirrorAddOn(placements ...string) *addonv1alpha1.ClusterManagementAddOn {
	kind := func(resource string) addonv1alpha1.ConfigGroupResource {
		return addonv1alpha1.ConfigGroupResource{Group: addonv1alpha1.GroupName, Resource: resource}
	}
	cma := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "mirror"}}
	cma.Spec.SupportedConfigs = []addonv1alpha1.ConfigMeta{
		{ConfigGroupResource: kind("addontemplates"), DefaultConfig: &addonv1alpha1.ConfigReferent{Name: "mirror-template"}},
		{ConfigGroupResource: kind("addondeploymentconfigs"), DefaultConfig: &addonv1alpha1.ConfigReferent{Namespace: "muster-system", Name: "mirror"}},
	}
	cma.Spec.InstallStrategy.Type = addonv1alpha1.InstallPlacements
	for _, p := range placements {
		cma.Spec.InstallStrategy.Placements = append(cma.Spec.InstallStrategy.Placements, addonv1alpha1.PlacementStrategy{
			PlacementRef: addonv1alpha1.PlacementRef{Namespace: "muster-system", Name: p},
		})
	}
	return cma
}

func mirrorTemplate(t *testing.T, version string) *addonv1alpha1.AddOnTemplate {
	template := &addonv1alpha1.AddOnTemplate{ObjectMeta: metav1.ObjectMeta{Name: "mirror-template"}}
	template.Spec.AddonName = "mirror"
	for _, m := range serverManifests(t, version) {
		m.Raw = []byte(strings.Replace(string(m.Raw), `"server:`, `"quay.io/mirror/server:`, 1))
		template.Spec.AgentSpec.Workload.Manifests = append(template.Spec.AgentSpec.Workload.Manifests, m)
	}
	template.Spec.Registration = []addonv1alpha1.RegistrationSpec{{Type: addonv1alpha1.RegistrationKubeClient, KubeClient: &addonv1alpha1.KubeClientRegistrationConfig{}}}
	return template
}

// decide lets a placement choose clusters, as somebody who makes decisions by hand.
func (f *theFleet) decide(namespace, name string, clusters ...string) {
	f.t.Helper()
	f.create(&clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	page := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-1", Labels: map[string]string{clusterv1beta1.PlacementLabel: name}}}
	f.create(page)
	if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(page), page); err != nil {
		f.t.Fatal(err)
	}
	page.Status.Decisions = []clusterv1beta1.ClusterDecision{}
	for _, c := range clusters {
		page.Status.Decisions = append(page.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: c})
	}
	if err := f.client.Status().Update(f.ctx, page); err != nil {
		f.t.Fatal(err)
	}
}

// addOn is nil when it is not on the cluster.
func (f *theFleet) addOn(cluster, name string) *addonv1alpha1.ManagedClusterAddOn {
	f.t.Helper()
	mca := &addonv1alpha1.ManagedClusterAddOn{}
	err := f.client.Get(f.ctx, types.NamespacedName{Namespace: cluster, Name: name}, mca)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return mca
}

// expectAddOn waits for a condition, as "status reason".
func (f *theFleet) expectAddOn(cluster, name, condition, want string) {
	f.t.Helper()
	f.eventually(func() string {
		mca := f.addOn(cluster, name)
		if mca == nil {
			return fmt.Sprintf("add-on %s is not on %s", name, cluster)
		}
		c := meta.FindStatusCondition(mca.Status.Conditions, condition)
		if c == nil || string(c.Status)+" "+c.Reason != want {
			return fmt.Sprintf("add-on %s on %s: %s is not %q in %+v", name, cluster, condition, want, mca.Status)
		}
		return ""
	})
}

// progress is what an add-on says of its first placement.
func (f *theFleet) progress(name string) string {
	f.t.Helper()
	cma := &addonv1alpha1.ClusterManagementAddOn{}
	if err := f.client.Get(f.ctx, client.ObjectKey{Name: name}, cma); err != nil {
		f.t.Fatal(err)
	}
	for _, p := range cma.Status.InstallProgressions {
		for _, c := range p.Conditions {
			return c.Reason + ": " + c.Message
		}
	}
	return "nothing"
}
