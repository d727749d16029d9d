package review

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/githost"
)

// task is one look at a repository.
type task struct {
	*Reviews
	repo   *musterv1alpha1.FleetRepository
	state  *state
	status *musterv1alpha1.ReviewStatus
	next   time.Duration
	// changed says of a merged pull request that it is held and is not what was approved.
	changed string
	// left is how many open pull requests there is no room for.
	left int
	// refused is what the host does not take about one pull request alone, the first: the others are looked at.
	refused error
	// unknown are teams that the host does not show.
	unknown []string
	// asked is true when the host is asked what is new: an interval is over, or a webhook says so.
	asked bool
	// approved are the plans that were approved on merged pull requests.
	approved map[string]bool
}

// look asks the host what is open when that is due, and brings each pull request to where it should be.
func (t *task) look(ctx context.Context) error {
	if ref := t.repo.Spec.Ref; ref.Tag != "" || ref.Commit != "" {
		return wrong("spec.review needs a branch: pull requests go into one, and spec.ref names a tag or a commit")
	}
	if err := t.connect(ctx); err != nil {
		return err
	}
	s, due := t.state, t.due(t.state, t.repo.Spec.Interval.Duration)
	t.asked = due
	if due {
		open, err := t.ask(ctx)
		if err != nil {
			t.again() // what was announced is looked at when the host answers
			return err
		}
		s.open, s.looked = open, t.Now()
	}
	t.soon(s.looked.Add(t.repo.Spec.Interval.Duration).Sub(t.Now()))
	open, planned := map[int64]bool{}, 0
	for _, pr := range s.open {
		open[pr.Number] = true
	}
	room := t.room(open)
	for _, pr := range s.open {
		if pr.Fork && t.repo.Spec.Review.Forks != musterv1alpha1.ForksPlan { // those of strangers take no room
			continue
		}
		if planned++; planned > room {
			t.left++
			continue
		}
		if err := t.one(ctx, pr); err != nil {
			return err
		}
	}
	if err := t.gone(ctx, open, due); err != nil {
		return err
	}
	return t.after(ctx)
}

// ask asks the host for the open pull requests into the branch.
func (t *task) ask(ctx context.Context) ([]githost.PullRequest, error) {
	branch := t.repo.Spec.Ref.Branch
	if branch == "" {
		var err error
		if branch, err = t.state.host.DefaultBranch(ctx); err != nil {
			return nil, err
		}
	}
	return t.state.host.Open(ctx, branch)
}

// room is how many open pull requests are planned: those that are merged and not through have theirs first, up to half of it all.
func (t *task) room(open map[int64]bool) int {
	merged := 0
	if t.repo.Status.Review != nil {
		for i := range t.repo.Status.Review.PullRequests {
			if !open[t.repo.Status.Review.PullRequests[i].Number] {
				merged++
			}
		}
	}
	return maxRequests - min(merged, maxRequests/2)
}

// soon asks for another reconciliation.
func (t *task) soon(d time.Duration) { t.next = min(t.next, max(d, 0)) }

// known is what the status says of a pull request.
func (t *task) known(number int64) *musterv1alpha1.PullRequestStatus {
	if t.repo.Status.Review == nil {
		return nil
	}
	for i := range t.repo.Status.Review.PullRequests {
		if p := &t.repo.Status.Review.PullRequests[i]; p.Number == number {
			return p.DeepCopy()
		}
	}
	return nil
}

// keep puts a pull request into the status.
func (t *task) keep(p *musterv1alpha1.PullRequestStatus) {
	if p != nil {
		t.status.PullRequests = append(t.status.PullRequests, *p)
	}
}

// one plans one pull request, if there is something new, and writes what differs from what the host has. An error about this one
// alone becomes its check; one about the host ends the look.
func (t *task) one(ctx context.Context, pr githost.PullRequest) error {
	was := t.known(pr.Number)
	m := t.state.requests[pr.Number]
	if m == nil {
		m = &request{}
		t.state.requests[pr.Number] = m
	}
	is, err := t.review(ctx, pr, m, was)
	var answer *githost.Error
	switch {
	case errors.As(err, &answer) && !ofOneAlone(answer.Kind):
		t.keep(was)
		return err
	case errors.Is(err, errMoved): // closed, or pushed to, while it was planned
		t.keep(was)
		t.again()
		return nil
	case ctx.Err() != nil:
		t.keep(was)
		return ctx.Err()
	case err != nil:
		return t.failed(ctx, pr, m, was, err)
	}
	t.keep(is)
	return nil
}

// ofOneAlone: an answer that says nothing of other pull requests, as that of a conversation that somebody has locked.
func ofOneAlone(kind githost.Kind) bool {
	return kind == githost.NotFound || kind == githost.Invalid || kind == githost.Forbidden
}

// ofOne takes note of an error about one pull request, and ends nothing; another one is given back.
func (t *task) ofOne(err error) error {
	var answer *githost.Error
	if !errors.As(err, &answer) || !ofOneAlone(answer.Kind) {
		return err
	}
	if t.refused == nil {
		t.refused = err
	}
	return nil
}

var errMoved = errors.New("the pull request has moved on")

// again looks at the host once more, soon.
func (t *task) again() {
	t.mu.Lock()
	t.state.triggered = true
	t.mu.Unlock()
	t.soon(time.Second)
}

// failed says of a pull request that it could not be planned, and tries again later.
func (t *task) failed(ctx context.Context, pr githost.PullRequest, m *request, was *musterv1alpha1.PullRequestStatus, err error) error {
	is := &musterv1alpha1.PullRequestStatus{Number: pr.Number, Head: pr.Head, State: string(githost.Failure), Summary: "cannot be planned: " + err.Error()}
	if was != nil {
		is.Comment = was.Comment
		if was.Head == pr.Head { // an approval is for what was planned of this commit
			is.Held, is.HeldSince, is.ApprovedBy = was.Held, was.HeldSince, was.ApprovedBy
		}
	}
	m.basis = basis{}
	t.shown.drop(countKey(client.ObjectKeyFromObject(t.repo), pr.Number)) // it is the verdict on what was planned before
	t.soon(t.ReplanInterval)
	err = t.check(ctx, pr, m, githost.Check{State: githost.Failure, Description: is.Summary})
	var answer *githost.Error
	if errors.As(err, &answer) && (answer.Kind == githost.NotFound || answer.Kind == githost.Invalid) { // about this commit alone
		is.Summary, err = is.Summary+"; "+messageOf(err), nil
	}
	t.keep(is)
	return err
}

// gone forgets pull requests that are closed, and notes those that were merged.
func (t *task) gone(ctx context.Context, open map[int64]bool, due bool) error {
	key := client.ObjectKeyFromObject(t.repo)
	before := map[int64]owned{}
	for number, m := range t.state.requests {
		if !open[number] {
			before[number] = m.ownedBefore()
			delete(t.state.requests, number)
			t.drop(countKey(key, number))
		}
	}
	if t.repo.Status.Review == nil {
		return nil
	}
	for _, p := range t.repo.Status.Review.PullRequests {
		switch {
		case open[p.Number]:
		case p.Merged != "" || !due:
			t.keep(&p)
		default:
			pr, err := t.state.host.Get(ctx, p.Number)
			var answer *githost.Error
			if errors.As(err, &answer) && answer.Kind == githost.NotFound {
				continue
			}
			if err == nil && pr.Merged != "" {
				err = t.settle(ctx, pr, before[p.Number], &p)
			}
			if err != nil {
				if err = t.ofOne(fmt.Errorf("ask what became of pull request %d: %w", p.Number, err)); err != nil {
					t.again() // what is not asked now is not forgotten
					return err
				}
				t.keep(t.known(p.Number)) // as it was: it is asked again at the next look
				continue
			}
			if p.Merged = pr.Merged; p.Merged != "" {
				t.keep(&p)
			}
		}
	}
	return nil
}
