package addon

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/hub"
)

// memory is a hub in memory, of which the deployer is reconciled step by step.
type memory struct {
	t *testing.T
	client.Client
	deployer *Deployer
}

const job = `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"bye","namespace":"shop","annotations":{"addon.open-cluster-management.io/addon-pre-delete":""}},"spec":{"template":{"spec":{}}}}`

// newMemory has add-on mirror, whose template has these manifests, on cluster one; cluster infra is there too.
func newMemory(t *testing.T, manifests ...string) *memory {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{addonv1alpha1.AddToScheme, clusterv1.AddToScheme, musterv1alpha1.AddToScheme, workv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&addonv1alpha1.ManagedClusterAddOn{}, &workv1.ManifestWork{}).Build()
	m := &memory{t: t, Client: c, deployer: &Deployer{Client: c, Reader: c, Works: hub.NewWorks()}}
	template := &addonv1alpha1.AddOnTemplate{ObjectMeta: metav1.ObjectMeta{Name: "t"}}
	for _, text := range manifests {
		manifest := workv1.Manifest{}
		manifest.Raw = []byte(text)
		template.Spec.AgentSpec.Workload.Manifests = append(template.Spec.AgentSpec.Workload.Manifests, manifest)
	}
	mca := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "mirror", UID: "u1"}}
	for _, o := range []client.Object{
		template, mca, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one", Finalizers: []string{"a/b"}}}, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "infra"}},
	} {
		m.ok(c.Create(t.Context(), o))
	}
	contents := &contents{ctx: t.Context(), client: c, reader: c, hashes: &hashes{}}
	ref := addonv1alpha1.ConfigReferent{Name: "t"}
	f := contents.read(addonv1alpha1.AddOnConfig{ConfigGroupResource: addon.Template, ConfigReferent: ref})
	m.ok(f.err)
	mca.Status.ConfigReferences = []addonv1alpha1.ConfigReference{{
		ConfigGroupResource: addon.Template, ConfigReferent: ref, DesiredConfig: &addonv1alpha1.ConfigSpecHash{ConfigReferent: ref, SpecHash: f.hash},
	}}
	m.ok(c.Status().Update(t.Context(), mca))
	return m
}

func (m *memory) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// settle reconciles until nothing changes, with the index as the API server is.
func (m *memory) settle() {
	m.t.Helper()
	for range 10 {
		for _, lw := range m.deployer.Works.All() {
			m.ok(m.deployer.Works.Delete(&workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: lw.Cluster, Name: lw.Name}}))
		}
		var works workv1.ManifestWorkList
		m.ok(m.List(m.t.Context(), &works))
		for i := range works.Items {
			m.ok(m.deployer.Works.Set(&works.Items[i]))
		}
		_, err := m.deployer.Reconcile(context.Background(), reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "one", Name: "mirror"}})
		m.ok(err)
	}
}

func (m *memory) works() []string {
	m.t.Helper()
	var works workv1.ManifestWorkList
	m.ok(m.List(m.t.Context(), &works))
	names := []string{}
	for _, w := range works.Items {
		names = append(names, w.Namespace+"/"+w.Name)
	}
	return names
}

// addOn is nil when it is gone.
func (m *memory) addOn() *addonv1alpha1.ManagedClusterAddOn {
	m.t.Helper()
	mca := &addonv1alpha1.ManagedClusterAddOn{}
	err := m.Get(m.t.Context(), client.ObjectKey{Namespace: "one", Name: "mirror"}, mca)
	if apierrors.IsNotFound(err) {
		return nil
	}
	m.ok(err)
	return mca
}

func (m *memory) expectWorks(why string, want ...string) {
	m.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), m.works()); diff != "" {
		m.t.Errorf("%s (-want +got)\n%s", why, diff)
	}
}

const settings = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","namespace":"shop"}}`

// TestHooksRunFirst: the add-on waits for its hook, and goes with its works when the hook is complete.
func TestHooksRunFirst(t *testing.T) {
	m := newMemory(t, settings, job)
	m.settle()
	m.expectWorks("the hook is no part of the deployment", "one/addon-mirror-deploy-0")
	m.ok(m.Delete(t.Context(), m.addOn()))
	m.settle()
	m.expectWorks("the hook runs while the rest is there", "one/addon-mirror-deploy-0", "one/addon-mirror-pre-delete")
	if says := condition(m.addOn().Status.Conditions, addonv1alpha1.ConditionHookManifestCompleted); !strings.Contains(says, "pre-delete hook Job shop/bye") {
		t.Errorf("the add-on says %q", says)
	}
	hook := &workv1.ManifestWork{}
	m.ok(m.Get(t.Context(), client.ObjectKey{Namespace: "one", Name: "addon-mirror-pre-delete"}, hook))
	if c := hook.Spec.ManifestConfigs; len(c) != 1 || len(c[0].FeedbackRules) != 2 || c[0].ResourceIdentifier.Resource != "jobs" {
		t.Errorf("the hook is not asked for its status: %+v", c)
	}
	failed := "True"
	hook.Status.ResourceStatus.Manifests = []workv1.ManifestCondition{{StatusFeedbacks: workv1.StatusFeedbackResult{Values: []workv1.FeedbackValue{
		{Name: "JobFailed", Value: workv1.FieldValue{Type: workv1.String, String: &failed}},
	}}}}
	m.ok(m.Status().Update(t.Context(), hook))
	m.settle()
	if says := condition(m.addOn().Status.Conditions, addonv1alpha1.ConditionHookManifestCompleted); !strings.Contains(says, "Job shop/bye in work addon-mirror-pre-delete has failed") {
		t.Errorf("of a Job that has failed the add-on says %q", says)
	}
	complete := "True"
	hook.Status.ResourceStatus.Manifests = []workv1.ManifestCondition{{StatusFeedbacks: workv1.StatusFeedbackResult{Values: []workv1.FeedbackValue{
		{Name: "JobComplete", Value: workv1.FieldValue{Type: workv1.String, String: &complete}},
	}}}}
	m.ok(m.Status().Update(t.Context(), hook))
	m.settle()
	if m.addOn() != nil {
		t.Errorf("the add-on is still there: %+v", m.addOn().Finalizers)
	}
	m.expectWorks("nothing is left, without a garbage collector")
}

// TestNeverStuck: what nobody can do any more is not waited for.
func TestNeverStuck(t *testing.T) {
	for name, lose := range map[string]func(m *memory){
		"the cluster goes and does not answer": func(m *memory) {
			one := &clusterv1.ManagedCluster{}
			m.ok(m.Get(m.t.Context(), client.ObjectKey{Name: "one"}, one))
			one.Status.Conditions = []metav1.Condition{{Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionUnknown}}
			m.ok(m.Update(m.t.Context(), one))
			m.ok(m.Delete(m.t.Context(), one))
		},
		"the template is gone": func(m *memory) {
			m.ok(m.Delete(m.t.Context(), &addonv1alpha1.AddOnTemplate{ObjectMeta: metav1.ObjectMeta{Name: "t"}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t, settings, job)
			m.settle()
			lose(m)
			m.ok(m.Delete(t.Context(), m.addOn()))
			m.settle()
			if m.addOn() != nil {
				t.Errorf("the add-on waits: %+v", m.addOn())
			}
		})
	}
}

// TestHooksOfABrokenTemplate: hooks that cannot be rendered are not left out; they run when the template is mended, and what runs already goes on.
func TestHooksOfABrokenTemplate(t *testing.T) {
	m := newMemory(t, settings, job)
	m.settle()
	edit := func(from, to string) {
		t.Helper()
		template := &addonv1alpha1.AddOnTemplate{}
		m.ok(m.Get(t.Context(), client.ObjectKey{Name: "t"}, template))
		raw := &template.Spec.AgentSpec.Workload.Manifests[0]
		raw.Raw = []byte(strings.Replace(string(raw.Raw), from, to, 1))
		m.ok(m.Update(t.Context(), template))
	}
	edit(`"settings"`, `"{{UNKNOWN}}"`)
	m.ok(m.Delete(t.Context(), m.addOn()))
	m.settle()
	if m.addOn() == nil {
		t.Fatal("the add-on went without its hook")
	}
	if says := condition(m.addOn().Status.Conditions, addonv1alpha1.ConditionHookManifestCompleted); !strings.Contains(says, "there is no variable UNKNOWN") || !strings.Contains(says, "delete the AddOnTemplate") {
		t.Errorf("the add-on says %q", says)
	}
	edit(`"{{UNKNOWN}}"`, `"settings"`)
	m.settle()
	m.expectWorks("the hook runs", "one/addon-mirror-deploy-0", "one/addon-mirror-pre-delete")
	edit(`"settings"`, `"{{UNKNOWN}}"`)
	m.settle()
	if says := condition(m.addOn().Status.Conditions, addonv1alpha1.ConditionHookManifestCompleted); !strings.Contains(says, "Job shop/bye") {
		t.Errorf("while the hook runs the add-on says %q", says)
	}
	m.ok(m.Delete(t.Context(), &addonv1alpha1.AddOnTemplate{ObjectMeta: metav1.ObjectMeta{Name: "t"}}))
	m.settle()
	if m.addOn() != nil {
		t.Error("the add-on waits for hooks whose template is gone")
	}
}

// TestSilentHost: a hosting cluster that does not answer keeps nothing but its hooks, and these only while no cluster is being detached.
func TestSilentHost(t *testing.T) {
	hosted := func(manifest, name string) string {
		return strings.Replace(manifest, `"name":"`+name+`",`, `"name":"`+name+`","annotations":{"addon.open-cluster-management.io/hosted-manifest-location":"hosting","addon.open-cluster-management.io/addon-pre-delete":""},`, 1)
	}
	hook := strings.Replace(hosted(job, "bye"), `,"annotations":{"addon.open-cluster-management.io/addon-pre-delete":""}}`, `}`, 1)
	for name, c := range map[string]struct {
		manifests []string
		detached  string // the cluster that is being detached
		waits     bool
	}{
		"its work goes when it comes back":          {manifests: []string{settings, hosted(settings, "settings")}},
		"its hook waits":                            {manifests: []string{settings, hook}, waits: true},
		"the add-on's cluster does not wait for it": {manifests: []string{settings, hook}, detached: "one"},
		"it is being detached":                      {manifests: []string{settings, hook}, detached: "infra"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t, c.manifests...)
			mca := m.addOn()
			mca.Annotations = map[string]string{addonv1alpha1.HostingClusterAnnotation: "infra"}
			m.ok(m.Update(t.Context(), mca))
			m.settle()
			var works workv1.ManifestWorkList
			m.ok(m.List(t.Context(), &works))
			for i := range works.Items { // as the agent of a cluster does
				works.Items[i].Finalizers = []string{"cluster.open-cluster-management.io/manifest-work-cleanup"}
				m.ok(m.Update(t.Context(), &works.Items[i]))
			}
			infra := &clusterv1.ManagedCluster{}
			m.ok(m.Get(t.Context(), client.ObjectKey{Name: "infra"}, infra))
			infra.Finalizers = []string{"a/b"}
			infra.Status.Conditions = []metav1.Condition{{Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionUnknown}}
			m.ok(m.Update(t.Context(), infra))
			if c.detached != "" {
				m.ok(m.Delete(t.Context(), &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: c.detached}}))
			}
			m.ok(m.Delete(t.Context(), m.addOn()))
			m.settle()
			if there := m.addOn() != nil; there != c.waits {
				t.Errorf("the add-on is there: %v, want %v: %+v", there, c.waits, m.addOn())
			}
			m.ok(m.List(t.Context(), &works))
			for _, w := range works.Items {
				if w.Namespace == "infra" && w.DeletionTimestamp.IsZero() && !c.waits {
					t.Errorf("work %s/%s stays for ever", w.Namespace, w.Name)
				}
			}
		})
	}
}

// TestLateWork: a work for the hosting cluster that was written in the moment in which the add-on went is not left there.
func TestLateWork(t *testing.T) {
	m := newMemory(t, settings)
	m.ok(m.Delete(t.Context(), m.addOn()))
	late := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "addon-mirror-deploy-hosting-one-0", Labels: map[string]string{
		addonv1alpha1.AddonNameLabel: "mirror", addonv1alpha1.AddonNamespaceLabel: "one",
	}}}
	m.ok(m.Create(t.Context(), late))
	self := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "mirror", Annotations: map[string]string{addonv1alpha1.LifecycleAnnotation: addonv1alpha1.LifecycleSelf}}}
	m.ok(m.Create(t.Context(), self))
	m.settle()
	m.expectWorks("an add-on's own manager takes care of its works", "infra/addon-mirror-deploy-hosting-one-0")
	m.ok(m.Delete(t.Context(), self))
	m.settle()
	m.expectWorks("nothing is left")
}

// TestHooksWithoutTheirConfiguration: a configuration that went first does not take the hooks with it.
func TestHooksWithoutTheirConfiguration(t *testing.T) {
	m := newMemory(t, settings, job)
	config := &addonv1alpha1.AddOnDeploymentConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c"}}
	m.ok(m.Create(t.Context(), config))
	mca := m.addOn()
	ref := addonv1alpha1.ConfigReferent{Namespace: "n", Name: "c"}
	hash, err := (&hashes{}).of(config)
	m.ok(err)
	mca.Status.ConfigReferences = append(mca.Status.ConfigReferences, addonv1alpha1.ConfigReference{
		ConfigGroupResource: addon.DeploymentConfig, ConfigReferent: ref, DesiredConfig: &addonv1alpha1.ConfigSpecHash{ConfigReferent: ref, SpecHash: hash},
	})
	m.ok(m.Status().Update(t.Context(), mca))
	m.settle()
	m.expectWorks("all is there", "one/addon-mirror-deploy-0")
	m.ok(m.Delete(t.Context(), config))
	m.ok(m.Delete(t.Context(), m.addOn()))
	m.settle()
	if m.addOn() == nil {
		t.Fatal("the add-on went without its hook")
	}
	if says := condition(m.addOn().Status.Conditions, addonv1alpha1.ConditionHookManifestCompleted); !strings.Contains(says, "n/c is not there") {
		t.Errorf("the add-on says %q", says)
	}
}

// TestOlderFinalizers: an add-on that an earlier version of OCM kept under other names goes.
func TestOlderFinalizers(t *testing.T) {
	m := newMemory(t, settings)
	mca := m.addOn()
	mca.Finalizers = []string{"cluster.open-cluster-management.io/addon-pre-delete", "cluster.open-cluster-management.io/hosting-manifests-cleanup"}
	m.ok(m.Update(t.Context(), mca))
	m.settle()
	if has := m.addOn().Finalizers; len(has) > 0 {
		t.Errorf("it keeps %v", has)
	}
	mca = m.addOn()
	mca.Finalizers = []string{"cluster.open-cluster-management.io/hosting-addon-pre-delete"}
	m.ok(m.Update(t.Context(), mca))
	m.ok(m.Delete(t.Context(), mca))
	m.settle()
	if m.addOn() != nil {
		t.Errorf("it waits for %v", m.addOn().Finalizers)
	}
}

// TestHosted: what goes to the hosting cluster is there, and goes before the add-on does.
func TestHosted(t *testing.T) {
	hosting := strings.Replace(settings, `"name":"settings"`, `"name":"agent","annotations":{"addon.open-cluster-management.io/hosted-manifest-location":"hosting"}`, 1)
	m := newMemory(t, settings, hosting)
	mca := m.addOn()
	mca.Annotations = map[string]string{addonv1alpha1.HostingClusterAnnotation: "infra"}
	m.ok(m.Update(t.Context(), mca))
	m.settle()
	m.expectWorks("each on its cluster", "infra/addon-mirror-deploy-hosting-one-0", "one/addon-mirror-deploy-0")
	m.ok(m.Delete(t.Context(), m.addOn()))
	m.settle()
	if m.addOn() != nil {
		t.Errorf("the add-on is still there: %+v", m.addOn().Finalizers)
	}
	m.expectWorks("nothing is left")
}

// TestForeignWork: a work of the name that is somebody else's is not overwritten.
func TestForeignWork(t *testing.T) {
	m := newMemory(t, settings)
	foreign := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "addon-mirror-deploy-0"}}
	m.ok(m.Create(t.Context(), foreign))
	m.settle()
	if says := condition(m.addOn().Status.Conditions, addonv1alpha1.ConditionManifestApplied); !strings.Contains(says, "False ManifestWorkApplyFailed: ") || !strings.Contains(says, "does not belong to ManagedClusterAddOn one/mirror") {
		t.Errorf("the add-on says %q", says)
	}
	m.ok(m.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign))
	if len(foreign.Spec.Workload.Manifests) > 0 {
		t.Error("the work of somebody else is overwritten")
	}
}
