package addonregistration_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/controlplane"
	musterhub "github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/addonregistration"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/hub/install"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/addon"
	"github.com/muster-io/muster/klusterlet/registration"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	test.Main(m, test.Environment{})
}

var hubs = test.Pool{
	Options: controlplane.Options{Name: "hub", Controllers: true}, Size: 2,
	Prepare: func(ctx context.Context, cp *controlplane.ControlPlane) error { return install.Hub(ctx, cp.Config()) },
}

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, clusterv1.AddToScheme, clusterv1beta2.AddToScheme, workv1.AddToScheme, musterv1alpha1.AddToScheme, addonv1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}()

// fleet is a hub that runs with the rights of its account, and one cluster with the part of its agent that registers add-ons.
type fleet struct {
	*testing.T
	cp      *controlplane.ControlPlane
	hub     client.Client // of the hub's administrator
	cluster client.Client // of the cluster's
	name    string        // of the cluster
	config  *rest.Config  // of the cluster
	ahead   atomic.Int64  // how far the clock of the agent is ahead
}

func started(t *testing.T) *fleet {
	t.Helper()
	t.Parallel()
	return startedOn(t, hubs.Borrow(t))
}

func startedOn(t *testing.T, cp *controlplane.ControlPlane) *fleet {
	t.Helper()
	f := &fleet{T: t, cp: cp, config: test.Clusters(t, 1)[0].Config()}
	f.hub, f.cluster = f.client(f.cp.Config()), f.client(f.config)
	config, err := f.cp.User(musterhub.User, musterhub.Groups()...)
	f.must(err)
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: "0"},
		Client:     client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)}, // several hubs run in this process
	})
	f.must(err)
	f.must(cluster.Setup(mgr, cluster.Options{}))
	f.must(addonregistration.Setup(mgr, addonregistration.Options{}))
	f.must(addonregistration.SetupTokens(mgr, addonregistration.Options{}))
	f.background("the hub", mgr.Start)
	f.name = test.Namespace(t, test.Clusters(t, 1)[0]) // a name that no other test has
	f.create(f.hub, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: f.name}, Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}})
	f.eventually(func() string {
		c := &clusterv1.ManagedCluster{}
		if err := f.hub.Get(t.Context(), client.ObjectKey{Name: f.name}, c); err != nil {
			return err.Error()
		}
		return unless(meta.IsStatusConditionTrue(c.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted), "the cluster is not accepted")
	})
	return f
}

// agent runs the cluster's agent, until the result is called or the test ends.
func (f *fleet) agent(change ...func(*addon.Agent)) (stop func()) {
	f.Helper()
	config, err := f.cp.User(rules.UserName(f.name, "a1"), rules.Organizations(f.name)...)
	f.must(err)
	kubeconfig, err := controlplane.Kubeconfig("hub", config)
	f.must(err)
	file := filepath.Join(f.TempDir(), "kubeconfig")
	f.must(os.WriteFile(file, kubeconfig, 0o600))
	a := &addon.Agent{
		Hub: registration.HubConfig{
			Config: config, Cluster: f.name, Agent: "a1", Hash: registration.HubHash(config.Host), Kubeconfig: file,
		},
		Cluster: f.config, Driver: rules.DriverCSR,
		Periods: addon.Periods{Lease: 100 * time.Millisecond, Retry: 100 * time.Millisecond, Resync: 300 * time.Millisecond, Hub: 100 * time.Millisecond},
		Now:     func() time.Time { return time.Now().Add(time.Duration(f.ahead.Load())) },
	}
	for _, c := range change {
		c(a)
	}
	return f.background("the agent", a.Run)
}

func (f *fleet) background(what string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			f.Errorf("%s ended with %v", what, err)
		}
	}
	f.Cleanup(stop)
	return stop
}

func (f *fleet) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fleet) client(config *rest.Config) client.Client {
	f.Helper()
	c, err := client.New(config, client.Options{Scheme: scheme})
	f.must(err)
	return c
}

func (f *fleet) create(c client.Client, objects ...client.Object) {
	f.Helper()
	for _, o := range objects {
		f.must(c.Create(f.Context(), o))
	}
}

// addOn installs an add-on with a template on the cluster, as the hub's controllers of add-ons do.
func (f *fleet) addOn(name string, registrations ...addonv1alpha1.RegistrationSpec) *addonv1alpha1.ManagedClusterAddOn {
	f.Helper()
	template := &addonv1alpha1.AddOnTemplate{
		ObjectMeta: metav1.ObjectMeta{Name: f.name + "-" + name}, Spec: addonv1alpha1.AddOnTemplateSpec{AddonName: name, Registration: registrations},
	}
	a := &addonv1alpha1.ManagedClusterAddOn{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: name}, Spec: addonv1alpha1.ManagedClusterAddOnSpec{InstallNamespace: f.name},
	}
	f.create(f.hub, template, a)
	f.change(name, func(a *addonv1alpha1.ManagedClusterAddOn) {
		referent := addonv1alpha1.ConfigReferent{Name: template.Name}
		a.Status.ConfigReferences = []addonv1alpha1.ConfigReference{{
			ConfigGroupResource: addonv1alpha1.ConfigGroupResource{Group: addonv1alpha1.GroupName, Resource: "addontemplates"},
			ConfigReferent:      referent, DesiredConfig: &addonv1alpha1.ConfigSpecHash{ConfigReferent: referent, SpecHash: "hash"},
		}}
	})
	return a
}

// change changes the status of an add-on.
func (f *fleet) change(name string, change func(*addonv1alpha1.ManagedClusterAddOn)) {
	f.Helper()
	f.eventually(func() string {
		a := f.get(name)
		change(a)
		return text(f.hub.Status().Update(f.Context(), a))
	})
}

func (f *fleet) get(name string) *addonv1alpha1.ManagedClusterAddOn {
	f.Helper()
	a := &addonv1alpha1.ManagedClusterAddOn{}
	f.must(f.hub.Get(f.Context(), client.ObjectKey{Namespace: f.name, Name: name}, a))
	return a
}

// expect waits for a condition of an add-on.
func (f *fleet) expect(name, condition string, status metav1.ConditionStatus, reason string) {
	f.Helper()
	f.eventually(func() string {
		c := meta.FindStatusCondition(f.get(name).Status.Conditions, condition)
		if c == nil {
			return condition + " is missing"
		}
		return unless(c.Status == status && c.Reason == reason, condition+" is "+string(c.Status)+", "+c.Reason+": "+c.Message)
	})
}

// secret waits for a Secret on the cluster in which a key is.
func (f *fleet) secret(name, key string) *corev1.Secret {
	f.Helper()
	s := &corev1.Secret{}
	f.eventually(func() string {
		s = &corev1.Secret{}
		if err := f.cluster.Get(f.Context(), client.ObjectKey{Namespace: f.name, Name: name}, s); err != nil {
			return err.Error()
		}
		return unless(len(s.Data[key]) > 0, "Secret "+name+" has no "+key)
	})
	return s
}

// gone waits until an object is not there.
func (f *fleet) gone(c client.Client, o client.Object) {
	f.Helper()
	f.eventually(func() string {
		err := c.Get(f.Context(), client.ObjectKeyFromObject(o), o)
		if err == nil {
			return o.GetName() + " is still there"
		}
		return text(client.IgnoreNotFound(err))
	})
}

// with is a client of the hub with what is in a Secret, mounted as an add-on has it.
func (f *fleet) with(s *corev1.Secret) client.Client {
	f.Helper()
	dir := f.TempDir()
	for key, value := range s.Data {
		f.must(os.WriteFile(filepath.Join(dir, key), value, 0o600))
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	f.must(err)
	return f.client(config)
}

// patience is how long something is waited for; it is no expectation of speed.
const patience = 3 * time.Minute

func (f *fleet) eventually(wrong func() string) {
	f.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		text := wrong()
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			f.Fatalf("still wrong after %s: %s", patience, text)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func unless(ok bool, wrong string) string {
	if ok {
		return ""
	}
	return wrong
}
