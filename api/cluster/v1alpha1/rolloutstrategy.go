package v1alpha1

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ProgressDeadlineNone as a progress deadline waits for ever.
const ProgressDeadlineNone = "None"

// RolloutStrategy says in which order, how many at a time, a change reaches the clusters of a placement.
type RolloutStrategy struct {
	// Type chooses which of the other fields counts.
	// +optional
	// +kubebuilder:validation:Enum=All;Progressive;ProgressivePerGroup
	// +kubebuilder:default=All
	Type RolloutType `json:"type,omitempty"`

	// All changes every cluster at once.
	// +optional
	All *RolloutAll `json:"all,omitempty"`

	// Progressive changes a number of clusters at a time.
	// +optional
	Progressive *RolloutProgressive `json:"progressive,omitempty"`

	// ProgressivePerGroup changes one decision group after the other.
	// +optional
	ProgressivePerGroup *RolloutProgressivePerGroup `json:"progressivePerGroup,omitempty"`
}

// Default sets what the schema sets.
func (s *RolloutStrategy) Default() {
	s.Type = cmp.Or(s.Type, All)
	var configs []*RolloutConfig
	if s.All != nil {
		configs = append(configs, &s.All.RolloutConfig)
	}
	if s.Progressive != nil {
		configs = append(configs, &s.Progressive.RolloutConfig)
	}
	if s.ProgressivePerGroup != nil {
		configs = append(configs, &s.ProgressivePerGroup.RolloutConfig)
	}
	for _, c := range configs {
		c.ProgressDeadline = cmp.Or(c.ProgressDeadline, ProgressDeadlineNone)
	}
}

// RolloutType names a rollout strategy.
type RolloutType string

const (
	// All changes every cluster at once.
	All RolloutType = "All"
	// Progressive changes a number of clusters at a time.
	Progressive RolloutType = "Progressive"
	// ProgressivePerGroup changes one decision group after the other.
	ProgressivePerGroup RolloutType = "ProgressivePerGroup"
)

// RolloutConfig says when a cluster counts as done, and when a rollout stops.
type RolloutConfig struct {
	// MinSuccessTime is how long a cluster must have succeeded before the next ones follow.
	// +optional
	// +kubebuilder:default="0"
	MinSuccessTime metav1.Duration `json:"minSuccessTime,omitzero"`

	// ProgressDeadline is how long a cluster may stay unsuccessful until it counts as timed out, as one
	// number with the unit h, m or s. "None" waits for ever.
	// +optional
	// +kubebuilder:validation:Pattern=`^(([0-9])+[h|m|s])|None$`
	// +kubebuilder:default=None
	ProgressDeadline string `json:"progressDeadline,omitempty"`

	// MaxFailures is the number or percentage of clusters that may fail or time out before the rollout
	// stops. Clusters of mandatory groups may not fail at all.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^((100|[0-9]{1,2})%|[0-9]+)$"
	// +kubebuilder:default=0
	MaxFailures intstr.IntOrString `json:"maxFailures,omitzero"`
}

// MandatoryDecisionGroups are the decision groups that go first.
type MandatoryDecisionGroups struct {
	// MandatoryDecisionGroups must succeed, in this order, before the others begin.
	// +optional
	MandatoryDecisionGroups []MandatoryDecisionGroup `json:"mandatoryDecisionGroups,omitempty"`
}

// MandatoryDecisionGroup names a decision group by its name or its index.
type MandatoryDecisionGroup struct {
	// GroupName of the group; it wins over the index.
	// +optional
	GroupName string `json:"groupName,omitempty"`

	// GroupIndex of the group, from 0.
	// +optional
	GroupIndex int32 `json:"groupIndex,omitempty"`
}

// RolloutAll changes every cluster at once.
type RolloutAll struct {
	RolloutConfig `json:",inline"`
}

// RolloutProgressive changes a number of clusters at a time.
type RolloutProgressive struct {
	RolloutConfig           `json:",inline"`
	MandatoryDecisionGroups `json:",inline"`

	// MaxConcurrency is the number or percentage of clusters that change at a time. All, when 0 or absent.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^((100|[0-9]{1,2})%|[0-9]+)$"
	MaxConcurrency intstr.IntOrString `json:"maxConcurrency,omitzero"`
}

// RolloutProgressivePerGroup changes one decision group after the other.
type RolloutProgressivePerGroup struct {
	RolloutConfig           `json:",inline"`
	MandatoryDecisionGroups `json:",inline"`
}
