package work

import (
	"cmp"

	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// lastRank is the rank of kinds that OCM's agent does not order: they are applied last.
const lastRank = 1000

// applyRanks are the steps in which OCM's agent applies kinds. Works list their manifests in the same order, so that the
// ordinals in a status follow what happens.
var applyRanks = map[schema.GroupKind]int{
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}: 0,
	{Kind: "Namespace"}: 0,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: 0,
	{Group: "storage.k8s.io", Kind: "StorageClass"}:                   0,
	{Kind: "PersistentVolume"}:                                        0,
	{Group: "policy", Kind: "PodSecurityPolicy"}:                      0,

	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:        1,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: 1,
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:               1,
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:        1,

	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}: 2,
	{Kind: "ResourceQuota"}:                             2,
	{Kind: "LimitRange"}:                                2,
	{Group: "policy", Kind: "PodDisruptionBudget"}:      2,
	{Kind: "ServiceAccount"}:                            2,

	{Kind: "Secret"}:                3,
	{Kind: "ConfigMap"}:             3,
	{Kind: "PersistentVolumeClaim"}: 3,

	{Kind: "Service"}: 4,

	{Group: "apps", Kind: "DaemonSet"}:                      5,
	{Kind: "Pod"}:                                           5,
	{Kind: "ReplicationController"}:                         5,
	{Group: "apps", Kind: "ReplicaSet"}:                     5,
	{Group: "apps", Kind: "Deployment"}:                     5,
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: 5,
	{Group: "apps", Kind: "StatefulSet"}:                    5,
	{Group: "batch", Kind: "Job"}:                           5,
	{Group: "batch", Kind: "CronJob"}:                       5,

	{Group: "apiregistration.k8s.io", Kind: "APIService"}:                             6,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:     6,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}:   6,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicy"}:        6,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding"}: 6,
}

func applyRank(key fleet.ObjectKey) int {
	if rank, ok := applyRanks[schema.GroupKind{Group: key.Group, Kind: key.Kind}]; ok {
		return rank
	}
	return lastRank
}

// compareKeys orders objects as they are applied: by rank, kind, namespace and name.
func compareKeys(a, b fleet.ObjectKey) int {
	return cmp.Or(
		cmp.Compare(applyRank(a), applyRank(b)),
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Group, b.Group),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.Version, b.Version),
	)
}

func isDefinition(key fleet.ObjectKey) bool {
	return key.Group == "apiextensions.k8s.io" && key.Kind == "CustomResourceDefinition"
}

func isNamespace(key fleet.ObjectKey) bool { return key.Group == "" && key.Kind == "Namespace" }
