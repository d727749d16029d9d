package application

import (
	"context"
	"maps"
	"slices"
	"sync"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// followed are the applications that have been looked at. Of one in which nothing is left to do the last report is kept: what
// clusters say of its works is taken into that, and does not make it planned anew for all of them.
type followed struct {
	mu sync.Mutex
	of map[types.NamespacedName]*settled
}

// settled is what is known of one application between two looks.
type settled struct {
	// report of a pass that left nothing to do; nil while something is.
	report *report
	// app is the application as it was then.
	app *musterv1alpha1.Application
	// reported are the clusters of which a work has come, changed or gone since the last look.
	reported map[string]bool
	// calls for a plan so far: a pass during which there is one settles nothing.
	calls int
}

// reports notes that something became of a work on a cluster.
func (f *followed) reports(apps []reconcile.Request, cluster string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, app := range apps {
		if s := f.of[app.NamespacedName]; s != nil {
			s.reported[cluster] = true
		}
	}
}

// call notes that applications have to be planned.
func (f *followed) call(apps []reconcile.Request) []reconcile.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, app := range apps {
		if s := f.of[app.NamespacedName]; s != nil {
			s.report, s.calls = nil, s.calls+1
		}
	}
	return apps
}

// wake wakes applications so that they are planned.
func (f *followed) wake(which handler.MapFunc) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return f.call(which(ctx, o))
	})
}

// begin takes what is known of an application, for a look at it.
func (f *followed) begin(app types.NamespacedName) settled {
	f.mu.Lock()
	defer f.mu.Unlock()
	var taken settled
	if s := f.of[app]; s != nil {
		taken = *s
	}
	if f.of == nil {
		f.of = map[types.NamespacedName]*settled{}
	}
	f.of[app] = &settled{reported: map[string]bool{}, calls: taken.calls}
	return taken
}

// settle keeps the report of a look that left nothing to do, unless there was a call for a plan meanwhile.
func (f *followed) settle(app *musterv1alpha1.Application, began settled, out *report) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.of[client.ObjectKeyFromObject(app)]; s != nil && s.calls == began.calls {
		s.report, s.app = out, app
	}
}

func (f *followed) forget(app types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.of, app)
}

// follow is the last report with what clusters have said since; nil when the application has to be planned.
func (r *Applications) follow(app *musterv1alpha1.Application, last settled) *report {
	if last.report == nil || last.app.UID != app.UID || last.app.Generation != app.Generation ||
		!maps.Equal(last.app.Annotations, app.Annotations) || !maps.Equal(last.app.Labels, app.Labels) {
		return nil
	}
	for _, cluster := range slices.Sorted(maps.Keys(last.reported)) {
		if !last.report.planned.Follow(cluster, r.Works.On(cluster, fleet.OwnerOf(app))) {
			return nil
		}
	}
	return last.report
}

// nothingLeft: the works are what they should be. What is still to come are reports of clusters.
func (o *report) nothingLeft() bool {
	return o.planned != nil && len(o.planned.Faults)+len(o.planned.Losing())+len(o.step.Now)+len(o.step.Held)+len(o.refused) == 0 && !o.behind
}
