package main

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	rbacv1alpha1 "github.com/muster-io/muster/api/rbac/v1alpha1"
	"github.com/muster-io/muster/internal/controlplane"
)

// TestClusterPermission: a hub with this controller and no other gives a person rights on a cluster, changes them, and takes them
// away, all through a work and a real agent; the person asks the cluster itself.
func TestClusterPermission(t *testing.T) {
	t.Parallel()
	f := newFleetOn(t, controlplane.Options{Controllers: true}, "", func(o *Options) {
		o.Controllers, o.LocalRepositories = []string{"clusterpermission"}, nil
	})
	f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "one"}})
	f.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}})
	f.create(&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}})
	spoke := f.join("one")
	config, err := spoke.User("permission-jane")
	if err != nil {
		t.Fatal(err)
	}
	jane, err := client.New(config, client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	may := func(list client.ObjectList, namespace string, want bool) {
		t.Helper()
		f.eventually(func() string {
			err := jane.List(f.ctx, list, client.InNamespace(namespace))
			if err != nil && !apierrors.IsForbidden(err) {
				return err.Error()
			}
			if (err == nil) != want {
				return fmt.Sprintf("jane may list %T in %q: %v", list, namespace, err)
			}
			return ""
		})
	}
	permission := func(namespace string) *rbacv1alpha1.ClusterPermission {
		return &rbacv1alpha1.ClusterPermission{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "permission-ops"},
			Spec: rbacv1alpha1.ClusterPermissionSpec{
				ClusterRole:        &rbacv1alpha1.ClusterRole{Rules: []rbacv1alpha1.PolicyRule{{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"pods", "configmaps"}}}},
				ClusterRoleBinding: &rbacv1alpha1.ClusterRoleBinding{Subject: &rbacv1alpha1.Subject{Kind: "User", Name: "permission-jane"}},
			},
		}
	}
	expect := func(p *rbacv1alpha1.ClusterPermission, kind string, status metav1.ConditionStatus, reason string, parts ...string) {
		t.Helper()
		f.eventually(func() string {
			if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(p), p); err != nil {
				return err.Error()
			}
			return says(p.Status.Conditions, kind, status, reason, parts...)
		})
	}

	misplaced := permission("elsewhere")
	f.create(misplaced)
	expect(misplaced, rbacv1alpha1.ConditionValidation, metav1.ConditionFalse, rbacv1alpha1.ReasonFailedValidationNotInManagedClusterSpace, "namespace elsewhere")
	if n := len(f.works("elsewhere")); n > 0 {
		t.Errorf("%d works are made for no cluster", n)
	}

	p := permission("one")
	f.create(p)
	expect(p, rbacv1alpha1.ConditionAppliedRBACManifestWork, metav1.ConditionTrue, "AppliedManifestWorkComplete")
	may(&corev1.PodList{}, "", true)
	may(&corev1.ConfigMapList{}, "", true)
	may(&corev1.ServiceList{}, "", false)

	f.change(p, func() { p.Spec.ClusterRole.Rules[0].Resources = []string{"pods"} })
	may(&corev1.ConfigMapList{}, "", false)
	may(&corev1.PodList{}, "", true)

	// Another role for the same binding: the agent makes the binding again, since its role cannot change. (The role view has no rules
	// here: nothing aggregates them on this API server.)
	f.change(p, func() {
		validate := true
		p.Spec.Validate = &validate
		p.Spec.ClusterRoleBinding.RoleRef = &rbacv1alpha1.RoleReference{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "cluster-admin"}
		p.Spec.RoleBindings = &[]rbacv1alpha1.RoleBinding{{Namespace: "default", RoleRef: rbacv1alpha1.RoleRef{Kind: "Role", Name: "permission-missing"}, Subject: &rbacv1alpha1.Subject{Kind: "User", Name: "permission-jane"}}}
	})
	may(&corev1.ServiceList{}, "", true)
	expect(p, rbacv1alpha1.ConditionValidateRolesExist, metav1.ConditionFalse, rbacv1alpha1.ReasonRolesNotFound, "Role default/permission-missing")
	expect(p, rbacv1alpha1.ConditionValidateClusterRolesExist, metav1.ConditionTrue, rbacv1alpha1.ReasonAllClusterRolesFound)

	f.change(p, func() { p.Spec.ClusterRoleBinding, p.Spec.RoleBindings = nil, nil })
	may(&corev1.ServiceList{}, "", false)
	expect(p, rbacv1alpha1.ConditionValidation, metav1.ConditionFalse, rbacv1alpha1.ReasonFailedValidationNoBindingsDefined)

	f.change(p, func() { p.Spec.ClusterRoleBinding = permission("one").Spec.ClusterRoleBinding })
	may(&corev1.PodList{}, "", true)
	if err := f.client.Delete(f.ctx, p); err != nil {
		t.Fatal(err)
	}
	may(&corev1.PodList{}, "", false)
}
