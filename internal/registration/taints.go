package registration

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// Doubt is what speaks against the silence of a cluster that is called silent.
type Doubt int

// The doubts.
const (
	NoDoubt  Doubt = iota // it is silent
	Unproven              // the hub has not listened for its whole grace period: nothing changes
	Spared                // it belongs to a mass silence: more likely, the hub does not hear it
)

// WantTaints are a cluster's taints as they should be: the hub's own follow from the Available condition, the others stay
// as they are. Any taint without a time gets now, from which tolerations with a duration count. The order is kept.
//
//	Available   True   False         missing       Unknown
//	taint       none   unavailable   unreachable   unreachable; none when it is spared; as before when the silence is not proven
func WantTaints(cluster *clusterv1.ManagedCluster, doubt Doubt, now time.Time) []clusterv1.Taint {
	available := find(cluster.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
	own := ownTaint(available)
	// What somebody else says of a cluster, as OCM's agents may, is not the hub's to doubt.
	if available != nil && available.Status == metav1.ConditionUnknown && available.Reason == clusterv1.ReasonLeaseUpdateStopped {
		tainted := slices.ContainsFunc(cluster.Spec.Taints, func(t clusterv1.Taint) bool { return isHubTaint(t) && t.Key == own })
		if doubt == Spared || doubt == Unproven && !tainted {
			own = ""
		}
	}
	var taints []clusterv1.Taint
	present := false
	for _, t := range cluster.Spec.Taints {
		if isHubTaint(t) {
			if t.Key != own || present {
				continue
			}
			present = true
		}
		taints = append(taints, t)
	}
	if own != "" && !present {
		taints = append(taints, clusterv1.Taint{Key: own, Effect: clusterv1.TaintEffectNoSelect})
	}
	for i := range taints {
		if taints[i].TimeAdded.IsZero() {
			taints[i].TimeAdded = clusterv1.NewTaintTime(now.Truncate(time.Second))
		}
	}
	return taints
}

func isHubTaint(t clusterv1.Taint) bool {
	return t.Effect == clusterv1.TaintEffectNoSelect &&
		(t.Key == clusterv1.ManagedClusterTaintUnavailable || t.Key == clusterv1.ManagedClusterTaintUnreachable)
}

func ownTaint(available *metav1.Condition) string {
	switch {
	case available == nil || available.Status == metav1.ConditionUnknown:
		return clusterv1.ManagedClusterTaintUnreachable
	case available.Status == metav1.ConditionFalse:
		return clusterv1.ManagedClusterTaintUnavailable
	}
	return ""
}
