package v1

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/api/internal/wire"
)

// Names that a hub and its agents agree on.
const (
	// ClusterNameLabelKey carries the cluster's name on what the hub keeps for it: the cluster's
	// namespace, its lease, its certificate signing requests.
	ClusterNameLabelKey = "open-cluster-management.io/cluster-name"

	// AddOnNameLabelKey carries an addon's name on its certificate signing requests.
	AddOnNameLabelKey = "open-cluster-management.io/addon-name"

	// ManagedClusterLeaseName is the Lease in the cluster's namespace on the hub that the agent renews.
	// The hub creates it.
	ManagedClusterLeaseName = "managed-cluster-lease"

	// ManagedClusterFinalizer keeps a ManagedCluster until the hub took back what it granted to it.
	ManagedClusterFinalizer = "cluster.open-cluster-management.io/api-resource-cleanup"

	// ResourceCleanupFinalizer keeps a ManagedCluster until the addons and works in its namespace are gone.
	ResourceCleanupFinalizer = "cluster.open-cluster-management.io/resource-cleanup"

	// CleanupPriorityAnnotationKey orders that clean-up: 0 to 100, ascending; unset or invalid goes first.
	CleanupPriorityAnnotationKey = "open-cluster-management.io/cleanup-priority"

	// AutomaticallyAcceptedAnnotationKey holds the RFC 3339 time at which the hub accepted the cluster by
	// itself. Its presence means that it never does so again.
	AutomaticallyAcceptedAnnotationKey = "open-cluster-management.io/automatically-accepted-on"

	// SkipClockSyncCheckAnnotationKey with the value "true" turns the clock check off.
	SkipClockSyncCheckAnnotationKey = "registration.open-cluster-management.io/skip-clock-sync-check"

	// AgentAnnotationPrefix begins the annotations that an agent may set on its own ManagedCluster.
	AgentAnnotationPrefix = "agent.open-cluster-management.io"

	// SubjectPrefix begins the user name (SubjectPrefix + cluster + ":" + agent) and the group
	// (SubjectPrefix + cluster) of an agent on the hub.
	SubjectPrefix = "system:open-cluster-management:"

	// ManagedClustersGroup is the group on the hub that every agent belongs to.
	ManagedClustersGroup = "system:open-cluster-management:managed-clusters"

	// RegisterGroupName is the group of the virtual resources managedclusters/accept (verb update) and
	// managedclusters/clientcertificates (verb renew), which exist in RBAC rules only.
	RegisterGroupName = "register.open-cluster-management.io"

	// ManagedNamespaceLabelPrefix begins the label of a managed namespace on its cluster; the first 63
	// characters of the hub hash follow.
	ManagedNamespaceLabelPrefix = "clusterset.open-cluster-management.io/"
)

// Condition types of a ManagedCluster.
const (
	// ManagedClusterConditionHubAccepted says whether the hub's administrator accepts the cluster.
	ManagedClusterConditionHubAccepted = "HubAcceptedManagedCluster"
	// ManagedClusterConditionJoined says whether the agent holds credentials of the hub and uses them.
	ManagedClusterConditionJoined = "ManagedClusterJoined"
	// ManagedClusterConditionAvailable says whether the cluster's API server is healthy. Unknown means
	// that the agent stopped renewing its lease.
	ManagedClusterConditionAvailable = "ManagedClusterConditionAvailable"
	// ManagedClusterConditionClockSynced says whether the clocks of hub and agent agree.
	ManagedClusterConditionClockSynced = "ManagedClusterConditionClockSynced"
	// ManagedClusterConditionDeleting says how far the clean-up of a deleted cluster came.
	ManagedClusterConditionDeleting = "Deleting"
	// ManagedClusterConditionCertificateRotated says whether the agent's last certificate renewal worked.
	ManagedClusterConditionCertificateRotated = "ClusterCertificateRotated"
	// ManagedNamespaceConditionAvailable says whether a managed namespace exists on the cluster. It is set
	// in the namespace's own entry of the status.
	ManagedNamespaceConditionAvailable = "NamespaceAvailable"
)

// Reasons of those conditions.
const (
	ReasonHubClusterAdminAccepted  = "HubClusterAdminAccepted"
	ReasonHubClusterAdminDenied    = "HubClusterAdminDenied"
	ReasonError                    = "Error"
	ReasonManagedClusterJoined     = "ManagedClusterJoined"
	ReasonManagedClusterAvailable  = "ManagedClusterAvailable"
	ReasonKubeAPIServerUnavailable = "ManagedClusterKubeAPIServerUnavailable"
	ReasonLeaseUpdateStopped       = "ManagedClusterLeaseUpdateStopped"
	ReasonClockSynced              = "ManagedClusterClockSynced"
	ReasonClockOutOfSync           = "ManagedClusterClockOutOfSync"
	ReasonCertificateUpdated       = "ClientCertificateUpdated"
	ReasonCertificateUpdateFailed  = "ClientCertificateUpdateFailed"
	ReasonResourceRemaining        = "ResourceRemaining"
	ReasonDeletingError            = "DeletingError"
	ReasonNoResource               = "NoResource"
	ReasonNamespaceApplied         = "NamespaceApplied"
	ReasonNamespaceApplyFailed     = "NamespaceApplyFailed"
)

// Keys of the taints (effect NoSelect) that the hub sets and removes by itself.
const (
	// ManagedClusterTaintUnavailable is set while the Available condition is False.
	ManagedClusterTaintUnavailable = "cluster.open-cluster-management.io/unavailable"
	// ManagedClusterTaintUnreachable is set while the Available condition is missing or Unknown.
	ManagedClusterTaintUnreachable = "cluster.open-cluster-management.io/unreachable"
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName={mcl,mcls}
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:JSONPath=`.spec.hubAcceptsClient`,name="Hub Accepted",type=boolean
// +kubebuilder:printcolumn:JSONPath=`.spec.managedClusterClientConfigs[*].url`,name="Managed Cluster URLs",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ManagedClusterJoined")].status`,name="Joined",type=string
// +kubebuilder:printcolumn:JSONPath=`.status.conditions[?(@.type=="ManagedClusterConditionAvailable")].status`,name="Available",type=string
// +kubebuilder:printcolumn:JSONPath=`.metadata.creationTimestamp`,name="Age",type=date

// ManagedCluster is one cluster of the fleet. Its agent creates it and reports into its status; the hub's
// administrator accepts it. The namespace of the same name on the hub holds what belongs to the cluster.
type ManagedCluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says how the hub treats the cluster.
	// +optional
	Spec ManagedClusterSpec `json:"spec"`

	// Status is what the agent and the hub found out about the cluster.
	// +optional
	Status ManagedClusterStatus `json:"status,omitzero"`
}

// ManagedClusterSpec says how the hub treats a cluster.
type ManagedClusterSpec struct {
	// ManagedClusterClientConfigs are the addresses of the cluster's API server, as its agent tells them.
	// +optional
	ManagedClusterClientConfigs []ClientConfig `json:"managedClusterClientConfigs,omitempty"`

	// HubAcceptsClient says whether the cluster may join. Changing it to true needs the right to update
	// the virtual resource managedclusters/accept. False takes the agent's rights on the hub away.
	// +optional
	HubAcceptsClient bool `json:"hubAcceptsClient"`

	// LeaseDurationSeconds is how often the agent renews its lease. After five such periods without a
	// renewal the hub calls the cluster's availability Unknown.
	// +optional
	// +kubebuilder:default=60
	LeaseDurationSeconds int32 `json:"leaseDurationSeconds,omitempty"`

	// Taints keep placements that do not tolerate them from choosing the cluster.
	// +optional
	Taints []Taint `json:"taints,omitempty"`
}

// ClientConfig is one way to reach the API server of a cluster.
type ClientConfig struct {
	// URL of the API server; https only.
	// +required
	URL string `json:"url"`

	// CABundle is the PEM bundle that the API server's certificate is verified with. Empty means the
	// system's trust roots.
	// +optional
	CABundle []byte `json:"caBundle,omitempty"`
}

// Taint repels placements that do not tolerate it.
type Taint struct {
	// Key of the taint, such as cluster.open-cluster-management.io/unreachable.
	// +required
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$`
	// +kubebuilder:validation:MaxLength=316
	Key string `json:"key"`

	// Value that belongs to the key.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`

	// Effect on placements that do not tolerate the taint.
	// +required
	// +kubebuilder:validation:Enum=NoSelect;PreferNoSelect;NoSelectIfNew
	Effect TaintEffect `json:"effect"`

	// TimeAdded is when the taint was set. The hub writes it; tolerations with a duration count from it.
	// +optional
	// +nullable
	TimeAdded TaintTime `json:"timeAdded"`
}

// TaintTime is a time in a spec. It is read also where it is none, see wire.UnmarshalTime; the other fields of a taint stay
// under the eyes of a strict decoder.
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:Format=date-time
type TaintTime struct{ metav1.Time }

// NewTaintTime is the time that a taint was added at.
func NewTaintTime(at time.Time) TaintTime { return TaintTime{metav1.NewTime(at)} }

// UnmarshalJSON takes a time that is none: see wire.UnmarshalTime.
func (t *TaintTime) UnmarshalJSON(data []byte) error { return wire.UnmarshalTime(data, &t.Time) }

// TaintEffect says what a taint does to placements that do not tolerate it.
type TaintEffect string

const (
	// TaintEffectNoSelect keeps the cluster out of the decisions and removes it from existing ones.
	TaintEffectNoSelect TaintEffect = "NoSelect"
	// TaintEffectPreferNoSelect avoids the cluster where another one serves.
	TaintEffectPreferNoSelect TaintEffect = "PreferNoSelect"
	// TaintEffectNoSelectIfNew keeps the cluster out of new decisions and leaves it in existing ones.
	TaintEffectNoSelectIfNew TaintEffect = "NoSelectIfNew"
)

// ManagedClusterStatus is what is known about a cluster.
type ManagedClusterStatus struct {
	// Conditions of the cluster; see the ManagedClusterCondition constants.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Capacity is the sum over all nodes.
	// +optional
	Capacity ResourceList `json:"capacity,omitempty"`

	// Allocatable is the sum over the nodes that pods can be scheduled on.
	// +optional
	Allocatable ResourceList `json:"allocatable,omitempty"`

	// Version of what runs on the cluster.
	// +optional
	Version ManagedClusterVersion `json:"version,omitzero"`

	// ClusterClaims are the facts that the cluster claims about itself, copied from its ClusterClaims.
	// +optional
	ClusterClaims []ManagedClusterClaim `json:"clusterClaims,omitempty"`

	// ManagedNamespaces are the namespaces that the cluster's sets ask for, with their state, sorted by
	// set, then name.
	// +optional
	// +listType=map
	// +listMapKey=clusterSet
	// +listMapKey=name
	ManagedNamespaces []ClusterSetManagedNamespaceConfig `json:"managedNamespaces,omitempty"`
}

// UnmarshalJSON takes times in it that are none: see wire.UnmarshalStatus.
func (s *ManagedClusterStatus) UnmarshalJSON(data []byte) error {
	type plain ManagedClusterStatus
	return wire.UnmarshalStatus(data, (*plain)(s))
}

// ManagedClusterVersion is the version of what runs on a cluster.
type ManagedClusterVersion struct {
	// Kubernetes is the version of the API server, such as v1.34.1.
	// +optional
	Kubernetes string `json:"kubernetes,omitempty"`
}

// ManagedClusterClaim is one fact that a cluster claims about itself.
type ManagedClusterClaim struct {
	// Name of the ClusterClaim on the cluster.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// Value that the cluster claims.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`
}

// ManagedNamespaceConfig names a namespace that a set asks its clusters for.
type ManagedNamespaceConfig struct {
	// Name of the namespace.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
}

// ClusterSetManagedNamespaceConfig is a namespace that a set asks one cluster for, with its state there.
type ClusterSetManagedNamespaceConfig struct {
	ManagedNamespaceConfig `json:",inline"`

	// ClusterSet that asks for the namespace.
	// +required
	ClusterSet string `json:"clusterSet"`

	// Conditions of the namespace on the cluster.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ResourceName is a kind of resource that clusters have, such as cpu.
type ResourceName string

const (
	// ResourceCPU is measured in cores.
	ResourceCPU ResourceName = "cpu"
	// ResourceMemory is measured in bytes.
	ResourceMemory ResourceName = "memory"
)

// ResourceList is an amount for each kind of resource.
type ResourceList map[ResourceName]resource.Quantity

var amount = regexp.MustCompile(`^[+-]?[0-9.]{1,40}([a-zA-Z]{1,2}|[eE][+-]?[0-9]{1,2})?$`)

// ParseAmount reads what a cluster can have of a resource. Kubernetes' own function takes more: twenty digits with an
// exponent of a billion cost it all memory there is.
func ParseAmount(text string) (resource.Quantity, error) {
	if !amount.MatchString(text) {
		return resource.Quantity{}, resource.ErrFormatWrong
	}
	return resource.ParseQuantity(text)
}

// UnmarshalJSON leaves out the amounts that are none, although the API server's pattern lets some of them pass, such as
// 1e1.5. Who reads all clusters would otherwise read none as soon as one of them reports such an amount.
func (l *ResourceList) UnmarshalJSON(data []byte) error {
	var reported map[ResourceName]json.RawMessage
	if err := json.Unmarshal(data, &reported); err != nil {
		return err
	}
	if reported == nil {
		*l = nil
		return nil
	}
	*l = make(ResourceList, len(reported))
	for name, text := range reported {
		if q, err := ParseAmount(strings.Trim(string(text), `"`)); err == nil {
			(*l)[name] = q
		}
	}
	return nil
}

// +kubebuilder:object:root=true

// ManagedClusterList is a list of clusters.
type ManagedClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ManagedCluster `json:"items"`
}
