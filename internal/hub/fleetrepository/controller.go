// Package fleetrepository keeps the definitions on the hub equal to the newest commit of each fleet repository.
//
// A commit goes through four stages: it is fetched, planned, applied with the rights of the repository's service account, and
// delivered once every placement has been decided anew. Only then does status.revision name it, and applications are planned
// at it. Whatever fails, the last good state stays.
package fleetrepository

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	hubsource "github.com/muster-io/muster/internal/hub/source"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/source"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Repositories reconciles FleetRepositories.
type Repositories struct {
	// Client reads from the hub's cache and writes status.
	Client client.Client
	// Works is the index of live works.
	Works *hub.Works
	// Reader reads from the API server, not from the cache.
	Reader client.Reader
	// Config of the hub, from which clients that impersonate are made.
	Config *rest.Config
	// Store of mirrors.
	Store *source.Store
	// Deliveries shared with the application controller.
	Deliveries *hub.Deliveries
	// Planner shared with the application controller.
	Planner *plan.Planner
	// Sources fetches what applications take from elsewhere. Nil fetches nothing.
	Sources *hubsource.Sources
	// ManifestLimit is how many bytes one manifest may have.
	ManifestLimit int
	// Precedence is told when a commit is planned and delivered; nil is none.
	Precedence *hub.Precedence
	// HubCluster is the name of the cluster that is the hub itself, if it is managed.
	HubCluster string
	// DecisionTimeout is how long a commit waits until the live decisions are those of its plan. After that the live decisions win.
	DecisionTimeout time.Duration
	// Now is the clock.
	Now func() time.Time

	applied cache.Cache // metadata of what repositories applied
	changes hub.Changes

	mu        sync.Mutex
	converged map[types.NamespacedName]converged
	fetched   map[types.NamespacedName]fetch
	written   map[types.NamespacedName]*writes
	triggers  map[types.NamespacedName]bool
	wake      wakeUp
}

// report is the progress of one reconciliation.
type report struct {
	fetched      string // the head
	rewritten    string // says so when the delivered commit is no ancestor of it
	fetchErr     error
	delivery     *hub.Delivery
	plan         *plan.Plan
	delivered    bool
	waiting      string // what the delivery waits for
	faults       []fleet.Fault
	held         *musterv1alpha1.Held
	accepted     map[fleet.ObjectKey]bool // definitions that are on the hub as they are written
	differs      []string                 // placements whose live decisions are not those of the plan
	renaming     []string                 // applications that were renamed, and whose works are not all taken over
	leaving      []string                 // applications that left the repository and are still on clusters
	deleting     int                      // definitions that left the repository and are being deleted
	refused      bool                     // the API server rejected a definition or its deletion: the hub retries
	requeueAfter time.Duration
}

// refuse notes a definition that the API server rejected.
func (o *report) refuse(f fleet.Fault) {
	o.faults, o.refused = append(o.faults, f), true
}

// Reconcile keeps the definitions of one repository equal to its newest commit.
func (r *Repositories) Reconcile(ctx context.Context, repo *musterv1alpha1.FleetRepository) (reconcile.Result, error) {
	if !repo.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, r.finalize(ctx, repo)
	}
	if controllerutil.AddFinalizer(repo, musterv1alpha1.RepositoryFinalizer) {
		if err := r.Client.Update(ctx, repo); err != nil {
			return reconcile.Result{}, err
		}
	}
	out, err := r.sync(ctx, repo)
	perr := r.publish(ctx, repo, statusOf(repo, out, err, r.Now()))
	if err == nil && approvalConsumed(repo, out) {
		perr = errors.Join(perr, hub.WithdrawApproval(ctx, r.Client, repo))
	}
	return resultOf(repo, out, errors.Join(err, perr))
}

// approvalConsumed is true when all deletions of the approved plan are done, or another plan has replaced it. A later plan with the
// same outcome needs an approval of its own.
func approvalConsumed(repo *musterv1alpha1.FleetRepository, out *report) bool {
	approved := repo.Annotations[musterv1alpha1.ApprovedPlanAnnotation]
	if approved == "" || !out.delivered {
		return false
	}
	return approved != out.plan.Digest || (out.held == nil && out.deleting == 0)
}

// sync fetches, plans, applies and delivers, in that order. The report holds the progress.
func (r *Repositories) sync(ctx context.Context, repo *musterv1alpha1.FleetRepository) (*report, error) {
	out := &report{requeueAfter: repo.Spec.Interval.Duration}
	revision := r.fetch(ctx, repo, out)
	if revision == "" {
		return out, nil // no commit was ever fetched: the report has the fault
	}
	if same, err := r.unchanged(ctx, repo, revision, out); same != nil {
		return same, err
	}
	if revision != repo.Status.Revision {
		defer r.Precedence.Deliver()()
	}
	from := r.changes.Begin(client.ObjectKeyFromObject(repo))
	delivery, err := r.read(ctx, repo, revision, out)
	if err != nil || out.waiting != "" {
		return out, err
	}
	world, err := r.Works.Observe(ctx, r.Client, r.Now())
	if err != nil {
		return out, err
	}
	world.HubCluster, world.ManifestLimit, world.Sources = r.HubCluster, r.ManifestLimit, r.Sources.World()
	var earlier *plan.Plan
	if last := r.Deliveries.Delivered(client.ObjectKeyFromObject(repo)); last != nil {
		earlier = last.Plan
	}
	if out.plan, err = r.Planner.LoadedAfter(ctx, earlier, delivery.Snapshot, delivery.Definitions, *world); err != nil {
		return out, err
	}
	r.Sources.Use(sourceUser(client.ObjectKeyFromObject(repo)), out.plan.Sources())
	planned := *delivery
	planned.Plan = out.plan
	out.delivery = &planned
	out.faults = slices.Clone(out.plan.Faults)
	err = r.deliver(ctx, repo, world, out)
	out.faults = withinRights(out.faults, out.plan, out.accepted)
	if err != nil {
		return out, err
	}
	r.remember(repo, from, out)
	return out, nil
}

// read loads a commit. It stops at a commit in which no definition can be read.
func (r *Repositories) read(ctx context.Context, repo *musterv1alpha1.FleetRepository, revision string, out *report) (*hub.Delivery, error) {
	delivery, err := r.Deliveries.Read(ctx, repo, revision)
	if err != nil {
		return nil, err
	}
	if !delivery.Definitions.AbsenceProven && len(delivery.Definitions.All) == 0 {
		out.faults = delivery.Definitions.Faults
		out.waiting = "nothing in the commit can be read; the last good state stays"
	}
	return delivery, nil
}

// deliver applies the definitions. When the placements are decided as planned, applications are planned at this commit.
func (r *Repositories) deliver(ctx context.Context, repo *musterv1alpha1.FleetRepository, world *fleet.World, out *report) error {
	if err := r.apply(ctx, repo, out); err != nil {
		return err
	}
	if err := r.prune(ctx, repo, world, out); err != nil {
		return err
	}
	if out.waiting = r.undecided(ctx, repo, out); out.waiting != "" {
		out.requeueAfter = time.Second
		return nil
	}
	if err := r.Store.Pin(repo.Spec.URL, string(repo.UID), out.delivery.Snapshot.Revision); err != nil {
		return err
	}
	r.Deliveries.Remember(repo, out.delivery)
	out.delivered = true
	return r.mark(ctx, repo, out)
}

// finalize releases what the repository applied: its objects stay without an owner.
func (r *Repositories) finalize(ctx context.Context, repo *musterv1alpha1.FleetRepository) error {
	if !controllerutil.ContainsFinalizer(repo, musterv1alpha1.RepositoryFinalizer) {
		return nil
	}
	if err := r.release(ctx, repo); err != nil {
		return err
	}
	if err := r.Store.Unpin(repo.Spec.URL, string(repo.UID)); err != nil {
		return err
	}
	if err := r.collectMirrors(ctx, repo.UID); err != nil {
		return err
	}
	r.forget(client.ObjectKeyFromObject(repo))
	controllerutil.RemoveFinalizer(repo, musterv1alpha1.RepositoryFinalizer)
	return r.Client.Update(ctx, repo)
}

func (r *Repositories) forget(key types.NamespacedName) {
	r.Deliveries.Forget(key)
	r.Sources.Use(sourceUser(key), nil)
	r.changes.Forget(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.fetched, key)
	delete(r.written, key)
	delete(r.converged, key)
	delete(r.triggers, key)
}

// sourceUser is a repository as a user of sources.
func sourceUser(key types.NamespacedName) hubsource.User {
	return hubsource.User{Kind: "FleetRepository", NamespacedName: key}
}

// ofSource wakes a repository whose sources have changed.
func (r *Repositories) ofSource(user hubsource.User) []reconcile.Request {
	if user.Kind != "FleetRepository" {
		return nil
	}
	r.changes.Add(user.NamespacedName)
	return []reconcile.Request{{NamespacedName: user.NamespacedName}}
}

// publish writes the status, if it changed. No other function writes it.
func (r *Repositories) publish(ctx context.Context, repo *musterv1alpha1.FleetRepository, status musterv1alpha1.FleetRepositoryStatus) error {
	if equality.Semantic.DeepEqual(repo.Status, status) {
		return nil
	}
	repo.Status = status
	return client.IgnoreNotFound(r.Client.Status().Update(ctx, repo))
}

// resultOf says when to reconcile again.
func resultOf(repo *musterv1alpha1.FleetRepository, out *report, err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: 100 * time.Millisecond}, nil // the cache is stale
	}
	if err != nil {
		if f, ok := fleet.AsFault(err); ok && f.ActionRequiredBy == fleet.User {
			return ctrl.Result{RequeueAfter: repo.Spec.Interval.Duration}, nil
		}
		return ctrl.Result{}, err
	}
	if len(out.renaming) > 0 { // no event of a work wakes this controller
		return ctrl.Result{RequeueAfter: min(out.requeueAfter, 2*time.Second)}, nil
	}
	return ctrl.Result{RequeueAfter: out.requeueAfter}, nil
}
