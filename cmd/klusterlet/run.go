package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/klusterlet/registration"
	"github.com/muster-io/muster/klusterlet/work"
)

// The roles of a klusterlet.
const (
	roleRegistration = "registration"
	roleWork         = "work"
)

var roles = []string{roleRegistration, roleWork}

// Options of a klusterlet.
type Options struct {
	Roles []string
	// Kubeconfig of the managed cluster; empty is the cluster that it runs in.
	Kubeconfig string
	// BootstrapKubeconfig is how to reach the hub for the first time.
	BootstrapKubeconfig string
	// HubDir holds the hub's kubeconfig and the agent's certificate.
	HubDir string
	// HubSecret, as namespace/name, mirrors HubDir on the managed cluster.
	HubSecret string
	// ClusterName and AgentID; made up when empty.
	ClusterName, AgentID string
	// ExternalServerURLs of the managed cluster, told to the hub.
	ExternalServerURLs []string
	// ClusterAnnotations for the ManagedCluster, only those under agent.open-cluster-management.io.
	ClusterAnnotations map[string]string
	// Install puts the agent's CRDs on the managed cluster first.
	Install bool
	// HealthPeriod between reports about the cluster; SyncInterval between looks at objects that no watch reports;
	// StatusInterval between status writes of one work; EvictionGrace for works that the hub no longer has.
	HealthPeriod, SyncInterval, StatusInterval, EvictionGrace time.Duration
	CertificateSeconds                                        int32
	Verbosity                                                 int
}

func (o *Options) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.Roles, "roles", roles, "roles to run: "+strings.Join(roles, ", "))
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig of the managed cluster; left out, the cluster it runs in")
	f.StringVar(&o.BootstrapKubeconfig, "bootstrap-kubeconfig", "", "kubeconfig of the hub for an identity that may join")
	f.StringVar(&o.HubDir, "hub-kubeconfig-dir", "hub-kubeconfig", "folder for the hub's kubeconfig and the agent's certificate")
	f.StringVar(&o.HubSecret, "hub-kubeconfig-secret", "", "namespace/name of a Secret on the managed cluster that mirrors that folder")
	f.StringVar(&o.ClusterName, "cluster-name", "", "name of the cluster; left out, the one it joined with, else a new UUID")
	f.StringVar(&o.AgentID, "agent-id", "", "name of the agent; left out, the one it joined with, else five characters")
	f.StringSliceVar(&o.ExternalServerURLs, "spoke-external-server-urls", nil, "https URLs of the managed cluster that the hub is told")
	f.StringToStringVar(&o.ClusterAnnotations, "cluster-annotations", nil, "annotations for the ManagedCluster, under agent.open-cluster-management.io")
	f.BoolVar(&o.Install, "install", false, "put the agent's CRDs on the managed cluster first")
	f.DurationVar(&o.HealthPeriod, "cluster-healthcheck-period", time.Minute, "time between two reports about the cluster")
	f.DurationVar(&o.SyncInterval, "status-sync-interval", 10*time.Second, "time between two looks at objects that no watch reports")
	f.DurationVar(&o.StatusInterval, "status-interval", 10*time.Second, "least time between two status writes of one work while nothing flips")
	f.DurationVar(&o.EvictionGrace, "appliedmanifestwork-eviction-grace-period", time.Hour, "how long works that the hub no longer has stay applied")
	f.Int32Var(&o.CertificateSeconds, "client-cert-expiration-seconds", 0, "life of the certificate that is asked for, at least 3600; 0 leaves it to the hub")
	f.IntVarP(&o.Verbosity, "verbosity", "v", 0, "0 says what happened, 1 says more")
}

// Run runs the selected roles until the context ends.
func Run(ctx context.Context, o Options) error {
	for _, role := range o.Roles {
		if !slices.Contains(roles, role) {
			return fmt.Errorf("there is no role %q: --roles takes %s", role, strings.Join(roles, ", "))
		}
	}
	spoke, err := o.spoke()
	if err != nil {
		return err
	}
	if o.Install {
		if err := controlplane.Install(ctx, spoke, crds.Agent()...); err != nil {
			return fmt.Errorf("install the agent's CRDs: %w", err)
		}
	}
	hub := o.joined
	group, ctx := errgroup.WithContext(ctx)
	if slices.Contains(o.Roles, roleRegistration) {
		agent, err := o.registration(spoke)
		if err != nil {
			return err
		}
		hub = agent.WaitForHubConfig
		group.Go(func() error { return agent.Run(ctx) })
	}
	if slices.Contains(o.Roles, roleWork) {
		group.Go(func() error { return o.work(ctx, spoke, hub) })
	}
	return group.Wait()
}

func (o *Options) spoke() (*rest.Config, error) {
	var config *rest.Config
	var err error
	if o.Kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	} else {
		config, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("reach the managed cluster: %w; name its kubeconfig with --kubeconfig", err)
	}
	config.QPS = -1
	config.UserAgent = "muster-klusterlet/" + version
	return config, nil
}

func (o *Options) registration(spoke *rest.Config) (*registration.Agent, error) {
	if o.BootstrapKubeconfig == "" {
		return nil, fmt.Errorf("role %s wants --bootstrap-kubeconfig: the hub's kubeconfig for an identity that may join (muster join makes one)", roleRegistration)
	}
	secret := client.ObjectKey{}
	if o.HubSecret != "" {
		namespace, name, ok := strings.Cut(o.HubSecret, "/")
		if !ok {
			return nil, fmt.Errorf("--hub-kubeconfig-secret takes namespace/name, not %q", o.HubSecret)
		}
		secret = client.ObjectKey{Namespace: namespace, Name: name}
	}
	return &registration.Agent{
		Version: version, Cluster: spoke, BootstrapKubeconfig: o.BootstrapKubeconfig, HubDir: o.HubDir, HubSecret: secret,
		ClusterName: o.ClusterName, AgentName: o.AgentID, ExternalServerURLs: o.ExternalServerURLs,
		ClusterAnnotations: o.ClusterAnnotations, CertificateSeconds: o.CertificateSeconds,
		Periods: registration.Periods{Health: o.HealthPeriod},
	}, nil
}

// joined reads the way to the hub that another registration agent has left in the folder.
func (o *Options) joined(context.Context) (registration.HubConfig, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(o.HubDir, "kubeconfig"))
	if err != nil {
		return registration.HubConfig{}, fmt.Errorf("role %s alone wants the hub's kubeconfig in --hub-kubeconfig-dir: %w", roleWork, err)
	}
	name := func(given, file string) string {
		if given != "" {
			return given
		}
		data, err := os.ReadFile(filepath.Join(o.HubDir, file))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(data))
	}
	hub := registration.HubConfig{
		Config: config, Cluster: name(o.ClusterName, "cluster-name"), Agent: name(o.AgentID, "agent-name"), Hash: registration.HubHash(config.Host),
	}
	if hub.Cluster == "" {
		return hub, fmt.Errorf("role %s alone wants --cluster-name, or the file cluster-name in %s", roleWork, o.HubDir)
	}
	return hub, nil
}

// work applies works as soon as there is a way to the hub.
func (o *Options) work(ctx context.Context, spoke *rest.Config, wait func(context.Context) (registration.HubConfig, error)) error {
	hub, err := wait(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	hub.Config.QPS = -1
	hub.Config.UserAgent = spoke.UserAgent
	allowed, err := evictionAllowed(hub.Config, hub.Cluster)
	if err != nil {
		return err
	}
	agent := &work.Agent{
		Hub: hub.Config, Spoke: spoke, ClusterName: hub.Cluster, HubHash: hub.Hash, AgentID: o.AgentID,
		StatusInterval: o.StatusInterval, SyncInterval: o.SyncInterval, EvictionGracePeriod: o.EvictionGrace, EvictionAllowed: allowed,
	}
	return agent.Run(ctx)
}

// evictionAllowed: a hub that was rebuilt does not know its works yet, so one of ours marks the cluster's namespace after its
// first complete plan, and eviction waits for the mark. A hub that is not ours never sets one: OCM's rule holds there.
func evictionAllowed(hub *rest.Config, cluster string) (func(context.Context) (bool, error), error) {
	clients, err := kubernetes.NewForConfig(hub)
	if err != nil {
		return nil, fmt.Errorf("reach the hub: %w", err)
	}
	return func(ctx context.Context) (bool, error) {
		if _, err := clients.Discovery().ServerResourcesForGroupVersion(musterv1alpha1.GroupVersion.String()); err != nil {
			return client.IgnoreNotFound(err) == nil, client.IgnoreNotFound(err)
		}
		namespace, err := clients.CoreV1().Namespaces().Get(ctx, cluster, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return marked(namespace), nil
	}, nil
}

func marked(namespace *corev1.Namespace) bool {
	return namespace.Annotations[musterv1alpha1.FirstPlanAnnotation] != ""
}
