package main

import (
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	authv1beta1 "github.com/muster-io/muster/api/authentication/v1beta1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/klusterlet/serviceaccount"
)

// TestManagedServiceAccount: with the rights of production and no others, an agent reports a token with which the cluster knows the
// account, another one when the cluster takes it no more, and ends it with the ManagedServiceAccount.
func TestManagedServiceAccount(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "", func(o *Options) { o.Controllers, o.LocalRepositories = []string{"clusterpermission"}, nil })
	f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "one"}})
	f.create(&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}})
	spoke := f.join("one")
	config, err := f.cp.User("system:open-cluster-management:one:a1", "system:open-cluster-management:one")
	if err != nil {
		t.Fatal(err)
	}
	agent := &serviceaccount.Agent{Hub: config, Spoke: spoke.Config(), Cluster: "one", Retry: 50 * time.Millisecond}
	defer f.inBackground("the service accounts of one", agent.Run)()
	f.create(&rbacv1.RoleBinding{ // the agent waits for it
		ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "managed-serviceaccount"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: hub.ServiceAccountRole},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:open-cluster-management:one"}},
	})

	m := &authv1beta1.ManagedServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "ci"}}
	m.Spec.Rotation.Validity.Duration = 2 * time.Hour
	f.create(m)
	secret := &corev1.Secret{}
	reported := func(but string) string {
		t.Helper()
		f.eventually(func() string {
			if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(m), m); err != nil {
				return err.Error()
			}
			if problem := says(m.Status.Conditions, authv1beta1.ConditionTypeTokenReported, metav1.ConditionTrue, authv1beta1.ReasonTokenReported); problem != "" {
				return problem
			}
			if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(m), secret); err != nil {
				return err.Error()
			}
			if string(secret.Data["token"]) == but {
				return "the token is still the old one"
			}
			return ""
		})
		return string(secret.Data["token"])
	}
	first := reported("")
	knows := func(token string) (string, error) {
		as := kubernetes.NewForConfigOrDie(&rest.Config{Host: spoke.Config().Host, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: secret.Data["ca.crt"]}})
		review, err := as.AuthenticationV1().SelfSubjectReviews().Create(f.ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		return review.Status.UserInfo.Username, err
	}
	if user, err := knows(first); err != nil || user != "system:serviceaccount:"+serviceaccount.Namespace+":ci" {
		t.Errorf("the cluster knows the token as %q: %v", user, err)
	}
	if len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != m.UID {
		t.Errorf("the Secret is owned by %v", secret.OwnerReferences)
	}
	if life := m.Status.ExpirationTimestamp.Sub(m.Status.TokenSecretRef.LastRefreshTimestamp.Time); life < 119*time.Minute || life > 121*time.Minute {
		t.Errorf("the token lives for %s", life)
	}

	// The account is made again: its tokens are no longer good.
	admin, err := client.New(spoke.Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: serviceaccount.Namespace, Name: "ci"}}
	if err := admin.Delete(f.ctx, account); err != nil {
		t.Fatal(err)
	}
	f.annotate(m, "looked", "now") // the agent looks by itself after minutes
	second := reported(first)
	if _, err := knows(second); err != nil {
		t.Errorf("the second token: %v", err)
	}
	f.eventually(func() string { // an API server remembers for seconds that it took a token
		if _, err := knows(first); !apierrors.IsUnauthorized(err) {
			return "the first token after its account went: " + message(err)
		}
		return ""
	})

	if err := f.client.Delete(f.ctx, m); err != nil {
		t.Fatal(err)
	}
	f.eventually(func() string {
		if err := admin.Get(f.ctx, client.ObjectKeyFromObject(account), account); !apierrors.IsNotFound(err) {
			return "the account is still there: " + message(err)
		}
		return ""
	})

	ttl := int32(1)
	short := &authv1beta1.ManagedServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "short"}, Spec: authv1beta1.ManagedServiceAccountSpec{TTLSecondsAfterCreation: &ttl}}
	f.create(short)
	f.eventually(func() string {
		if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(short), short); !apierrors.IsNotFound(err) {
			return "it is still there after its time to live: " + message(err)
		}
		return ""
	})
}
