package registration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"k8s.io/apimachinery/pkg/api/meta"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// How the agent of an add-on authenticates on the hub.
const (
	// DriverCSR is by a certificate that the hub approves.
	DriverCSR = "csr"
	// DriverToken is by a token of a service account on the hub.
	DriverToken = "token"
)

// AddOnRequestPrefix is what the names of add-ons' signing requests begin with.
const AddOnRequestPrefix = "addon"

// AddOnAgent is the name of an add-on's agent, and of its service account on the hub.
func AddOnAgent(addon string) string { return addon + agentSuffix }

const agentSuffix = "-agent"

// AddOnGroup is the group on the hub of the agents of one add-on on one cluster.
func AddOnGroup(cluster, addon string) string {
	return clusterv1.SubjectPrefix + "cluster:" + cluster + ":addon:" + addon
}

// AddOnGroups are the groups on the hub of an add-on's agent, and the organizations of its certificate.
func AddOnGroups(cluster, addon string) []string {
	return []string{AddOnGroup(cluster, addon), clusterv1.SubjectPrefix + "addon:" + addon, allAuthenticated}
}

// allAuthenticated is the group that everybody is in who has authenticated.
const allAuthenticated = "system:authenticated"

// AddOnUser is the user on the hub of an add-on's agent, and the common name of its certificate.
func AddOnUser(cluster, addon, agent string) string {
	return AddOnGroup(cluster, addon) + ":agent:" + agent
}

// AddOnTokenUser is the user on the hub of an add-on's agent that authenticates by token.
func AddOnTokenUser(cluster, addon string) string {
	return serviceAccount + cluster + ":" + AddOnAgent(addon)
}

// serviceAccount begins the user name of every service account.
const serviceAccount = "system:serviceaccount:"

// AddOnDNSName is the name that the certificates of an add-on's agent carry.
func AddOnDNSName(addon string) string { return addon + ".addon.open-cluster-management.io" }

// AddOnNamespace is where the agent of an add-on runs, and has its Secrets.
func AddOnNamespace(addon *addonv1alpha1.ManagedClusterAddOn) string {
	for _, namespace := range []string{
		addon.Status.Namespace, addon.Spec.InstallNamespace, addon.Annotations[addonv1alpha1.InstallNamespaceAnnotation],
	} {
		if namespace != "" {
			return namespace
		}
	}
	return addonv1alpha1.DefaultInstallNamespace
}

// Hosted says that the agent of an add-on runs on another cluster than the one that it works for.
func Hosted(addon *addonv1alpha1.ManagedClusterAddOn) bool {
	return addon.Annotations[addonv1alpha1.HostingClusterAnnotation] != ""
}

// KubeClient is the registration of an add-on as a client of the hub's API server, nil when it is none.
func KubeClient(addon *addonv1alpha1.ManagedClusterAddOn) *addonv1alpha1.RegistrationConfig {
	i := slices.IndexFunc(addon.Status.Registrations, func(r addonv1alpha1.RegistrationConfig) bool {
		return r.SignerName == addonv1alpha1.KubeClientSigner
	})
	if i < 0 {
		return nil
	}
	return &addon.Status.Registrations[i]
}

// ByToken says that the agent of an add-on authenticates by token.
func ByToken(addon *addonv1alpha1.ManagedClusterAddOn) bool {
	return KubeClient(addon) != nil && addon.Status.KubeClientDriver == DriverToken
}

// TokenReady is the condition that the service account of an add-on's agent is there. Agents read its UID from the message: no field
// of the status has it.
func TokenReady(cluster, addon string, uid types.UID) metav1.Condition {
	return metav1.Condition{
		Type: addonv1alpha1.ConditionTokenInfrastructureReady, Status: metav1.ConditionTrue, Reason: addonv1alpha1.ReasonTokenInfrastructureReady,
		Message: fmt.Sprintf("ServiceAccount %s/%s (UID: %s) is ready", cluster, AddOnAgent(addon), uid),
	}
}

var uidInMessage = regexp.MustCompile(`\(UID: ([^)\s]+)\)`)

// TokenAccount is the UID of the service account whose token the agent of an add-on has. It is false while the hub has not made the
// account; the error is of a hub that says otherwise what is ready.
func TokenAccount(addon *addonv1alpha1.ManagedClusterAddOn) (uid types.UID, ready bool, err error) {
	condition := meta.FindStatusCondition(addon.Status.Conditions, addonv1alpha1.ConditionTokenInfrastructureReady)
	if condition == nil || condition.Status != metav1.ConditionTrue {
		return "", false, nil
	}
	found := uidInMessage.FindStringSubmatch(condition.Message)
	if found == nil {
		return "", false, fmt.Errorf("the hub's condition %s names no UID: %q", condition.Type, strings.TrimSpace(condition.Message))
	}
	return types.UID(found[1]), true, nil
}
