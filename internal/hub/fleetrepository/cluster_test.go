package fleetrepository

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/plan"
)

func TestDeniedByPerson(t *testing.T) {
	accepted := []metav1.Condition{{Type: clusterv1.ManagedClusterConditionHubAccepted, Status: metav1.ConditionFalse}}
	byGit := []metav1.ManagedFieldsEntry{{Manager: plan.FieldManager, Operation: metav1.ManagedFieldsOperationApply,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:hubAcceptsClient":{}}}`)}}
	for name, tc := range map[string]struct {
		cluster clusterv1.ManagedCluster
		want    bool
	}{
		"was accepted once, and a person took that back": {clusterv1.ManagedCluster{Status: clusterv1.ManagedClusterStatus{Conditions: accepted}}, true},
		"was never accepted":                             {clusterv1.ManagedCluster{}, false},
		"is accepted": {clusterv1.ManagedCluster{
			Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}, Status: clusterv1.ManagedClusterStatus{Conditions: accepted}}, false},
		"is denied by Git": {clusterv1.ManagedCluster{
			ObjectMeta: metav1.ObjectMeta{ManagedFields: byGit}, Status: clusterv1.ManagedClusterStatus{Conditions: accepted}}, false},
	} {
		if got := deniedByPerson(&tc.cluster); got != tc.want {
			t.Errorf("a cluster that %s is denied by a person: %v", name, got)
		}
	}
}
