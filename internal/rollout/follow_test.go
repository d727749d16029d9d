package rollout

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestFollow: a follower gets the delivered commit when those that it follows have proved it, and else keeps what it had.
func TestFollow(t *testing.T) {
	const had, delivered = "aaaaaaa", "bbbbbbb"
	follows := &musterv1alpha1.Follows{Environment: "staging", MinSuccessTime: metav1.Duration{Duration: time.Hour}}
	leader := func(age time.Duration, change func(*musterv1alpha1.ApplicationStatus)) Leader {
		l := Leader{Application: &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, GoodAt: rolloutNow.Add(-age)}
		l.Application.Status = musterv1alpha1.ApplicationStatus{Revision: delivered, Plan: "p", LastGoodPlan: "p"}
		if change != nil {
			change(&l.Application.Status)
		}
		return l
	}
	for name, c := range map[string]struct {
		why     string
		leaders []Leader
		want    string
		says    string
		at      time.Duration
	}{
		"proved":    {"it is good for long enough", []Leader{leader(time.Hour, nil)}, delivered, "", 0},
		"soaks":     {"time alone ends the wait", []Leader{leader(20*time.Minute, nil)}, had, "has to be good for 1h0m0s", 40 * time.Minute},
		"not there": {"it is at another commit", []Leader{leader(time.Hour, func(s *musterv1alpha1.ApplicationStatus) { s.Revision = had })}, had, "does not have it yet", 0},
		"not good":  {"its plan is not the good one", []Leader{leader(time.Hour, func(s *musterv1alpha1.ApplicationStatus) { s.Plan = "q" })}, had, "has not proved it", 0},
		"rolling":   {"nor while it rolls", []Leader{leader(time.Hour, func(s *musterv1alpha1.ApplicationStatus) { s.Rollout = &musterv1alpha1.RolloutStatus{} })}, had, "has not proved it", 0},
		"taken back": {"what is refused there is never taken", []Leader{leader(time.Hour, func(s *musterv1alpha1.ApplicationStatus) {
			s.RolledBack = &musterv1alpha1.RolledBack{Refused: delivered}
		})}, had, "refuses bbbbbbb", 0},
		"all of them":  {"the slowest counts", []Leader{leader(time.Hour, nil), leader(50*time.Minute, nil), leader(30*time.Minute, nil)}, had, "has to be good", 30 * time.Minute},
		"nobody":       {"a name that nobody has is not proved", nil, had, "no application has label muster.dev/environment=staging", 0},
		"never proved": {"a history that is not there", []Leader{{Application: leader(0, nil).Application}}, had, "has not proved it", 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := Follow(follows, c.leaders, delivered, had, rolloutNow)
			at := time.Time{}
			if c.at > 0 {
				at = rolloutNow.Add(c.at)
			}
			if got.Revision != c.want || !strings.Contains(got.Message, c.says) || (got.Message == "") != (c.says == "") || !got.At.Equal(at) {
				t.Errorf("%s: got %+v, want %s that says %q, at %s", c.why, got, c.want, c.says, at)
			}
		})
	}
}
