package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	"github.com/muster-io/muster/api/internal/wire"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName={cma,cmas}
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:JSONPath=`.spec.addOnMeta.displayName`,name="DISPLAY NAME",type=string
// +kubebuilder:printcolumn:JSONPath=`.spec.addOnConfiguration.crdName`,name="CRD NAME",type=string

// ClusterManagementAddOn is an add-on of the hub: how it is configured, and on which clusters it is installed.
type ClusterManagementAddOn struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec of the add-on.
	// +required
	Spec ClusterManagementAddOnSpec `json:"spec"`

	// Status says how far its installation is.
	// +optional
	Status ClusterManagementAddOnStatus `json:"status,omitzero"`
}

// ClusterManagementAddOnSpec says how an add-on is configured, and where it goes.
type ClusterManagementAddOnSpec struct {
	// AddOnMeta describes the add-on.
	// +optional
	AddOnMeta AddOnMeta `json:"addOnMeta,omitzero"`

	// AddOnConfiguration is deprecated: SupportedConfigs says it.
	// +optional
	AddOnConfiguration ConfigCoordinates `json:"addOnConfiguration,omitzero"`

	// SupportedConfigs are the kinds of configuration that the add-on takes.
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=resource
	SupportedConfigs []ConfigMeta `json:"supportedConfigs,omitempty"`

	// InstallStrategy says on which clusters the add-on is installed.
	// +optional
	// +kubebuilder:default={type: Manual}
	InstallStrategy InstallStrategy `json:"installStrategy,omitzero"`
}

// ConfigMeta is a kind of configuration with its default.
type ConfigMeta struct {
	ConfigGroupResource `json:",inline"`

	// DefaultConfig is the configuration of clusters that have no other.
	// +optional
	DefaultConfig *ConfigReferent `json:"defaultConfig,omitempty"`
}

// InstallStrategy says on which clusters an add-on is installed.
type InstallStrategy struct {
	// Type Manual leaves it to whoever creates ManagedClusterAddOns; Placements creates them.
	// +optional
	// +kubebuilder:validation:Enum=Manual;Placements
	// +kubebuilder:default=Manual
	Type string `json:"type,omitempty"`

	// Placements choose the clusters. A later one overrides an earlier one.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=name
	Placements []PlacementStrategy `json:"placements,omitempty"`
}

// Types of an InstallStrategy.
const (
	InstallManual     = "Manual"
	InstallPlacements = "Placements"
)

// PlacementRef names a placement.
type PlacementRef struct {
	// Namespace of the placement.
	// +required
	// +kubebuilder:validation:MinLength=1
	Namespace string `json:"namespace"`

	// Name of the placement.
	// +required
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// PlacementStrategy installs an add-on on the clusters of a placement.
type PlacementStrategy struct {
	PlacementRef `json:",inline"`

	// Configs of these clusters. They win over the defaults.
	// +optional
	Configs []AddOnConfig `json:"configs,omitempty"`

	// RolloutStrategy orders changes of the configurations over the clusters.
	// +optional
	// +kubebuilder:default={type: All}
	RolloutStrategy clusterv1alpha1.RolloutStrategy `json:"rolloutStrategy,omitzero"`
}

// ClusterManagementAddOnStatus says how far the installation of an add-on is.
type ClusterManagementAddOnStatus struct {
	// DefaultConfigReferences are the default configurations.
	// +optional
	DefaultConfigReferences []DefaultConfigReference `json:"defaultconfigReferences,omitempty"`

	// InstallProgressions say how far it is for each placement.
	// +optional
	InstallProgressions []InstallProgression `json:"installProgressions,omitempty"`
}

// UnmarshalJSON takes times in it that are none: see wire.UnmarshalStatus.
func (s *ClusterManagementAddOnStatus) UnmarshalJSON(data []byte) error {
	type plain ClusterManagementAddOnStatus
	return wire.UnmarshalStatus(data, (*plain)(s))
}

// DefaultConfigReference is a default configuration.
type DefaultConfigReference struct {
	ConfigGroupResource `json:",inline"`

	// DesiredConfig is the configuration as it is now.
	// +optional
	DesiredConfig *ConfigSpecHash `json:"desiredConfig,omitempty"`
}

// InstallProgression says how far the installation is for one placement.
type InstallProgression struct {
	PlacementRef `json:",inline"`

	// ConfigReferences are the configurations of these clusters.
	// +optional
	ConfigReferences []InstallConfigReference `json:"configReferences,omitempty"`

	// Conditions of the installation.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// InstallConfigReference is a configuration of a placement's clusters.
type InstallConfigReference struct {
	ConfigGroupResource `json:",inline"`

	// DesiredConfig is the configuration as it is now.
	// +optional
	DesiredConfig *ConfigSpecHash `json:"desiredConfig,omitempty"`

	// LastKnownGoodConfig is the one that all clusters had last without a fault.
	// +optional
	LastKnownGoodConfig *ConfigSpecHash `json:"lastKnownGoodConfig,omitempty"`

	// LastAppliedConfig is the one that all clusters had last.
	// +optional
	LastAppliedConfig *ConfigSpecHash `json:"lastAppliedConfig,omitempty"`
}

// +kubebuilder:object:root=true

// ClusterManagementAddOnList is a list of add-ons.
type ClusterManagementAddOnList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterManagementAddOn `json:"items"`
}
