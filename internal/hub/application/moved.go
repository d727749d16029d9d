package application

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// renames are the renames of a delivered commit in the application's namespace.
func (r *Applications) renames(ctx context.Context, app *musterv1alpha1.Application, repo types.NamespacedName, delivery *hub.Delivery) (fleet.Renames, error) {
	if !slices.ContainsFunc(delivery.Definitions.Applications(), func(a *musterv1alpha1.Application) bool {
		return a.Namespace == app.Namespace && a.Annotations[musterv1alpha1.MovedFromAnnotation] != ""
	}) {
		return nil, nil
	}
	var live musterv1alpha1.ApplicationList
	if err := r.Client.List(ctx, &live, client.InNamespace(app.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	return delivery.Definitions.Renames(repo.String(), live.Items), nil
}

// takeOver adds to an application's world what was of the applications whose place it has: their works and their losses.
func (r *Applications) takeOver(ctx context.Context, app *musterv1alpha1.Application, out *report) error {
	before := out.renames.FormerNames(app.Namespace + "/" + app.Name)
	r.renamed.note(client.ObjectKeyFromObject(app), before)
	for _, key := range before {
		var old musterv1alpha1.Application
		old.Namespace, old.Name, _ = strings.Cut(key, "/")
		out.world.Works = append(out.world.Works, out.renames.Works(r.Works.Of(fleet.OwnerOf(&old)))...)
		err := r.Client.Get(ctx, client.ObjectKeyFromObject(&old), &old)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		mine := &out.world.Applications[0]
		mine.Status.RecentRemovals = out.renames.RecentRemovals(mine, []musterv1alpha1.Application{old})
	}
	slices.SortFunc(out.world.Works, func(a, b fleet.LiveWork) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name))
	})
	return nil
}

// renamed remembers which applications take over whose works, so that they are woken by those.
type renamed struct {
	mu sync.Mutex
	by map[string]types.NamespacedName // namespace/name of the old one -> the new one
}

// note replaces what is known of one application.
func (n *renamed) note(key types.NamespacedName, before []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for old, now := range n.by {
		if now == key {
			delete(n.by, old)
		}
	}
	for _, old := range before {
		if n.by == nil {
			n.by = map[string]types.NamespacedName{}
		}
		n.by[old] = key
	}
}

// requests of the application that takes over the works of another one.
func (n *renamed) requests(old string) []reconcile.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now, ok := n.by[old]; ok {
		return []reconcile.Request{{NamespacedName: now}}
	}
	return nil
}
