package review

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/githost"
)

// TestHostAwayForAnHour: a host that does not answer is asked a few times and later and later, soon after it is back, and then as before.
func TestHostAwayForAnHour(t *testing.T) {
	for name, c := range map[string]struct {
		err    func(now time.Time) error
		asked  int           // at most, within the hour
		notice time.Duration // at most, after it
	}{
		"unavailable": {func(time.Time) error { return &githost.Error{Kind: githost.Unavailable} }, 20, 6 * time.Minute},
		"no network":  {func(time.Time) error { return errors.New("connection refused") }, 20, 6 * time.Minute},
		"a limit that ends when the host says": {
			func(now time.Time) error {
				return &githost.Error{Kind: githost.RateLimited, RetryAt: now.Add(40 * time.Minute)}
			}, 2, 21 * time.Minute,
		},
	} {
		for _, branch := range []string{"main", ""} { // which is asked for
			begin := time.Now()
			now, host := begin, &away{}
			repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
			repo.Spec.Ref.Branch, repo.Spec.Interval.Duration, repo.Spec.Review = branch, 24*time.Hour, &musterv1alpha1.ReviewSpec{}
			reviews := &Reviews{Now: func() time.Time { return now }}
			s := reviews.stateOf(repo)
			s.host, s.looked = host, begin // nothing but the webhook makes it due
			look := func() error {
				t := &task{Reviews: reviews, repo: repo, state: s, status: &musterv1alpha1.ReviewStatus{}, next: time.Hour}
				err := t.look(context.Background())
				s.note(err, now)
				return err
			}
			reviews.Trigger("muster-system", "fleet")
			for ; now.Before(begin.Add(time.Hour)); now = s.retryAt {
				host.err = c.err(now)
				if look() == nil {
					t.Fatalf("%s, branch %q: what was announced is forgotten", name, branch)
				}
				if !s.retryAt.After(now) {
					t.Fatalf("%s: it is asked again at once", name)
				}
			}
			if late := now.Sub(begin.Add(time.Hour)); host.asked > c.asked || late > c.notice {
				t.Errorf("%s: asked %d times in an hour, and %v after it", name, host.asked, late)
			}
			host.err, host.asked = nil, 0
			if err := look(); err != nil || host.asked == 0 || s.failures != 0 || !s.retryAt.IsZero() || s.triggered {
				t.Errorf("%s, branch %q: asked %d times and %+v after an answer: %v", name, branch, host.asked, s, err)
			}
		}
	}
}

// away is a host that does not answer while it has an error.
type away struct {
	githost.Host
	err   error
	asked int
}

func (h *away) DefaultBranch(context.Context) (string, error) {
	if h.err != nil {
		h.asked++
	}
	return "main", h.err
}

func (h *away) Open(context.Context, string) ([]githost.PullRequest, error) {
	h.asked++
	return nil, h.err
}

// TestTokenIsReadAgain: a token without the right is replaced by another one in its Secret, as one that has expired.
func TestTokenIsReadAgain(t *testing.T) {
	for kind, kept := range map[githost.Kind]bool{
		githost.Unauthorized: false, githost.Forbidden: false, githost.NotFound: false, githost.Unavailable: true, githost.RateLimited: true,
	} {
		host, err := githost.New(githost.Options{Kind: "GitHub", Token: "x", API: "https://api.github.com", Repository: "a/b"})
		if err != nil {
			t.Fatal(err)
		}
		s := &state{host: host}
		if s.note(fmt.Errorf("look: %w", &githost.Error{Kind: kind}), time.Now()); (s.host != nil) != kept {
			t.Errorf("after %s the client is kept: %v, want %v", kind, s.host != nil, kept)
		}
	}
}

func TestMessageOf(t *testing.T) {
	answer := &githost.Error{Kind: githost.Forbidden, Status: 403, Message: "no scope", Request: "POST /statuses/b06d081"}
	err := fmt.Errorf("write the check: %w", &url.Error{Op: "Post", URL: "http://git/statuses/b06d081", Err: answer})
	if got, want := messageOf(err), "write the check: "+answer.Error(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
