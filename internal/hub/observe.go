package hub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Observe reads the world from an API server, or from a cache of it, with which it then shares memory: it must not be
// changed. Its lists are sorted.
func Observe(ctx context.Context, reader client.Reader, now time.Time) (*fleet.World, error) {
	w := &fleet.World{Time: now}
	var (
		clusters     clusterv1.ManagedClusterList
		sets         clusterv1beta2.ManagedClusterSetList
		bindings     clusterv1beta2.ManagedClusterSetBindingList
		placements   clusterv1beta1.PlacementList
		decisions    clusterv1beta1.PlacementDecisionList
		scores       clusterv1alpha1.AddOnPlacementScoreList
		applications musterv1alpha1.ApplicationList
		apis         musterv1alpha1.APISetList
		works        workv1.ManifestWorkList
		namespaces   corev1.NamespaceList
	)
	for _, list := range []client.ObjectList{
		&clusters, &sets, &bindings, &placements, &decisions, &scores, &applications, &apis, &works, &namespaces,
	} {
		if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("observe the fleet: %w", err)
		}
	}
	w.Clusters, w.ClusterSets, w.Bindings = clusters.Items, sets.Items, bindings.Items
	w.Placements, w.Decisions, w.Scores = placements.Items, decisions.Items, scores.Items
	w.Applications, w.APISets = applications.Items, apis.Items
	for i := range works.Items {
		w.Works = append(w.Works, LiveWork(&works.Items[i]))
	}
	for i := range namespaces.Items {
		noteAccount(w, &namespaces.Items[i])
	}
	sortWorld(w)
	return w, nil
}

// noteAccount takes down what applications of a namespace run as on clusters.
func noteAccount(w *fleet.World, namespace *corev1.Namespace) {
	account := fleet.DefaultAccount(namespace.Name, namespace.Annotations)
	if account == "" {
		return
	}
	if w.Accounts == nil {
		w.Accounts = map[string]string{}
	}
	w.Accounts[namespace.Name] = account
}

func sortWorld(w *fleet.World) {
	sortObjects(w.Clusters)
	sortObjects(w.ClusterSets)
	sortObjects(w.Bindings)
	sortObjects(w.Placements)
	sortObjects(w.Decisions)
	sortObjects(w.Scores)
	sortObjects(w.Applications)
	sortObjects(w.APISets)
	slices.SortFunc(w.Works, func(a, b fleet.LiveWork) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name))
	})
}

func sortObjects[T any, P interface {
	*T
	client.Object
}](list []T) {
	slices.SortFunc(list, func(a, b T) int {
		x, y := P(&a), P(&b)
		return cmp.Or(cmp.Compare(x.GetNamespace(), y.GetNamespace()), cmp.Compare(x.GetName(), y.GetName()))
	})
}
