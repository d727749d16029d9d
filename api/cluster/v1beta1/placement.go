package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// PlacementDisableAnnotation with the value "true" leaves a placement to an external scheduler.
const PlacementDisableAnnotation = "cluster.open-cluster-management.io/experimental-scheduling-disable"

// Condition types of a Placement.
const (
	// PlacementConditionSatisfied says whether the placement chose as many clusters as it asks for.
	PlacementConditionSatisfied = "PlacementSatisfied"
	// PlacementConditionMisconfigured says whether the placement itself is wrong.
	PlacementConditionMisconfigured = "PlacementMisconfigured"
)

// Reasons of those conditions.
const (
	ReasonAllDecisionsScheduled       = "AllDecisionsScheduled"
	ReasonNotAllDecisionsScheduled    = "NotAllDecisionsScheduled"
	ReasonNoManagedClusterSetBindings = "NoManagedClusterSetBindings"
	ReasonNoIntersection              = "NoIntersection"
	ReasonAllManagedClusterSetsEmpty  = "AllManagedClusterSetsEmpty"
	ReasonNoManagedClusterMatched     = "NoManagedClusterMatched"
	ReasonPlacementMisconfigured      = "Misconfigured"
	ReasonPlacementSucceedConfigured  = "Succeedconfigured" // OCM's spelling.
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="PlacementSatisfied")].status`,name="Succeeded",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="PlacementSatisfied")].reason`,name="Reason",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.numberOfSelectedClusters`,name="SelectedClusters",type=integer

// Placement chooses clusters among the sets that are bound to its namespace. PlacementDecisions hold the
// answer.
type Placement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which clusters to choose.
	// +required
	Spec PlacementSpec `json:"spec"`

	// Status summarises the decisions.
	// +optional
	Status PlacementStatus `json:"status,omitzero"`
}

// PlacementSpec says which clusters to choose: those of the sets that match a predicate and are tolerated,
// ranked by the prioritizers, up to the number.
type PlacementSpec struct {
	// ClusterSets to choose from. Empty means every set that is bound to the namespace.
	// +optional
	ClusterSets []string `json:"clusterSets,omitempty"`

	// NumberOfClusters to choose. All that qualify, when absent.
	// +optional
	NumberOfClusters *int32 `json:"numberOfClusters,omitempty"`

	// Predicates of which a cluster must match at least one. Empty matches every cluster.
	// +optional
	Predicates []ClusterPredicate `json:"predicates,omitempty"`

	// PrioritizerPolicy ranks the clusters that qualify.
	// +optional
	PrioritizerPolicy PrioritizerPolicy `json:"prioritizerPolicy,omitzero"`

	// SpreadPolicy spreads the choice over topologies.
	// +optional
	SpreadPolicy SpreadPolicy `json:"spreadPolicy,omitzero"`

	// Tolerations of taints that would keep a cluster out.
	// +optional
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// DecisionStrategy divides the chosen clusters into groups.
	// +optional
	DecisionStrategy DecisionStrategy `json:"decisionStrategy,omitzero"`

	// SortBy orders the decisions.
	// +optional
	// +kubebuilder:validation:Enum=ClusterName;Score
	// +kubebuilder:default=ClusterName
	SortBy SortByType `json:"sortBy,omitempty"`

	// ScoreRateLimit is the shortest time between two updates that only scores ask for, as one number
	// with the unit h, m or s.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9]+[hms]$`
	// +kubebuilder:default="1m"
	ScoreRateLimit string `json:"scoreRateLimit,omitempty"`
}

// SortByType says what decisions are ordered by.
type SortByType string

const (
	// SortByClusterName orders by the name of the cluster.
	SortByClusterName SortByType = "ClusterName"
	// SortByScore orders by the score, highest first.
	SortByScore SortByType = "Score"
)

// DecisionStrategy divides the chosen clusters.
type DecisionStrategy struct {
	// GroupStrategy makes the groups.
	// +optional
	GroupStrategy GroupStrategy `json:"groupStrategy,omitzero"`
}

// GroupStrategy divides the chosen clusters into decision groups: the named ones first, the rest by size.
type GroupStrategy struct {
	// DecisionGroups are named groups, in order. A cluster belongs to the first whose selector matches.
	// +optional
	DecisionGroups []DecisionGroup `json:"decisionGroups,omitempty"`

	// ClustersPerDecisionGroup is the size of the groups that the rest is divided into, a number or a
	// percentage of the chosen clusters. The zero value means all in one.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^((100|[1-9][0-9]{0,1})%|[1-9][0-9]*)$`
	// +kubebuilder:default="100%"
	ClustersPerDecisionGroup intstr.IntOrString `json:"clustersPerDecisionGroup,omitzero"`
}

// DecisionGroup is a named group of decisions.
type DecisionGroup struct {
	// GroupName becomes a label of the group's PlacementDecisions.
	// +required
	// +kubebuilder:validation:Pattern="^[a-zA-Z0-9][-A-Za-z0-9_.]{0,61}[a-zA-Z0-9]$"
	GroupName string `json:"groupName"`

	// ClusterSelector selects the clusters of the group among the chosen ones.
	// +required
	ClusterSelector GroupClusterSelector `json:"groupClusterSelector"`
}

// GroupClusterSelector selects clusters that match all of its parts.
type GroupClusterSelector struct {
	// LabelSelector over the cluster's labels.
	// +optional
	LabelSelector metav1.LabelSelector `json:"labelSelector,omitzero"`

	// ClaimSelector over the cluster's claims.
	// +optional
	ClaimSelector ClusterClaimSelector `json:"claimSelector,omitzero"`
}

// ClusterPredicate is a demand on a cluster.
type ClusterPredicate struct {
	// RequiredClusterSelector must match the cluster.
	// +optional
	RequiredClusterSelector ClusterSelector `json:"requiredClusterSelector,omitzero"`
}

// ClusterSelector selects clusters that match all of its parts.
type ClusterSelector struct {
	// LabelSelector over the cluster's labels.
	// +optional
	LabelSelector metav1.LabelSelector `json:"labelSelector,omitzero"`

	// ClaimSelector over the cluster's claims.
	// +optional
	ClaimSelector ClusterClaimSelector `json:"claimSelector,omitzero"`

	// CelSelector over the whole ManagedCluster.
	// +optional
	CelSelector ClusterCelSelector `json:"celSelector,omitzero"`
}

// ClusterClaimSelector selects clusters by their claims as a label selector does by labels.
type ClusterClaimSelector struct {
	// MatchExpressions must all match.
	// +optional
	MatchExpressions []metav1.LabelSelectorRequirement `json:"matchExpressions,omitempty"`
}

// ClusterCelSelector selects clusters by CEL expressions over the variable managedCluster.
type ClusterCelSelector struct {
	// CelExpressions must all be true.
	// +optional
	CelExpressions []string `json:"celExpressions,omitempty"`
}

// PrioritizerPolicy ranks the clusters that qualify.
type PrioritizerPolicy struct {
	// Mode says whether the configurations add to the default prioritizers or replace them.
	// +optional
	// +kubebuilder:default=Additive
	Mode PrioritizerPolicyModeType `json:"mode,omitempty"`

	// Configurations of single prioritizers.
	// +optional
	Configurations []PrioritizerConfig `json:"configurations,omitempty"`
}

// PrioritizerPolicyModeType says how configured prioritizers relate to the default ones.
type PrioritizerPolicyModeType string

const (
	// PrioritizerPolicyModeAdditive adds to the defaults, Balance and Steady with weight 1, or overrides them.
	PrioritizerPolicyModeAdditive PrioritizerPolicyModeType = "Additive"
	// PrioritizerPolicyModeExact uses the configured prioritizers only.
	PrioritizerPolicyModeExact PrioritizerPolicyModeType = "Exact"
)

// PrioritizerConfig gives one score its weight.
type PrioritizerConfig struct {
	// ScoreCoordinate says where the score comes from.
	// +required
	ScoreCoordinate *ScoreCoordinate `json:"scoreCoordinate,omitempty"`

	// Weight of the score. 0 turns it off; a negative one prefers low scores.
	// +optional
	// +kubebuilder:validation:Minimum=-10
	// +kubebuilder:validation:Maximum=10
	// +kubebuilder:default=1
	Weight int32 `json:"weight"`
}

// Types of score coordinates.
const (
	// ScoreCoordinateTypeBuiltIn names a prioritizer of the scheduler.
	ScoreCoordinateTypeBuiltIn = "BuiltIn"
	// ScoreCoordinateTypeAddOn names a score of an AddOnPlacementScore.
	ScoreCoordinateTypeAddOn = "AddOn"
)

// Built-in prioritizers.
const (
	// PrioritizerBalance prefers clusters that few decisions of other placements name.
	PrioritizerBalance = "Balance"
	// PrioritizerSteady prefers clusters that are chosen already.
	PrioritizerSteady = "Steady"
	// PrioritizerResourceAllocatableCPU prefers clusters with much allocatable CPU.
	PrioritizerResourceAllocatableCPU = "ResourceAllocatableCPU"
	// PrioritizerResourceAllocatableMemory prefers clusters with much allocatable memory.
	PrioritizerResourceAllocatableMemory = "ResourceAllocatableMemory"
)

// ScoreCoordinate says where a score comes from.
type ScoreCoordinate struct {
	// Type chooses between the other two fields.
	// +required
	// +kubebuilder:validation:Enum=BuiltIn;AddOn
	// +kubebuilder:default=BuiltIn
	Type string `json:"type,omitempty"`

	// BuiltIn is the name of a prioritizer of the scheduler.
	// +optional
	BuiltIn string `json:"builtIn,omitempty"`

	// AddOn names a score of an AddOnPlacementScore.
	// +optional
	AddOn *AddOnScore `json:"addOn,omitempty"`
}

// AddOnScore names a score of an AddOnPlacementScore in the namespace of each cluster.
type AddOnScore struct {
	// ResourceName is the name of the AddOnPlacementScore.
	// +required
	ResourceName string `json:"resourceName"`

	// ScoreName is the name of the score in it.
	// +required
	ScoreName string `json:"scoreName"`
}

// SpreadPolicy spreads the choice over topologies.
type SpreadPolicy struct {
	// SpreadConstraints in order of their importance.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	SpreadConstraints []SpreadConstraintsTerm `json:"spreadConstraints,omitempty"`
}

// SpreadConstraintsTerm spreads the choice over the values of one label or claim.
type SpreadConstraintsTerm struct {
	// TopologyKey is the label or claim whose values are the topologies.
	// +required
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$`
	// +kubebuilder:validation:MaxLength=316
	TopologyKey string `json:"topologyKey"`

	// TopologyKeyType says whether the key is a label or a claim.
	// +required
	// +kubebuilder:validation:Enum=Label;Claim
	TopologyKeyType TopologyKeyType `json:"topologyKeyType"`

	// MaxSkew is how far the numbers of clusters in two topologies may differ.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:default=1
	MaxSkew int32 `json:"maxSkew,omitempty"`

	// WhenUnsatisfiable says what happens to a cluster that would break the constraint.
	// +optional
	// +kubebuilder:validation:Enum=DoNotSchedule;ScheduleAnyway
	// +kubebuilder:default=ScheduleAnyway
	WhenUnsatisfiable UnsatisfiableMaxSkewAction `json:"whenUnsatisfiable,omitempty"`
}

// TopologyKeyType says what a topology key refers to.
type TopologyKeyType string

const (
	// TopologyKeyTypeLabel refers to a label of the cluster.
	TopologyKeyTypeLabel TopologyKeyType = "Label"
	// TopologyKeyTypeClaim refers to a claim of the cluster.
	TopologyKeyTypeClaim TopologyKeyType = "Claim"
)

// UnsatisfiableMaxSkewAction says what happens to a cluster that would break a spread constraint.
type UnsatisfiableMaxSkewAction string

const (
	// DoNotSchedule leaves the cluster out.
	DoNotSchedule UnsatisfiableMaxSkewAction = "DoNotSchedule"
	// ScheduleAnyway ranks the cluster lower.
	ScheduleAnyway UnsatisfiableMaxSkewAction = "ScheduleAnyway"
)

// Toleration lets a placement choose clusters with a matching taint.
type Toleration struct {
	// Key of the taint. Empty, with the operator Exists, matches every taint.
	// +optional
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$`
	// +kubebuilder:validation:MaxLength=316
	Key string `json:"key,omitempty"`

	// Operator compares the value, or asks for the key only.
	// +optional
	// +kubebuilder:default=Equal
	Operator TolerationOperator `json:"operator,omitempty"`

	// Value that the taint must have; empty with the operator Exists.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`

	// Effect of the taint. Empty matches every effect.
	// +optional
	// +kubebuilder:validation:Enum=NoSelect;PreferNoSelect;NoSelectIfNew
	Effect clusterv1.TaintEffect `json:"effect,omitempty"`

	// TolerationSeconds is how long, from the taint's TimeAdded, the taint is tolerated. For ever, when absent.
	// +optional
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// TolerationOperator says how a toleration matches a taint.
type TolerationOperator string

const (
	// TolerationOpExists matches every value.
	TolerationOpExists TolerationOperator = "Exists"
	// TolerationOpEqual matches the same value.
	TolerationOpEqual TolerationOperator = "Equal"
)

// PlacementStatus summarises the decisions of a placement.
type PlacementStatus struct {
	// NumberOfSelectedClusters over all PlacementDecisions of the placement.
	// +optional
	NumberOfSelectedClusters int32 `json:"numberOfSelectedClusters"`

	// DecisionGroups that the chosen clusters are divided into.
	// +optional
	DecisionGroups []DecisionGroupStatus `json:"decisionGroups,omitempty"`

	// Conditions of the placement; see the PlacementCondition constants.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// LastScoreUpdateTime is when the decisions last changed because of scores.
	// +optional
	LastScoreUpdateTime *metav1.Time `json:"lastScoreUpdateTime,omitempty"`
}

// DecisionGroupStatus is one group of decisions.
type DecisionGroupStatus struct {
	// DecisionGroupIndex of the group, from 0.
	// +optional
	DecisionGroupIndex int32 `json:"decisionGroupIndex"`

	// DecisionGroupName of a named group, else empty.
	// +optional
	DecisionGroupName string `json:"decisionGroupName"`

	// Decisions are the names of the group's PlacementDecisions.
	// +optional
	Decisions []string `json:"decisions,omitempty"`

	// ClustersCount is the number of clusters in the group.
	// +optional
	// +kubebuilder:default=0
	ClustersCount int32 `json:"clusterCount"`
}

// +kubebuilder:object:root=true

// PlacementList is a list of placements.
type PlacementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Placement `json:"items"`
}
