package plan

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestLeaving: a plan does not fight for a cluster that is being detached or deleted.
func TestLeaving(t *testing.T) {
	now := metav1.Now()
	for name, row := range map[string]struct {
		metadata metav1.ObjectMeta
		want     bool
	}{
		"stays":    {metav1.ObjectMeta{Name: "c"}, false},
		"deleted":  {metav1.ObjectMeta{Name: "c", DeletionTimestamp: &now}, true},
		"detached": {metav1.ObjectMeta{Name: "c", Annotations: map[string]string{musterv1alpha1.DetachAnnotation: "keep-workloads"}}, true},
	} {
		if have := leaving(&clusterv1.ManagedCluster{ObjectMeta: row.metadata}); have != row.want {
			t.Errorf("%s: leaving is %v", name, have)
		}
	}
}
