package overview

import (
	"fmt"
	"time"

	"github.com/muster-io/muster/internal/fleet"
)

// Age is a duration in the words of kubectl.
func Age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Clock is a time of today, or with its date, in UTC.
func Clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Year() == now.Year() && t.YearDay() == now.YearDay() {
		return t.Format("15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04:05 UTC")
}

// Count is a number with its noun: 1 cluster, 2 clusters.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Short is a digest as people write it.
func Short(digest string) string { return digest[:min(len(digest), 8)] }

// OrNone is the text, or a dash for none.
func OrNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// Position is a place in a file, or "".
func Position(file string, line int) string { return fleet.Fault{File: file, Line: line}.Position() }
