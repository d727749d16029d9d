// Package controlplane starts Kubernetes control planes from the multi-call binary's programs.
//
// A control plane is etcd and kube-apiserver, with [Options.Controllers] kube-controller-manager too, and with
// [Options.Workloads] a scheduler, KWOK and one fake Node, so that Deployments become Available; with [Options.Node] a real one in its
// place. All programs listen on addresses of the loopback interface only, or of the node's own network, over TLS, and require client
// certificates or tokens.
//
// All files of a control plane are in one directory: etcd's data, the authorities and keys, the ports, the kubeconfig of its
// administrator, the logs, the process ids. A second start of a directory has the same data, URL, authorities and credentials.
//
//	state.json      name, ports            kubeconfig      of the administrator, for people and kubectl
//	processes.json  what was started       encryption.yaml keys of what is encrypted at rest
//	etcd/           data                   pki/ logs/      certificates and keys; one log for each program
package controlplane

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// userLifetime is how long the certificates of [ControlPlane.User] are valid.
const userLifetime = 365 * 24 * time.Hour

// Options say which programs run, and where they keep their data.
type Options struct {
	Dir    string // empty: a temporary one, removed by Stop
	Name   string // of the kubeconfig's cluster, and the prefix in a shared etcd; default "controlplane"
	Assets Assets // zero: found by [FindAssets]
	Etcd   *Etcd  // nil: one of its own

	Controllers bool // run kube-controller-manager
	// CertificateLife is how long a certificate lasts that kube-controller-manager signs; 0: a year, its own default.
	CertificateLife time.Duration
	Workloads       bool      // run a scheduler, KWOK and a fake Node as well
	Node            *RealNode // with Workloads: run a real node in place of KWOK

	Port    int      // of kube-apiserver; 0: the one it had before, else a free one
	Encrypt []string // resources ("secrets", "manifestworks.work.open-cluster-management.io") encrypted at rest

	Ephemeral bool // fast for tests: writes are not synced to disk, programs take more memory, and Stop kills
	Detached  bool // the programs outlive this one, until [Stop]

	Progress func(line string) // told of each program that is ready; may be nil
}

// ControlPlane is a control plane that was started here, or opened to be read.
type ControlPlane struct {
	site               *site
	etcd               *Etcd // nil when only opened
	serverCA, clientCA *authority
	serving, admin     pair

	controllers, workloads bool
}

// Start starts a control plane and returns when it is ready to be used: with Controllers, when namespaces get their
// service accounts; with Workloads, when the Node is Ready.
//
// Errors: [ErrInUse] when the directory's control plane is run by another program, a [MissingError] when a program that
// is needed is not there, and a [ProgramError] when one does not come up. What was started is then stopped again.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	if o.Name == "" {
		o.Name = "controlplane"
	}
	s, err := openSite(o)
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{site: s, controllers: o.Controllers || o.Workloads, workloads: o.Workloads}
	if err := c.start(ctx); err != nil {
		return nil, fmt.Errorf("start control plane %s: %w", o.Name, errors.Join(err, s.abandon()))
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context) error {
	s := c.site
	if err := s.Assets.require(c.programs()...); err != nil {
		return err
	}
	s.state.Name = s.Name
	if s.Node != nil {
		if err := s.takePlace(ctx); err != nil {
			return err
		}
	}
	if err := c.credentials(true); err != nil {
		return err
	}
	var err error
	if c.etcd = s.Etcd; c.etcd == nil {
		if c.etcd, err = runEtcd(ctx, s); err != nil {
			return err
		}
	}
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	if c.controllers {
		if err := c.startControllers(ctx); err != nil {
			return err
		}
	}
	if c.workloads {
		if err := c.startWorkloads(ctx); err != nil {
			return err
		}
	}
	if _, err := s.dead(); err != nil { // the scheduler has no endpoint for readiness
		return err
	}
	return s.settle()
}

func (c *ControlPlane) programs() []string {
	programs := []string{apiServerProgram}
	if c.site.Etcd == nil {
		programs = append(programs, etcdProgram)
	}
	if c.controllers {
		programs = append(programs, controllerManagerProgram)
	}
	if c.workloads {
		programs = append(programs, schedulerProgram)
		if c.site.Node == nil {
			programs = append(programs, kwokProgram)
		}
	}
	return programs
}

// Open reads the control plane of a directory, running or not. Its error is an [os.ErrNotExist] when there is none.
func Open(dir string) (*ControlPlane, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &site{Options: Options{Dir: dir}}
	if _, err := os.Stat(s.in(stateFile)); err != nil {
		return nil, fmt.Errorf("no control plane in %s: %w", dir, err)
	}
	if err := readJSON(s.in(stateFile), &s.state); err != nil {
		return nil, err
	}
	s.Name = s.state.Name
	recorded, err := readProcesses(dir)
	if err != nil {
		return nil, err
	}
	for _, p := range recorded {
		if p.Alive() {
			s.running = append(s.running, &running{Process: p, log: s.in("logs", p.Program+".log")})
		}
	}
	c := &ControlPlane{site: s}
	return c, c.credentials(false)
}

// Stop ends the programs that run in a directory, whoever started them. A directory where none runs is no error.
func Stop(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	recorded, err := readProcesses(dir)
	if err != nil {
		return err
	}
	var s state
	if err := readJSON(filepath.Join(dir, stateFile), &s); err != nil {
		return err
	}
	return errors.Join(endAll(recorded, stopGrace), s.clear(dir))
}

// credentials reads the authorities and certificates, and makes those that are missing when it may.
func (c *ControlPlane) credentials(create bool) error {
	dir := c.site.in("pki")
	ca, leaf := readAuthority, func(_ *authority, name string, _ subject) (pair, error) { return readPair(dir, name) }
	if create {
		ca = newAuthority
		leaf = func(a *authority, name string, s subject) (pair, error) {
			return stored(dir, name, func() ([]byte, []byte, error) { return a.issue(s) })
		}
	}
	var err error
	if c.serverCA, err = ca(dir, "server-ca"); err != nil {
		return err
	}
	if c.clientCA, err = ca(dir, "client-ca"); err != nil {
		return err
	}
	if c.serving, err = leaf(c.serverCA, "kube-apiserver", subject{
		name:     apiServerProgram,
		hosts:    []string{"127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", c.serviceIP()},
		usages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		lifetime: lifetime,
	}); err != nil {
		return err
	}
	c.admin, err = leaf(c.clientCA, "admin", client(lifetime, "admin", "system:masters"))
	return err
}

func client(lifetime time.Duration, name string, groups ...string) subject {
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return subject{name: name, groups: groups, usages: usages, lifetime: lifetime}
}

// Stop ends the programs, and removes the directory when it was a temporary one.
func (c *ControlPlane) Stop() error { return c.site.stop() }

// Wait returns nil when ctx ends or the control plane is stopped, and a [ProgramError] when a program ends by itself.
func (c *ControlPlane) Wait(ctx context.Context) error { return c.site.wait(ctx) }

// Down stops kube-apiserver alone: clients lose the control plane, its data stays.
func (c *ControlPlane) Down() error { return c.site.stopProgram(apiServerProgram) }

// Up starts kube-apiserver again after [ControlPlane.Down], at the same URL.
func (c *ControlPlane) Up(ctx context.Context) error {
	if c.etcd == nil {
		return fmt.Errorf("start kube-apiserver of %s: the control plane was opened, not started", c.site.Name)
	}
	return c.startAPIServer(ctx)
}

// Restart is Down and Up.
func (c *ControlPlane) Restart(ctx context.Context) error {
	if err := c.Down(); err != nil {
		return err
	}
	return c.Up(ctx)
}

// Name is the name that the control plane was started with.
func (c *ControlPlane) Name() string { return c.site.Name }

// Dir is the directory that holds the control plane.
func (c *ControlPlane) Dir() string { return c.site.Dir }

// URL is the address of kube-apiserver. It stays the same for as long as the directory does.
func (c *ControlPlane) URL() string {
	return fmt.Sprintf("https://%s:%d", c.address(), c.site.state.Port)
}

// CA is the certificate, as PEM, of the authority that signed kube-apiserver's.
func (c *ControlPlane) CA() []byte { return c.serverCA.cert }

// Processes are the running programs without those of a shared etcd.
func (c *ControlPlane) Processes() []Process { return c.site.processes() }

// Started names the programs that this start launched. The others ran already.
func (c *ControlPlane) Started() []string { return c.site.started() }

// Config is the administrator's, without client-side rate limit.
func (c *ControlPlane) Config() *rest.Config { return c.config(c.admin) }

// User issues a client certificate for a user in groups, valid for a year. What the user may do is RBAC's to say.
func (c *ControlPlane) User(name string, groups ...string) (*rest.Config, error) {
	return c.UserFor(userLifetime, name, groups...)
}

// UserFor is [ControlPlane.User] for another time than a year; a negative one gives a certificate that has expired.
func (c *ControlPlane) UserFor(valid time.Duration, name string, groups ...string) (*rest.Config, error) {
	cert, key, err := c.clientCA.issue(client(valid, name, groups...))
	if err != nil {
		return nil, fmt.Errorf("issue a client certificate for %s: %w", name, err)
	}
	return c.config(pair{cert: cert, key: key}), nil
}

func (c *ControlPlane) config(p pair) *rest.Config {
	return &rest.Config{
		Host:            c.URL(),
		TLSClientConfig: rest.TLSClientConfig{CAData: c.serverCA.cert, CertData: p.cert, KeyData: p.key},
		QPS:             -1,
	}
}

// Kubeconfig is the administrator's kubeconfig, certificates included.
func (c *ControlPlane) Kubeconfig() ([]byte, error) { return Kubeconfig(c.site.Name, c.Config()) }

// KubeconfigPath is the file in Dir that holds the administrator's kubeconfig.
func (c *ControlPlane) KubeconfigPath() string { return c.site.in("kubeconfig") }

// Kubeconfig writes a client's configuration as a kubeconfig with one context of that name.
func Kubeconfig(name string, cfg *rest.Config) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthorityData: cfg.CAData}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: cfg.CertData, ClientKeyData: cfg.KeyData, Token: cfg.BearerToken,
	}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	data, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("write the kubeconfig of %s: %w", name, err)
	}
	return data, nil
}
