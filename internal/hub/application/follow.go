package application

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/rollout"
)

// following decides which revision an application gets that follows others; nil when it follows none, or its repository says nothing
// yet.
func (r *Applications) following(ctx context.Context, app *musterv1alpha1.Application) (*rollout.Following, error) {
	f := app.Spec.Follows
	if f == nil {
		return nil, nil
	}
	key, ok := hub.RepositoryOf(app)
	if !ok {
		return nil, nil
	}
	var repo musterv1alpha1.FleetRepository
	if err := r.Client.Get(ctx, key, &repo); err != nil || repo.Status.Revision == "" {
		return nil, client.IgnoreNotFound(err)
	}
	var list musterv1alpha1.ApplicationList
	if err := r.Client.List(ctx, &list, client.InNamespace(app.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the applications that it follows: %w", err)
	}
	var leaders []rollout.Leader
	for i := range list.Items {
		a := &list.Items[i]
		if a.Name == app.Name || !rollout.Leads(f, a) {
			continue
		}
		leader := rollout.Leader{Application: a}
		var history musterv1alpha1.RolloutHistory
		if err := r.Client.Get(ctx, client.ObjectKeyFromObject(a), &history); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read what %s/%s has proved: %w", a.Namespace, a.Name, err)
		}
		if len(history.Revisions) > 0 && history.Revisions[0].Plan == a.Status.LastGoodPlan {
			leader.GoodAt = history.Revisions[0].At.Time
		}
		leaders = append(leaders, leader)
	}
	had := app.Status.Revision
	if app.Status.Follows != nil {
		had = app.Status.Follows.Revision
	}
	out := rollout.Follow(f, leaders, repo.Status.Revision, had, r.Now())
	return &out, nil
}

// sameFollowing is true when nothing else is to be planned.
func sameFollowing(before, now *rollout.Following) bool {
	if before == nil || now == nil {
		return before == now
	}
	return before.Revision == now.Revision
}

// recordFollowed records a proved revision before it is planned: what those that are followed do next does not take it away. It is false
// when the cache is stale.
func (r *Applications) recordFollowed(ctx context.Context, app *musterv1alpha1.Application, out *report) (bool, error) {
	f := out.following
	if f == nil || f.Revision == "" || app.Status.Follows != nil && app.Status.Follows.Revision == f.Revision {
		return true, nil
	}
	return r.record(ctx, app, out, func(status *musterv1alpha1.ApplicationStatus) {
		status.Follows = &musterv1alpha1.FollowsStatus{Revision: f.Revision}
	})
}

// followsOf is what an application waits for that follows others.
func followsOf(app *musterv1alpha1.Application, out *report) *musterv1alpha1.FollowsStatus {
	f := out.following
	if f == nil || app.Spec.Follows == nil {
		return nil
	}
	status := &musterv1alpha1.FollowsStatus{Revision: f.Revision}
	if f.Message != "" {
		status.Waiting, status.Message = out.delivered, "waits for those that it follows: "+f.Message
	}
	return status
}

// ofLeader wakes the applications that follow one.
func (r *Applications) ofLeader() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		leader, ok := o.(*musterv1alpha1.Application)
		if !ok {
			return nil
		}
		return r.matching(ctx, func(a *musterv1alpha1.Application) bool {
			return a.Spec.Follows != nil && a.Name != leader.Name && rollout.Leads(a.Spec.Follows, leader)
		}, client.InNamespace(leader.Namespace))
	})
}

// proves lets through the applications that have proved something, or do not any more.
func proves() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*musterv1alpha1.Application)
			after, ok2 := e.ObjectNew.(*musterv1alpha1.Application)
			if !ok1 || !ok2 {
				return false
			}
			was, is := &before.Status, &after.Status
			return was.Revision != is.Revision || was.Plan != is.Plan || was.LastGoodPlan != is.LastGoodPlan || (was.Rollout == nil) != (is.Rollout == nil) ||
				(was.RolledBack == nil) != (is.RolledBack == nil) || before.Labels[musterv1alpha1.EnvironmentLabel] != after.Labels[musterv1alpha1.EnvironmentLabel]
		},
	}
}
