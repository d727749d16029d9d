// Package application keeps the ManifestWorks of each Application equal to what its delivered commit asks for.
//
// It observes the application's placement, its works and its clusters, plans with the function that a pull request is shown
// with, lets the rollout decide what may be done now, does it, and folds what the clusters report into the status.
package application

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/source"
	"github.com/muster-io/muster/internal/hub/works"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/tracing"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Applications reconciles Applications.
type Applications struct {
	// Client reads from the hub's cache, which holds no works, and writes.
	Client client.Client
	// Works is the index of live works.
	Works *hub.Works
	// Reader reads past the cache.
	Reader client.Reader
	// Deliveries and Planner are shared with the repository controller.
	Deliveries *hub.Deliveries
	Planner    *plan.Planner
	// Sources fetches what applications take from elsewhere. Nil fetches nothing.
	Sources *source.Sources
	// ManifestLimit is how many bytes one manifest may have.
	ManifestLimit int
	// Precedence is told when a commit is planned; nil is none.
	Precedence *hub.Precedence
	// Presence says whether the hub hears its clusters; nil is always.
	Presence *hub.Presence
	// HubCluster is the name of the cluster that is the hub itself, if it is managed.
	HubCluster string
	// StatusInterval is the least time between two status writes of one application.
	StatusInterval time.Duration
	// Writers bounds the writes that run side by side.
	Writers int
	// Traces are told of plans and writes; nil is nobody.
	Traces *tracing.Tracer
	// Now is the clock.
	Now func() time.Time

	states states
}

// Reconcile keeps the works of one application equal to what its revision asks for.
func (r *Applications) Reconcile(ctx context.Context, app *musterv1alpha1.Application) (reconcile.Result, error) {
	if app.DeletionTimestamp.IsZero() {
		if err := r.setFinalizer(ctx, app, controllerutil.AddFinalizer); err != nil {
			return reconcile.Result{}, err
		}
	}
	app.Default()
	if !app.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, app)
	}
	out, err := r.sync(ctx, app)
	if wait := r.decisionGrace(client.ObjectKeyFromObject(app), out); wait > 0 && err == nil {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	if err == nil && out.unseen {
		return reconcile.Result{RequeueAfter: 100 * time.Millisecond}, nil
	}
	again, perr := r.publish(ctx, app, statusOf(app, out, err))
	// Write the status first: it forgets the removals that the approval covers, and the next reconciliation knows of no approval.
	if err == nil && perr == nil && again == 0 && approvalConsumed(app, out) {
		perr = hub.WithdrawApproval(ctx, r.Client, app)
	}
	return resultOf(out, r.Now(), again, errors.Join(err, perr))
}

// sync plans the application unless its last plan still holds, makes a step, and plans again when the application returns to a good revision.
func (r *Applications) sync(ctx context.Context, app *musterv1alpha1.Application) (*report, error) {
	st, reported := r.states.begin(client.ObjectKeyFromObject(app))
	out, err := r.planOrRefresh(ctx, app, st, reported)
	if err != nil || out.planned == nil {
		return out, err
	}
	if recorded, err := r.recordFollowed(ctx, app, out); err != nil || !recorded {
		return out, err
	}
	if err := r.step(ctx, app, out); err != nil || out.staleCache || out.unseen {
		return out, err
	}
	if returns, err := r.returnOrRecordGood(ctx, app, out); err != nil || !returns {
		return out, err
	}
	r.states.keep(st, nil)
	return r.sync(ctx, app) // the good revision is planned now
}

// planOrRefresh brings the last report up to date, or plans anew where that is not enough.
func (r *Applications) planOrRefresh(ctx context.Context, app *musterv1alpha1.Application, st *state, reported map[string]bool) (*report, error) {
	holds, err := r.holds(ctx, app)
	if err != nil {
		return &report{}, err
	}
	following, err := r.following(ctx, app)
	if err != nil {
		return &report{}, err
	}
	out := st.report
	if !out.isCurrent(app, holds.Pin, following) || !r.refresh(out, reported) {
		r.states.keep(st, nil)
		if out, err = r.plan(ctx, app, holds.Pin, following); err != nil || out.planned == nil {
			return out, err
		}
		r.states.keep(st, out)
	}
	out.noReturn, out.good, out.input.Holds, out.following = "", false, holds, following
	return out, nil
}

// returnOrRecordGood is true when the clusters return to a good revision: their rollout has failed, or that of another application that
// returns together with this one. Otherwise it records the revision once it is good.
func (r *Applications) returnOrRecordGood(ctx context.Context, app *musterv1alpha1.Application, out *report) (bool, error) {
	if out.step.Return {
		return r.rollBack(ctx, app, out)
	}
	if err := r.recordGood(ctx, app, out); err != nil {
		return false, err
	}
	return r.returnWith(ctx, app, out)
}

// isCurrent is true while the plan of a report holds: nothing that it was made of has changed. A nil report has no plan.
func (o *report) isCurrent(app *musterv1alpha1.Application, pin *musterv1alpha1.Hold, following *rollout.Following) bool {
	return o != nil && sameFollowing(o.following, following) && sameInputs(o.app, app) && samePin(o.pin, pin) && !o.waitsForPlan()
}

// waitsForPlan is true when something may be settled once the repository has planned the commit: nothing wakes the application
// when the plan comes and is the same as before.
func (o *report) waitsForPlan() bool {
	return o.planMissing && len(o.step.Held)+len(o.planned.Faults) > 0
}

// gracePeriod is how long decisions may be incomplete before the status says so.
const gracePeriod = 10 * time.Second

// decisionGrace is how long the status of an application stays as it is although its decisions are incomplete: they are for a
// moment whenever a placement changes, and nothing is lost meanwhile.
func (r *Applications) decisionGrace(app types.NamespacedName, out *report) time.Duration {
	st := r.states.get(app)
	if out.planned == nil || !slices.ContainsFunc(out.planned.Faults, func(f fleet.Fault) bool { return f.Reason == fleet.DecisionsIncomplete }) {
		st.incompleteSince = time.Time{}
		return 0
	}
	if st.incompleteSince.IsZero() {
		st.incompleteSince = r.Now()
	}
	return st.incompleteSince.Add(gracePeriod).Sub(r.Now())
}

// setFinalizer adds or removes our finalizer by a patch of nothing else: the spec is Git's.
func (r *Applications) setFinalizer(ctx context.Context, app *musterv1alpha1.Application, set func(client.Object, string) bool) error {
	was := app.DeepCopy()
	if !set(app, musterv1alpha1.ApplicationFinalizer) {
		return nil
	}
	return r.Client.Patch(ctx, app, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{}))
}

// publish writes the status if it has changed, at most once an interval. It says when to try again.
func (r *Applications) publish(ctx context.Context, app *musterv1alpha1.Application, status musterv1alpha1.ApplicationStatus) (time.Duration, error) {
	st := r.states.get(client.ObjectKeyFromObject(app))
	last := st.published
	stale := last.isNewerThan(app)
	if !stale && last.resourceVersion != "" { // the cache has it now
		st.published = published{writtenAt: last.writtenAt}
	}
	is := &app.Status
	if stale {
		is = &last.status
	}
	if equality.Semantic.DeepEqual(*is, status) {
		return 0, nil
	}
	if stale { // nothing wakes the application when the cache is fresh again
		return max(r.StatusInterval, 100*time.Millisecond), nil
	}
	if wait := last.writtenAt.Add(r.StatusInterval).Sub(r.Now()); wait > 0 {
		return wait, nil
	}
	app.Status = status
	err := r.Client.Status().Update(ctx, app)
	if apierrors.IsConflict(err) {
		return max(r.StatusInterval, 100*time.Millisecond), nil // the cache is stale
	}
	if err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	st.published = published{writtenAt: r.Now(), uid: app.UID, resourceVersion: app.ResourceVersion, status: app.Status}
	return 0, nil
}

// resultOf says when to look again: changes are watched, so only a status that waits, a refusal and the time need a clock.
func resultOf(out *report, now time.Time, again time.Duration, err error) (reconcile.Result, error) {
	switch {
	case err != nil:
		return ctrl.Result{}, err
	case out.staleCache:
		again = 100 * time.Millisecond
	case again > 0:
	case out.planned != nil && (out.waitsForPlan() || out.waitsForDependency()): // nothing wakes it when another plan is made
		again = 2 * time.Second
	case out.waiting != "" || len(out.refused) > 0:
		again = 15 * time.Second
	case !out.step.NextLook.IsZero():
		again = max(out.step.NextLook.Sub(now), time.Second)
	}
	if f := out.following; f != nil && !f.At.IsZero() && err == nil {
		if wait := max(f.At.Sub(now), time.Second); again == 0 || wait < again {
			again = wait
		}
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// dependentsOf says, of the clusters of an application that is deleted, what has to go from there first. Objects that are left there wait for
// nobody.
func (r *Applications) dependentsOf(ctx context.Context, app *musterv1alpha1.Application, live []fleet.LiveWork) (map[string]string, error) {
	if app.Spec.Deletion.Application == musterv1alpha1.DeletionOrphan {
		return nil, nil
	}
	clusters := map[string]bool{}
	for _, lw := range live {
		clusters[lw.Cluster] = true
	}
	return r.dependentsPending(ctx, app, "", slices.Collect(maps.Keys(clusters)))
}

// finalize removes the works as the deletion policy says, and lets the application go when none is left.
func (r *Applications) finalize(ctx context.Context, app *musterv1alpha1.Application) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(app, musterv1alpha1.ApplicationFinalizer) {
		return reconcile.Result{}, nil
	}
	owner := fleet.OwnerOf(app)
	writer := works.Writer{Client: r.Client, Reader: r.Reader}
	holds, err := r.holds(ctx, app)
	if err != nil {
		return reconcile.Result{}, err
	}
	live := r.Works.Of(owner)
	waits, err := r.dependentsOf(ctx, app, live)
	if err != nil {
		return reconcile.Result{}, err
	}
	held := func(lw fleet.LiveWork) bool { return holds.On(lw.Cluster) != nil }
	free := slices.DeleteFunc(slices.Clone(live), func(lw fleet.LiveWork) bool { return held(lw) || waits[lw.Cluster] != "" })
	left, err := writer.Finalize(ctx, owner, free, app.Spec.Deletion.Application)
	if err != nil {
		return reconcile.Result{}, err
	}
	for _, lw := range live {
		if held(lw) {
			left.OnHold++
		} else if left.WaitsFor == "" {
			left.WaitsFor = cmp.Or(waits[lw.Cluster], removalWaits([]fleet.LiveWork{lw}))
		}
	}
	left.Works = max(left.Works, len(live))
	if left.Works > 0 {
		again, err := r.publish(ctx, app, removing(app, left))
		return reconcile.Result{RequeueAfter: max(again, time.Second)}, err // a work that is gone wakes us sooner
	}
	r.states.forget(client.ObjectKeyFromObject(app))
	r.Sources.Use(sourceUser(app), nil)
	return reconcile.Result{}, r.setFinalizer(ctx, app, controllerutil.RemoveFinalizer)
}
