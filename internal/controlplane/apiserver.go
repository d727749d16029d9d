package controlplane

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"k8s.io/client-go/rest"
)

const (
	egressFile = "egress.yaml"
	// servicesSocket is in the control plane's directory, in which its programs run: a complete path may be longer than that of a socket.
	servicesSocket = "services.sock"
	// egress leads what the API server sends to services, such as a question to an aggregated API, to KWOK's program, which answers for
	// pods that do not run.
	egress = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- {name: cluster, connection: {proxyProtocol: HTTPConnect, transport: {uds: {udsName: ` + servicesSocket + `}}}}
`
)

// address is where kube-apiserver listens: with a real node, where pods look for it.
func (c *ControlPlane) address() string {
	if p := c.site.state.Place; p != nil {
		return p.service()
	}
	return "127.0.0.1"
}

// serviceIP is the address of the service kubernetes.default.
func (c *ControlPlane) serviceIP() string { return c.place().service() }

// place is the real node's; a control plane without one may have the addresses of the first.
func (c *ControlPlane) place() place {
	if p := c.site.state.Place; p != nil {
		return *p
	}
	return 0
}

// startAPIServer starts kube-apiserver at the port it had before, or at a free one that it then keeps.
func (c *ControlPlane) startAPIServer(ctx context.Context) error {
	state := &c.site.state
	if state.Place != nil {
		state.Port = secureAPIPort
	} else if c.site.Port != 0 && state.Port != c.site.Port {
		state.Port = c.site.Port
	}
	if state.Port != 0 {
		err := c.runAPIServer(ctx)
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("port %d, which its clients use, is taken by another program: free the port, "+
				"or remove %s to begin anew: %w", state.Port, c.site.Dir, err)
		}
		return err
	}
	var err error
	for range portAttempts {
		if state.Port, err = choosePort(); err != nil {
			return err
		}
		if err = c.runAPIServer(ctx); !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return err
}

func (c *ControlPlane) runAPIServer(ctx context.Context) error {
	args, err := c.apiServerArgs()
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c.Config())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	err = c.site.run(ctx, apiServerProgram, args, func(ctx context.Context) error {
		// Namespace default is created a moment after readiness, and the callers use it at once.
		return errors.Join(get(ctx, client, c.URL()+"/readyz"), get(ctx, client, c.URL()+"/api/v1/namespaces/default"))
	})
	if err != nil {
		return err
	}
	kubeconfig, err := c.Kubeconfig()
	if err != nil {
		return err
	}
	return errors.Join(c.site.save(), writeFile(c.KubeconfigPath(), kubeconfig))
}

func (c *ControlPlane) apiServerArgs() ([]string, error) {
	s := c.site
	tokens, err := stored(s.in("pki"), "service-account", newTokenKey)
	if err != nil {
		return nil, err
	}
	args := []string{
		"--etcd-servers=" + c.etcd.url,
		"--etcd-cafile=" + c.etcd.ca.certFile,
		"--etcd-certfile=" + c.etcd.own.certFile,
		"--etcd-keyfile=" + c.etcd.own.keyFile,
		"--bind-address=" + c.address(),
		"--advertise-address=" + c.address(),
		"--endpoint-reconciler-type=none", // no pod could reach a loopback address; those of a real node know the service's
		fmt.Sprintf("--secure-port=%d", s.state.Port),
		"--tls-cert-file=" + c.serving.certFile,
		"--tls-private-key-file=" + c.serving.keyFile,
		"--client-ca-file=" + c.clientCA.certFile,
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + tokens.certFile,
		"--service-account-signing-key-file=" + tokens.keyFile,
		"--service-cluster-ip-range=" + c.place().services(),
		"--allow-privileged=true",
		"--shutdown-send-retry-after", // stop 2 s after the last short request, not 60 s after the last watch
		"--profiling=false",
	}
	more, err := c.podArgs()
	if err != nil {
		return nil, err
	}
	args = append(args, more...)
	if s.Etcd != nil {
		args = append(args, "--etcd-prefix=/"+s.Name)
	}
	if !c.controllers {
		args = append(args, "--disable-admission-plugins=ServiceAccount") // nothing would create the account that a Pod needs
	}
	encryption, err := c.encryption()
	if err != nil {
		return nil, err
	}
	if encryption != "" {
		args = append(args, "--encryption-provider-config="+encryption)
	}
	return args, nil
}

// podArgs say how the API server reaches what runs in pods: by the kubelet of a real node, or by what answers for the pods of fake ones.
func (c *ControlPlane) podArgs() ([]string, error) {
	s := c.site
	if s.Node == nil {
		return []string{"--egress-selector-config-file=" + s.in(egressFile)}, writeFile(s.in(egressFile), []byte(egress))
	}
	kubelet, err := stored(s.in("pki"), "kubelet-client", func() ([]byte, []byte, error) {
		return c.clientCA.issue(client(lifetime, "system:kube-apiserver", "system:masters"))
	})
	if err != nil {
		return nil, err
	}
	return []string{
		"--kubelet-client-certificate=" + kubelet.certFile, "--kubelet-client-key=" + kubelet.keyFile, "--kubelet-preferred-address-types=InternalIP",
	}, nil
}
