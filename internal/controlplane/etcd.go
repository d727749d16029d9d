package controlplane

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"k8s.io/client-go/rest"
)

// Etcd is an etcd of one member on the loopback address. It answers only to holders of its own certificate: the key is
// in its directory.
type Etcd struct {
	site *site
	ca   pair
	own  pair
	url  string
}

// StartEtcd starts an etcd that several control planes share, each under a prefix that is its name. Of the options it
// uses Dir, Assets, Ephemeral, Detached and Progress.
func StartEtcd(ctx context.Context, o Options) (*Etcd, error) {
	s, err := openSite(o)
	if err != nil {
		return nil, err
	}
	e, err := runEtcd(ctx, s)
	if err == nil {
		err = s.settle()
	}
	if err != nil {
		return nil, errors.Join(err, s.abandon())
	}
	return e, nil
}

// Stop ends the etcd. The control planes that use it are stopped before.
func (e *Etcd) Stop() error { return e.site.stop() }

// Wait returns nil when ctx ends or the etcd is stopped, and a [ProgramError] when it ends by itself.
func (e *Etcd) Wait(ctx context.Context) error { return e.site.wait(ctx) }

// Processes is the one process.
func (e *Etcd) Processes() []Process { return e.site.processes() }

// Started is whether this start launched it; else it ran already.
func (e *Etcd) Started() bool { return len(e.site.started()) > 0 }

func runEtcd(ctx context.Context, s *site) (*Etcd, error) {
	e := &Etcd{site: s}
	ca, err := newAuthority(s.in("pki"), "etcd-ca")
	if err != nil {
		return nil, err
	}
	e.ca = ca.pair
	e.own, err = stored(s.in("pki"), "etcd", func() ([]byte, []byte, error) {
		return ca.issue(subject{
			name:     "etcd",
			hosts:    []string{"127.0.0.1", "localhost"},
			usages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			lifetime: lifetime,
		})
	})
	if err != nil {
		return nil, err
	}
	for range portAttempts {
		if err = e.attempt(ctx); !errors.Is(err, syscall.EADDRINUSE) {
			return e, err
		}
		s.state.EtcdPort, s.state.EtcdPeer = 0, 0 // only this control plane's own programs know them
	}
	return nil, err
}

func (e *Etcd) attempt(ctx context.Context) error {
	s := e.site
	for _, port := range []*int{&s.state.EtcdPort, &s.state.EtcdPeer} {
		if *port != 0 {
			continue
		}
		var err error
		if *port, err = choosePort(); err != nil {
			return err
		}
	}
	if err := s.save(); err != nil {
		return err
	}
	e.url = fmt.Sprintf("https://127.0.0.1:%d", s.state.EtcdPort)
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{
		CAData: e.ca.cert, CertData: e.own.cert, KeyData: e.own.key,
	}})
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return s.run(ctx, etcdProgram, e.args(), func(ctx context.Context) error { return get(ctx, client, e.url+"/health") })
}

func (e *Etcd) args() []string {
	peer := fmt.Sprintf("https://127.0.0.1:%d", e.site.state.EtcdPeer)
	args := []string{
		"--name=default",
		"--data-dir=" + e.site.in("etcd"),
		"--listen-client-urls=" + e.url,
		"--advertise-client-urls=" + e.url,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		"--cert-file=" + e.own.certFile,
		"--key-file=" + e.own.keyFile,
		"--trusted-ca-file=" + e.ca.certFile,
		"--client-cert-auth",
		"--peer-cert-file=" + e.own.certFile,
		"--peer-key-file=" + e.own.keyFile,
		"--peer-trusted-ca-file=" + e.ca.certFile,
		"--peer-client-cert-auth",
		"--quota-backend-bytes=8589934592", // the most that etcd recommends
		"--log-level=warn",
	}
	if e.site.Ephemeral {
		args = append(args, "--unsafe-no-fsync")
	}
	return args
}

// get is nil when the address answers with 200.
func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}
