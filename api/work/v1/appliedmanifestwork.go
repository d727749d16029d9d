package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AppliedManifestWorkFinalizer keeps an AppliedManifestWork until the objects that it records are gone.
const AppliedManifestWorkFinalizer = "cluster.open-cluster-management.io/applied-manifest-work-cleanup"

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:subresource:status

// AppliedManifestWork records, on a managed cluster, the objects that an agent applied for one ManifestWork.
// It owns them. Its name is <hub hash>-<work name>.
type AppliedManifestWork struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which work of which hub the record belongs to.
	// +optional
	Spec AppliedManifestWorkSpec `json:"spec"`

	// Status lists the objects.
	// +optional
	Status AppliedManifestWorkStatus `json:"status,omitzero"`
}

// AppliedManifestWorkSpec says which work of which hub a record belongs to.
type AppliedManifestWorkSpec struct {
	// HubHash is the SHA-256, in hex, of the host of the hub's API server as the agent's configuration has it.
	// +required
	HubHash string `json:"hubHash"`

	// AgentID of the agent that applied the objects; the hub hash when it has none.
	// +optional
	AgentID string `json:"agentID,omitempty"`

	// ManifestWorkName is the name of the work on the hub.
	// +required
	ManifestWorkName string `json:"manifestWorkName"`
}

// AppliedManifestWorkStatus lists the objects that were applied.
type AppliedManifestWorkStatus struct {
	// AppliedResources, sorted. What stops being wanted is deleted by this list.
	// +optional
	AppliedResources []AppliedManifestResourceMeta `json:"appliedResources,omitempty"`

	// EvictionStartTime is when the agent found that the work is gone from the hub without its doing.
	// After the grace period the record is deleted with its objects.
	// +optional
	EvictionStartTime *metav1.Time `json:"evictionStartTime,omitempty"`
}

// AppliedManifestResourceMeta identifies an object that was applied.
type AppliedManifestResourceMeta struct {
	ResourceIdentifier `json:",inline"`

	// Version of the object's API that it was applied at.
	// +required
	Version string `json:"version"`

	// UID of the object; a deletion takes it as a precondition.
	// +optional
	UID string `json:"uid,omitempty"`
}

// +kubebuilder:object:root=true

// AppliedManifestWorkList is a list of records.
type AppliedManifestWorkList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AppliedManifestWork `json:"items"`
}
