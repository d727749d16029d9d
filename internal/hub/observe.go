package hub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Observe reads the world from an API server. Its lists are sorted.
func Observe(ctx context.Context, reader client.Reader, now time.Time) (*fleet.World, error) {
	works, err := ListWorks(ctx, reader)
	if err != nil {
		return nil, fmt.Errorf("observe the fleet: %w", err)
	}
	return observe(ctx, reader, works, now)
}

// Observe reads the world from a cache of an API server, with which it shares memory: it must not be changed. Its lists are
// sorted.
func (w *Works) Observe(ctx context.Context, cache client.Reader, now time.Time) (*fleet.World, error) {
	return observe(ctx, cache, w.sorted(), now)
}

func observe(ctx context.Context, reader client.Reader, works []fleet.LiveWork, now time.Time) (*fleet.World, error) {
	w := &fleet.World{Time: now, Works: works}
	var (
		clusters     clusterv1.ManagedClusterList
		sets         clusterv1beta2.ManagedClusterSetList
		bindings     clusterv1beta2.ManagedClusterSetBindingList
		placements   clusterv1beta1.PlacementList
		decisions    clusterv1beta1.PlacementDecisionList
		scores       clusterv1alpha1.AddOnPlacementScoreList
		applications musterv1alpha1.ApplicationList
		apis         musterv1alpha1.APISetList
		values       musterv1alpha1.ClusterValuesList
		namespaces   corev1.NamespaceList
	)
	for _, list := range []client.ObjectList{
		&clusters, &sets, &bindings, &placements, &decisions, &scores, &applications, &apis, &values, &namespaces,
	} {
		if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("observe the fleet: %w", err)
		}
	}
	var holds musterv1alpha1.HoldList
	// Who may not see holds, or has a hub that knows none, plans without them.
	if err := reader.List(ctx, &holds, client.UnsafeDisableDeepCopy); err != nil && !apierrors.IsForbidden(err) && !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("observe the fleet: %w", err)
	}
	w.Clusters, w.ClusterSets, w.Bindings = clusters.Items, sets.Items, bindings.Items
	w.Placements, w.Decisions, w.Scores = placements.Items, decisions.Items, scores.Items
	w.Applications, w.APISets, w.ClusterValues, w.Holds = applications.Items, apis.Items, values.Items, holds.Items
	for i := range namespaces.Items {
		noteAccount(w, &namespaces.Items[i])
	}
	sortWorld(w)
	return w, nil
}

// ObserveApplication reads the part of the world that one application is planned in: its placement's, its own works, and
// every cluster. What it returns shares memory with the cache and must not be changed.
func (w *Works) ObserveApplication(ctx context.Context, cache client.Reader, app *musterv1alpha1.Application, now time.Time) (*fleet.World, error) {
	world := &fleet.World{Time: now, Applications: []musterv1alpha1.Application{*app}, Works: w.Of(fleet.OwnerOf(app))}
	var (
		clusters   clusterv1.ManagedClusterList
		sets       clusterv1beta2.ManagedClusterSetList
		bindings   clusterv1beta2.ManagedClusterSetBindingList
		placements clusterv1beta1.PlacementList
		decisions  clusterv1beta1.PlacementDecisionList
		apis       musterv1alpha1.APISetList
		values     musterv1alpha1.ClusterValuesList
	)
	local := client.InNamespace(app.Namespace)
	for _, read := range []struct {
		list    client.ObjectList
		options []client.ListOption
	}{
		{&clusters, nil},
		{&sets, nil},
		{&bindings, []client.ListOption{local}},
		{&placements, []client.ListOption{local}},
		{&decisions, []client.ListOption{local}},
		{&apis, nil},
		{&values, nil},
	} {
		if err := cache.List(ctx, read.list, append(read.options, client.UnsafeDisableDeepCopy)...); err != nil {
			return nil, fmt.Errorf("observe application %s/%s: %w", app.Namespace, app.Name, err)
		}
	}
	var namespace corev1.Namespace
	if err := cache.Get(ctx, client.ObjectKey{Name: app.Namespace}, &namespace); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("observe application %s/%s: %w", app.Namespace, app.Name, err)
	}
	noteAccount(world, &namespace)
	world.Clusters, world.ClusterSets, world.Bindings = clusters.Items, sets.Items, bindings.Items
	world.Placements, world.Decisions, world.APISets = placements.Items, decisions.Items, apis.Items
	world.ClusterValues = slices.DeleteFunc(values.Items, func(o musterv1alpha1.ClusterValues) bool {
		return o.Namespace != fleet.SharedNamespace && o.Namespace != app.Namespace
	})
	sortWorld(world)
	return world, nil
}

// noteAccount notes the account that the applications of a namespace run as on clusters.
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
	sortObjects(w.ClusterValues)
	sortObjects(w.Holds)
	byPlace := func(i, j int) bool {
		x, y := &w.Works[i], &w.Works[j]
		return cmp.Or(cmp.Compare(x.Cluster, y.Cluster), cmp.Compare(x.Name, y.Name)) < 0
	}
	if !sort.SliceIsSorted(w.Works, byPlace) {
		sort.Slice(w.Works, byPlace)
	}
}

func sortObjects[T any, P interface {
	*T
	client.Object
}](list []T) {
	sort.Slice(list, func(i, j int) bool { // by index: slices.SortFunc would copy two objects for each comparison
		x, y := P(&list[i]), P(&list[j])
		return cmp.Or(cmp.Compare(x.GetNamespace(), y.GetNamespace()), cmp.Compare(x.GetName(), y.GetName())) < 0
	})
}
