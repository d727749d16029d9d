package application

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
)

// returnWith returns an application with another one of its repository that has taken the same commit back, where the repository asks for
// that. It is false when there is nothing to return.
//
//	the commit changes nothing of the application             it stays
//	it is on its way with it                                  back to its last good revision
//	it was good with it already                               back to the good revision before that
//	a person pins it, or it has itself failed                 it stays as it is
func (r *Applications) returnWith(ctx context.Context, app *musterv1alpha1.Application, out *report) (bool, error) {
	if app.Status.RolledBack != nil || out.pin != nil || out.returning {
		return false, nil
	}
	failed, err := r.failures(ctx, app)
	if err != nil || len(failed) == 0 {
		return false, err
	}
	history, err := hub.RolloutHistory(ctx, r.Reader, app)
	if err != nil {
		return false, err
	}
	for _, f := range failed {
		commit := f.Status.RolledBack.Revision
		good := slices.DeleteFunc(slices.Clone(history.Revisions), func(g musterv1alpha1.GoodRevision) bool { return g.Revision == commit })
		wasGood := len(history.Revisions) > 0 && history.Revisions[0].Revision == commit
		onItsWay := out.origin == commit && len(good) > 0 && good[0].Plan != out.planned.Digest
		switch {
		case !wasGood && !onItsWay:
			continue
		case len(good) == 0:
			out.noReturn = "no revision was good before"
			return false, nil
		}
		with := f.Namespace + "/" + f.Name
		return r.returnTo(ctx, app, out, good[0], musterv1alpha1.RolledBack{
			Revision: commit, With: with, Message: fmt.Sprintf("it returns with %s: %s", with, f.Status.RolledBack.Message),
		})
	}
	return false, nil
}

// failures are the applications that have failed themselves of those that have to return together, each with a commit of its own.
func (r *Applications) failures(ctx context.Context, app *musterv1alpha1.Application) ([]*musterv1alpha1.Application, error) {
	key, ok := hub.RepositoryOf(app)
	if !ok {
		return nil, nil
	}
	var repo musterv1alpha1.FleetRepository
	if err := r.Client.Get(ctx, key, &repo); err != nil || !repo.Spec.Rollout.Atomic {
		return nil, client.IgnoreNotFound(err)
	}
	var list musterv1alpha1.ApplicationList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the applications of repository %s: %w", key, err)
	}
	var failed []*musterv1alpha1.Application
	for i := range list.Items {
		a := &list.Items[i]
		if of, ok := hub.RepositoryOf(a); ok && of == key && a.UID != app.UID && a.Status.RolledBack != nil && a.Status.RolledBack.With == "" {
			failed = append(failed, a)
		}
	}
	return failed, nil
}

// refusedWith is the refusal of an application that has returned with another one: it stands as long as that one refuses anything.
func (r *Applications) refusedWith(ctx context.Context, app *musterv1alpha1.Application, delivered *report) (*musterv1alpha1.RolledBack, error) {
	was := app.Status.RolledBack
	namespace, name, _ := strings.Cut(was.With, "/")
	var with musterv1alpha1.Application
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &with)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read application %s, with which it returns: %w", was.With, err)
	case with.Status.RolledBack == nil:
		return nil, nil
	}
	now := *was
	now.Refused = delivered.revision
	return &now, nil
}

// ofSibling wakes the applications of a repository when one of them takes a commit back, or does not refuse it any more.
func (r *Applications) ofSibling() handler.EventHandler {
	return r.states.plans(func(ctx context.Context, o client.Object) []reconcile.Request {
		key, ok := hub.RepositoryOf(o)
		if !ok {
			return nil
		}
		var repo musterv1alpha1.FleetRepository
		if err := r.Client.Get(ctx, key, &repo); err != nil || !repo.Spec.Rollout.Atomic {
			return nil
		}
		return r.matching(ctx, func(a *musterv1alpha1.Application) bool {
			of, ok := hub.RepositoryOf(a)
			return ok && of == key && a.UID != o.GetUID()
		})
	})
}

// takesBack lets through the applications that begin or end to refuse a commit.
func takesBack() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*musterv1alpha1.Application)
			after, ok2 := e.ObjectNew.(*musterv1alpha1.Application)
			return ok1 && ok2 && (before.Status.RolledBack == nil) != (after.Status.RolledBack == nil)
		},
	}
}
