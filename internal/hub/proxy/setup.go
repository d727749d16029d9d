package proxy

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// remembered is how long the answers of the hub's API server about a token and a right hold.
const remembered = 10 * time.Second

// New is a proxy that asks an API server who its callers are and what they may. It follows the API server's authorities for
// client certificates until the context ends.
func New(ctx context.Context, config *rest.Config, clusters ctrlclient.Reader, log logr.Logger) (*Proxy, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for the proxy: %w", err)
	}
	authorities, err := dynamiccertificates.NewDynamicCAFromConfigMapController("client-ca", "kube-system", "extension-apiserver-authentication", "client-ca-file", clients)
	if err != nil {
		return nil, fmt.Errorf("follow the authorities of client certificates: %w", err)
	}
	if err := authorities.RunOnce(ctx); err != nil {
		return nil, fmt.Errorf("read the authorities of client certificates: %w", err)
	}
	go authorities.Run(ctx, 1)
	backoff := &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
	authenticator, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		TokenAccessReviewClient: clients.AuthenticationV1(), TokenAccessReviewTimeout: 10 * time.Second, WebhookRetryBackoff: backoff,
		CacheTTL: remembered, ClientCertificateCAContentProvider: authorities,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("authenticate users of the proxy: %w", err)
	}
	authorizer, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: clients.AuthorizationV1(), AllowCacheTTL: remembered, DenyCacheTTL: remembered, WebhookRetryBackoff: backoff,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("authorize users of the proxy: %w", err)
	}
	p := &Proxy{Authenticator: authenticator, Authorizer: authorizer, Clusters: clusters, Log: log}
	p.Start(ctx)
	return p, nil
}
