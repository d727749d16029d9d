package review

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/githost"
	"github.com/muster-io/muster/internal/review"
)

// checks is a host that takes checks.
type checks struct {
	githost.Host
	set []githost.Check
}

func (h *checks) SetCheck(_ context.Context, _ string, c githost.Check) error {
	h.set = append(h.set, c)
	return nil
}

// TestFailureIsShown: once a pull request cannot be planned, the page does not show what was planned of it before.
func TestFailureIsShown(t *testing.T) {
	repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
	repo.Spec.Review = &musterv1alpha1.ReviewSpec{}
	host := &checks{}
	look := &task{
		Reviews: &Reviews{Now: time.Now, ReplanInterval: time.Minute}, repo: repo, state: &state{host: host},
		status: &musterv1alpha1.ReviewStatus{}, next: time.Hour,
	}
	pr, m := githost.PullRequest{Number: 7, Head: "aaaa"}, &request{}
	look.show(pr, m, &musterv1alpha1.PullRequestStatus{}, &review.Review{})
	if look.Request(client.ObjectKeyFromObject(repo), 7) == nil {
		t.Fatal("a review is not shown")
	}
	if err := look.failed(t.Context(), pr, m, nil, errors.New("the chart is gone")); err != nil {
		t.Fatal(err)
	}
	if look.Request(client.ObjectKeyFromObject(repo), 7) != nil {
		t.Error("the page shows the verdict on an earlier plan")
	}
	if s := look.status.PullRequests; len(s) != 1 || s[0].Summary != "cannot be planned: the chart is gone" || len(host.set) != 1 {
		t.Errorf("the status says %+v, the host %+v", s, host.set)
	}
}
