package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/muster-io/muster/api/internal/wire"
)

// Names that a hub and its agents agree on.
const (
	// ManifestWorkFinalizer keeps a ManifestWork until the agent removed its objects. The agent sets it
	// and applies nothing before it is there.
	ManifestWorkFinalizer = "cluster.open-cluster-management.io/manifest-work-cleanup"

	// ManifestConfigSpecHashAnnotationKey on an applied object holds the MD5 of the manifest without the
	// fields that are ignored on a change by the cluster.
	ManifestConfigSpecHashAnnotationKey = "open-cluster-management.io/config-spec-hash"

	// DefaultFieldManager applies objects server-side. Every other manager must begin with it.
	DefaultFieldManager = "work-agent"

	// ExecutorVerb on manifestworks is the right to let works run as a service account of the cluster.
	ExecutorVerb = "execute-as"
)

// Condition types of a ManifestWork.
const (
	// WorkApplied says whether every manifest is applied.
	WorkApplied = "Applied"
	// WorkAvailable says whether every object exists on the cluster.
	WorkAvailable = "Available"
	// WorkProgressing says whether an object is still changing; only with condition rules.
	WorkProgressing = "Progressing"
	// WorkDegraded says whether an object is worse than wanted; only with condition rules.
	WorkDegraded = "Degraded"
	// WorkComplete says whether every object has finished; only with condition rules.
	WorkComplete = "Complete"
	// WorkDeleting says that the objects are being removed.
	WorkDeleting = "Deleting"
)

// Condition types of one manifest of a ManifestWork.
const (
	// ManifestApplied says whether the manifest is applied.
	ManifestApplied = "Applied"
	// ManifestAvailable says whether the object exists. It does not mean that it is healthy.
	ManifestAvailable = "Available"
	// ManifestProgressing says whether the object is still changing; only with condition rules.
	ManifestProgressing = "Progressing"
	// ManifestDegraded says whether the object is worse than wanted; only with condition rules.
	ManifestDegraded = "Degraded"
	// ManifestComplete says whether the object has finished; only with condition rules.
	ManifestComplete = "Complete"
	// ManifestStatusFeedbackSynced says whether the values that feedback rules ask for were read.
	ManifestStatusFeedbackSynced = "StatusFeedbackSynced"
)

// Reasons of the conditions of a ManifestWork.
const (
	ReasonAppliedManifestWorkComplete = "AppliedManifestWorkComplete"
	ReasonAppliedManifestWorkFailed   = "AppliedManifestWorkFailed"
	ReasonResourcesAvailable          = "ResourcesAvailable"
	ReasonResourcesNotAvailable       = "ResourcesNotAvailable"
	ReasonResourcesStatusUnknown      = "ResourcesStatusUnknown"
	ReasonWorkDeleting                = "WorkDeleting"
	ReasonConditionRulesAggregated    = "ConditionRulesAggregated"
)

// Reasons of the conditions of one manifest.
const (
	ReasonAppliedManifestComplete            = "AppliedManifestComplete"
	ReasonAppliedManifestFailed              = "AppliedManifestFailed"
	ReasonAppliedManifestSSAIgnoreFieldError = "AppliedManifestSSAIgnoreFieldError"
	ReasonResourceAvailable                  = "ResourceAvailable"
	ReasonResourceNotAvailable               = "ResourceNotAvailable"
	ReasonIncompleteResourceMeta             = "IncompletedResourceMeta"
	ReasonFetchingResourceFailed             = "FetchingResourceFailed"
	ReasonStatusFeedbackSynced               = "StatusFeedbackSynced"
	ReasonNoStatusFeedbackSynced             = "NoStatusFeedbackSynced"
	ReasonStatusFeedbackSyncFailed           = "StatusFeedbackSyncFailed"
	ReasonConditionRuleEvaluated             = "ConditionRuleEvaluated"
	ReasonConditionRuleInvalid               = "ConditionRuleInvalid"
	ReasonConditionRuleExpressionError       = "ConditionRuleExpressionError"
	ReasonConditionRuleInternalError         = "ConditionRuleInternalError"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:subresource:status

// ManifestWork is a set of objects that a hub wants on one cluster. It lives in the cluster's namespace on
// the hub; the cluster's agent pulls it, applies it, and reports into its status.
type ManifestWork struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the hub wants.
	// +optional
	Spec ManifestWorkSpec `json:"spec"`

	// Status is what the agent reports.
	// +optional
	Status ManifestWorkStatus `json:"status,omitzero"`
}

// ManifestWorkSpec is what a hub wants on a cluster, with how to apply and remove it.
type ManifestWorkSpec struct {
	// Workload holds the manifests.
	// +optional
	Workload ManifestsTemplate `json:"workload,omitzero"`

	// DeleteOption says what becomes of the objects when the work or a manifest goes. Deleted, when absent.
	// +optional
	DeleteOption *DeleteOption `json:"deleteOption,omitempty"`

	// ManifestConfigs say how single manifests are applied and watched. The first that matches counts.
	// +optional
	ManifestConfigs []ManifestConfigOption `json:"manifestConfigs,omitempty"`

	// Executor is who applies the manifests on the cluster. The agent itself, when absent.
	// +optional
	Executor *ManifestWorkExecutor `json:"executor,omitempty"`
}

// ManifestsTemplate holds the manifests of a work.
type ManifestsTemplate struct {
	// Manifests are whole objects. Their position is the ordinal in the status.
	// +optional
	Manifests []Manifest `json:"manifests,omitempty"`
}

// Manifest is one object in JSON.
type Manifest struct {
	// +kubebuilder:validation:EmbeddedResource
	// +kubebuilder:pruning:PreserveUnknownFields
	runtime.RawExtension `json:",inline"`
}

// DeleteOption says what becomes of the objects of a work when it goes.
type DeleteOption struct {
	// PropagationPolicy deletes the objects, or leaves all or some of them.
	// +optional
	// +kubebuilder:validation:Enum=Foreground;Orphan;SelectivelyOrphan
	// +kubebuilder:default=Foreground
	PropagationPolicy DeletePropagationPolicyType `json:"propagationPolicy,omitempty"`

	// SelectivelyOrphan names the objects to leave when the policy is SelectivelyOrphan.
	// +optional
	SelectivelyOrphan *SelectivelyOrphan `json:"selectivelyOrphans,omitempty"`

	// TTLSecondsAfterFinished is how long after its completion the hub deletes the work. Never, when absent.
	// +optional
	TTLSecondsAfterFinished *int64 `json:"ttlSecondsAfterFinished,omitempty"`
}

// DeletePropagationPolicyType says what becomes of the objects of a deleted work.
type DeletePropagationPolicyType string

const (
	// DeletePropagationPolicyTypeForeground deletes every object before the work goes.
	DeletePropagationPolicyTypeForeground DeletePropagationPolicyType = "Foreground"
	// DeletePropagationPolicyTypeOrphan leaves every object.
	DeletePropagationPolicyTypeOrphan DeletePropagationPolicyType = "Orphan"
	// DeletePropagationPolicyTypeSelectivelyOrphan leaves the objects that the rules name.
	DeletePropagationPolicyTypeSelectivelyOrphan DeletePropagationPolicyType = "SelectivelyOrphan"
)

// SelectivelyOrphan names the objects that stay when their work goes.
type SelectivelyOrphan struct {
	// OrphaningRules name one object each.
	// +optional
	OrphaningRules []OrphaningRule `json:"orphaningRules,omitempty"`
}

// OrphaningRule names an object that stays when its work goes.
type OrphaningRule struct {
	// Group of the object's API; empty for the core group.
	// +optional
	Group string `json:"group"`

	// Resource is the plural name of the object's kind, such as deployments.
	// +required
	Resource string `json:"resource"`

	// Name of the object.
	// +required
	Name string `json:"name"`

	// Namespace of the object; empty for one of cluster scope.
	// +optional
	Namespace string `json:"namespace"`
}

// ResourceIdentifier names objects on a cluster.
type ResourceIdentifier struct {
	// Group of the object's API; empty for the core group.
	// +optional
	Group string `json:"group"`

	// Resource is the plural name of the object's kind, such as deployments.
	// +required
	Resource string `json:"resource"`

	// Name of the object. In a manifest config "*" stands for any characters.
	// +required
	Name string `json:"name"`

	// Namespace of the object; empty for one of cluster scope. In a manifest config "*" stands for any
	// characters.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// ManifestConfigOption says how the manifests that it names are applied and watched.
type ManifestConfigOption struct {
	// ResourceIdentifier names the manifests.
	// +required
	ResourceIdentifier ResourceIdentifier `json:"resourceIdentifier"`

	// FeedbackRules say which values of the objects' status are reported.
	// +optional
	FeedbackRules []FeedbackRule `json:"feedbackRules,omitempty"`

	// FeedbackScrapeType says how those values are kept fresh.
	// +optional
	// +kubebuilder:validation:Enum=Poll;Watch
	// +kubebuilder:default=Poll
	FeedbackScrapeType FeedbackScrapeType `json:"feedbackScrapeType,omitempty"`

	// UpdateStrategy says how the objects are written. Update, when absent.
	// +optional
	UpdateStrategy *UpdateStrategy `json:"updateStrategy,omitempty"`

	// ConditionRules compute conditions of the manifest from the object.
	// +optional
	// +listType=map
	// +listMapKey=condition
	ConditionRules []ConditionRule `json:"conditionRules,omitempty"`
}

// FeedbackScrapeType says how feedback values are kept fresh.
type FeedbackScrapeType string

const (
	// FeedbackPollType reads the object periodically.
	FeedbackPollType FeedbackScrapeType = "Poll"
	// FeedbackWatchType watches the object, as far as the agent's number of watches allows.
	FeedbackWatchType FeedbackScrapeType = "Watch"
)

// FeedbackRule says which values of an object are reported.
type FeedbackRule struct {
	// Type chooses between values known for the kind and given paths.
	// +required
	// +kubebuilder:validation:Enum=WellKnownStatus;JSONPaths
	Type FeedBackType `json:"type"`

	// JsonPaths of the values, for the type JSONPaths.
	// +optional
	// +listType=map
	// +listMapKey=name
	JsonPaths []JsonPath `json:"jsonPaths,omitempty"`
}

// FeedBackType says where feedback values come from.
type FeedBackType string

const (
	// WellKnownStatusType reports the values that the agent knows for the kind.
	WellKnownStatusType FeedBackType = "WellKnownStatus"
	// JSONPathsType reports the values at given paths.
	JSONPathsType FeedBackType = "JSONPaths"
)

// JsonPath names a value of an object.
type JsonPath struct {
	// Name that the value is reported under.
	// +required
	Name string `json:"name"`

	// Version of the object's API that the path is for. The one that was applied, when empty.
	// +optional
	Version string `json:"version,omitempty"`

	// Path of the value in JSONPath syntax, such as .status.readyReplicas.
	// +required
	Path string `json:"path"`
}

// UpdateStrategy says how an object is written.
type UpdateStrategy struct {
	// Type of the strategy.
	// +required
	// +kubebuilder:validation:Enum=Update;CreateOnly;ServerSideApply;ReadOnly
	// +kubebuilder:default=Update
	Type UpdateStrategyType `json:"type,omitempty"`

	// ServerSideApply says more about the strategy of that name.
	// +optional
	ServerSideApply *ServerSideApplyConfig `json:"serverSideApply,omitempty"`
}

// UpdateStrategyType says how an object is written.
type UpdateStrategyType string

const (
	// UpdateStrategyTypeUpdate overwrites all but labels, annotations, owners and finalizers, which merge.
	UpdateStrategyTypeUpdate UpdateStrategyType = "Update"
	// UpdateStrategyTypeCreateOnly creates the object and never changes it.
	UpdateStrategyTypeCreateOnly UpdateStrategyType = "CreateOnly"
	// UpdateStrategyTypeServerSideApply owns the fields of the manifest and no others.
	UpdateStrategyTypeServerSideApply UpdateStrategyType = "ServerSideApply"
	// UpdateStrategyTypeReadOnly writes nothing and reports the status of an object that is there.
	UpdateStrategyTypeReadOnly UpdateStrategyType = "ReadOnly"
)

// ServerSideApplyConfig says how an object is applied server-side.
type ServerSideApplyConfig struct {
	// Force takes fields over from other managers. Without it a conflict is reported.
	// +optional
	Force bool `json:"force,omitempty"`

	// FieldManager that owns the fields; it begins with work-agent.
	// +optional
	// +kubebuilder:validation:Pattern=`^work-agent`
	// +kubebuilder:default=work-agent
	FieldManager string `json:"fieldManager,omitempty"`

	// IgnoreFields are fields of the manifest that are not applied under a condition.
	// +optional
	// +listType=map
	// +listMapKey=condition
	IgnoreFields []IgnoreField `json:"ignoreFields,omitempty"`
}

// IgnoreField names fields that are not applied under a condition.
type IgnoreField struct {
	// Condition under which the fields are left alone.
	// +required
	// +kubebuilder:validation:Enum=OnSpokePresent;OnSpokeChange
	// +kubebuilder:default=OnSpokePresent
	Condition IgnoreFieldsCondition `json:"condition"`

	// JSONPaths of the fields, such as .spec.replicas.
	// +optional
	JSONPaths []string `json:"jsonPaths,omitempty"`

	// JSONPointers to the fields, such as /spec/replicas.
	// +optional
	JSONPointers []string `json:"jsonPointers,omitempty"`

	// JQPathExpressions that select the fields.
	// +optional
	JQPathExpressions []string `json:"jqPathExpressions,omitempty"`
}

// IgnoreFieldsCondition says when fields are not applied.
type IgnoreFieldsCondition string

const (
	// IgnoreFieldsConditionOnSpokePresent leaves the fields alone once the object exists.
	IgnoreFieldsConditionOnSpokePresent IgnoreFieldsCondition = "OnSpokePresent"
	// IgnoreFieldsConditionOnSpokeChange leaves the cluster's changes of the fields alone until the rest
	// of the manifest changes.
	IgnoreFieldsConditionOnSpokeChange IgnoreFieldsCondition = "OnSpokeChange"
)

// ConditionRule computes one condition of a manifest from its object.
// +kubebuilder:validation:XValidation:rule="self.type != 'CEL' || self.condition != \"\"",message="Condition is required for CEL rules"
type ConditionRule struct {
	// Condition is the type of the condition that is set.
	// +required
	Condition string `json:"condition"`

	// Type chooses between conditions known for the kind and given expressions.
	// +required
	// +kubebuilder:validation:Enum=WellKnownConditions;CEL
	Type ConditionRuleType `json:"type"`

	// CelExpressions over the variable object must all be true for the condition to be True.
	// +optional
	CelExpressions []string `json:"celExpressions,omitempty"`

	// Message of the condition. One that names the condition, when empty.
	// +optional
	Message string `json:"message,omitempty"`

	// MessageExpression computes the message from the variables object and result; it wins over Message.
	// +optional
	MessageExpression string `json:"messageExpression,omitempty"`
}

// ConditionRuleType says how a condition is computed.
type ConditionRuleType string

const (
	// WellKnownConditionsType computes what the agent knows for the kind.
	WellKnownConditionsType ConditionRuleType = "WellKnownConditions"
	// CelConditionExpressionsType evaluates CEL expressions.
	CelConditionExpressionsType ConditionRuleType = "CEL"
)

// ManifestWorkExecutor is who applies the manifests of a work.
type ManifestWorkExecutor struct {
	// Subject on the managed cluster.
	// +optional
	Subject ManifestWorkExecutorSubject `json:"subject,omitzero"`
}

// ManifestWorkExecutorSubject is an identity on the managed cluster.
type ManifestWorkExecutorSubject struct {
	// Type of the subject.
	// +required
	// +kubebuilder:validation:Enum=ServiceAccount
	Type ManifestWorkExecutorSubjectType `json:"type"`

	// ServiceAccount on the managed cluster, for the type of that name.
	// +optional
	ServiceAccount *ManifestWorkSubjectServiceAccount `json:"serviceAccount,omitempty"`
}

// ManifestWorkExecutorSubjectType is the type of an executor.
type ManifestWorkExecutorSubjectType string

// ExecutorSubjectTypeServiceAccount lets a service account of the managed cluster apply the manifests.
const ExecutorSubjectTypeServiceAccount ManifestWorkExecutorSubjectType = "ServiceAccount"

// ManifestWorkSubjectServiceAccount names a service account on the managed cluster.
type ManifestWorkSubjectServiceAccount struct {
	// Namespace of the service account.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$`
	Namespace string `json:"namespace"`

	// Name of the service account.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$`
	Name string `json:"name"`
}

// ManifestWorkStatus is what the agent reports of a work.
type ManifestWorkStatus struct {
	// Conditions of the whole work; see the Work constants. Each carries the generation that it is about.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ResourceStatus tells of every manifest.
	// +optional
	ResourceStatus ManifestResourceStatus `json:"resourceStatus,omitzero"`
}

// UnmarshalJSON takes times in it that are none: see wire.UnmarshalStatus.
func (s *ManifestWorkStatus) UnmarshalJSON(data []byte) error {
	type plain ManifestWorkStatus
	return wire.UnmarshalStatus(data, (*plain)(s))
}

// ManifestResourceStatus tells of the manifests of a work.
type ManifestResourceStatus struct {
	// Manifests in the order of the spec.
	// +optional
	Manifests []ManifestCondition `json:"manifests,omitempty"`
}

// ManifestCondition tells of one manifest.
type ManifestCondition struct {
	// ResourceMeta identifies the manifest.
	// +required
	ResourceMeta ManifestResourceMeta `json:"resourceMeta"`

	// StatusFeedbacks are the values that the feedback rules asked for.
	// +optional
	StatusFeedbacks StatusFeedbackResult `json:"statusFeedback,omitzero"`

	// Conditions of the manifest; see the Manifest constants.
	// +required
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions"`
}

// ManifestResourceMeta identifies a manifest of a work. What could not be found out is empty.
type ManifestResourceMeta struct {
	// Ordinal is the position of the manifest in the spec, from 0.
	// +required
	Ordinal int32 `json:"ordinal"`

	// Group of the object's API; empty for the core group.
	// +optional
	Group string `json:"group"`

	// Version of the object's API.
	// +optional
	Version string `json:"version"`

	// Kind of the object.
	// +optional
	Kind string `json:"kind"`

	// Resource is the plural name of the kind.
	// +optional
	Resource string `json:"resource"`

	// Name of the object.
	// +optional
	Name string `json:"name"`

	// Namespace of the object; empty for one of cluster scope.
	// +optional
	Namespace string `json:"namespace"`
}

// StatusFeedbackResult holds values of an object.
type StatusFeedbackResult struct {
	// Values by name.
	// +optional
	// +listType=map
	// +listMapKey=name
	Values []FeedbackValue `json:"values,omitempty"`
}

// FeedbackValue is one value of an object.
type FeedbackValue struct {
	// Name of the value: that of its path, or one known for the kind.
	// +required
	Name string `json:"name"`

	// Value that was read.
	// +required
	Value FieldValue `json:"fieldValue"`
}

// FieldValue is a value of one of several types.
type FieldValue struct {
	// Type chooses which of the other fields holds the value.
	// +required
	// +kubebuilder:validation:Enum=Integer;String;Boolean;JsonRaw
	Type ValueType `json:"type"`

	// Integer for the type of that name.
	// +optional
	Integer *int64 `json:"integer,omitempty"`

	// String for the type of that name.
	// +optional
	String *string `json:"string,omitempty"`

	// Boolean for the type of that name.
	// +optional
	Boolean *bool `json:"boolean,omitempty"`

	// JsonRaw is an object or list in JSON, for the type of that name.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	JsonRaw *string `json:"jsonRaw,omitempty"`
}

// ValueType is the type of a feedback value.
type ValueType string

const (
	// Integer is a whole number.
	Integer ValueType = "Integer"
	// String is text.
	String ValueType = "String"
	// Boolean is true or false.
	Boolean ValueType = "Boolean"
	// JsonRaw is an object or list in JSON.
	JsonRaw ValueType = "JsonRaw"
)

// +kubebuilder:object:root=true

// ManifestWorkList is a list of works.
type ManifestWorkList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ManifestWork `json:"items"`
}
