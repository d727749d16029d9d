// Package proxy is the agent's end of the hub's proxy: it keeps a tunnel to the hub open, through which the hub's users reach the API
// server of the managed cluster, each as himself.
//
// The agent opens the connection, so that the cluster may be behind a firewall. What comes through it ends in a handler of this
// process and nowhere else: an address that the hub asks for is not looked at. The handler asks the API server with the agent's own
// credentials to act as the user that the hub names, and never as a part of the cluster (access.Identity.Check). When the
// connection breaks it is opened again; when the hub's proxy moves, it follows.
package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	"sigs.k8s.io/apiserver-network-proxy/pkg/agent"

	"github.com/muster-io/muster/internal/access"
	"github.com/muster-io/muster/internal/registration"
)

// Agent keeps a tunnel to one hub.
type Agent struct {
	// Hub and Spoke are how the hub and the managed cluster are reached.
	Hub, Spoke *rest.Config
	// Look is the time between two looks at where the hub's proxy is; Retry the first pause after a tunnel that could not be
	// opened. Zero is a minute and a second.
	Look, Retry time.Duration
	// Serving is called when the agent begins, Alive again and again while a tunnel is open; nil is nothing.
	Serving, Alive func()

	// tunnels are those that are open.
	tunnels atomic.Int64
}

// Run keeps the tunnel until the context ends.
func (a *Agent) Run(ctx context.Context) error {
	hub, err := kubernetes.NewForConfig(a.Hub)
	if err != nil {
		return fmt.Errorf("reach the hub: %w", err)
	}
	handler, err := a.handler(logr.FromContextOrDiscard(ctx))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "muster-proxy-") // for this user only
	if err != nil {
		return fmt.Errorf("make a folder for the tunnel's socket: %w", err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "api")
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listen for the tunnel: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the tunnel: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	group.Go(func() error {
		a.follow(ctx, hub, func(ctx context.Context, to endpoint) error { return a.connect(ctx, to, socket) })
		return nil
	})
	if a.Serving != nil {
		a.Serving()
	}
	return group.Wait()
}

// endpoint is where the hub's proxy is.
type endpoint struct{ url, ca string }

// follow keeps a tunnel to where the hub says that its proxy is. The tunnel that open makes lasts as long as its context.
func (a *Agent) follow(ctx context.Context, hub kubernetes.Interface, open func(context.Context, endpoint) error) {
	log := logr.FromContextOrDiscard(ctx)
	look := a.Look
	if look == 0 {
		look = time.Minute
	}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	beat := time.NewTicker(min(look, 5*time.Second))
	defer beat.Stop()
	var current *endpoint // nil while there is no tunnel
	end, said := func() {}, ""
	defer func() { end() }()
	for {
		found, err := findProxy(ctx, hub)
		if err == nil && (current == nil || found != *current) {
			if current != nil {
				end()
				current, said = nil, "" // it is over, even if the next one cannot be opened
			}
			tunnel, cancel := context.WithCancel(ctx)
			if err = open(tunnel, found); err == nil {
				log.Info("keep a tunnel to the hub's proxy", "url", found.url)
				current, end, said = &found, cancel, ""
			} else {
				cancel()
			}
		}
		if problem := fmt.Sprint(err); err != nil && problem != said && ctx.Err() == nil {
			said = problem
			log.Info("no tunnel to the hub's proxy yet", "reason", problem)
		}
		for looked := false; !looked; {
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
				if a.Alive != nil && a.tunnels.Load() > 0 {
					a.Alive()
				}
			case <-ticker.C:
				looked = true
			}
		}
	}
}

// findProxy reads where the hub's proxy is.
func findProxy(ctx context.Context, hub kubernetes.Interface) (endpoint, error) {
	found, err := hub.CoreV1().ConfigMaps(registration.SystemNamespace).Get(ctx, access.ConfigMap, metav1.GetOptions{})
	if err != nil {
		return endpoint{}, fmt.Errorf("find the hub's proxy: %w; the hub has to run with --proxy-address", err)
	}
	return endpoint{url: found.Data[access.URLKey], ca: found.Data[access.CAKey]}, nil
}

// connect keeps a tunnel until the context ends.
func (a *Agent) connect(ctx context.Context, to endpoint, socket string) error {
	u, err := url.Parse(to.url)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("the hub's ConfigMap %s/%s says that its proxy is at %q, which is no https URL", registration.SystemNamespace, access.ConfigMap, to.url)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	tls, err := rest.TLSConfigFor(a.Hub) // with the agent's certificate, read again as it rotates
	if err != nil {
		return fmt.Errorf("show the agent's certificate: %w", err)
	}
	tls.ServerName, tls.RootCAs = u.Hostname(), nil
	if to.ca != "" {
		tls.RootCAs = x509.NewCertPool()
		if !tls.RootCAs.AppendCertsFromPEM([]byte(to.ca)) {
			return fmt.Errorf("the hub's ConfigMap %s/%s has no certificate in %s", registration.SystemNamespace, access.ConfigMap, access.CAKey)
		}
	}
	retry := a.Retry
	if retry == 0 {
		retry = time.Second
	}
	set := (&agent.ClientSetConfig{
		Address: net.JoinHostPort(u.Hostname(), port), AgentID: "klusterlet", SyncInterval: retry, SyncIntervalCap: max(retry, 30*time.Second),
		ProbeInterval: time.Second, XfrChannelSize: 150,
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(credentials.NewTLS(tls)),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
			grpc.WithStreamInterceptor(a.endAt(ctx, socket)),
		},
	}).NewAgentClientSet(nil, ctx.Done())
	set.SetServerCounter(agent.NewResponseBasedCounter(set))
	set.Serve()
	return nil
}

// endAt ends every connection that the hub asks for at the agent's own handler, and the stream with the context.
func (a *Agent) endAt(ctx context.Context, socket string) grpc.StreamClientInterceptor {
	return func(stream context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, cancel := context.WithCancel(stream)
		stop := context.AfterFunc(ctx, cancel)
		opened, err := streamer(stream, desc, cc, method, o...)
		if err != nil {
			stop()
			cancel()
			return nil, err
		}
		a.tunnels.Add(1)
		context.AfterFunc(opened.Context(), func() { // one that broke leaves nothing behind
			a.tunnels.Add(-1)
			stop()
			cancel()
		})
		return &tunnel{ClientStream: opened, socket: socket}, nil
	}
}

// tunnel is Konnectivity's stream of packets from the hub.
type tunnel struct {
	grpc.ClientStream
	socket string
}

// RecvMsg replaces the address that a dial request names.
func (t *tunnel) RecvMsg(m any) error {
	err := t.ClientStream.RecvMsg(m)
	if packet, ok := m.(*client.Packet); ok && err == nil && packet.Type == client.PacketType_DIAL_REQ {
		if request := packet.GetDialRequest(); request != nil {
			request.Protocol, request.Address = "unix", t.socket
		}
	}
	return err
}

// handler carries requests to the managed cluster's API server, each as the user that the hub names.
func (a *Agent) handler(log logr.Logger) (http.Handler, error) {
	config := rest.CopyConfig(a.Spoke)
	config.NextProtos = []string{"http/1.1"} // exec and attach switch protocols, which HTTP/2 cannot
	config.Impersonate = rest.ImpersonationConfig{}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("reach the managed cluster: %w", err)
	}
	target, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("reach the managed cluster: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, err := access.Of(r.Header)
		if err != nil {
			access.Refuse(w, apierrors.NewForbidden(schema.GroupResource{Resource: "users"}, r.Header.Get("Impersonate-User"), err))
			return
		}
		(&httputil.ReverseProxy{
			Rewrite: func(pr *httputil.ProxyRequest) {
				pr.SetURL(target)
				identity.Set(pr.Out.Header)
			},
			Transport: transport, FlushInterval: -1, // a watch is told at once
			ErrorLog: slog.NewLogLogger(logr.ToSlogHandler(log.V(1)), slog.LevelInfo), // a body that breaks off is the user's to see
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
				if r.Context().Err() == nil {
					log.Info("a request of a hub's user cannot be carried to the API server", "reason", err.Error())
					access.Refuse(w, apierrors.NewServiceUnavailable("the agent does not reach the API server of its cluster"))
				}
			},
		}).ServeHTTP(w, r)
	}), nil
}
