package v1beta2

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ClusterSetBindingBoundType is the condition that says whether the set of a binding exists.
const ClusterSetBindingBoundType = "Bound"

// Reasons of the Bound condition.
const (
	ReasonClusterSetBound    = "ClusterSetBound"
	ReasonClusterSetNotFound = "ClusterSetNotFound"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,shortName={mclsetbinding,mclsetbindings}
// +kubebuilder:subresource:status
// +kubebuilder:storageversion

// ManagedClusterSetBinding lets the placements of its namespace choose among the clusters of one set. Its
// name is the set's. To create one needs the right to create managedclustersets/bind.
type ManagedClusterSetBinding struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec names the set.
	// +optional
	Spec ManagedClusterSetBindingSpec `json:"spec"`

	// Status says whether the set exists.
	// +optional
	Status ManagedClusterSetBindingStatus `json:"status,omitzero"`
}

// ManagedClusterSetBindingSpec names the set that is bound.
type ManagedClusterSetBindingSpec struct {
	// ClusterSet is the name of the set. It equals the binding's own name and does not change.
	// +optional
	// +kubebuilder:validation:MinLength=1
	ClusterSet string `json:"clusterSet,omitempty"`
}

// ManagedClusterSetBindingStatus says whether the set of a binding exists.
type ManagedClusterSetBindingStatus struct {
	// Conditions of the binding.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// +kubebuilder:object:root=true

// ManagedClusterSetBindingList is a list of bindings.
type ManagedClusterSetBindingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ManagedClusterSetBinding `json:"items"`
}
