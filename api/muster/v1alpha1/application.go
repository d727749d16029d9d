package v1alpha1

import (
	"fmt"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Application is content and the clusters it belongs on: a chart, an overlay or plain manifests, a placement, what
// differs by cluster, and how to keep it there.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=mapp
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.revision`
// +kubebuilder:printcolumn:name="Clusters",type=integer,JSONPath=`.status.summary.clusters`
// +kubebuilder:printcolumn:name="Current",type=integer,JSONPath=`.status.summary.current`
// +kubebuilder:printcolumn:name="Healthy",type=integer,JSONPath=`.status.summary.healthy`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Application struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ApplicationSpec   `json:"spec"`
	Status ApplicationStatus `json:"status,omitempty"`
}

// ApplicationSpec is what to deliver, where, and how.
// +kubebuilder:validation:XValidation:rule="[has(self.placementRef), has(self.placementRefs), has(self.placement)].filter(set, set).size() == 1",message="set exactly one of placementRef, placementRefs and placement"
type ApplicationSpec struct {
	// PlacementRef names a Placement in the application's namespace.
	// +optional
	PlacementRef LocalReference `json:"placementRef,omitzero"`
	// PlacementRefs name several: the application belongs on the clusters of all of them, on each once. Decision groups of a rollout come
	// in their order.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	PlacementRefs []LocalReference `json:"placementRefs,omitempty"`
	// Placement is one of the application's own. A fleet repository makes a Placement of the application's name of it.
	// +optional
	Placement *clusterv1beta1.PlacementSpec `json:"placement,omitempty"`
	// Source is where the content is.
	// +kubebuilder:validation:XValidation:rule="[has(self.path), has(self.git), has(self.chart), has(self.oci)].filter(set, set).size() == 1",message="set exactly one of path, git, chart and oci"
	// +kubebuilder:validation:XValidation:rule="!has(self.git) || has(self.git.url)",message="git wants url"
	// +kubebuilder:validation:XValidation:rule="!has(self.chart) || has(self.chart.repo) && has(self.chart.name) && has(self.chart.version)",message="chart wants repo, name and version"
	// +kubebuilder:validation:XValidation:rule="!has(self.oci) || has(self.oci.url) && [has(self.oci.tag), has(self.oci.semver), has(self.oci.digest)].filter(set, set).size() == 1",message="oci wants url, and exactly one of tag, semver and digest"
	Source Source `json:"source"`
	// ChartRepositories say how the chart repositories are opened that dependencies of charts, and helmCharts of kustomizations, name.
	// +optional
	// +listType=map
	// +listMapKey=url
	// +kubebuilder:validation:MaxItems=32
	ChartRepositories []ChartRepository `json:"chartRepositories,omitempty"`
	// Helm says how to render the source as a Helm chart. Left out, the content decides: a folder with Chart.yaml is a chart.
	// +optional
	Helm *Helm `json:"helm,omitempty"`
	// Kustomize says how to render the source as an overlay, and what it changes in what is rendered, also in that of a chart or of plain
	// manifests. Left out, a folder with a kustomization file is an overlay.
	// +optional
	Kustomize *Kustomize `json:"kustomize,omitempty"`
	// YAML says which files of a folder of plain manifests count.
	// +optional
	YAML *YAML `json:"yaml,omitempty"`
	// CommonMetadata is put on every object.
	// +optional
	CommonMetadata CommonMetadata `json:"commonMetadata,omitzero"`
	// Destination is the namespace on the clusters.
	// +optional
	Destination Destination `json:"destination,omitempty"`
	// Overrides change the above for the clusters that they select, in order: maps merge, lists replace, null deletes.
	// +optional
	// +listType=map
	// +listMapKey=name
	Overrides []Override `json:"overrides,omitempty"`
	// ServiceAccountName, as namespace/name or as a name in the destination namespace, is the account on the cluster with
	// whose rights the objects are applied: ManifestWork spec.executor. Left out, the one that the namespace's annotation
	// muster.dev/default-service-account names, else the agent's own.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// Sync says how live objects are kept equal to what is applied.
	// +optional
	Sync Sync `json:"sync,omitempty"`
	// Deletion says what becomes of the objects on clusters.
	// +optional
	Deletion Deletion `json:"deletion,omitempty"`
	// Rollout says in which order a change reaches the clusters, in the shape of OCM's rolloutStrategy. Left out, it reaches all
	// at once. Groups are the decision groups of the placement.
	// +optional
	Rollout *Rollout `json:"rollout,omitempty"`
	// Follows holds every commit back until other applications have proved it: what the application gets then is the definition and the
	// content of that commit, without another one.
	// +optional
	Follows *Follows `json:"follows,omitempty"`
	// DependsOn names applications that have to be ready on a cluster, with what their repository asks for now, before this one
	// changes there. One of another namespace has to name this namespace in its dependentNamespaces.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	DependsOn []Dependency `json:"dependsOn,omitempty"`
	// Requires names add-ons that have to be available on a cluster before this one changes there: their ManagedClusterAddOn says so.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	Requires []string `json:"requires,omitempty"`
	// DependentNamespaces are the namespaces, beside its own, whose applications may depend on this one; * is all. Their messages tell
	// whether this one is ready, cluster by cluster.
	// +optional
	// +listType=set
	DependentNamespaces []string `json:"dependentNamespaces,omitempty"`
	// DeletionGuard bounds what one revision may take away without an approval.
	// +optional
	DeletionGuard DeletionGuard `json:"deletionGuard,omitempty"`
}

// Dependency names an application.
type Dependency struct {
	// Name of the application.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// Namespace of the application. Default: that of the one which depends on it.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Revision is a commit of that application's repository, in full, that it has to have, or a later one. Left out, it is the commit that
	// this application is at, when both are of one repository.
	// +optional
	// +kubebuilder:validation:Pattern="^[0-9a-f]{40}([0-9a-f]{24})?$"
	Revision string `json:"revision,omitempty"`
}

// Follows names the applications of the same namespace, and of the same repository, that have to prove a commit first.
// +kubebuilder:validation:XValidation:rule="has(self.application) != has(self.environment)",message="set exactly one of application and environment"
type Follows struct {
	// Application by its name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	Application string `json:"application,omitempty"`
	// Environment stands for every application whose label muster.dev/environment has this value.
	// +optional
	// +kubebuilder:validation:MinLength=1
	Environment string `json:"environment,omitempty"`
	// MinSuccessTime is how long they have to have been good with what the commit asks of them.
	// +optional
	MinSuccessTime metav1.Duration `json:"minSuccessTime,omitempty"`
}

// FollowsStatus is how far an application is behind those that it follows.
type FollowsStatus struct {
	// Revision is the last commit that they have proved, which this application is to have.
	Revision string `json:"revision"`
	// Waiting is the delivered commit, when it is another one, and Message what it waits for.
	// +optional
	Waiting string `json:"waiting,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
}

// PlacementNames are the placements in the application's namespace that choose its clusters.
func (a *Application) PlacementNames() []string {
	switch {
	case a.Spec.Placement != nil:
		return []string{a.Name}
	case len(a.Spec.PlacementRefs) == 0:
		return []string{a.Spec.PlacementRef.Name}
	}
	names := make([]string, 0, len(a.Spec.PlacementRefs))
	for _, ref := range a.Spec.PlacementRefs {
		names = append(names, ref.Name)
	}
	return names
}

// PlacementField is the field that names a placement.
func (a *Application) PlacementField(name string) string {
	for i, ref := range a.Spec.PlacementRefs {
		if ref.Name == name {
			return fmt.Sprintf("spec.placementRefs[%d].name", i)
		}
	}
	if a.Spec.Placement != nil {
		return "spec.placement"
	}
	return "spec.placementRef.name"
}

// Source is where the content is: in this repository, in another one, in a chart repository or in a registry. Values files come
// from beside the application's file whatever the source is. Of an application exactly one field is set. An override sets what
// differs: fields of the same kind of source are merged, another kind replaces it.
type Source struct {
	// Path is a folder or file of the fleet repository that the application was read from, relative to the fleet's root.
	// +optional
	// +kubebuilder:validation:MinLength=1
	Path string `json:"path,omitempty"`
	// Git is a folder of another Git repository.
	// +optional
	Git *GitSource `json:"git,omitempty"`
	// Chart is a Helm chart of a chart repository or an OCI registry.
	// +optional
	Chart *ChartSource `json:"chart,omitempty"`
	// OCI is an artifact of an OCI registry that holds files: a chart, an overlay or manifests.
	// +optional
	OCI *OCISource `json:"oci,omitempty"`
}

// GitSource is a folder of a Git repository.
type GitSource struct {
	// URL of the repository: http://, https:// or ssh://, user@host:path, or file:// where the hub allows it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	URL string `json:"url,omitempty"`
	// Ref is the branch, tag or commit to follow. Left out, the remote's default branch.
	// +optional
	Ref *GitRef `json:"ref,omitempty"`
	// Path is the folder in the repository. Left out, its root.
	// +optional
	Path string `json:"path,omitempty"`
	// SecretRef names a Secret of the application's namespace, with the keys of a FleetRepository's.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// Verify says whose signature the commit has to have. A commit without it is not taken, and what was fetched stays.
	// +optional
	Verify *GitVerification `json:"verify,omitempty"`
	// Submodules fetches submodules too, with the source's Secret those of its own host and the others without.
	// +optional
	Submodules bool `json:"submodules,omitempty"`
	// LFS fetches the files that Git LFS keeps beside the repository, from its own server.
	// +optional
	LFS bool `json:"lfs,omitempty"`
	// Insecure allows http://, and https:// with a certificate that nobody vouches for. The hub has to allow it too.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
}

// ChartSource is a Helm chart.
type ChartSource struct {
	// Repo is the address of the chart repository, http(s)://host/path, or of a registry, oci://host/path, to which the name is added.
	// +optional
	// +kubebuilder:validation:Pattern=`^(https?|oci)://.+`
	Repo string `json:"repo,omitempty"`
	// Name of the chart.
	// +optional
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name,omitempty"`
	// Version is a version, or a range of them such as ^4.11 or ">=4.11 <5", of which the newest is taken. Pre-releases belong to a
	// range that names one, such as ">=4.11.0-0".
	// +optional
	// +kubebuilder:validation:MinLength=1
	Version string `json:"version,omitempty"`
	// SecretRef names a Secret of the application's namespace.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// Verify says whose signature the chart has to have: an OpenPGP key's in the chart's provenance file, or of cosign in a registry.
	// +optional
	Verify *Verification `json:"verify,omitempty"`
	// Insecure allows http://, and https:// with a certificate that nobody vouches for. The hub has to allow it too.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
}

// ChartRepository says how a chart repository or a registry is opened that charts or kustomizations name, and all that is below its address.
// Of several the longest address counts.
type ChartRepository struct {
	// URL is the address, http(s)://host/path or oci://host/path, or the beginning of several: a host, or a folder.
	// +kubebuilder:validation:Pattern=`^(https?|oci)://.+`
	// +kubebuilder:validation:MaxLength=1024
	URL string `json:"url"`
	// SecretRef names a Secret of the application's namespace, with the keys of a chart source's.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// Verify says whose signature the charts have to have.
	// +optional
	Verify *Verification `json:"verify,omitempty"`
	// Insecure allows http://, and https:// with a certificate that nobody vouches for. The hub has to allow it too.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
}

// OCISource is an artifact of a registry whose layer is an archive of files, such as flux push artifact makes it.
type OCISource struct {
	// URL of the artifact: oci://host/path.
	// +optional
	// +kubebuilder:validation:Pattern=`^oci://.+`
	URL string `json:"url,omitempty"`
	// Tag to follow: it may move, as a channel does.
	// +optional
	// +kubebuilder:validation:MinLength=1
	Tag string `json:"tag,omitempty"`
	// SemVer is a range of versions, of which the tag with the newest is taken.
	// +optional
	// +kubebuilder:validation:MinLength=1
	SemVer string `json:"semver,omitempty"`
	// Digest of the manifest, sha256:...: it never moves.
	// +optional
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest,omitempty"`
	// Path is the folder in the artifact. Left out, all of it.
	// +optional
	Path string `json:"path,omitempty"`
	// SecretRef names a Secret of the application's namespace.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// Verify says whose signature of cosign the artifact has to have.
	// +optional
	Verify *Verification `json:"verify,omitempty"`
	// Insecure allows plain HTTP, and a certificate that nobody vouches for. The hub has to allow it too.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
}

// Helm says how to render a chart.
type Helm struct {
	// ReleaseName is what the chart sees as .Release.Name. Default: the application's name.
	// +optional
	ReleaseName string `json:"releaseName,omitempty"`
	// DefaultValues are merged first, over the chart's own values and below all others. The defaults of muster.yaml come here.
	// +optional
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	DefaultValues *runtime.RawExtension `json:"defaultValues,omitempty"`
	// ClusterValues is where, in the values that ClusterValues objects give the cluster, those for this chart are, such as
	// apps.storefront; "." is all of them. They are merged over the chart's own values, below the values files. A cluster without values
	// there adds none.
	// +optional
	ClusterValues string `json:"clusterValues,omitempty"`
	// ValuesFiles are merged in order over the chart's own values. A plain name is relative to the application's file; the
	// prefix "chart:" makes it relative to the chart. An entry is a path, or {path, optional}.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	ValuesFiles []ValuesFile `json:"valuesFiles,omitempty"`
	// ValuesFrom are Secrets and ConfigMaps of the application's namespace on the hub, merged in order over the values files: for what is
	// not in Git.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	ValuesFrom []ValuesReference `json:"valuesFrom,omitempty"`
	// Values are merged last.
	// +optional
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Values *runtime.RawExtension `json:"values,omitempty"`
	// Hooks says what to do about chart hooks: Waves runs those of installations and upgrades in waves before and after the other
	// objects, Ignore leaves all of them out, Refuse faults and names them. Hooks of tests, rollbacks and deletions do not run. Empty
	// is Waves.
	// +optional
	// +kubebuilder:validation:Enum=Waves;Ignore;Refuse
	Hooks HookPolicy `json:"hooks,omitempty"`
	// Generated says what becomes of random functions of the chart whose result reaches an object: Refuse is a fault that names the value
	// to supply; OnCluster lets the agent make the value, once, and keep it in a Secret of its own: it exists neither in Git nor on the
	// hub, and may stand in Secrets only. Empty is Refuse.
	// +optional
	// +kubebuilder:validation:Enum=Refuse;OnCluster
	Generated GeneratedPolicy `json:"generated,omitempty"`
}

// GeneratedPolicy is what becomes of a chart's random functions.
type GeneratedPolicy string

// The policies for random functions.
const (
	GeneratedRefuse    GeneratedPolicy = "Refuse"
	GeneratedOnCluster GeneratedPolicy = "OnCluster"
)

// HookPolicy is what to do about chart hooks.
type HookPolicy string

// The hook policies.
const (
	HooksInWaves HookPolicy = "Waves"
	HooksIgnore  HookPolicy = "Ignore"
	HooksRefuse  HookPolicy = "Refuse"
)

// ValuesFile is a path, or a path that may be missing. In YAML it is a string or an object.
type ValuesFile struct {
	// Path of the file.
	Path string `json:"path"`
	// Optional means that a missing file is no fault.
	// +optional
	Optional bool `json:"optional,omitempty"`
}

// ValuesReference names values that are on the hub, in the application's namespace.
type ValuesReference struct {
	// Kind of the object.
	// +kubebuilder:validation:Enum=Secret;ConfigMap
	Kind ValuesKind `json:"kind"`
	// Name of the object.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// ValuesKey is the key of its data that holds the values. Default: values.yaml.
	// +optional
	ValuesKey string `json:"valuesKey,omitempty"`
	// TargetPath is the dotted path of the one value that the key holds, as text; a dot in a name is written "\\.". Empty: the key holds YAML,
	// a map of values.
	// +optional
	TargetPath string `json:"targetPath,omitempty"`
	// Optional means that an object or key that is not there is no fault.
	// +optional
	Optional bool `json:"optional,omitempty"`
	// AllowOutsideSecrets lets the chart put values of a Secret into objects that are no Secret. Without it that is a fault.
	// +optional
	AllowOutsideSecrets bool `json:"allowOutsideSecrets,omitempty"`
}

// ValuesKind is a kind of object that holds values.
type ValuesKind string

// The kinds that hold values.
const (
	ValuesSecret    ValuesKind = "Secret"
	ValuesConfigMap ValuesKind = "ConfigMap"
)

// Kustomize says how to render an overlay, and what Kustomize changes in the objects of any renderer: the components first, then the
// patches, replicas and images, with the fields and the meaning of a kustomization.
type Kustomize struct {
	// Path below the source that holds the kustomization file, so that overrides can choose an overlay by cluster.
	// +optional
	Path string `json:"path,omitempty"`
	// Components are folders with a kustomization file, relative to the application's file: what they say is done to the objects. A
	// Kustomize overlay after a Helm chart is one.
	// +optional
	Components []string `json:"components,omitempty"`
	// Images replace names, tags and digests of images.
	// +optional
	Images []KustomizeImage `json:"images,omitempty"`
	// Replicas are set on the workloads that are named.
	// +optional
	Replicas []KustomizeReplicas `json:"replicas,omitempty"`
	// Patches are strategic merge patches or JSON patches (RFC 6902).
	// +optional
	Patches []KustomizePatch `json:"patches,omitempty"`
}

// ChangesObjects tells whether something is done to objects that are rendered already.
func (k *Kustomize) ChangesObjects() bool {
	return k != nil && len(k.Components)+len(k.Images)+len(k.Replicas)+len(k.Patches) > 0
}

// KustomizeImage replaces an image.
type KustomizeImage struct {
	// Name of the image as it is written, without tag.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// +optional
	NewName string `json:"newName,omitempty"`
	// +optional
	NewTag string `json:"newTag,omitempty"`
	// +optional
	Digest string `json:"digest,omitempty"`
}

// KustomizeReplicas is a number of replicas.
type KustomizeReplicas struct {
	// Name of the workload.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// +kubebuilder:validation:Minimum=0
	Count int64 `json:"count"`
}

// KustomizePatch changes the objects that it is for.
type KustomizePatch struct {
	// Patch is a strategic merge patch, or a list of JSON patch operations, as YAML.
	// +kubebuilder:validation:MinLength=1
	Patch string `json:"patch"`
	// Target selects the objects; names are regular expressions. A strategic merge patch that names its object needs none.
	// +optional
	Target *KustomizeTarget `json:"target,omitempty"`
}

// KustomizeTarget selects objects.
type KustomizeTarget struct {
	// +optional
	Group string `json:"group,omitempty"`
	// +optional
	Version string `json:"version,omitempty"`
	// +optional
	Kind string `json:"kind,omitempty"`
	// +optional
	Name string `json:"name,omitempty"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`
	// +optional
	AnnotationSelector string `json:"annotationSelector,omitempty"`
}

// YAML says which files of a folder of plain manifests count. A pattern is a path below the folder, in which * is any text within a name
// and ** any number of folders; one without a slash is for names in every folder.
type YAML struct {
	// Include are patterns of the files that count. Left out, all *.yaml, *.yml and *.json but those that other tools put beside manifests:
	// Chart.yaml and values*.yaml of Helm, fleet.yaml, kustomization files, skaffold.yaml and the like.
	// +optional
	Include []string `json:"include,omitempty"`
	// Exclude are patterns of files and folders that do not.
	// +optional
	Exclude []string `json:"exclude,omitempty"`
	// Recurse into the folders below. Default: true.
	// +optional
	Recurse *bool `json:"recurse,omitempty"`
}

// CommonMetadata is put on every object.
type CommonMetadata struct {
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Destination is where on a cluster the objects go.
type Destination struct {
	// Namespace of the namespaced objects that name none. Default: the application's namespace.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// CreateNamespace adds the namespace to the first work. It is shared with other applications and never pruned.
	// +optional
	CreateNamespace bool `json:"createNamespace,omitempty"`
}

// Override changes an application for the clusters it selects.
type Override struct {
	// Name of the override, which the diff shows.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// ClusterSelector says which clusters. An empty one selects all.
	ClusterSelector ClusterSelector `json:"clusterSelector"`
	// Source is merged over spec.source: {chart: {version: 4.11.2}} is all that a promotion needs.
	// +optional
	Source *Source `json:"source,omitempty"`
	// ChartRepositories replace spec.chartRepositories.
	// +optional
	// +listType=map
	// +listMapKey=url
	// +kubebuilder:validation:MaxItems=32
	ChartRepositories []ChartRepository `json:"chartRepositories,omitempty"`
	// Helm is merged over spec.helm.
	// +optional
	Helm *Helm `json:"helm,omitempty"`
	// Kustomize is merged over spec.kustomize.
	// +optional
	Kustomize *Kustomize `json:"kustomize,omitempty"`
	// YAML is merged over spec.yaml.
	// +optional
	YAML *YAML `json:"yaml,omitempty"`
	// CommonMetadata is merged over spec.commonMetadata.
	// +optional
	CommonMetadata CommonMetadata `json:"commonMetadata,omitzero"`
	// Destination is merged over spec.destination.
	// +optional
	Destination *Destination `json:"destination,omitempty"`
}

// ClusterSelector selects clusters that match all of its parts, as in a Placement.
type ClusterSelector struct {
	// LabelSelector over the cluster's labels.
	// +optional
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`
	// ClaimSelector over the cluster's claims.
	// +optional
	ClaimSelector *clusterv1beta1.ClusterClaimSelector `json:"claimSelector,omitempty"`
}

// Sync says how live objects are kept equal to what is applied.
type Sync struct {
	// Drift is what to do when a field that Muster applied has another value: Correct reports and puts it back, Report only
	// reports, Ignore does neither.
	// +optional
	// +kubebuilder:default=Correct
	// +kubebuilder:validation:Enum=Correct;Report;Ignore
	Drift DriftPolicy `json:"drift,omitempty"`
	// OnImmutable is what to do when a field cannot be changed on an object that exists, such as the selector of a Deployment: Fail
	// says which and leaves the object, Recreate deletes the object and makes it anew. Namespaces, persistent volumes and their claims,
	// and custom resource definitions are never recreated.
	// +optional
	// +kubebuilder:default=Fail
	// +kubebuilder:validation:Enum=Fail;Recreate
	OnImmutable ImmutablePolicy `json:"onImmutable,omitempty"`
	// WhenUnreachable is what to do when a placement drops a cluster because it is unreachable: Keep leaves the works until it
	// is back, which the cluster's row says with the reason Kept, Reschedule takes them away like any other loss.
	// +optional
	// +kubebuilder:default=Keep
	// +kubebuilder:validation:Enum=Keep;Reschedule
	WhenUnreachable UnreachablePolicy `json:"whenUnreachable,omitempty"`
	// Ignore lists fields that others may own once the object exists, such as replicas under an autoscaler.
	// +optional
	Ignore []IgnoreRule `json:"ignore,omitempty"`
}

// ImmutablePolicy is what to do when a field cannot be changed on an object that exists.
type ImmutablePolicy string

// What to do about fields that cannot be changed.
const (
	ImmutableFail     ImmutablePolicy = "Fail"
	ImmutableRecreate ImmutablePolicy = "Recreate"
)

// DriftPolicy is what to do about drift.
type DriftPolicy string

// The drift policies.
const (
	DriftCorrect DriftPolicy = "Correct"
	DriftReport  DriftPolicy = "Report"
	DriftIgnore  DriftPolicy = "Ignore"
)

// UnreachablePolicy is what to do about clusters that cannot be reached.
type UnreachablePolicy string

// The policies for unreachable clusters.
const (
	UnreachableKeep       UnreachablePolicy = "Keep"
	UnreachableReschedule UnreachablePolicy = "Reschedule"
)

// IgnoreRule names fields of objects that are set when the object is made and left alone afterwards. It becomes
// ManifestWork spec.manifestConfigs[].updateStrategy.serverSideApply.ignoreFields with condition OnSpokePresent.
type IgnoreRule struct {
	// Kind of the objects.
	// +kubebuilder:validation:MinLength=1
	Kind string `json:"kind"`
	// Group of the kind; empty matches any group.
	// +optional
	Group string `json:"group,omitempty"`
	// Name of the object; empty matches all of the kind.
	// +optional
	Name string `json:"name,omitempty"`
	// JSONPointers name the fields, such as /spec/replicas.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:items:Pattern=`^/`
	JSONPointers []string `json:"jsonPointers"`
}

// Deletion says what becomes of the objects on clusters.
type Deletion struct {
	// Cluster: when a cluster leaves the placement.
	// +optional
	// +kubebuilder:default=Delete
	// +kubebuilder:validation:Enum=Delete;Orphan
	Cluster DeletionPolicy `json:"cluster,omitempty"`
	// Application: when the application goes.
	// +optional
	// +kubebuilder:default=Delete
	// +kubebuilder:validation:Enum=Delete;Orphan
	Application DeletionPolicy `json:"application,omitempty"`
}

// DeletionPolicy is Delete or Orphan.
type DeletionPolicy string

// The deletion policies.
const (
	DeletionDelete DeletionPolicy = "Delete"
	DeletionOrphan DeletionPolicy = "Orphan"
)

// ApplicationStatus says how far an application has come on its clusters.
type ApplicationStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Revision is the commit that was planned last.
	// +optional
	Revision string `json:"revision,omitempty"`
	// LastGoodRevision is the last commit that was rolled out and healthy, and LastGoodPlan the digest of the works that it asked
	// for. The RolloutHistory of the application's name has those before.
	// +optional
	LastGoodRevision string `json:"lastGoodRevision,omitempty"`
	// +optional
	LastGoodPlan string `json:"lastGoodPlan,omitempty"`
	// Plan is the digest of the works that Revision asks for.
	// +optional
	Plan string `json:"plan,omitempty"`
	// Summary counts clusters by state.
	// +optional
	Summary Summary `json:"summary,omitempty"`
	// Clusters are the worst twenty: those that are not current and healthy.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Clusters []ClusterStatus `json:"clusters,omitempty"`
	// Held are deletions that wait for an approval.
	// +optional
	Held *Held `json:"held,omitempty"`
	// Sources are what the references of the application to other repositories and registries resolved to.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Sources []SourceStatus `json:"sources,omitempty"`
	// Rollout is how far the change that goes on has come; absent when none does, and when spec.rollout is.
	// +optional
	Rollout *RolloutStatus `json:"rollout,omitempty"`
	// RolledBack is the change that failed and is refused; absent once a commit brings another one.
	// +optional
	RolledBack *RolledBack `json:"rolledBack,omitempty"`
	// Follows is what the applications that it follows have proved; absent when it follows none.
	// +optional
	Follows *FollowsStatus `json:"follows,omitempty"`
	// OnHold are the Holds that it has, the first ten.
	// +optional
	// +kubebuilder:validation:MaxItems=10
	OnHold []OnHold `json:"onHold,omitempty"`
	// RecentRemovals are what the application has lost within a day and without an approval: it counts against its deletion guard.
	// +optional
	RecentRemovals []Removal `json:"recentRemovals,omitempty"`
	// Settled is what the application was settled on last. It tells clusters that the scheduler exchanges, which are no loss, from
	// those that somebody takes away.
	// +optional
	Settled *Settled `json:"settled,omitempty"`
	// Left are objects that hold data and that stay on clusters which the scheduler has replaced: an application that comes back
	// there has them again.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Left []LeftObjects `json:"left,omitempty"`
	// Conditions: Planned, Applied, Healthy, InSync; Ready is derived from them. True is good.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SourceStatus is what a reference to another repository or a registry resolved to.
type SourceStatus struct {
	// Source is the reference, as people say it.
	Source string `json:"source"`
	// Version that it resolved to: of a chart, the tag of an artifact, the branch or tag of a repository.
	// +optional
	Version string `json:"version,omitempty"`
	// Digest of what was fetched: of the chart's archive or the artifact's manifest, sha256:..., or the commit.
	// +optional
	Digest string `json:"digest,omitempty"`
	// Message says why the source could not be looked at, or is not taken as it is now. What was fetched before stays.
	// +optional
	Message string `json:"message,omitempty"`
}

// Settled is the choice of a placement that an application is on, but for clusters that do not answer and clusters that are being
// exchanged.
type Settled struct {
	// Grounds identify what people have said about the choice, see the annotation muster.dev/grounds.
	Grounds string `json:"grounds"`
	// Clusters is how many the placement had; with several placements a cluster counts once for each that has it.
	Clusters int32 `json:"clusters"`
	// Unreplaced clusters are no longer chosen, since they did not answer, and have the application; no other has been chosen in their
	// place yet.
	// +optional
	Unreplaced []string `json:"unreplaced,omitempty"`
	// Replaced clusters are no longer chosen, since the scheduler has chosen others in their place, and still have the application.
	// +optional
	Replaced []string `json:"replaced,omitempty"`
	// Dropped clusters have the application, did not answer when somebody changed the choice, and are too many for it: it counts as a
	// loss when they lose it.
	// +optional
	Dropped []string `json:"dropped,omitempty"`
}

// LeftObjects are objects that an application has left on a cluster.
type LeftObjects struct {
	Cluster string      `json:"cluster"`
	At      metav1.Time `json:"at"`
	// Objects, as Kind namespace/name; the first twenty.
	Objects []string `json:"objects"`
}

// Removal is what an application has lost at one time.
type Removal struct {
	At metav1.Time `json:"at"`
	// Clusters that it has left.
	// +optional
	Clusters []string `json:"clusters,omitempty"`
	// Objects that it has lost while it stayed on its clusters, as Kind namespace/name.
	// +optional
	Objects []string `json:"objects,omitempty"`
}

// Summary counts an application's clusters by state.
type Summary struct {
	// Clusters that the placement chose, and those whose works are kept although it did not.
	Clusters int32 `json:"clusters"`
	// Current: every work of the newest plan is applied.
	Current int32 `json:"current"`
	// Healthy: current, and every object is healthy.
	Healthy int32 `json:"healthy"`
	// Offline: the cluster does not answer.
	Offline int32 `json:"offline"`
	// Faulty: could not be planned, or the cluster refused an object.
	Faulty int32 `json:"faulty"`
	// Drifted: a field is not what was applied.
	Drifted int32 `json:"drifted"`
	// Held: a deletion waits for an approval, or for the cluster to come back.
	Held int32 `json:"held"`
}

// ClusterStatus is one row about one cluster.
type ClusterStatus struct {
	Cluster string `json:"cluster"`
	// State: Pending, Applied, Degraded, Failed, Faulty, Offline, Held, Drifted.
	State string `json:"state"`
	// +optional
	Reason string `json:"reason,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
	// Since when, as far as the works tell.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// +optional
	File string `json:"file,omitempty"`
	// +optional
	Line int32 `json:"line,omitempty"`
	// ActionRequiredBy is who can resolve it: User (a commit, or an act on the cluster) or Controller (it is retried).
	// +optional
	ActionRequiredBy string `json:"actionRequiredBy,omitempty"`
}

// ApplicationList is a list of Application.
// +kubebuilder:object:root=true
type ApplicationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Application `json:"items"`
}

// APISet is the set of APIs that a cluster serves, by the digest that is its name: clusters that serve the same share one.
// An agent writes it once and names it in the cluster claim apis.muster.dev.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
type APISet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// KubernetesVersion as the cluster reports it, such as v1.36.3.
	KubernetesVersion string `json:"kubernetesVersion"`
	// Resources, sorted by group, version and kind.
	Resources []APIResource `json:"resources"`
}

// APIResource is one kind that a cluster serves.
type APIResource struct {
	Group      string `json:"group"`
	Version    string `json:"version"`
	Kind       string `json:"kind"`
	Resource   string `json:"resource"`
	Namespaced bool   `json:"namespaced"`
}

// APISetList is a list of APISet.
// +kubebuilder:object:root=true
type APISetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []APISet `json:"items"`
}
