package hub

import (
	"context"
	"fmt"
	"strings"
	"time"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Indexes of the cached works.
const (
	// ApplicationIndex finds works by namespace/name of their application.
	ApplicationIndex = "muster.application"
	// ObjectIndex finds works by the identity of an object in them.
	ObjectIndex = "muster.object"
)

// ObjectIndexKey is the key of an object in ObjectIndex.
func ObjectIndexKey(o fleet.ObjectKey) string {
	return strings.Join([]string{o.Group, o.Kind, o.Namespace, o.Name}, "/")
}

// Index sets the indexes up.
func Index(ctx context.Context, mgr ctrl.Manager) error {
	indexer := mgr.GetFieldIndexer()
	err := indexer.IndexField(ctx, &workv1.ManifestWork{}, ApplicationIndex, func(o client.Object) []string {
		if owner := LiveWork(o.(*workv1.ManifestWork)).Owner; owner.IsApplication() {
			return []string{owner.String()}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index works by application: %w", err)
	}
	err = indexer.IndexField(ctx, &workv1.ManifestWork{}, ObjectIndex, func(o client.Object) []string {
		var keys []string
		for _, object := range LiveWork(o.(*workv1.ManifestWork)).Objects {
			keys = append(keys, ObjectIndexKey(object))
		}
		return keys
	})
	if err != nil {
		return fmt.Errorf("index works by object: %w", err)
	}
	return nil
}

// WorksOf are the live works of one application, or those of them that the options leave.
func WorksOf(ctx context.Context, reader client.Reader, app *musterv1alpha1.Application, options ...client.ListOption) ([]fleet.LiveWork, error) {
	var list workv1.ManifestWorkList
	key := app.Namespace + "/" + app.Name
	options = append(options, client.MatchingFields{ApplicationIndex: key}, client.UnsafeDisableDeepCopy)
	if err := reader.List(ctx, &list, options...); err != nil {
		return nil, fmt.Errorf("list the works of %s: %w", key, err)
	}
	works := make([]fleet.LiveWork, 0, len(list.Items))
	for i := range list.Items {
		works = append(works, LiveWork(&list.Items[i]))
	}
	return works, nil
}

// ObserveApplication reads the part of the world that one application is planned in: its placement's, its own works, and
// every cluster. What it gives shares memory with the cache and must not be changed.
func ObserveApplication(ctx context.Context, reader client.Reader, app *musterv1alpha1.Application, now time.Time) (*fleet.World, error) {
	w := &fleet.World{Time: now, Applications: []musterv1alpha1.Application{*app}}
	var (
		clusters   clusterv1.ManagedClusterList
		sets       clusterv1beta2.ManagedClusterSetList
		bindings   clusterv1beta2.ManagedClusterSetBindingList
		placements clusterv1beta1.PlacementList
		decisions  clusterv1beta1.PlacementDecisionList
		apis       musterv1alpha1.APISetList
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
	} {
		if err := reader.List(ctx, read.list, append(read.options, client.UnsafeDisableDeepCopy)...); err != nil {
			return nil, fmt.Errorf("observe application %s/%s: %w", app.Namespace, app.Name, err)
		}
	}
	var namespace corev1.Namespace
	if err := reader.Get(ctx, client.ObjectKey{Name: app.Namespace}, &namespace); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("observe application %s/%s: %w", app.Namespace, app.Name, err)
	}
	noteAccount(w, &namespace)
	w.Clusters, w.ClusterSets, w.Bindings = clusters.Items, sets.Items, bindings.Items
	w.Placements, w.Decisions, w.APISets = placements.Items, decisions.Items, apis.Items
	var err error
	if w.Works, err = WorksOf(ctx, reader, app); err != nil {
		return nil, err
	}
	sortWorld(w)
	return w, nil
}
