// Package install puts on an API server what a hub counts on there: the kinds, the admission policies, the rights.
package install

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/cluster"
)

// Hub makes an API server one that a hub can run against, as the account that hub.Rights are for. It wants the rights of an
// administrator, and it can be done again.
func Hub(ctx context.Context, config *rest.Config) error {
	if err := controlplane.Install(ctx, config, crds.Hub()...); err != nil {
		return fmt.Errorf("install the CRDs: %w", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		return fmt.Errorf("install the hub's policies and rights: %w", err)
	}
	return cluster.Install(ctx, c, hub.Rights()...)
}
