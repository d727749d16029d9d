package addon

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	"github.com/muster-io/muster/internal/addonstatus"
)

// hubClient works with the hub. What it reads is remembered; live reads past that.
type hubClient struct {
	client.Client
	live client.Reader
}

// report changes the status of an add-on on the hub.
func (h hubClient) report(ctx context.Context, key client.ObjectKey, change func(*addonv1alpha1.ManagedClusterAddOnStatus)) error {
	return addonstatus.Change(ctx, h.Client, h.live, key, change)
}
