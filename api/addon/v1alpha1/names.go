package v1alpha1

// Labels, annotations and finalizers of add-ons.
const (
	// Prefix is what annotations of a ManagedCluster begin with that its add-ons get too.
	Prefix = "addon.open-cluster-management.io"

	// LifecycleAnnotation on a ClusterManagementAddOn says who installs the add-on: LifecycleAddonManager, as when it is
	// absent, or LifecycleSelf.
	LifecycleAnnotation = "addon.open-cluster-management.io/lifecycle"
	// LifecycleAddonManager is the hub.
	LifecycleAddonManager = "addon-manager"
	// LifecycleSelf is a manager of the add-on's own: the hub leaves it alone.
	LifecycleSelf = "self"

	// ClusterProxyName and ManagedServiceAccountName are OCM's add-ons that come with Muster.
	ClusterProxyName          = "cluster-proxy"
	ManagedServiceAccountName = "managed-serviceaccount"

	// AddonNameLabel on a ManifestWork or a CertificateSigningRequest names the add-on.
	AddonNameLabel = "open-cluster-management.io/addon-name"
	// AddonNamespaceLabel on a ManifestWork in the namespace of a hosting cluster names the cluster that it belongs to.
	AddonNamespaceLabel = "open-cluster-management.io/addon-namespace"
	// FeatureLabelPrefix begins the labels of a ManagedCluster that name its add-ons; the value is one of the three below.
	FeatureLabelPrefix = "feature.open-cluster-management.io/addon-"
	FeatureAvailable   = "available"
	FeatureUnhealthy   = "unhealthy"
	FeatureUnreachable = "unreachable"
	// AddonTemplateNameLabel on a RoleBinding names the AddOnTemplate that asks for it.
	AddonTemplateNameLabel = "open-cluster-management.io/addon-template-name"
	// ConfigSpecHashAnnotation on a ManifestWork holds, as JSON, the hash of each configuration that it was rendered with.
	ConfigSpecHashAnnotation = "open-cluster-management.io/config-spec-hash"

	// InstallNamespaceAnnotation is spec.installNamespace in version v1beta1.
	InstallNamespaceAnnotation = "addon.open-cluster-management.io/v1alpha1-install-namespace"
	// DefaultInstallNamespace is where agents of add-ons run unless something else is said.
	DefaultInstallNamespace = "open-cluster-management-agent-addon"

	// HostingClusterAnnotation on a ManagedClusterAddOn names the cluster that its agent runs on instead.
	HostingClusterAnnotation = "addon.open-cluster-management.io/hosting-cluster-name"
	// HostedManifestLocationAnnotation on a manifest says where it goes in hosted mode: managed, hosting or none.
	HostedManifestLocationAnnotation = "addon.open-cluster-management.io/hosted-manifest-location"

	// PreDeleteAnnotation, as an annotation or a label, makes a Job or a Pod run before the rest is deleted.
	PreDeleteAnnotation = "addon.open-cluster-management.io/addon-pre-delete"
	// PreDeleteLabel is the older label for the same.
	PreDeleteLabel = "open-cluster-management.io/addon-pre-delete"
	// DeletionOrphanAnnotation on a manifest leaves the object on the cluster when the add-on goes.
	DeletionOrphanAnnotation = "addon.open-cluster-management.io/deletion-orphan"

	// PreDeleteFinalizer keeps a ManagedClusterAddOn until its pre-delete hooks are done.
	PreDeleteFinalizer = "addon.open-cluster-management.io/addon-pre-delete"
	// HostingPreDeleteFinalizer keeps it until those on the hosting cluster are done.
	HostingPreDeleteFinalizer = "addon.open-cluster-management.io/hosting-addon-pre-delete"
	// HostingManifestsFinalizer keeps it until its works for the hosting cluster are gone.
	HostingManifestsFinalizer = "addon.open-cluster-management.io/hosting-manifests-cleanup"

	// TokenInfrastructureLabel is "true" on what is made for add-ons that authenticate by token.
	TokenInfrastructureLabel = "addon.open-cluster-management.io/token-infrastructure"
	// TokenInfrastructureNameLabel names the add-on that it is made for.
	TokenInfrastructureNameLabel = "addon.open-cluster-management.io/name"
)

// Conditions of a ManagedClusterAddOn.
const (
	// ConditionAvailable says whether the agent of the add-on works.
	ConditionAvailable = "Available"
	// ConditionDegraded says whether it works badly.
	ConditionDegraded = "Degraded"
	// ConditionConfigured says whether its configurations are known.
	ConditionConfigured = "Configured"
	// ConditionProgressing says how far a change of its configurations is.
	ConditionProgressing = "Progressing"
	// ConditionManifestApplied says whether its objects are applied on the cluster.
	ConditionManifestApplied = "ManifestApplied"
	// ConditionHostingManifestApplied says the same of its objects on the hosting cluster.
	ConditionHostingManifestApplied = "HostingManifestApplied"
	// ConditionHostingClusterValidity says whether the hosting cluster is one of the hub's.
	ConditionHostingClusterValidity = "HostingClusterValidity"
	// ConditionHookManifestCompleted says whether the pre-delete hooks are done.
	ConditionHookManifestCompleted = "HookManifestCompleted"
	// ConditionRegistrationApplied says whether the agent has its rights on the hub.
	ConditionRegistrationApplied = "RegistrationApplied"
	// ConditionClusterCertificateRotated says whether the agent's certificate is the newest.
	ConditionClusterCertificateRotated = "ClusterCertificateRotated"
	// ConditionTokenInfrastructureReady says whether an agent may ask for its token.
	ConditionTokenInfrastructureReady = "TokenInfrastructureReady"
	// ConditionTokenRefreshed says whether it has it.
	ConditionTokenRefreshed = "TokenRefreshed"
)

// Reasons of these conditions.
const (
	ReasonConfigurationsConfigured    = "ConfigurationsConfigured"
	ReasonConfigurationsNotConfigured = "ConfigurationsNotConfigured"
	ReasonConfigurationUnsupported    = "ConfigurationUnsupported"

	ReasonProgressing = "Progressing"
	ReasonCompleted   = "Completed"
	ReasonFailed      = "Failed"
	// ReasonWaitingFor begins the reasons of an add-on that does not have a condition yet, with the condition's name after it.
	ReasonWaitingFor = "WaitingFor"

	ReasonAddonManifestApplied       = "AddonManifestApplied"
	ReasonAddonManifestAppliedFailed = "AddonManifestAppliedFailed"
	ReasonManifestWorkApplyFailed    = "ManifestWorkApplyFailed"

	ReasonHostingClusterValid   = "HostingClusterValid"
	ReasonHostingClusterInvalid = "HostingClusterInvalid"

	ReasonHookManifestIsCompleted    = "HookManifestIsCompleted"
	ReasonHookManifestIsNotCompleted = "HookManifestIsNotCompleted"

	ReasonLeaseUpdated       = "ManagedClusterAddOnLeaseUpdated"
	ReasonLeaseUpdateStopped = "ManagedClusterAddOnLeaseUpdateStopped"
	ReasonLeaseNotFound      = "ManagedClusterAddOnLeaseNotFound"

	ReasonWorkNotFound     = "WorkNotFound"
	ReasonWorkNotApplied   = "WorkNotApplied"
	ReasonWorkApplied      = "WorkApplied"
	ReasonNoProbeResult    = "NoProbeResult"
	ReasonProbeUnavailable = "ProbeUnavailable"
	ReasonProbeAvailable   = "ProbeAvailable"

	ReasonSetPermissionApplied    = "SetPermissionApplied"
	ReasonSetPermissionFailed     = "SetPermissionFailed"
	ReasonNilRegistration         = "NilRegistration"
	ReasonPermissionConfigPending = "PermissionConfigPending"

	ReasonAddonTokenRefreshed            = "AddonTokenRefreshed"
	ReasonTokenCreationFailed            = "TokenCreationFailed"
	ReasonTokenInfrastructureReady       = "TokenInfrastructureReady"
	ReasonTokenInfrastructureApplyFailed = "TokenInfrastructureApplyFailed"
)
