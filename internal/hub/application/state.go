package application

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// states are what the controller knows of each application between two reconciliations: its last plan, and what has happened since.
// The API and the index of works have the rest. A hub that restarts plans each application once, and has its state again.
type states struct {
	mu sync.Mutex
	of map[types.NamespacedName]*state
}

// state of one application. Event handlers note what has happened, under the lock of states; the rest belongs to the
// reconciliation, of which there is one at a time.
type state struct {
	// reported are the clusters on which something has become of the application's works since the last reconciliation. It is
	// true where that is more than a status.
	reported map[string]bool
	// planNeeded is true when an input of the plan has changed since the last reconciliation.
	planNeeded bool
	// report of the last plan, nil before the first. Event handlers read only what a plan sets and a step leaves as it is.
	report *report

	// incompleteSince is when the decisions of the placement became incomplete; zero while they are complete.
	incompleteSince time.Time
	published       published
	// wrote is what the last step changed, as far as it has not been seen.
	wrote []written
}

// published is the last status that was written.
type published struct {
	writtenAt       time.Time
	uid             types.UID
	resourceVersion string
	status          musterv1alpha1.ApplicationStatus
}

// isNewerThan is true for an application that the cache returned as it was before the status was written.
func (p published) isNewerThan(app *musterv1alpha1.Application) bool {
	newer, err := resourceversion.CompareResourceVersion(p.resourceVersion, app.ResourceVersion)
	return err == nil && newer > 0 && p.uid == app.UID
}

// get is the state of an application, made when it is needed first.
func (s *states) get(app types.NamespacedName) *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[types.NamespacedName]*state{}
	}
	if s.of[app] == nil {
		s.of[app] = &state{reported: map[string]bool{}}
	}
	return s.of[app]
}

// begin gives a reconciliation what has happened to an application. What happens from now on is for the next one.
func (s *states) begin(app types.NamespacedName) (*state, map[string]bool) {
	st := s.get(app)
	s.mu.Lock()
	defer s.mu.Unlock()
	reported := st.reported
	st.reported = map[string]bool{}
	if st.planNeeded {
		st.report, st.planNeeded = nil, false
	}
	return st, reported
}

// keep makes a report the one that the next reconciliation begins with; nil makes that one plan.
func (s *states) keep(st *state, out *report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.report = out
}

func (s *states) forget(app types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, app)
}

// noteReport notes that something has become of the works of applications on a cluster, and whether that is more than a status.
func (s *states) noteReport(apps []reconcile.Request, cluster string, changed bool) []reconcile.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, app := range apps {
		if st := s.of[app.NamespacedName]; st != nil {
			st.reported[cluster] = st.reported[cluster] || changed
		}
	}
	return apps
}

// needPlan notes that applications have to be planned.
func (s *states) needPlan(apps []reconcile.Request) []reconcile.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, app := range apps {
		if st := s.of[app.NamespacedName]; st != nil {
			st.planNeeded = true
		}
	}
	return apps
}

// plans wakes applications so that they are planned. The note comes before the request, so that the reconciliation sees it.
func (s *states) plans(which handler.MapFunc) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return s.needPlan(which(ctx, o))
	})
}

// whose are the applications of whose last report something is true, sorted.
func (s *states) whose(is func(*report) bool) []reconcile.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var requests []reconcile.Request
	for key, st := range s.of {
		if st.report != nil && is(st.report) {
			requests = append(requests, reconcile.Request{NamespacedName: key})
		}
	}
	slices.SortFunc(requests, func(a, b reconcile.Request) int { return cmp.Compare(a.String(), b.String()) })
	return requests
}

// waitingOnObject are the applications that wait on a cluster for an object that another owner has, or is to have.
func (s *states) waitingOnObject(cluster string) []reconcile.Request {
	return s.whose(func(out *report) bool { return out.waitingOn[cluster] })
}

// takingOver are the applications that have the place of an owner.
func (s *states) takingOver(former fleet.Owner) []reconcile.Request {
	return s.whose(func(out *report) bool {
		return slices.ContainsFunc(out.former, func(a musterv1alpha1.Application) bool { return fleet.OwnerOf(&a) == former })
	})
}

// plansFor is true when a cluster matters to the plan of an application. Of one that is not planned yet, every cluster does.
func (s *states) plansFor(app types.NamespacedName, cluster string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.of[app]
	if st == nil || st.report == nil {
		return true
	}
	out := st.report
	return len(out.faults[""])+len(out.faults[cluster]) > 0 || out.planned.On(cluster) != nil // any cluster may end a fault of no cluster
}

// sameInputs is true when an application has changed in nothing that its plan reads. An approval is read by a step.
func sameInputs(before, now *musterv1alpha1.Application) bool {
	annotations := func(app *musterv1alpha1.Application) map[string]string {
		all := maps.Clone(app.Annotations)
		for _, hand := range []string{
			musterv1alpha1.ApprovedPlanAnnotation, musterv1alpha1.ApprovedStepsAnnotation, musterv1alpha1.SkippedStepsAnnotation,
			musterv1alpha1.AbortAnnotation, musterv1alpha1.RolloutByAnnotation,
		} {
			delete(all, hand)
		}
		return all
	}
	return before.UID == now.UID && before.Generation == now.Generation && maps.Equal(before.Labels, now.Labels) &&
		maps.Equal(annotations(before), annotations(now))
}
