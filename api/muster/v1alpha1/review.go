package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ReviewSpec says where the pull requests of a repository are, and what the hub tells there.
type ReviewSpec struct {
	// Host is what serves the API. GitHub Enterprise is GitHub with an apiURL, Bitbucket is Bitbucket Cloud.
	// +kubebuilder:validation:Enum=GitHub;GitLab;Gitea;Forgejo;Bitbucket;BitbucketDataCenter
	Host string `json:"host"`
	// APIURL of the host. Left out, it follows from the repository's URL: https://api.github.com or https://api.bitbucket.org/2.0, or
	// /api/v3, /api/v4, /api/v1 or /rest/api/latest of its server.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.startsWith('http://') || self.startsWith('https://')",message="use http:// or https://"
	APIURL string `json:"apiURL,omitempty"`
	// Repository is owner/name on the host. Left out, it follows from the repository's URL.
	// +optional
	Repository string `json:"repository,omitempty"`
	// SecretRef names a Secret of the same namespace with a token, and on Bitbucket Cloud the username of it; or with githubAppID,
	// githubAppInstallationID and githubAppPrivateKey. Left out, it is the password, bearerToken or GitHub App of the repository's own
	// Secret.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// Name of the check: muster/NAME. Left out, it is the namespace and name of the FleetRepository. Where several hubs review one
	// repository, each has another one.
	// +optional
	// +kubebuilder:validation:MaxLength=100
	Name string `json:"name,omitempty"`
	// DetailsURL is where the check's link goes. Left out, to the comment.
	// +optional
	DetailsURL string `json:"detailsURL,omitempty"`
	// Forks says what becomes of a pull request from another repository, whose content anybody may write: Ignore, or Plan. It can never
	// approve anything.
	// +optional
	// +kubebuilder:default=Ignore
	// +kubebuilder:validation:Enum=Ignore;Plan
	Forks string `json:"forks,omitempty"`
	// FailOn is what fails the check, beside a policy that denies: Faults that are new, and deletions that are Held and not approved. Left
	// out, both.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:Enum=Faults;Held
	FailOn []string `json:"failOn,omitempty"`
	// Approvers may approve held deletions on a pull request of somebody else: by a review of the host, or with the comment
	// /muster approve DIGEST. Left out, nobody can.
	// +optional
	Approvers ReviewApprovers `json:"approvers,omitempty"`
	// EnvironmentLabel is the label of clusters by which the statuses of a merged commit are told apart, such as env. Left out, there is
	// one for each namespace of applications.
	// +optional
	EnvironmentLabel string `json:"environmentLabel,omitempty"`
}

// The hosts, and what becomes of forks.
const (
	HostGitHub              = "GitHub"
	HostGitLab              = "GitLab"
	HostGitea               = "Gitea"
	HostForgejo             = "Forgejo"
	HostBitbucket           = "Bitbucket"
	HostBitbucketDataCenter = "BitbucketDataCenter"

	ForksIgnore = "Ignore"
	ForksPlan   = "Plan"
)

// ReviewApprovers are people of the host.
type ReviewApprovers struct {
	// Users by their login; on Bitbucket Cloud by their account ID.
	// +optional
	Users []string `json:"users,omitempty"`
	// Teams as organization/team; on GitLab, the full path of a group. Bitbucket has none.
	// +optional
	Teams []string `json:"teams,omitempty"`
	// CodeOwners lets those approve whom CODEOWNERS of the base names for every file whose deletions are held.
	// +optional
	CodeOwners bool `json:"codeOwners,omitempty"`
}

// ReviewStatus is what the hub knows of a repository's pull requests.
type ReviewStatus struct {
	// Reason is Succeeded; or what is wrong: Unauthorized, Forbidden, NotFound, RateLimited, HostUnavailable, Invalid, or
	// PlanChangedSinceReview when what was merged is held, and is not what was approved; or TeamUnknown when the host does not show a team
	// whose members may approve.
	Reason string `json:"reason"`
	// +optional
	Message string `json:"message,omitempty"`
	// PullRequests that are open and planned, and those that are merged and not through yet.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	PullRequests []PullRequestStatus `json:"pullRequests,omitempty"`
	// Underway are the statuses of delivered commits that are not ended on the host: a hub that starts over ends them.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Underway []UnderwayStatus `json:"underway,omitempty"`
}

// UnderwayStatus is a status of a delivered commit.
type UnderwayStatus struct {
	Commit string `json:"commit"`
	// Status is its name on the host.
	Status string `json:"status"`
}

// PullRequestStatus is one pull request.
type PullRequestStatus struct {
	Number int64 `json:"number"`
	// Head is the commit that was planned, Base the one that it was compared with.
	Head string `json:"head"`
	// +optional
	Base string `json:"base,omitempty"`
	// Plan is the digest of the head's plan.
	// +optional
	Plan string `json:"plan,omitempty"`
	// State of the check: Pending, Success or Failure.
	State string `json:"state"`
	// Summary is the check's line.
	// +optional
	Summary string `json:"summary,omitempty"`
	// Comment is its number on the host.
	// +optional
	Comment int64 `json:"comment,omitempty"`
	// Held are the deletions that would wait for an approval.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Held []HeldPlan `json:"held,omitempty"`
	// HeldSince is when they came to be what they are at this head: an approving review from before is of something else.
	// +optional
	HeldSince *metav1.Time `json:"heldSince,omitempty"`
	// ApprovedBy is who approved Held.
	// +optional
	ApprovedBy string `json:"approvedBy,omitempty"`
	// Merged is the commit by which it was merged.
	// +optional
	Merged string `json:"merged,omitempty"`
	// Delivery is what the summary on the merged pull request says: Success when it is through, Failure when it is stuck.
	// +optional
	Delivery string `json:"delivery,omitempty"`
}

// HeldPlan is an object of the hub that would hold deletions.
type HeldPlan struct {
	// Kind is Application or FleetRepository.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Plan is the digest that lets them go ahead.
	Plan string `json:"plan"`
}
