package main

import (
	"fmt"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
)

// addOnFleet is a hub with the controllers of add-ons and no other, and clusters with real work agents.
func addOnFleet(t *testing.T, clusters ...string) *theFleet {
	t.Helper()
	f := newFleet(t, "", func(o *Options) { o.Controllers, o.LocalRepositories = addonControllers, nil })
	for _, name := range clusters {
		f.bareCluster(name)
		f.join(name)
	}
	return f
}

// bareCluster is an accepted cluster, as the controllers of clusters leave it.
func (f *theFleet) bareCluster(name string) {
	f.t.Helper()
	f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	f.create(&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}})
}

// template makes an add-on that is installed by hand, and its template with these manifests.
func (f *theFleet) template(name string, manifests ...string) {
	f.t.Helper()
	template := &addonv1alpha1.AddOnTemplate{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: addonv1alpha1.AddOnTemplateSpec{AddonName: name}}
	for _, text := range manifests {
		m := workv1.Manifest{}
		m.Raw = []byte(text)
		template.Spec.AgentSpec.Workload.Manifests = append(template.Spec.AgentSpec.Workload.Manifests, m)
	}
	f.create(template)
	cma := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: name}}
	cma.Spec.SupportedConfigs = []addonv1alpha1.ConfigMeta{
		{ConfigGroupResource: addon.Template, DefaultConfig: &addonv1alpha1.ConfigReferent{Name: name}}, {ConfigGroupResource: addon.DeploymentConfig},
	}
	f.create(cma)
}

// enable installs an add-on on a cluster by hand.
func (f *theFleet) enable(cluster, name string, change ...func(*addonv1alpha1.ManagedClusterAddOn)) {
	f.t.Helper()
	mca := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: name}}
	for _, c := range change {
		c(mca)
	}
	f.create(mca)
}

func hostedOn(cluster string) func(*addonv1alpha1.ManagedClusterAddOn) {
	return func(mca *addonv1alpha1.ManagedClusterAddOn) {
		mca.Annotations = map[string]string{addonv1alpha1.HostingClusterAnnotation: cluster}
	}
}

func (f *theFleet) disable(cluster, name string) {
	f.t.Helper()
	if err := f.client.Delete(f.ctx, &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: name}}); err != nil {
		f.t.Fatal(err)
	}
}

// expectNoAddOn waits until an add-on is gone, and nothing of it is left on the hub in these namespaces.
func (f *theFleet) expectNoAddOn(cluster, name string, namespaces ...string) {
	f.t.Helper()
	f.eventually(func() string {
		if mca := f.addOn(cluster, name); mca != nil {
			return fmt.Sprintf("add-on %s is still on %s: finalizers %v, %+v", name, cluster, mca.Finalizers, mca.Status.Conditions)
		}
		for _, n := range append(namespaces, cluster) {
			for _, w := range f.works(n) {
				if w.Labels[addonv1alpha1.AddonNameLabel] == name {
					return fmt.Sprintf("work %s/%s is left: finalizers %v", n, w.Name, w.Finalizers)
				}
			}
		}
		return ""
	})
}

// expectSays waits for a condition of an add-on whose message has a text.
func (f *theFleet) expectSays(cluster, name, condition string, status metav1.ConditionStatus, reason string, parts ...string) {
	f.t.Helper()
	f.eventually(func() string {
		mca := f.addOn(cluster, name)
		if mca == nil {
			return fmt.Sprintf("add-on %s is not on %s", name, cluster)
		}
		return says(mca.Status.Conditions, condition, status, reason, parts...)
	})
}

func settingsOf(name, more string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"namespace":"default"%s},"data":{"of":"{{CLUSTER_NAME}}"}}`, name, more)
}

// byeJob is a pre-delete hook.
func byeJob(name, more string) string {
	return fmt.Sprintf(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":%q,"namespace":"default","annotations":{"addon.open-cluster-management.io/addon-pre-delete":""%s}},`+
		`"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"bye","image":"bye:1"}]}}}}`, name, more)
}

const onHosting = `"addon.open-cluster-management.io/hosted-manifest-location":"hosting"`

// finish says of a Job on a cluster what its controller would, which nothing runs here.
func (f *theFleet) finish(cluster, name string) {
	f.t.Helper()
	c, err := client.New(f.spokes[cluster].Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.eventually(func() string {
		job := &batchv1.Job{}
		if err := c.Get(f.ctx, types.NamespacedName{Namespace: "default", Name: name}, job); err != nil {
			return err.Error()
		}
		now := metav1.Now()
		job.Status = batchv1.JobStatus{StartTime: &now, CompletionTime: &now, Succeeded: 1}
		for _, kind := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete} {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
		}
		return message(c.Status().Update(f.ctx, job))
	})
}

func (f *theFleet) expectOn(cluster string, o client.Object, name string, want bool) {
	f.t.Helper()
	f.eventually(func() string {
		if f.on(cluster, o, "default", name) != want {
			return fmt.Sprintf("%T %s on %s: want it there: %v", o, name, cluster, want)
		}
		return ""
	})
}

// TestAddOnHooks: what a template wants to run before it goes runs while all else is still there, on each cluster that it is for, and the rest
// goes when it is complete; what is to stay on the cluster stays.
func TestAddOnHooks(t *testing.T) {
	t.Parallel()
	f := addOnFleet(t, "one", "infra")
	f.template("hooks", settingsOf("hooks", ""), settingsOf("hooks-kept", `,"annotations":{"addon.open-cluster-management.io/deletion-orphan":""}`),
		byeJob("hooks-bye", ""), settingsOf("hooks-hosted", `,"annotations":{`+onHosting+`}`), byeJob("hooks-bye-hosted", ","+onHosting))
	f.enable("one", "hooks", hostedOn("infra"))
	f.expectAddOn("one", "hooks", addonv1alpha1.ConditionAvailable, "True ProbeAvailable")
	f.expectOn("one", &corev1.ConfigMap{}, "hooks", true)
	f.expectOn("infra", &corev1.ConfigMap{}, "hooks-hosted", true)
	if f.on("one", &batchv1.Job{}, "default", "hooks-bye") || f.on("one", &corev1.ConfigMap{}, "default", "hooks-hosted") {
		t.Error("a hook, or what is for the hosting cluster, is on the cluster")
	}
	f.expectAddOn("one", "hooks", addonv1alpha1.ConditionHostingManifestApplied, "True AddonManifestApplied")
	f.expectAddOn("one", "hooks", addonv1alpha1.ConditionHostingClusterValidity, "True HostingClusterValid")

	f.disable("one", "hooks")
	f.expectSays("one", "hooks", addonv1alpha1.ConditionHookManifestCompleted, metav1.ConditionFalse, addonv1alpha1.ReasonHookManifestIsNotCompleted, "Job default/hooks-bye")
	f.expectOn("one", &batchv1.Job{}, "hooks-bye", true)
	if !f.on("one", &corev1.ConfigMap{}, "default", "hooks") || !f.on("infra", &corev1.ConfigMap{}, "default", "hooks-hosted") {
		t.Error("the add-on is not there any more while its hook runs")
	}
	f.finish("one", "hooks-bye")
	f.expectSays("one", "hooks", addonv1alpha1.ConditionHookManifestCompleted, metav1.ConditionFalse, addonv1alpha1.ReasonHookManifestIsNotCompleted, "hooks-bye-hosted")
	if !f.on("infra", &corev1.ConfigMap{}, "default", "hooks-hosted") {
		t.Error("what is on the hosting cluster is not there any more while its hook runs")
	}
	f.finish("infra", "hooks-bye-hosted")
	f.expectNoAddOn("one", "hooks", "infra")
	f.expectOn("one", &corev1.ConfigMap{}, "hooks", false)
	f.expectOn("infra", &corev1.ConfigMap{}, "hooks-hosted", false)
	f.expectOn("one", &corev1.ConfigMap{}, "hooks-kept", true)
}

// TestAddOnDeletedAtEachMoment: an add-on that goes leaves nothing behind, whenever that is, and is never stuck.
func TestAddOnDeletedAtEachMoment(t *testing.T) {
	t.Parallel()
	hosted := settingsOf("moment-hosted", `,"annotations":{`+onHosting+`}`)
	for name, c := range map[string]struct {
		manifests []string
		why       string
		moment    func(f *theFleet)
	}{
		"before its installation": {why: "the hub sees it only when it goes", manifests: []string{settingsOf("moment", ""), hosted}, moment: func(f *theFleet) {
			f.stop()
			f.enable("one", "moment", hostedOn("infra"))
			f.disable("one", "moment")
			f.startHub()
		}},
		"during its installation": {why: "no agent has applied a work yet", manifests: []string{settingsOf("moment", ""), hosted}, moment: func(f *theFleet) {
			f.agents["one"]()
			f.agents["infra"]()
			f.enable("one", "moment", hostedOn("infra"))
			f.eventually(func() string {
				if len(f.works("one"))+len(f.works("infra")) < 2 {
					return "the works are not written"
				}
				return ""
			})
			f.disable("one", "moment")
			f.startAgent("one")
			f.startAgent("infra")
		}},
		"half configured": {why: "its configuration is not there", manifests: []string{settingsOf("moment", ""), byeJob("moment-bye", "")}, moment: func(f *theFleet) {
			f.enable("one", "moment", func(mca *addonv1alpha1.ManagedClusterAddOn) {
				mca.Spec.Configs = []addonv1alpha1.AddOnConfig{{ConfigGroupResource: addon.DeploymentConfig, ConfigReferent: addonv1alpha1.ConfigReferent{Namespace: "default", Name: "nowhere"}}}
			})
			f.expectAddOn("one", "moment", addonv1alpha1.ConditionConfigured, "False ConfigurationsNotConfigured")
			f.disable("one", "moment")
		}},
		"when its hosting cluster is silent": {why: "its agent ends it when it comes back", manifests: []string{settingsOf("moment", ""), hosted}, moment: func(f *theFleet) {
			f.enable("one", "moment", hostedOn("infra"))
			f.expectAddOn("one", "moment", addonv1alpha1.ConditionHostingManifestApplied, "True AddonManifestApplied")
			f.agents["infra"]()
			f.available("infra", false)
			f.disable("one", "moment")
			f.expectNoAddOn("one", "moment")
			f.startAgent("infra")
		}},
		"when its cluster is gone": {why: "nobody runs its hook any more", manifests: []string{settingsOf("moment", ""), byeJob("moment-bye", "")}, moment: func(f *theFleet) {
			f.enable("one", "moment")
			f.expectAddOn("one", "moment", addonv1alpha1.ConditionAvailable, "True ProbeAvailable")
			if err := f.client.Delete(f.ctx, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}}); err != nil {
				t.Fatal(err)
			}
			f.disable("one", "moment")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := addOnFleet(t, "one", "infra")
			unique := "moment-" + strings.ReplaceAll(name, " ", "-")
			for i := range c.manifests { // tests share clusters
				c.manifests[i] = strings.ReplaceAll(c.manifests[i], `"name":"moment`, `"name":"`+unique)
			}
			f.template("moment", c.manifests...)
			c.moment(f)
			f.expectNoAddOn("one", "moment", "infra")
			for _, cluster := range []string{"one", "infra"} {
				for _, object := range []string{unique, unique + "-hosted"} {
					f.expectOn(cluster, &corev1.ConfigMap{}, object, false)
				}
			}
		})
	}
}

// TestAddOnOfADetachedCluster: a cluster that is detached loses its add-ons first, with their hooks, and those that it hosts are told.
func TestAddOnOfADetachedCluster(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "", func(o *Options) { o.LocalRepositories = nil })
	for _, name := range []string{"one", "two"} {
		f.create(&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}})
		f.eventually(func() string { return message(f.client.Get(f.ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})) })
		f.join(name)
	}
	f.template("detached", settingsOf("detached", ""), byeJob("detached-bye", ""), settingsOf("detached-hosted", `,"annotations":{`+onHosting+`}`))
	f.enable("one", "detached")
	f.enable("two", "detached", hostedOn("one"))
	for _, name := range []string{"one", "two"} {
		f.expectAddOn(name, "detached", addonv1alpha1.ConditionAvailable, "True ProbeAvailable")
	}
	if err := f.client.Delete(f.ctx, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}}); err != nil {
		t.Fatal(err)
	}
	f.finish("one", "detached-bye")
	f.eventually(func() string {
		c := &clusterv1.ManagedCluster{}
		if err := f.client.Get(f.ctx, client.ObjectKey{Name: "one"}, c); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("cluster one is still there: %v, %+v", err, c.Status.Conditions)
		}
		return ""
	})
	f.expectNoAddOn("one", "detached")
	f.expectAddOn("two", "detached", addonv1alpha1.ConditionHostingClusterValidity, "False HostingClusterInvalid")
	f.expectOn("one", &corev1.ConfigMap{}, "detached", false)
	f.expectOn("two", &corev1.ConfigMap{}, "detached", true)
}

// TestAddOnBadInput: what is wrong on one cluster is said there, keeps nothing else from being installed, and is over when it is mended.
func TestAddOnBadInput(t *testing.T) {
	t.Parallel()
	f := addOnFleet(t, "one", "two")
	f.template("bad", strings.Replace(settingsOf("bad", ""), `"of":`, `"level":"{{LEVEL}}","of":`, 1))
	levels := &addonv1alpha1.AddOnDeploymentConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "levels"}}
	levels.Spec.AgentInstallNamespace = "default"
	levels.Spec.CustomizedVariables = []addonv1alpha1.CustomizedVariable{{Name: "LEVEL", Value: "{{LEVEL}}"}} // which names itself
	f.create(levels)
	with := func(resource addonv1alpha1.ConfigGroupResource, name string) func(*addonv1alpha1.ManagedClusterAddOn) {
		return func(mca *addonv1alpha1.ManagedClusterAddOn) {
			mca.Spec.Configs = append(mca.Spec.Configs, addonv1alpha1.AddOnConfig{ConfigGroupResource: resource, ConfigReferent: addonv1alpha1.ConfigReferent{Namespace: "default", Name: name}})
		}
	}
	f.enable("one", "bad")
	f.enable("two", "bad", with(addon.DeploymentConfig, "levels"), with(addonv1alpha1.ConfigGroupResource{Resource: "configmaps"}, "any"))
	f.expectSays("one", "bad", addonv1alpha1.ConditionManifestApplied, metav1.ConditionFalse, addonv1alpha1.ReasonManifestWorkApplyFailed, "ConfigMap bad", "variable LEVEL", "for cluster one")
	f.expectSays("two", "bad", addonv1alpha1.ConditionProgressing, metav1.ConditionFalse, addonv1alpha1.ReasonConfigurationUnsupported, "configmaps. default/any", "supportedConfigs")
	f.expectAddOn("two", "bad", addonv1alpha1.ConditionAvailable, "True ProbeAvailable")
	cm := &corev1.ConfigMap{}
	if !f.on("two", cm, "default", "bad") || cm.Data["level"] != "{{LEVEL}}" {
		t.Errorf("a value that names its own variable gives %v", cm.Data)
	}

	spec := func(cluster string, change func(*addonv1alpha1.ManagedClusterAddOn)) {
		t.Helper()
		mca := f.addOn(cluster, "bad")
		f.change(mca, func() { mca.Spec.Configs = nil; change(mca) })
	}
	spec("two", with(addon.DeploymentConfig, "nowhere"))
	f.expectSays("two", "bad", addonv1alpha1.ConditionConfigured, metav1.ConditionFalse, addonv1alpha1.ReasonConfigurationsNotConfigured, "default/nowhere", "stays as it is")
	if !f.on("two", cm, "default", "bad") {
		t.Error("a configuration that is missing takes the add-on away")
	}
	spec("one", with(addon.DeploymentConfig, "levels"))
	f.expectAddOn("one", "bad", addonv1alpha1.ConditionAvailable, "True ProbeAvailable")
	f.expectAddOn("one", "bad", addonv1alpha1.ConditionManifestApplied, "True AddonManifestApplied")

	// Names that are taken: a work of somebody else, and an add-on that somebody else has installed.
	theirs := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "addon-taken-deploy-0"}}
	theirs.Spec.Workload.Manifests = make([]workv1.Manifest, 1)
	theirs.Spec.Workload.Manifests[0].Raw = []byte(settingsOf("taken-by-somebody", ""))
	f.create(theirs)
	f.template("taken", settingsOf("taken", ""))
	f.enable("one", "taken")
	f.expectSays("one", "taken", addonv1alpha1.ConditionManifestApplied, metav1.ConditionFalse, addonv1alpha1.ReasonManifestWorkApplyFailed, "does not belong to ManagedClusterAddOn one/taken")
	f.enable("two", "taken")
	f.decide("muster-system", "both", "one", "two")
	cma := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "taken"}}
	f.change(cma, func() {
		cma.Spec.InstallStrategy.Type = addonv1alpha1.InstallPlacements
		cma.Spec.InstallStrategy.Placements = []addonv1alpha1.PlacementStrategy{{PlacementRef: addonv1alpha1.PlacementRef{Namespace: "muster-system", Name: "both"}}}
	})
	f.eventually(func() string {
		if mca := f.addOn("two", "taken"); len(mca.OwnerReferences) != 1 {
			return "the add-on does not own what somebody else has installed"
		}
		return ""
	})
	f.decide("muster-system", "both", "one")
	f.eventually(func() string { return has("the progress of the placement", f.progress("taken"), "/1 ") })
	if f.addOn("two", "taken") == nil {
		t.Error("the placement has taken away what somebody else has installed")
	}
}
