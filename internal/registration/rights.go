package registration

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

const (
	// RegistrationRole is the ClusterRole that every accepted cluster has in its own namespace to say how it does.
	RegistrationRole = "open-cluster-management:managedcluster:registration"
	// WorkRole is the ClusterRole that every accepted cluster has in its own namespace to do its works.
	WorkRole = "open-cluster-management:managedcluster:work"
	// WorkBindingFinalizer keeps the agent's rights on its works until the last one is gone.
	WorkBindingFinalizer = workv1.ManifestWorkFinalizer
	// BootstrapRole is the ClusterRole of the identities that agents join with.
	BootstrapRole = "open-cluster-management:bootstrap"
)

// ClusterRoleName is the name of the ClusterRole and of the ClusterRoleBinding of one cluster.
func ClusterRoleName(cluster string) string {
	return "open-cluster-management:managedcluster:" + cluster
}

// BindingName is the name of the RoleBinding to RegistrationRole in a cluster's namespace.
func BindingName(cluster string) string {
	return ClusterRoleName(cluster) + ":registration"
}

// WorkBindingName is the name of the RoleBinding to WorkRole in a cluster's namespace.
func WorkBindingName(cluster string) string { return ClusterRoleName(cluster) + ":work" }

// WantNamespace is the namespace on the hub that holds what belongs to a cluster.
func WantNamespace(cluster string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: cluster, Labels: nameLabel(cluster)}}
}

// WantClusterRole are the rights of a cluster's agent outside its namespace. A denied cluster can only see itself: it
// learns that it was denied, and cannot renew its certificate.
func WantClusterRole(cluster string, accepted bool) *rbacv1.ClusterRole {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: ClusterRoleName(cluster), Labels: nameLabel(cluster)}}
	if !accepted {
		role.Rules = []rbacv1.PolicyRule{
			NamedRule(cluster, clusterv1.GroupName, "managedclusters", "get", "list", "watch"),
		}
		return role
	}
	role.Rules = []rbacv1.PolicyRule{
		Rule("certificates.k8s.io", "certificatesigningrequests", "create", "get", "list", "watch"),
		NamedRule(cluster, clusterv1.RegisterGroupName, "managedclusters/clientcertificates", "renew"),
		NamedRule(cluster, clusterv1.GroupName, "managedclusters", "get", "list", "update", "watch"),
		NamedRule(cluster, clusterv1.GroupName, "managedclusters/status", "patch", "update"),
		// Beyond OCM: the mark that the hub puts on the cluster's namespace, and the set of APIs that clusters share.
		NamedRule(cluster, "", "namespaces", "get"),
		Rule("muster.dev", "apisets", "create", "get"),
	}
	return role
}

// WantClusterRoleBinding gives a cluster's agents the rights of its ClusterRole.
func WantClusterRoleBinding(cluster string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ClusterRoleName(cluster), Labels: nameLabel(cluster)},
		RoleRef:    clusterRole(ClusterRoleName(cluster)),
		Subjects:   subjects(cluster),
	}
}

// WantRoleBindings give a cluster's agents their rights in its namespace.
func WantRoleBindings(cluster string) []*rbacv1.RoleBinding {
	bind := func(name, role string, finalizers ...string) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: cluster, Labels: nameLabel(cluster), Finalizers: finalizers},
			RoleRef:    clusterRole(role),
			Subjects:   subjects(cluster),
		}
	}
	return []*rbacv1.RoleBinding{
		bind(BindingName(cluster), RegistrationRole),
		bind(WorkBindingName(cluster), WorkRole, WorkBindingFinalizer),
	}
}

// SharedRoles are the ClusterRoles that the bindings in all clusters' namespaces refer to.
func SharedRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		{
			ObjectMeta: metav1.ObjectMeta{Name: RegistrationRole},
			Rules: []rbacv1.PolicyRule{
				Rule("coordination.k8s.io", "leases", "get", "list", "watch", "update"),
				Rule("addon.open-cluster-management.io", "managedclusteraddons", "get", "list", "watch"),
				Rule("addon.open-cluster-management.io", "managedclusteraddons/status", "patch", "update"),
				Rule("events.k8s.io", "events", "create", "patch", "update"),
				Rule("", "events", "create", "patch", "update"),
			},
		},
		{
			ObjectMeta: metav1.ObjectMeta{Name: WorkRole},
			Rules: []rbacv1.PolicyRule{
				Rule("events.k8s.io", "events", "create", "patch", "update"),
				Rule("", "events", "create", "patch", "update"),
				Rule(workv1.GroupName, "manifestworks", "get", "list", "watch", "update", "patch"),
				Rule(workv1.GroupName, "manifestworks/status", "patch", "update"),
				// Beyond OCM: the questions of people about the cluster's applications.
				Rule("muster.dev", "inspections", "get", "list", "watch"),
				Rule("muster.dev", "inspections/status", "patch"),
			},
		},
	}
}

// WantBootstrapRole are the rights that an agent needs to join, to be bound to the identity in its bootstrap kubeconfig.
func WantBootstrapRole() *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: BootstrapRole},
		Rules: []rbacv1.PolicyRule{
			Rule("", "configmaps", "get"),
			Rule("certificates.k8s.io", "certificatesigningrequests", "create", "get", "list", "watch"),
			Rule(clusterv1.GroupName, "managedclusters", "get", "create", "list", "watch"),
			{
				APIGroups: []string{clusterv1.GroupName}, Resources: []string{"managedclustersets/join"},
				ResourceNames: []string{clusterv1beta2.DefaultClusterSet}, Verbs: []string{"create"},
			},
		},
	}
}

func nameLabel(cluster string) map[string]string {
	return map[string]string{clusterv1.ClusterNameLabelKey: cluster}
}

func subjects(cluster string) []rbacv1.Subject {
	return []rbacv1.Subject{
		{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: Group(cluster)},
		{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "open-cluster-management:" + cluster},
	}
}

func clusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
}

// Rule lets whoever has it do the verbs on a resource of an API group.
func Rule(group, resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
}

// NamedRule is a Rule for one object alone.
func NamedRule(name, group, resource string, verbs ...string) rbacv1.PolicyRule {
	r := Rule(group, resource, verbs...)
	r.ResourceNames = []string{name}
	return r
}
