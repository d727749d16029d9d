package application

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// claims makes a fault of every cluster on which an object that this application wants to add is another's: it is in
// another application's work, or nobody has it yet and the delivered plan gives it to another one.
func (r *Applications) claims(ctx context.Context, a *plan.Application, delivered *plan.Plan) error {
	var failed error
	a.Claim(func(cluster string, object fleet.ObjectKey) string {
		holder, err := r.holder(ctx, cluster, object, a.Key())
		if err != nil {
			failed = err
		}
		if holder == "" && delivered != nil {
			holder = delivered.Claimed(cluster, object, a.Key())
		}
		return holder
	})
	if failed != nil {
		return fmt.Errorf("look up the claims of %s: %w", a.Key(), failed)
	}
	return nil
}

// holder is another application that has the object in a work on the cluster.
func (r *Applications) holder(ctx context.Context, cluster string, object fleet.ObjectKey, me string) (string, error) {
	var list workv1.ManifestWorkList
	err := r.Client.List(ctx, &list, client.InNamespace(cluster), client.MatchingFields{hub.ObjectIndex: hub.ObjectIndexKey(object)})
	if err != nil {
		return "", err
	}
	for i := range list.Items {
		if lw := hub.LiveWork(&list.Items[i]); lw.Application != "" && lw.Application != me {
			return lw.Application, nil
		}
	}
	return "", nil
}

// blocked remembers which applications wait for an object that another one has, so that they are looked at again when a work
// of that cluster changes.
type blocked struct {
	mu sync.Mutex
	on map[string]map[string]bool // cluster -> applications
}

// note replaces what is known of one application.
func (b *blocked) note(a *plan.Application) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for cluster, apps := range b.on {
		delete(apps, a.Key())
		if len(apps) == 0 {
			delete(b.on, cluster)
		}
	}
	for _, f := range a.Faults {
		if f.Reason != fleet.ObjectClaimed {
			continue
		}
		if b.on == nil {
			b.on = map[string]map[string]bool{}
		}
		if b.on[f.Cluster] == nil {
			b.on[f.Cluster] = map[string]bool{}
		}
		b.on[f.Cluster][a.Key()] = true
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
