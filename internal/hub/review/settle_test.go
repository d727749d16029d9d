package review

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/githost"
)

// approved is a host on which bob has approved a head.
type approved struct {
	githost.Host
	member bool
}

func (h *approved) Comments(context.Context, int64) ([]githost.Comment, error) { return nil, nil }

func (h *approved) Approvals(context.Context, int64) ([]githost.Approval, error) {
	return []githost.Approval{{User: "bob", Commit: "aaaa", At: time.Now()}}, nil
}

func (h *approved) IsMember(context.Context, string, string) (bool, error) { return h.member, nil }

// TestSettleAsksAgain: who has left the team since the look before has approved nothing when the pull request is merged.
func TestSettleAsksAgain(t *testing.T) {
	for _, member := range []bool{true, false} {
		repo := &musterv1alpha1.FleetRepository{}
		repo.Spec.Review = &musterv1alpha1.ReviewSpec{Approvers: musterv1alpha1.ReviewApprovers{Teams: []string{"acme/platform"}}}
		since := metav1.NewTime(time.Now().Add(-time.Hour))
		is := &musterv1alpha1.PullRequestStatus{Head: "aaaa", HeldSince: &since, ApprovedBy: "bob", Held: []musterv1alpha1.HeldPlan{{Plan: "cccc"}}}
		look := &task{Reviews: &Reviews{}, repo: repo, state: &state{host: &approved{member: member}}}
		if err := look.settle(t.Context(), githost.PullRequest{Head: "aaaa", Author: "alice"}, owned{}, is); err != nil || (is.ApprovedBy == "bob") != member {
			t.Errorf("in the team %v: approved by %q: %v", member, is.ApprovedBy, err)
		}
	}
}
