package work

// The ranks in which kinds are applied: lower first. OCM's order.
const (
	rankOther      = 1000
	rankUnreadable = 1001
)

var ranks = rankTable(
	[]string{"/Namespace", "/PersistentVolume", "scheduling.k8s.io/PriorityClass", "storage.k8s.io/StorageClass",
		"apiextensions.k8s.io/CustomResourceDefinition", "policy/PodSecurityPolicy"},
	[]string{"rbac.authorization.k8s.io/ClusterRole", "rbac.authorization.k8s.io/ClusterRoleBinding",
		"rbac.authorization.k8s.io/Role", "rbac.authorization.k8s.io/RoleBinding"},
	[]string{"networking.k8s.io/NetworkPolicy", "/ResourceQuota", "/LimitRange", "policy/PodDisruptionBudget", "/ServiceAccount"},
	[]string{"/Secret", "/ConfigMap", "/PersistentVolumeClaim"},
	[]string{"/Service"},
	[]string{"apps/DaemonSet", "/Pod", "/ReplicationController", "apps/ReplicaSet", "apps/Deployment",
		"autoscaling/HorizontalPodAutoscaler", "apps/StatefulSet", "batch/Job", "batch/CronJob"},
	[]string{"apiregistration.k8s.io/APIService", "admissionregistration.k8s.io/MutatingWebhookConfiguration",
		"admissionregistration.k8s.io/ValidatingWebhookConfiguration", "admissionregistration.k8s.io/ValidatingAdmissionPolicy",
		"admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding"},
)

func rankTable(rows ...[]string) map[string]int {
	table := map[string]int{}
	for rank, kinds := range rows {
		for _, kind := range kinds {
			table[kind] = rank
		}
	}
	return table
}

// rankOf is the rank of a kind; what no rank names comes last.
func rankOf(group, kind string) int {
	if rank, ok := ranks[group+"/"+kind]; ok {
		return rank
	}
	return rankOther
}
