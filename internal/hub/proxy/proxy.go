// Package proxy carries requests of the hub's users to the API servers of managed clusters.
//
//	kubectl --https--> Proxy --Konnectivity's tunnel, which the agent opened--> agent --as the user--> API server of the cluster
//
// A user shows what the hub's API server would take: a bearer token or a client certificate. The right to reach a cluster is get of
// managedclusters/proxy on the hub; what the user may do there is the RBAC of the cluster, since the agent acts as the user. An agent
// shows its client certificate of the hub. Both come to one port: an agent speaks gRPC.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"
	clientproto "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	"sigs.k8s.io/apiserver-network-proxy/pkg/server"
	"sigs.k8s.io/apiserver-network-proxy/pkg/server/proxystrategies"
	agentproto "sigs.k8s.io/apiserver-network-proxy/proto/agent"
	"sigs.k8s.io/apiserver-network-proxy/proto/header"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/access"
	"github.com/muster-io/muster/internal/registration"
)

// Proxy answers users and takes the tunnels of agents.
type Proxy struct {
	// Authenticator knows who asks, users and agents.
	Authenticator authenticator.Request
	// Authorizer is the hub's RBAC.
	Authorizer authorizer.Authorizer
	// Clusters reads ManagedClusters.
	Clusters ctrlclient.Reader
	// Log has one line for each request that is carried.
	Log logr.Logger

	agents    *grpc.Server
	frontend  *grpc.Server
	listener  *bufconn.Listener
	transport *http.Transport
}

const (
	// backlog is how many packets of one tunnel wait in memory, Konnectivity's own default.
	backlog = 150
	// pipe is the buffer, in bytes, between this package and Konnectivity's server, which are one process.
	pipe = 64 << 10
	// dialTimeout is how long an agent may take to answer.
	dialTimeout = 10 * time.Second
)

// Start makes the proxy ready to serve until the context ends.
func (p *Proxy) Start(ctx context.Context) {
	konnectivity := server.NewProxyServer("muster-hub", []proxystrategies.ProxyStrategy{proxystrategies.ProxyStrategyDestHost}, 1,
		&server.AgentTokenAuthenticationOptions{}, backlog)
	p.agents, p.frontend, p.listener = grpc.NewServer(), grpc.NewServer(), bufconn.Listen(pipe)
	agentproto.RegisterAgentServiceServer(p.agents, konnectivity)
	clientproto.RegisterProxyServiceServer(p.frontend, konnectivity)
	p.transport = &http.Transport{DialContext: p.dial, DisableCompression: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}
	go func() { _ = p.frontend.Serve(p.listener) }() // ends with Stop, and with nothing else
	context.AfterFunc(ctx, func() {
		p.transport.CloseIdleConnections()
		p.agents.Stop()
		p.frontend.Stop()
	})
}

// dial opens a connection through the tunnel of the cluster that the address names. The agent decides where it ends.
func (p *Proxy) dial(ctx context.Context, _, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	tunnel, err := client.CreateSingleUseGrpcTunnelWithContext(ctx, context.Background(), "passthrough:///konnectivity",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials())) // within this process
	if err != nil {
		return nil, err
	}
	return tunnel.DialContext(ctx, "tcp", address)
}

// ServeHTTP serves an agent or a user.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, ok, err := p.Authenticator.AuthenticateRequest(r)
	if err != nil || !ok {
		access.Refuse(w, apierrors.NewUnauthorized("the proxy takes a bearer token or a client certificate of the hub"))
		return
	}
	if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		p.serveAgent(w, r, who.User)
		return
	}
	p.serveUser(w, r, who.User)
}

// serveAgent takes a tunnel. Which cluster it leads to says the agent's certificate, and not the agent.
func (p *Proxy) serveAgent(w http.ResponseWriter, r *http.Request, who user.Info) {
	cluster, err := registration.ClusterOf(who.GetName(), who.GetGroups())
	if err == nil {
		err = p.accepted(r.Context(), cluster)
	}
	if err != nil {
		p.Log.Info("a tunnel is refused", "user", who.GetName(), "reason", err.Error())
		access.Refuse(w, apierrors.NewForbidden(proxies, cluster, err))
		return
	}
	r.Header.Set(header.AgentID, who.GetName())
	r.Header.Set(header.AgentIdentifiers, string(header.Host)+"="+cluster)
	p.Log.Info("a tunnel is open", "cluster", cluster, "agent", who.GetName())
	p.agents.ServeHTTP(w, r)
	p.Log.Info("a tunnel has ended", "cluster", cluster, "agent", who.GetName())
}

// proxies is what messages call what is asked for.
var proxies = schema.GroupResource{Group: clusterv1.GroupName, Resource: "managedclusters/" + access.Subresource}

// accepted says why nobody reaches a cluster, nil when somebody may.
func (p *Proxy) accepted(ctx context.Context, name string) error {
	var cluster clusterv1.ManagedCluster
	err := p.Clusters.Get(ctx, ctrlclient.ObjectKey{Name: name}, &cluster)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no managed cluster %s", name)
	case err != nil:
		return fmt.Errorf("read cluster %s: %w", name, err)
	case !cluster.Spec.HubAcceptsClient || !cluster.DeletionTimestamp.IsZero():
		return fmt.Errorf("the hub does not accept cluster %s", name)
	}
	return nil
}

// serveUser carries one request to a cluster, if the user may.
func (p *Proxy) serveUser(w http.ResponseWriter, r *http.Request, who user.Info) {
	cluster, rest, err := access.Split(r.URL.Path)
	if err != nil {
		access.Refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	if err := p.may(r, who, cluster); err != nil {
		p.Log.Info("a request is refused", "cluster", cluster, "user", who.GetName(), "method", r.Method, "path", rest)
		access.Refuse(w, err)
		return
	}
	if err := p.accepted(r.Context(), cluster); err != nil {
		access.Refuse(w, apierrors.NewServiceUnavailable(err.Error()))
		return
	}
	log := p.Log.WithValues("cluster", cluster, "user", who.GetName(), "method", r.Method, "path", rest)
	identity := access.OnCluster(who.GetName(), who.GetGroups())
	carrier := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			u := *pr.In.URL
			u.Scheme, u.Host, u.Path, u.RawPath = "http", cluster, rest, strings.TrimPrefix(pr.In.URL.RawPath, "/"+cluster)
			pr.Out.URL, pr.Out.Host = &u, ""
			identity.Set(pr.Out.Header)
		},
		Transport:     p.transport,
		FlushInterval: -1,                                                              // a watch is told at once
		ErrorLog:      slog.NewLogLogger(logr.ToSlogHandler(log.V(1)), slog.LevelInfo), // a body that breaks off is the user's to see
		ModifyResponse: func(response *http.Response) error {
			log.Info("a request is carried", "status", response.StatusCode)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the user has gone
			}
			log.Info("a request cannot be carried", "reason", err.Error())
			access.Refuse(w, apierrors.NewServiceUnavailable(fmt.Sprintf(
				"cluster %s has no tunnel to the hub, or it broke: its klusterlet has to run with role proxy and to reach the proxy's address (muster status cluster %s)", cluster, cluster)))
		},
	}
	carrier.ServeHTTP(w, r)
}

// may asks the hub's RBAC. Who may not reach a cluster does not learn whether there is one.
func (p *Proxy) may(r *http.Request, who user.Info, cluster string) *apierrors.StatusError {
	if access.Impersonates(r.Header) {
		return apierrors.NewForbidden(proxies, cluster, errors.New("the proxy carries nobody's request as somebody else's: leave --as away"))
	}
	decision, reason, err := p.Authorizer.Authorize(r.Context(), authorizer.AttributesRecord{
		User: who, Verb: access.Verb, APIGroup: clusterv1.GroupName, APIVersion: clusterv1.GroupVersion.Version,
		Resource: "managedclusters", Subresource: access.Subresource, Name: cluster, ResourceRequest: true,
	})
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("ask the hub what %s may: %w", who.GetName(), err))
	}
	if decision != authorizer.DecisionAllow {
		return apierrors.NewForbidden(proxies, cluster, fmt.Errorf("user %q cannot %s managedclusters/%s %s on the hub %s", who.GetName(), access.Verb, access.Subresource, cluster, reason))
	}
	return nil
}
