// Package addon makes the add-ons of the fleet, as OCM's addon manager does.
//
//	addon-install        ClusterManagementAddOn x decisions of placements -> ManagedClusterAddOns
//	addon-configuration  configurations of hub, placement and cluster x rollout -> what each ManagedClusterAddOn should have, and how far it is
//	addon-deploy         AddOnTemplate x configurations of a cluster -> ManifestWorks; health; the way out
//	addon-feature        add-ons of a cluster -> labels of the ManagedCluster, for placements
//	addon-builtin        add-ons of which the klusterlet is the agent -> which of its roles it runs, and its rights for that
//
// Each owns its fields of the two kinds, and writes them only when nobody else has written the object in between. An add-on whose
// ClusterManagementAddOn says lifecycle self is left alone; one that has no AddOnTemplate is deployed by its own manager, and
// addon-deploy leaves its works alone.
package addon

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/hub"
)

// The names of the controllers, for --controllers.
const (
	InstallName       = "addon-install"
	ConfigurationName = "addon-configuration"
	DeployName        = "addon-deploy"
	BuiltInName       = "addon-builtin"
	FeatureName       = "addon-feature"
)

// The indices of ManagedClusterAddOns: by their name, which is the add-on's, and by the cluster that hosts the agent.
const (
	byName    = "metadata.name"
	byHosting = "muster.hosting-cluster"
)

// Index lets the controllers find the clusters that have an add-on, and the add-ons that a cluster hosts. It is called once for a manager.
func Index(ctx context.Context, mgr ctrl.Manager) error {
	mca := &addonv1alpha1.ManagedClusterAddOn{}
	return errors.Join(
		mgr.GetFieldIndexer().IndexField(ctx, mca, byName, func(o client.Object) []string { return []string{o.GetName()} }),
		mgr.GetFieldIndexer().IndexField(ctx, mca, byHosting, hostedOn),
	)
}

func hostedOn(o client.Object) []string {
	if cluster := addon.HostingCluster(o.(*addonv1alpha1.ManagedClusterAddOn)); cluster != "" {
		return []string{cluster}
	}
	return nil
}

// onClusters are the ManagedClusterAddOns of an add-on. They are the cache's: change copies.
func onClusters(ctx context.Context, c client.Reader, name string) ([]addonv1alpha1.ManagedClusterAddOn, error) {
	var list addonv1alpha1.ManagedClusterAddOnList
	if err := c.List(ctx, &list, client.MatchingFields{byName: name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the clusters that have add-on %s: %w", name, err)
	}
	return list.Items, nil
}

// isSelfManaged says that an add-on's own manager does all.
func isSelfManaged(cma *addonv1alpha1.ClusterManagementAddOn) bool {
	switch cma.Annotations[addonv1alpha1.LifecycleAnnotation] {
	case "", addonv1alpha1.LifecycleAddonManager:
		return false
	}
	return true
}

// ofAddOn wakes the ClusterManagementAddOn of a ManagedClusterAddOn.
func ofAddOn(_ context.Context, o client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: o.GetName()}}}
}

// ofPlacement wakes the ClusterManagementAddOns that a placement installs.
func ofPlacement(c client.Reader) handler.EventHandler {
	return ofEach(c, func(cma *addonv1alpha1.ClusterManagementAddOn, o client.Object) bool {
		name := o.GetName()
		if p := o.GetLabels()[clusterv1beta1.PlacementLabel]; p != "" {
			name = p
		}
		for _, p := range cma.Spec.InstallStrategy.Placements {
			if p.Namespace == o.GetNamespace() && p.Name == name {
				return true
			}
		}
		return false
	})
}

// ofEach wakes the ClusterManagementAddOns that an object matters to.
func ofEach(c client.Reader, matters func(*addonv1alpha1.ClusterManagementAddOn, client.Object) bool) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		var list addonv1alpha1.ClusterManagementAddOnList
		if err := c.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list ClusterManagementAddOns")
			return nil
		}
		var requests []reconcile.Request
		for i := range list.Items {
			if matters(&list.Items[i], o) {
				requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Name: list.Items[i].Name}})
			}
		}
		return requests
	})
}

// ofWork is the ManagedClusterAddOn that a work is of.
func ofWork(e hub.WorkEvent) (types.NamespacedName, bool) {
	owner := e.Work().Owner
	return types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}, owner.IsAddon()
}
