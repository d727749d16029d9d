package v1alpha1

import (
	"cmp"

	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Rollout says in which order a change reaches the clusters, and what happens when it fails: OCM's rolloutStrategy with more
// fields. Without them it does what OCM's does.
type Rollout struct {
	clusterv1alpha1.RolloutStrategy `json:",inline"`

	// OnFailure is what happens when more clusters fail than maxFailures allows: Pause stops where the rollout is; Rollback returns
	// the clusters that have the change to the last good revision, and refuses the change until a commit brings another one.
	// +optional
	// +kubebuilder:default=Pause
	// +kubebuilder:validation:Enum=Pause;Rollback
	OnFailure FailurePolicy `json:"onFailure,omitempty"`
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
	// Phase is Progressing; Stopped when more clusters have failed than spec.rollout allows; or Returning to the last good revision.
	Phase string `json:"phase"`
	// Group is the decision group that it is at, if it goes by groups.
	// +optional
	Group string `json:"group,omitempty"`
	// Clusters of the application, and how many of them have the change.
	Clusters int32 `json:"clusters"`
	Updated  int32 `json:"updated"`
	// InFlight is how many of those are not through yet, Waiting how many come later.
	// +optional
	InFlight int32 `json:"inFlight,omitempty"`
	// +optional
	Waiting int32 `json:"waiting,omitempty"`
	// Failed names the first twenty clusters that failed or timed out.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Failed []string `json:"failed,omitempty"`
	// Message says what it waits for.
	// +optional
	Message string `json:"message,omitempty"`
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
}

// RolloutHistory are the revisions of an application that were good on its clusters. It has the application's name. The hub
// writes it, and keeps their commits in its mirror, so that a return needs no network.
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
