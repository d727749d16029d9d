package application

import (
	"cmp"
	"context"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

// takeOver adds to an application's world the works of the applications whose place it has.
func (r *Applications) takeOver(ctx context.Context, app *musterv1alpha1.Application, world *fleet.World, out *report) error {
	for _, key := range out.renames.FormerNames(app.Namespace + "/" + app.Name) {
		var old musterv1alpha1.Application
		old.Namespace, old.Name, _ = strings.Cut(key, "/")
		err := r.Client.Get(ctx, client.ObjectKeyFromObject(&old), &old)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		old.Namespace, old.Name, _ = strings.Cut(key, "/") // of one that is gone too
		out.former = append(out.former, old)
		world.Works = append(world.Works, out.renames.Works(r.Works.Of(fleet.OwnerOf(&old)))...)
	}
	slices.SortFunc(world.Works, func(a, b fleet.LiveWork) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name))
	})
	return nil
}
