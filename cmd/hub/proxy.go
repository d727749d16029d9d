package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/muster-io/muster/internal/access"
	"github.com/muster-io/muster/internal/hub/authority"
	"github.com/muster-io/muster/internal/hub/proxy"
	"github.com/muster-io/muster/internal/registration"
)

// serveProxy carries people's requests to managed clusters. The hub that leads listens, and no other does: a tunnel leads to one hub, and
// an agent whose tunnel a standby took would be reached by nobody.
func (p *parts) serveProxy(context.Context) error {
	if p.ProxyAddress == "" {
		return nil
	}
	if _, err := p.proxyURL(p.ProxyAddress); err != nil {
		return err
	}
	return p.mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		listener, err := net.Listen("tcp", p.ProxyAddress)
		if err != nil {
			return fmt.Errorf("--proxy-address %s: %w", p.ProxyAddress, err)
		}
		defer listener.Close()
		if p.proxyListening != nil {
			p.proxyListening(listener.Addr())
		}
		u, err := p.proxyURL(listener.Addr().String())
		if err != nil {
			return err
		}
		return p.runProxy(ctx, listener, u)
	}))
}

// proxyURL is how agents and people reach the proxy, which listens at an address.
func (p *parts) proxyURL(listening string) (*url.URL, error) {
	given := p.ProxyURL
	if given == "" {
		host, _, err := net.SplitHostPort(p.ProxyAddress)
		if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
			return nil, fmt.Errorf("--proxy-address %s does not say how agents and people reach it: give --proxy-url https://NAME:PORT", p.ProxyAddress)
		}
		_, port, err := net.SplitHostPort(listening)
		if err != nil {
			return nil, err
		}
		given = "https://" + net.JoinHostPort(host, port)
	}
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("--proxy-url %s: it has to be https://NAME:PORT", given)
	}
	u.Path = ""
	return u, nil
}

func (p *parts) runProxy(ctx context.Context, listener net.Listener, u *url.URL) error {
	config, ca, err := p.proxyCertificates(ctx, u.Hostname())
	if err != nil {
		return err
	}
	handler, err := proxy.New(ctx, p.mgr.GetConfig(), p.mgr.GetClient(), p.mgr.GetLogger().WithName("proxy"))
	if err != nil {
		return err
	}
	if err := p.publishProxy(ctx, map[string]string{access.URLKey: u.String(), access.CAKey: string(ca)}); err != nil {
		return err
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, TLSConfig: config,
		// A tunnel whose agent is gone without a word is noticed within a minute.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the proxy: %w", err)
	}
	return nil
}

// proxyCertificates are how the proxy proves itself, and what it is trusted with. A client certificate is asked for and not checked
// here: the proxy checks it with the API server's authorities, as the API server does.
func (p *parts) proxyCertificates(ctx context.Context, host string) (*tls.Config, []byte, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"}}
	if p.ProxyCertDir == "" {
		signer, err := authority.Load(ctx, p.mgr.GetAPIReader(), p.mgr.GetClient(), authority.Options{Secret: access.ConfigMap, Host: host})
		if err != nil {
			return nil, nil, err
		}
		config.GetCertificate = signer.GetCertificate
		return config, signer.CA, nil
	}
	watcher, err := certwatcher.New(filepath.Join(p.ProxyCertDir, "tls.crt"), filepath.Join(p.ProxyCertDir, "tls.key"))
	if err != nil {
		return nil, nil, fmt.Errorf("--proxy-cert-dir: %w", err)
	}
	go func() { _ = watcher.Start(ctx) }() // ends with the context
	ca, err := os.ReadFile(filepath.Join(p.ProxyCertDir, "ca.crt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("--proxy-cert-dir: %w", err)
	}
	config.GetCertificate = watcher.GetCertificate
	return config, bytes.TrimSpace(ca), nil
}

// publishProxy tells agents and people where the proxy is.
func (p *parts) publishProxy(ctx context.Context, data map[string]string) error {
	where := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: registration.SystemNamespace, Name: access.ConfigMap}}
	err := p.mgr.GetAPIReader().Get(ctx, client.ObjectKeyFromObject(where), where)
	where.Data = data
	switch {
	case apierrors.IsNotFound(err):
		err = p.mgr.GetClient().Create(ctx, where)
	case err == nil:
		err = p.mgr.GetClient().Update(ctx, where)
	}
	if err != nil {
		return fmt.Errorf("say in ConfigMap %s/%s where the proxy is: %w", where.Namespace, where.Name, err)
	}
	return nil
}
