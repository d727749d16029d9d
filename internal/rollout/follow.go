package rollout

import (
	"fmt"
	"strings"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// Leader is an application that another one follows, and since when the newest revision of its history is good.
type Leader struct {
	Application *musterv1alpha1.Application
	GoodAt      time.Time
}

// Following is which revision a follower gets.
type Following struct {
	// Revision is the delivered one, or the one that it had before; empty when nothing was ever proved.
	Revision string
	// Message says what the delivered one waits for; empty when it is the one.
	Message string
	// At is when time alone may end the wait; zero when something else has to change.
	At time.Time
}

// Follow decides whether an application gets the delivered commit: once everybody that it follows is good with what that commit asks of
// them, for minSuccessTime. A commit that asks nothing new of them is proved already. Until then it keeps what it had.
func Follow(f *musterv1alpha1.Follows, leaders []Leader, delivered, had string, now time.Time) Following {
	waits := Following{Revision: had}
	if len(leaders) == 0 {
		waits.Message = fmt.Sprintf("no application has label %s=%s", musterv1alpha1.EnvironmentLabel, f.Environment)
		if f.Application != "" {
			waits.Message = fmt.Sprintf("application %s does not exist", f.Application)
		}
		return waits
	}
	var missing []string
	for _, l := range leaders {
		if why, at := unproven(l, f.MinSuccessTime.Duration, delivered, now); why != "" {
			missing = append(missing, l.Application.Name+" "+why)
			if !at.IsZero() && at.After(waits.At) {
				waits.At = at
			}
		}
	}
	if len(missing) == 0 {
		return Following{Revision: delivered}
	}
	waits.Message = strings.Join(missing, ", ")
	return waits
}

// unproven says why a leader has not proved a commit yet, and until when it waits for time alone.
func unproven(l Leader, soak time.Duration, delivered string, now time.Time) (string, time.Time) {
	s := &l.Application.Status
	switch {
	case s.RolledBack != nil:
		return "refuses " + fleet.ShortRevision(s.RolledBack.Refused), time.Time{}
	case s.Revision != delivered:
		return "does not have it yet", time.Time{}
	case s.Plan == "" || s.Plan != s.LastGoodPlan || s.Rollout != nil || l.GoodAt.IsZero():
		return "has not proved it yet", time.Time{}
	case now.Before(l.GoodAt.Add(soak)):
		return fmt.Sprintf("has it since %s, and has to be good for %s", l.GoodAt.UTC().Format(time.DateTime), soak), l.GoodAt.Add(soak)
	}
	return "", time.Time{}
}

// Leads is true for an application that another one follows.
func Leads(f *musterv1alpha1.Follows, app *musterv1alpha1.Application) bool {
	if f.Application != "" {
		return app.Name == f.Application
	}
	return app.Labels[musterv1alpha1.EnvironmentLabel] == f.Environment
}
