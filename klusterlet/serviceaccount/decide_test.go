package serviceaccount

import (
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	authv1beta1 "github.com/muster-io/muster/api/authentication/v1beta1"
)

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func TestOutdated(t *testing.T) {
	me := authenticationv1.UserInfo{Username: "me", UID: "1"}
	secret := &corev1.Secret{Data: map[string][]byte{"token": []byte("t")}}
	good := &authenticationv1.TokenReviewStatus{Authenticated: true, User: me}
	tests := map[string]struct {
		why    string
		secret *corev1.Secret
		review *authenticationv1.TokenReviewStatus
		age    time.Duration // of a token that lives for 100 h
		valid  time.Duration
		want   string
	}{
		"new":             {"it is left alone", secret, good, time.Hour, 100 * time.Hour, ""},
		"at 79 hours":     {"80 % are not over", secret, good, 79 * time.Hour, 100 * time.Hour, ""},
		"at 80 hours":     {"80 % are over", secret, good, 80 * time.Hour, 100 * time.Hour, "80 % of the token's life is over"},
		"no Secret":       {"somebody deleted it", nil, nil, time.Hour, 100 * time.Hour, "there is no Secret"},
		"an empty Secret": {"somebody emptied it", &corev1.Secret{}, nil, time.Hour, 100 * time.Hour, "the Secret has no token"},
		"not taken":       {"the account was made again", secret, &authenticationv1.TokenReviewStatus{}, time.Hour, 100 * time.Hour, "the cluster does not take the token any more"},
		"another's":       {"somebody put another token there", secret, &authenticationv1.TokenReviewStatus{Authenticated: true}, time.Hour, 100 * time.Hour, "the token is of another account"},
		"made again":      {"an account of the same name is another one", secret, &authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "me", UID: "0"}}, time.Hour, 100 * time.Hour, "the token is of another account"},
		"shorter":         {"the validity was cut", secret, good, time.Hour, 10 * time.Hour, "the token lives longer than spec.rotation.validity says"},
		"longer":          {"the next one lives longer", secret, good, time.Hour, 1000 * time.Hour, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := account(tc.age)
			m.Spec.Rotation.Validity.Duration = tc.valid
			if got := outdated(m, tc.secret, tc.review, me, noon); got != tc.want {
				t.Errorf("%s: %q, want %q", tc.why, got, tc.want)
			}
		})
	}
}

// account has a token of this age, which lives for 100 h.
func account(age time.Duration) *authv1beta1.ManagedServiceAccount {
	m := &authv1beta1.ManagedServiceAccount{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))}}
	made := noon.Add(-age)
	m.Status.ExpirationTimestamp = ptr.To(metav1.NewTime(made.Add(100 * time.Hour)))
	m.Status.TokenSecretRef = &authv1beta1.SecretRef{LastRefreshTimestamp: metav1.NewTime(made)}
	return m
}

func TestNextLook(t *testing.T) {
	for name, tc := range map[string]struct {
		why  string
		age  time.Duration
		ttl  *int32
		want time.Duration
	}{
		"a new token":      {"whether the cluster takes it is looked at from time to time", time.Hour, nil, look},
		"an old token":     {"it is renewed in time", 80*time.Hour - time.Minute, nil, time.Minute},
		"a time to live":   {"an hour of 3660 s is over", time.Hour, ptr.To(int32(3660)), time.Minute},
		"what is past due": {"a failure is no busy loop", 90 * time.Hour, nil, time.Second},
	} {
		m := account(tc.age)
		m.Spec.TTLSecondsAfterCreation = tc.ttl
		if got := nextLook(m, noon); got != tc.want {
			t.Errorf("%s: %s: %s, want %s", name, tc.why, got, tc.want)
		}
	}
}
