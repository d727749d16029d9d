package fleetrepository

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
)

// Try asks the API server what it would say to definitions of a repository, with the rights of its account, and changes nothing. It
// gives the faults of those that it would reject. Of a definition whose namespace is not there yet nobody can say.
func (r *Repositories) Try(ctx context.Context, repo *musterv1alpha1.FleetRepository, definitions []fleet.Definition) (map[fleet.ObjectKey]fleet.Fault, error) {
	w, err := r.writer(repo)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	faults := map[fleet.ObjectKey]fleet.Fault{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(applyWriters)
	for i := range definitions {
		d := &definitions[i]
		group.Go(func() error {
			err := r.tryOne(ctx, repo, w, d)
			if err == nil || apierrors.IsNotFound(err) {
				return nil
			}
			fault, retry := refusal(err, d, repo)
			if retry {
				return fmt.Errorf("try %s from %s: %w", d.Key, d.File, err)
			}
			mu.Lock()
			defer mu.Unlock()
			faults[d.Key] = fault
			return nil
		})
	}
	return faults, group.Wait()
}

func (r *Repositories) tryOne(ctx context.Context, repo *musterv1alpha1.FleetRepository, w *writes, d *fleet.Definition) error {
	resource := resourceOf(w, d.Key)
	live, err := resource.Get(ctx, d.Key.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if apierrors.IsNotFound(err) {
		live = nil
	}
	if err := r.mayWrite(ctx, live, repo, d); err != nil {
		return err
	}
	wanted, err := stamped(repo, d)
	if err != nil {
		return err
	}
	_, err = resource.Apply(ctx, wanted.GetName(), wanted, metav1.ApplyOptions{FieldManager: plan.FieldManager, Force: true, DryRun: []string{metav1.DryRunAll}})
	return err
}
