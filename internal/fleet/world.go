package fleet

import (
	"slices"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// World is what is known of the fleet at one moment. A plan is made in a world; the same world gives the same plan.
type World struct {
	// Origin says where the facts come from, for people: "hub https://…", "file world.json", "repository".
	Origin string `json:"origin"`
	// Time at which the facts were true.
	Time time.Time `json:"time"`

	Clusters    []clusterv1.ManagedCluster                `json:"clusters,omitempty"`
	ClusterSets []clusterv1beta2.ManagedClusterSet        `json:"clusterSets,omitempty"`
	Bindings    []clusterv1beta2.ManagedClusterSetBinding `json:"bindings,omitempty"`
	Placements  []clusterv1beta1.Placement                `json:"placements,omitempty"`
	Decisions   []clusterv1beta1.PlacementDecision        `json:"decisions,omitempty"`
	Scores      []clusterv1alpha1.AddOnPlacementScore     `json:"scores,omitempty"`
	// Applications on the hub, whatever repository or person they come from: they hold claims on objects.
	Applications []musterv1alpha1.Application `json:"applications,omitempty"`
	// Holds that people have put on applications: a review says what they keep back.
	Holds []musterv1alpha1.Hold `json:"holds,omitempty"`
	// ClusterValues of all namespaces.
	ClusterValues []musterv1alpha1.ClusterValues `json:"clusterValues,omitempty"`
	// APISets that clusters serve, found by the cluster's claim apis.muster.dev.
	APISets []musterv1alpha1.APISet `json:"apiSets,omitempty"`
	// Works that are live on the hub, as facts and not as manifests.
	Works []LiveWork `json:"works,omitempty"`
	// Accounts are, by namespace of the hub, the accounts on clusters, as namespace/name, that its applications run as when
	// they name none.
	Accounts map[string]string `json:"accounts,omitempty"`
	// HubCluster is the name of the cluster that is the hub itself, if it is managed: tenants' works on it cannot
	// carry OCM or muster.dev kinds.
	HubCluster string `json:"hubCluster,omitempty"`
	// Assumed is what a cluster serves that has not reported it: a version, and kinds where there are some. Nil is
	// DefaultKubernetesVersion and the built-in kinds.
	Assumed *musterv1alpha1.APISet `json:"assumed,omitempty"`
	// Sources finds what references to other repositories and registries resolved to. Nil finds none.
	Sources Sources `json:"-"`
	// ManifestLimit is how many bytes one manifest may have on this hub, alone in its work; zero is what every hub takes.
	ManifestLimit int `json:"manifestLimit,omitempty"`
	// FromRepository is true when nothing but the repository was asked: decisions have no history and clusters no claims.
	FromRepository bool `json:"fromRepository,omitempty"`
}

// LiveWork is what the hub remembers of a ManifestWork: everything that a plan, a diff, a guard or a status needs, and no
// manifests.
type LiveWork struct {
	Cluster string `json:"cluster"` // the namespace
	Name    string `json:"name"`
	// Owner that the work names in its annotations; zero for a work that is not ours.
	Owner Owner `json:"owner,omitzero"`
	// OwnerDigest is the label muster.dev/owner.
	OwnerDigest string `json:"ownerDigest,omitempty"`
	Part        int    `json:"part"`
	Revision    string `json:"revision,omitempty"`
	UID         string `json:"uid,omitempty"`
	// WrittenAt is when anything but the status was written last, by the API server's clock.
	WrittenAt  time.Time `json:"writtenAt,omitzero"`
	Generation int64     `json:"generation"`
	Deleting   bool      `json:"deleting,omitempty"`
	// SpecDigest is computed from the actual spec, so that a hand-edited work is seen; MetaDigest from our labels and annotations.
	SpecDigest string `json:"specDigest"`
	MetaDigest string `json:"metaDigest,omitempty"`
	// SetDigest and SetSize are what the work says of its set.
	SetDigest string `json:"setDigest,omitempty"`
	SetSize   int    `json:"setSize,omitempty"`
	// Objects in the work, in its order.
	Objects []ObjectKey `json:"objects,omitempty"`
	// Kept are objects that stay on the cluster when they leave the work or the work goes: its orphaning rules, without kind.
	Kept []ObjectKey `json:"kept,omitempty"`
	// Orphan is true when deleting the work leaves its objects.
	Orphan bool `json:"orphan,omitempty"`
	// Labels of a work that a ManifestWorkReplicaSet made: the placement is one of them. Of others they are not kept.
	Labels map[string]string `json:"labels,omitempty"`
	// Configs are, as JSON, the hashes of the configurations that a work of an add-on was rendered with.
	Configs string `json:"configs,omitempty"`
	// ExpiresAt is when a work that is complete is to be deleted; zero when it is not complete, or stays.
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
	// Status folded from the work's conditions.
	Status WorkStatus `json:"status"`
}

// WorkStatus is a ManifestWork's status in the words of the hub.
type WorkStatus struct {
	// Observed is true when the conditions are of the work's generation.
	Observed bool `json:"observed,omitempty"`
	Applied  bool `json:"applied,omitempty"`
	// Health of the worst object.
	Health Health `json:"health,omitempty"`
	// Since is the time of the last change of Applied or Health.
	Since time.Time `json:"since,omitzero"`
	// Problems are objects that are not applied, not healthy or drifted, worst first, at most ten.
	Problems []ObjectProblem `json:"problems,omitempty"`
	// Corrected are objects whose drift is over, whatever generation they were corrected at, at most ten.
	Corrected []Correction `json:"corrected,omitempty"`
	// Waits are what the agent waits for, in its words: a hold on the cluster, a wave, objects that do not go.
	Waits []Wait `json:"waits,omitempty"`
	// AppliedObjects, by index of Objects, are those the cluster reports as Applied at this generation.
	AppliedObjects []bool `json:"appliedObjects,omitempty"`
	// Conditions are what the work says as a whole, as OCM's hub reads it.
	Conditions WorkConditions `json:"conditions,omitzero"`
	// Canary is where the agent is with the steps of a canary; nil when it takes nothing through any.
	Canary *Canary `json:"canary,omitempty"`
}

// Canary is where an agent is with the steps of a canary.
type Canary struct {
	// Step from 1; one after the last when the canary is promoted.
	Step  int         `json:"step"`
	Phase CanaryPhase `json:"phase"`
	// Passed is the last step that the hub has let it leave.
	Passed int `json:"passed,omitempty"`
}

// CanaryPhase says what a step of a canary waits for.
type CanaryPhase string

// The phases of a step, and of the end.
const (
	CanaryProgressing CanaryPhase = "Progressing" // for its pods
	CanaryPaused      CanaryPhase = "Paused"      // for the end of its pause
	CanaryWaiting     CanaryPhase = "Waiting"     // for the hub: an approval, an analysis
	CanaryPromoting   CanaryPhase = "Promoting"   // until the Deployments have the change
	CanaryFailed      CanaryPhase = "Failed"      // until the change is taken back, or its pods do well after all
	CanaryFollowed    CanaryPhase = "Followed"    // for a person to approve a step of another controller's: of a Rollout among the manifests
)

// Waits is true when the hub has to say that the agent may leave the step.
func (c *Canary) Waits() bool {
	return c != nil && (c.Phase == CanaryWaiting || c.Phase == CanaryFollowed) && c.Passed < c.Step
}

// WorkConditions are conditions of a work.
type WorkConditions struct {
	Applied     Condition `json:"applied,omitempty"`
	Available   Condition `json:"available,omitempty"`
	Progressing Condition `json:"progressing,omitempty"`
	Degraded    Condition `json:"degraded,omitempty"`
}

// Condition is what a work says of one of its conditions. A hub remembers it of each work of the fleet: it is small.
type Condition uint8

// A condition that is there says true or something else, about the generation that the work has or an earlier one.
const (
	conditionReported Condition = 1 << iota
	conditionTrue
	conditionCurrent
)

// ConditionAt is a condition that is there.
func ConditionAt(isTrue, isCurrent bool) Condition {
	c := conditionReported
	if isTrue {
		c |= conditionTrue
	}
	if isCurrent {
		c |= conditionCurrent
	}
	return c
}

// IsTrue says that the condition is True, of whatever generation.
func (c Condition) IsTrue() bool { return c&conditionTrue != 0 }

// IsCurrent says that the condition is about the work's generation.
func (c Condition) IsCurrent() bool { return c&conditionCurrent != 0 }

// Health is how well an object does: Unknown is not reported, and never counts as healthy.
type Health string

// From worst to best.
const (
	HealthDegraded    Health = "Degraded"
	HealthProgressing Health = "Progressing"
	HealthUnknown     Health = "Unknown"
	HealthHealthy     Health = "Healthy"
)

// WaitHeldOnCluster is the reason of an agent that applies nothing because somebody on the cluster holds it.
const WaitHeldOnCluster = "HeldOnCluster"

// HeldOnCluster is true for a work that somebody holds on its cluster.
func (w *LiveWork) HeldOnCluster() bool {
	return slices.ContainsFunc(w.Status.Waits, func(wait Wait) bool { return wait.Reason == WaitHeldOnCluster })
}

// Wait is one thing that an agent waits for with a work.
type Wait struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// ObjectProblem is one object that is not as it should be.
type ObjectProblem struct {
	Object  ObjectKey `json:"object"`
	State   string    `json:"state"` // ApplyFailed, Degraded, Progressing, Drifted
	Message string    `json:"message"`
}

// Correction is an object that had drifted and is again what was applied.
type Correction struct {
	Object  ObjectKey `json:"object"`
	Message string    `json:"message"` // which fields differed, by whom, in the agent's words
}

// ObjectKey identifies an object on a cluster.
type ObjectKey struct {
	Group     string `json:"g,omitempty"`
	Version   string `json:"v"`
	Kind      string `json:"k"`
	Resource  string `json:"r,omitempty"` // plural
	Namespace string `json:"ns,omitempty"`
	Name      string `json:"n"`
}

// Identity is the key without its version: the same object is the same under any version.
func (k ObjectKey) Identity() ObjectKey {
	k.Version, k.Resource = "", ""
	return k
}

// String is Kind namespace/name, as people say it.
func (k ObjectKey) String() string {
	if k.Namespace == "" {
		return k.Kind + " " + k.Name
	}
	return k.Kind + " " + k.Namespace + "/" + k.Name
}

// Decision is one cluster, chosen or not, and why.
type Decision struct {
	Cluster string `json:"cluster"`
	Chosen  bool   `json:"chosen"`
	// Step of the pipeline that decided: Sets, Predicates, Taints, Scores, Spread, Chosen.
	Step string `json:"step"`
	// Reason names the exact requirement that is unmet, or why the cluster was chosen.
	Reason string `json:"reason"`
	// Group and GroupIndex are the decision group of a chosen cluster; a group that was made by size alone has no name.
	Group      string `json:"group,omitempty"`
	GroupIndex int    `json:"groupIndex,omitempty"`
	// Unreachable is true when the one thing against the cluster is its unreachable or unavailable taint.
	Unreachable bool `json:"unreachable,omitempty"`
}

// Outranked is true for a cluster that could have been chosen: the scheduler preferred others.
func (d Decision) Outranked() bool { return !d.Chosen && (d.Step == "Scores" || d.Step == "Spread") }
