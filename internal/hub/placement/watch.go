package placement

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/internal/placement"
)

// change is an object before and after an event; nil where it does not exist.
type change[T client.Object] struct {
	before, after T
	// known is true for an object of the initial list: every placement is scheduled after it in any case.
	known bool
}

// immediately enqueues a placement for a change that is not followed by many others.
func (r *Placements) immediately(p types.NamespacedName) (delay time.Duration) {
	r.debouncer.cancel(p)
	return 0
}

// debounced enqueues a placement for a change that others of its kind often follow.
func (r *Placements) debounced(p types.NamespacedName) (delay time.Duration) {
	r.debouncer.note(p, r.Now())
	return quietPeriod
}

// watch makes an event handler from a function that returns the placements that a change affects, and one that returns the delay
// until they are scheduled.
func watch[T client.Object](delay func(types.NamespacedName) time.Duration, affected func(context.Context, change[T]) []types.NamespacedName) handler.EventHandler {
	enqueue := func(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request], c change[T]) {
		for _, p := range affected(ctx, c) {
			q.AddAfter(reconcile.Request{NamespacedName: p}, delay(p))
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(ctx, q, change[T]{after: e.Object.(T), known: e.IsInInitialList})
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(ctx, q, change[T]{before: e.ObjectOld.(T), after: e.ObjectNew.(T)})
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(ctx, q, change[T]{before: e.Object.(T)})
		},
	}
}

// onPlacement schedules a placement when its spec, annotations or status changed or it was deleted, but not after our own write of
// its status.
func (r *Placements) onPlacement() handler.EventHandler {
	return watch(r.immediately, func(_ context.Context, c change[*clusterv1beta1.Placement]) []types.NamespacedName {
		if c.after == nil {
			return []types.NamespacedName{client.ObjectKeyFromObject(c.before)}
		}
		key := client.ObjectKeyFromObject(c.after)
		foreign := r.ledger.observe(key, "", revisionOf(c.after), false)
		asked := c.before == nil || c.before.Generation != c.after.Generation || c.before.UID != c.after.UID ||
			!reflect.DeepEqual(c.before.Annotations, c.after.Annotations)
		if foreign || asked {
			return []types.NamespacedName{key}
		}
		return nil
	})
}

// onPage schedules the placement of a page that somebody else changed or deleted, and the placement that waited for the cache to
// show our last write.
func (r *Placements) onPage() handler.EventHandler {
	history := r.facts.decisions()
	return watch(r.immediately, func(_ context.Context, c change[*clusterv1beta1.PlacementDecision]) []types.NamespacedName {
		page := c.after
		if gone := page == nil; gone {
			page = c.before
			history.Forget(page.Namespace, page.Name)
		} else {
			history.Set(page)
		}
		owner := placementOf(page)
		var list []types.NamespacedName
		if r.ledger.observe(owner, page.Name, revisionOf(page), c.after == nil) {
			list = append(list, owner)
		}
		if c.before != nil && c.after != nil && placementOf(c.before) != owner { // somebody moved the label
			list = append(list, placementOf(c.before))
		}
		return list
	})
}

func placementOf(page *clusterv1beta1.PlacementDecision) types.NamespacedName {
	return types.NamespacedName{Namespace: page.Namespace, Name: page.Labels[clusterv1beta1.PlacementLabel]}
}

// onCluster schedules the placements in the namespaces that are bound to a set which holds or held the cluster, if they read what
// has changed.
func (r *Placements) onCluster() handler.EventHandler {
	return watch(r.debounced, func(ctx context.Context, c change[*clusterv1.ManagedCluster]) []types.NamespacedName {
		if c.before != nil && c.after != nil && c.before.ResourceVersion == c.after.ResourceVersion {
			return nil
		}
		r.facts.changed()
		if c.known {
			return nil
		}
		was, is := r.setsOf(ctx, c.before), r.setsOf(ctx, c.after)
		return r.placements(ctx, slices.Concat(was, is), func(p *clusterv1beta1.Placement, bound []string) bool {
			before, after := eligible(p, bound, was), eligible(p, bound, is)
			if before == "" || after == "" {
				return before != after
			}
			of := r.interestOf(p)
			return of.InSet(before, after) || of.InCluster(c.before, c.after)
		})
	})
}

// onSet schedules the placements in the namespaces that are bound to a set whose selector changed.
func (r *Placements) onSet() handler.EventHandler {
	return watch(r.immediately, func(ctx context.Context, c change[*clusterv1beta2.ManagedClusterSet]) []types.NamespacedName {
		name := ""
		switch {
		case c.before == nil:
			name = c.after.Name
		case c.after == nil || !reflect.DeepEqual(c.before.Spec, c.after.Spec):
			name = c.before.Name
		default:
			return nil
		}
		r.facts.changed()
		if c.known {
			return nil
		}
		return r.placements(ctx, []string{name}, nil)
	})
}

// onBinding schedules the placements in the namespace of a binding that was created or deleted.
func (r *Placements) onBinding() handler.EventHandler {
	return watch(r.immediately, func(ctx context.Context, c change[*clusterv1beta2.ManagedClusterSetBinding]) []types.NamespacedName {
		if c.before != nil && c.after != nil {
			return nil // the name is the set, and the Bound condition is not read
		}
		namespace := ""
		if c.after != nil {
			namespace = c.after.Namespace
		} else {
			namespace = c.before.Namespace
		}
		r.facts.changed()
		if c.known {
			return nil
		}
		return r.placementsIn(ctx, namespace, nil)
	})
}

// onScore schedules the placements that can choose the cluster and read the score.
func (r *Placements) onScore() handler.EventHandler {
	empty := &clusterv1alpha1.AddOnPlacementScore{}
	return watch(r.debounced, func(ctx context.Context, c change[*clusterv1alpha1.AddOnPlacementScore]) []types.NamespacedName {
		before, after, known := c.before, c.after, c.after
		if before == nil {
			before = empty
		}
		if after == nil {
			after, known = empty, c.before
		}
		r.facts.changed()
		if c.known {
			return nil
		}
		var cluster clusterv1.ManagedCluster
		if err := r.facts.reader.Get(ctx, types.NamespacedName{Name: known.Namespace}, &cluster); err != nil {
			return nil // its cluster does not exist
		}
		sets := r.setsOf(ctx, &cluster)
		return r.placements(ctx, sets, func(p *clusterv1beta1.Placement, bound []string) bool {
			return eligible(p, bound, sets) != "" && r.interestOf(p).InScore(known.Name, before, after)
		})
	})
}

// setsOf are the names of the sets that a cluster is in, sorted.
func (r *Placements) setsOf(ctx context.Context, cluster *clusterv1.ManagedCluster) []string {
	if cluster == nil {
		return nil
	}
	var sets clusterv1beta2.ManagedClusterSetList
	if err := r.facts.reader.List(ctx, &sets, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "list the cluster sets of a changed cluster", "cluster", cluster.Name)
		return nil
	}
	var names []string
	for i := range sets.Items {
		if in, err := placement.InSet(&sets.Items[i], cluster); in && err == nil {
			names = append(names, sets.Items[i].Name)
		}
	}
	slices.Sort(names)
	return names
}

// placements are those in the namespaces that are bound to one of the sets and for which the test is true. The test gets the bound
// sets. The default test is whether one of the sets is eligible.
func (r *Placements) placements(ctx context.Context, sets []string, test func(p *clusterv1beta1.Placement, bound []string) bool) []types.NamespacedName {
	if len(sets) == 0 {
		return nil
	}
	var bindings clusterv1beta2.ManagedClusterSetBindingList
	if err := r.facts.reader.List(ctx, &bindings, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "list the bindings of changed cluster sets", "sets", sets)
		return nil
	}
	bound := map[string][]string{} // namespace -> sets
	for i := range bindings.Items {
		if b := &bindings.Items[i]; slices.Contains(sets, b.Name) {
			bound[b.Namespace] = append(bound[b.Namespace], b.Name)
		}
	}
	if test == nil {
		test = func(p *clusterv1beta1.Placement, bound []string) bool { return eligible(p, bound, sets) != "" }
	}
	var list []types.NamespacedName
	for _, namespace := range slices.Sorted(maps.Keys(bound)) {
		list = append(list, r.placementsIn(ctx, namespace, func(p *clusterv1beta1.Placement) bool { return test(p, bound[namespace]) })...)
	}
	return list
}

// eligible is the first of a cluster's sets that is bound, and named by the placement if it names any; "" when none is.
func eligible(p *clusterv1beta1.Placement, bound, sets []string) string {
	i := slices.IndexFunc(sets, func(set string) bool {
		return slices.Contains(bound, set) && (len(p.Spec.ClusterSets) == 0 || slices.Contains(p.Spec.ClusterSets, set))
	})
	if i < 0 {
		return ""
	}
	return sets[i]
}

// interest is what a placement reads, at one of its generations.
type interest struct {
	uid        types.UID
	generation int64
	placement.Interest
}

// interestOf computes what a placement reads once for each generation: many changes at a time ask for it often.
func (r *Placements) interestOf(p *clusterv1beta1.Placement) placement.Interest {
	key := client.ObjectKeyFromObject(p)
	if known, ok := r.interests.Load(key); ok {
		if i := known.(*interest); i.uid == p.UID && i.generation == p.Generation {
			return i.Interest
		}
	}
	i := &interest{p.UID, p.Generation, placement.InterestOf(p)}
	r.interests.Store(key, i)
	return i.Interest
}

func (r *Placements) placementsIn(ctx context.Context, namespace string, test func(*clusterv1beta1.Placement) bool) []types.NamespacedName {
	var placements clusterv1beta1.PlacementList
	if err := r.facts.reader.List(ctx, &placements, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "list the placements of a namespace", "namespace", namespace)
		return nil
	}
	var list []types.NamespacedName
	for i := range placements.Items {
		if test == nil || test(&placements.Items[i]) {
			list = append(list, client.ObjectKeyFromObject(&placements.Items[i]))
		}
	}
	return list
}
