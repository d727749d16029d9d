package v1beta2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// Names that go with cluster sets.
const (
	// ClusterSetLabel on a ManagedCluster names the one exclusive set that it belongs to.
	ClusterSetLabel = "cluster.open-cluster-management.io/clusterset"

	// AutoUpdateAnnotation with the value "false" stops the hub from resetting the spec of the sets that
	// it created itself.
	AutoUpdateAnnotation = "cluster.open-cluster-management.io/autoupdate"

	// DefaultClusterSet is the exclusive set of the clusters that name no other.
	DefaultClusterSet = "default"

	// GlobalClusterSet is the set of all clusters.
	GlobalClusterSet = "global"
)

// ManagedClusterSetConditionEmpty says whether a set has no clusters.
const ManagedClusterSetConditionEmpty = "ClusterSetEmpty"

// Reasons of the Empty condition.
const (
	ReasonNoClusterMatched = "NoClusterMatched"
	ReasonClustersSelected = "ClustersSelected"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName={mclset,mclsets}
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ClusterSetEmpty")].status`,name="Empty",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date

// ManagedClusterSet groups clusters, so that rights on them can be given to namespaces by a
// ManagedClusterSetBinding. To add a cluster needs the right to create managedclustersets/join.
type ManagedClusterSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which clusters belong to the set.
	// +optional
	// +kubebuilder:default={clusterSelector: {selectorType: ExclusiveClusterSetLabel}}
	Spec ManagedClusterSetSpec `json:"spec"`

	// Status says what the hub found for the set.
	// +optional
	Status ManagedClusterSetStatus `json:"status,omitzero"`
}

// ManagedClusterSetSpec says which clusters belong to a set.
type ManagedClusterSetSpec struct {
	// ClusterSelector selects the clusters of the set.
	// +optional
	// +kubebuilder:default={selectorType: ExclusiveClusterSetLabel}
	ClusterSelector ManagedClusterSelector `json:"clusterSelector,omitzero"`

	// ManagedNamespaces are made on every cluster of the set. They are never deleted there.
	// +optional
	// +listType=map
	// +listMapKey=name
	ManagedNamespaces []clusterv1.ManagedNamespaceConfig `json:"managedNamespaces,omitempty"`
}

// ManagedClusterSelector selects the clusters of a set.
type ManagedClusterSelector struct {
	// SelectorType chooses between the exclusive label and a selector.
	// +required
	// +kubebuilder:validation:Enum=ExclusiveClusterSetLabel;LabelSelector
	// +kubebuilder:default=ExclusiveClusterSetLabel
	SelectorType SelectorType `json:"selectorType,omitempty"`

	// LabelSelector counts when the type is LabelSelector. An empty one selects every cluster.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`
}

// SelectorType says how a set selects its clusters.
type SelectorType string

const (
	// ExclusiveClusterSetLabel selects the clusters whose label names the set. Such sets do not overlap.
	ExclusiveClusterSetLabel SelectorType = "ExclusiveClusterSetLabel"
	// LabelSelector selects clusters by any of their labels. Such sets may overlap.
	LabelSelector SelectorType = "LabelSelector"
)

// ManagedClusterSetStatus says what the hub found for a set.
type ManagedClusterSetStatus struct {
	// Conditions of the set.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// +kubebuilder:object:root=true

// ManagedClusterSetList is a list of sets.
type ManagedClusterSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ManagedClusterSet `json:"items"`
}
