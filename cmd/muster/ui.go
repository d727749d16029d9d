package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/ui"
)

func uiCommand(c *cli) *cobra.Command {
	var (
		address string
		open    bool
	)
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Show the fleet in a browser: clusters, applications, placements, drift, and what happens",
		Long: "Serves the page on this machine, with your own rights on the hub, until it is interrupted. The address that it prints lets\n" +
			"one person in; nobody else on the machine gets in without it. The same answers are JSON below /api/v1.",
		Example: "  muster ui\n  muster ui --address 127.0.0.1:8080 --open=false",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := c.hubConfig()
			if err != nil {
				return err
			}
			return c.serveUI(cmd.Context(), config, address, open)
		},
	}
	cmd.Flags().StringVar(&address, "address", "127.0.0.1:0", "loopback address to serve at; port 0 takes a free one")
	cmd.Flags().BoolVar(&open, "open", true, "open the page in the browser")
	return cmd
}

func (c *cli) serveUI(ctx context.Context, config *rest.Config, address string, open bool) error {
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--address %q is not a loopback address with a port, such as 127.0.0.1:8080: whoever reaches the page acts with your rights", address)
	}
	me, err := c.person(ctx, config)
	if err != nil {
		return err
	}
	access := ui.NewLocal(me)
	server := &ui.Server{Access: access, Version: version, Now: c.now, Log: ctrl.Log}
	index, err := uiIndex(ctx, config, server)
	if err != nil {
		return err
	}
	handler, err := server.Handler()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 2)
	go func() { failed <- index.Start(ctx) }()
	fmt.Fprintf(c.errs, "reading the fleet of %s\n", config.Host)
	if !index.GetCache().WaitForCacheSync(ctx) {
		select {
		case err := <-failed:
			if err != nil {
				return fmt.Errorf("read the fleet: %w", err)
			}
		default:
		}
		return ctx.Err()
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve the page: %w; another address can be given with --address", err)
	}
	page := fmt.Sprintf("http://%s/?token=%s", listener.Addr(), access.Token)
	if err := c.print(map[string]string{"url": page}, func(p *printer) { p.linef("%s", page) }); err != nil {
		return err
	}
	if open {
		browse(ctx, page)
	}
	served := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { failed <- served.Serve(listener) }()
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	_ = served.Close() // those who watch hold their connections
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the page: %w", err)
	}
	return nil
}

// uiIndex follows the hub's objects for the server. Nothing of a work is kept but its facts.
func uiIndex(ctx context.Context, config *rest.Config, server *ui.Server) (ctrl.Manager, error) {
	watching := rest.CopyConfig(config)
	watching.Timeout = 0 // a watch lasts
	mgr, err := ctrl.NewManager(watching, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Cache: cache.Options{DefaultTransform: hub.Trim},
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &workv1.ManifestWork{}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("reach the hub at %s: %w", config.Host, err)
	}
	works, err := hub.WatchWorks(mgr)
	if err != nil {
		return nil, err
	}
	if err := hub.FollowPage(ctx, mgr.GetCache(), works, server.Changed); err != nil {
		return nil, err
	}
	server.Reader, server.Works = mgr.GetClient(), works
	return mgr, nil
}

// person is whoever the kubeconfig says, who may see what their own client gets.
func (c *cli) person(ctx context.Context, config *rest.Config) (*ui.Person, error) {
	direct, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("reach the hub at %s: %w", config.Host, err)
	}
	// Watching everything wants rights over all namespaces: without them the index would never be complete.
	for _, need := range []struct{ group, resource string }{
		{"work.open-cluster-management.io", "manifestworks"}, {"cluster.open-cluster-management.io", "managedclusters"},
		{"muster.dev", "applications"}, {"events.k8s.io", "events"},
	} {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Group: need.group, Resource: need.resource},
		}}
		if err := direct.Create(ctx, review); err != nil {
			return nil, fmt.Errorf("ask the hub what you may see: %w", err)
		}
		if !review.Status.Allowed {
			return nil, fmt.Errorf("the page follows the whole fleet, and you may not list %s.%s in all namespaces: ask for the ClusterRole view on the hub, or use the page that the hub serves",
				need.resource, need.group)
		}
	}
	name := config.Username
	if loader, err := c.kubeconfigs(); err == nil {
		if raw, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loader, &clientcmd.ConfigOverrides{}).RawConfig(); err == nil {
			if context := raw.Contexts[raw.CurrentContext]; context != nil {
				name = context.AuthInfo
			}
		}
	}
	return &ui.Person{Name: name, Client: direct, May: func(context.Context, string, string, string) bool { return true }}, nil
}

// browse opens an address in the person's browser. Where there is none, the address is printed all the same.
func browse(ctx context.Context, address string) {
	command := []string{"xdg-open"}
	switch runtime.GOOS {
	case "darwin":
		command = []string{"open"}
	case "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	if _, err := exec.LookPath(command[0]); err == nil {
		_ = exec.CommandContext(context.WithoutCancel(ctx), command[0], append(command[1:], address)...).Start()
	}
}
