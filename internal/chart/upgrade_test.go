package chart_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	helmchart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/kube"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/charts"
	"github.com/muster-io/muster/internal/chart"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub/install"
	"github.com/muster-io/muster/internal/test"
)

// TestMain stops the control planes of the tests.
func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	test.Main(m, test.Environment{})
}

const lastVersion = "0.1.0-rc.1" // of the packed charts in testdata/last-release

// TestUpgradeOverTheLastRelease installs the last release with objects in use, and both charts of today over it: every object is there
// after it, is the same one, has lost no field, and is read by this program without one that it does not know.
func TestUpgradeOverTheLastRelease(t *testing.T) {
	both := []string{charts.Hub, charts.Klusterlet}
	t.Run("with Helm", func(t *testing.T) {
		cp := test.ControlPlane(t, controlplane.Options{Name: "upgrade-helm"})
		for _, name := range both {
			install := action.NewInstall(helm(t, cp, namespaceOf(name)))
			install.ReleaseName, install.Namespace, install.CreateNamespace, install.WaitStrategy = name, namespaceOf(name), true, kube.HookOnlyStrategy
			if _, err := install.RunWithContext(t.Context(), packed(t, name), valuesOf(t, name, "default")); err != nil {
				t.Fatalf("helm install %s: %v", name, err)
			}
		}
		objects := create(t, cp)
		for _, name := range slices.Concat(both, both) { // an upgrade can be repeated
			upgrade := action.NewUpgrade(helm(t, cp, namespaceOf(name)))
			upgrade.Namespace, upgrade.WaitStrategy = namespaceOf(name), kube.HookOnlyStrategy
			today, err := loader.Load("../../charts/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := upgrade.RunWithContext(t.Context(), name, today, valuesOf(t, name, "default")); err != nil {
				t.Fatalf("helm upgrade %s: %v", name, err)
			}
		}
		kept(t, objects)
	})
	t.Run("with muster", func(t *testing.T) {
		cp := test.ControlPlane(t, controlplane.Options{Name: "upgrade"})
		var kinds [][]byte
		for _, name := range both {
			for _, file := range packed(t, name).Files {
				if strings.HasPrefix(file.Name, "files/crds/") {
					kinds = append(kinds, file.Data)
				}
			}
		}
		if err := controlplane.Install(t.Context(), cp.Config(), kinds...); err != nil {
			t.Fatal(err)
		}
		objects := create(t, cp)
		for _, name := range slices.Concat(both, both) {
			if _, err := chart.Install(t.Context(), cp.Config(), release(t, name, "minimal"), func(string) {}); err != nil {
				t.Fatal(err)
			}
		}
		kept(t, objects)
	})
}

// packed is a chart of the last release.
func packed(t *testing.T, name string) *helmchart.Chart {
	t.Helper()
	loaded, err := loader.Load("testdata/last-release/" + name + "-" + lastVersion + ".tgz")
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// helm is Helm's library, in a namespace.
func helm(t *testing.T, cp *controlplane.ControlPlane, namespace string) *action.Configuration {
	t.Helper()
	flags := genericclioptions.NewConfigFlags(false)
	file := cp.KubeconfigPath()
	flags.KubeConfig, flags.Namespace = &file, &namespace
	config := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := config.Init(flags, namespace, "secret"); err != nil {
		t.Fatal(err)
	}
	return config
}

// kept says what objects have lost.
func kept(t *testing.T, objects map[string]stored) {
	t.Helper()
	for key, before := range objects {
		after, err := before.resource.Get(t.Context(), before.object.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Errorf("%s is lost: %v", key, err)
			continue
		}
		for _, o := range []*unstructured.Unstructured{before.object, after} {
			unstructured.RemoveNestedField(o.Object, "metadata", "managedFields")
		}
		if lost := missing("", before.object.Object, after.Object); len(lost) > 0 {
			t.Errorf("%s has lost or changed %v", key, lost)
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(after.Object, typeOf(t, after.GetKind()), true); err != nil {
			t.Errorf("%s is not read: %v", key, err)
		}
	}
}

// TestWhatIsThereAlready: what a cluster has that is in the way of a release is named, with the next step.
func TestWhatIsThereAlready(t *testing.T) {
	cp := test.ControlPlane(t, controlplane.Options{Name: "there"})
	remove := []func(){
		newerKind(t, cp, charts.Hub, "managedclustersets.cluster.open-cluster-management.io"),
		newerKind(t, cp, charts.Klusterlet, "appliedmanifestworks.work.open-cluster-management.io"),
	}
	with := func(r chart.Release, values map[string]any) error {
		for key, value := range values {
			r.Values[key] = value
		}
		_, err := chart.Install(t.Context(), cp.Config(), r, func(string) {})
		return err
	}
	hub := func() chart.Release { return release(t, charts.Hub, "minimal") }
	says(t, "newer kinds of OCM", with(hub(), nil), "managedclustersets.cluster.open-cluster-management.io has v1beta2 .spec.fromTheFuture", "crds.ocm=false")
	says(t, "newer kinds of OCM's agent", with(release(t, charts.Klusterlet, "default"), nil),
		"appliedmanifestworks.work.open-cluster-management.io has v1 .spec.fromTheFuture", "crds.install=false")
	says(t, "hub --install over them", install.Hub(t.Context(), cp.Config()), "fromTheFuture")
	if err := with(hub(), map[string]any{"crds": map[string]any{"ocm": false}}); err != nil {
		t.Errorf("OCM's kinds are left to who installed them: %v", err)
	}
	onlyOwnKinds(t, cp, "managedclustersets.cluster.open-cluster-management.io", "appliedmanifestworks.work.open-cluster-management.io")
	for _, kind := range remove {
		kind()
	}
	says(t, "no default storage class", with(hub(), map[string]any{"state": map[string]any{"type": "Ephemeral"}}), "no default storage class", "state.type to EmptyDir")
	says(t, "a storage class that is not there", with(hub(), map[string]any{"state": map[string]any{"type": "Ephemeral", "storageClassName": "fast"}}),
		"storage class fast is not in this cluster", "kubectl get storageclass")
	says(t, "a Secret that is not there", with(release(t, charts.Klusterlet, "minimal"), nil), "Secret muster-agent/bootstrap-hub-kubeconfig with key kubeconfig is not in this cluster")
	if err := with(hub(), nil); err != nil {
		t.Fatal(err)
	}
	second := hub()
	second.Name = "other"
	says(t, "a second release", with(second, nil), "release muster-hub has a hub in this cluster already", "helm upgrade muster-hub")

	agent := func(namespace string) chart.Release {
		r := release(t, charts.Klusterlet, "default")
		r.Namespace = namespace
		return r
	}
	if err := with(agent("muster-agent"), nil); err != nil {
		t.Fatal(err)
	}
	says(t, "a second agent", with(agent("elsewhere"), nil), "this cluster has an agent already: release klusterlet in namespace muster-agent", "value hubs")
}

// onlyOwnKinds says which of Muster's own kinds a control plane lacks, and which of OCM's it has but those that were there.
func onlyOwnKinds(t *testing.T, cp *controlplane.ControlPlane, there ...string) {
	t.Helper()
	all, err := dynamic.NewForConfig(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	list, err := all.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range list.Items {
		got = append(got, list.Items[i].GetName())
	}
	want := slices.Clone(there)
	for _, data := range crds.Hub() {
		var kind metav1.PartialObjectMetadata
		if err := yaml.Unmarshal(data, &kind); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(kind.Name, ".muster.dev") {
			want = append(want, kind.Name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the kinds that are there (-want +got):\n%s", diff)
	}
}

// newerKind puts a kind of a chart on a control plane, with a field that the chart's has not, until it is removed.
func newerKind(t *testing.T, cp *controlplane.ControlPlane, chartName, name string) (remove func()) {
	t.Helper()
	rendering, err := chart.Render(release(t, chartName, "default"), chart.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := dynamic.NewForConfig(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(rendering.Objects, func(o *unstructured.Unstructured) bool { return o.GetName() == name })
	newer := rendering.Objects[i]
	versions, _, _ := unstructured.NestedSlice(newer.Object, "spec", "versions")
	if err := unstructured.SetNestedField(versions[0].(map[string]any), map[string]any{"type": "string"},
		"schema", "openAPIV3Schema", "properties", "spec", "properties", "fromTheFuture"); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedSlice(newer.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	newer.SetAnnotations(nil)
	definitions := all.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	if _, err := definitions.Create(t.Context(), newer, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := definitions.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func says(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: the error does not say %q: %v", what, part, err)
		}
	}
}

// missing are the fields of one value that another does not have equal. What the other has more are defaults of new fields.
func missing(path string, before, after any) []string {
	switch b := before.(type) {
	case map[string]any:
		a, _ := after.(map[string]any)
		var lost []string
		for key, value := range b {
			lost = append(lost, missing(path+"."+key, value, a[key])...)
		}
		return lost
	case []any:
		a, _ := after.([]any)
		if len(a) != len(b) {
			return []string{path}
		}
		var lost []string
		for i := range b {
			lost = append(lost, missing(fmt.Sprintf("%s[%d]", path, i), b[i], a[i])...)
		}
		return lost
	}
	if cmp.Equal(before, after) {
		return nil
	}
	return []string{path}
}

type stored struct {
	resource dynamic.ResourceInterface
	object   *unstructured.Unstructured
}

// create makes the objects of the last release, with their status.
func create(t *testing.T, cp *controlplane.ControlPlane) map[string]stored {
	t.Helper()
	file, err := os.Open("testdata/last-release/objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	clients, err := kubernetes.NewForConfig(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"retail", "edge-1", "muster-system", "muster-agent"} {
		_, err := clients.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	// What the chart's values name.
	if _, err := clients.CoreV1().Secrets("muster-agent").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-hub-kubeconfig"}, StringData: map[string]string{"kubeconfig": "x"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(discovery.NewDiscoveryClient(clients.Discovery().RESTClient()))
	if err != nil {
		t.Fatal(err)
	}
	mapper, objects := restmapper.NewDiscoveryRESTMapper(groups), map[string]stored{}
	all, err := dynamic.NewForConfig(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	for decoder := utilyaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); err != nil {
			return objects
		}
		mapping, err := mapper.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
		if err != nil {
			t.Fatal(err)
		}
		var resource dynamic.ResourceInterface = all.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			resource = all.Resource(mapping.Resource).Namespace(o.GetNamespace())
		}
		key := fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
		objects[key] = stored{resource, store(t.Context(), t, resource, o)}
	}
}

func store(ctx context.Context, t *testing.T, resource dynamic.ResourceInterface, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	strict := metav1.FieldValidationStrict
	created, err := resource.Create(ctx, o, metav1.CreateOptions{FieldValidation: strict})
	if err != nil {
		t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
	}
	status, has := o.Object["status"]
	if !has {
		return created
	}
	created.Object["status"] = status
	if written, err := resource.UpdateStatus(ctx, created, metav1.UpdateOptions{FieldValidation: strict}); err == nil {
		return written
	} else if !apierrors.IsNotFound(err) { // a kind without a status of its own has it already
		t.Fatalf("status of %s %s: %v", o.GetKind(), o.GetName(), err)
	}
	return created
}

func typeOf(t *testing.T, kind string) any {
	t.Helper()
	types := map[string]any{
		"ManagedCluster": &clusterv1.ManagedCluster{}, "ManagedClusterSet": &clusterv1beta2.ManagedClusterSet{},
		"ManagedClusterSetBinding": &clusterv1beta2.ManagedClusterSetBinding{}, "Placement": &clusterv1beta1.Placement{},
		"PlacementDecision": &clusterv1beta1.PlacementDecision{}, "FleetRepository": &musterv1alpha1.FleetRepository{},
		"Application": &musterv1alpha1.Application{}, "ManifestWork": &workv1.ManifestWork{}, "AppliedManifestWork": &workv1.AppliedManifestWork{},
	}
	if types[kind] == nil {
		t.Fatalf("no type of %s", kind)
	}
	return types[kind]
}
