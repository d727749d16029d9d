package review

import (
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

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
		s := &state{triggered: true}
		begin := time.Now()
		now, asked := begin, 0
		for ; now.Before(begin.Add(time.Hour)); now = s.retryAt {
			asked++
			s.note(c.err(now), now)
			if !s.retryAt.After(now) {
				t.Fatalf("%s: it is asked again at once", name)
			}
		}
		if late := now.Sub(begin.Add(time.Hour)); asked > c.asked || late > c.notice || !s.triggered {
			t.Errorf("%s: asked %d times in an hour, and %v after it; what was announced is known: %v", name, asked, late, s.triggered)
		}
		if s.note(nil, now); s.failures != 0 || !s.retryAt.IsZero() {
			t.Errorf("%s: %+v after an answer", name, s)
		}
	}
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
