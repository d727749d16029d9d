package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	authv1beta1 "github.com/muster-io/muster/api/authentication/v1beta1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/access"
	builtin "github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/controlplane"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/addon"
	"github.com/muster-io/muster/klusterlet/proxy"
	"github.com/muster-io/muster/klusterlet/registration"
	"github.com/muster-io/muster/klusterlet/serviceaccount"
)

// TestBuiltInAddOns: cluster-proxy and managed-serviceaccount are installed as add-ons, on an agent that was not started with their roles; they
// are available by lease as long as they work, and what they gave goes with them.
func TestBuiltInAddOns(t *testing.T) {
	t.Parallel()
	listening := make(chan net.Addr, 1)
	f := newFleet(t, "", func(o *Options) {
		o.LocalRepositories, o.ProxyAddress, o.proxyListening = nil, "127.0.0.1:0", func(a net.Addr) { listening <- a }
	})
	<-listening
	f.create(&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}})
	f.eventually(func() string {
		return message(f.client.Get(f.ctx, client.ObjectKey{Namespace: "one", Name: "open-cluster-management:managedcluster:one:registration"}, &rbacv1.RoleBinding{}))
	})
	spoke := f.join("one")
	config, err := f.cp.User("system:open-cluster-management:one:a1", "system:open-cluster-management:one", "system:open-cluster-management:managed-clusters")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	kubeconfig, err := controlplane.Kubeconfig("hub", config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	short := 100 * time.Millisecond
	agent := &addon.Agent{
		Hub:     registration.HubConfig{Config: config, Cluster: "one", Agent: "a1", Hash: registration.HubHash(f.url), Kubeconfig: file},
		Cluster: spoke.Config(), Periods: addon.Periods{Lease: short, Retry: short, Hub: short},
		Roles: map[string]addon.Role{
			musterv1alpha1.AgentRoleProxy: func(ctx context.Context, alive func()) error {
				return (&proxy.Agent{Hub: config, Spoke: spoke.Config(), Look: short, Retry: short, Alive: alive}).Run(ctx)
			},
			musterv1alpha1.AgentRoleServiceAccount: func(ctx context.Context, alive func()) error {
				return (&serviceaccount.Agent{Hub: config, Spoke: spoke.Config(), Cluster: "one", Retry: short, Alive: alive}).Run(ctx)
			},
		},
	}
	defer f.inBackground("the add-ons of one", agent.Run)()

	for _, cma := range builtin.BuiltIn() {
		f.create(cma)
		f.enable("one", cma.Name)
	}
	f.expectSays("one", addonv1alpha1.ManagedServiceAccountName, addonv1alpha1.ConditionRegistrationApplied, metav1.ConditionFalse, addonv1alpha1.ReasonSetPermissionFailed,
		"muster addon enable managed-serviceaccount --clusters one", "kubectl label clusterrole muster:managed-serviceaccount")
	binding := rules.WantServiceAccountBinding(f.addOn("one", addonv1alpha1.ManagedServiceAccountName)) // as muster addon enable does
	f.create(binding)
	for _, cma := range builtin.BuiltIn() {
		f.expectAddOn("one", cma.Name, addonv1alpha1.ConditionRegistrationApplied, "True SetPermissionApplied")
		f.expectAddOn("one", cma.Name, addonv1alpha1.ConditionAvailable, "True ManagedClusterAddOnLeaseUpdated")
		f.expectAddOn("one", cma.Name, addonv1alpha1.ConditionProgressing, "False Completed")
	}

	m := &authv1beta1.ManagedServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "built-in"}}
	f.create(m)
	f.eventually(func() string {
		if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(m), m); err != nil {
			return err.Error()
		}
		return says(m.Status.Conditions, authv1beta1.ConditionTypeTokenReported, metav1.ConditionTrue, authv1beta1.ReasonTokenReported)
	})
	where := &corev1.ConfigMap{}
	if err := f.client.Get(f.ctx, client.ObjectKey{Namespace: "muster-system", Name: access.ConfigMap}, where); err != nil {
		t.Fatal(err)
	}
	admin := f.cp.Config()
	through := &rest.Config{Host: where.Data[access.URLKey] + "/one"}
	through.CAData, through.CertData, through.KeyData = []byte(where.Data[access.CAKey]), admin.CertData, admin.KeyData
	reach := func() error {
		_, err := kubernetes.NewForConfigOrDie(through).CoreV1().Namespaces().List(f.ctx, metav1.ListOptions{})
		return err
	}
	if err := reach(); !apierrors.IsForbidden(err) { // the cluster knows nobody of the hub yet
		t.Errorf("through the proxy: %v", err)
	}

	for _, cma := range builtin.BuiltIn() {
		f.disable("one", cma.Name)
	}
	f.eventually(func() string {
		if err := reach(); !apierrors.IsServiceUnavailable(err) {
			return "the cluster is still reached: " + message(err)
		}
		err := f.client.Get(f.ctx, client.ObjectKeyFromObject(binding), &rbacv1.RoleBinding{})
		if !apierrors.IsNotFound(err) {
			return "the agent has its rights still: " + message(err)
		}
		return ""
	})
	// Another agent of the name, such as OCM's own: the klusterlet leaves it alone.
	own := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: addonv1alpha1.ManagedServiceAccountName}}
	f.change(own, func() { own.Annotations = nil })
	f.enable("one", own.Name)
	f.expectAddOn("one", own.Name, addonv1alpha1.ConditionConfigured, "True ConfigurationsConfigured")
	if mca := f.addOn("one", own.Name); len(mca.Annotations) > 0 || mca.Status.HealthCheck.Mode == addonv1alpha1.HealthCheckLease {
		t.Errorf("an add-on with an agent of its own is %v, %v", mca.Annotations, mca.Status.HealthCheck)
	}
}
