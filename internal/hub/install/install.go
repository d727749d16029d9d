// Package install puts on an API server what a hub counts on there: the kinds, the admission policies, the rights.
package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/registration"
)

// Hub makes an API server one that a hub can run against, as the account that hub.Rights are for. It wants the rights of an
// administrator, and it can be done again.
func Hub(ctx context.Context, config *rest.Config) error {
	var kinds []*apiextensionsv1.CustomResourceDefinition
	for _, data := range crds.Hub() {
		kind := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(data, kind); err != nil {
			return fmt.Errorf("read the program's kinds: %w", err)
		}
		kinds = append(kinds, kind)
	}
	if err := MayReplaceKinds(ctx, config, kinds); err != nil {
		return err
	}
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

// MayReplaceKinds refuses to replace OCM's kinds where those of the API server know fields that ours do not: their values
// would be lost. Muster's own kinds are its to change.
func MayReplaceKinds(ctx context.Context, config *rest.Config, kinds []*apiextensionsv1.CustomResourceDefinition) error {
	c, err := client.New(config, client.Options{Scheme: definitions})
	if err != nil {
		return fmt.Errorf("look at the kinds that are there: %w", err)
	}
	var newer []error
	leave := "crds.install=false" // of a chart whose kinds are all OCM's
	for _, ours := range kinds {
		if !strings.HasSuffix(ours.Spec.Group, ".open-cluster-management.io") {
			leave = "crds.ocm=false"
			continue
		}
		live := &apiextensionsv1.CustomResourceDefinition{}
		if err := c.Get(ctx, client.ObjectKeyFromObject(ours), live); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return fmt.Errorf("look at kind %s: %w", ours.Name, err)
		}
		if fields := crds.Beyond(live, ours); len(fields) > 0 {
			newer = append(newer, fmt.Errorf("%s has %s", live.Name, strings.Join(fields, ", ")))
		}
	}
	if len(newer) > 0 {
		return fmt.Errorf("kinds of Open Cluster Management are there already, and are newer than this program's: replacing them would lose fields. "+
			"Use a newer Muster, or leave them to who installed them (%s):\n%w", leave, errors.Join(newer...))
	}
	return nil
}

var definitions = func() *runtime.Scheme {
	s := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(s); err != nil {
		panic(err) // two kinds of one name: a mistake of ours
	}
	return s
}()
