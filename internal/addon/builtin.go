package addon

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// BuiltIn are the add-ons that the klusterlet itself is the agent of, to be installed by hand.
func BuiltIn() []*addonv1alpha1.ClusterManagementAddOn {
	return []*addonv1alpha1.ClusterManagementAddOn{
		builtIn(addonv1alpha1.ClusterProxyName, musterv1alpha1.AgentRoleProxy, "Reach the API server of a cluster through its agent's connection to the hub."),
		builtIn(addonv1alpha1.ManagedServiceAccountName, musterv1alpha1.AgentRoleServiceAccount, "Tokens of a cluster for programs on the hub, renewed by the cluster's agent."),
	}
}

func builtIn(name, role, description string) *addonv1alpha1.ClusterManagementAddOn {
	cma := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{musterv1alpha1.AgentRoleAnnotation: role}}}
	cma.Spec.AddOnMeta = addonv1alpha1.AddOnMeta{DisplayName: name, Description: description}
	cma.Spec.InstallStrategy.Type = addonv1alpha1.InstallManual
	return cma
}
