package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/api/internal/wire"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,shortName={mca,mcas}
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
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
	// InstallNamespace is where the agent runs on the cluster. Version v1beta1 has it as an annotation.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:default=open-cluster-management-agent-addon
	InstallNamespace string `json:"installNamespace,omitempty"`

	// Configs of this cluster. They win over those of placements and the defaults.
	// +optional
	Configs []AddOnConfig `json:"configs,omitempty"`
}

// RegistrationConfig is a certificate that the agent of an add-on asks the hub for.
type RegistrationConfig struct {
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
	OrganizationUnits []string `json:"organizationUnit,omitempty"`
}

// KubeClientSigner signs certificates with which the hub's API server is used.
const KubeClientSigner = "kubernetes.io/kube-apiserver-client"

// ManagedClusterAddOnStatus says how an add-on is on a cluster.
type ManagedClusterAddOnStatus struct {
	// Conditions of the add-on; see the Condition constants.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// RelatedObjects are those that belong to the add-on.
	// +optional
	RelatedObjects []ObjectReference `json:"relatedObjects,omitempty"`

	// AddOnMeta is that of the ClusterManagementAddOn.
	// +optional
	AddOnMeta AddOnMeta `json:"addOnMeta,omitzero"`

	// AddOnConfiguration is deprecated: ConfigReferences say it.
	// +optional
	AddOnConfiguration ConfigCoordinates `json:"addOnConfiguration,omitzero"`

	// SupportedConfigs are the kinds of configuration that the add-on takes.
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=resource
	SupportedConfigs []ConfigGroupResource `json:"supportedConfigs,omitempty"`

	// ConfigReferences are the configurations of the add-on on this cluster.
	// +optional
	ConfigReferences []ConfigReference `json:"configReferences,omitempty"`

	// Namespace is where the agent runs on the cluster.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Registrations are the certificates that the agent asks for.
	// +optional
	Registrations []RegistrationConfig `json:"registrations,omitempty"`

	// HealthCheck says how the add-on's health is found.
	// +optional
	HealthCheck HealthCheck `json:"healthCheck,omitzero"`

	// KubeClientDriver is how the agent authenticates on the hub: csr or token. The agent says it.
	// +optional
	// +kubebuilder:validation:Enum=csr;token
	KubeClientDriver string `json:"kubeClientDriver,omitempty"`
}

// UnmarshalJSON takes times in it that are none: see wire.UnmarshalStatus.
func (s *ManagedClusterAddOnStatus) UnmarshalJSON(data []byte) error {
	type plain ManagedClusterAddOnStatus
	return wire.UnmarshalStatus(data, (*plain)(s))
}

// ObjectReference names an object of the hub.
type ObjectReference struct {
	// Group of the object.
	// +required
	Group string `json:"group"`

	// Resource of the object, in the plural.
	// +required
	Resource string `json:"resource"`

	// Namespace of the object.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Name of the object.
	// +required
	Name string `json:"name"`
}

// ConfigReference is a configuration of an add-on on a cluster.
type ConfigReference struct {
	ConfigGroupResource `json:",inline"`

	// ConfigReferent is deprecated: DesiredConfig says it.
	ConfigReferent `json:",inline"`

	// LastObservedGeneration of the configuration.
	// +optional
	LastObservedGeneration int64 `json:"lastObservedGeneration,omitempty"`

	// DesiredConfig is the configuration that the cluster should have now.
	// +optional
	DesiredConfig *ConfigSpecHash `json:"desiredConfig,omitempty"`

	// LastAppliedConfig is the one that the cluster has.
	// +optional
	LastAppliedConfig *ConfigSpecHash `json:"lastAppliedConfig,omitempty"`
}

// HealthCheck says how the health of an add-on is found.
type HealthCheck struct {
	// Mode Lease has the agent renew a lease on its cluster; Customized has the hub find it, or the add-on's own manager.
	// +optional
	// +kubebuilder:validation:Enum=Lease;Customized
	// +kubebuilder:default=Lease
	Mode HealthCheckMode `json:"mode,omitempty"`
}

// HealthCheckMode is how the health of an add-on is found.
type HealthCheckMode string

// Modes of a HealthCheck.
const (
	HealthCheckLease      HealthCheckMode = "Lease"
	HealthCheckCustomized HealthCheckMode = "Customized"
)

// +kubebuilder:object:root=true

// ManagedClusterAddOnList is a list of add-ons on clusters.
type ManagedClusterAddOnList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ManagedClusterAddOn `json:"items"`
}
