package registration

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// Accepted is the condition HubAccepted, nil when nobody has ever accepted the cluster: OCM reports a denial only after an
// acceptance. Err is why the hub could not create what belongs to the cluster.
func Accepted(cluster *clusterv1.ManagedCluster, err error) *metav1.Condition {
	condition := &metav1.Condition{Type: clusterv1.ManagedClusterConditionHubAccepted, Status: metav1.ConditionFalse}
	switch {
	case !cluster.Spec.HubAcceptsClient:
		if find(cluster.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) == nil {
			return nil
		}
		condition.Reason, condition.Message = clusterv1.ReasonHubClusterAdminDenied, "Denied by hub cluster admin"
	case err != nil:
		condition.Reason, condition.Message = clusterv1.ReasonError, err.Error()
	default:
		condition.Status = metav1.ConditionTrue
		condition.Reason, condition.Message = clusterv1.ReasonHubClusterAdminAccepted, "Accepted by hub cluster admin"
	}
	return condition
}

// Remaining counts what still belongs to a deleted cluster, by resource.
type Remaining struct {
	Resource string
	Count    int
}

// Deleting is the condition about the clean-up of a deleted cluster.
func Deleting(cluster *clusterv1.ManagedCluster, remaining []Remaining, err error) metav1.Condition {
	condition := metav1.Condition{Type: clusterv1.ManagedClusterConditionDeleting, Status: metav1.ConditionFalse}
	switch {
	case err != nil:
		condition.Reason, condition.Message = clusterv1.ReasonDeletingError, err.Error()
	case len(remaining) > 0:
		condition.Reason = clusterv1.ReasonResourceRemaining
		for _, r := range remaining {
			condition.Message += fmt.Sprintf("%d %s remain; ", r.Count, r.Resource)
		}
		condition.Message += "they go when the agent has cleaned up"
		if c := find(cluster.Status.Conditions, clusterv1.ManagedClusterConditionAvailable); c != nil && c.Status == metav1.ConditionUnknown {
			condition.Message += fmt.Sprintf(", and it does not answer; if the cluster is gone for good: muster detach %s --keep-workloads", cluster.Name)
		}
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, clusterv1.ReasonNoResource
		condition.Message = "No cleaned resource in cluster ns."
	}
	return condition
}
