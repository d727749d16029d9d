package v1alpha1

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Rollout says in which order a change reaches the clusters, and what happens when it fails: OCM's rolloutStrategy with more
// fields. Without them it does what OCM's does.
//
// +kubebuilder:validation:XValidation:rule="!has(self.steps) || has(self.type) && self.type == 'Progressive' && !(has(self.progressive) && has(self.progressive.mandatoryDecisionGroups))",message="steps want type Progressive, and take the place of mandatoryDecisionGroups"
type Rollout struct {
	clusterv1alpha1.RolloutStrategy `json:",inline"`

	// Steps of a Progressive rollout, one after the other, in the place of mandatory groups. A cluster belongs to the first step that
	// selects it. Those that no step selects come last, by the fields of progressive.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	Steps []RolloutStep `json:"steps,omitempty"`
	// Approvals let steps begin that want an approval, as muster approve does on the hub.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	Approvals []StepApproval `json:"approvals,omitempty"`
	// MaxOffline is how many clusters of a step, or of a group, may not answer until the next one waits for them. Left out, the next
	// one waits only when none answers.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^((100|[0-9]{1,2})%|[0-9]+)$"
	MaxOffline *intstr.IntOrString `json:"maxOffline,omitempty"`
	// RateLimit spreads the clusters over time, so that a registry is not asked by all at once.
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
	// Windows are the times at which clusters may change. A change that has failed is taken back at any time.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	Windows []RolloutWindow `json:"windows,omitempty"`
	// OnFailure is what happens when more clusters fail than maxFailures allows: Pause stops where the rollout is; Rollback returns
	// the clusters that have the change to the last good revision, and refuses the change until a commit brings another one.
	// +optional
	// +kubebuilder:default=Pause
	// +kubebuilder:validation:Enum=Pause;Rollback
	OnFailure FailurePolicy `json:"onFailure,omitempty"`
	// Canary takes a change of pods through steps within each cluster. A cluster counts when it is through them.
	// +optional
	Canary *Canary `json:"canary,omitempty"`
}

// Canary is a gray release within a cluster. Where a commit changes the pod template of a Deployment, the agent runs pods of the new template
// in a companion of the Deployment, NAME-canary, under the same Services, while the Deployment keeps its own. After the last step the
// Deployment gets the change, and the companion goes. What fails or is taken back leaves the Deployment as it was. A return, and a
// Deployment that is new or has no replicas, take no steps.
type Canary struct {
	// Steps, one after the other.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	Steps []CanaryStep `json:"steps"`
}

// CanaryStep is how many pods have the change, and what the next step waits for, beside that all of them are available.
//
// +kubebuilder:validation:XValidation:rule="has(self.weight) != has(self.replicas)",message="a step of a canary wants either weight or replicas"
type CanaryStep struct {
	// Weight is how many there are, in percent of the replicas of the Deployment, rounded up.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight,omitempty"`
	// Replicas is how many there are.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Replicas int32 `json:"replicas,omitempty"`
	// Pause keeps the step: for a time, or without one until a person has approved it as step canary/NUMBER.
	// +optional
	Pause *CanaryPause `json:"pause,omitempty"`
	// Analysis has to be successful. It begins when the pods are available and the pause is over.
	// +optional
	Analysis *RolloutAnalysis `json:"analysis,omitempty"`
}

// CanaryPause keeps a step.
type CanaryPause struct {
	// Duration that all pods of the step have to be available. Left out, a person has to approve the step.
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`
}

// CanaryStepName is the name of a step of a canary, from 1, in approvals.
func CanaryStepName(n int) string { return fmt.Sprintf("canary/%d", n) }

// CanaryStepOf is the number of a step of a canary by its name, or by that of its analysis, in which clusters follow; 0 when it is the name
// of something else.
func CanaryStepOf(name string) int {
	name, _, _ = strings.Cut(name, " ")
	number, is := strings.CutPrefix(name, "canary/")
	n, err := strconv.Atoi(number)
	if !is || err != nil || n < 1 {
		return 0
	}
	return n
}

// WaitsForPerson says that the step ends with an approval.
func (s *CanaryStep) WaitsForPerson() bool { return s.Pause != nil && s.Pause.Duration == nil }

// WaitsForHub says that an agent does not end the step by itself.
func (s *CanaryStep) WaitsForHub() bool { return s.WaitsForPerson() || s.Analysis != nil }

// RolloutStep is a part of the clusters. What it leaves out is as in progressive.
type RolloutStep struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// ClusterSelector selects by label, Groups by the name of a decision group of the placement. A cluster that either selects belongs
	// to the step; with neither, all that are left do.
	// +optional
	ClusterSelector *ClusterSelector `json:"clusterSelector,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Groups []string `json:"groups,omitempty"`
	// MaxConcurrency is the number or percentage of the step's clusters that change at a time.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^((100|[0-9]{1,2})%|[0-9]+)$"
	MaxConcurrency *intstr.IntOrString `json:"maxConcurrency,omitempty"`
	// MinSuccessTime is how long a cluster must have been healthy until it counts.
	// +optional
	MinSuccessTime *metav1.Duration `json:"minSuccessTime,omitempty"`
	// ProgressDeadline is how long a cluster may take until it counts as failed, or None.
	// +optional
	// +kubebuilder:validation:Pattern=`^([0-9]+[hms]|None)$`
	ProgressDeadline string `json:"progressDeadline,omitempty"`
	// MaxFailures is the number or percentage of the step's clusters that may fail.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^((100|[0-9]{1,2})%|[0-9]+)$"
	MaxFailures *intstr.IntOrString `json:"maxFailures,omitempty"`
	// Approval is Manual for a step that begins when a person has approved it.
	// +optional
	// +kubebuilder:validation:Enum=Automatic;Manual
	Approval ApprovalPolicy `json:"approval,omitempty"`
	// Window is the name of one of the windows of the rollout: it is then for the clusters of the steps that name it, as far as it is for
	// them otherwise, and for no others.
	// +optional
	Window string `json:"window,omitempty"`
	// Analysis has to be successful before the next step begins.
	// +optional
	Analysis *RolloutAnalysis `json:"analysis,omitempty"`
}

// RolloutWindow is a time that comes again, at which clusters may change, or may not. A cluster may change when none of the windows that
// are for it and deny is open, and one that allows is, if there is any that allows.
type RolloutWindow struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// Kind is Allow, also when left out, or Deny.
	// +optional
	// +kubebuilder:validation:Enum=Allow;Deny
	Kind WindowKind `json:"kind,omitempty"`
	// Schedule is when it opens: the five fields of cron, or @hourly, @daily, @weekly, @monthly, @yearly.
	// +kubebuilder:validation:MinLength=1
	Schedule string `json:"schedule"`
	// TimeZone that the schedule is in, such as Europe/Berlin. Left out, UTC.
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
	// Duration is how long it stays open.
	Duration metav1.Duration `json:"duration"`
	// ClusterSelector says for which clusters it is, by label and claim, and ClusterValue by what ClusterValues give them. It is for those
	// that match both; with neither, for all.
	// +optional
	ClusterSelector *ClusterSelector `json:"clusterSelector,omitempty"`
	// +optional
	ClusterValue *ClusterValue `json:"clusterValue,omitempty"`
}

// WindowKind says what a window does.
type WindowKind string

// The kinds of windows.
const (
	WindowAllow WindowKind = "Allow"
	WindowDeny  WindowKind = "Deny"
)

// ClusterValue selects clusters by one of the values that ClusterValues give them.
type ClusterValue struct {
	// Key of the value, with dots: maintenance.window.
	// +kubebuilder:validation:MinLength=1
	Key string `json:"key"`
	// Value that it has, as text.
	Value string `json:"value"`
}

// ApprovalPolicy says whether a step waits for a person.
type ApprovalPolicy string

// The approval policies.
const (
	ApprovalAutomatic ApprovalPolicy = "Automatic"
	ApprovalManual    ApprovalPolicy = "Manual"
)

// StepApproval lets a step of a rollout begin.
type StepApproval struct {
	// Step by its name; canary/2 is the second one of a canary.
	Step string `json:"step"`
	// Revision is the commit that is rolled out, or its first characters: status.rollout.revision.
	// +kubebuilder:validation:MinLength=7
	Revision string `json:"revision"`
}

// RateLimit is how fast clusters change.
type RateLimit struct {
	// ClustersPerMinute begin to change in a minute, at times that are spread by the name of the cluster and the change.
	// +kubebuilder:validation:Minimum=1
	ClustersPerMinute int32 `json:"clustersPerMinute"`
}

// FailurePolicy is what happens to a change that fails.
type FailurePolicy string

// The failure policies.
const (
	FailurePause    FailurePolicy = "Pause"
	FailureRollback FailurePolicy = "Rollback"
)

// Default sets what the CRD's schema sets.
func (r *Rollout) Default() {
	r.RolloutStrategy.Default()
	r.OnFailure = cmp.Or(r.OnFailure, FailurePause)
}

// The phases of a rollout.
const (
	RolloutProgressing = "Progressing"
	RolloutStopped     = "Stopped"
	RolloutReturning   = "Returning"
)

// RolloutStatus is how far a change has come over an application's clusters.
type RolloutStatus struct {
	// StartedAt is when the first cluster was about to change.
	StartedAt metav1.Time `json:"startedAt"`
	// Revision is the first commit that asks for what is rolled out, and Plan the digest of the works.
	// +optional
	Revision string `json:"revision,omitempty"`
	// +optional
	Plan string `json:"plan,omitempty"`
	// Phase is Progressing; Stopped when more clusters have failed than spec.rollout allows, or an analysis has; or Returning to the last
	// good revision.
	Phase string `json:"phase"`
	// Group is the decision group, or the step, that it is at.
	// +optional
	Group string `json:"group,omitempty"`
	// WaitsForApproval is true when the step that it is at, or one of its canary, has not been approved.
	// +optional
	WaitsForApproval bool `json:"waitsForApproval,omitempty"`
	// Approvals of its steps.
	// +optional
	// +kubebuilder:validation:MaxItems=40
	Approvals []ApprovedStep `json:"approvals,omitempty"`
	// Analysis of the step that it is at, while that is measured.
	// +optional
	Analysis *AnalysisStatus `json:"analysis,omitempty"`
	// Canary says where clusters are that take the change through the steps of a canary; absent when none does.
	// +optional
	Canary *CanaryStatus `json:"canary,omitempty"`
	// Clusters of the application, and how many of them have the change.
	Clusters int32 `json:"clusters"`
	Updated  int32 `json:"updated"`
	// InFlight is how many of those are not through yet, Waiting how many come later.
	// +optional
	InFlight int32 `json:"inFlight,omitempty"`
	// +optional
	Waiting int32 `json:"waiting,omitempty"`
	// Steps says how far the steps, or groups, are, in their order: the first forty of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=40
	Steps []StepProgress `json:"steps,omitempty"`
	// Failed names the first twenty clusters that failed or timed out.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Failed []string `json:"failed,omitempty"`
	// Message says what it waits for.
	// +optional
	Message string `json:"message,omitempty"`
}

// StepProgress is how far a step, or a group, of a rollout is.
type StepProgress struct {
	// Name is absent for the clusters of no step and no group.
	// +optional
	Name string `json:"name,omitempty"`
	// Clusters of it, and how many of them have the change.
	Clusters int32 `json:"clusters"`
	Updated  int32 `json:"updated"`
	// Failed is how many have failed or timed out.
	// +optional
	Failed int32 `json:"failed,omitempty"`
	// SoakUntil is when the last of the healthy ones has been so for minSuccessTime.
	// +optional
	SoakUntil *metav1.Time `json:"soakUntil,omitempty"`
}

// CanaryStatus says where the clusters are that take a change through the steps of a canary.
type CanaryStatus struct {
	// Step is the first at which one of them is, from 1.
	Step int32 `json:"step"`
	// Steps is how many there are.
	Steps int32 `json:"steps"`
	// Clusters is how many clusters are at one of the steps.
	Clusters int32 `json:"clusters"`
	// WaitsForApproval is the step, as canary/NUMBER, that some of them wait for a person to approve.
	// +optional
	WaitsForApproval string `json:"waitsForApproval,omitempty"`
}

// ApprovedStep is a step that may begin, or, of a canary, end.
type ApprovedStep struct {
	Step string `json:"step"`
	// By is who approved it, or the commit that did.
	By string `json:"by"`
	// At is when the hub saw it.
	At metav1.Time `json:"at"`
}

// RolledBack is a change that failed and was taken back.
type RolledBack struct {
	// Revision is the commit that failed, and Plan the digest of the works that it asks for.
	Revision string `json:"revision"`
	Plan     string `json:"plan"`
	// Refused is the newest commit that is refused: Revision, or a later one that asks for the same works.
	Refused string `json:"refused"`
	// To is the last good revision, which the clusters have or get.
	To string `json:"to"`
	// At is when it failed.
	At metav1.Time `json:"at"`
	// Message says what failed.
	Message string `json:"message"`
	// With is the application of the same repository that failed, as namespace/name, where this one returns with it
	// (spec.rollout.atomic of the FleetRepository); empty for one that failed itself.
	// +optional
	With string `json:"with,omitempty"`
}

// RolloutHistory are the revisions of an application that were good on its clusters, and what was measured of them. It has the
// application's name. The hub writes it, and keeps their commits in its mirror, so that a return needs no network.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:printcolumn:name="Last good",type=string,JSONPath=`.revisions[0].revision`
// +kubebuilder:printcolumn:name="At",type=date,JSONPath=`.revisions[0].at`
type RolloutHistory struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Revisions that were good, the newest first.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Revisions []GoodRevision `json:"revisions,omitempty"`
	// Analyses of the steps of rollouts, the newest first.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Analyses []AnalysisRun `json:"analyses,omitempty"`
}

// GoodRevision is a revision that was rolled out: every cluster that it had to be proved on was healthy with it.
type GoodRevision struct {
	// Revision is the first commit that asked for it.
	Revision string `json:"revision"`
	// Plan is the digest of the works that it asked for on the clusters that it was on last.
	Plan string `json:"plan"`
	// At is when it was good.
	At metav1.Time `json:"at"`
	// Clusters is on how many clusters it was healthy.
	Clusters int32 `json:"clusters"`
}

// RolloutHistoryList is a list of RolloutHistory.
// +kubebuilder:object:root=true
type RolloutHistoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RolloutHistory `json:"items"`
}
