package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/tracing"
	"github.com/muster-io/muster/klusterlet/addon"
	"github.com/muster-io/muster/klusterlet/inspection"
	"github.com/muster-io/muster/klusterlet/proxy"
	"github.com/muster-io/muster/klusterlet/registration"
	"github.com/muster-io/muster/klusterlet/serviceaccount"
	"github.com/muster-io/muster/klusterlet/work"
)

// The roles of a klusterlet.
const (
	roleRegistration   = "registration"
	roleWork           = "work"
	roleAddon          = "addon"
	roleInspection     = "inspection"
	roleProxy          = musterv1alpha1.AgentRoleProxy
	roleServiceAccount = musterv1alpha1.AgentRoleServiceAccount
)

// roles are all there are; defaultRoles run without --roles. The others let people and programs of the hub act on the cluster: they are
// asked for, here or by an add-on.
var (
	roles        = []string{roleRegistration, roleWork, roleAddon, roleInspection, roleProxy, roleServiceAccount}
	defaultRoles = []string{roleRegistration, roleWork, roleAddon, roleInspection}
)

// addOnOf are the add-ons that these roles are the agents of.
var addOnOf = map[string]string{roleProxy: addonv1alpha1.ClusterProxyName, roleServiceAccount: addonv1alpha1.ManagedServiceAccountName}

// way is a role that gives people and programs of the hub a way to the cluster. It calls alive again and again while it serves.
type way func(ctx context.Context, spoke *rest.Config, hub hubWait, serving, alive func()) error

func (o *Options) ways() map[string]way {
	return map[string]way{roleProxy: o.proxy, roleServiceAccount: o.serviceAccounts}
}

// onDemand are the ways that run while an add-on of the cluster names them: those that do not run anyway.
func (o *Options) onDemand(spoke *rest.Config, hub hubWait) map[string]addon.Role {
	all := map[string]addon.Role{}
	for role, run := range o.ways() {
		if !slices.Contains(o.Roles, role) {
			all[role] = func(ctx context.Context, alive func()) error { return run(ctx, spoke, hub, func() {}, alive) }
		}
	}
	return all
}

// Run runs the selected roles until the context ends.
func Run(ctx context.Context, o Options) error {
	if err := o.check(); err != nil {
		return err
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
	mgr, err := o.newManager(ctx, spoke)
	if err != nil {
		return err
	}
	hub := o.joined
	if slices.Contains(o.Roles, roleRegistration) {
		agent, err := o.registration(spoke)
		if err != nil {
			return err
		}
		hub = agent.WaitForHubConfig
		if err := errors.Join(mgr.Add(manager.RunnableFunc(agent.Run)), ready(mgr, roleRegistration, agent.Joined)); err != nil {
			return err
		}
	}
	if err := errors.Join(o.addRoles(mgr, spoke, hub), mgr.Add(manager.RunnableFunc(giveBackMemory))); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// addRoles adds the selected roles that reach the hub as the agent that has joined.
func (o *Options) addRoles(mgr ctrl.Manager, spoke *rest.Config, hub hubWait) error {
	if slices.Contains(o.Roles, roleWork) {
		if err := addRole(mgr, roleWork, func(ctx context.Context, serving func()) error {
			return o.work(ctx, spoke, hub, func() {
				serving()
				if o.serving != nil {
					o.serving()
				}
			})
		}); err != nil {
			return err
		}
	}
	if slices.Contains(o.Roles, roleInspection) {
		if err := addRole(mgr, roleInspection, func(ctx context.Context, serving func()) error { return o.inspections(ctx, spoke, hub, serving) }); err != nil {
			return err
		}
	}
	if err := o.addWays(mgr, spoke, hub); err != nil {
		return err
	}
	if slices.Contains(o.Roles, roleAddon) && o.enabled(addonManagement) {
		if err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error { return o.addon(ctx, spoke, hub) })); err != nil {
			return err
		}
	}
	return nil
}

// addWays adds the roles by which the hub reaches the cluster, each with the Lease of its add-on.
func (o *Options) addWays(mgr ctrl.Manager, spoke *rest.Config, hub hubWait) error {
	for role, run := range o.ways() {
		if !slices.Contains(o.Roles, role) {
			continue
		}
		cluster, err := client.New(spoke, client.Options{Scheme: addon.Scheme})
		if err != nil {
			return fmt.Errorf("reach the managed cluster: %w", err)
		}
		key := client.ObjectKey{Namespace: addonv1alpha1.DefaultInstallNamespace, Name: addOnOf[role]}
		if err := addRole(mgr, role, func(ctx context.Context, serving func()) error {
			return run(ctx, spoke, hub, serving, addon.Beat(ctx, cluster, key, 30*time.Second, time.Now))
		}); err != nil {
			return err
		}
	}
	return nil
}

// addRole adds a role that is ready when it serves.
func addRole(mgr ctrl.Manager, role string, run func(ctx context.Context, serving func()) error) error {
	var serving atomic.Bool
	return errors.Join(
		mgr.Add(manager.RunnableFunc(func(ctx context.Context) error { return run(ctx, func() { serving.Store(true) }) })),
		ready(mgr, role, serving.Load),
	)
}

// newManager sets up what the roles run on. They run where the agent leads.
func (o *Options) newManager(ctx context.Context, spoke *rest.Config) (ctrl.Manager, error) {
	address := func(a string) string {
		if a == "" {
			return "0"
		}
		return a
	}
	mgr, err := ctrl.NewManager(spoke, manager.Options{
		Scheme:                        registration.Scheme,
		Metrics:                       metricsserver.Options{BindAddress: address(o.MetricsAddress)},
		HealthProbeBindAddress:        address(o.HealthAddress),
		LeaderElection:                o.LeaderElection,
		LeaderElectionID:              o.leaseName(),
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionReleaseOnCancel: true,
		// Rarely renewed: an agent that died may be missed for a minute, and one that ends releases the Lease.
		LeaseDuration: ptr.To(time.Minute), RenewDeadline: ptr.To(45 * time.Second), RetryPeriod: ptr.To(15 * time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the agent: %w", err)
	}
	if o.LeaderElection {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.Namespace}}
		err := mgr.GetAPIReader().Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
		if apierrors.IsNotFound(err) {
			err = client.IgnoreAlreadyExists(mgr.GetClient().Create(ctx, namespace))
		}
		if err != nil && !apierrors.IsForbidden(err) {
			return nil, fmt.Errorf("elect a leader: namespace %s: %w; create it, name another with --namespace, or run one agent with --leader-elect=false", namespace.Name, err)
		}
	}
	return mgr, mgr.AddHealthzCheck("ping", healthz.Ping)
}

// leaseName is the same for the replicas of one agent, and differs between agents for two hubs on one cluster. It names the first of the
// agent's roles, in their order: agents that divide the roles among them work side by side, and one that is started again with other roles waits
// for its predecessor.
func (o *Options) leaseName() string {
	host := ""
	for _, file := range []string{o.BootstrapKubeconfig, o.hubKubeconfig()} {
		if config, err := clientcmd.BuildConfigFromFlags("", file); file != "" && err == nil {
			host = config.Host
			break
		}
	}
	first := slices.MinFunc(o.Roles, func(a, b string) int { return slices.Index(roles, a) - slices.Index(roles, b) })
	return "klusterlet-" + first + "-" + registration.ShortHash(registration.HubHash(host))
}

// ready makes the agent ready when a role works. One that waits to lead is ready too: nobody sends it requests, and a rollout of
// two replicas must come to its end.
func ready(mgr ctrl.Manager, role string, works func() bool) error {
	return mgr.AddReadyzCheck(role, func(*http.Request) error {
		select {
		case <-mgr.Elected(): // closed from the start without leader election
		default:
			return nil
		}
		if !works() {
			return fmt.Errorf("role %s has not started yet", role)
		}
		return nil
	})
}

func (o *Options) spoke() (*rest.Config, error) {
	var config *rest.Config
	var err error
	if o.SpokeKubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", o.SpokeKubeconfig)
	} else {
		config, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("reach the managed cluster: %w; name its kubeconfig with --spoke-kubeconfig", err)
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
		MaxCustomClaims: o.MaxCustomClaims, ReservedClaimSuffixes: o.ReservedClaimSuffixes,
		Periods: registration.Periods{Health: o.HealthPeriod},
	}, nil
}

func (o *Options) hubKubeconfig() string {
	if o.HubKubeconfig != "" {
		return o.HubKubeconfig
	}
	return filepath.Join(o.HubDir, "kubeconfig")
}

// joined reads the way to the hub that another registration agent has left in the folder.
func (o *Options) joined(context.Context) (registration.HubConfig, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.hubKubeconfig())
	if err != nil {
		return registration.HubConfig{}, fmt.Errorf("role %s without %s wants the hub's kubeconfig, in --hub-kubeconfig-dir or as --hub-kubeconfig: %w",
			o.Roles[0], roleRegistration, err)
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
		Kubeconfig: o.hubKubeconfig(),
	}
	if hub.Cluster == "" {
		return hub, fmt.Errorf("role %s without %s wants --spoke-cluster-name, or the file cluster-name in %s", o.Roles[0], roleRegistration, o.HubDir)
	}
	return hub, nil
}

// work applies works as soon as there is a way to the hub.
func (o *Options) work(ctx context.Context, spoke *rest.Config, wait hubWait, serving func()) error {
	hub, err := wait.as(ctx, spoke)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	allowed, err := evictionAllowed(hub.Config, hub.Cluster)
	if err != nil {
		return err
	}
	traces, err := tracing.New(ctx, tracing.Options{Endpoint: o.OTLPEndpoint, Service: "muster-klusterlet", Version: version})
	if err != nil {
		return err
	}
	defer traces.Close(ctx)
	agent := &work.Agent{
		Hub: hub.Config, Spoke: spoke, ClusterName: hub.Cluster, HubHash: hub.Hash, AgentID: o.AgentID,
		StatusInterval: o.StatusInterval, SyncInterval: o.SyncInterval, ResyncInterval: o.ResyncInterval,
		EvictionGracePeriod: o.EvictionGrace, EvictionAllowed: allowed, RawFeedback: o.enabled(rawFeedback), Serving: serving,
		Namespace: o.Namespace, ExecutorOnly: o.ExecutorOnly, Traces: traces, MaxRawFeedback: o.MaxJSONRawLength, MaxFeedbackWatch: o.MaxFeedbackWatch,
	}
	return agent.Run(ctx)
}

// addon registers add-ons as soon as there is a way to the hub.
func (o *Options) addon(ctx context.Context, spoke *rest.Config, wait hubWait) error {
	hub, err := wait.as(ctx, spoke)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	management, err := o.management()
	if err != nil {
		return err
	}
	agent := &addon.Agent{
		Hub: hub, Cluster: spoke, Management: management, Driver: o.AddonAuth, TokenSeconds: o.AddonTokenSeconds, Roles: o.onDemand(spoke, wait),
	}
	return agent.Run(ctx)
}

// management is the cluster where the agents of hosted add-ons run, nil when it is the managed one: the cluster that the agent itself
// runs in, when it works for another.
func (o *Options) management() (*rest.Config, error) {
	var config *rest.Config
	var err error
	switch {
	case o.ManagementKubeconfig != "":
		config, err = clientcmd.BuildConfigFromFlags("", o.ManagementKubeconfig)
	case o.SpokeKubeconfig != "":
		if config, err = rest.InClusterConfig(); errors.Is(err, rest.ErrNotInCluster) {
			return nil, nil
		}
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reach the cluster of hosted add-ons: %w; name its kubeconfig with --management-kubeconfig", err)
	}
	config.QPS = -1
	config.UserAgent = "muster-klusterlet/" + version
	return config, nil
}

// hubWait waits for the way to the hub.
type hubWait func(context.Context) (registration.HubConfig, error)

// as gives a role a way to the hub of its own: with the user agent that it has on the cluster, and without a rate limit of the client.
func (wait hubWait) as(ctx context.Context, spoke *rest.Config) (registration.HubConfig, error) {
	hub, err := wait(ctx)
	if err != nil {
		return hub, err
	}
	hub.Config = rest.CopyConfig(hub.Config)
	hub.Config.QPS = -1
	hub.Config.UserAgent = spoke.UserAgent
	return hub, nil
}

// proxy keeps a tunnel to the hub's proxy as soon as there is a way to the hub.
func (o *Options) proxy(ctx context.Context, spoke *rest.Config, wait hubWait, serving, alive func()) error {
	hub, err := wait.as(ctx, spoke)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	agent := &proxy.Agent{Hub: hub.Config, Spoke: spoke, Serving: serving, Alive: alive}
	return agent.Run(logr.NewContext(ctx, ctrl.Log.WithName(roleProxy)))
}

// serviceAccounts serves ManagedServiceAccounts as soon as there is a way to the hub.
func (o *Options) serviceAccounts(ctx context.Context, spoke *rest.Config, wait hubWait, serving, alive func()) error {
	hub, err := wait.as(ctx, spoke)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	agent := &serviceaccount.Agent{Hub: hub.Config, Spoke: spoke, Cluster: hub.Cluster, Serving: serving, Alive: alive}
	return agent.Run(logr.NewContext(ctx, ctrl.Log.WithName(roleServiceAccount)))
}

// inspections answers Inspections as soon as there is a way to the hub.
func (o *Options) inspections(ctx context.Context, spoke *rest.Config, wait hubWait, serving func()) error {
	hub, err := wait.as(ctx, spoke)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	agent := &inspection.Agent{Hub: hub.Config, Spoke: spoke, Cluster: hub.Cluster, HubHash: hub.Hash, Serving: serving}
	return agent.Run(logr.NewContext(ctx, ctrl.Log.WithName(roleInspection)))
}

// unlessEnded forgets the error of a wait that ended with the agent.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
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
