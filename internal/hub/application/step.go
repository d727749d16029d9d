package application

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/works"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// report is a plan of an application, and how far its clusters have come with it. A plan makes it; steps bring it up to date.
type report struct {
	revision string
	// waiting says, when nothing was planned, what for; the works stay as they are.
	waiting string

	// Set by the plan, and never changed after.
	app         *musterv1alpha1.Application // as it was planned
	planned     *plan.Application
	renames     fleet.Renames                // of the delivered commit
	former      []musterv1alpha1.Application // whose place it has
	offline     map[string]bool              // clusters that do not answer
	since       map[string]time.Time         // since when the others do
	faults      map[string][]fleet.Fault     // by cluster; "" for those of the complete application
	leaving     map[string]bool              // clusters that are being detached or deleted: their works are not the plan's
	waitingOn   map[string]bool              // clusters on which another owner has, or is to have, an object
	planMissing bool                         // the plan of the complete commit is not known
	origin      string                       // the first commit that asks for what is rolled out
	rolledBack  *musterv1alpha1.RolledBack   // the change that is refused
	returning   bool                         // what is planned is a revision that the clusters go back to
	pin         *musterv1alpha1.Hold         // keeps it at a revision
	pinOutdated bool                         // the delivered commit asks for something else than the pinned one
	following   *rollout.Following           // which revision those that it follows have proved; nil when it follows none
	delivered   string                       // the commit that its repository has delivered

	// Brought up to date by every step.
	input      rollout.Input
	pending    map[string]work.Changes // by cluster: those that do not have what is planned
	clusters   clusterTable
	step       rollout.Step
	removals   []musterv1alpha1.Removal // that count, those of this step included
	refused    works.Refused
	idle       bool                          // the step before had nothing to do
	good       bool                          // the revision is in the history
	approvals  []musterv1alpha1.ApprovedStep // of the rollout that goes on
	noReturn   string                        // why a rollout that failed does not return to a good revision
	staleCache bool                          // the status could not be written, so that nothing was removed
	welcomed   map[string]bool               // clusters that came in the middle of the rollout and have the last good revision
	unseen     bool                          // what was written before is not seen yet, so that there is no step, and nothing to say
}

// begin prepares a new plan for its steps, and frees what they do not need.
func (r *Applications) begin(out *report) error {
	changes, err := out.planned.Changes()
	if err != nil {
		return err
	}
	out.input = out.planned.RolloutInput(out.offline)
	out.input.AvailableSince = out.since
	out.pending = map[string]work.Changes{}
	for _, c := range changes {
		out.pending[c.Cluster] = append(out.pending[c.Cluster], c)
	}
	clusters := map[string]bool{}
	for _, lw := range out.input.Live {
		clusters[lw.Cluster] = true
	}
	for _, c := range out.planned.Clusters {
		clusters[c.Name] = true
	}
	out.faults, out.waitingOn = map[string][]fleet.Fault{}, map[string]bool{}
	for _, cluster := range out.planned.HandoverClusters() {
		out.waitingOn[cluster] = true
	}
	for _, f := range out.planned.Faults {
		out.faults[f.Cluster] = append(out.faults[f.Cluster], f)
		if f.Cluster != "" {
			clusters[f.Cluster] = true
		}
		if f.Reason == fleet.ObjectClaimed {
			out.waitingOn[f.Cluster] = true
		}
	}
	maps.DeleteFunc(out.pending, func(_ string, changes work.Changes) bool { return !changes.Pending() })
	out.planned.Release()
	out.input.Live = nil
	for cluster := range clusters {
		r.countCluster(out, cluster)
	}
	return nil
}

// refresh brings a report up to date with what has happened on clusters. It is false when that is more than the plan foresees:
// the application has to be planned again.
func (r *Applications) refresh(out *report, reported map[string]bool) bool {
	maps.DeleteFunc(reported, func(cluster string, _ bool) bool { return out.leaving[cluster] })
	for cluster, changed := range reported {
		if out.waitingOn[cluster] && !r.refreshHolders(out, cluster) {
			return false
		}
		pending := out.pending[cluster]
		if pending == nil && changed {
			return false
		}
		if pending != nil {
			now, foreseen := pending.Refresh(r.worksOn(out, cluster))
			if !foreseen {
				return false
			}
			if out.pending[cluster] = now; !now.Pending() {
				delete(out.pending, cluster)
			}
		}
	}
	for cluster := range reported {
		r.countCluster(out, cluster)
		if slices.ContainsFunc(r.worksOn(out, cluster), func(lw fleet.LiveWork) bool { return lw.Status.Canary.Waits() }) {
			out.idle = false // it may come late, when no rollout goes on
		}
	}
	return true
}

// refreshHolders reads the status of other owners' works on a cluster that hold what this application gives up.
func (r *Applications) refreshHolders(out *report, cluster string) bool {
	for i := range out.input.OtherHolders {
		if lw := &out.input.OtherHolders[i]; lw.Cluster == cluster {
			now := r.Works.Get(cluster, lw.Name)
			if now == nil || now.UID != lw.UID || now.Generation != lw.Generation || now.Deleting != lw.Deleting {
				return false
			}
			lw.Status = now.Status
		}
	}
	return true
}

// worksOn are the application's works on a cluster, those of its former names included.
func (r *Applications) worksOn(out *report, cluster string) []fleet.LiveWork {
	live := r.Works.On(cluster, out.planned.Owner())
	for i := range out.former {
		live = append(live, out.renames.Works(r.Works.On(cluster, fleet.OwnerOf(&out.former[i])))...)
	}
	return live
}

// live are the application's works on all clusters that stay.
func (r *Applications) live(out *report) []fleet.LiveWork {
	live := r.Works.Of(out.planned.Owner())
	for i := range out.former {
		live = append(live, out.renames.Works(r.Works.Of(fleet.OwnerOf(&out.former[i])))...)
	}
	return slices.DeleteFunc(live, func(lw fleet.LiveWork) bool { return out.leaving[lw.Cluster] })
}

// step decides what may be done now, does it, and counts the clusters that it was about.
func (r *Applications) step(ctx context.Context, app *musterv1alpha1.Application, out *report) error {
	if err := r.readInput(ctx, app, out); err != nil {
		return err
	}
	st := r.states.get(client.ObjectKeyFromObject(app))
	if out.unseen = r.unseen(st, out.input.Now); out.unseen {
		return nil
	}
	out.staleCache = false
	changes := out.pendingChanges()
	if len(changes) == 0 && out.idle {
		out.step = out.step.Idle(out.input) // a report costs no look at all clusters
		out.removals = out.step.Counted
		return nil
	}
	if err := r.decideStep(ctx, app, out, changes); err != nil {
		return err
	}
	if recorded, err := r.recordBeforeRollout(ctx, app, out); err != nil || !recorded {
		return err
	}
	err := r.write(ctx, app, out, st)
	for _, f := range changes.Faults() {
		out.refused[f.Cluster] = f
	}
	for cluster := range out.pending {
		r.countCluster(out, cluster)
	}
	return err
}

// readInput reads what a step depends on beside the plan: the time, what the status has recorded, approvals and measurements.
func (r *Applications) readInput(ctx context.Context, app *musterv1alpha1.Application, out *report) error {
	in := &out.input
	in.Unheard = !r.Presence.Trusts(r.Now())
	in.Now, in.ApprovedPlan = r.Now(), app.Annotations[musterv1alpha1.ApprovedPlanAnnotation]
	in.Removals, in.GuardHolds = out.renames.RecentRemovals(app, out.former), app.Status.Held != nil
	in.RolloutStarted, in.Returning = time.Time{}, out.returning
	if app.Status.Rollout != nil {
		in.RolloutStarted = app.Status.Rollout.StartedAt.Time
	}
	in.Settled, in.Left = out.renames.Settled(app, out.former), app.Status.Left
	r.readHands(app, out)
	return r.readAnalyses(ctx, app, out)
}

// pendingChanges are the changes of all clusters that do not have what is planned, sorted by cluster.
func (o *report) pendingChanges() work.Changes {
	var changes work.Changes
	for _, cluster := range slices.Sorted(maps.Keys(o.pending)) {
		changes = append(changes, o.pending[cluster]...)
	}
	return changes
}

// decideStep decides which of the changes may be made now.
func (r *Applications) decideStep(ctx context.Context, app *musterv1alpha1.Application, out *report, changes work.Changes) (err error) {
	in := &out.input
	if in.DependencyPending, err = r.dependencyPending(ctx, app, out); err != nil {
		return err
	}
	if in.DependentsPending, err = r.dependentsPending(ctx, app, out.revision, out.toLeave()); err != nil {
		return err
	}
	in.Live = r.live(out)
	out.step = rollout.Next(changes, *in)
	in.Live = nil
	out.idle, out.removals = len(changes) == 0 && !out.rolling(), out.step.Counted
	return nil
}

// write makes the changes of a step, and welcomes the clusters that come in the middle of a rollout. It notes what the index of works has to
// show before the next step.
func (r *Applications) write(ctx context.Context, app *musterv1alpha1.Application, out *report, st *state) (err error) {
	in := &out.input
	writer := works.Writer{Client: r.Client, Reader: r.Reader, Concurrency: r.Writers}
	out.refused, err = writer.Write(ctx, out.step.Now, func(ctx context.Context) (bool, error) { return r.recordBeforeLoss(ctx, app, out) })
	r.traceWrites(app, out, err)
	if in.Strategy != nil {
		st.wrote = wrote(out.step.Now, out.refused, out.staleCache, in.Now)
	}
	if err == nil && out.rolling() {
		var welcome work.Changes
		welcome, err = r.welcome(ctx, app, out)
		st.wrote = append(st.wrote, wrote(welcome, nil, out.staleCache, in.Now)...)
	}
	if err != nil {
		return err
	}
	return writer.PassCanaries(ctx, out.step.Passes)
}

// traceWrites reports the writes of a step as one span of the commit's trace.
func (r *Applications) traceWrites(app *musterv1alpha1.Application, out *report, err error) {
	if len(out.step.Now) == 0 {
		return
	}
	r.Traces.Span(out.revision, "write", out.input.Now, r.Now(), err, map[string]string{
		"muster.application": app.Namespace + "/" + app.Name, "muster.works": fmt.Sprint(len(out.step.Now)),
	})
}

// written is a change that was made, and that the index of works may not show yet.
type written struct {
	work.Change
	at time.Time
}

// maxUnseen is how long a step waits for its writes to be seen. A change whose preconditions did not hold was not made.
const maxUnseen = 2 * time.Second

// unseen is true until the index of works shows what the step before wrote. A step that does not see these writes would change more
// clusters at a time than the strategy allows.
func (r *Applications) unseen(st *state, now time.Time) bool {
	st.wrote = slices.DeleteFunc(st.wrote, func(w written) bool {
		is := r.Works.Get(w.Cluster, w.Name)
		switch {
		case now.Sub(w.at) >= maxUnseen:
			return true
		case w.Live == nil:
			return is != nil
		}
		return is == nil || is.UID != w.Live.UID || is.Generation != w.Live.Generation || is.MetaDigest != w.Live.MetaDigest || is.SpecDigest != w.Live.SpecDigest
	})
	return len(st.wrote) > 0
}

// wrote are the changes of a step that the index of works is to show. With a stale cache, what drops objects was not written.
func wrote(changes work.Changes, refused works.Refused, staleCache bool, now time.Time) []written {
	var list []written
	for _, c := range changes {
		if refused[c.Cluster] == nil && (c.Action == work.Create || c.Action == work.Update) && !(c.Drops && staleCache) {
			c.Wanted = nil // the manifests are not kept
			list = append(list, written{c, now})
		}
	}
	return list
}

// rolling is true while a rollout goes on: what clusters report may let the next ones change.
func (o *report) rolling() bool { return o.step.Rollout != nil && !o.step.Rollout.Started.IsZero() }

// recordBeforeRollout records in the status that a rollout begins, so that a hub that starts over tells the clusters of this
// rollout from those that changed earlier. It is false when the cache is stale: nothing is written then.
func (r *Applications) recordBeforeRollout(ctx context.Context, app *musterv1alpha1.Application, out *report) (bool, error) {
	if !out.rolling() || app.Status.Rollout != nil && app.Status.Rollout.Revision == out.origin {
		return true, nil
	}
	return r.record(ctx, app, out, func(status *musterv1alpha1.ApplicationStatus) { status.Rollout = rolloutOf(out) })
}

// recordBeforeLoss records in the status what the application is about to lose, and what it is about to leave on clusters. The guard then
// counts it even if this hub stops. It is false when the cache is stale: nothing is removed then.
func (r *Applications) recordBeforeLoss(ctx context.Context, app *musterv1alpha1.Application, out *report) (bool, error) {
	if out.step.Removal == nil && equality.Semantic.DeepEqual(app.Status.Left, out.step.Left) {
		return true, nil
	}
	recorded, err := r.record(ctx, app, out, func(status *musterv1alpha1.ApplicationStatus) {
		status.RecentRemovals, status.Left = out.step.Recorded(), out.step.Left
	})
	if recorded {
		out.removals = app.Status.RecentRemovals
	}
	return recorded, err
}

// record changes the status before the step does what the status says.
func (r *Applications) record(ctx context.Context, app *musterv1alpha1.Application, out *report, change func(*musterv1alpha1.ApplicationStatus)) (bool, error) {
	next := app.DeepCopy()
	change(&next.Status)
	err := r.Client.Status().Update(ctx, next)
	if apierrors.IsConflict(err) {
		out.staleCache = true
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("record what the step begins: %w", err)
	}
	app.ResourceVersion, app.Status = next.ResourceVersion, next.Status
	return true, nil
}

// approvalConsumed is true when everything that the approved plan removes is gone. A later plan of the same outcome, such as
// the same mistake made twice, needs an approval of its own.
func approvalConsumed(app *musterv1alpha1.Application, out *report) bool {
	approved := app.Annotations[musterv1alpha1.ApprovedPlanAnnotation]
	switch {
	case approved == "" || out.planned == nil || len(out.faults[""]) > 0:
		return false // nothing was planned: that nothing is left to lose says nothing
	case approved != out.planned.Digest:
		return len(out.planned.Faults) == 0 // another plan has replaced it
	}
	return len(out.pending) == 0
}
