package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/api/addon/v1alpha1"
	"github.com/muster-io/muster/api/internal/wire"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName={cma,cmas}
// +kubebuilder:unservedversion
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.spec.addOnMeta.displayName`,name="DISPLAY NAME",type=string

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
	AddOnMeta v1alpha1.AddOnMeta `json:"addOnMeta,omitzero"`

	// DefaultConfigs are the configurations of clusters that have no others.
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=resource
	DefaultConfigs []v1alpha1.AddOnConfig `json:"defaultConfigs,omitempty"`

	// InstallStrategy says on which clusters the add-on is installed.
	// +optional
	// +kubebuilder:default={type: Manual}
	InstallStrategy v1alpha1.InstallStrategy `json:"installStrategy,omitzero"`
}

// ClusterManagementAddOnStatus says how far the installation of an add-on is.
type ClusterManagementAddOnStatus struct {
	// DefaultConfigReferences are the default configurations.
	// +optional
	DefaultConfigReferences []v1alpha1.DefaultConfigReference `json:"defaultConfigReferences,omitempty"`

	// InstallProgressions say how far it is for each placement.
	// +optional
	InstallProgressions []v1alpha1.InstallProgression `json:"installProgressions,omitempty"`
}

// UnmarshalJSON takes times in it that are none: see wire.UnmarshalStatus.
func (s *ClusterManagementAddOnStatus) UnmarshalJSON(data []byte) error {
	type plain ClusterManagementAddOnStatus
	return wire.UnmarshalStatus(data, (*plain)(s))
}

// +kubebuilder:object:root=true

// ClusterManagementAddOnList is a list of add-ons.
type ClusterManagementAddOnList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterManagementAddOn `json:"items"`
}
