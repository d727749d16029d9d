package serviceaccount

import (
	"cmp"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	authv1beta1 "github.com/muster-io/muster/api/authentication/v1beta1"
)

const (
	// refreshAt is the share of a token's life after which it is renewed, as in OCM.
	refreshAt = 0.8
	// shortest is the shortest life of a token that an API server gives.
	shortest = 10 * time.Minute
	// look is the time between two looks at whether the cluster still takes the token.
	look = 5 * time.Minute
)

// refreshDue is when the token is renewed; zero when there is none yet.
func refreshDue(m *authv1beta1.ManagedServiceAccount) time.Time {
	ref, expires := m.Status.TokenSecretRef, m.Status.ExpirationTimestamp
	if ref == nil || expires == nil {
		return time.Time{}
	}
	return ref.LastRefreshTimestamp.Add(time.Duration(refreshAt * float64(expires.Sub(ref.LastRefreshTimestamp.Time))))
}

// validity is how long a new token lives.
func validity(m *authv1beta1.ManagedServiceAccount) time.Duration {
	return max(cmp.Or(m.Spec.Rotation.Validity.Duration, 8640*time.Hour), shortest)
}

// outdated says why the token in a Secret is no longer good, "" when it is. The review is what the cluster says of it; nil when
// there is no token to ask about.
func outdated(m *authv1beta1.ManagedServiceAccount, secret *corev1.Secret, review *authenticationv1.TokenReviewStatus, user authenticationv1.UserInfo, now time.Time) string {
	switch due := refreshDue(m); {
	case secret == nil:
		return "there is no Secret"
	case len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 || review == nil:
		return "the Secret has no token"
	case due.IsZero():
		return "it is not known how old the token is"
	case !now.Before(due):
		return "80 % of the token's life is over"
	case m.Status.ExpirationTimestamp.Sub(m.Status.TokenSecretRef.LastRefreshTimestamp.Time) > validity(m)+time.Minute:
		return "the token lives longer than spec.rotation.validity says"
	case !review.Authenticated:
		return "the cluster does not take the token any more"
	case review.User.Username != user.Username, review.User.UID != user.UID: // a cluster remembers for seconds that it took a token
		return "the token is of another account"
	}
	return ""
}

// timeLeft is how long a ManagedServiceAccount with a time to live still has, and whether it has one.
func timeLeft(m *authv1beta1.ManagedServiceAccount, now time.Time) (time.Duration, bool) {
	if m.Spec.TTLSecondsAfterCreation == nil {
		return 0, false
	}
	return m.CreationTimestamp.Add(time.Duration(*m.Spec.TTLSecondsAfterCreation) * time.Second).Sub(now), true
}

// nextLook is when to look at a ManagedServiceAccount again.
func nextLook(m *authv1beta1.ManagedServiceAccount, now time.Time) time.Duration {
	next := look
	if due := refreshDue(m); !due.IsZero() {
		next = min(next, due.Sub(now))
	}
	if left, limited := timeLeft(m, now); limited {
		next = min(next, left)
	}
	return max(next, time.Second)
}
