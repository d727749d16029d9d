package registration

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// TestShorterLease: an agent that is told of a shorter lease period does not sleep the old one out, and keeps the new one.
func TestShorterLease(t *testing.T) {
	renewals := make(chan struct{})
	hub := fake.NewClientBuilder().WithScheme(Scheme).WithObjects(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: clusterv1.ManagedClusterLeaseName},
	}).WithInterceptorFuncs(interceptor.Funcs{
		Update: func(ctx context.Context, to client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			select {
			case renewals <- struct{}{}:
			case <-ctx.Done():
			}
			return to.Update(ctx, o, options...)
		},
	}).Build()
	cluster := func(seconds int32) *clusterv1.ManagedCluster {
		return &clusterv1.ManagedCluster{
			Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true, LeaseDurationSeconds: seconds},
			Status: clusterv1.ManagedClusterStatus{Conditions: []metav1.Condition{
				{Type: clusterv1.ManagedClusterConditionHubAccepted, Status: metav1.ConditionTrue}}},
		}
	}
	s := &session{Agent: &Agent{}, hub: hub, news: make(chan struct{}), self: cluster(3600)}
	s.state.cluster = "one"
	s.Periods = s.Periods.withDefaults()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.renewLease(ctx) }()
	renewed := func(want bool, within time.Duration, why string) {
		t.Helper()
		select {
		case <-renewals:
			if !want {
				t.Fatal(why)
			}
		case <-time.After(within):
			if want {
				t.Fatal(why)
			}
		}
	}
	renewed(true, time.Minute, "it does not renew the lease")
	s.tell(func() { s.self = cluster(3600) })
	renewed(false, 200*time.Millisecond, "it renews the lease for any news")
	s.tell(func() { s.self = cluster(1) })
	for range 3 {
		renewed(true, 10*time.Second, "it sleeps the old period out")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
