package uninstall_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/api/crds"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/registration"
	"github.com/muster-io/muster/klusterlet/uninstall"
)

func TestMain(m *testing.M) { test.Main(m, test.Environment{}) }

// TestDelete deletes what the agent of one hub owns, and nothing else; what a finalizer keeps is named.
func TestDelete(t *testing.T) {
	cp := test.ControlPlane(t, controlplane.Options{Name: "uninstall"})
	if err := controlplane.Install(t.Context(), cp.Config(), crds.Agent()...); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, workv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(cp.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{t, c}
	ours, theirs := f.record("https://hub.example.com"), f.record("https://other.example.com")
	f.list(ours, f.configMap("mine", ours), f.configMap("shared", ours, theirs), f.configMap("remade"), f.configMap("stuck", ours))
	f.list(theirs, f.configMap("another", theirs))
	f.finalizers("stuck", "example.com/keep")
	kubeconfig, err := controlplane.Kubeconfig("hub", &rest.Config{Host: "https://hub.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hub"}, Data: map[string][]byte{"kubeconfig": kubeconfig}}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	o := uninstall.Options{Cluster: cp.Config(), Workloads: uninstall.Delete, HubSecret: client.ObjectKeyFromObject(secret)}
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "open-cluster-management-agent-addon"}}); err != nil {
		t.Fatal(err)
	}
	for name, hub := range map[string]string{"metrics": "https://hub.example.com", "theirs": "https://other.example.com"} {
		kept := metav1.ObjectMeta{Namespace: "open-cluster-management-agent-addon", Name: name, Labels: map[string]string{
			registration.AddOnHubLabel: registration.ShortHash(registration.HubHash(hub)),
		}}
		elsewhere := *kept.DeepCopy()
		elsewhere.Namespace = "default"
		for _, o := range []client.Object{&corev1.Secret{ObjectMeta: kept}, &corev1.ServiceAccount{ObjectMeta: kept}, &corev1.Secret{ObjectMeta: elsewhere}} {
			if err := c.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}

	short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := uninstall.Run(short, o); err == nil || !strings.Contains(err.Error(), "ConfigMap default/stuck has been going for less than a minute, kept by finalizer example.com/keep") {
		t.Fatalf("what is stuck is not named: %v", err)
	}
	f.finalizers("stuck")
	if err := uninstall.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"mine": false, "stuck": false, "shared": true, "remade": true, "another": true} {
		if got := f.there(&corev1.ConfigMap{}, "default", name); got != want {
			t.Errorf("%s is there: %v, want %v", name, got, want)
		}
	}
	if f.there(&workv1.AppliedManifestWork{}, "", ours.Name) || !f.there(&workv1.AppliedManifestWork{}, "", theirs.Name) {
		t.Error("the record of our hub is left, or that of another is gone")
	}
	for name, want := range map[string]bool{"metrics": false, "theirs": true} {
		for where, o := range map[string]client.Object{"open-cluster-management-agent-addon": &corev1.Secret{}, "default": &corev1.Secret{}} {
			if got := f.there(o, where, name); got != want {
				t.Errorf("the credential of add-on %s in %s is there: %v, want %v", name, where, got, want)
			}
		}
		if got := f.there(&corev1.ServiceAccount{}, "open-cluster-management-agent-addon", name); got != want {
			t.Errorf("service account %s is there: %v, want %v", name, got, want)
		}
	}
	if f.there(&corev1.Secret{}, "default", "hub") {
		t.Error("the agent's certificate is left")
	}
	if err := uninstall.Run(t.Context(), o); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

type fixture struct {
	t *testing.T
	c client.Client
}

func (f fixture) record(hub string) *workv1.AppliedManifestWork {
	f.t.Helper()
	hash := registration.HubHash(hub)
	r := &workv1.AppliedManifestWork{
		ObjectMeta: metav1.ObjectMeta{Name: hash + "-w", Finalizers: []string{workv1.AppliedManifestWorkFinalizer}},
		Spec:       workv1.AppliedManifestWorkSpec{HubHash: hash, ManifestWorkName: "w"},
	}
	if err := f.c.Create(f.t.Context(), r); err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f fixture) configMap(name string, owners ...*workv1.AppliedManifestWork) *corev1.ConfigMap {
	f.t.Helper()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	for _, o := range owners {
		m.OwnerReferences = append(m.OwnerReferences, metav1.OwnerReference{
			APIVersion: workv1.GroupVersion.String(), Kind: "AppliedManifestWork", Name: o.Name, UID: o.UID,
		})
	}
	if err := f.c.Create(f.t.Context(), m); err != nil {
		f.t.Fatal(err)
	}
	return m
}

// list writes into a record what it has applied.
func (f fixture) list(r *workv1.AppliedManifestWork, objects ...*corev1.ConfigMap) {
	f.t.Helper()
	for _, o := range objects {
		r.Status.AppliedResources = append(r.Status.AppliedResources, workv1.AppliedManifestResourceMeta{
			ResourceIdentifier: workv1.ResourceIdentifier{Resource: "configmaps", Namespace: o.Namespace, Name: o.Name}, Version: "v1", UID: string(o.UID),
		})
	}
	if err := f.c.Status().Update(f.t.Context(), r); err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) finalizers(name string, all ...string) {
	f.t.Helper()
	m := &corev1.ConfigMap{}
	if err := f.c.Get(f.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, m); err != nil {
		f.t.Fatal(err)
	}
	m.Finalizers = all
	if err := f.c.Update(f.t.Context(), m); err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) there(o client.Object, namespace, name string) bool {
	f.t.Helper()
	err := f.c.Get(f.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o)
	if err != nil && !apierrors.IsNotFound(err) {
		f.t.Fatal(err)
	}
	return err == nil
}
