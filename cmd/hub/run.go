package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	authv1beta1 "github.com/muster-io/muster/api/authentication/v1beta1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	rbacv1alpha1 "github.com/muster-io/muster/api/rbac/v1alpha1"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	hubaddon "github.com/muster-io/muster/internal/hub/addon"
	"github.com/muster-io/muster/internal/hub/addonregistration"
	"github.com/muster-io/muster/internal/hub/analysis"
	"github.com/muster-io/muster/internal/hub/application"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/hub/clusterpermission"
	"github.com/muster-io/muster/internal/hub/event"
	"github.com/muster-io/muster/internal/hub/fleetrepository"
	"github.com/muster-io/muster/internal/hub/inspection"
	"github.com/muster-io/muster/internal/hub/install"
	"github.com/muster-io/muster/internal/hub/manifestworkreplicaset"
	"github.com/muster-io/muster/internal/hub/notification"
	"github.com/muster-io/muster/internal/hub/placement"
	"github.com/muster-io/muster/internal/hub/review"
	hubsource "github.com/muster-io/muster/internal/hub/source"
	"github.com/muster-io/muster/internal/hub/submariner"
	"github.com/muster-io/muster/internal/hub/workgc"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/source"
	"github.com/muster-io/muster/internal/tracing"
	"github.com/muster-io/muster/internal/work"
)

// Options of a hub.
type Options struct {
	// Kubeconfig of the hub's API server; empty is the cluster that the hub runs in.
	Kubeconfig string
	// Config replaces Kubeconfig in tests.
	Config *rest.Config
	// Controllers to run: names, or * for all.
	Controllers []string
	// StateDir holds the mirrors of repositories; it belongs on a volume.
	StateDir string
	// LocalRepositories are the folders below which file:// repositories may be read.
	LocalRepositories []string
	// SourceInterval is the time between two looks at a chart repository, a registry or another Git repository.
	SourceInterval time.Duration
	// InsecureSources allows sources that ask for plain HTTP or certificates that nobody vouches for.
	InsecureSources bool
	// ManifestLimit is how large one manifest may be, in KiB.
	ManifestLimit int
	// Install puts the CRDs, the admission policies and the rights of the hub's own account on the API server first. It wants
	// an administrator's rights; without it the hub's own are enough.
	Install bool
	// HubCluster is the name of the cluster that is the hub itself, if it is managed.
	HubCluster string
	// SubmarinerBroker is where clusters reach the hub's API server, as host:port, for Submariner; empty is what the kubeconfig says.
	SubmarinerBroker string
	// LeaderElection lets one at a time work of several hubs with the same controllers. The others are live and not ready.
	LeaderElection bool
	// Addresses to listen on; empty is not at all.
	WebhookAddress, MetricsAddress, HealthAddress, ProfilingAddress string
	// UIAddress serves the page of the fleet; empty is not at all. UICertDir holds tls.crt and tls.key for it; empty leaves TLS to
	// what stands in front.
	UIAddress, UICertDir string
	// UIURL is where people find that page: checks of pull requests link to it.
	UIURL string
	// UIOIDC is the provider where people may log in to the page; without an issuer there is none.
	UIOIDC OIDCOptions
	// ProxyAddress serves the proxy to managed clusters; empty is not at all. ProxyURL is how agents and people reach it; empty is the
	// address itself. ProxyCertDir holds its tls.crt and tls.key, and perhaps ca.crt; empty is an authority of the hub's own.
	ProxyAddress, ProxyURL, ProxyCertDir string
	// OTLPEndpoint is the URL of a receiver of traces; empty is that of OpenTelemetry's environment variables, if any.
	OTLPEndpoint string
	// PlacementDebugAddress serves how placements are scheduled, over TLS; empty is not at all.
	PlacementDebugAddress string
	// ConversionAddress serves the conversion of add-ons between their versions, over TLS; empty is not at all. ConversionService is the
	// Service, as namespace/name, by which the API server reaches it.
	ConversionAddress, ConversionService string
	// RenderCache is the memory that renderings may take, in MiB.
	RenderCache int64
	// RenderWorkers is how many processes render at a time; 0 renders in this process, without bounds.
	RenderWorkers int
	// RenderTime, and RenderMemory and RenderOutput in MiB, are what rendering one application for one cluster may take.
	RenderTime                 time.Duration
	RenderMemory, RenderOutput int64
	// Writers bounds the concurrent writes of works of one application.
	Writers int
	// StatusInterval is the least time between two status writes of one application.
	StatusInterval time.Duration
	// DecisionTimeout is how long a commit waits for its placements to be decided as planned.
	DecisionTimeout time.Duration
	// MassSilence says how many clusters fall silent together when the cause is more likely on the hub's side.
	MassSilence registration.SilenceLimit
	// HeartbeatPeriod is how often the hub makes sure that its API server answers; zero is hub.HeartbeatPeriod.
	HeartbeatPeriod time.Duration
	// ReplanInterval is the least time between two plans of one pull request while its head stays; zero is review.ReplanInterval.
	ReplanInterval time.Duration
	// Verbosity of the log: 0 says what happened, 1 says more.
	Verbosity int
	// SeveralHubs run in this process, as in tests: the names of controllers are then not unique in it.
	SeveralHubs bool
	// proxyListening is told where the proxy listens; nil but in tests.
	proxyListening func(net.Addr)
	// anyControllers allows combinations of controllers that are of use to tests only.
	anyControllers bool
	// conversionLife is how long a certificate of the conversion counts; zero is its default.
	conversionLife time.Duration
}

func (o *Options) flags(f *pflag.FlagSet) {
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig of the hub's API server; left out, the cluster it runs in")
	f.StringSliceVar(&o.Controllers, "controllers", []string{"*"}, "controllers to run: "+strings.Join(slices.Sorted(maps.Keys(controllers)), ", ")+", or *")
	f.StringVar(&o.StateDir, "state-dir", "muster-hub", "folder for the mirrors of repositories, on a volume")
	f.StringSliceVar(&o.LocalRepositories, "local-repositories", nil, "folders below which file:// repositories may be read; none by default")
	f.DurationVar(&o.SourceInterval, "source-interval", source.DefaultInterval, "time between two looks at a chart repository, a registry or another Git repository that applications name")
	f.BoolVar(&o.InsecureSources, "insecure-sources", false, "let applications set insecure on a source: plain HTTP, or a certificate that nobody vouches for")
	f.IntVar(&o.ManifestLimit, "manifest-limit", work.HardLimit>>10, fmt.Sprintf("how large one manifest may be, in KiB, at most %d; above %d it is alone in its work, which the webhook of an OCM hub would refuse",
		work.LargestManifest>>10, work.HardLimit>>10))
	f.BoolVar(&o.Install, "install", false, "put the CRDs, the admission policies and the rights of service account muster-system/muster-hub on the API server first, as an administrator")
	f.StringVar(&o.HubCluster, "hub-cluster", "", "name of the managed cluster that is the hub itself, if it is one")
	f.StringVar(&o.SubmarinerBroker, "submariner-broker", "", "HOST:PORT by which clusters with add-on submariner reach the hub's API server; left out, that of --kubeconfig")
	f.BoolVar(&o.LeaderElection, "leader-elect", true, "let one at a time work of several hubs with the same controllers; the others are live, not ready, and take no webhooks")
	f.StringVar(&o.WebhookAddress, "webhook-address", "", "address for webhooks of Git hosts, such as :8444; left out, none")
	f.StringVar(&o.MetricsAddress, "metrics-address", "", "address for metrics; left out, none")
	f.StringVar(&o.HealthAddress, "health-address", "", "address for /healthz and /readyz; left out, none")
	f.StringVar(&o.ProfilingAddress, "profiling-address", "", "address for Go's profiles at /debug/pprof/, such as 127.0.0.1:6060; anyone who reaches it may read them; left out, none")
	f.StringVar(&o.OTLPEndpoint, "otlp-endpoint", "", "URL of a receiver of traces by OTLP over HTTP, such as http://collector:4318/v1/traces; left out, that of OTEL_EXPORTER_OTLP_ENDPOINT, if any")
	f.StringVar(&o.PlacementDebugAddress, "placement-debug-address", "", "address for "+placement.DebugPath+"NAMESPACE/NAME over TLS, such as 127.0.0.1:9443; left out, none")
	f.StringVar(&o.UIAddress, "ui-address", "", "address for the page of the fleet, such as :8445; people log in with tokens of the hub's API server; left out, none")
	f.StringVar(&o.UIURL, "ui-url", "", "where people find the page of --ui-address, such as https://muster.example.com: checks and comments on pull requests link to it; left out, to the comment")
	f.StringVar(&o.UICertDir, "ui-cert-dir", "", "folder with tls.crt and tls.key for --ui-address, read again when they change; left out, what stands in front has to end TLS")
	o.UIOIDC.flags(f)
	f.StringVar(&o.ConversionAddress, "conversion-address", "", "address at which the API server has add-ons converted to v1beta1 and back, such as 127.0.0.1:0 beside it; left out, none: v1alpha1 alone is served")
	f.StringVar(&o.ConversionService, "conversion-service", "", "Service, as NAMESPACE/NAME with port 443, by which the API server reaches --conversion-address; left out, it reaches the address itself")
	f.StringVar(&o.ProxyAddress, "proxy-address", "", "address, such as :8446, of the proxy through which people reach the API servers of clusters whose klusterlets run with role proxy; left out, none")
	f.StringVar(&o.ProxyURL, "proxy-url", "", "https URL by which agents and people reach --proxy-address; TLS has to end at the hub; left out, the address itself")
	f.StringVar(&o.ProxyCertDir, "proxy-cert-dir", "", "folder with tls.crt and tls.key for --proxy-address, and ca.crt unless everybody trusts them; left out, the hub signs its own")
	f.Int64Var(&o.RenderCache, "render-cache", 256, "memory for renderings, in MiB")
	o.renderFlags(f)
	f.IntVar(&o.Writers, "writers", 16, "concurrent writes of works of one application")
	f.DurationVar(&o.StatusInterval, "status-interval", time.Second, "least time between two status writes of one application")
	f.DurationVar(&o.DecisionTimeout, "decision-timeout", 10*time.Second, "how long a commit waits for its placements to be decided as planned; then the live decisions win")
	f.IntVar(&o.MassSilence.Clusters, "mass-silence-clusters", cluster.DefaultMassSilence.Clusters,
		"so many clusters that fall silent at once, and the percentage, are taken for a fault on the hub's side: none is tainted or moved until they are heard again or 'muster approve --silence' is given; 0 turns this off")
	f.IntVar(&o.MassSilence.Percent, "mass-silence-percent", cluster.DefaultMassSilence.Percent, "share of the clusters that the hub was hearing, for --mass-silence-clusters")
	f.IntVarP(&o.Verbosity, "verbosity", "v", 0, "0 says what happened, 1 says more")
}

// parts is what controllers share.
type parts struct {
	Options
	mgr          ctrl.Manager
	store        *source.Store
	deliveries   *hub.Deliveries
	planner      *plan.Planner
	repositories *fleetrepository.Repositories
	sources      *hubsource.Sources // nil without controller source
	reviews      *review.Reviews
	// notifications hear what is recorded as events.
	notifications *notification.Notifications
	presence      *hub.Presence
	precedence    *hub.Precedence
	works         *hub.Works
	events        events.EventRecorder
	addonsIndexed bool
	// traces tell of commits on their way; nil without a receiver.
	traces *tracing.Tracer
}

// index gives the index of live works, which the controllers that plan share.
func (p *parts) index() (*hub.Works, error) {
	var err error
	if p.works == nil {
		p.works, err = hub.WatchWorks(p.mgr)
	}
	return p.works, err
}

// addons gives the index of works, and finds add-ons by their name.
func (p *parts) addons() (*hub.Works, error) {
	if !p.addonsIndexed {
		if err := hubaddon.Index(context.Background(), p.mgr); err != nil {
			return nil, err
		}
		p.addonsIndexed = true
	}
	return p.index()
}

// contents are the folders of repositories that add-ons are made of, rendered as applications are.
func (p *parts) contents() *hubaddon.Contents {
	return &hubaddon.Contents{Client: p.mgr.GetClient(), Deliveries: p.deliveries, Renderer: p.planner.Renderer}
}

// controllers are all there are, by the name that --controllers knows them by.
var controllers = map[string]func(*parts) error{
	"cluster": func(p *parts) error {
		options := cluster.Options{Events: p.events, Presence: p.presence, MassSilence: &p.MassSilence, Precedence: p.precedence}
		return errors.Join(cluster.Setup(p.mgr, options), event.OfClusters(p.mgr, p.events))
	},
	"placement": func(p *parts) error { return placement.Setup(p.mgr) },
	"addon-registration": func(p *parts) error {
		return addonregistration.Setup(p.mgr, addonregistration.Options{Events: p.events})
	},
	"addon-token": func(p *parts) error {
		return addonregistration.SetupTokens(p.mgr, addonregistration.Options{Events: p.events})
	},
	clusterpermission.Name: func(p *parts) error {
		works, err := p.index()
		if err != nil {
			return err
		}
		return (&clusterpermission.Permissions{Client: p.mgr.GetClient(), Reader: p.mgr.GetAPIReader(), Works: works}).Setup(p.mgr)
	},
	manifestworkreplicaset.Name: func(p *parts) error {
		works, err := p.index()
		if err != nil {
			return err
		}
		sets := &manifestworkreplicaset.ReplicaSets{
			Client: p.mgr.GetClient(), Reader: p.mgr.GetAPIReader(), Works: works, HubCluster: p.HubCluster, Writers: p.Writers, StatusInterval: p.StatusInterval, Now: time.Now,
		}
		return sets.Setup(p.mgr)
	},
	hubaddon.InstallName: func(p *parts) error {
		if _, err := p.addons(); err != nil {
			return err
		}
		return (&hubaddon.Installer{Client: p.mgr.GetClient(), Writers: p.Writers}).Setup(p.mgr)
	},
	hubaddon.ConfigurationName: func(p *parts) error {
		works, err := p.addons()
		if err != nil {
			return err
		}
		configurations := &hubaddon.Configurations{
			Client: p.mgr.GetClient(), Reader: p.mgr.GetAPIReader(), Works: works, Contents: p.contents(), Writers: p.Writers, StatusInterval: p.StatusInterval, Now: time.Now,
		}
		return configurations.Setup(p.mgr)
	},
	hubaddon.DeployName: func(p *parts) error {
		works, err := p.addons()
		if err != nil {
			return err
		}
		return (&hubaddon.Deployer{Client: p.mgr.GetClient(), Reader: p.mgr.GetAPIReader(), Works: works, Contents: p.contents()}).Setup(p.mgr)
	},
	submariner.Name: func(p *parts) error {
		works, err := p.addons()
		if err != nil {
			return err
		}
		server, ca := p.broker()
		return submariner.Setup(p.mgr, submariner.Options{Works: works, APIServer: server, CA: ca})
	},
	hubaddon.BuiltInName: func(p *parts) error {
		if _, err := p.addons(); err != nil {
			return err
		}
		return (&hubaddon.BuiltIns{Client: p.mgr.GetClient()}).Setup(p.mgr)
	},
	hubaddon.FeatureName: func(p *parts) error { return (&hubaddon.Features{Client: p.mgr.GetClient()}).Setup(p.mgr) },
	workgc.Name: func(p *parts) error {
		works, err := p.index()
		if err != nil {
			return err
		}
		return (&workgc.Collector{Client: p.mgr.GetClient(), Reader: p.mgr.GetAPIReader(), Works: works, Now: time.Now}).Setup(p.mgr)
	},
	inspection.Name: func(p *parts) error {
		return (&inspection.Collector{Client: p.mgr.GetClient(), Now: time.Now}).Setup(p.mgr)
	},
	"notification": func(p *parts) error { return p.notifications.Setup(p.mgr) },
	"fleetrepository": func(p *parts) error {
		works, err := p.index()
		if err != nil {
			return err
		}
		p.repositories = &fleetrepository.Repositories{
			Client: p.mgr.GetClient(), Works: works, Reader: p.mgr.GetAPIReader(), Config: p.mgr.GetConfig(),
			Store: p.store, Deliveries: p.deliveries, Planner: p.planner, Sources: p.sources,
			ManifestLimit: p.ManifestLimit << 10, HubCluster: p.HubCluster, DecisionTimeout: p.DecisionTimeout, Precedence: p.precedence, Now: time.Now,
		}
		return errors.Join(p.repositories.Setup(p.mgr), event.OfRepositories(p.mgr, p.events))
	},
	"review": func(p *parts) error {
		works, err := p.index()
		if err != nil {
			return err
		}
		p.reviews = &review.Reviews{
			Client: p.mgr.GetClient(), Works: works, Store: p.store, Deliveries: p.deliveries, Planner: p.planner, Repositories: p.repositories,
			HubCluster: p.HubCluster, UserAgent: "muster-hub/" + version, PageURL: p.UIURL, Now: time.Now, ReplanInterval: p.ReplanInterval,
		}
		return p.reviews.Setup(p.mgr)
	},
	"application": func(p *parts) error {
		works, err := p.index()
		if err != nil {
			return err
		}
		applications := &application.Applications{
			Client: p.mgr.GetClient(), Works: works, Reader: p.mgr.GetAPIReader(), Deliveries: p.deliveries, Planner: p.planner,
			Sources: p.sources, ManifestLimit: p.ManifestLimit << 10, HubCluster: p.HubCluster, Presence: p.presence,
			StatusInterval: p.StatusInterval, Writers: p.Writers, Precedence: p.precedence, Traces: p.traces, Now: time.Now,
		}
		return errors.Join(applications.Setup(p.mgr), event.OfApplications(p.mgr, p.events), event.OfCorrections(p.mgr, p.events, works))
	},
	analysis.Name: func(p *parts) error {
		works, err := p.index()
		if err != nil {
			return err
		}
		return (&analysis.Analyses{Client: p.mgr.GetClient(), Reader: p.mgr.GetAPIReader(), Works: works, Now: time.Now}).Setup(p.mgr)
	},
	"source": func(p *parts) error { return p.sources.Setup(p.mgr) },
}

// Scheme knows every kind that the hub works with.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, clusterv1.AddToScheme, clusterv1alpha1.AddToScheme, clusterv1beta1.AddToScheme,
		clusterv1beta2.AddToScheme, workv1.AddToScheme, workv1alpha1.AddToScheme, rbacv1alpha1.AddToScheme, submarinerv1alpha1.AddToScheme, authv1beta1.AddToScheme, musterv1alpha1.AddToScheme, addonv1alpha1.AddToScheme,
		apiextensionsv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err) // two types of one name: a mistake of ours
		}
	}
	return scheme
}

// Run runs the selected controllers until the context ends.
func Run(ctx context.Context, o Options) error {
	selected, err := selection(o.Controllers)
	if err != nil {
		return err
	}
	if err := o.check(selected); err != nil {
		return err
	}
	config, err := o.config()
	if err != nil {
		return err
	}
	if o.Install {
		if err := install.Hub(ctx, config); err != nil {
			return err
		}
	}
	precedence := &hub.Precedence{}
	config.Wrap(precedence.Wrap)
	mgr, err := newManager(config, o, selected)
	if err != nil {
		return err
	}
	if err := o.prepareElection(ctx, mgr); err != nil {
		return err
	}
	p, err := newParts(mgr, o)
	if err != nil {
		return err
	}
	p.precedence = precedence
	p.traces, err = tracing.New(logr.NewContext(ctx, ctrl.Log.WithName("traces")), tracing.Options{Endpoint: o.OTLPEndpoint, Service: "muster-hub", Version: version})
	if err != nil {
		return err
	}
	defer p.traces.Close(ctx)
	if slices.Contains(selected, "source") {
		p.sources = hubsource.New(p.library())
	}
	for _, name := range selected {
		if err := controllers[name](p); err != nil {
			return fmt.Errorf("set up controller %s: %w", name, err)
		}
	}
	if err := errors.Join(p.beat(selected), p.labelLeader(ctx), p.serveConversion(), p.serveWebhooks(), p.servePlacementDebug(), p.serveProxy(ctx), p.servePage(ctx), p.serveMetrics(ctx, selected)); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func newParts(mgr ctrl.Manager, o Options) (*parts, error) {
	recorder, err := event.NewRecorder(mgr, "muster-hub")
	if err != nil {
		return nil, err
	}
	store := &source.Store{Dir: o.StateDir, Local: o.LocalRepositories, Hosts: &source.Hosts{}}
	renderer, err := o.renderer(mgr)
	if err != nil {
		return nil, err
	}
	rendered.count(renderer)
	notifications := &notification.Notifications{Client: mgr.GetClient(), Now: time.Now}
	return &parts{
		Options: o, mgr: mgr, store: store, deliveries: &hub.Deliveries{Store: store}, planner: &plan.Planner{Renderer: renderer},
		presence: &hub.Presence{}, events: notifications.Hear(recorder), notifications: notifications,
	}, nil
}

// library keeps the sources of applications outside their own repository, beside the mirrors of fleet repositories.
func (p *parts) library() *source.Library {
	dir := filepath.Join(p.StateDir, "sources")
	return &source.Library{
		Dir: dir, Git: &source.Store{Dir: filepath.Join(dir, "git"), Local: p.LocalRepositories},
		Interval: p.SourceInterval, Insecure: p.InsecureSources, Hosts: p.store.Hosts,
		Secret: func(ctx context.Context, namespace, name string) (map[string][]byte, error) {
			var secret corev1.Secret
			err := p.mgr.GetClient().Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret)
			return secret.Data, mayRead(namespace, err)
		},
		Values: p.values,
	}
}

// values reads a Secret or ConfigMap that holds values of applications, as the API server has it.
func (p *parts) values(ctx context.Context, namespace string, object fleet.ValuesObject) (map[string][]byte, string, error) {
	key := client.ObjectKey{Namespace: namespace, Name: object.Name}
	if object.Kind == musterv1alpha1.ValuesSecret {
		var secret corev1.Secret
		err := p.mgr.GetAPIReader().Get(ctx, key, &secret)
		return secret.Data, string(secret.UID), mayRead(namespace, err)
	}
	var config corev1.ConfigMap
	err := p.mgr.GetAPIReader().Get(ctx, key, &config)
	data := map[string][]byte{}
	maps.Copy(data, config.BinaryData)
	for name, value := range config.Data {
		data[name] = []byte(value)
	}
	return data, string(config.UID), mayRead(namespace, err)
}

// unreadError says in plain words why an object of the hub cannot be read; what it is to the library is fs.ErrNotExist or fs.ErrPermission.
type unreadError struct {
	is   error
	text string
}

func (e unreadError) Error() string { return e.text }
func (e unreadError) Unwrap() error { return e.is }

// mayRead explains why an object of a namespace cannot be read, with the next step.
func mayRead(namespace string, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return unreadError{fs.ErrNotExist, "it is not on the hub: create it"}
	case apierrors.IsForbidden(err):
		return unreadError{fs.ErrPermission, fmt.Sprintf("the hub may not: kubectl -n %[1]s create rolebinding %[2]s --clusterrole=%[2]s --serviceaccount=%[3]s:%[4]s",
			namespace, hub.RepositoryRole, registration.SystemNamespace, hub.Account)}
	}
	return err
}

func (o *Options) config() (*rest.Config, error) {
	config := o.Config
	var err error
	switch {
	case config != nil:
		config = rest.CopyConfig(config)
	case o.Kubeconfig != "":
		config, err = clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	default:
		config, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("reach the hub's API server: %w; name its kubeconfig with --kubeconfig", err)
	}
	// The API server's own priority and fairness bounds us better than a number chosen here.
	config.QPS = -1
	config.UserAgent = "muster-hub/" + version
	return config, nil
}

// broker is where clusters reach the API server, and the authority that vouches for it there; without one it is the API server's own. Within
// a cluster nothing is known of the outside.
func (p *parts) broker() (server string, ca []byte) {
	if p.SubmarinerBroker != "" || p.Options.Config == nil && p.Kubeconfig == "" {
		return p.SubmarinerBroker, nil
	}
	config := p.mgr.GetConfig()
	if ca = config.CAData; len(ca) == 0 && config.CAFile != "" {
		ca, _ = os.ReadFile(config.CAFile) // unreadable for us is no authority for others
	}
	server, _ = strings.CutPrefix(config.Host, "https://")
	return strings.TrimSuffix(server, "/"), ca
}

func newManager(cfg *rest.Config, o Options, selected []string) (ctrl.Manager, error) {
	address := func(a string) string {
		if a == "" {
			return "0"
		}
		return a
	}
	mgr, err := ctrl.NewManager(cfg, manager.Options{
		Scheme:                        Scheme(),
		Metrics:                       metricsserver.Options{BindAddress: address(o.MetricsAddress)},
		HealthProbeBindAddress:        address(o.HealthAddress),
		PprofBindAddress:              address(o.ProfilingAddress),
		LeaderElection:                o.LeaderElection,
		LeaderElectionID:              leaseName(selected),
		LeaderElectionNamespace:       cluster.SystemNamespace,
		LeaderElectionReleaseOnCancel: true,
		Controller:                    config.Controller{SkipNameValidation: &o.SeveralHubs},
		Cache:                         cache.Options{DefaultTransform: hub.Trim},
		// Secrets are read when they are needed and never kept. Works are read from their index.
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &workv1.ManifestWork{}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("set up the hub: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	return mgr, mgr.AddReadyzCheck("leader", func(*http.Request) error {
		select {
		case <-mgr.Elected(): // closed from the start without leader election
			return nil
		default:
			return errors.New("another hub leads")
		}
	})
}

// placementsAlone: the API server may be another's, with the kinds of clusters and placements and nothing else of ours.
func placementsAlone(controllers []string) bool {
	return slices.Equal(controllers, []string{"placement"})
}

// beat adds the heartbeat, from which people see that the controllers run.
func (p *parts) beat(controllers []string) error {
	if placementsAlone(controllers) {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name this hub: %w", err)
	}
	h := &hub.Heartbeat{
		Client: p.mgr.GetClient(), Reader: p.mgr.GetAPIReader(), Holder: fmt.Sprintf("%s %d", host, os.Getpid()),
		Version: version, Period: p.HeartbeatPeriod, Now: time.Now,
	}
	if slices.Contains(controllers, "cluster") {
		h.Presence = p.presence
	}
	if slices.Contains(controllers, "fleetrepository") || slices.Contains(controllers, "application") {
		h.HubCluster = &p.HubCluster
	}
	return p.mgr.Add(h)
}

// labelLeader lets Services find the pod that leads.
func (p *parts) labelLeader(ctx context.Context) error {
	leader := &hub.Leader{Client: p.mgr.GetClient(), Pod: hub.PodOfThisProcess()}
	if err := leader.Forget(ctx); err != nil {
		return fmt.Errorf("take the label of the leader from pod %s: %w", leader.Pod, err)
	}
	return p.mgr.Add(leader)
}

// trigger makes the next look at a repository due now: at its branch, and at its pull requests.
func (p *parts) trigger(namespace, name string) {
	p.repositories.Trigger(namespace, name)
	if p.reviews != nil {
		p.reviews.Trigger(namespace, name)
	}
}

// serveConversion answers the API server's questions for the other version of an add-on.
func (p *parts) serveConversion() error {
	if p.ConversionAddress == "" {
		return nil
	}
	return p.mgr.Add(&hubaddon.Conversion{
		Client: p.mgr.GetClient(), Reader: p.mgr.GetAPIReader(), Address: p.ConversionAddress, Service: p.ConversionService, Life: p.conversionLife,
	})
}

// serveWebhooks listens to Git hosts, which announce that a repository changed. Only the leader does.
func (p *parts) serveWebhooks() error {
	if p.WebhookAddress == "" {
		return nil
	}
	if _, err := net.ResolveTCPAddr("tcp", p.WebhookAddress); err != nil {
		return fmt.Errorf("--webhook-address %s: %w", p.WebhookAddress, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhook/{namespace}/{name}", source.Webhook{Key: p.repositories.WebhookKey, Trigger: p.trigger})
	if p.sources != nil {
		mux.Handle("/sources/{namespace}/{name}", source.Webhook{Key: p.sources.Library.WebhookKey, Trigger: p.sources.Trigger})
	}
	server := &http.Server{Addr: p.WebhookAddress, Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	// Only the leader opens the port: a standby could not answer a webhook.
	return p.mgr.Add(&manager.Server{Name: "webhooks", Server: server, OnlyServeWhenLeader: true})
}
