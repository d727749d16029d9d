package placement

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/internal/hub/event"
	"github.com/muster-io/muster/internal/test"
)

func TestMain(m *testing.M) { test.Main(m, test.Environment{HubCRDs: crds.Hub()}) }

func TestPlacements(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(3 * time.Minute) // a loaded machine takes its time
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "Placements")
}

// hub is a client of the API server, without a cache.
var hub client.Client

// debug is the debug handler on the controller's manager.
var debug *Debug

var _ = BeforeSuite(func() {
	log.SetLogger(GinkgoLogr)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme,
		clusterv1.AddToScheme, clusterv1alpha1.AddToScheme, clusterv1beta1.AddToScheme, clusterv1beta2.AddToScheme,
	} {
		Expect(add(scheme)).To(Succeed())
	}
	config := test.Hub(GinkgoTB()).Config()
	config.QPS = -1
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	Expect(err).NotTo(HaveOccurred())
	events, err := event.NewRecorder(mgr, "muster-placement")
	Expect(err).NotTo(HaveOccurred())
	placements := &Placements{Client: mgr.GetClient(), Events: events, Now: time.Now, Concurrency: 4, Name: "placement"}
	Expect(placements.SetupWithManager(mgr)).To(Succeed())
	debug = &Debug{Reader: mgr.GetClient(), Reviews: mgr.GetClient(), Now: time.Now}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	DeferCleanup(func() {
		cancel()
		Expect(<-done).To(Succeed())
	})
	hub, err = client.New(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
})

// tenant is a namespace with a set of its own name bound to it.
type tenant struct{ name string }

func newTenant(ctx context.Context) tenant {
	t := tenant{test.Namespace(GinkgoTB(), test.Hub(GinkgoTB()))}
	Expect(hub.Create(ctx, &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: t.name}})).To(Succeed())
	t.bind(ctx, t.name)
	return t
}

func (t tenant) bind(ctx context.Context, set string) {
	Expect(hub.Create(ctx, &clusterv1beta2.ManagedClusterSetBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: set},
		Spec:       clusterv1beta2.ManagedClusterSetBindingSpec{ClusterSet: set},
	})).To(Succeed())
}

// cluster creates a cluster in the tenant's set; its name gets the tenant's as a suffix.
func (t tenant) cluster(ctx context.Context, name string, labels map[string]string) string {
	c := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name + "-" + t.name, Labels: map[string]string{clusterv1beta2.ClusterSetLabel: t.name}}}
	for k, v := range labels {
		c.Labels[k] = v
	}
	ExpectWithOffset(1, hub.Create(ctx, c)).To(Succeed())
	return c.Name
}

func (t tenant) clusters(ctx context.Context, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = t.cluster(ctx, fmt.Sprintf("c%03d", i), nil)
	}
	return names
}

func (t tenant) placement(ctx context.Context, name string, change func(*clusterv1beta1.PlacementSpec)) *clusterv1beta1.Placement {
	p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: name}}
	if change != nil {
		change(&p.Spec)
	}
	ExpectWithOffset(1, hub.Create(ctx, p)).To(Succeed())
	return p
}

// edit changes an object and tries again when another writer was faster.
func edit[T client.Object](ctx context.Context, o T, name string, change func(T)) {
	EventuallyWithOffset(1, func() error {
		if err := hub.Get(ctx, client.ObjectKey{Namespace: o.GetNamespace(), Name: name}, o); err != nil {
			return err
		}
		change(o)
		return hub.Update(ctx, o)
	}).Should(Succeed())
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}
