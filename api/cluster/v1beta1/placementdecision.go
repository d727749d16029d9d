package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Labels of a PlacementDecision.
const (
	// PlacementLabel names the placement that the decision belongs to.
	PlacementLabel = "cluster.open-cluster-management.io/placement"
	// DecisionGroupNameLabel names the decision group; empty for the groups made by size.
	DecisionGroupNameLabel = "cluster.open-cluster-management.io/decision-group-name"
	// DecisionGroupIndexLabel is the index of the decision group, from 0.
	DecisionGroupIndexLabel = "cluster.open-cluster-management.io/decision-group-index"
)

// MaxClusterDecisions is how many clusters one PlacementDecision holds at most. A placement has as many
// objects as it needs, at least one, named <placement>-decision-<N> from N = 1.
const MaxClusterDecisions = 100

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:subresource:status

// PlacementDecision is one page of the clusters that a placement chose. Pages change one by one: all of them
// together are an answer when their clusters number what the placement's status says.
type PlacementDecision struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Status holds the chosen clusters.
	// +optional
	Status PlacementDecisionStatus `json:"status,omitzero"`
}

// PlacementDecisionStatus holds the chosen clusters of one page.
type PlacementDecisionStatus struct {
	// Decisions, at most MaxClusterDecisions, sorted by cluster name.
	// +required
	Decisions []ClusterDecision `json:"decisions"`
}

// ClusterDecision is one chosen cluster.
type ClusterDecision struct {
	// ClusterName is the name of the ManagedCluster.
	// +required
	ClusterName string `json:"clusterName"`

	// Reason why the cluster was chosen; OCM leaves it empty.
	// +required
	Reason string `json:"reason"`

	// Score that ranked the cluster; OCM leaves it out.
	// +optional
	Score *int64 `json:"score,omitempty"`
}

// +kubebuilder:object:root=true

// PlacementDecisionList is a list of decision pages.
type PlacementDecisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []PlacementDecision `json:"items"`
}
