package plan_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestLeaving: a plan does not fight for a cluster that is being detached or deleted: it gives it no works, and takes none away.
func TestLeaving(t *testing.T) {
	now := metav1.Now()
	before := contested + claimant("first", "own")
	for name, row := range map[string]struct {
		metadata metav1.ObjectMeta
		leaves   bool
	}{
		"stays":    {metav1.ObjectMeta{}, false},
		"deleted":  {metav1.ObjectMeta{DeletionTimestamp: &now}, true},
		"detached": {metav1.ObjectMeta{Annotations: map[string]string{musterv1alpha1.DetachAnnotation: musterv1alpha1.DetachKeepWorkloads}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := clusterv1.ManagedCluster{ObjectMeta: row.metadata}
			c.Name, c.Labels, c.Spec.HubAcceptsClient = "edge-1", map[string]string{clusterv1beta2.ClusterSetLabel: "edge"}, true
			w := fleet.World{FromRepository: true, Clusters: []clusterv1.ManagedCluster{c}}
			for what, works := range map[string][]fleet.LiveWork{"without works": nil, "with works": worksOf(t, before)} {
				w.Works = works
				p := buildText(t, contested+claimant("first", "renamed"), w)
				if len(p.Faults) > 0 {
					t.Fatalf("%s: faults %v", what, p.Faults)
				}
				a := p.Find("retail/first")
				if planned := a.On("edge-1") != nil; planned == row.leaves {
					t.Errorf("%s: it is planned: %v", what, planned)
				}
				changes, err := a.Changes()
				if err != nil || (len(changes) == 0) != row.leaves {
					t.Errorf("%s: the changes are %+v, %v", what, changes, err)
				}
			}
		})
	}
}
