package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/api/authentication/v1beta1"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:subresource:status
// +kubebuilder:deprecatedversion:warning="authentication.open-cluster-management.io/v1alpha1 ManagedServiceAccount is deprecated; use authentication.open-cluster-management.io/v1beta1 ManagedServiceAccount"

// ManagedServiceAccount is that of v1beta1, as clients from before ask for it.
type ManagedServiceAccount struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says how long the token lives.
	// +optional
	Spec v1beta1.ManagedServiceAccountSpec `json:"spec,omitzero"`

	// Status says where the token is.
	// +optional
	Status v1beta1.ManagedServiceAccountStatus `json:"status,omitzero"`
}

// +kubebuilder:object:root=true

// ManagedServiceAccountList is a list of ManagedServiceAccounts.
type ManagedServiceAccountList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ManagedServiceAccount `json:"items"`
}
