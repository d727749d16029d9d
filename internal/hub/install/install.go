// Package install puts on an API server what a hub counts on there: the kinds, the admission policies, the rights.
package install

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/registration"
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

// Policies are the admission policies that Hub installs, with apiVersion and kind, for the chart.
func Policies() []client.Object { return typed(cluster.Policies()) }

// Rights are the roles and bindings that Hub installs, with apiVersion and kind, for the chart. The chart has the namespace and
// the account itself.
func Rights() []client.Object {
	all := slices.DeleteFunc(hub.Rights(), func(o client.Object) bool {
		switch o.(type) {
		case *corev1.Namespace, *corev1.ServiceAccount:
			return true
		}
		return false
	})
	return typed(append(all, registration.WantBootstrapRole()))
}

func typed(objects []client.Object) []client.Object {
	for _, o := range objects {
		kind, err := apiutil.GVKForObject(o, scheme.Scheme)
		if err != nil {
			panic(err) // a kind that client-go does not have: a mistake of ours
		}
		o.GetObjectKind().SetGroupVersionKind(kind)
	}
	return objects
}
