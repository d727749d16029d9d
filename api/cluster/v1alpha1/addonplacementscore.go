package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/api/internal/wire"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:subresource:status

// AddOnPlacementScore holds scores of one cluster, in that cluster's namespace on the hub. A Placement
// prefers clusters by them through a score coordinate of type AddOn.
type AddOnPlacementScore struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Status holds the scores.
	// +optional
	Status AddOnPlacementScoreStatus `json:"status,omitzero"`
}

// AddOnPlacementScoreStatus holds the scores of one cluster.
type AddOnPlacementScoreStatus struct {
	// Conditions of the scores.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Scores by name.
	// +optional
	// +listType=map
	// +listMapKey=name
	Scores []AddOnPlacementScoreItem `json:"scores,omitempty"`

	// ValidUntil is when the scores stop counting. After it a cluster scores 0. Never, when absent.
	// +optional
	ValidUntil *metav1.Time `json:"validUntil,omitempty"`
}

// UnmarshalJSON takes times in it that are none: see wire.UnmarshalStatus.
func (s *AddOnPlacementScoreStatus) UnmarshalJSON(data []byte) error {
	type plain AddOnPlacementScoreStatus
	return wire.UnmarshalStatus(data, (*plain)(s))
}

// AddOnPlacementScoreItem is one score of a cluster.
type AddOnPlacementScoreItem struct {
	// Name that a placement refers to the score by.
	// +required
	Name string `json:"name"`

	// Value from -100, avoid, to 100, prefer.
	// +required
	// +kubebuilder:validation:Minimum=-100
	// +kubebuilder:validation:Maximum=100
	Value int32 `json:"value"`
}

// +kubebuilder:object:root=true

// AddOnPlacementScoreList is a list of scores.
type AddOnPlacementScoreList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AddOnPlacementScore `json:"items"`
}
