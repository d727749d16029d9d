package registration

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// AddOnSubjects are who an add-on's agent is on the hub, empty while the hub or the agent has not said. The group that the agents of
// all clusters have in common is none of them: with it the agent of one cluster would have the rights of another's.
func AddOnSubjects(addon *addonv1alpha1.ManagedClusterAddOn) []rbacv1.Subject {
	client := KubeClient(addon)
	if client == nil {
		return nil
	}
	subject := func(kind, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: kind, APIGroup: rbacv1.GroupName, Name: name}
	}
	var all []rbacv1.Subject
	if client.Subject.User != "" {
		all = append(all, subject(rbacv1.UserKind, client.Subject.User))
	}
	for _, group := range client.Subject.Groups {
		if group != allAuthenticated && group != clusterv1.SubjectPrefix+"addon:"+addon.Name {
			all = append(all, subject(rbacv1.GroupKind, group))
		}
	}
	return all
}

// AddOnAgentOf are the cluster and the add-on of which a subject is the agent; false for all others.
func AddOnAgentOf(s rbacv1.Subject) (cluster, addon string, ok bool) {
	if rest, account := strings.CutPrefix(s.Name, serviceAccount); account {
		cluster, agent, _ := strings.Cut(rest, ":")
		addon, ok = strings.CutSuffix(agent, agentSuffix)
		return cluster, addon, ok && cluster != "" && addon != ""
	}
	rest, ok := strings.CutPrefix(s.Name, clusterv1.SubjectPrefix+"cluster:")
	parts := strings.Split(rest, ":") // <cluster>:addon:<add-on>, and for a user :agent:<agent>
	if !ok || len(parts) < 3 || parts[0] == "" || parts[1] != "addon" || parts[2] == "" {
		return "", "", false
	}
	return parts[0], parts[2], true
}

// ofAddOnAgent says whether a subject is the agent of an add-on on a cluster.
func ofAddOnAgent(s rbacv1.Subject, cluster, addon string) bool {
	c, a, ok := AddOnAgentOf(s)
	return ok && c == cluster && a == addon
}

// WantAddOnBindings are the rights on the hub that the template of an add-on gives its agent on a cluster. Those in the cluster's
// namespace are owned by the add-on; those in another namespace are shared by the agents of all clusters, and name only this one.
func WantAddOnBindings(addon *addonv1alpha1.ManagedClusterAddOn, registrations []addonv1alpha1.RegistrationSpec) ([]*rbacv1.RoleBinding, error) {
	var all []*rbacv1.RoleBinding
	add := func(namespace string, role rbacv1.RoleRef) {
		name := fmt.Sprintf("open-cluster-management:%s:%s:agent", addon.Name, strings.ToLower(role.Kind))
		for _, b := range all {
			switch {
			case b.Namespace != namespace || b.RoleRef.Kind != role.Kind:
			case b.RoleRef == role:
				return
			case b.Name == name: // OCM's name has room for one role of a kind
				name += ":" + role.Name
			}
		}
		b := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{
				addonv1alpha1.AddonNameLabel: addon.Name, addonv1alpha1.AddonTemplateNameLabel: "",
			}},
			RoleRef: role, Subjects: AddOnSubjects(addon),
		}
		if namespace == addon.Namespace {
			b.OwnerReferences = []metav1.OwnerReference{AddOnOwner(addon)}
		}
		all = append(all, b)
	}
	for _, r := range registrations {
		if r.Type != addonv1alpha1.RegistrationKubeClient || r.KubeClient == nil {
			continue
		}
		for _, p := range r.KubeClient.HubPermissions {
			switch {
			case p.Type == addonv1alpha1.HubPermissionCurrentCluster && p.CurrentCluster != nil:
				add(addon.Namespace, clusterRole(p.CurrentCluster.ClusterRoleName))
			case p.Type == addonv1alpha1.HubPermissionSingleNamespace && p.SingleNamespace != nil:
				ref := p.SingleNamespace.RoleRef
				add(p.SingleNamespace.Namespace, rbacv1.RoleRef{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name})
			default:
				return nil, fmt.Errorf("the template's hub permission of type %s does not say which role", p.Type)
			}
		}
	}
	return all, nil
}

// AddOnOwner is the reference to an add-on on a cluster as the owner of what is made for it.
func AddOnOwner(addon *addonv1alpha1.ManagedClusterAddOn) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: addonv1alpha1.GroupVersion.String(), Kind: "ManagedClusterAddOn", Name: addon.Name, UID: addon.UID,
	}
}

// ServiceAccountRole is the ClusterRole with which the agents of a cluster serve ManagedServiceAccounts.
const ServiceAccountRole = "muster:managed-serviceaccount"

// WantServiceAccountBinding lets the agents of the cluster that has an add-on serve ManagedServiceAccounts, as long as it has the add-on.
func WantServiceAccountBinding(addon *addonv1alpha1.ManagedClusterAddOn) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: addon.Namespace, Name: ServiceAccountRole, OwnerReferences: []metav1.OwnerReference{AddOnOwner(addon)}},
		RoleRef:    clusterRole(ServiceAccountRole), Subjects: subjects(addon.Namespace)[:1],
	}
}

// Share puts the agent of one cluster into the subjects of a binding that the agents of several share. Of the cluster only wanted stays;
// none takes it out.
func Share(subjects []rbacv1.Subject, cluster, addon string, wanted []rbacv1.Subject) []rbacv1.Subject {
	others := slices.DeleteFunc(slices.Clone(subjects), func(s rbacv1.Subject) bool { return ofAddOnAgent(s, cluster, addon) })
	return append(others, wanted...)
}

// WantTokenInfrastructure are the service account of an add-on's agent on a cluster, and the right of the cluster's agents to ask for its tokens.
func WantTokenInfrastructure(cluster, addon string) (*corev1.ServiceAccount, *rbacv1.Role, *rbacv1.RoleBinding) {
	object := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: cluster, Name: name, Labels: map[string]string{
			addonv1alpha1.TokenInfrastructureLabel: "true", addonv1alpha1.TokenInfrastructureNameLabel: addon,
		}}
	}
	role := addon + "-token-role"
	rule := NamedRule(AddOnAgent(addon), "", "serviceaccounts/token", "create")
	return &corev1.ServiceAccount{ObjectMeta: object(AddOnAgent(addon))},
		&rbacv1.Role{ObjectMeta: object(role), Rules: []rbacv1.PolicyRule{rule}},
		&rbacv1.RoleBinding{
			ObjectMeta: object(role), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role}, Subjects: subjects(cluster),
		}
}
