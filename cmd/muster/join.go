package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/charts"
	"github.com/muster-io/muster/internal/chart"
	"github.com/muster-io/muster/internal/doctor"
	"github.com/muster-io/muster/internal/embedded"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/cluster"
)

// joinOptions are the flags of muster join.
type joinOptions struct {
	install, manifest         bool
	out, managed              string
	server, caFile, proxy, sn string // of the hub, as the agent reaches it
	chart                     chartOptions
}

func joinCommand(c *cli) *cobra.Command {
	var o joinOptions
	cmd := &cobra.Command{
		Use:   "join CLUSTER",
		Short: "Let a cluster join the hub: install its agent, or print how to",
		Long: "Makes the service account join-CLUSTER on the hub, which may do nothing but ask to join, with a token that is good for a day.\n\n" +
			"With --install it installs the agent's chart, which is part of this program, on the cluster of --cluster-kubeconfig, lets the\n" +
			"cluster in, and waits until it is available. It can be done again, and upgrades the agent. Without --install it writes the\n" +
			"kubeconfig that the agent joins with and prints the helm command; with --manifest it prints the objects for kubectl apply.\n\n" +
			"A cluster that the fleet repository names with that identity is let in by itself, the others wait for muster accept:\n\n" +
			"  metadata:\n    annotations: {muster.dev/join-identity: \"system:serviceaccount:muster-system:join-CLUSTER\"}",
		Example: "  muster join edge-1 --install --cluster-kubeconfig edge-1.kubeconfig\n" +
			"  muster join edge-1 --manifest | kubectl --context edge-1 apply --server-side -f -",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if problem := fleet.WrongClusterName(args[0]); problem != "" {
				return fmt.Errorf("cluster name %q: %s", args[0], problem)
			}
			switch {
			case o.install && o.manifest:
				return errors.New("--install applies the objects and --manifest prints them: use one of them")
			case o.install && o.managed == "":
				return errors.New("--install needs --cluster-kubeconfig: a kubeconfig of the cluster, of an administrator")
			}
			return c.join(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.install, "install", false, "install the agent on the cluster and wait until it is available")
	f.BoolVar(&o.manifest, "manifest", false, "print the agent's objects, with the token in them, for kubectl apply")
	f.StringVar(&o.out, "out", "", "file to write the agent's kubeconfig to (default CLUSTER.bootstrap.kubeconfig)")
	f.StringVar(&o.managed, "cluster-kubeconfig", "", "kubeconfig of the managed cluster, of an administrator")
	f.StringVar(&o.server, "hub-server", "", "address of the hub as the cluster reaches it (default: that of the hub's kubeconfig)")
	f.StringVar(&o.caFile, "hub-ca-file", "", "PEM certificates that this address is trusted with (default: those of the hub's kubeconfig)")
	f.StringVar(&o.proxy, "hub-proxy-url", "", "proxy on the cluster's way to the hub (default: that of the hub's kubeconfig)")
	f.StringVar(&o.sn, "hub-tls-server-name", "", "name in the hub's certificate, where it is not that of the address")
	o.chart.flags(f, "klusterlet", "muster-agent")
	return cmd
}

func (c *cli) join(ctx context.Context, name string, o joinOptions) error {
	hub, config, err := c.hub()
	if err != nil {
		return err
	}
	var managed *rest.Config
	if o.managed != "" {
		if managed, err = configOf(o.managed); err != nil {
			return fmt.Errorf("--cluster-kubeconfig: %w", err)
		}
	}
	if o.install {
		if err := mayInstall(ctx, hub, managed, name); err != nil {
			return err
		}
	}
	token, err := embedded.JoinToken(ctx, config, name)
	if err != nil {
		return fmt.Errorf("make the identity that %s joins with: %w", name, err)
	}
	kubeconfig, err := joinKubeconfig(config, token, o)
	if err != nil {
		return err
	}
	release := o.chart.release(charts.Klusterlet)
	release.Values["clusterName"] = name
	release.Values["bootstrap"] = map[string]any{"kubeconfig": string(kubeconfig)}
	if err := o.chart.merge(release.Values); err != nil {
		return err
	}
	switch {
	case o.manifest:
		return c.printManifest(release)
	case !o.install:
		return c.printJoin(name, kubeconfig, o)
	}
	progress := c.progress(name)
	rendering, err := chart.Install(ctx, managed, release, progress)
	if err != nil {
		return fmt.Errorf("install the agent: %w", err)
	}
	if err := c.awaitAvailable(ctx, hub, managed, config, name, o.chart.timeout, progress); err != nil {
		return err
	}
	answer := map[string]any{"cluster": name, "available": true, "namespace": release.Namespace, "objects": len(rendering.Objects)}
	return c.print(answer, func(p *printer) {
		p.linef("%s has joined and is available", name)
		p.linef("next: muster status cluster %s", name)
	})
}

// progress tells on the error output how far it is, without repeating itself.
func (c *cli) progress(name string) func(string) {
	last := ""
	return func(line string) {
		if line != last {
			fmt.Fprintln(c.errs, name+": "+harmless(line))
			last = line
		}
	}
}

// configOf reads a kubeconfig.
func configOf(file string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	config.WarningHandler = rest.NoWarnings{}
	return config, nil
}

// identity is the id of a cluster: the UID of its namespace kube-system, which agents claim as id.k8s.io.
func identity(ctx context.Context, config *rest.Config) (string, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	system, err := clients.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reach the cluster at %s: %w", config.Host, err)
	}
	return string(system.UID), nil
}

// mayInstall refuses a name that another cluster has, and a cluster that has joined under another name.
func mayInstall(ctx context.Context, hub client.Client, managed *rest.Config, name string) error {
	id, err := identity(ctx, managed)
	if err != nil {
		return err
	}
	var list clusterv1.ManagedClusterList
	if err := hub.List(ctx, &list); err != nil {
		return fmt.Errorf("list the hub's clusters: %w", err)
	}
	for i := range list.Items {
		m := &list.Items[i]
		claimed := claimOf(m, "id.k8s.io")
		switch {
		case m.Name == name && !m.DeletionTimestamp.IsZero():
			return fmt.Errorf("%s is being detached: install the agent when that is done (muster status cluster %s)", name, name)
		case m.Name == name && claimed != "" && claimed != id:
			return fmt.Errorf("the name %s is taken: another cluster (id %s) has joined under it, and this one has id %s; choose another name, or muster detach %s first",
				name, claimed, id, name)
		case m.Name != name && claimed == id && m.DeletionTimestamp.IsZero():
			return fmt.Errorf("this cluster has joined as %s already: muster join %s --install upgrades its agent; muster detach %s takes it from the hub", m.Name, m.Name, m.Name)
		}
	}
	return nil
}

func claimOf(m *clusterv1.ManagedCluster, name string) string {
	for _, claim := range m.Status.ClusterClaims {
		if claim.Name == name {
			return claim.Value
		}
	}
	return ""
}

// joinKubeconfig is the kubeconfig that an agent joins with: the way to the hub is the caller's own unless flags say otherwise.
func joinKubeconfig(hub *rest.Config, token string, o joinOptions) ([]byte, error) {
	hub = rest.CopyConfig(hub)
	if err := rest.LoadTLSFiles(hub); err != nil {
		return nil, fmt.Errorf("read the CA of the hub: %w", err)
	}
	way := clientcmdapi.Cluster{
		Server: hub.Host, CertificateAuthorityData: hub.CAData, TLSServerName: hub.ServerName, InsecureSkipTLSVerify: hub.Insecure,
	}
	if address, err := url.Parse(hub.Host); err == nil && hub.Proxy != nil {
		if proxy, err := hub.Proxy(&http.Request{URL: address}); err == nil && proxy != nil {
			way.ProxyURL = proxy.String()
		}
	}
	if o.server != "" {
		address, err := url.Parse(o.server)
		if err != nil || address.Scheme != "https" || address.Host == "" {
			return nil, fmt.Errorf("--hub-server %q: an address such as https://hub.example.com:6443 is needed", o.server)
		}
		way.Server, way.TLSServerName = o.server, ""
	}
	if o.caFile != "" {
		data, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, fmt.Errorf("--hub-ca-file: %w", err)
		}
		way.CertificateAuthorityData, way.InsecureSkipTLSVerify = data, false
	}
	if o.proxy != "" {
		way.ProxyURL = o.proxy
	}
	if o.sn != "" {
		way.TLSServerName = o.sn
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["hub"] = &way
	config.AuthInfos["join"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["hub"] = &clientcmdapi.Context{Cluster: "hub", AuthInfo: "join"}
	config.CurrentContext = "hub"
	return clientcmd.Write(*config)
}

// printJoin writes the kubeconfig and prints the ways to start the agent.
func (c *cli) printJoin(name string, kubeconfig []byte, o joinOptions) error {
	file := o.out
	if file == "" {
		file = name + ".bootstrap.kubeconfig"
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		return err
	}
	helm := o.chart.helmCommand(charts.Klusterlet, o.managed, "--set", "clusterName="+name, "--set-file", "bootstrap.kubeconfig="+file)
	start := []string{"klusterlet", "--install", "--spoke-cluster-name", name, "--bootstrap-kubeconfig", file, "--hub-kubeconfig-dir", name + ".hub"}
	if o.managed != "" {
		start = append(start, "--spoke-kubeconfig", o.managed)
	}
	answer := map[string]any{"cluster": name, "bootstrapKubeconfig": file, "identity": embedded.JoinIdentity(name), "command": start, "helm": helm}
	return c.print(answer, func(p *printer) {
		p.linef("wrote %s: good for a day, for joining only, as %s", file, embedded.JoinIdentity(name))
		p.line("install the agent on the cluster:")
		p.line("  " + strings.Join(helm, " "))
		p.line("or run it where it reaches the cluster" + whenInside(o.managed) + ":")
		p.line("  " + strings.Join(start, " "))
		p.linef("then, unless the fleet repository names %s with this identity:", name)
		p.linef("  muster accept %s", name)
	})
}

func whenInside(managed string) string {
	if managed == "" {
		return " (in a pod of it, or with --spoke-kubeconfig)"
	}
	return ""
}

// awaitAvailable waits until the hub says that a cluster is available, and lets it in when it asks: who installs the agent wants
// that. When it gives up it says what doctor finds.
func (c *cli) awaitAvailable(ctx context.Context, hub client.Client, managed, hubConfig *rest.Config, name string, timeout time.Duration, progress func(string)) error {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	clients, err := kubernetes.NewForConfig(managed)
	if err != nil {
		return err
	}
	for {
		step, done := c.joinStep(waiting, hub, clients, name)
		progress(step)
		if done {
			return nil
		}
		select {
		case <-waiting.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return c.gaveUp(ctx, name, step, timeout, managed, hubConfig)
		case <-time.After(time.Second):
		}
	}
}

// joinStep is how far a cluster has come, as a sentence.
//
//	the agent's pod does not run         what doctor says of its pods
//	no ManagedCluster                    the agent has not asked
//	denied                               a person has denied it
//	not accepted                         it is accepted here
//	accepted and not joined              the agent waits for its certificate
//	joined and not available             the agent has not reported
//	available                            the agent of before may have said so: done when the agent's pods are those of this release
func (c *cli) joinStep(ctx context.Context, hub client.Client, clients kubernetes.Interface, name string) (step string, done bool) {
	var m clusterv1.ManagedCluster
	err := hub.Get(ctx, client.ObjectKey{Name: name}, &m)
	if client.IgnoreNotFound(err) != nil {
		return "the hub cannot be asked: " + err.Error(), false
	}
	agent, agentErr := doctor.FindAgent(ctx, clients)
	if agentErr == nil && !available(&m) {
		if f := agent.Pods(); f.State == doctor.Problem {
			return "the agent does not run yet: " + f.Message, false
		}
	}
	switch {
	case err != nil:
		return "the agent runs and has not asked the hub yet", false
	case denied(&m):
		return "denied on the hub by a person: muster accept " + name + " lets it in again", false
	case available(&m):
		return whileAvailable(agent, agentErr, name)
	case !joinedCluster(&m):
		if _, err := cluster.Accept(ctx, hub, name, cluster.AcceptOptions{}); err != nil {
			return "it asks and cannot be let in: " + err.Error(), false
		}
		return "let in; the agent waits for its certificate", false
	}
	return "joined; the agent has not reported that its cluster is available", false
}

// whileAvailable is the step of a cluster that is available: whether the agent that is installed now has taken over.
func whileAvailable(agent *doctor.Agent, err error, name string) (step string, done bool) {
	if err != nil {
		return "available; the agent's pods cannot be seen: " + err.Error(), false
	}
	if agent != nil && agent.ClusterName != name {
		return "available", true // several agents are here, and this is that of another hub
	}
	if f := agent.Pods(); f.State != doctor.OK {
		return "available; the agent that is installed now does not run yet: " + f.Message, false
	}
	return "available", true
}

func (c *cli) gaveUp(ctx context.Context, name, step string, timeout time.Duration, managed, hub *rest.Config) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is not available after %s: %s", name, timeout, step)
	for _, f := range doctor.Problems(append(doctor.OnCluster(ctx, managed, c.now()), doctor.Hub(ctx, hub, c.now())...)) {
		if f.Check == "hub: repositories" || strings.HasPrefix(f.Check, "hub: clusters") && !strings.HasPrefix(f.Message, name+" ") {
			continue // true, and not what keeps this cluster
		}
		fmt.Fprintf(&b, "\n  %s: %s\n    next: %s", f.Check, f.Message, f.Next)
	}
	return errors.New(b.String())
}

func joinedCluster(m *clusterv1.ManagedCluster) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, clusterv1.ManagedClusterConditionJoined)
}
