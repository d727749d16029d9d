package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/ui"
)

// OIDCOptions name the OpenID Connect provider where people log in to the page.
type OIDCOptions struct {
	Issuer, ClientID string
	// Scopes beside openid.
	Scopes []string
	// Dir has client-secret, unless the client is public, and ca.crt, unless the system's authorities vouch for the provider.
	Dir string
}

func (o *OIDCOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.Issuer, "ui-oidc-issuer", "", "URL of the OpenID Connect provider where people log in to the page, that of the API server's --oidc-issuer-url; it sends them back to --ui-url + /login/oidc/callback; left out, people log in with a token")
	f.StringVar(&o.ClientID, "ui-oidc-client-id", "", "client of the page at --ui-oidc-issuer, which the API server accepts as audience")
	f.StringSliceVar(&o.Scopes, "ui-oidc-scopes", nil, "scopes to ask for beside openid, such as email,groups: those that have the claims which the API server takes names from")
	f.StringVar(&o.Dir, "ui-oidc-dir", "", "folder with client-secret, unless the client is public, and ca.crt, unless everybody trusts the provider")
}

// provider is nil where none is named.
func (o *OIDCOptions) provider(pageURL string) (*ui.OIDC, error) {
	if o.Issuer == "" {
		return nil, nil
	}
	if o.ClientID == "" || pageURL == "" {
		return nil, errors.New("--ui-oidc-issuer wants --ui-oidc-client-id, and --ui-url, to which people come back")
	}
	p := &ui.OIDC{Issuer: o.Issuer, ClientID: o.ClientID, Scopes: o.Scopes, PageURL: pageURL}
	if o.Dir == "" {
		return p, nil
	}
	secret, err := os.ReadFile(filepath.Join(o.Dir, "client-secret"))
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("--ui-oidc-dir: %w", err)
	}
	p.ClientSecret = strings.TrimSpace(string(secret))
	ca, err := os.ReadFile(filepath.Join(o.Dir, "ca.crt"))
	if os.IsNotExist(err) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--ui-oidc-dir: %w", err)
	}
	if p.Roots = x509.NewCertPool(); !p.Roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("--ui-oidc-dir: ca.crt holds no certificate in PEM")
	}
	return p, nil
}

// servePage serves the page of the fleet to people who log in with a token of their own. Every replica serves it: it needs no
// leader.
func (p *parts) servePage(ctx context.Context) error {
	if p.UIAddress == "" {
		return nil
	}
	works, err := p.index()
	if err != nil {
		return err
	}
	provider, err := p.UIOIDC.provider(p.UIURL)
	if err != nil {
		return err
	}
	page := &ui.Server{
		Reader: p.mgr.GetClient(), Works: works, Version: version, Now: time.Now, Log: p.mgr.GetLogger().WithName("ui"),
		Access: &ui.Tokens{Config: p.mgr.GetConfig(), Scheme: p.mgr.GetScheme(), Now: time.Now, OIDC: provider},
	}
	if p.reviews != nil {
		page.Plans = p.reviews
	}
	if err := hub.FollowPage(ctx, p.mgr.GetCache(), works, page.Changed); err != nil {
		return fmt.Errorf("serve the page: %w", err)
	}
	handler, err := page.Handler()
	if err != nil {
		return fmt.Errorf("serve the page: %w", err)
	}
	server := &http.Server{Addr: p.UIAddress, Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	if p.UICertDir == "" { // something in front ends TLS
		return p.mgr.Add(&manager.Server{Name: "ui", Server: server})
	}
	certificates, err := certwatcher.New(filepath.Join(p.UICertDir, "tls.crt"), filepath.Join(p.UICertDir, "tls.key"))
	if err != nil {
		return fmt.Errorf("--ui-cert-dir: %w", err)
	}
	if err := p.mgr.Add(certificates); err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", p.UIAddress, &tls.Config{GetCertificate: certificates.GetCertificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		return fmt.Errorf("--ui-address %s: %w", p.UIAddress, err)
	}
	return p.mgr.Add(&manager.Server{Name: "ui", Server: server, Listener: listener})
}
