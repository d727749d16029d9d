package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/api/addon/v1alpha1"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:printcolumn:JSONPath=`.spec.addonName`,name="ADDON NAME",type=string

// AddOnTemplate is what an add-on is made of, the same as in v1alpha1.
type AddOnTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec of the template.
	// +required
	Spec v1alpha1.AddOnTemplateSpec `json:"spec"`
}

// +kubebuilder:object:root=true

// AddOnTemplateList is a list of templates.
type AddOnTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AddOnTemplate `json:"items"`
}

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced

// AddOnDeploymentConfig says how the agent of an add-on is deployed, the same as in v1alpha1.
type AddOnDeploymentConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec of the configuration.
	// +required
	Spec v1alpha1.AddOnDeploymentConfigSpec `json:"spec"`
}

// +kubebuilder:object:root=true

// AddOnDeploymentConfigList is a list of configurations.
type AddOnDeploymentConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AddOnDeploymentConfig `json:"items"`
}
