package clusterpermission

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	rbacv1alpha1 "github.com/muster-io/muster/api/rbac/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

func TestObjects(t *testing.T) {
	hub := []corev1.Namespace{
		{ObjectMeta: metav1.ObjectMeta{Name: "shop-b", Labels: map[string]string{"team": "shop"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "shop-a", Labels: map[string]string{"team": "shop"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "gone", Labels: map[string]string{"team": "shop"}, DeletionTimestamp: &metav1.Time{}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "bank", Labels: map[string]string{"team": "bank"}}},
	}
	hub[2].DeletionTimestamp = ptr.To(metav1.Now())
	tests := map[string]struct {
		why  string
		spec string
		want string // a manifest a line; "read" before those that are only looked at
	}{
		"cluster role": {
			why:  "a binding without a role gives the ClusterRole that is made, and users are Kubernetes' users",
			spec: "clusterRole: {rules: [{verbs: [get], apiGroups: [''], resources: [pods]}]}\nclusterRoleBinding: {subject: {kind: User, name: jane}}",
			want: `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"ops"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"ops"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"ops"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"jane"}]}`,
		},
		"several bindings": {
			why:  "names of their own; the one subject and the several are all bound, each once; a ManagedServiceAccount is its service account",
			spec: "clusterRoleBindings: [{name: a, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}, subject: {kind: Group, name: dev}, subjects: [{kind: Group, name: dev}, {kind: ManagedServiceAccount, apiGroup: authentication.open-cluster-management.io, name: ci}]}, {roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}, subject: {kind: ServiceAccount, namespace: shop, name: bot}}]",
			want: `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"a"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"dev"},{"kind":"ServiceAccount","name":"ci","namespace":"open-cluster-management-agent-addon"}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"ops"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"edit"},"subjects":[{"kind":"ServiceAccount","name":"bot","namespace":"shop"}]}`,
		},
		"selected namespaces": {
			why:  "one Role for each namespace of the hub that is selected, sorted, with the rules of all entries that it is of",
			spec: "roles: [{namespaceSelector: {matchLabels: {team: shop}}, rules: [{verbs: [get], resources: [pods]}]}, {namespace: shop-b, rules: [{verbs: [list], resources: [pods]}]}]\nroleBindings: [{namespace: shop-b, roleRef: {kind: Role}, subject: {kind: User, name: jane}}]",
			want: `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"ops","namespace":"shop-a"},"rules":[{"resources":["pods"],"verbs":["get"]}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"ops","namespace":"shop-b"},"rules":[{"resources":["pods"],"verbs":["get"]},{"resources":["pods"],"verbs":["list"]}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"ops","namespace":"shop-b"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"ops"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"jane"}]}`,
		},
		"validate": {
			why:  "roles of others are looked at and not written, once each; the one that is made is not looked at",
			spec: "validate: true\nclusterRole: {rules: [{verbs: [get], resources: [pods]}]}\nclusterRoleBinding: {subject: {kind: User, name: jane}}\nroleBindings: [{name: a, namespace: shop, roleRef: {kind: Role, name: deployer}, subject: {kind: User, name: jane}}, {name: b, namespace: shop, roleRef: {kind: Role, name: deployer}, subject: {kind: User, name: joe}}]",
			want: `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"ops"},"rules":[{"resources":["pods"],"verbs":["get"]}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"ops"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"ops"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"jane"}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"a","namespace":"shop"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"deployer"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"jane"}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"b","namespace":"shop"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"deployer"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"joe"}]}
read {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"deployer","namespace":"shop"}}`,
		},
		"two of one name": {
			why:  "one of them would be lost",
			spec: "clusterRoleBinding: {subject: {kind: User, name: jane}}\nclusterRoleBindings: [{subject: {kind: User, name: joe}}]",
			want: "fault: spec.clusterRoleBindings[0]: there is a ClusterRoleBinding ops already: give the bindings names of their own",
		},
		"nowhere": {
			why:  "a role without a namespace is nowhere",
			spec: "roles: [{rules: []}]",
			want: "fault: spec.roles[0] has no namespace and no namespaceSelector: give one of them",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := &rbacv1alpha1.ClusterPermission{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "ops"}}
			if err := yaml.UnmarshalStrict([]byte(tc.spec), &p.Spec); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, manifestsOf(t, p, hub)); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tc.why, diff)
			}
		})
	}
}

func manifestsOf(t *testing.T, p *rbacv1alpha1.ClusterPermission, hub []corev1.Namespace) string {
	t.Helper()
	objects, err := objectsOf(p, hub)
	if err != nil {
		return "fault: " + err.Error()
	}
	spec, err := specOf(objects)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i, m := range spec.Workload.Manifests {
		var sorted any
		if err := json.Unmarshal(m.Raw, &sorted); err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(sorted)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range spec.ManifestConfigs {
			if o := objects[i]; c.ResourceIdentifier.Name == o.name && c.ResourceIdentifier.Resource == o.resource && c.UpdateStrategy.Type == workv1.UpdateStrategyTypeReadOnly {
				line = append([]byte("read "), line...)
			}
		}
		lines = append(lines, string(line))
	}
	return strings.Join(lines, "\n")
}
