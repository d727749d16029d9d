package main

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// TestReviewsArePlannedAgain: an open pull request whose head stays is planned again when the fleet or the branch changes in what its plan
// reads, and never sooner than the interval after the plan before.
func TestReviewsArePlannedAgain(t *testing.T) {
	t.Parallel()
	const interval = 3 * time.Second
	f := newForged(t, interval)
	number, head := f.propose(colored("blue"))
	f.expectReviewed(number, head, "success", "application <code>retail/shop</code>: 1 cluster,")

	two := &clusterv1.ManagedCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "two", Labels: map[string]string{"cluster.open-cluster-management.io/clusterset": "edge", "tier": "edge"}},
		Spec:       clusterv1.ManagedClusterSpec{HubAcceptsClient: true, LeaseDurationSeconds: 3600},
	}
	f.create(two)
	f.available("two", true)
	f.expectReviewed(number, head, "success", "application <code>retail/shop</code>: 2 clusters,")

	for i := range 10 { // each is another fleet
		f.eventually(func() string {
			if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(two), two); err != nil {
				return err.Error()
			}
			two.Labels["tier"] = []string{"core", "edge"}[i%2]
			if err := f.client.Update(f.ctx, two); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	f.push("-- placements/policy.yaml --\napiVersion: muster.dev/v1alpha1\nkind: ReviewPolicy\nmetadata: {name: quiet, namespace: muster-system}\n" +
		"spec:\n  validations:\n  - message: a freeze\n    expression: plan.updated == 0\n")
	f.expectReviewed(number, head, "failure", "a freeze")

	var plans []time.Time
	f.forge.Do(func() {
		for i, request := range f.forge.Asked {
			if request == fmt.Sprintf("GET /api/v3/repos/acme/fleet/pulls/%d", number) { // after each plan
				plans = append(plans, f.forge.AskedAt[i])
			}
		}
	})
	if len(plans) < 3 {
		t.Errorf("%d plans, want one for each of three fleets", len(plans))
	}
	for i := range len(plans) - 1 { // a plan takes time, and the interval is from begin to begin
		if gap := plans[i+1].Sub(plans[i]); gap < interval*2/3 {
			t.Errorf("a plan came %v after another", gap)
		}
	}
}
