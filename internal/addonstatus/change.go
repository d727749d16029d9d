// Package addonstatus changes the status of an add-on on a cluster, which hub and agent both write.
package addonstatus

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

// Change changes the status of an add-on. Conditions are one list, which others write too: when somebody was faster, it is read anew
// past the cache, and changed again. An add-on that is gone has no status.
func Change(ctx context.Context, c client.Client, live client.Reader, key client.ObjectKey, change func(*addonv1alpha1.ManagedClusterAddOnStatus)) error {
	reader := client.Reader(c)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		addon := &addonv1alpha1.ManagedClusterAddOn{}
		if err := reader.Get(ctx, key, addon); err != nil {
			return err
		}
		reader = live
		base := addon.DeepCopy()
		change(&addon.Status)
		if equality.Semantic.DeepEqual(base.Status, addon.Status) {
			return nil
		}
		return c.Status().Patch(ctx, addon, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status of add-on %s: %w", key, err)
	}
	return nil
}
