package fleetrepository

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestAFailedFetchIsRepeatedSoon: nothing else tells that a remote is back, or that a Secret was corrected.
func TestAFailedFetchIsRepeatedSoon(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		interval time.Duration
		failures int
		want     time.Duration
		why      string
	}{
		{time.Hour, 0, time.Hour, "what was fetched is fresh for the interval"},
		{time.Hour, 1, 5 * time.Second, "soon after a failure"},
		{time.Hour, 3, 20 * time.Second, "and later from failure to failure"},
		{time.Hour, 100, 320 * time.Second, "within minutes always"},
		{time.Second, 100, time.Second, "never later than at the interval"},
	} {
		repo := &musterv1alpha1.FleetRepository{Spec: musterv1alpha1.FleetRepositorySpec{Interval: metav1.Duration{Duration: row.interval}}}
		if have := (fetch{time: at, failures: row.failures}).due(repo).Sub(at); have != row.want {
			t.Errorf("%s: due after %s, want %s", row.why, have, row.want)
		}
	}
}
