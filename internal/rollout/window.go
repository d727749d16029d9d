package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// OpenWindow is a window of a strategy, ready to be asked.
type OpenWindow struct {
	Name     string
	denies   bool
	schedule cron.Schedule
	zone     *time.Location
	lasts    time.Duration
}

// ParseWindows makes the windows of a strategy ready.
func ParseWindows(windows []musterv1alpha1.RolloutWindow) ([]OpenWindow, error) {
	list := make([]OpenWindow, 0, len(windows))
	for i, w := range windows {
		zone, err := time.LoadLocation(w.TimeZone)
		if err != nil || w.TimeZone == "Local" {
			return nil, fmt.Errorf("windows[%d].timeZone %q is not known: give one such as Europe/Berlin", i, w.TimeZone)
		}
		if strings.Contains(w.Schedule, "TZ=") || strings.HasPrefix(w.Schedule, "@every") {
			return nil, fmt.Errorf("windows[%d].schedule %q: give the five fields of cron, and the zone as timeZone", i, w.Schedule)
		}
		schedule, err := cron.ParseStandard(w.Schedule)
		if err != nil {
			return nil, fmt.Errorf("windows[%d].schedule %q: %w", i, w.Schedule, err)
		}
		if w.Duration.Duration < time.Minute {
			return nil, fmt.Errorf("windows[%d].duration %s is shorter than a minute", i, w.Duration.Duration)
		}
		list = append(list, OpenWindow{Name: w.Name, denies: w.Kind == musterv1alpha1.WindowDeny, schedule: schedule, zone: zone, lasts: w.Duration.Duration})
	}
	return list, nil
}

// until is when the window closes that is open at a time; zero when it is not open.
func (w *OpenWindow) until(now time.Time) time.Time {
	opened := w.schedule.Next(now.Add(-w.lasts).In(w.zone))
	if opened.IsZero() || opened.After(now) {
		return time.Time{}
	}
	return opened.Add(w.lasts)
}

// maxOpenings is how many windows the next opening is looked for in: with more that deny one after the other it is not known.
const maxOpenings = 1000

// Opening says when clusters that windows are for may change: now, or at the time from which it is, with the window that it waits for.
// The zero time is never, as far as one can see.
func Opening(windows []OpenWindow, now time.Time) (at time.Time, window string) {
	at = now
	for range maxOpenings {
		next, name := closed(windows, at)
		if name == "" {
			return at, window
		}
		if window == "" {
			window = name
		}
		if next.IsZero() {
			break
		}
		at = next
	}
	return time.Time{}, window
}

// closed is the window that keeps clusters from changing at a time, and when that is over; "" when none does.
func closed(windows []OpenWindow, now time.Time) (next time.Time, window string) {
	allowed, allows := false, false
	var opens time.Time
	var opener string
	for i := range windows {
		w := &windows[i]
		until := w.until(now)
		switch {
		case w.denies && !until.IsZero():
			return until, w.Name
		case w.denies:
		case !until.IsZero():
			allowed = true
		default:
			allows = true
			if at := w.schedule.Next(now.In(w.zone)); opener == "" || !at.IsZero() && (opens.IsZero() || at.Before(opens)) {
				opens, opener = at, w.Name
			}
		}
	}
	if allowed || !allows {
		return time.Time{}, ""
	}
	return opens, opener
}

// windowOpen holds every change on a cluster outside of its windows. A change that has failed is taken back at any time.
func (d *decider) windowOpen(c *change) objection {
	if len(d.in.Windows) == 0 || d.in.Returning {
		return objection{}
	}
	of, known := d.in.WindowsOn[c.Cluster]
	if !known {
		of = d.in.WindowsOn[""]
	}
	at, window := d.opening(d.ofStep(c.Cluster, of))
	switch {
	case window == "":
		return objection{}
	case at.IsZero():
		return objection{Reason: WindowClosed, Message: fmt.Sprintf("window %s keeps it from changing, and no later time is known at which it may", window)}
	}
	return objection{Reason: WindowClosed, Until: at, Message: fmt.Sprintf("waits for its window (%s), from %s", window, at.Format("2006-01-02 15:04 MST"))}
}

// ofStep leaves of the windows for a cluster out those that steps name, but for the one of its own step.
func (d *decider) ofStep(cluster string, of WindowSet) WindowSet {
	var named, own WindowSet
	if d.in.Strategy == nil {
		return of
	}
	for _, step := range d.in.Strategy.Steps {
		named |= d.windowNamed(step.Window)
	}
	if named == 0 {
		return of
	}
	if d.stepsOf == nil {
		d.stepsOf, _ = d.steps() // a selector that cannot be read holds the rollout
	}
	if d.stepsOf != nil {
		if i, _ := d.stepsOf.of(cluster, d.in.Labels[cluster], d.in.Decisions[cluster].Group); i < len(d.stepsOf.list) {
			own = d.windowNamed(d.stepsOf.list[i].Window)
		}
	}
	return of&^named | of&own
}

func (d *decider) windowNamed(name string) WindowSet {
	for i, w := range d.in.Windows {
		if name != "" && w.Name == name {
			return 1 << i
		}
	}
	return 0
}

// CheckWindows says which step names a window that the strategy does not have, with its field; "" when none does.
func CheckWindows(r *musterv1alpha1.Rollout) (field string, err error) {
	for i, step := range r.Steps {
		if step.Window == "" || slices.ContainsFunc(r.Windows, func(w musterv1alpha1.RolloutWindow) bool { return w.Name == step.Window }) {
			continue
		}
		field := fmt.Sprintf("steps[%d].window", i)
		return field, fmt.Errorf("%s: there is no window %q in spec.rollout.windows", field, step.Window)
	}
	return "", nil
}

// opening is when the clusters of some windows, by their place in the strategy, may change.
func (d *decider) opening(of WindowSet) (time.Time, string) {
	known, ok := d.openings[of]
	if !ok {
		var windows []OpenWindow
		for i, w := range d.in.Windows {
			if of&(1<<i) != 0 {
				windows = append(windows, w)
			}
		}
		known.at, known.window = Opening(windows, d.in.Now)
		if d.openings == nil {
			d.openings = map[WindowSet]opening{}
		}
		d.openings[of] = known
	}
	return known.at, known.window
}

// WindowSet are windows by their place in the strategy, a bit each: the API has at most 20.
type WindowSet uint32

type opening struct {
	at     time.Time
	window string
}
