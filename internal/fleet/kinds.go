package fleet

import (
	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kind is one kind that a fleet repository may define.
type Kind struct {
	schema.GroupVersionKind
	Resource   string
	Namespaced bool
	// New makes the typed object; nil for kinds that are applied and not planned with.
	New func() Object
}

// Kinds are all kinds that a fleet repository may define, in the order in which a commit is applied; it is pruned in the
// reverse order.
var Kinds = []Kind{
	{gvk("", "v1", "Namespace"), "namespaces", false, nil},
	{gvk("", "v1", "ServiceAccount"), "serviceaccounts", true, nil},
	{gvk("rbac.authorization.k8s.io", "v1", "ClusterRole"), "clusterroles", false, nil},
	{gvk("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"), "clusterrolebindings", false, nil},
	{gvk("rbac.authorization.k8s.io", "v1", "Role"), "roles", true, nil},
	{gvk("rbac.authorization.k8s.io", "v1", "RoleBinding"), "rolebindings", true, nil},
	{
		gvk("cluster.open-cluster-management.io", "v1beta2", "ManagedClusterSet"), "managedclustersets", false,
		func() Object { return &clusterv1beta2.ManagedClusterSet{} },
	},
	{
		gvk("cluster.open-cluster-management.io", "v1beta2", "ManagedClusterSetBinding"), "managedclustersetbindings", true,
		func() Object { return &clusterv1beta2.ManagedClusterSetBinding{} },
	},
	{
		gvk("cluster.open-cluster-management.io", "v1", "ManagedCluster"), "managedclusters", false,
		func() Object { return &clusterv1.ManagedCluster{} },
	},
	{
		gvk("cluster.open-cluster-management.io", "v1beta1", "Placement"), "placements", true,
		func() Object { return &clusterv1beta1.Placement{} },
	},
	{
		gvk(addonv1alpha1.GroupName, "v1alpha1", "AddOnDeploymentConfig"), "addondeploymentconfigs", true,
		func() Object { return &addonv1alpha1.AddOnDeploymentConfig{} },
	},
	{
		gvk(addonv1alpha1.GroupName, "v1alpha1", "AddOnTemplate"), "addontemplates", false,
		func() Object { return &addonv1alpha1.AddOnTemplate{} },
	},
	{
		gvk(addonv1alpha1.GroupName, "v1alpha1", "ClusterManagementAddOn"), "clustermanagementaddons", false,
		func() Object { return &addonv1alpha1.ClusterManagementAddOn{} },
	},
	{
		gvk(submarinerv1alpha1.GroupName, "v1alpha1", "SubmarinerConfig"), "submarinerconfigs", true,
		func() Object { return &submarinerv1alpha1.SubmarinerConfig{} },
	},
	{
		gvk("muster.dev", "v1alpha1", "ClusterValues"), "clustervalues", true,
		func() Object { return &musterv1alpha1.ClusterValues{} },
	},
	{
		gvk("muster.dev", "v1alpha1", "FleetRepository"), "fleetrepositories", true,
		func() Object { return &musterv1alpha1.FleetRepository{} },
	},
	{
		gvk("muster.dev", "v1alpha1", "ReviewPolicy"), "reviewpolicies", true,
		func() Object { return &musterv1alpha1.ReviewPolicy{} },
	},
	{
		gvk("muster.dev", "v1alpha1", "Notification"), "notifications", true,
		func() Object { return &musterv1alpha1.Notification{} },
	},
	{
		gvk("muster.dev", "v1alpha1", "Application"), "applications", true,
		func() Object { return &musterv1alpha1.Application{} },
	},
}

func gvk(group, version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
}

// kindOf finds an allowed kind and its rank.
func kindOf(want schema.GroupVersionKind) (Kind, int, bool) {
	for rank, k := range Kinds {
		if k.GroupVersionKind == want {
			return k, rank, true
		}
	}
	return Kind{}, 0, false
}

// defaulted reads what is left out below objects that are left out too as the hub reads it; the schema's own defaults are
// there already.
func defaulted(object Object) {
	if o, ok := object.(interface{ Default() }); ok {
		o.Default()
	}
}
