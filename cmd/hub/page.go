package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/ui"
)

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
	page := &ui.Server{
		Reader: p.mgr.GetClient(), Works: works, Version: version, Now: time.Now, Log: p.mgr.GetLogger().WithName("ui"),
		Access: &ui.Tokens{Config: p.mgr.GetConfig(), Scheme: p.mgr.GetScheme(), Now: time.Now},
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
