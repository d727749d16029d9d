// Package submariner is the add-on Submariner, which joins the networks of the clusters of a ManagedClusterSet.
//
// In go the sets, the ManagedClusterAddOns named submariner with their SubmarinerConfigs, and what clusters report. Out come:
//
//	on the hub     one broker for each set that has such clusters: a namespace, the rights in it, a key, and an account for each cluster
//	on a cluster   two works: submariner-operator, then submariner-resource, which tells the operator where the broker is
//
// It promises that an account reaches the broker of its own set and nothing else on the hub, and that removal goes in reverse: the resource,
// the operator, the account, and with the last account the broker. The hub makes brokers with rights that an administrator lets through
// ([hub.SubmarinerRole]); it has them in the namespaces of brokers alone.
package submariner

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
)

// Name of the controllers, for --controllers.
const Name = "submariner"

// Options of the controllers.
type Options struct {
	// Works is the index of live works.
	Works *hub.Works
	// APIServer is where clusters reach the hub's API server, as host:port; "" is not known.
	APIServer string
	// CA vouches for it; empty is the authority of the API server itself.
	CA []byte
}

// Setup adds the controllers to a manager. Add-ons have to be indexed by their name.
func Setup(mgr ctrl.Manager, o Options) error {
	brokers := &brokers{client: mgr.GetClient(), reader: mgr.GetAPIReader(), works: o.Works}
	if err := brokers.setup(mgr); err != nil {
		return err
	}
	return (&agents{Options: o, client: mgr.GetClient(), reader: mgr.GetAPIReader()}).setup(mgr)
}

// installed are the ManagedClusterAddOns of Submariner. They are the cache's: change copies.
func installed(ctx context.Context, c client.Reader) ([]addonv1alpha1.ManagedClusterAddOn, error) {
	var list addonv1alpha1.ManagedClusterAddOnList
	err := c.List(ctx, &list, client.MatchingFields{"metadata.name": submarinerv1alpha1.AddOnName}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the clusters that have add-on %s: %w", submarinerv1alpha1.AddOnName, err)
	}
	return list.Items, nil
}

// members are the clusters of a set that have the add-on, also while they lose it.
func members(ctx context.Context, c client.Reader, set string) ([]string, error) {
	have, err := installed(ctx, c)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range have {
		cluster := &clusterv1.ManagedCluster{}
		err := c.Get(ctx, client.ObjectKey{Name: have[i].Namespace}, cluster)
		if client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		if err == nil && cluster.Labels[clusterv1beta2.ClusterSetLabel] == set {
			names = append(names, cluster.Name)
		}
	}
	return names, nil
}

// hasBroker says whether a set can have a broker: a cluster is in one exclusive set, and in any number of others.
func hasBroker(set *clusterv1beta2.ManagedClusterSet) bool {
	t := set.Spec.ClusterSelector.SelectorType
	return t == "" || t == clusterv1beta2.ExclusiveClusterSetLabel
}
