package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Hold keeps applications as they are on clusters, or at an earlier revision, until it is deleted or expires. What Git says stays as
// it is, and comes to the clusters afterwards. A Hold is for the applications of its namespace; one in muster-system is for those of all
// namespaces. It holds what matches all that it names.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.spec.pin.revision`
// +kubebuilder:printcolumn:name="By",type=string,JSONPath=`.spec.by`
// +kubebuilder:printcolumn:name="Until",type=string,JSONPath=`.spec.until`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`
type Hold struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec HoldSpec `json:"spec"`
}

// HoldSpec says what is held, why, by whom and until when.
//
// +kubebuilder:validation:XValidation:rule="!has(self.pin) || !has(self.clusterSelector)",message="a pin is for all clusters of an application: pause clusters instead, or use an override"
type HoldSpec struct {
	// Applications that are held. Left out, all.
	// +optional
	Applications HeldApplications `json:"applications,omitzero"`
	// Repositories whose applications are held, as NAMESPACE/NAME. Left out, all.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:Pattern=`^[^/]+/[^/]+$`
	Repositories []string `json:"repositories,omitempty"`
	// ClusterSelector says on which clusters. Left out, on all. A rollout passes clusters that are held by it, and waits for no other hold.
	// +optional
	ClusterSelector *ClusterSelector `json:"clusterSelector,omitempty"`
	// Pin gives the applications an earlier revision. Without it they keep what they have.
	// +optional
	Pin *Pin `json:"pin,omitempty"`
	// Reason, for people.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason"`
	// By is who holds it: the user who writes the Hold.
	// +kubebuilder:validation:MinLength=1
	By string `json:"by"`
	// Until is when the hold ends by itself.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// HeldApplications are those that match all of its parts.
type HeldApplications struct {
	// Names of applications. Left out, all.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	Names []string `json:"names,omitempty"`
	// Namespaces of the applications, for a Hold in muster-system. Left out, all.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	Namespaces []string `json:"namespaces,omitempty"`
	// LabelSelector over the applications' labels. Left out, all.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`
}

// Pin is a revision that applications are kept at. What the commit says of the content counts; placement, rollout and guards are those
// of today.
type Pin struct {
	// Revision is a commit of the application's repository in full.
	// +kubebuilder:validation:Pattern=`^([0-9a-f]{40}|[0-9a-f]{64})$`
	Revision string `json:"revision"`
	// Return takes the clusters there as a change that failed is taken back: in the reverse order, and without proof.
	// +optional
	Return bool `json:"return,omitempty"`
}

// OnHold is a Hold that an application has.
type OnHold struct {
	// Name of the Hold, as NAMESPACE/NAME.
	Name   string `json:"name"`
	By     string `json:"by"`
	Reason string `json:"reason"`
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
	// Revision that it is pinned to.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Clusters is how many have a change that waits for the end of the Hold.
	Clusters int32 `json:"clusters"`
}

// HoldList is a list of Hold.
// +kubebuilder:object:root=true
type HoldList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Hold `json:"items"`
}
