// Package application keeps the ManifestWorks of each Application equal to what its delivered commit asks for.
//
// It observes the application's placement, its works and its clusters, plans with the function that a pull request is shown
// with, lets the rollout decide what may be done now, does it, and folds what the clusters report into the status.
package application

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
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
	// HubCluster is the name of the cluster that is the hub itself, if it is managed.
	HubCluster string
	// StatusInterval is the least time between two status writes of one application.
	StatusInterval time.Duration
	// Writers bounds the writes that run side by side.
	Writers int
	// Now is the clock.
	Now func() time.Time

	concerns  concerns
	blocked   blocked
	renamed   renamed
	followed  followed
	mu        sync.Mutex
	published map[types.NamespacedName]published
	undecided map[types.NamespacedName]time.Time // since when decisions are incomplete
}

// report is how far a reconciliation came.
type report struct {
	revision string
	// waiting says, when nothing was planned, what for; the works stay as they are.
	waiting  string
	planned  *plan.Application
	world    *fleet.World
	renames  fleet.Renames   // of the delivered commit
	offline  map[string]bool // clusters that do not answer
	step     rollout.Step
	removals []musterv1alpha1.Removal // that count, those of this step included
	alone    bool                     // the plan of the whole commit is not known
	refused  map[string]error         // by cluster: works that the hub did not take
	behind   bool                     // the cache is: what the step takes away waits for it
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
	if wait := r.forbear(client.ObjectKeyFromObject(app), out); wait > 0 && err == nil {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	again, perr := r.publish(ctx, app, statusOf(app, out, err))
	// Not before the status is written: it forgets the losses that the approval covers, and the next pass knows of no approval.
	if err == nil && perr == nil && again == 0 && usedUp(app, out) {
		perr = errors.Join(perr, hub.WithdrawApproval(ctx, r.Client, app))
	}
	return resultOf(out, again, errors.Join(err, perr))
}

// forbearance is how long decisions may be incomplete before it is told.
const forbearance = 10 * time.Second

// forbear says how long an application is still left as its status says although its decisions are incomplete: they are for a
// moment whenever a placement changes, and nothing is lost meanwhile.
func (r *Applications) forbear(key types.NamespacedName, out *report) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if out.planned == nil || !slices.ContainsFunc(out.planned.Faults, func(f fleet.Fault) bool { return f.Reason == fleet.DecisionsIncomplete }) {
		delete(r.undecided, key)
		return 0
	}
	since, ok := r.undecided[key]
	if !ok {
		since = r.Now()
		if r.undecided == nil {
			r.undecided = map[types.NamespacedName]time.Time{}
		}
		r.undecided[key] = since
	}
	return since.Add(forbearance).Sub(r.Now())
}

// setFinalizer adds or removes our finalizer by a patch of nothing else: the spec is Git's.
func (r *Applications) setFinalizer(ctx context.Context, app *musterv1alpha1.Application, set func(client.Object, string) bool) error {
	was := app.DeepCopy()
	if !set(app, musterv1alpha1.ApplicationFinalizer) {
		return nil
	}
	return r.Client.Patch(ctx, app, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{}))
}

// usedUp: everything that the approved plan takes away is gone. A later plan of the same outcome, such as the same mistake
// made twice, wants an approval of its own.
func usedUp(app *musterv1alpha1.Application, out *report) bool {
	approved := app.Annotations[musterv1alpha1.ApprovedPlanAnnotation]
	if approved == "" || out.planned == nil {
		return false
	}
	if _, all := out.planned.Faulty(); all {
		return false // nothing was planned: that nothing is left to lose says nothing
	}
	if approved != out.planned.Digest {
		return len(out.planned.Faults) == 0 // another plan has taken its place
	}
	return len(out.planned.Losing()) == 0 && len(out.step.Now) == 0 && len(out.step.Held) == 0
}

// sync takes what clusters report into the last report, or else observes, plans, decides and writes, in that order. The report
// says how far it came.
func (r *Applications) sync(ctx context.Context, app *musterv1alpha1.Application) (*report, error) {
	key := client.ObjectKeyFromObject(app)
	began := r.followed.begin(key)
	out, err := r.follow(app, began), error(nil)
	if out == nil {
		out, err = r.plan(ctx, app)
	}
	if err == nil && out.nothingLeft() {
		out.world = nil // it is not looked at again, nor what clusters get
		out.planned.Done()
		r.followed.settle(app, began, out)
	}
	return out, err
}

// plan does all of it anew.
func (r *Applications) plan(ctx context.Context, app *musterv1alpha1.Application) (*report, error) {
	out := &report{revision: app.Status.Revision}
	var err error
	if out.world, err = r.Works.ObserveApplication(ctx, r.Client, app, r.Now()); err != nil {
		return out, err
	}
	out.world.HubCluster = r.HubCluster
	out.offline = offlineIn(out.world)
	job, delivered, waiting, err := r.job(ctx, app, out)
	if err != nil || waiting != "" {
		out.waiting = waiting
		return out, err
	}
	out.revision = job.Snapshot.Revision
	if out.planned, err = r.Planner.Application(ctx, *job); err != nil {
		return out, err
	}
	out.alone = delivered == nil
	if err := r.claims(ctx, out.planned, delivered, out.renames); err != nil {
		return out, err
	}
	r.blocked.note(out.planned)
	r.concerns.note(out.planned)
	out.planned.Seal()
	changes, err := out.planned.Changes()
	if err != nil {
		return out, err
	}
	out.step = rollout.Next(changes, out.planned.RolloutInput(&out.world.Applications[0], out.offline, out.world.Time))
	out.removals = out.step.Counted
	out.refused, err = r.write(ctx, app, out)
	for _, f := range changes.Faults() {
		out.refused[f.Cluster] = f
	}
	return out, err
}

// job finds what the application's repository says of it, and where it belongs; the plan is the repository's, if it was made
// since the hub started. A text instead of a job says what is waited for.
func (r *Applications) job(ctx context.Context, app *musterv1alpha1.Application, out *report) (*plan.Job, *plan.Plan, string, error) {
	key, ok := hub.RepositoryOf(app)
	if !ok {
		return nil, nil, "it was made by hand: spec.source.path is read from a fleet repository, so commit the application to one", nil
	}
	var repo musterv1alpha1.FleetRepository
	if err := r.Client.Get(ctx, key, &repo); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil, fmt.Sprintf("repository %s is gone; its works stay as they are", key), nil
		}
		return nil, nil, "", err
	}
	if repo.Status.Revision == "" {
		return nil, nil, fmt.Sprintf("repository %s has delivered no commit yet", key), nil
	}
	delivery, err := r.Deliveries.Read(ctx, &repo, repo.Status.Revision)
	if err != nil {
		return nil, nil, "", err
	}
	if out.renames, err = r.renames(ctx, app, key, delivery); err != nil {
		return nil, nil, "", err
	}
	definition := delivery.Definitions.Find("muster.dev", "Application", app.Namespace, app.Name)
	if definition == nil {
		return nil, nil, absent(app, key, delivery, out.renames), nil
	}
	if !sameSpec(app, definition) {
		return nil, nil, fmt.Sprintf("waits for commit %s: the application on the hub is not yet, or no more, what %s says",
			fleet.ShortRevision(repo.Status.Revision), definition.File), nil
	}
	if err := r.takeOver(ctx, app, out); err != nil {
		return nil, nil, "", err
	}
	job := &plan.Job{
		Application: app, File: definition.File, Line: definition.Line, LineOf: definition.LineOf,
		Snapshot: delivery.Snapshot, World: out.world,
	}
	if delivery.Plan != nil {
		job.CRDs = delivery.Plan.CRDs
	}
	decide(job, out.world, definition)
	if job.Fault == nil {
		job.Fault = delivery.Definitions.RenameFault(definition)
	}
	return job, delivery.Plan, "", nil
}

// absent says why a delivered commit has no definition of an application that is on the hub.
func absent(app *musterv1alpha1.Application, repo types.NamespacedName, delivery *hub.Delivery, renames fleet.Renames) string {
	key := fleet.ObjectKey{Group: "muster.dev", Kind: "Application", Namespace: app.Namespace, Name: app.Name}
	revision := fleet.ShortRevision(delivery.Snapshot.Revision)
	if delivery.Definitions.Named[key] || !delivery.Definitions.AbsenceProven {
		return fmt.Sprintf("commit %s cannot be read where the application is, or may be, defined: see the faults of repository %s", revision, repo)
	}
	if app.Labels[musterv1alpha1.OwnerLabel] != (fleet.Owner{Kind: "FleetRepository", Namespace: repo.Namespace, Name: repo.Name}).Digest() {
		return fmt.Sprintf("it was made by hand, and says that it is of repository %s, which does not define it: commit it there, or delete it", repo)
	}
	if now := renames[app.Namespace+"/"+app.Name]; now != "" {
		return fmt.Sprintf("commit %s calls it %s, which takes over its works", revision, now)
	}
	return fmt.Sprintf("commit %s does not define it any more: its removal is held, see repository %s", revision, repo)
}

// sameSpec: planned is only what the delivered commit says, never a half-delivered or hand-edited state.
func sameSpec(app *musterv1alpha1.Application, definition *fleet.Definition) bool {
	defined, ok := definition.Object.(*musterv1alpha1.Application)
	if !ok {
		return false
	}
	a, errA := fleet.CanonicalJSON(app.Spec)
	b, errB := fleet.CanonicalJSON(defined.Spec)
	return errA == nil && errB == nil && string(a) == string(b)
}

// publish is the only status write: a no-op if nothing changed, and at most one an interval. It says when to try again.
func (r *Applications) publish(ctx context.Context, app *musterv1alpha1.Application, status musterv1alpha1.ApplicationStatus) (time.Duration, error) {
	key := client.ObjectKeyFromObject(app)
	r.mu.Lock()
	last := r.published[key]
	behind := last.isAfter(app)
	if !behind && last.resourceVersion != "" { // the cache holds it now
		r.published[key] = published{at: last.at}
	}
	r.mu.Unlock()
	is := &app.Status
	if behind {
		is = &last.status
	}
	if equality.Semantic.DeepEqual(*is, status) {
		return 0, nil
	}
	if behind { // nothing wakes the application when the cache has caught up
		return max(r.StatusInterval, 100*time.Millisecond), nil
	}
	if wait := last.at.Add(r.StatusInterval).Sub(r.Now()); wait > 0 {
		return wait, nil
	}
	app.Status = status
	err := r.Client.Status().Update(ctx, app)
	if apierrors.IsConflict(err) {
		return max(r.StatusInterval, 100*time.Millisecond), nil // the cache is behind
	}
	if err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.published == nil {
		r.published = map[types.NamespacedName]published{}
	}
	r.published[key] = published{at: r.Now(), uid: app.UID, resourceVersion: app.ResourceVersion, status: app.Status}
	return 0, nil
}

// published is the last status that was written of an application.
type published struct {
	at              time.Time
	uid             types.UID
	resourceVersion string
	status          musterv1alpha1.ApplicationStatus
}

// isAfter says whether an application is from before the status was written.
func (p published) isAfter(app *musterv1alpha1.Application) bool {
	order, err := resourceversion.CompareResourceVersion(p.resourceVersion, app.ResourceVersion)
	return err == nil && order > 0 && p.uid == app.UID
}

// resultOf says when to look again: what changes is watched, so only a throttled status and a held change want a clock.
func resultOf(out *report, again time.Duration, err error) (reconcile.Result, error) {
	if err != nil {
		return ctrl.Result{}, err
	}
	if out.behind {
		return ctrl.Result{RequeueAfter: 100 * time.Millisecond}, nil
	}
	if again == 0 && out.alone && len(out.step.Held)+len(out.planned.Faults) > 0 {
		again = 2 * time.Second // nothing wakes the application when the plan is there, and the same as before
	}
	if again == 0 && (out.waiting != "" || len(out.refused) > 0) {
		again = 15 * time.Second
	}
	return ctrl.Result{RequeueAfter: again}, nil
}
