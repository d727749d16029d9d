package overview

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestReviewsNeedSomebody: what keeps the hub from reviewing pull requests is on the first page, if a person can end it.
func TestReviewsNeedSomebody(t *testing.T) {
	for reason, next := range map[string]string{
		"Succeeded": "", "HostUnavailable": "", "RateLimited": "", "Unauthorized": "new token", "Forbidden": "docs/review.md",
		"Invalid": "kubectl -n retail edit fleetrepository shops", "TeamUnknown": "spec.review.approvers",
	} {
		r := musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shops"}}
		r.Status.Review = &musterv1alpha1.ReviewStatus{Reason: reason, Message: "what the host says"}
		needs := reviewNeeds(&r)
		if next == "" {
			if len(needs) > 0 {
				t.Errorf("%s: %+v", reason, needs)
			}
			continue
		}
		if len(needs) != 1 || needs[0].What != "pull requests: "+reason+": what the host says" || !strings.Contains(needs[0].Next, next) {
			t.Errorf("%s: %+v, want %q", reason, needs, next)
		}
	}
}
