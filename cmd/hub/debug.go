package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/muster-io/muster/internal/hub/placement"
)

// servePlacementDebug answers how placements are scheduled, as OCM's debug server does: over TLS with a certificate of its
// own, to callers with a token of the API server. Every hub answers, the leader or not: it asks its own cache.
func (p *parts) servePlacementDebug() error {
	if p.PlacementDebugAddress == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(p.PlacementDebugAddress)
	if err != nil {
		return fmt.Errorf("listen for questions about placements: %w", err)
	}
	if host == "" {
		host = "localhost"
	}
	cert, key, err := certutil.GenerateSelfSignedCertKey(host, nil, nil)
	if err != nil {
		return fmt.Errorf("make a certificate for questions about placements: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("make a certificate for questions about placements: %w", err)
	}
	listener, err := tls.Listen("tcp", p.PlacementDebugAddress, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return fmt.Errorf("listen for questions about placements: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle(placement.DebugPath, &placement.Debug{Reader: p.mgr.GetClient(), Reviews: p.mgr.GetClient(), Now: time.Now})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	return p.mgr.Add(&manager.Server{Name: "placement-debug", Server: server, Listener: listener})
}
