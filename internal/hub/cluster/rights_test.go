package cluster_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/controlplane"
	hubrights "github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/registration"
)

// hubAccount gives a control plane the hub's rights, and returns a client with the hub's own account.
func hubAccount(tb testing.TB, cp *controlplane.ControlPlane, admin client.Client) client.Client {
	tb.Helper()
	for _, o := range hubrights.Rights() {
		if err := admin.Create(tb.Context(), o); client.IgnoreAlreadyExists(err) != nil {
			tb.Fatal(err)
		}
	}
	config, err := cp.User(hubrights.User, hubrights.Groups()...)
	if err != nil {
		tb.Fatal(err)
	}
	config.QPS = -1
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// TestHubBindsTheRolesOfAgents: the API server lets the hub bind the two roles that all agents share without a look at each right in
// them, and no other role with rights that the hub lacks.
func TestHubBindsTheRolesOfAgents(t *testing.T) {
	t.Parallel()
	cp := hubs.Borrow(t)
	admin := clientFor(t, cp.Config())
	hub := hubAccount(t, cp, admin)
	const name = "bound"
	beyond := registration.Rule("apps", "deployments", "delete") // the hub lacks it
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "another"}, Rules: []rbacv1.PolicyRule{beyond}},
	}
	for _, role := range registration.SharedRoles() {
		role.Rules = append(role.Rules, beyond)
		objects = append(objects, role)
	}
	for _, o := range objects {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	for _, binding := range registration.WantRoleBindings(name) {
		deadline := time.Now().Add(20 * time.Second) // the API server learns of the hub's rights by a watch
		for {
			err := hub.Create(t.Context(), binding.DeepCopy())
			if err == nil {
				break
			}
			if !apierrors.IsForbidden(err) || time.Now().After(deadline) {
				t.Fatalf("bind %s: %v", binding.RoleRef.Name, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	other := registration.WantRoleBindings(name)[0]
	other.Name, other.RoleRef.Name = "another", "another"
	if err := hub.Create(t.Context(), other); !apierrors.IsForbidden(err) {
		t.Errorf("the hub gives rights that it lacks: %v", err)
	}
}
