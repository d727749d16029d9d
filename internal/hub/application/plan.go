package application

import (
	"context"
	"fmt"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/source"
	"github.com/muster-io/muster/internal/plan"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// planAt observes and plans at a commit; "" is the delivered one. The report says how far it came.
func (r *Applications) planAt(ctx context.Context, app *musterv1alpha1.Application, revision string) (*report, error) {
	return r.planInto(ctx, &report{revision: app.Status.Revision, app: app}, revision)
}

// planReturn plans at a commit to which the clusters go back.
func (r *Applications) planReturn(ctx context.Context, app *musterv1alpha1.Application, revision string) (*report, error) {
	return r.planInto(ctx, &report{revision: app.Status.Revision, app: app, returning: true}, revision)
}

func (r *Applications) planInto(ctx context.Context, out *report, revision string) (*report, error) {
	app := out.app
	world, err := r.Works.ObserveApplication(ctx, r.Client, app, r.Now())
	if err != nil {
		return out, err
	}
	world.HubCluster, world.ManifestLimit, world.Sources = r.HubCluster, r.ManifestLimit, r.Sources.World()
	out.offline, out.since, out.leaving = plan.UnreachableIn(world), plan.AvailableSince(world), plan.LeavingIn(world)
	job, delivered, waiting, err := r.job(ctx, app, revision, world, out)
	if err != nil || waiting != "" {
		out.waiting = waiting
		return out, err
	}
	out.revision = job.Snapshot.Revision
	if out.revision != app.Status.Revision {
		defer r.Precedence.Deliver()()
	}
	began := r.Now()
	out.planned, err = r.Planner.Application(ctx, *job)
	r.Traces.Span(out.revision, "plan", began, r.Now(), err, map[string]string{"muster.application": app.Namespace + "/" + app.Name})
	if err != nil {
		return out, err
	}
	out.planMissing = delivered == nil
	if err := r.claims(ctx, out.planned, delivered, out.renames); err != nil {
		return out, err
	}
	out.planned.Seal()
	return out, nil
}

// sourceUser is an application as a user of sources.
func sourceUser(app *musterv1alpha1.Application) source.User {
	return source.User{Kind: "Application", NamespacedName: client.ObjectKeyFromObject(app)}
}

// job finds what the application's repository says of it, and where it belongs; the plan is the repository's, if it was made
// since the hub started. A text instead of a job says what is waited for.
func (r *Applications) job(ctx context.Context, app *musterv1alpha1.Application, revision string, world *fleet.World, out *report) (*plan.Job, *plan.Plan, string, error) {
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
	out.delivered = repo.Status.Revision
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
	if err := r.takeOver(ctx, app, world, out); err != nil {
		return nil, nil, "", err
	}
	job := &plan.Job{
		Application: app, File: definition.File, Line: definition.Line, LineOf: definition.LineOf, Defaulted: definition.Defaulted,
		Snapshot: delivery.Snapshot, World: world, Returning: out.returning,
	}
	job.Values = valuesOf(world, key, delivery)
	if waiting, err := r.contentOf(ctx, job, &repo, revision, delivery, definition); err != nil || waiting != "" {
		return nil, nil, waiting, err
	}
	decide(job, world, definition)
	if job.Fault == nil {
		job.Fault = delivery.Definitions.RenameFault(definition)
	}
	if job.Fault == nil {
		if job.Fault, err = r.dependencyFault(ctx, app, definition); err != nil {
			return nil, nil, "", err
		}
	}
	return job, delivery.Plan, "", nil
}

// contentOf says which commit the content of a job is of: the delivered one, of which the repository's plan has most, or an earlier one.
func (r *Applications) contentOf(ctx context.Context, job *plan.Job, repo *musterv1alpha1.FleetRepository, revision string,
	delivery *hub.Delivery, definition *fleet.Definition) (waiting string, err error) {
	if delivery.Plan != nil {
		job.CRDs = delivery.Plan.CRDs
	}
	if revision == "" || revision == repo.Status.Revision {
		job.After(delivery.Plan, definition)
		return "", nil
	}
	return r.atRevision(ctx, job, repo, revision)
}

// valuesOf are the ClusterValues of a delivered commit, and those that others have put on the hub.
func valuesOf(world *fleet.World, repo types.NamespacedName, delivery *hub.Delivery) *fleet.ValuesIndex {
	return plan.ValuesIn(plan.DeliveredValues(world.ClusterValues, repo.String(), delivery.Definitions), delivery.Definitions)
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
