package rollout

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

func window(name string, kind musterv1alpha1.WindowKind, schedule, zone string, lasts time.Duration) musterv1alpha1.RolloutWindow {
	return musterv1alpha1.RolloutWindow{Name: name, Kind: kind, Schedule: schedule, TimeZone: zone, Duration: metav1.Duration{Duration: lasts}}
}

func TestOpening(t *testing.T) {
	nights := window("nights", "", "0 22 * * 1-4", "Europe/Berlin", 6*time.Hour)
	christmas := window("christmas", "Deny", "0 0 20 12 *", "Europe/Berlin", 8*24*time.Hour)
	for name, row := range map[string]struct {
		why     string
		windows []musterv1alpha1.RolloutWindow
		now, at string // at "" is never
		window  string
	}{
		"none":                {"nothing says no", nil, "2026-12-01T12:00:00Z", "2026-12-01T12:00:00Z", ""},
		"before":              {"it opens at 22:00 in Berlin", []musterv1alpha1.RolloutWindow{nights}, "2026-12-01T12:00:00Z", "2026-12-01T21:00:00Z", "nights"},
		"at its first second": {"", []musterv1alpha1.RolloutWindow{nights}, "2026-12-01T21:00:00Z", "2026-12-01T21:00:00Z", ""},
		"within":              {"after midnight, which is still Tuesday's", []musterv1alpha1.RolloutWindow{nights}, "2026-12-02T02:59:59Z", "2026-12-02T02:59:59Z", ""},
		"at its end":          {"the end is not part of it", []musterv1alpha1.RolloutWindow{nights}, "2026-12-02T03:00:00Z", "2026-12-02T21:00:00Z", "nights"},
		"a weekend":           {"Thursday's is the last of a week", []musterv1alpha1.RolloutWindow{nights}, "2026-12-04T12:00:00Z", "2026-12-07T21:00:00Z", "nights"},
		"summer time":         {"22:00 in Berlin is 20:00 UTC", []musterv1alpha1.RolloutWindow{nights}, "2026-07-01T12:00:00Z", "2026-07-01T20:00:00Z", "nights"},
		"denied":              {"eight days from the 20th", []musterv1alpha1.RolloutWindow{christmas}, "2026-12-24T12:00:00Z", "2026-12-27T23:00:00Z", "christmas"},
		"deny goes first":     {"an open window that allows does not help; the next that is open does", []musterv1alpha1.RolloutWindow{nights, christmas}, "2026-12-22T22:00:00Z", "2026-12-28T21:00:00Z", "christmas"},
		"not denied":          {"a deny alone allows the rest", []musterv1alpha1.RolloutWindow{christmas}, "2026-12-01T12:00:00Z", "2026-12-01T12:00:00Z", ""},
		"one of two":          {"either allows", []musterv1alpha1.RolloutWindow{nights, window("noon", "", "0 12 * * *", "", time.Hour)}, "2026-12-01T12:30:00Z", "2026-12-01T12:30:00Z", ""},
		"the first of two":    {"", []musterv1alpha1.RolloutWindow{nights, window("noon", "", "0 12 * * *", "", time.Hour)}, "2026-12-01T11:30:00Z", "2026-12-01T12:00:00Z", "noon"},
		"always denied":       {"windows that deny one after the other never end", []musterv1alpha1.RolloutWindow{window("no", "Deny", "0 * * * *", "", time.Hour)}, "2026-12-01T11:30:00Z", "", "no"},
		"never":               {"there is no 30th of February", []musterv1alpha1.RolloutWindow{window("odd", "", "0 0 30 2 *", "", time.Hour)}, "2026-12-01T11:30:00Z", "", "odd"},
	} {
		t.Run(name, func(t *testing.T) {
			windows, err := ParseWindows(row.windows)
			if err != nil {
				t.Fatal(err)
			}
			now, err := time.Parse(time.RFC3339, row.now)
			if err != nil {
				t.Fatal(err)
			}
			at, window := Opening(windows, now)
			got := ""
			if !at.IsZero() {
				got = at.UTC().Format(time.RFC3339)
			}
			if got != row.at || window != row.window {
				t.Errorf("%s: opens at %q (%s), want %q (%s)", row.why, got, window, row.at, row.window)
			}
		})
	}
}

func TestParseWindowsSaysWhatIsWrong(t *testing.T) {
	for want, w := range map[string]musterv1alpha1.RolloutWindow{
		`windows[0].timeZone "Mars/Base" is not known`: window("a", "", "0 22 * * *", "Mars/Base", time.Hour),
		`windows[0].timeZone "Local" is not known`:     window("a", "", "0 22 * * *", "Local", time.Hour),
		`windows[0].schedule "0 22 * *"`:               window("a", "", "0 22 * *", "", time.Hour),
		`windows[0].schedule "@every 1h"`:              window("a", "", "@every 1h", "", time.Hour),
		`windows[0].schedule "TZ=UTC 0 22 * * *"`:      window("a", "", "TZ=UTC 0 22 * * *", "", time.Hour),
		`windows[0].duration 1s is shorter`:            window("a", "", "0 22 * * *", "", time.Second),
	} {
		if _, err := ParseWindows([]musterv1alpha1.RolloutWindow{w}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("says %v, want %s", err, want)
		}
	}
}
