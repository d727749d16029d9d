package application

import (
	"context"
	"slices"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/source"
	"github.com/muster-io/muster/internal/render"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Setup registers the controller. An application wakes for its own spec, for its placement and decisions, for its works, for
// the delivery of its repository, and for clusters that change in what a plan reads.
func (r *Applications) Setup(mgr ctrl.Manager) error {
	own := builder.WithPredicates(predicate.Or(
		predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, predicate.LabelChangedPredicate{}, stepApproved()))
	return ctrl.NewControllerManagedBy(mgr).
		Named("application").
		For(&musterv1alpha1.Application{}, own).
		WatchesRawSource(r.Works.Source(r.ofWork)).
		WatchesRawSource(r.Sources.Source(r.ofSource)).
		Watches(&clusterv1beta1.Placement{}, r.inNamespace(), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Watches(&clusterv1beta1.PlacementDecision{}, r.inNamespace(), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Watches(&corev1.Namespace{}, r.ofNamespace(), builder.WithPredicates(accountChanged())).
		Watches(&musterv1alpha1.FleetRepository{}, r.ofRepository(), builder.WithPredicates(delivered())).
		Watches(&clusterv1.ManagedCluster{}, r.ofCluster(), builder.WithPredicates(clusterFactsChanged())).
		Watches(&musterv1alpha1.ClusterValues{}, r.ofClusterValues(), builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Watches(&addonv1alpha1.ManagedClusterAddOn{}, handler.EnqueueRequestsFromMapFunc(r.ofAddOn), builder.WithPredicates(availabilityChanged)).
		Watches(&musterv1alpha1.Hold{}, r.ofHold(), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&musterv1alpha1.Application{}, r.ofSibling(), builder.WithPredicates(takesBack())).
		Watches(&musterv1alpha1.Application{}, r.ofLeader(), builder.WithPredicates(proves())).
		Watches(&musterv1alpha1.RolloutHistory{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(measured())).
		Watches(&musterv1alpha1.APISet{}, r.all(), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// stepApproved lets through the applications of which another step is approved: on a pull request, that is written into the status.
func stepApproved() predicate.Predicate {
	approvals := func(o client.Object) int {
		if app, ok := o.(*musterv1alpha1.Application); ok && app.Status.Rollout != nil {
			return len(app.Status.Rollout.Approvals)
		}
		return 0
	}
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return approvals(e.ObjectNew) > approvals(e.ObjectOld) },
	}
}

// ofWork wakes the application of a work, the one that has its former name, those that wait for an object on its cluster, and,
// when its objects may have changed, those that hold one of them too.
func (r *Applications) ofWork(e hub.WorkEvent) []reconcile.Request {
	lw, changed := e.Work(), e.PlanChanged()
	own := append(requestsOf(lw.Owner), r.states.takingOver(lw.Owner)...)
	if e.Before != nil && e.Before.Owner != lw.Owner {
		own = append(own, requestsOf(e.Before.Owner)...)
	}
	woken := append(r.states.noteReport(own, lw.Cluster, changed), r.states.dependents(lw.Owner)...)
	waiting := r.states.waitingOnObject(lw.Cluster)
	if !changed {
		return append(woken, r.states.noteReport(waiting, lw.Cluster, false)...)
	}
	if e.SpecChanged() {
		waiting = append(waiting, r.contenders(lw)...)
	}
	return append(woken, r.states.needPlan(waiting)...)
}

// ofSource wakes an application whose sources have changed.
func (r *Applications) ofSource(user source.User) []reconcile.Request {
	if user.Kind != "Application" {
		return nil
	}
	return r.states.needPlan([]reconcile.Request{{NamespacedName: user.NamespacedName}})
}

// inNamespace wakes the applications of the object's namespace that name the placement.
func (r *Applications) inNamespace() handler.EventHandler {
	return r.states.plans(func(ctx context.Context, o client.Object) []reconcile.Request {
		name := o.GetName()
		if p := o.GetLabels()[clusterv1beta1.PlacementLabel]; p != "" {
			name = p
		}
		return r.matching(ctx, func(a *musterv1alpha1.Application) bool { return slices.Contains(a.PlacementNames(), name) }, client.InNamespace(o.GetNamespace()))
	})
}

// ofNamespace wakes the applications of a namespace.
func (r *Applications) ofNamespace() handler.EventHandler {
	return r.states.plans(func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.matching(ctx, func(*musterv1alpha1.Application) bool { return true }, client.InNamespace(o.GetName()))
	})
}

// accountChanged lets through the namespaces whose applications run as another account now.
func accountChanged() predicate.Predicate {
	account := func(o client.Object) string {
		return o.GetAnnotations()[musterv1alpha1.DefaultServiceAccountAnnotation]
	}
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, // before its applications
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return account(e.ObjectOld) != account(e.ObjectNew) },
	}
}

func (r *Applications) ofRepository() handler.EventHandler {
	return r.states.plans(func(ctx context.Context, o client.Object) []reconcile.Request {
		key := client.ObjectKeyFromObject(o)
		return r.matching(ctx, func(a *musterv1alpha1.Application) bool {
			from, ok := hub.RepositoryOf(a)
			return ok && from == key
		})
	})
}

// ofCluster wakes the applications that were planned for a cluster, or have works there. The decision wakes an application
// whose placement begins to choose the cluster.
func (r *Applications) ofCluster() handler.EventHandler {
	return r.states.plans(func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.matching(ctx, func(a *musterv1alpha1.Application) bool {
			return r.states.plansFor(client.ObjectKeyFromObject(a), o.GetName()) || len(r.Works.On(o.GetName(), fleet.OwnerOf(a))) > 0
		})
	})
}

// ofClusterValues wakes the applications that read ClusterValues on a cluster which they match. Of a change, both versions come here.
func (r *Applications) ofClusterValues() handler.EventHandler {
	return r.states.plans(func(ctx context.Context, o client.Object) []reconcile.Request {
		values, ok := o.(*musterv1alpha1.ClusterValues)
		if !ok {
			return nil
		}
		var clusters clusterv1.ManagedClusterList
		if err := r.Client.List(ctx, &clusters, client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list clusters")
			return nil
		}
		var matching []string
		for i := range clusters.Items {
			if fleet.ValuesMatch(values, &clusters.Items[i]) {
				matching = append(matching, clusters.Items[i].Name)
			}
		}
		var options []client.ListOption
		if values.Namespace != fleet.SharedNamespace {
			options = append(options, client.InNamespace(values.Namespace))
		}
		return r.matching(ctx, func(a *musterv1alpha1.Application) bool {
			return render.ReadsClusterValues(a) && slices.ContainsFunc(matching, func(cluster string) bool {
				return r.states.plansFor(client.ObjectKeyFromObject(a), cluster)
			})
		}, options...)
	})
}

func (r *Applications) all() handler.EventHandler {
	return r.states.plans(func(ctx context.Context, _ client.Object) []reconcile.Request {
		return r.matching(ctx, func(*musterv1alpha1.Application) bool { return true })
	})
}

func (r *Applications) matching(ctx context.Context, match func(*musterv1alpha1.Application) bool, options ...client.ListOption) []reconcile.Request {
	var list musterv1alpha1.ApplicationList
	if err := r.Client.List(ctx, &list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list applications")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if match(&list.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{
				Namespace: list.Items[i].Namespace, Name: list.Items[i].Name,
			}})
		}
	}
	return requests
}

// delivered lets through the repositories whose delivered commit or plan changed.
func delivered() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*musterv1alpha1.FleetRepository)
			after, ok2 := e.ObjectNew.(*musterv1alpha1.FleetRepository)
			return ok1 && ok2 && (before.Status.Revision != after.Status.Revision || before.Status.Plan != after.Status.Plan)
		},
	}
}

// clusterFactsChanged lets through the clusters that changed in what a plan or a status reads; heartbeats do not.
func clusterFactsChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*clusterv1.ManagedCluster)
			after, ok2 := e.ObjectNew.(*clusterv1.ManagedCluster)
			if !ok1 || !ok2 {
				return true
			}
			return hub.ClusterChanged(before, after)
		},
	}
}
