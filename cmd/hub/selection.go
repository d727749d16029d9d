package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/hub/manifestworkreplicaset"
	"github.com/muster-io/muster/internal/work"
)

func selection(names []string) ([]string, error) {
	all := slices.Sorted(maps.Keys(controllers))
	if len(names) == 0 || slices.Contains(names, "*") {
		return all, nil
	}
	for _, name := range names {
		if controllers[name] == nil {
			return nil, fmt.Errorf("there is no controller %q: --controllers takes %s, or *", name, strings.Join(all, ", "))
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names))), nil
}

// companions are the controllers that work only together with another one in the same process.
var companions = []struct{ controller, needs, why string }{
	{"application", "fleetrepository", "applications are planned from the repositories that it fetches"},
	{"review", "fleetrepository", "pull requests are planned with the credentials and the rights of the repositories that it fetches"},
	{"source", "fleetrepository", "it fetches what the applications of repositories name"},
	{"fleetrepository", "application", "without it nothing turns the commits that are delivered into works"},
}

// check refuses a combination of options in which one has no effect, or in which a controller would wait for ever.
func (o *Options) check(selected []string) error {
	for _, c := range companions {
		if slices.Contains(selected, c.controller) && !slices.Contains(selected, c.needs) && !o.anyControllers {
			return fmt.Errorf("--controllers %s: %s needs %s: %s; add %s, or leave --controllers out to run all",
				strings.Join(selected, ","), c.controller, c.needs, c.why, c.needs)
		}
	}
	if o.ManifestLimit > work.LargestManifest>>10 {
		return fmt.Errorf("--manifest-limit %d: an API server takes no work with a manifest of more than %d KiB", o.ManifestLimit, work.LargestManifest>>10)
	}
	if slices.Contains(selected, "fleetrepository") {
		return nil
	}
	for _, option := range []struct {
		flag  string
		given bool
	}{
		{"webhook-address", o.WebhookAddress != ""}, {"local-repositories", len(o.LocalRepositories) > 0},
		{"hub-cluster", o.HubCluster != "" && !slices.Contains(selected, manifestworkreplicaset.Name)},
	} {
		if option.given {
			return fmt.Errorf("--%s is an option of controller fleetrepository, which --controllers %s leaves out", option.flag, strings.Join(selected, ","))
		}
	}
	return nil
}

// leaseName is the name of the Lease with which hubs elect a leader. Hubs with other controllers have another one: parts of a
// hub that run apart do not wait for each other.
func leaseName(selected []string) string {
	if len(selected) == len(controllers) {
		return "muster-hub"
	}
	return "muster-hub-" + strings.Join(selected, "-")
}

// prepareElection creates the namespace of the Lease if --install did not run against the API server.
func (o *Options) prepareElection(ctx context.Context, mgr ctrl.Manager) error {
	if !o.LeaderElection {
		return nil
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: cluster.SystemNamespace}}
	if err := mgr.GetAPIReader().Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err == nil {
		return nil
	}
	if err := mgr.GetClient().Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("elect a leader: create namespace %s: %w; create it, or run one hub with --leader-elect=false", namespace.Name, err)
	}
	return nil
}
