package fleetrepository

import (
	"context"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// basis is all that the outcome of a reconciliation depends on.
type basis struct {
	revision   string
	generation int64  // of the repository
	approved   string // plan
	changes    uint64 // of what the plan reads, from before it was read
}

// converged is the report of a reconciliation that left nothing to do. While its basis stays, so does the report.
type converged struct {
	basis
	marks  uint64 // the changes that the marks depend on, from before they were read
	report *report
}

func basisOf(repo *musterv1alpha1.FleetRepository, revision string, count hub.Count) basis {
	return basis{revision, repo.Generation, repo.Annotations[musterv1alpha1.ApprovedPlanAnnotation], count.Plan}
}

// unchanged gives the report of the last reconciliation, with what was fetched now, if another one would come to the same; else
// nil. Clusters may still have to be marked.
func (r *Repositories) unchanged(ctx context.Context, repo *musterv1alpha1.FleetRepository, revision string, now *report) (*report, error) {
	key := client.ObjectKeyFromObject(repo)
	count := r.changes.Count(key)
	r.mu.Lock()
	last, ok := r.converged[key]
	r.mu.Unlock()
	if !ok || last.basis != basisOf(repo, revision, count) {
		return nil, nil
	}
	out := *last.report
	out.fetched, out.rewritten, out.fetchErr, out.requeueAfter = now.fetched, now.rewritten, now.fetchErr, now.requeueAfter
	if last.marks == count.Marks {
		return &out, nil
	}
	if err := r.mark(ctx, repo, &out); err != nil {
		return &out, err
	}
	last.marks = count.Marks
	r.mu.Lock()
	defer r.mu.Unlock()
	r.converged[key] = last
	return &out, nil
}

// remember keeps the report of a reconciliation that left nothing to do, and what its plan reads.
func (r *Repositories) remember(repo *musterv1alpha1.FleetRepository, from hub.Count, out *report) {
	key := client.ObjectKeyFromObject(repo)
	r.changes.Settle(key, hub.ReadsOf(out.plan, out.leaving))
	out.plan.World = nil // the plan is kept, and nobody reads the world that it was made in: it holds a copy of every cluster and work
	r.mu.Lock()
	defer r.mu.Unlock()
	if !out.delivered || out.refused || out.deleting > 0 {
		delete(r.converged, key)
		return
	}
	if r.converged == nil {
		r.converged = map[types.NamespacedName]converged{}
	}
	r.converged[key] = converged{basisOf(repo, out.delivery.Snapshot.Revision, from), from.Marks, out}
}
