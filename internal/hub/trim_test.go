package hub

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/registration"
)

// TestTrimKeepsWhatIsRead: what Git owns of a cluster, and when an agent renewed its lease, is known from a trimmed object.
func TestTrimKeepsWhatIsRead(t *testing.T) {
	written := metav1.NewTime(time.Unix(1e9, 0))
	renewed := metav1.NewMicroTime(time.Unix(1, 0))
	fields := func(manager, subresource, json string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, Time: &written, FieldsV1: metav1.NewFieldsV1(json)}
	}
	cluster := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
		fields("agent", "status", `{"f:status":{}}`), fields(plan.FieldManager, "", `{"f:spec":{"f:hubAcceptsClient":{}}}`),
	}}}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{fields("agent", "", `{"f:spec":{}}`)}}}
	lease.Spec.RenewTime = &renewed
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{fields("kubectl", "", `{}`)}}}
	for range 2 { // an informer may trim an object twice
		for _, o := range []any{cluster, lease, namespace} {
			if _, err := Trim(o); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(cluster.ManagedFields) != 1 || !plan.GitOwns(cluster, "spec", "hubAcceptsClient") {
		t.Errorf("of a cluster %d managers are kept; Git owns: %v", len(cluster.ManagedFields), plan.GitOwns(cluster, "spec", "hubAcceptsClient"))
	}
	if beat := registration.BeatOf(lease); !beat.Written.Equal(written.Time) || lease.ManagedFields[0].FieldsV1 != nil {
		t.Errorf("the lease was written at %v: %+v", beat.Written, lease.ManagedFields)
	}
	if len(namespace.ManagedFields) > 0 {
		t.Error("a namespace keeps its managed fields")
	}
}
