package v1alpha1

// Labels and annotations under muster.dev.
const (
	// OwnerLabel names, as a short hash of kind, namespace and name, the object on the hub that made this one. It
	// replaces an ownerReference where owner and owned live in different namespaces.
	OwnerLabel = "muster.dev/owner"
	// HubLabel is on every object of a planned work; its value is the owner hash of the application. The agent keeps
	// its metadata watches to objects with this label.
	HubLabel = "muster.dev/application-id"

	// EnvironmentLabel on an Application says which environment it is of: those that follow the environment wait for it.
	EnvironmentLabel = "muster.dev/environment"

	// ApplicationAnnotation is namespace/name of the Application that a work belongs to.
	ApplicationAnnotation = "muster.dev/application"
	// OwnerAnnotation is kind/namespace/name of the owner of a work whose owner is no Application.
	OwnerAnnotation = "muster.dev/owned-by"
	// PartAnnotation is the number of the work among the application's works on the cluster, from 0.
	PartAnnotation = "muster.dev/part"
	// RevisionAnnotation is the commit at which the content of a work last changed.
	RevisionAnnotation = "muster.dev/revision"
	// SetDigestAnnotation and SetSizeAnnotation say which set of works a work belongs to, and how many there are: a
	// cluster counts as applied only when all works of one set say so.
	SetDigestAnnotation = "muster.dev/set-digest"
	SetSizeAnnotation   = "muster.dev/set-size"
	// ContentDigestAnnotation is the digest of the work's spec as it was planned.
	ContentDigestAnnotation = "muster.dev/content-digest"
	// ObjectsAnnotation lists, compactly, the identities of the objects in a work, so that a hub need not hold manifests.
	ObjectsAnnotation = "muster.dev/objects"
	// ExecutorAnnotation on an AppliedManifestWork is the user in whose name its objects were written, where the agent has no rights
	// on them itself.
	ExecutorAnnotation = "muster.dev/executor"
	// DriftAnnotation on a work selects what the agent does about drift: Correct, Report or Ignore.
	DriftAnnotation = "muster.dev/drift"

	// ApprovedPlanAnnotation on a FleetRepository or Application is the digest of the plan whose held deletions may go ahead.
	ApprovedPlanAnnotation = "muster.dev/approved-plan"
	// ApprovedStepsAnnotation on an Application are steps of its rollout that may begin, and SkippedStepsAnnotation steps that the next
	// ones do not wait for: REVISION/STEP, separated by commas. AbortAnnotation is the revision of a rollout that is to be taken back,
	// RetryAnnotation the time (status.rolledBack.at) of the failure that is forgiven. Whoever sets one needs the right approve of the
	// application, and is named in RolloutByAnnotation.
	ApprovedStepsAnnotation = "muster.dev/approved-steps"
	SkippedStepsAnnotation  = "muster.dev/skipped-steps"
	AbortAnnotation         = "muster.dev/abort-rollout"
	RetryAnnotation         = "muster.dev/retry-rollout"
	RolloutByAnnotation     = "muster.dev/rollout-by"
	// SyncRequestedAnnotation on a FleetRepository asks for a look at its remote now: any value that is another one, such as the time.
	SyncRequestedAnnotation = "muster.dev/sync-requested-at"
	// TestNotificationAnnotation on a Notification asks for a test; its value is told in status.test.
	TestNotificationAnnotation = "muster.dev/test-notification"
	// RepositoryAnnotation is namespace/name of the FleetRepository that an object on the hub was applied from.
	RepositoryAnnotation = "muster.dev/repository"
	// AddOnContentAnnotation, on a ClusterManagementAddOn, is the folder of a FleetRepository, a chart, an overlay or manifests, that the
	// add-on is made of. AddOnRepositoryAnnotation names the repository, namespace/name, when it is not the one it was applied from.
	AddOnContentAnnotation    = "muster.dev/addon-content"
	AddOnRepositoryAnnotation = "muster.dev/addon-repository"
	// AddOnHooksAnnotation, on a ManagedClusterAddOn, is the commit at which its pre-delete hooks are rendered when the folder is gone, and
	// the hash of the folder there.
	AddOnHooksAnnotation = "muster.dev/addon-hooks-at"
	// DefaultServiceAccountAnnotation, on a namespace of the hub, is the account on clusters that applications of the namespace run as
	// when they name none: namespace/name, or a name in the namespace that is called the same on clusters. Whoever names
	// another one needs the right execute-as for it, so that who writes applications there is bound to it.
	DefaultServiceAccountAnnotation = "muster.dev/default-service-account"
	// MovedFromAnnotation, on an Application, is the name that it had before in its namespace: it takes over the works of that one,
	// and nothing is deleted on clusters. Once the application of the old name is gone it says nothing more.
	MovedFromAnnotation = "muster.dev/moved-from"
	// TakeOverAnnotation, on an object that another repository or a person owns, names the repository that may take it over.
	TakeOverAnnotation = "muster.dev/allow-takeover-by"
	// JoinIdentityAnnotation on a ManagedCluster is the user name, as the hub authenticates it, whose request to join
	// under the cluster's name is approved.
	JoinIdentityAnnotation = "muster.dev/join-identity"
	// FirstPlanAnnotation marks a cluster namespace on the hub after the first complete plan for that cluster: only
	// then may our agent evict works that the hub no longer has.
	FirstPlanAnnotation = "muster.dev/first-complete-plan"
	// HubClusterAnnotation on the Lease of the hub's heartbeat names the managed cluster that is the hub itself.
	HubClusterAnnotation = "muster.dev/hub-cluster"
	// HearingAnnotation on the same Lease says, as JSON, that the hub was away, or that many clusters are silent at once.
	HearingAnnotation = "muster.dev/hearing"
	// ApprovedSilenceAnnotation on the same Lease is the time since when many clusters are silent at once, written by a person who
	// knows that they are really away. The hub then treats each of them as silent.
	ApprovedSilenceAnnotation = "muster.dev/approved-silence"
	// GroundsAnnotation on a PlacementDecision identifies what people have said about the choice: as long as it is the same, the
	// scheduler has exchanged clusters for reasons of its own.
	GroundsAnnotation = "muster.dev/grounds"
	// AssumeAnnotation on a ManagedCluster says, as JSON, what to assume of the cluster while it has not reported it: kubernetesVersion,
	// apis as in an APISet, and, for plans without a hub, claims by name.
	AssumeAnnotation = "muster.dev/assume"
	// ReleasedAnnotation on a ManagedCluster says that its file has left Git and that it waits for `muster detach`.
	ReleasedAnnotation = "muster.dev/released"

	// ApplicationFinalizer keeps an Application until its works are gone as its deletion policy says.
	ApplicationFinalizer = "muster.dev/works"
	// RepositoryFinalizer keeps a FleetRepository until the objects that it applied are released.
	RepositoryFinalizer = "muster.dev/definitions"

	// AgentRoleAnnotation on a ClusterManagementAddOn says that the klusterlet itself is the agent of the add-on, and in which of its
	// roles. The hub copies it to the ManagedClusterAddOns, where the klusterlet reads it.
	AgentRoleAnnotation = "muster.dev/agent-role"
	// AgentRoleProxy and AgentRoleServiceAccount are the roles of which the klusterlet is an add-on's agent.
	AgentRoleProxy          = "proxy"
	AgentRoleServiceAccount = "serviceaccount"

	// DetachAnnotation on a ManagedCluster says that it is leaving the hub, and what becomes of its workloads:
	// DetachKeepWorkloads or DetachClean. Nothing is planned for it any more.
	DetachAnnotation = "muster.dev/detach"

	// LeaderLabel is on the pod of the hub that leads.
	LeaderLabel = "muster.dev/leader"
	// VersionAnnotation of the hub's heartbeat Lease is the version of the hub.
	VersionAnnotation = "muster.dev/version"
	// AgentVersionClaim is the name of the cluster claim whose value is the version of the cluster's agent.
	AgentVersionClaim = "agentversion.muster.dev"

	// APISetClaim is the name of the cluster claim whose value is the digest of the APISet that the cluster serves.
	APISetClaim = "apis.muster.dev"

	// OnImmutableAnnotation on a work says what the agent does when a field cannot be changed on a live object: Fail, also when
	// left out, or Recreate. On a manifest it goes before that of the work.
	OnImmutableAnnotation = "muster.dev/on-immutable"
	// DeletePolicyAnnotation on a manifest says when the agent deletes its object, as Helm does with hooks: BeforeApply, before a changed
	// manifest is applied; WhenReady, once the object is ready, after which it counts as done; WhenFailed, once it has failed. Several
	// are separated by commas.
	DeletePolicyAnnotation = "muster.dev/delete-policy"
	// HookContentAnnotation on a chart's hook of upgrades is a digest of what the chart gives beside its hooks: when that changes, the
	// hook runs again.
	HookContentAnnotation = "muster.dev/hook-content"
	// CanaryAnnotation on a work are the steps, spec.rollout.canary of the application as JSON without the metrics of analyses, through which
	// the agent takes a changed pod template.
	CanaryAnnotation = "muster.dev/canary"
	// CanaryPassedAnnotation on a work, GENERATION/STEP, is the last step of a canary that the agent may leave of those that wait for the hub,
	// while the work is at the generation.
	CanaryPassedAnnotation = "muster.dev/canary-passed"
	// CanaryLabel is on the companion that the agent makes of a Deployment, and on its pods: the Deployment's selector chooses them too, and
	// the companion's does not choose those of the Deployment.
	CanaryLabel = "muster.dev/canary"

	// WaveAnnotation on a manifest is the wave that it is applied in, a whole number, 0 when left out. The agent applies a wave when
	// every object of the lower ones is ready, over all works of one application. On uninstall, higher waves go first.
	WaveAnnotation = "muster.dev/wave"
	// WaveTimeoutAnnotation on a manifest is how long the next wave waits for it until that is a fault, such as 10m; 5m when left out.
	WaveTimeoutAnnotation = "muster.dev/wave-timeout"
	// ReadyAnnotation on a manifest is a CEL expression over object that is true when the object is ready for the next wave. Left out,
	// it is the health of its kind.
	ReadyAnnotation = "muster.dev/ready"
	// ConditionWaves is the condition type that our agent adds to a work whose manifests have waves: True means that every wave is
	// applied and ready, False names the object that the next wave waits for.
	ConditionWaves = "WavesReady"

	// ConditionHeld is the condition type that our agent adds to a work that somebody holds on the cluster: while it is True, nothing of
	// the work is applied or deleted, and the message says until when.
	ConditionHeld = "Held"
	// ConditionPruned is the condition type that our agent adds to a work while objects that left it are not gone: it is False, and
	// names them with what keeps them.
	ConditionPruned = "Pruned"

	// ConditionDrift is the condition type that our agent adds to a manifest in a work's status: True means that a
	// field is not, or was not, what Muster applied.
	ConditionDrift = "Drift"
)

// The values of DetachAnnotation.
const (
	DetachKeepWorkloads = "keep-workloads"
	DetachClean         = "clean"
)
