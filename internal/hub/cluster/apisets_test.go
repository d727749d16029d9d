package cluster

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestUnusedAPISets: a set goes when no cluster claims it, and not before an agent has had the time to.
func TestUnusedAPISets(t *testing.T) {
	now := time.Date(2026, 8, 1, 9, 0, 0, 0, time.UTC)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clusterv1.AddToScheme, musterv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	set := func(version string, age time.Duration) *musterv1alpha1.APISet {
		return &musterv1alpha1.APISet{
			ObjectMeta:        metav1.ObjectMeta{Name: fleet.APISetDigest(version, nil), CreationTimestamp: metav1.NewTime(now.Add(-age))},
			KubernetesVersion: version,
		}
	}
	claimed := set("v1.36.3", 90*24*time.Hour)
	cluster := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "edge-1"}}
	cluster.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: musterv1alpha1.APISetClaim, Value: claimed.Name}}
	for name, row := range map[string]struct {
		set  *musterv1alpha1.APISet
		stay bool
	}{
		"claimed":   {claimed, true},
		"unclaimed": {set("v1.35.0", claimDelay), false},
		"new":       {set("v1.37.0", claimDelay-time.Second), true},
	} {
		t.Run(name, func(t *testing.T) {
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(row.set, cluster.DeepCopy()).Build()
			var live musterv1alpha1.APISet
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(row.set), &live); err != nil {
				t.Fatal(err)
			}
			r := &apiSets{client: c, now: func() time.Time { return now }}
			result, err := r.Reconcile(t.Context(), &live)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Get(t.Context(), client.ObjectKeyFromObject(row.set), &live)
			if (err == nil) != row.stay {
				t.Errorf("after a look: %v", err)
			}
			if row.stay && result.RequeueAfter == 0 {
				t.Error("it is not looked at again")
			}
		})
	}
}
