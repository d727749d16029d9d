package addonregistration_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/internal/controlplane"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/registration"
	"github.com/muster-io/muster/klusterlet/work"
)

// TestAddOnFramework: an add-on that is written on OCM's addon-framework, with a manager of its own, is deployed by our agent and
// registered by our agent; its agent reads on the hub what the manager lets it, and the manager hears of its lease.
func TestAddOnFramework(t *testing.T) {
	program := os.Getenv("MUSTER_ADDONFRAMEWORK")
	if program == "" {
		program, _ = filepath.Abs("../../../bin/addonframework")
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("there is no add-on on OCM's addon-framework: make addonframework builds it; %v", err)
	}
	f := started(t)
	f.must(controlplane.Install(t.Context(), f.config, crds.Agent()...))
	kubeconfig, err := f.cp.Kubeconfig()
	f.must(err)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	f.must(os.WriteFile(file, kubeconfig, 0o600))
	f.background("the add-on's manager", func(ctx context.Context) error { return manager(ctx, t, program, file) })
	f.agent()
	f.works()

	hello := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{
		Name: "hello", Annotations: map[string]string{addonv1alpha1.LifecycleAnnotation: addonv1alpha1.LifecycleSelf},
	}}
	f.create(f.hub, hello)
	f.create(f.hub, &addonv1alpha1.ManagedClusterAddOn{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: "hello", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: addonv1alpha1.GroupVersion.String(), Kind: "ClusterManagementAddOn", Name: "hello", UID: hello.UID,
		}}},
		Spec: addonv1alpha1.ManagedClusterAddOnSpec{InstallNamespace: f.name},
	})
	f.reads(f.with(f.secret("hello-hub-kubeconfig", "tls.crt")))
	f.expect("hello", "ManifestApplied", metav1.ConditionTrue, addonv1alpha1.ReasonAddonManifestApplied)
	f.expect("hello", addonv1alpha1.ConditionRegistrationApplied, metav1.ConditionTrue, addonv1alpha1.ReasonSetPermissionApplied)
	f.expect("hello", addonv1alpha1.ConditionClusterCertificateRotated, metav1.ConditionTrue, clusterv1.ReasonCertificateUpdated)
	deployed := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: "hello"}}
	f.must(f.cluster.Get(t.Context(), client.ObjectKeyFromObject(deployed), deployed))
	if deployed.Data["cluster"] != f.name {
		t.Errorf("the add-on was rendered for %q", deployed.Data["cluster"])
	}

	f.must(f.hub.Delete(t.Context(), f.get("hello")))
	f.gone(f.cluster, deployed)
	f.gone(f.cluster, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: "hello-hub-kubeconfig"}})
}

// manager runs the program until ctx ends.
func manager(ctx context.Context, t *testing.T, program, kubeconfig string) error {
	var out bytes.Buffer
	command := exec.CommandContext(ctx, program, kubeconfig)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	if t.Failed() {
		t.Logf("the add-on's manager says:\n%s", out.Bytes())
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// works runs the part of the cluster's agent that applies works.
func (f *fleet) works() {
	f.Helper()
	config, err := f.cp.User(rules.UserName(f.name, "a1"), rules.Organizations(f.name)...)
	f.must(err)
	agent := &work.Agent{Hub: config, Spoke: f.config, ClusterName: f.name, HubHash: registration.HubHash(config.Host), AgentID: "a1", Namespace: f.name}
	f.background("the agent of works", agent.Run)
}
