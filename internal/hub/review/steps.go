package review

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/githost"
	"github.com/muster-io/muster/internal/review"
)

// waitingStep is a step of a rollout that waits for an approval.
type waitingStep struct {
	app  *musterv1alpha1.Application
	file string // of its definition
	review.Step
}

// approveSteps lets steps of rollouts begin that wait for an approval, and that one of the approvers approves with a comment on the merged
// pull request which the rollouts bring. The author cannot. The hub's comment there says what waits.
func (t *task) approveSteps(ctx context.Context, p *musterv1alpha1.PullRequestStatus) error {
	if !mayBeApproved(t.repo.Spec.Review.Approvers) {
		return nil
	}
	steps, err := t.waitingSteps(ctx, p)
	if err != nil || len(steps) == 0 {
		delete(t.state.asked, p.Number)
		return err
	}
	var told []review.Step
	for _, s := range steps {
		told = append(told, s.Step)
	}
	text := review.Waiting(t.repo.Status.Revision, told, approversOf(t.repo.Spec.Review.Approvers))
	if t.state.asked[p.Number] == text && !t.asked {
		return nil // comments are read when the host is asked anyway
	}
	if t.state.asked[p.Number] != text {
		if err := t.summarize(ctx, p, text); err != nil {
			return err
		}
		if t.state.asked == nil {
			t.state.asked = map[int64]string{}
		}
		t.state.asked[p.Number] = text
	}
	pr, err := t.state.host.Get(ctx, p.Number)
	if err != nil {
		return fmt.Errorf("read pull request %d: %w", p.Number, err)
	}
	comments, err := t.state.host.Comments(ctx, p.Number)
	if err != nil {
		return fmt.Errorf("read the comments of pull request %d: %w", p.Number, err)
	}
	for _, s := range steps {
		// CODEOWNERS of the commit before: the pull request may have changed it.
		if err := t.approveStep(ctx, pr, s, owned{[]string{s.file}, p.Base}, comments); err != nil {
			return err
		}
	}
	return nil
}

// waitingSteps are those of applications of the delivered commit whose rollout has what a pull request has brought.
func (t *task) waitingSteps(ctx context.Context, p *musterv1alpha1.PullRequestStatus) ([]waitingStep, error) {
	delivered, err := t.Deliveries.Read(ctx, t.repo, t.repo.Status.Revision)
	if err != nil {
		return nil, nil //nolint:nilerr // the repository's controller says what is wrong
	}
	var steps []waitingStep
	for _, defined := range delivered.Definitions.Applications() {
		app := &musterv1alpha1.Application{}
		if err := t.Client.Get(ctx, client.ObjectKeyFromObject(defined), app); err != nil {
			if client.IgnoreNotFound(err) != nil {
				return nil, fmt.Errorf("read application %s/%s: %w", defined.Namespace, defined.Name, err)
			}
			continue
		}
		on := app.Status.Rollout
		if on == nil || !on.WaitsForApproval || app.Status.Revision != t.repo.Status.Revision || app.Annotations[musterv1alpha1.RepositoryAnnotation] != client.ObjectKeyFromObject(t.repo).String() {
			continue
		}
		if in, err := t.Store.IsAncestor(t.repo.Spec.URL, p.Merged, on.Revision); err != nil || !in {
			continue // of a commit before
		}
		s := waitingStep{app: app, Step: review.Step{Application: app.Namespace + "/" + app.Name, Name: on.Group, Revision: on.Revision}}
		if on.Canary != nil && on.Canary.WaitsForApproval != "" {
			s.Name = on.Canary.WaitsForApproval
		}
		if d := delivered.Definitions.Find("muster.dev", "Application", app.Namespace, app.Name); d != nil {
			s.file = d.File
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// approveStep lets a step begin that somebody among the approvers has approved.
func (t *task) approveStep(ctx context.Context, pr githost.PullRequest, s waitingStep, o owned, comments []githost.Comment) error {
	for _, c := range comments {
		if c.Edited || !s.ApprovedBy(c.Body) || strings.EqualFold(c.Author, pr.Author) || strings.EqualFold(c.Author, t.state.self) {
			continue
		}
		may, err := t.may(ctx, c.Author, o)
		if err != nil {
			return err
		}
		if may {
			return t.recordApproval(ctx, s, fmt.Sprintf("%s on pull request %d", c.Author, pr.Number))
		}
	}
	return nil
}

// recordApproval puts an approval into the status of the application, where those of people and commits are, if its rollout is still the one
// that was looked at.
func (t *task) recordApproval(ctx context.Context, s waitingStep, by string) error {
	next := s.app.DeepCopy()
	next.Status.Rollout.Approvals = append(next.Status.Rollout.Approvals,
		musterv1alpha1.ApprovedStep{Step: s.Name, By: by, At: metav1.NewTime(t.Now().Truncate(time.Second))})
	err := t.Client.Status().Update(ctx, next)
	if apierrors.IsConflict(err) {
		t.again()
		return nil
	}
	if err != nil {
		return fmt.Errorf("approve step %s of %s at %s: %w", s.Name, s.Application, fleet.ShortRevision(s.Revision), err)
	}
	return nil
}
