package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:JSONPath=`.spec.addonName`,name="ADDON NAME",type=string

// AddOnTemplate is what an add-on is made of. It is a configuration: clusters may have different ones.
type AddOnTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec of the template.
	// +required
	Spec AddOnTemplateSpec `json:"spec"`
}

// AddOnTemplateSpec is what an add-on is made of.
type AddOnTemplateSpec struct {
	// AddonName is the name of the add-on that the template is for.
	// +required
	AddonName string `json:"addonName"`

	// AgentSpec is the work with the add-on's objects. {{NAME}} in their texts is a variable.
	// +required
	AgentSpec workv1.ManifestWorkSpec `json:"agentSpec"`

	// Registration says which certificates the agent has, and what it may do on the hub.
	// +optional
	Registration []RegistrationSpec `json:"registration,omitempty"`
}

// RegistrationSpec is a certificate of an add-on's agent.
type RegistrationSpec struct {
	// Type chooses which of the other fields counts.
	// +required
	// +kubebuilder:validation:Enum=KubeClient;CustomSigner
	Type RegistrationType `json:"type"`

	// KubeClient is a client of the hub's API server.
	// +optional
	KubeClient *KubeClientRegistrationConfig `json:"kubeClient,omitempty"`

	// CustomSigner is a certificate that a CA of the add-on signs.
	// +optional
	CustomSigner *CustomSignerRegistrationConfig `json:"customSigner,omitempty"`
}

// RegistrationType is what a certificate of an agent is for.
type RegistrationType string

// Types of a RegistrationSpec.
const (
	RegistrationKubeClient   RegistrationType = "KubeClient"
	RegistrationCustomSigner RegistrationType = "CustomSigner"
)

// KubeClientRegistrationConfig is a client of the hub's API server.
type KubeClientRegistrationConfig struct {
	// HubPermissions are its rights.
	// +optional
	HubPermissions []HubPermissionConfig `json:"hubPermissions,omitempty"`
}

// HubPermissionConfig is a right on the hub.
type HubPermissionConfig struct {
	// Type says in which namespace the right is.
	// +required
	// +kubebuilder:validation:Enum=CurrentCluster;SingleNamespace
	Type HubPermissionType `json:"type"`

	// CurrentCluster is a right in the namespace of the agent's own cluster.
	// +optional
	CurrentCluster *CurrentClusterBindingConfig `json:"currentCluster,omitempty"`

	// SingleNamespace is a right in one namespace, the same for the agents of all clusters.
	// +optional
	SingleNamespace *SingleNamespaceBindingConfig `json:"singleNamespace,omitempty"`
}

// HubPermissionType says in which namespace a right is.
type HubPermissionType string

// Types of a HubPermissionConfig.
const (
	HubPermissionCurrentCluster  HubPermissionType = "CurrentCluster"
	HubPermissionSingleNamespace HubPermissionType = "SingleNamespace"
)

// CurrentClusterBindingConfig binds a ClusterRole in the namespace of the agent's cluster.
type CurrentClusterBindingConfig struct {
	// ClusterRoleName is the role.
	// +required
	ClusterRoleName string `json:"clusterRoleName"`
}

// SingleNamespaceBindingConfig binds a role in one namespace.
type SingleNamespaceBindingConfig struct {
	// Namespace of the binding.
	// +required
	Namespace string `json:"namespace"`

	// RoleRef is the role.
	// +required
	RoleRef RoleRef `json:"roleRef"`
}

// RoleRef names a Role or a ClusterRole.
// +structType=atomic
type RoleRef struct {
	// APIGroup of the role.
	// +required
	APIGroup string `json:"apiGroup"`

	// Kind of the role.
	// +required
	Kind string `json:"kind"`

	// Name of the role.
	// +required
	Name string `json:"name"`
}

// CustomSignerRegistrationConfig is a certificate that a CA of the add-on signs.
type CustomSignerRegistrationConfig struct {
	RegistrationConfig `json:",inline"`

	// SigningCA is the Secret, of type kubernetes.io/tls, with the CA.
	// +required
	SigningCA SigningCARef `json:"signingCA"`
}

// SigningCARef names the Secret with a CA.
type SigningCARef struct {
	// Namespace of the Secret; left out, that of the hub.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Name of the Secret.
	// +required
	Name string `json:"name"`
}

// +kubebuilder:object:root=true

// AddOnTemplateList is a list of templates.
type AddOnTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AddOnTemplate `json:"items"`
}
