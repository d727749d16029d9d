package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LabelKeyIsManagedServiceAccount marks the service account on the cluster and the Secret on the hub; its value is "true".
const LabelKeyIsManagedServiceAccount = "authentication.open-cluster-management.io/is-managed-serviceaccount"

// Condition types of a ManagedServiceAccount.
const (
	// ConditionTypeSecretCreated says whether the Secret with the token is there.
	ConditionTypeSecretCreated = "SecretCreated"
	// ConditionTypeTokenReported says whether the token in it is current.
	ConditionTypeTokenReported = "TokenReported"
)

// Reasons of those conditions.
const (
	ReasonSecretCreated     = "SecretCreated"
	ReasonTokenReported     = "TokenReported"
	ReasonTokenReportFailed = "TokenReportFailed"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:subresource:status
// +kubebuilder:storageversion

// ManagedServiceAccount is a service account on the managed cluster in whose namespace it is, with a token of it on the hub.
type ManagedServiceAccount struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says how long the token lives.
	// +optional
	Spec ManagedServiceAccountSpec `json:"spec,omitzero"`

	// Status says where the token is.
	// +optional
	Status ManagedServiceAccountStatus `json:"status,omitzero"`
}

// ManagedServiceAccountSpec says how long the token and the account live.
type ManagedServiceAccountSpec struct {
	// Rotation of the token.
	// +required
	Rotation ManagedServiceAccountRotation `json:"rotation"`

	// TTLSecondsAfterCreation is how long after its creation the object is deleted. Never, when absent.
	// +optional
	// +kubebuilder:validation:ExclusiveMinimum=true
	// +kubebuilder:validation:Minimum=0
	TTLSecondsAfterCreation *int32 `json:"ttlSecondsAfterCreation,omitempty"`
}

// ManagedServiceAccountRotation says how long a token is valid.
type ManagedServiceAccountRotation struct {
	// Enabled is deprecated: a token is always renewed.
	// +optional
	// +kubebuilder:default=true
	Enabled bool `json:"enabled,omitempty"`

	// Validity of a token. It is renewed when 80 % of it is over.
	// +optional
	// +kubebuilder:default="8640h0m0s"
	Validity metav1.Duration `json:"validity,omitempty"`
}

// ManagedServiceAccountStatus says where the token is.
type ManagedServiceAccountStatus struct {
	// Conditions of the object; see the ConditionType constants.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ExpirationTimestamp is when the token expires.
	// +optional
	ExpirationTimestamp *metav1.Time `json:"expirationTimestamp,omitempty"`

	// TokenSecretRef names the Secret of the same namespace.
	// +optional
	TokenSecretRef *SecretRef `json:"tokenSecretRef,omitempty"`
}

// SecretRef names the Secret with the token.
type SecretRef struct {
	// Name of the Secret.
	// +required
	Name string `json:"name"`

	// LastRefreshTimestamp is when the token was made.
	// +required
	LastRefreshTimestamp metav1.Time `json:"lastRefreshTimestamp"`
}

// +kubebuilder:object:root=true

// ManagedServiceAccountList is a list of ManagedServiceAccounts.
type ManagedServiceAccountList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ManagedServiceAccount `json:"items"`
}
