package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/embedded"
)

// hubConfig is how to reach the hub: --kubeconfig, else $KUBECONFIG, else the hub that muster up started.
func (c *cli) hubConfig() (*rest.Config, error) {
	loader := &clientcmd.ClientConfigLoadingRules{ExplicitPath: c.kubeconfig}
	if c.kubeconfig == "" {
		if env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); env != "" {
			loader = &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(env)}
		} else {
			loader.ExplicitPath = embedded.HubKubeconfig(c.state)
		}
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loader, &clientcmd.ConfigOverrides{}).ClientConfig()
	if c.kubeconfig == "" && (errors.Is(err, fs.ErrNotExist) || clientcmd.IsEmptyConfig(err)) {
		return nil, fmt.Errorf("which hub? Name its --kubeconfig, set $KUBECONFIG, or start one with muster up (none is in %s)", c.state)
	}
	if err != nil {
		return nil, fmt.Errorf("find the hub: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	config.UserAgent = "muster/" + version
	config.WarningHandler = rest.NoWarnings{}
	return config, nil
}

// hub is a client of the hub.
func (c *cli) hub() (client.Client, *rest.Config, error) {
	config, err := c.hubConfig()
	if err != nil {
		return nil, nil, err
	}
	hub, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, nil, fmt.Errorf("reach the hub at %s: %w", config.Host, err)
	}
	return hub, config, nil
}

// scheme knows the kinds that the commands work with.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, certificatesv1.AddToScheme, coordinationv1.AddToScheme, rbacv1.AddToScheme, authenticationv1.AddToScheme,
		clusterv1.AddToScheme, clusterv1alpha1.AddToScheme, clusterv1beta1.AddToScheme, clusterv1beta2.AddToScheme,
		workv1.AddToScheme, musterv1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err) // two kinds of one name: seen by every test
		}
	}
	return s
}()
