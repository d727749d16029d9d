package application

import (
	"context"
	"fmt"
	"slices"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxGood is how many good revisions of an application are kept.
const maxGood = 10

// plan plans an application at the revision that its clusters are to have: the delivered one, or the one that those which it follows have
// proved, or the pinned one, or the last good one as long as that is refused.
func (r *Applications) plan(ctx context.Context, app *musterv1alpha1.Application, pin *musterv1alpha1.Hold, following *rollout.Following) (*report, error) {
	proved := ""
	if following != nil {
		if proved = following.Revision; proved == "" {
			return &report{app: app, following: following, waiting: "it has no revision yet, and waits for those that it follows: " + following.Message}, nil
		}
	}
	out, err := r.planAt(ctx, app, proved)
	out.following = following
	if err == nil && out.planned != nil && pin != nil {
		out, err = r.planPinned(ctx, app, pin, out)
	}
	if err != nil || out.planned == nil {
		return out, err
	}
	refused, err := r.refused(ctx, app, out)
	if err != nil {
		return out, err
	}
	sources, pinned := out.planned.Sources, out
	if refused != nil {
		if out, err = r.planReturn(ctx, app, refused.To); err != nil || out.planned == nil {
			return out, err
		}
		sources = fleet.SortSources(slices.Concat(sources, out.planned.Sources))
	}
	r.Sources.Use(sourceUser(app), sources)
	out.rolledBack, out.returning, out.pin, out.pinOutdated = refused, refused != nil, pin, pinned.pinOutdated
	out.following = following
	if refused == nil && pin != nil {
		out.rolledBack, out.returning = app.Status.RolledBack, pin.Spec.Pin.Return
	}
	if out.origin, err = r.origin(ctx, app, out); err != nil {
		return out, err
	}
	return out, r.begin(out)
}

// refused is the change that failed, when the delivered commit asks for nothing else; nil when it may be rolled out. Both commits are
// planned in the same world, so that a cluster that comes or changes makes no difference.
func (r *Applications) refused(ctx context.Context, app *musterv1alpha1.Application, delivered *report) (*musterv1alpha1.RolledBack, error) {
	was := app.Status.RolledBack
	if was == nil || app.Annotations[musterv1alpha1.RetryAnnotation] == was.At.UTC().Format(time.RFC3339) {
		return nil, nil
	}
	if was.With != "" {
		return r.refusedWith(ctx, app, delivered)
	}
	if was.Revision != delivered.revision && was.Plan != delivered.planned.Digest {
		failed, err := r.planAt(ctx, app, was.Revision)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil || failed.planned == nil || failed.planned.Digest != delivered.planned.Digest {
			return nil, nil //nolint:nilerr // a commit that is not here any more is another one than the delivered
		}
	}
	now := *was
	now.Refused = delivered.revision
	if len(delivered.planned.Faults) == 0 {
		now.Plan = delivered.planned.Digest
	}
	return &now, nil
}

// origin is the first commit that asks for what is rolled out: that of the rollout that goes on, as long as later commits ask for the
// same works. Approvals are for it.
func (r *Applications) origin(ctx context.Context, app *musterv1alpha1.Application, out *report) (string, error) {
	on := app.Status.Rollout
	if on == nil || on.Revision == "" || on.Revision == out.revision || on.Plan == "" || out.returning {
		return out.revision, nil
	}
	if on.Plan == out.planned.Digest {
		return on.Revision, nil
	}
	before, err := r.planAt(ctx, app, on.Revision)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err == nil && before.planned != nil && before.planned.Digest == out.planned.Digest {
		return on.Revision, nil
	}
	return out.revision, nil
}

// atRevision makes a job one of an earlier commit. What the commit says of the content counts; where it goes, in which order, what
// may be deleted, and with whose rights it is applied are those of today.
func (r *Applications) atRevision(ctx context.Context, job *plan.Job, repo *musterv1alpha1.FleetRepository, revision string) (waiting string, err error) {
	delivery, err := r.Deliveries.Past(ctx, repo, revision)
	if err != nil {
		return "", err
	}
	today := job.Application
	definition := delivery.Definitions.Find("muster.dev", "Application", today.Namespace, today.Name)
	if definition == nil {
		return fmt.Sprintf("commit %s, which it is to return to, does not define it: push a commit that corrects it", fleet.ShortRevision(revision)), nil
	}
	then, ok := definition.Object.(*musterv1alpha1.Application)
	if !ok {
		return "", fmt.Errorf("%s of commit %s is no Application", definition.File, fleet.ShortRevision(revision))
	}
	app := today.DeepCopy()
	spec := then.DeepCopy().Spec
	app.Spec.Source, app.Spec.Helm, app.Spec.Kustomize = spec.Source, spec.Helm, spec.Kustomize
	app.Spec.Destination, app.Spec.Overrides, app.Spec.Sync = spec.Destination, spec.Overrides, spec.Sync
	app.Spec.Sync.WhenUnreachable = today.Spec.Sync.WhenUnreachable
	app.Default()
	job.Application, job.Snapshot = app, delivery.Snapshot
	job.Values = valuesOf(job.World, client.ObjectKeyFromObject(repo), delivery)
	job.File, job.Line, job.LineOf = definition.File, definition.Line, definition.LineOf
	return "", nil
}

// rollBack decides that the clusters return to the last good revision, and records it. It is false when there is none, which the
// report says.
func (r *Applications) rollBack(ctx context.Context, app *musterv1alpha1.Application, out *report) (bool, error) {
	history, err := hub.RolloutHistory(ctx, r.Reader, app)
	if err != nil {
		return false, err
	}
	switch {
	case len(history.Revisions) == 0:
		out.noReturn = "no revision was good before"
		return false, nil
	case history.Revisions[0].Revision == out.origin:
		out.noReturn = "this commit was good before"
		return false, nil
	}
	return r.returnTo(ctx, app, out, history.Revisions[0], musterv1alpha1.RolledBack{Revision: out.origin, Message: out.step.Rollout.Failure()})
}

// returnTo records that the clusters return to a good revision, and what is refused. It is false when that cannot be planned, which the
// report says.
func (r *Applications) returnTo(ctx context.Context, app *musterv1alpha1.Application, out *report, good musterv1alpha1.GoodRevision, failed musterv1alpha1.RolledBack) (bool, error) {
	back, err := r.planAt(ctx, app, good.Revision)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		out.noReturn = err.Error()
	case back.planned == nil:
		out.noReturn = back.waiting
	case len(back.planned.Faults) > 0:
		out.noReturn = fleet.Headline(back.planned.Faults)
	}
	if out.noReturn != "" {
		return false, nil
	}
	return r.record(ctx, app, out, func(status *musterv1alpha1.ApplicationStatus) {
		failed.Refused, failed.Plan, failed.To, failed.At = out.revision, out.planned.Digest, good.Revision, metav1.NewTime(r.Now())
		status.RolledBack = &failed
		status.Rollout = nil // the return is a rollout of its own
	})
}

// isGood is true when nothing of the plan is left to do, and it is proved: by a rollout that has ended, or by every cluster that
// answers.
func (o *report) isGood() bool {
	if o.planned == nil || len(o.planned.Faults)+len(o.pending)+len(o.refused) > 0 || o.staleCache || o.clusters.summary.Healthy == 0 {
		return false
	}
	if o.rolling() {
		return false // its clusters may be healthy and in their minSuccessTime, or measured
	}
	r := o.step.Rollout
	ended := r != nil && r.Done && !o.input.RolloutStarted.IsZero() && !o.input.Returning
	return ended || o.clusters.unproved == 0
}

// recordGood keeps a good revision in the application's history, before the status says so.
func (r *Applications) recordGood(ctx context.Context, app *musterv1alpha1.Application, out *report) error {
	if !out.isGood() {
		return nil
	}
	if app.Status.LastGoodPlan != out.planned.Digest {
		if err := r.keepGood(ctx, app, out); err != nil {
			return fmt.Errorf("record that %s is good: %w", fleet.ShortRevision(out.revision), err)
		}
	}
	out.good = true
	return nil
}

func (r *Applications) keepGood(ctx context.Context, app *musterv1alpha1.Application, out *report) error {
	history, err := hub.RolloutHistory(ctx, r.Reader, app)
	if err != nil {
		return err
	}
	good := musterv1alpha1.GoodRevision{
		Revision: out.origin, Plan: out.planned.Digest, At: metav1.NewTime(r.Now()), Clusters: out.clusters.summary.Healthy,
	}
	same, err := r.asksForTheSame(ctx, app, history, out)
	if err != nil {
		return err
	}
	if same {
		last := &history.Revisions[0]
		if last.Plan == good.Plan {
			return nil
		}
		last.Plan, last.Clusters = good.Plan, good.Clusters
	} else {
		history.Revisions = slices.Insert(history.Revisions, 0, good)
		history.Revisions = history.Revisions[:min(len(history.Revisions), maxGood)]
	}
	return hub.WriteRolloutHistory(ctx, r.Client, history)
}

// asksForTheSame is true when the newest revision of a history asks for the same works as a report: then another cluster came, or
// a commit that changes other things.
func (r *Applications) asksForTheSame(ctx context.Context, app *musterv1alpha1.Application, history *musterv1alpha1.RolloutHistory, out *report) (bool, error) {
	if len(history.Revisions) == 0 {
		return false, nil
	}
	last := history.Revisions[0]
	if last.Revision == out.origin || last.Plan == out.planned.Digest {
		return true, nil
	}
	before, err := r.planAt(ctx, app, last.Revision)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil && before.planned != nil && before.planned.Digest == out.planned.Digest, nil
}
