package serviceaccount

import (
	"context"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	authv1beta1 "github.com/muster-io/muster/api/authentication/v1beta1"
	"github.com/muster-io/muster/klusterlet/registration"
)

// newAgent is an agent between a hub and a cluster in memory; the cluster takes every token that an account of it has.
func newAgent(t *testing.T, hub, spoke []client.Object) *Agent {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, authv1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithObjects(spoke...).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if review, ok := o.(*authenticationv1.TokenReview); ok {
				review.Status.Authenticated = true
				review.Status.User.Username = "system:serviceaccount:" + Namespace + ":ci"
				return nil
			}
			return c.Create(ctx, o, options...)
		},
		SubResourceCreate: func(_ context.Context, _ client.Client, _ string, _, sub client.Object, _ ...client.SubResourceCreateOption) error {
			request := sub.(*authenticationv1.TokenRequest)
			request.Status = authenticationv1.TokenRequestStatus{Token: "new", ExpirationTimestamp: metav1.NewTime(noon.Add(time.Duration(*request.Spec.ExpirationSeconds) * time.Second))}
			return nil
		},
	}).Build()
	a := &Agent{
		Cluster: "one", Now: func() time.Time { return noon }, ca: []byte("CA"), spoke: cluster, hash: "thishub",
		hub: fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&authv1beta1.ManagedServiceAccount{}).WithObjects(hub...).Build(),
	}
	a.live = a.hub
	return a
}

func TestReconcile(t *testing.T) {
	named := func() metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "one", Name: "ci", UID: "m", CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))}
	}
	inAddons := func(labels map[string]string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "ci", Labels: labels}}
	}
	of := func(hub string) map[string]string {
		return map[string]string{authv1beta1.LabelKeyIsManagedServiceAccount: "true", registration.AddOnHubLabel: hub}
	}
	mark, ocms := of("thishub"), map[string]string{authv1beta1.LabelKeyIsManagedServiceAccount: "true"}
	fresh := account(time.Hour)
	fresh.ObjectMeta = named()
	over := int32(1)
	tests := map[string]struct {
		why        string
		hub, spoke []client.Object
		token      string // in the Secret then
		reported   string // of the condition TokenReported
		account    bool   // whether the cluster has it then
	}{
		"a new one": {"account and token are made", []client.Object{&authv1beta1.ManagedServiceAccount{ObjectMeta: named()}}, nil, "new", "True TokenReported ", true},
		"a good token": {
			"nothing is written", []client.Object{fresh, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "ci", Labels: mark}, Data: map[string][]byte{"token": []byte("old")}}},
			[]client.Object{inAddons(mark)}, "old", "True TokenReported ", true,
		},
		"a Secret of somebody else": {
			"it stays", []client.Object{&authv1beta1.ManagedServiceAccount{ObjectMeta: named()}, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "ci"}, Data: map[string][]byte{"token": []byte("theirs")}}},
			nil, "theirs", "False TokenReportFailed secret one/ci is there already", true,
		},
		"an account of somebody else": {
			"nobody gets a token of it", []client.Object{&authv1beta1.ManagedServiceAccount{ObjectMeta: named()}}, []client.Object{inAddons(nil)}, "", "False TokenReportFailed make service account", true,
		},
		"its time is over": {"it goes, and the account with it", []client.Object{&authv1beta1.ManagedServiceAccount{ObjectMeta: named(), Spec: authv1beta1.ManagedServiceAccountSpec{TTLSecondsAfterCreation: &over}}}, []client.Object{inAddons(mark)}, "", "", false},
		"it has gone":      {"the account goes", nil, []client.Object{inAddons(mark)}, "", "", false},
		"it has gone, and the account is of somebody else": {"it stays", nil, []client.Object{inAddons(nil)}, "", "", true},
		"it was never on this hub":                         {"another hub's stays", nil, []client.Object{inAddons(of("other"))}, "", "", true},
		"OCM's agent made the account": {
			"it is taken over", []client.Object{&authv1beta1.ManagedServiceAccount{ObjectMeta: named()}}, []client.Object{inAddons(ocms)}, "new", "True TokenReported ", true,
		},
		"another hub has an account of the name": {
			"nobody gets a token of it", []client.Object{&authv1beta1.ManagedServiceAccount{ObjectMeta: named()}}, []client.Object{inAddons(of("other"))}, "", "False TokenReportFailed make service account", true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, tc.hub, tc.spoke)
			key := client.ObjectKey{Namespace: "one", Name: "ci"}
			_, _ = a.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}) // the condition has the error
			secret, m := &corev1.Secret{}, &authv1beta1.ManagedServiceAccount{}
			if err := a.hub.Get(t.Context(), key, secret); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
			if got := string(secret.Data["token"]); got != tc.token {
				t.Errorf("%s: token %q, want %q", tc.why, got, tc.token)
			}
			if tc.token == "new" && (string(secret.Data["ca.crt"]) != "CA" || !ours(secret) || len(secret.OwnerReferences) != 1) {
				t.Errorf("the Secret is %+v", secret.ObjectMeta)
			}
			reported := ""
			if err := a.hub.Get(t.Context(), key, m); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			} else if c := meta.FindStatusCondition(m.Status.Conditions, authv1beta1.ConditionTypeTokenReported); c != nil {
				reported = string(c.Status) + " " + c.Reason + " " + c.Message
			}
			if !strings.HasPrefix(reported, tc.reported) || (tc.reported == "") != (reported == "") {
				t.Errorf("%s: %q, want %q", tc.why, reported, tc.reported)
			}
			err := a.spoke.Get(t.Context(), client.ObjectKey{Namespace: Namespace, Name: "ci"}, &corev1.ServiceAccount{})
			if apierrors.IsNotFound(err) == tc.account {
				t.Errorf("%s: the account: %v", tc.why, err)
			}
		})
	}
}

// TestSweep: an agent that comes back deletes what went meanwhile, and neither the accounts of another hub nor those that a stale cache does not
// show.
func TestSweep(t *testing.T) {
	account := func(name, hub string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: map[string]string{
			authv1beta1.LabelKeyIsManagedServiceAccount: "true", registration.AddOnHubLabel: hub,
		}}}
	}
	a := newAgent(t, nil, []client.Object{account("gone", "thishub"), account("fresh", "thishub"), account("theirs", "other")})
	fresh := &authv1beta1.ManagedServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "fresh"}}
	a.live = fake.NewClientBuilder().WithScheme(a.hub.Scheme()).WithObjects(fresh).Build()
	if err := a.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"gone": false, "fresh": true, "theirs": true} {
		err := a.spoke.Get(t.Context(), client.ObjectKey{Namespace: Namespace, Name: name}, &corev1.ServiceAccount{})
		if apierrors.IsNotFound(err) == want {
			t.Errorf("account %s: %v", name, err)
		}
	}
}
