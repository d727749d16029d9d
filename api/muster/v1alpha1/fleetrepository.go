package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// FleetRepository is a Git repository, or a path in one, that the hub watches. Its objects are applied with the rights
// of the service account it names, in its own namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=fleetrepo
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.revision`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type FleetRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   FleetRepositorySpec   `json:"spec"`
	Status FleetRepositoryStatus `json:"status,omitempty"`
}

// FleetRepositorySpec says where the repository is, which commit of it counts, and with whose rights it is applied.
type FleetRepositorySpec struct {
	// URL of the repository: file://, http://, https:// or ssh://, or user@host:path.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:XValidation:rule="self.startsWith('file://') || self.startsWith('http://') || self.startsWith('https://') || self.startsWith('ssh://') || self.matches('^[^/:@]+@[^/:]+:.+')",message="use file://, http://, https:// or ssh://, or user@host:path"
	URL string `json:"url"`
	// Ref is the branch, tag or commit to follow. Without it, the remote's default branch.
	// +optional
	Ref GitRef `json:"ref,omitempty"`
	// Path is the folder of the repository that holds the fleet, relative to its root. Empty is the root.
	// +optional
	Path string `json:"path,omitempty"`
	// Interval between two looks at the remote. A webhook shortens it.
	// +optional
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="at least 1s"
	Interval metav1.Duration `json:"interval,omitempty"`
	// SecretRef names a Secret in the same namespace with the credentials for the remote: username and password, or
	// bearerToken, or identity (a private key) with known_hosts; caFile for a private certificate authority; webhookToken
	// for the HMAC of webhooks.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// Verify says whose signature the commit has to have. A commit without it is not delivered, and what was delivered stays.
	// +optional
	Verify *GitVerification `json:"verify,omitempty"`
	// ServiceAccountName is the account of the same namespace whose rights bound what the repository can write on the hub.
	// +optional
	// +kubebuilder:default="default"
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// DeletionGuard bounds what one revision may take away without an approval.
	// +optional
	DeletionGuard DeletionGuard `json:"deletionGuard,omitempty"`
	// Rollout says what the rollouts of its applications have to do with each other.
	// +optional
	Rollout RepositoryRollout `json:"rollout,omitzero"`
	// Review lets the hub tell on pull requests what they do to the fleet. Left out, nothing is written to the host.
	// +optional
	Review *ReviewSpec `json:"review,omitempty"`
}

// RepositoryRollout says what the rollouts of a repository's applications have to do with each other.
type RepositoryRollout struct {
	// Atomic returns a commit as a whole: when one application takes it back, all others that it has changed do, as long as that one refuses
	// it.
	// +optional
	Atomic bool `json:"atomic,omitempty"`
}

// Verification says whose signature is wanted: that of any of the keys.
// +kubebuilder:validation:XValidation:rule="has(self.secretRef) || has(self.keys)",message="set secretRef, keys or both"
type Verification struct {
	// SecretRef names a Secret in the same namespace. Each of its values holds public keys: OpenPGP in ASCII armor, SSH as in
	// id_ed25519.pub, or PEM for cosign.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// Keys are public keys that need no Secret, one or more in each entry.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	Keys []string `json:"keys,omitempty"`
}

// GitVerification says who has to have signed a commit, or the tag that names it, with OpenPGP or SSH.
type GitVerification struct {
	Verification `json:",inline"`
	// Mode says what is signed: Head is the commit, Tag is the annotated tag that ref.tag names. Empty is Head.
	// +optional
	// +kubebuilder:validation:Enum=Head;Tag
	Mode VerificationMode `json:"mode,omitempty"`
}

// VerificationMode says what of a Git repository is signed.
type VerificationMode string

// The modes of a verification.
const (
	VerifyHead VerificationMode = "Head"
	VerifyTag  VerificationMode = "Tag"
)

// GitRef selects one commit of a repository.
// +kubebuilder:validation:XValidation:rule="(has(self.branch)?1:0)+(has(self.tag)?1:0)+(has(self.commit)?1:0) <= 1",message="set one of branch, tag or commit"
type GitRef struct {
	// +optional
	Branch string `json:"branch,omitempty"`
	// +optional
	Tag string `json:"tag,omitempty"`
	// Commit is a full object name.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{40}$`
	Commit string `json:"commit,omitempty"`
}

// LocalReference names an object of the same namespace.
type LocalReference struct {
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// DeletionGuard is how much of an application a revision may remove without an approval.
type DeletionGuard struct {
	// MaxClusterPercent of an application's clusters, counted against what is live and what it has left within a day. A loss
	// of more than this, and of at least one cluster, is held. So is, while the application stays on its clusters, a loss of
	// more than this percentage of its objects, and of at least two, and content that becomes empty. 100 turns the guard off
	// for clusters and objects.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxClusterPercent *int32 `json:"maxClusterPercent,omitempty"`
}

// FleetRepositoryStatus says how far the repository's newest commit has come.
type FleetRepositoryStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// FetchedRevision is the commit that the ref pointed to at the last good fetch.
	// +optional
	FetchedRevision string `json:"fetchedRevision,omitempty"`
	// Revision is the commit whose definitions are on the hub: applications are planned at it.
	// +optional
	Revision string `json:"revision,omitempty"`
	// DeliveredAt is when Revision was reached.
	// +optional
	DeliveredAt *metav1.Time `json:"deliveredAt,omitempty"`
	// Plan is the digest of the plan made for Revision.
	// +optional
	Plan string `json:"plan,omitempty"`
	// Definitions is the number of objects on the hub that came from the repository.
	// +optional
	Definitions int32 `json:"definitions,omitempty"`
	// Faults are the worst twenty of what could not be loaded, applied or planned.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Faults []Fault `json:"faults,omitempty"`
	// FaultCount is how many there are.
	// +optional
	FaultCount int32 `json:"faultCount,omitempty"`
	// Held are definitions that left Git and are kept until the plan is approved.
	// +optional
	Held *Held `json:"held,omitempty"`
	// Review is what the hub knows of the repository's pull requests.
	// +optional
	Review *ReviewStatus `json:"review,omitempty"`
	// Conditions: Fetched, Planned, Delivered; Ready is derived from them. True is good.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Fault is one thing that could not be done, and action required by it is.
type Fault struct {
	// Reason is a word for programs.
	Reason string `json:"reason"`
	// Application is namespace/name of the application concerned, if one is.
	// +optional
	Application string `json:"application,omitempty"`
	// Cluster concerned, if one is.
	// +optional
	Cluster string `json:"cluster,omitempty"`
	// Clusters is the number of clusters with the same fault, when more than one.
	// +optional
	Clusters int32 `json:"clusters,omitempty"`
	// File and Line of the repository where the cause stands.
	// +optional
	File string `json:"file,omitempty"`
	// +optional
	Line int32 `json:"line,omitempty"`
	// Message for people, with the next step.
	Message string `json:"message"`
	// ActionRequiredBy is who can resolve it: User (a commit) or Controller (it is retried).
	ActionRequiredBy string `json:"actionRequiredBy"`
}

// Held is a set of deletions that are planned and wait for an approval.
type Held struct {
	// Plan is the digest to approve: muster approve --plan.
	Plan string `json:"plan"`
	// Deletions is how many objects or clusters would go.
	Deletions int32 `json:"deletions"`
	// Items name the first twenty.
	// +optional
	Items []string `json:"items,omitempty"`
	// Message says what is held and why.
	Message string `json:"message"`
}

// FleetRepositoryList is a list of FleetRepository.
// +kubebuilder:object:root=true
type FleetRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FleetRepository `json:"items"`
}

// FleetConfiguration is muster.yaml at the root of a fleet repository. It is read from Git and not an API of the hub.
type FleetConfiguration struct {
	metav1.TypeMeta `json:",inline"`
	Spec            FleetConfigurationSpec `json:"spec,omitempty"`
}

// FleetConfigurationSpec says where in the repository definitions are.
type FleetConfigurationSpec struct {
	// Paths are the folders that hold definitions. Default: clusters, clustersets, tenants, clustervalues, placements, applications, addons.
	Paths []string `json:"paths,omitempty"`
	// Defaults for applications, later ones over earlier ones, and what an application says itself over all.
	Defaults []ApplicationDefaults `json:"defaults,omitempty"`
}

// ApplicationDefaults are what applications say that do not say otherwise.
type ApplicationDefaults struct {
	// Namespaces of the applications. Left out, all.
	Namespaces []string `json:"namespaces,omitempty"`
	// Selector over the labels of the applications. Left out, all.
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// Spec is merged below that of the application.
	Spec ApplicationDefaultsSpec `json:"spec"`
}

// ApplicationDefaultsSpec are the fields of an application that may have defaults. Helm, kustomize and yaml are for the applications that have
// that section; helm.values become helm.defaultValues, which go over the chart's own values and below all others.
type ApplicationDefaultsSpec struct {
	ChartRepositories  []ChartRepository `json:"chartRepositories,omitempty"`
	Helm               *Helm             `json:"helm,omitempty"`
	Kustomize          *Kustomize        `json:"kustomize,omitempty"`
	YAML               *YAML             `json:"yaml,omitempty"`
	CommonMetadata     CommonMetadata    `json:"commonMetadata,omitzero"`
	Destination        Destination       `json:"destination,omitempty"`
	ServiceAccountName string            `json:"serviceAccountName,omitempty"`
	Sync               Sync              `json:"sync,omitempty"`
	Deletion           Deletion          `json:"deletion,omitempty"`
	Rollout            *Rollout          `json:"rollout,omitempty"`
	DeletionGuard      DeletionGuard     `json:"deletionGuard,omitempty"`
}
