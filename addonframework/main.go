// Command addonframework is the manager of an add-on that is written on OCM's addon-framework: hello, whose agent reads ConfigMaps on
// the hub and renews a lease on its cluster. Tests run it against Muster.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"open-cluster-management.io/addon-framework/pkg/addonmanager"
	"open-cluster-management.io/addon-framework/pkg/agent"
	"open-cluster-management.io/addon-framework/pkg/utils"
	addonv1alpha1 "open-cluster-management.io/api/addon/v1alpha1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
)

const addon = "hello"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "addonframework:", err)
		os.Exit(1)
	}
}

// run manages the add-on on the hub of the kubeconfig that the first argument names.
func run(ctx context.Context) error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: addonframework KUBECONFIG")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		return err
	}
	manager, err := addonmanager.New(config)
	if err != nil {
		return err
	}
	if err := manager.AddAgent(&hello{ctx: ctx, config: config}); err != nil {
		return err
	}
	if err := manager.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// hello is the add-on. The framework gives no context to what it calls.
type hello struct {
	ctx    context.Context
	config *rest.Config
}

// Manifests are what the agent is made of on its cluster.
func (h *hello) Manifests(cluster *clusterv1.ManagedCluster, a *addonv1alpha1.ManagedClusterAddOn) ([]runtime.Object, error) {
	return []runtime.Object{&corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: a.Spec.InstallNamespace, Name: addon},
		Data:       map[string]string{"cluster": cluster.Name},
	}}, nil
}

// GetAgentAddonOptions say how the agent registers.
func (h *hello) GetAgentAddonOptions() agent.AgentAddonOptions {
	return agent.AgentAddonOptions{
		AddonName: addon,
		Registration: &agent.RegistrationOption{
			CSRConfigurations: agent.KubeClientSignerConfigurations(addon, addon+"-agent"),
			CSRApproveCheck:   utils.DefaultCSRApprover(addon + "-agent"),
			PermissionConfig:  h.permit,
		},
		HealthProber: &agent.HealthProber{Type: agent.HealthProberTypeLease},
	}
}

// permit lets the agent read ConfigMaps in its cluster's namespace on the hub.
func (h *hello) permit(cluster *clusterv1.ManagedCluster, a *addonv1alpha1.ManagedClusterAddOn) error {
	clients, err := kubernetes.NewForConfig(h.config)
	if err != nil {
		return err
	}
	object := metav1.ObjectMeta{Namespace: cluster.Name, Name: addon}
	role := &rbacv1.Role{ObjectMeta: object, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list"}}}}
	if _, err := clients.RbacV1().Roles(cluster.Name).Create(h.ctx, role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: object, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: addon},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: agent.DefaultGroups(cluster.Name, addon)[0]}},
	}
	if _, err := clients.RbacV1().RoleBindings(cluster.Name).Create(h.ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}
