package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// Names on the hub that go with a ManifestWorkReplicaSet.
const (
	// ManifestWorkReplicaSetFinalizer keeps the object until its works are gone.
	ManifestWorkReplicaSetFinalizer = "work.open-cluster-management.io/manifest-work-cleanup"

	// ManifestWorkReplicaSetLabelKey on a work holds <namespace>.<name> of the object that made it, at
	// most 63 characters.
	ManifestWorkReplicaSetLabelKey = "work.open-cluster-management.io/manifestworkreplicaset"

	// PlacementNameLabelKey on a work names the placement that chose its cluster.
	PlacementNameLabelKey = "work.open-cluster-management.io/placementname"
)

// Condition types of a ManifestWorkReplicaSet.
const (
	// ManifestWorkReplicaSetConditionPlacementVerified says whether the placements have decisions.
	ManifestWorkReplicaSetConditionPlacementVerified = "PlacementVerified"
	// ManifestWorkReplicaSetConditionManifestworkApplied says whether the works are applied and available.
	ManifestWorkReplicaSetConditionManifestworkApplied = "ManifestworkApplied"
	// ManifestWorkReplicaSetConditionPlacementRolledOut says whether the rollout reached every cluster.
	ManifestWorkReplicaSetConditionPlacementRolledOut = "PlacementRolledOut"
)

// Reasons of those conditions.
const (
	ReasonAsExpected                = "AsExpected"
	ReasonNotAsExpected             = "NotAsExpected"
	ReasonProcessing                = "Processing"
	ReasonComplete                  = "Complete"
	ReasonProgressing               = "Progressing"
	ReasonPlacementDecisionNotFound = "PlacementDecisionNotFound"
	ReasonPlacementDecisionEmpty    = "PlacementDecisionEmpty"
	ReasonInvalidManifestWorkName   = "InvalidManifestWorkName"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,shortName=mwrs
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="PlacementVerified")].reason`,name="Placement",type=string,description="Reason"
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="PlacementVerified")].status`,name="Found",type=string,description="Configured"
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ManifestworkApplied")].reason`,name="ManifestWorks",type=string,description="Reason"
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ManifestworkApplied")].status`,name="Applied",type=string,description="Applied"

// ManifestWorkReplicaSet makes one ManifestWork from a template for every cluster that its placements choose.
type ManifestWorkReplicaSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the template with its placements.
	// +optional
	Spec ManifestWorkReplicaSetSpec `json:"spec"`

	// Status counts the works.
	// +optional
	Status ManifestWorkReplicaSetStatus `json:"status,omitzero"`
}

// ManifestWorkReplicaSetSpec is a template with the placements that it goes to.
type ManifestWorkReplicaSetSpec struct {
	// ManifestWorkTemplate is the spec of every work.
	// +optional
	ManifestWorkTemplate workv1.ManifestWorkSpec `json:"manifestWorkTemplate,omitzero"`

	// PlacementRefs name placements of the same namespace.
	// +required
	// +kubebuilder:validation:MinItems=1
	PlacementRefs []LocalPlacementReference `json:"placementRefs"`

	// CascadeDeletionPolicy says whether the object waits for its works when it is deleted.
	// +required
	// +kubebuilder:validation:Enum=Background;Foreground
	// +kubebuilder:default=Background
	CascadeDeletionPolicy CascadeDeletionPolicy `json:"cascadeDeletionPolicy,omitempty"`
}

// CascadeDeletionPolicy says whether a deleted object waits for its works.
type CascadeDeletionPolicy string

const (
	// Background deletes the works after the object.
	Background CascadeDeletionPolicy = "Background"
	// Foreground deletes the works before the object.
	Foreground CascadeDeletionPolicy = "Foreground"
)

// LocalPlacementReference names a placement of the same namespace with how to roll out over it.
type LocalPlacementReference struct {
	// Name of the placement.
	// +required
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// RolloutStrategy orders changes over the placement's clusters.
	// +optional
	// +kubebuilder:default={type: All, all: {progressDeadline: "None"}}
	RolloutStrategy clusterv1alpha1.RolloutStrategy `json:"rolloutStrategy,omitzero"`
}

// ManifestWorkReplicaSetStatus counts the works of the object.
type ManifestWorkReplicaSetStatus struct {
	// Conditions of the object; see the ManifestWorkReplicaSetCondition constants.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Summary counts over all placements.
	// +optional
	Summary ManifestWorkReplicaSetSummary `json:"summary,omitzero"`

	// PlacementsSummary counts for each placement.
	// +optional
	PlacementsSummary []PlacementSummary `json:"placementSummary,omitempty"`
}

// ManifestWorkReplicaSetSummary counts works by their conditions.
type ManifestWorkReplicaSetSummary struct {
	// DesiredTotal is the number of works that should be.
	// +optional
	DesiredTotal int `json:"desiredTotal"`

	// Total is the number of works that are.
	// +optional
	Total int `json:"total"`

	// Updated is the number of works that have the current template.
	// +optional
	Updated int `json:"updated"`

	// Applied is the number of works that are applied.
	// +optional
	Applied int `json:"applied"`

	// Available is the number of works that are available.
	// +optional
	Available int `json:"available"`

	// Degraded is the number of works that are degraded.
	// +optional
	Degraded int `json:"degraded"`

	// Progressing is the number of works that are progressing.
	// +optional
	Progressing int `json:"progressing"`
}

// PlacementSummary counts the works of one placement.
type PlacementSummary struct {
	// Name of the placement.
	// +optional
	Name string `json:"name,omitempty"`

	// AvailableDecisionGroups says in words how far the rollout came, such as "3 (20 / 90 clusters applied)".
	// +optional
	AvailableDecisionGroups string `json:"availableDecisionGroups,omitempty"`

	// Summary counts the works.
	// +optional
	Summary ManifestWorkReplicaSetSummary `json:"summary,omitzero"`
}

// +kubebuilder:object:root=true

// ManifestWorkReplicaSetList is a list of replica sets.
type ManifestWorkReplicaSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ManifestWorkReplicaSet `json:"items"`
}
