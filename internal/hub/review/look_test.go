package review

import (
	"context"
	"errors"
	"strings"
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
	set  []githost.Check
	fail error
}

func (h *checks) SetCheck(_ context.Context, _ string, c githost.Check) error {
	h.set = append(h.set, c)
	return h.fail
}

// talk is a host with one pull request, of which it never says that something has changed.
type talk struct {
	checks
	comments []githost.Comment
	reads    int
}

func (h *talk) Comments(context.Context, int64) ([]githost.Comment, error) {
	h.reads++
	return h.comments, nil
}

// TestCommentsAreReadAgain: no host says that a comment was deleted by hand, so that they are read again from time to time.
func TestCommentsAreReadAgain(t *testing.T) {
	now, host := time.Now(), &talk{}
	look := &task{
		Reviews: &Reviews{Now: func() time.Time { return now }}, repo: &musterv1alpha1.FleetRepository{}, state: &state{host: host, looked: now},
		status: &musterv1alpha1.ReviewStatus{},
	}
	pr, m := githost.PullRequest{Number: 7, Head: "aaaa", Updated: now}, &request{body: "the comment", seen: now, updated: now}
	is := &musterv1alpha1.PullRequestStatus{Number: 7, Comment: 3}
	for _, step := range []struct {
		after time.Duration
		reads int
	}{{0, 0}, {rereadInterval - time.Second, 0}, {time.Second, 1}, {rereadInterval / 2, 1}, {rereadInterval, 2}} {
		now = now.Add(step.after)
		look.state.looked = now
		comments, read, err := look.read(t.Context(), pr, m, is)
		if err != nil || host.reads != step.reads {
			t.Fatalf("%s later they were read %d times, want %d (%v)", step.after, host.reads, step.reads, err)
		}
		if read {
			if look.findComment(comments, "marker", m, is); is.Comment != 0 || m.body != "" {
				t.Errorf("the comment that is gone is still number %d", is.Comment)
			}
			is.Comment, m.body = 4, "written again"
		}
	}
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

// TestCheckOfOneAlone: a commit that the host takes no check for is told in its line, and the others are looked at.
func TestCheckOfOneAlone(t *testing.T) {
	for kind, alone := range map[githost.Kind]bool{githost.NotFound: true, githost.Invalid: true, githost.Unauthorized: false, githost.Unavailable: false, githost.Forbidden: false} {
		repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
		repo.Spec.Review = &musterv1alpha1.ReviewSpec{}
		look := &task{
			Reviews: &Reviews{Now: time.Now, ReplanInterval: time.Minute}, repo: repo,
			state:  &state{host: &checks{fail: &githost.Error{Kind: kind, Status: 499}}},
			status: &musterv1alpha1.ReviewStatus{}, next: time.Hour,
		}
		err := look.failed(t.Context(), githost.PullRequest{Number: 7, Head: "aaaa"}, &request{}, nil, errors.New("the chart is gone"))
		if (err == nil) != alone {
			t.Errorf("%s ends the look: %v, want %v", kind, err, !alone)
		}
		if s := look.status.PullRequests; len(s) != 1 || strings.Contains(s[0].Summary, "499") != alone {
			t.Errorf("after %s the status says %+v", kind, s)
		}
	}
}

// TestRoomForMerged: what is merged and not through is not lost to open ones, nor do those get no room.
func TestRoomForMerged(t *testing.T) {
	var all []musterv1alpha1.PullRequestStatus
	for n := range int64(100) {
		p := musterv1alpha1.PullRequestStatus{Number: n}
		if n < 40 {
			p.Merged = "aaaa"
		}
		if n == 0 {
			p.ApprovedBy = "bob"
		}
		all = append(all, p)
	}
	merged, open := 0, 0
	got := fitting(all)
	for _, p := range got {
		if p.Merged != "" {
			merged++
		} else {
			open++
		}
	}
	if merged != 25 || open != 25 || got[49].Number != 0 || got[0].Number != 99 {
		t.Errorf("%d merged and %d open ones are kept, from %d to %d", merged, open, got[0].Number, got[len(got)-1].Number)
	}
	if got := fitting(all[:60]); len(got) != 50 {
		t.Errorf("%d of 40 merged and 20 open ones are kept, want 50", len(got))
	}
	repo := &musterv1alpha1.FleetRepository{}
	repo.Status.Review = &musterv1alpha1.ReviewStatus{PullRequests: all[30:50]}
	if room := (&task{repo: repo}).room(map[int64]bool{41: true}); room != 31 {
		t.Errorf("room for %d beside 19 that are closed or merged, want 31", room)
	}
}

// TestCountsAreFew: however long a commit stays, its counts stay below the statuses that GitHub takes.
func TestCountsAreFew(t *testing.T) {
	begin := time.Now()
	last, now := told{writtenAt: begin, writes: 1}, begin
	for now.Before(begin.Add(30 * 24 * time.Hour)) {
		now = now.Add(last.waits(now))
		last.writtenAt, last.writes = now, last.writes+1
	}
	if last.writes > 900 {
		t.Errorf("%d statuses in a month", last.writes)
	}
}
