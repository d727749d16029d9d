package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/api/addon/v1alpha1"
	"github.com/muster-io/muster/api/internal/wire"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,shortName={mca,mcas}
// +kubebuilder:unservedversion
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Available")].status`,name="Available",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Degraded")].status`,name="Degraded",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="Progressing")].status`,name="Progressing",type=string

// ManagedClusterAddOn is an add-on on one cluster. Its name is the add-on's, its namespace the cluster's.
type ManagedClusterAddOn struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the cluster has of its own.
	// +required
	Spec ManagedClusterAddOnSpec `json:"spec"`

	// Status says how the add-on is on the cluster.
	// +optional
	Status ManagedClusterAddOnStatus `json:"status,omitzero"`
}

// ManagedClusterAddOnSpec is what a cluster has of its own.
type ManagedClusterAddOnSpec struct {
	// Configs of this cluster. They win over those of placements and the defaults.
	// +optional
	Configs []v1alpha1.AddOnConfig `json:"configs,omitempty"`
}

// RegistrationConfig is a certificate or token that the agent of an add-on asks the hub for.
type RegistrationConfig struct {
	// Type chooses which of the other fields counts.
	// +required
	// +kubebuilder:validation:Enum=kubeClient;customSigner
	Type RegistrationType `json:"type"`

	// KubeClient is a client of the hub's API server.
	// +optional
	KubeClient *KubeClientConfig `json:"kubeClient,omitempty"`

	// CustomSigner is a certificate that somebody else signs.
	// +optional
	CustomSigner *CustomSignerConfig `json:"customSigner,omitempty"`
}

// RegistrationType is what a certificate of an agent is for.
type RegistrationType string

// Types of a RegistrationConfig.
const (
	KubeClient   RegistrationType = "kubeClient"
	CustomSigner RegistrationType = "customSigner"
)

// KubeClientConfig is a client of the hub's API server.
type KubeClientConfig struct {
	// Subject that the client is known as.
	// +optional
	Subject KubeClientSubject `json:"subject,omitzero"`

	// Driver is how the agent authenticates: csr or token. The agent says it.
	// +optional
	// +kubebuilder:validation:Enum=csr;token
	Driver string `json:"driver,omitempty"`
}

// KubeClientSubject is who a client of the API server is.
type KubeClientSubject struct {
	// User is its name.
	// +optional
	User string `json:"user,omitempty"`

	// Groups that it is in.
	// +optional
	Groups []string `json:"groups,omitempty"`
}

// CustomSignerConfig is a certificate that somebody else than the hub's API server signs.
type CustomSignerConfig struct {
	// SignerName says who signs it.
	// +required
	// +kubebuilder:validation:MinLength=5
	// +kubebuilder:validation:MaxLength=571
	// +kubebuilder:validation:Pattern=`^([a-z0-9][a-z0-9-]*[a-z0-9]\.)+[a-z]+\/[a-z0-9-\.]+$`
	SignerName string `json:"signerName"`

	// Subject of the certificate.
	// +optional
	Subject Subject `json:"subject,omitzero"`
}

// Subject of a certificate.
type Subject struct {
	// User is its common name.
	// +optional
	User string `json:"user,omitempty"`

	// Groups are its organizations.
	// +optional
	Groups []string `json:"groups,omitempty"`

	// OrganizationUnits are its units.
	// +optional
	OrganizationUnits []string `json:"organizationUnits,omitempty"`
}

// ManagedClusterAddOnStatus says how an add-on is on a cluster.
type ManagedClusterAddOnStatus struct {
	// Conditions of the add-on; see the Condition constants of v1alpha1.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// RelatedObjects are those that belong to the add-on.
	// +optional
	RelatedObjects []v1alpha1.ObjectReference `json:"relatedObjects,omitempty"`

	// AddOnMeta is that of the ClusterManagementAddOn.
	// +optional
	AddOnMeta v1alpha1.AddOnMeta `json:"addOnMeta,omitzero"`

	// SupportedConfigs are the kinds of configuration that the add-on takes.
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=resource
	SupportedConfigs []v1alpha1.ConfigGroupResource `json:"supportedConfigs,omitempty"`

	// ConfigReferences are the configurations of the add-on on this cluster.
	// +optional
	ConfigReferences []ConfigReference `json:"configReferences,omitempty"`

	// Namespace is where the agent runs on the cluster.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Registrations are the certificates and tokens that the agent asks for.
	// +optional
	Registrations []RegistrationConfig `json:"registrations,omitempty"`

	// HealthCheck says how the add-on's health is found.
	// +optional
	HealthCheck v1alpha1.HealthCheck `json:"healthCheck,omitzero"`
}

// UnmarshalJSON takes times in it that are none: see wire.UnmarshalStatus.
func (s *ManagedClusterAddOnStatus) UnmarshalJSON(data []byte) error {
	type plain ManagedClusterAddOnStatus
	return wire.UnmarshalStatus(data, (*plain)(s))
}

// ConfigReference is a configuration of an add-on on a cluster.
type ConfigReference struct {
	v1alpha1.ConfigGroupResource `json:",inline"`

	// LastObservedGeneration of the configuration.
	// +optional
	LastObservedGeneration int64 `json:"lastObservedGeneration,omitempty"`

	// DesiredConfig is the configuration that the cluster should have now.
	// +optional
	DesiredConfig *v1alpha1.ConfigSpecHash `json:"desiredConfig,omitempty"`

	// LastAppliedConfig is the one that the cluster has.
	// +optional
	LastAppliedConfig *v1alpha1.ConfigSpecHash `json:"lastAppliedConfig,omitempty"`
}

// +kubebuilder:object:root=true

// ManagedClusterAddOnList is a list of add-ons on clusters.
type ManagedClusterAddOnList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ManagedClusterAddOn `json:"items"`
}
