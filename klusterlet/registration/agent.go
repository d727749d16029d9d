package registration

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Agent joins one cluster to a hub and keeps the hub informed. Fields are set before Run and not changed afterwards.
type Agent struct {
	// Cluster is how to reach the managed cluster.
	Cluster *rest.Config
	// BootstrapKubeconfig is a file: how to reach the hub, as an identity that may join.
	BootstrapKubeconfig string
	// HubDir is the directory for the hub's kubeconfig and the agent's certificate.
	HubDir string
	// ClusterName and AgentName; when empty those in HubDir, else made up: a UUID, five characters.
	ClusterName string
	AgentName   string
	// HubSecret names a Secret on the managed cluster that mirrors HubDir, for agents whose directory does not outlive
	// them. Both empty: none.
	HubSecret client.ObjectKey
	// ExternalServerURLs are the addresses of the managed cluster's API server that the hub is told; https only.
	ExternalServerURLs []string
	// ClusterAnnotations for the ManagedCluster when it is created; only those under agent.open-cluster-management.io.
	ClusterAnnotations map[string]string
	// CertificateSeconds is the life that is asked for; 0 leaves it to the hub.
	CertificateSeconds int32
	// Version of the agent, which the hub is told.
	Version string
	// MaxCustomClaims is how many claims are reported beside the reserved ones, by default 20.
	MaxCustomClaims int
	// ReservedClaimSuffixes make claims reserved whose names end so.
	ReservedClaimSuffixes []string
	// Periods between actions.
	Periods Periods

	once  sync.Once
	ready chan struct{} // closed when there is a hub configuration
	state struct {      // set before ready is closed
		cluster, agent string
	}
}

// Periods between an agent's actions. A zero one has the default. The lease's is the ManagedCluster's to say.
type Periods struct {
	Health      time.Duration // between reports about the cluster, 1 m
	HealthRetry time.Duration // between tries when the API server does not answer, 5 s
	HealthGrace time.Duration // for which it may not answer, 20 s
	Certificate time.Duration // between looks at the certificate's age, 5 m
	Retry       time.Duration // between tries to reach the hub, 2 s
	Reminder    time.Duration // between log lines while the agent waits for a person, 1 m
}

func (p Periods) withDefaults() Periods {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&p.Health, time.Minute)
	set(&p.HealthRetry, 5*time.Second)
	set(&p.HealthGrace, 20*time.Second)
	set(&p.Certificate, 5*time.Minute)
	set(&p.Retry, 2*time.Second)
	set(&p.Reminder, time.Minute)
	return p
}

var (
	// errRejoin ends a session whose certificate the hub rejects.
	errRejoin = errors.New("the hub rejects the certificate")
	// errInvited ends a session whose cluster was detached, when there is a new bootstrap kubeconfig.
	errInvited = errors.New("the cluster was detached, and is to join again")
	// errNewBootstrap ends a try to join with a bootstrap kubeconfig that was replaced in the meantime.
	errNewBootstrap = errors.New("there is a new bootstrap kubeconfig")
)

func (a *Agent) init() {
	a.once.Do(func() {
		a.ready = make(chan struct{})
		a.Periods = a.Periods.withDefaults()
		if a.MaxCustomClaims == 0 {
			a.MaxCustomClaims = 20
		}
	})
}

// Run joins and serves until ctx ends, which is no error. An error is one that no retry can resolve, such as a bootstrap
// kubeconfig that cannot be read. It logs with the logger in ctx.
func (a *Agent) Run(ctx context.Context) error {
	a.init()
	local, err := client.New(a.Cluster, client.Options{Scheme: Scheme})
	if err != nil {
		return fmt.Errorf("reach the managed cluster: %w", err)
	}
	files := &files{dir: a.HubDir, secret: a.HubSecret, cluster: local}
	if err := files.open(ctx); err != nil {
		return err
	}
	if err := a.identify(ctx, files); err != nil {
		return err
	}
	ctx = logr.NewContext(ctx, logr.FromContextOrDiscard(ctx).WithValues("cluster", a.state.cluster, "agent", a.state.agent))
	var ended error // why the last session did
	for ctx.Err() == nil {
		err := a.join(ctx, files, ended)
		if errors.Is(err, errNewBootstrap) {
			continue
		}
		if err != nil {
			return ignoreDone(ctx, err)
		}
		a.publish()
		ended = a.serve(ctx, files, local)
		if !errors.Is(ended, errRejoin) && !errors.Is(ended, errInvited) {
			return ignoreDone(ctx, ended)
		}
	}
	return nil
}

// ignoreDone drops the errors that come of the end of ctx.
func ignoreDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (a *Agent) publish() {
	select {
	case <-a.ready:
	default:
		close(a.ready)
	}
}

// Joined says that the agent holds a certificate of the hub.
func (a *Agent) Joined() bool {
	a.init()
	select {
	case <-a.ready:
		return true
	default:
		return false
	}
}

// identify finds the names of cluster and agent, and keeps them.
func (a *Agent) identify(ctx context.Context, files *files) error {
	a.state.cluster, a.state.agent = a.ClusterName, a.AgentName
	if a.state.cluster == "" {
		a.state.cluster = strings.TrimSpace(string(files.get(clusterNameFile)))
	}
	if a.state.cluster == "" {
		a.state.cluster = string(uuid.NewUUID())
	}
	if a.state.agent == "" {
		a.state.agent = strings.TrimSpace(string(files.get(agentNameFile)))
	}
	if a.state.agent == "" {
		a.state.agent = strings.ToLower(rand.Text()[:5])
	}
	return files.put(ctx, map[string][]byte{
		clusterNameFile: []byte(a.state.cluster), agentNameFile: []byte(a.state.agent),
	})
}

// HubConfig is what other roles of the agent need to work with the hub.
type HubConfig struct {
	// Config names the files of the certificate; client-go reads them again when they change.
	Config *rest.Config
	// Cluster and Agent are the names that the agent has on the hub.
	Cluster, Agent string
	// Hash identifies the hub, in the names of AppliedManifestWorks and of labels: SHA-256 of its URL, in hex.
	Hash string
	// Kubeconfig is the file that Config was read from.
	Kubeconfig string
}

// WaitForHubConfig returns when the agent holds a certificate of the hub. The hub may still be about to accept the
// cluster; until then it answers Forbidden.
func (a *Agent) WaitForHubConfig(ctx context.Context) (HubConfig, error) {
	a.init()
	select {
	case <-ctx.Done():
		return HubConfig{}, ctx.Err()
	case <-a.ready:
	}
	config, err := hubConfig(a.HubDir)
	if err != nil {
		return HubConfig{}, err
	}
	return HubConfig{
		Config: config, Cluster: a.state.cluster, Agent: a.state.agent, Hash: HubHash(config.Host), Kubeconfig: filepath.Join(a.HubDir, kubeconfigFile),
	}, nil
}

// HubHash identifies a hub by the URL of its API server.
func HubHash(host string) string {
	sum := sha256.Sum256([]byte(host))
	return hex.EncodeToString(sum[:])
}

// bootstrap reads the bootstrap kubeconfig.
func (a *Agent) bootstrap() (hubEndpoint, *rest.Config, error) {
	data, err := os.ReadFile(a.BootstrapKubeconfig)
	if err != nil {
		return hubEndpoint{}, nil, fmt.Errorf("read the bootstrap kubeconfig: %w", err)
	}
	endpoint, err := endpointOf(data, a.BootstrapKubeconfig)
	if err != nil {
		return hubEndpoint{}, nil, fmt.Errorf("bootstrap kubeconfig %s: %w", a.BootstrapKubeconfig, err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", a.BootstrapKubeconfig)
	if err != nil {
		return hubEndpoint{}, nil, fmt.Errorf("bootstrap kubeconfig %s: %w", a.BootstrapKubeconfig, err)
	}
	return endpoint, config, nil
}

// bootstrapHash tells one bootstrap kubeconfig from another, empty when there is none that could be used.
func (a *Agent) bootstrapHash() string {
	data, err := os.ReadFile(a.BootstrapKubeconfig)
	if err != nil {
		return ""
	}
	if _, err := endpointOf(data, a.BootstrapKubeconfig); err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Scheme knows the kinds that the agent works with, on the hub and on its cluster.
var Scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		certificatesv1.AddToScheme, coordinationv1.AddToScheme, corev1.AddToScheme,
		clusterv1.AddToScheme, clusterv1alpha1.AddToScheme, musterv1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err) // two kinds of one name: every test would fail
		}
	}
	return scheme
}()

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
