package fleetrepository

import (
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// basis is all that the outcome of a pass depends on.
type basis struct {
	revision   string
	generation int64  // of the repository
	approved   string // plan
	changes    uint64 // of the world, from before it was read
}

// settled is the report of a pass that left nothing to do. While its basis stays, so does the report.
type settled struct {
	basis
	report *report
}

func (r *Repositories) basisOf(repo *musterv1alpha1.FleetRepository, revision string) basis {
	return basis{revision, repo.Generation, repo.Annotations[musterv1alpha1.ApprovedPlanAnnotation], r.changes.Count()}
}

// unchanged gives the report of the last pass, with what was fetched now, if another pass would come to the same; else nil.
func (r *Repositories) unchanged(repo *musterv1alpha1.FleetRepository, from basis, now *report) *report {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.settled[client.ObjectKeyFromObject(repo)]
	if !ok || last.basis != from {
		return nil
	}
	out := *last.report
	out.fetched, out.rewritten, out.fetchErr, out.again = now.fetched, now.rewritten, now.fetchErr, now.again
	return &out
}

// remember keeps the report of a pass that left nothing to do.
func (r *Repositories) remember(repo *musterv1alpha1.FleetRepository, from basis, out *report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := client.ObjectKeyFromObject(repo)
	if !out.delivered || out.refused || out.going > 0 {
		delete(r.settled, key)
		return
	}
	if r.settled == nil {
		r.settled = map[types.NamespacedName]settled{}
	}
	r.settled[key] = settled{from, out}
}
