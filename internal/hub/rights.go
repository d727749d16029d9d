package hub

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	authv1beta1 "github.com/muster-io/muster/api/authentication/v1beta1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	rbacv1alpha1 "github.com/muster-io/muster/api/rbac/v1alpha1"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/access"
	"github.com/muster-io/muster/internal/registration"
)

const (
	// Account is the service account, in Muster's namespace, that the hub runs as.
	Account = "muster-hub"
	// HubRole is the ClusterRole with what the hub's controllers do everywhere on the hub.
	HubRole = "muster:hub"
	// RepositoryRole is the ClusterRole with what the hub does for the FleetRepositories of one namespace: it acts as their service
	// accounts, and reads their Secrets and the Secrets and ConfigMaps with values of applications. Whoever gives a team's namespace a
	// FleetRepository binds it there.
	RepositoryRole = "muster:repositories"
	// PermissionRole is the ClusterRole that collects the rights which the hub may give to add-ons, and the signers that it may sign for:
	// what is in the ClusterRoles with label PermissionLabel.
	PermissionRole = "muster:addon-permissions"
	// PermissionLabel is "true" on these ClusterRoles. Who sets it lets the hub, and so every AddOnTemplate, give their rights.
	PermissionLabel = "muster.dev/addon-permission"
	// SignerRole is the ClusterRole with which the hub reads the CAs of add-ons' signers. Whoever puts one into a namespace binds it there.
	SignerRole = "muster:addon-signers"
	// TokenRole is the ClusterRole with what the hub needs for add-ons that authenticate by token. Who gives it PermissionLabel lets the
	// hub have the tokens of all accounts.
	TokenRole = "muster:addon-tokens"
	// SubmarinerRole is the ClusterRole with what the hub needs to make brokers of Submariner. Who gives it PermissionLabel lets the hub
	// give itself SubmarinerBrokerRole in any namespace, and with it read the Secrets there.
	SubmarinerRole = "muster:submariner"
	// SubmarinerBrokerRole is the ClusterRole that the hub has in the namespaces of brokers.
	SubmarinerBrokerRole = "muster:submariner-broker"
	// ProxyRole is the Role, in Muster's namespace, of everybody who looks for the proxy to clusters.
	ProxyRole = "muster:proxy"
	// ConversionSecret is the Secret of Muster's namespace that has the authority that signs for the conversion of add-ons.
	ConversionSecret = "muster-conversion"
	// ServiceAccountRole is the ClusterRole of an agent with role serviceaccount, for its cluster's namespace. Nobody has it before an
	// administrator binds it there, as muster addon enable does: it reads the namespace's Secrets. The hub binds it only when it has
	// PermissionLabel.
	ServiceAccountRole = registration.ServiceAccountRole
	// InspectionRole is the ClusterRole of people who look at the applications of a cluster, to be bound in the cluster's namespace. The
	// applications themselves they have to be allowed to get.
	InspectionRole = "muster:inspect"
	// LogsRole is the ClusterRole of people who look at the logs of these applications' pods too.
	LogsRole = "muster:inspect-logs"
	// ObjectsRole is the ClusterRole of people who look at these applications' objects as they are on the cluster.
	ObjectsRole = "muster:inspect-objects"
)

// User is how the API server knows the hub's account.
const User = "system:serviceaccount:" + registration.SystemNamespace + ":" + Account

// Groups are those of every service account in Muster's namespace.
func Groups() []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + registration.SystemNamespace}
}

// roleOf is a ClusterRole with one rule.
func roleOf(name string, rule rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{rule}}
}

// Rights are the hub's account with all that it may do.
//
// It is no administrator. The hub writes the definitions of a repository as the repository's own account, so that its own
// account needs only read access to those kinds. These rights are wide, for these reasons:
//
//	RBAC objects            the hub grants agents their rights. The role has no escalate, so the API server lets the hub grant only
//	                        rights that it holds: therefore it holds those of agents. It has bind for the two roles that the hub
//	                        itself writes: the API server then looks once, and not at every right of hub and agent, whether the
//	                        hub may give a cluster that joins its two bindings
//	execute-as works        the hub writes works with its own rights; admission checks the right to execute as an account
//	                        when a user writes the Application
//	impersonate, Secrets    in Muster's own namespace, and where a RoleBinding to RepositoryRole says so
//
// What add-ons ask for beyond that, rights on the hub, signers of their own, tokens and brokers, an administrator lets through with PermissionLabel.
func Rights() []client.Object {
	account := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: registration.SystemNamespace, Name: Account}
	inSystem := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: registration.SystemNamespace, Name: name}
	}
	return []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: registration.SystemNamespace}},
		&corev1.ServiceAccount{ObjectMeta: inSystem(Account)},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: HubRole}, Rules: hubRules()},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: HubRole}, RoleRef: clusterRole(HubRole), Subjects: []rbacv1.Subject{account}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: RepositoryRole}, Rules: []rbacv1.PolicyRule{
			registration.Rule("", "serviceaccounts", "impersonate"),
			registration.Rule("", "secrets", "get"),
			registration.Rule("", "configmaps", "get"), // that hold values of applications
		}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: PermissionRole}, AggregationRule: &rbacv1.AggregationRule{
			ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{PermissionLabel: "true"}}},
		}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: PermissionRole}, RoleRef: clusterRole(PermissionRole), Subjects: []rbacv1.Subject{account}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: TokenRole}, Rules: []rbacv1.PolicyRule{
			registration.Rule("", "serviceaccounts", "get", "create", "update", "delete"),
			registration.Rule("", "serviceaccounts/token", "create"), // of its agents, by Roles
			registration.Rule(rbacv1.GroupName, "roles", "get", "create", "update", "delete"),
		}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: SubmarinerRole}, Rules: []rbacv1.PolicyRule{
			registration.NamedRule(SubmarinerBrokerRole, rbacv1.GroupName, "clusterroles", "bind"),
			registration.Rule("apiextensions.k8s.io", "customresourcedefinitions", "create"), // Submariner's kinds, where they are missing
			registration.NamedRule("clusters.submariner.io", "apiextensions.k8s.io", "customresourcedefinitions", "get"),
			registration.NamedRule("endpoints.submariner.io", "apiextensions.k8s.io", "customresourcedefinitions", "get"),
			registration.NamedRule("serviceimports.multicluster.x-k8s.io", "apiextensions.k8s.io", "customresourcedefinitions", "get"),
		}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: SubmarinerBrokerRole}, Rules: append(BrokerRules(),
			registration.Rule("", "secrets", "create", "delete"),
			registration.Rule("", "configmaps", "get", "create", "update"), // the networks of Globalnet
			registration.Rule("", "namespaces", "delete"),                  // the one that it is bound in
			registration.Rule("", "serviceaccounts", "get", "list", "create", "delete"),
			registration.Rule(rbacv1.GroupName, "roles", "get", "create", "update"),
		)},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: SignerRole}, Rules: []rbacv1.PolicyRule{registration.Rule("", "secrets", "get")}},
		&rbacv1.Role{ObjectMeta: inSystem(Account), Rules: []rbacv1.PolicyRule{
			registration.Rule("", "pods", "patch"),        // the label of the leader
			registration.Rule("", "configmaps", "create"), // where the proxy to clusters is
			registration.NamedRule(access.ConfigMap, "", "configmaps", "get", "update"),
			registration.Rule("", "secrets", "create"), // the authorities of the proxy and of the conversion
			registration.NamedRule(access.ConfigMap, "", "secrets", "get"),
			registration.NamedRule(ConversionSecret, "", "secrets", "get"),
		}},
		&rbacv1.RoleBinding{
			ObjectMeta: inSystem(Account), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: Account}, Subjects: []rbacv1.Subject{account},
		},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: ServiceAccountRole}, Rules: []rbacv1.PolicyRule{
			registration.Rule(authv1beta1.GroupName, "managedserviceaccounts", "get", "list", "watch", "delete"),
			registration.Rule(authv1beta1.GroupName, "managedserviceaccounts/status", "patch"),
			registration.Rule("", "secrets", "get", "create", "update"),
		}},
		// No list: who may list Inspections reads what others have asked.
		roleOf(InspectionRole, registration.Rule(musterv1alpha1.GroupVersion.Group, "inspections", "create", "get", "delete")),
		roleOf(LogsRole, registration.Rule(musterv1alpha1.GroupVersion.Group, "inspections/logs", "create")),
		roleOf(ObjectsRole, registration.Rule(musterv1alpha1.GroupVersion.Group, "inspections/objects", "create")),
		// Agents and people find the proxy to clusters, and the proxy knows client certificates as the API server does.
		&rbacv1.Role{ObjectMeta: inSystem(ProxyRole), Rules: []rbacv1.PolicyRule{registration.NamedRule(access.ConfigMap, "", "configmaps", "get")}},
		&rbacv1.RoleBinding{
			ObjectMeta: inSystem(ProxyRole), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: ProxyRole},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:authenticated"}},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: Account + ":client-certificates"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "extension-apiserver-authentication-reader"}, Subjects: []rbacv1.Subject{account},
		},
		&rbacv1.RoleBinding{ObjectMeta: inSystem(RepositoryRole), RoleRef: clusterRole(RepositoryRole), Subjects: []rbacv1.Subject{account}},
	}
}

// hubRules are the rights that the controllers use, by API group. A comment marks a right that only agents use.
func hubRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		registration.Rule(clusterv1.GroupName, "managedclusters", "get", "list", "watch", "update", "patch"),
		registration.Rule(clusterv1.GroupName, "managedclusters/status", "update", "patch"),
		registration.Rule(clusterv1.RegisterGroupName, "managedclusters/accept", "update"),            // who joined is noted on the cluster
		registration.Rule(clusterv1.RegisterGroupName, "managedclusters/clientcertificates", "renew"), // agents
		registration.Rule(clusterv1.GroupName, "managedclustersets", "get", "list", "watch", "create", "update"),
		registration.Rule(clusterv1.GroupName, "managedclustersets/status", "patch"),
		registration.NamedRule(clusterv1beta2.DefaultClusterSet, clusterv1.GroupName, "managedclustersets/join", "create"),
		registration.Rule(clusterv1.GroupName, "managedclustersetbindings", "get", "list", "watch"),
		registration.Rule(clusterv1.GroupName, "managedclustersetbindings/status", "patch"),
		registration.Rule(clusterv1.GroupName, "placements", "get", "list", "watch"),
		registration.Rule(clusterv1.GroupName, "placements/status", "update"),
		registration.Rule(clusterv1.GroupName, "placements/finalizers", "update"), // decisions are owned by their placement
		registration.Rule(clusterv1.GroupName, "placementdecisions", "get", "list", "watch", "create", "update", "delete"),
		registration.Rule(clusterv1.GroupName, "placementdecisions/status", "update"),
		registration.Rule(clusterv1.GroupName, "addonplacementscores", "get", "list", "watch"),

		registration.Rule(workv1.GroupName, "manifestworks", "get", "list", "watch", "create", "update", "patch", "delete", "execute-as"),
		registration.Rule(workv1.GroupName, "manifestworks/status", "update", "patch"), // agents
		registration.Rule(workv1.GroupName, "manifestworkreplicasets", "get", "list", "watch", "patch"),
		registration.Rule(workv1.GroupName, "manifestworkreplicasets/status", "update"),
		registration.Rule(addonv1alpha1.GroupName, "clustermanagementaddons", "get", "list", "watch", "patch"),
		registration.Rule(addonv1alpha1.GroupName, "clustermanagementaddons/status", "update"),
		registration.Rule(addonv1alpha1.GroupName, "managedclusteraddons", "get", "list", "watch", "create", "patch", "delete"),
		registration.Rule(addonv1alpha1.GroupName, "managedclusteraddons/status", "update", "patch"),
		// Who converts add-ons is written into these two definitions.
		registration.NamedRule("clustermanagementaddons."+addonv1alpha1.GroupName, "apiextensions.k8s.io", "customresourcedefinitions", "get", "patch"),
		registration.NamedRule("managedclusteraddons."+addonv1alpha1.GroupName, "apiextensions.k8s.io", "customresourcedefinitions", "get", "patch"),
		registration.Rule(addonv1alpha1.GroupName, "addontemplates", "get", "list", "watch"),
		registration.Rule(addonv1alpha1.GroupName, "addondeploymentconfigs", "get", "list", "watch"),
		registration.Rule(submarinerv1alpha1.GroupName, "submarinerconfigs", "get", "list", "watch"),
		registration.Rule(submarinerv1alpha1.GroupName, "submarinerconfigs/status", "patch"),
		registration.Rule(rbacv1alpha1.GroupName, "clusterpermissions", "get", "list", "watch"),
		registration.Rule(rbacv1alpha1.GroupName, "clusterpermissions/status", "patch"),
		registration.Rule(rbacv1alpha1.GroupName, "clusterpermissions/finalizers", "update"), // their works are owned by them

		registration.Rule(musterv1alpha1.GroupVersion.Group, "fleetrepositories", "get", "list", "watch", "update", "patch"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "fleetrepositories/status", "update", "patch"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "applications", "get", "list", "watch", "update", "patch"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "applications/status", "update"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "rollouthistories", "get", "list", "watch", "create", "update"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "holds", "get", "list", "watch"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "inspections", "get", "list", "watch", "delete"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "inspections/status", "patch"), // agents
		registration.Rule(musterv1alpha1.GroupVersion.Group, "clustervalues", "get", "list", "watch"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "apisets", "get", "list", "watch", "delete"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "apisets", "create"), // agents
		registration.Rule(musterv1alpha1.GroupVersion.Group, "reviewpolicies", "get", "list", "watch"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "notifications", "get", "list", "watch"),
		registration.Rule(musterv1alpha1.GroupVersion.Group, "notifications/status", "patch"),

		registration.Rule("", "namespaces", "get", "list", "watch", "create", "update", "patch"),
		registration.Rule("", "events", "create", "update", "patch"),
		registration.Rule("events.k8s.io", "events", "get", "list", "watch", "create", "update", "patch"), // the page lists them
		registration.Rule("coordination.k8s.io", "leases", "get", "list", "watch", "create", "update", "patch", "delete"),
		registration.Rule(rbacv1.GroupName, "clusterroles", "get", "list", "watch", "create", "update", "delete"),
		registration.Rule(rbacv1.GroupName, "clusterrolebindings", "get", "list", "watch", "create", "update", "delete"),
		registration.Rule(rbacv1.GroupName, "rolebindings", "get", "list", "watch", "create", "update", "delete"),
		registration.NamedRule(registration.RegistrationRole, rbacv1.GroupName, "clusterroles", "bind"),
		registration.NamedRule(registration.WorkRole, rbacv1.GroupName, "clusterroles", "bind"),
		registration.Rule(rbacv1.GroupName, "roles", "list", "watch"), // what repositories applied, and who has changed it
		registration.Rule("", "serviceaccounts", "list", "watch"),     // the same
		registration.Rule(certificatesv1.GroupName, "certificatesigningrequests", "get", "list", "watch"),
		registration.Rule(certificatesv1.GroupName, "certificatesigningrequests", "create"), // agents
		registration.Rule(certificatesv1.GroupName, "certificatesigningrequests/approval", "update"),
		registration.Rule(certificatesv1.GroupName, "certificatesigningrequests/status", "update"),
		registration.NamedRule(certificatesv1.KubeAPIServerClientSignerName, certificatesv1.GroupName, "signers", "approve"),
		registration.Rule("authentication.k8s.io", "tokenreviews", "create"), // who asks how a placement is scheduled
		registration.Rule("authorization.k8s.io", "subjectaccessreviews", "create"),
	}
}

// BrokerRules are the rights of a cluster in the namespace of its broker, as in Submariner: what it tells the others and hears from them, and
// the key that they share.
func BrokerRules() []rbacv1.PolicyRule {
	all := []string{"create", "get", "list", "watch", "patch", "update", "delete"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{"submariner.io"}, Resources: []string{"clusters", "endpoints"}, Verbs: all},
		{APIGroups: []string{"multicluster.x-k8s.io"}, Resources: []string{"serviceimports", "serviceimports/status"}, Verbs: all},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices", "endpointslices/restricted"}, Verbs: all},
		registration.Rule("", "secrets", "get", "list", "watch"),
	}
}

func clusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
}
