package addon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/registration"
)

// Agent registers the add-ons of one cluster. Fields are set before Run and not changed afterwards.
type Agent struct {
	// Hub is how the cluster's agent reaches the hub.
	Hub registration.HubConfig
	// Cluster is the managed cluster; Management is where the agents of hosted add-ons run, nil when that is the managed cluster.
	Cluster, Management *rest.Config
	// Driver is how agents authenticate on the hub: rules.DriverCSR, the default, or rules.DriverToken.
	Driver string
	// TokenSeconds is the life of tokens that is asked for, by default a year.
	TokenSeconds int64
	// CertificateSeconds is the life of certificates that is asked for; 0 leaves it to who signs them.
	CertificateSeconds int32
	// Roles of the klusterlet that run while an add-on of the cluster names them.
	Roles map[string]Role
	// Periods between actions.
	Periods Periods
	// Now is the clock, by default time.Now.
	Now func() time.Time
}

// Periods between an agent's actions. A zero one has the default.
type Periods struct {
	Lease  time.Duration // between looks at an add-on's lease, 30 s
	Retry  time.Duration // between looks at a request that waits, 2 s
	Resync time.Duration // between looks at everything, 5 m
	Hub    time.Duration // between tries to find add-ons on the hub, 1 m
}

func (a *Agent) setDefaults() {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&a.Periods.Lease, 30*time.Second)
	set(&a.Periods.Retry, 2*time.Second)
	set(&a.Periods.Resync, 5*time.Minute)
	set(&a.Periods.Hub, time.Minute)
	if a.Driver == "" {
		a.Driver = rules.DriverCSR
	}
	if a.TokenSeconds == 0 {
		a.TokenSeconds = int64(365 * 24 * time.Hour / time.Second)
	}
	if a.Now == nil {
		a.Now = time.Now
	}
}

func (a *Agent) now() time.Time { return a.Now() }

// isOnManagement says whether something lies on the management cluster: what is hosted does, where there is one.
func (a *Agent) isOnManagement(hosted bool) bool { return hosted && a.Management != nil }

// Scheme knows the kinds that the agent works with, on the hub and where add-ons run.
var Scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		certificatesv1.AddToScheme, coordinationv1.AddToScheme, corev1.AddToScheme, addonv1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err) // two kinds of one name: every test would fail
		}
	}
	return scheme
}()

// Run registers add-ons until ctx ends, which is no error. A hub that has no add-ons, or does not show them, is asked again and again.
// It logs with the logger in ctx.
func (a *Agent) Run(ctx context.Context) error {
	a.setDefaults()
	log := logr.FromContextOrDiscard(ctx)
	clusters := map[bool]client.Client{}
	for hosted, config := range map[bool]*rest.Config{false: a.Cluster, true: a.Management} {
		if config == nil {
			continue
		}
		c, err := client.New(config, client.Options{Scheme: Scheme})
		if err != nil {
			return fmt.Errorf("reach the cluster of add-ons: %w", err)
		}
		clusters[hosted] = c
	}
	said := ""
	for ctx.Err() == nil {
		err := a.await(ctx)
		if err == nil {
			err = a.serve(ctx, clusters)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			log.Info("cannot register add-ons, trying again", "why", said)
		}
		select {
		case <-ctx.Done():
		case <-time.After(a.Periods.Hub):
		}
	}
	return nil
}

// await says why the hub does not show its add-ons, nil when it does.
func (a *Agent) await(ctx context.Context) error {
	hub, err := client.New(a.Hub.Config, client.Options{Scheme: Scheme})
	if err != nil {
		return err
	}
	err = hub.List(ctx, &addonv1alpha1.ManagedClusterAddOnList{}, client.InNamespace(a.Hub.Cluster), client.Limit(1))
	switch {
	case meta.IsNoMatchError(err):
		return errors.New("the hub has no add-ons: it does not serve their kinds")
	case apierrors.IsForbidden(err):
		return errors.New("the hub does not show add-ons: it has not accepted the cluster yet, or has detached it")
	}
	return err
}

// serve registers add-ons until ctx ends, or the hub can no longer be watched.
func (a *Agent) serve(ctx context.Context, clusters map[bool]client.Client) error {
	mgr, err := ctrl.NewManager(a.Hub.Config, manager.Options{
		Scheme:     Scheme,
		Logger:     logr.FromContextOrDiscard(ctx),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)}, // it may be set up again in this process
		Cache: cache.Options{
			DefaultNamespaces: map[string]cache.Config{a.Hub.Cluster: {}},
			DefaultTransform:  cache.TransformStripManagedFields(),
		},
		// Nothing but add-ons is watched: requests are looked for while one waits.
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&certificatesv1.CertificateSigningRequest{}}}},
	})
	if err != nil {
		return err
	}
	hub := hubClient{Client: mgr.GetClient(), live: mgr.GetAPIReader()}
	r := &registrations{
		Agent: a, hubClient: hub, clusters: clusters, cluster: a.Hub.Cluster,
		requests: pending{all: map[place]*waiting{}}, owned: map[string][]place{},
	}
	if err := r.find(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wanted := &roles{Agent: a, hubClient: hub, cluster: clusters[false], ctx: ctx, running: map[string]*running{}}
	if err := a.watch(mgr, r, wanted); err != nil {
		return err
	}
	err = mgr.Start(ctx)
	cancel()
	wanted.end()
	return err
}

func (a *Agent) watch(mgr manager.Manager, r *registrations, wanted *roles) error {
	// Add-ons whose Secrets were found, of which some may be gone.
	known := make(chan event.GenericEvent, len(r.owned))
	for name := range r.owned {
		known <- event.GenericEvent{Object: &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: a.Hub.Cluster, Name: name}}}
	}
	return errors.Join(
		ctrl.NewControllerManagedBy(mgr).Named("addon-registration").
			For(&addonv1alpha1.ManagedClusterAddOn{}).
			WatchesRawSource(source.Channel(known, &handler.EnqueueRequestForObject{})).
			Complete(r),
		ctrl.NewControllerManagedBy(mgr).Named("addon-lease").
			// Conditions follow from the lease, and not the other way round.
			For(&addonv1alpha1.ManagedClusterAddOn{}, builder.WithPredicates(leaseMoves())).
			Complete(reconcile.AsReconciler(mgr.GetClient(), &leases{Agent: a, hubClient: r.hubClient, clusters: r.clusters})),
		ctrl.NewControllerManagedBy(mgr).Named("addon-role").
			For(&addonv1alpha1.ManagedClusterAddOn{}, builder.WithPredicates(predicate.AnnotationChangedPredicate{})).
			Complete(wanted),
	)
}

// leaseMoves lets add-ons through that are new, or whose lease is looked for elsewhere or no longer.
func leaseMoves() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*addonv1alpha1.ManagedClusterAddOn), e.ObjectNew.(*addonv1alpha1.ManagedClusterAddOn)
		return rules.AddOnNamespace(before) != rules.AddOnNamespace(after) || rules.Hosted(before) != rules.Hosted(after) ||
			before.Status.HealthCheck.Mode != after.Status.HealthCheck.Mode
	}}
}
