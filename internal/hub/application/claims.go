package application

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// claims makes a fault of every cluster on which an object that this application wants is another's: it is in another
// application's work, or nobody has it yet and the delivered plan gives it to another one.
func (r *Applications) claims(ctx context.Context, a *plan.Application, delivered *plan.Plan, moves fleet.Moves) error {
	var failed error
	holder := func(cluster string, object fleet.ObjectKey) *fleet.LiveWork {
		lw, err := r.holder(ctx, a.Application, cluster, object, moves)
		failed = errors.Join(failed, err)
		return lw
	}
	planned := func(cluster string, object fleet.ObjectKey) string {
		if delivered == nil {
			return ""
		}
		return delivered.Claimed(cluster, object, a.Key())
	}
	yields := func(application, cluster string, object fleet.ObjectKey) bool {
		return delivered != nil && delivered.Yields(application, cluster, object)
	}
	a.Claim(holder, planned, yields)
	a.Leave(func(cluster string, object fleet.ObjectKey) string {
		if delivered == nil { // the hub has just started: whoever has it may want it, and others
			return cmp.Or(r.anotherWith(a, cluster, object, moves), rollout.NotKnown)
		}
		return delivered.Wanted(cluster, object, a.Key())
	}, func(cluster string, object fleet.ObjectKey) []fleet.LiveWork {
		return r.liveWith(cluster, object, moves)
	})
	if failed != nil {
		return fmt.Errorf("look up the claims of %s: %w", a.Key(), failed)
	}
	return nil
}

// liveWith are the works on a cluster that hold an object; those of a renamed application count as of the one that has its place.
func (r *Applications) liveWith(cluster string, object fleet.ObjectKey, moves fleet.Moves) []fleet.LiveWork {
	return moves.Works(r.Works.Holding(cluster, object))
}

// anotherWith is another application whose work holds an object on a cluster, or "".
func (r *Applications) anotherWith(a *plan.Application, cluster string, object fleet.ObjectKey, moves fleet.Moves) string {
	for _, lw := range r.liveWith(cluster, object, moves) {
		if lw.Application != "" && lw.Application != a.Key() {
			return lw.Application
		}
	}
	return ""
}

// holder is the live work that has the object on the cluster. When works of several applications hold it, which happens when
// two take it in one moment, all of them find the same.
func (r *Applications) holder(ctx context.Context, me *musterv1alpha1.Application, cluster string, object fleet.ObjectKey, moves fleet.Moves) (*fleet.LiveWork, error) {
	works := r.Works.Holding(cluster, object)
	if len(works) == 0 {
		return nil, nil
	}
	key := me.Namespace + "/" + me.Name
	owner := work.Owner("Application", me.Namespace, me.Name)
	if !slices.ContainsFunc(works, func(lw fleet.LiveWork) bool { return lw.Owner != owner }) {
		return &fleet.LiveWork{Cluster: cluster, Application: key}, nil // as nearly always
	}
	live := moves.Works(works)
	applications := []musterv1alpha1.Application{*me}
	for _, lw := range live {
		namespace, name, ok := strings.Cut(lw.Application, "/")
		if !ok || lw.Application == key {
			continue
		}
		var other musterv1alpha1.Application
		err := r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &other)
		if client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		applications = append(applications, other) // of one that is gone the age is unknown
	}
	return work.NewClaims(live, applications).Holder(cluster, object), nil
}

// contenders wakes the applications whose works hold an object of a work that has come or has changed: none of the two may
// have seen the other's when it was planned.
func (r *Applications) contenders(lw *fleet.LiveWork) []reconcile.Request {
	var requests []reconcile.Request
	for _, object := range lw.Objects {
		for _, other := range r.Works.Holding(lw.Cluster, object) {
			if other.Owner != lw.Owner {
				requests = append(requests, applicationOf(&other)...)
			}
		}
	}
	return requests
}

// applicationOf is the application of a work.
func applicationOf(lw *fleet.LiveWork) []reconcile.Request {
	namespace, name, ok := strings.Cut(lw.Application, "/")
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}}
}

// blocked remembers which applications wait for an object that another one has, or is to have, so that they are looked at again
// when a work of that cluster changes.
type blocked struct {
	mu sync.Mutex
	on map[string]map[string]bool // cluster -> applications
}

// note replaces what is known of one application.
func (b *blocked) note(a *plan.Application) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(a.Key())
	waits := a.Awaiting()
	for _, f := range a.Faults {
		if f.Reason == fleet.ObjectClaimed {
			waits = append(waits, f.Cluster)
		}
	}
	for _, cluster := range waits {
		if b.on == nil {
			b.on = map[string]map[string]bool{}
		}
		if b.on[cluster] == nil {
			b.on[cluster] = map[string]bool{}
		}
		b.on[cluster][a.Key()] = true
	}
}

func (b *blocked) forget(application string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(application)
}

func (b *blocked) drop(application string) {
	for cluster, apps := range b.on {
		delete(apps, application)
		if len(apps) == 0 {
			delete(b.on, cluster)
		}
	}
}

// requests of the applications that wait for something on a cluster.
func (b *blocked) requests(cluster string) []reconcile.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	var requests []reconcile.Request
	for _, key := range slices.Sorted(maps.Keys(b.on[cluster])) {
		namespace, name, _ := strings.Cut(key, "/")
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
	}
	return requests
}
