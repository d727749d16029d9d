package certificate

import (
	"crypto/x509"
	"testing"
	"time"
)

// TestRenewalDue: a certificate is renewed in the last part of its life, and one of 30 seconds not as soon as it is made.
func TestRenewalDue(t *testing.T) {
	made := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		begins, ends, due time.Duration // from when it is made
	}{
		"of a year":                          {-5 * time.Minute, 8760*time.Hour - 5*time.Minute, 6570*time.Hour - 5*time.Minute},
		"of an hour":                         {-5 * time.Minute, time.Hour, 45 * time.Minute},
		"of 30 seconds, as Kubernetes signs": {-5 * time.Minute, 30 * time.Second, 22500 * time.Millisecond},
		"of 30 seconds, of another signer":   {0, 30 * time.Second, 22500 * time.Millisecond},
	} {
		leaf := &x509.Certificate{NotBefore: made.Add(row.begins), NotAfter: made.Add(row.ends)}
		if got := RenewalDue(leaf, 0.25).Sub(made); got != row.due {
			t.Errorf("%s: it is renewed after %s, want %s", name, got, row.due)
		}
	}
}
