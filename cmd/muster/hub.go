package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/embedded"
)

// kubeconfigs are where to look for the hub: --kubeconfig, else $KUBECONFIG, else what muster up wrote.
func (c *cli) kubeconfigs() (*clientcmd.ClientConfigLoadingRules, error) {
	if c.kubeconfig != "" {
		if _, err := os.Stat(c.kubeconfig); err != nil {
			return nil, fmt.Errorf("--kubeconfig: %w: name the file of a hub, or leave the flag out to ask that of $KUBECONFIG or of muster up", err)
		}
		return &clientcmd.ClientConfigLoadingRules{ExplicitPath: c.kubeconfig}, nil
	}
	if env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); env != "" {
		return &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(env)}, nil
	}
	return &clientcmd.ClientConfigLoadingRules{ExplicitPath: embedded.HubKubeconfig(c.state)}, nil
}

// hubConfig is how to reach the hub.
func (c *cli) hubConfig() (*rest.Config, error) {
	loader, err := c.kubeconfigs()
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loader, &clientcmd.ConfigOverrides{}).ClientConfig()
	if c.kubeconfig == "" && (errors.Is(err, fs.ErrNotExist) || clientcmd.IsEmptyConfig(err)) {
		return nil, fmt.Errorf("which hub? Name its --kubeconfig, set $KUBECONFIG, or start one with muster up (none is in %s)", c.state)
	}
	if err != nil {
		return nil, fmt.Errorf("find the hub: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	config.Timeout = c.patience
	c.host, c.embedded = config.Host, loader.ExplicitPath == embedded.HubKubeconfig(c.state)
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

// withNextStep adds the next step to the error of a hub that does not answer. The exit code is then 2.
func (c *cli) withNextStep(err error) error {
	var network net.Error
	var lookup *net.DNSError
	next := ""
	switch {
	case c.host == "":
		return err
	case errors.Is(err, syscall.ECONNREFUSED) && c.embedded:
		next = fmt.Sprintf("the hub in %s does not run: muster up starts it again", c.state)
	case errors.Is(err, syscall.ECONNREFUSED):
		next = fmt.Sprintf("nobody listens at %s: start the hub, or name another with --kubeconfig", c.host)
	case errors.As(err, &lookup):
		next = fmt.Sprintf("the name of the hub at %s cannot be resolved: see whether it is written well, or name another hub with --kubeconfig", c.host)
	case errors.As(err, &network) && network.Timeout(), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		next = fmt.Sprintf("the hub at %s does not answer in time: see whether its API server and its etcd run", c.host)
		if c.embedded {
			next += "; muster up starts what has ended"
		}
	case errors.As(err, &network):
		next = fmt.Sprintf("the hub at %s cannot be reached", c.host)
	default:
		return err
	}
	return exitError{code: exitTrouble, message: next + "\n(" + err.Error() + ")"}
}

// scheme knows the kinds that the commands work with.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, authorizationv1.AddToScheme, eventsv1.AddToScheme, certificatesv1.AddToScheme, coordinationv1.AddToScheme, rbacv1.AddToScheme, authenticationv1.AddToScheme,
		clusterv1.AddToScheme, clusterv1alpha1.AddToScheme, clusterv1beta1.AddToScheme, clusterv1beta2.AddToScheme,
		workv1.AddToScheme, musterv1alpha1.AddToScheme, addonv1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err) // two types of one name: a mistake of ours, which every test finds
		}
	}
	return s
}()
