package addon

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

// hubClient works with the hub. What it reads is remembered; live reads past that.
type hubClient struct {
	client.Client
	live client.Reader
}

// report changes the status of an add-on on the hub. Conditions are one list, which others write too: when somebody was faster, it is
// read anew and changed again.
func (h hubClient) report(ctx context.Context, key client.ObjectKey, change func(*addonv1alpha1.ManagedClusterAddOnStatus)) error {
	reader := client.Reader(h.Client)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		addon := &addonv1alpha1.ManagedClusterAddOn{}
		if err := reader.Get(ctx, key, addon); err != nil {
			return err
		}
		reader = h.live
		base := addon.DeepCopy()
		change(&addon.Status)
		if equality.Semantic.DeepEqual(base.Status, addon.Status) {
			return nil
		}
		return h.Status().Patch(ctx, addon, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("report about add-on %s: %w", key.Name, err)
	}
	return nil
}
