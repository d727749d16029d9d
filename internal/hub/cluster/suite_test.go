package cluster_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub/cluster"
	"github.com/muster-io/muster/internal/test"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	test.Main(m, test.Environment{})
}

// hubs are few: most tests take a second or two, and one of them waits for leases to expire.
var hubs = test.Pool{Options: controlplane.Options{Name: "hub", Controllers: true}, Prepare: prepare, Size: 3}

func prepare(ctx context.Context, cp *controlplane.ControlPlane) error {
	// One API server is hub and managed cluster in some tests.
	if err := controlplane.Install(ctx, cp.Config(), append(crds.Hub(), crds.Agent()...)...); err != nil {
		return err
	}
	admin, err := client.New(cp.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	return cluster.Install(ctx, admin)
}

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, clusterv1.AddToScheme, clusterv1alpha1.AddToScheme, clusterv1beta2.AddToScheme, workv1.AddToScheme, workv1alpha1.AddToScheme, musterv1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}()

// hub is a hub with its controllers, and its administrator.
type hub struct {
	client.Client
	*controlplane.ControlPlane
	t *testing.T
}

// started runs the controllers on a hub of the test's own until the test ends, in parallel with other tests.
func started(t *testing.T) *hub {
	t.Helper()
	return startedWith(t, cluster.Options{})
}

// startedWith runs them with other options.
func startedWith(t *testing.T, o cluster.Options) *hub {
	t.Helper()
	t.Parallel()
	return startedOn(t, hubs.Borrow(t), o)
}

// startedOn runs them on a hub that is there.
func startedOn(t *testing.T, cp *controlplane.ControlPlane, o cluster.Options) *hub {
	t.Helper()
	o.ControllerPrefix, o.CheckPeriod = t.Name()+"-", 200*time.Millisecond
	admin := clientFor(t, cp.Config())
	mgr, err := ctrl.NewManager(cp.Config(), ctrl.Options{Scheme: scheme, Metrics: server.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Setup(mgr, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the controllers ended with %v", err)
		}
	})
	return &hub{Client: admin, ControlPlane: cp, t: t}
}

func clientFor(t *testing.T, cfg *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// user gives a user rights on the hub and returns a client of that user.
func (h *hub) user(name string, rules ...rbacv1.PolicyRule) client.Client {
	h.t.Helper()
	cfg, err := h.User(name)
	if err != nil {
		h.t.Fatal(err)
	}
	object := metav1.ObjectMeta{Name: name}
	h.create(
		&rbacv1.ClusterRole{ObjectMeta: object, Rules: rules},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: object,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}},
		},
	)
	return clientFor(h.t, cfg)
}

// create makes objects that go when the test ends.
func (h *hub) create(objects ...client.Object) {
	h.t.Helper()
	for _, o := range objects {
		if err := h.Create(h.t.Context(), o); err != nil {
			h.t.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
		h.t.Cleanup(func() {
			if err := client.IgnoreNotFound(h.Delete(context.Background(), o)); err != nil {
				h.t.Errorf("delete %T %s: %v", o, o.GetName(), err)
			}
		})
	}
}

// cluster reads a ManagedCluster.
func (h *hub) cluster(name string) *clusterv1.ManagedCluster {
	h.t.Helper()
	c := &clusterv1.ManagedCluster{}
	if err := h.Get(h.t.Context(), client.ObjectKey{Name: name}, c); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// patch changes a ManagedCluster, or its status, whatever others write in between.
func (h *hub) patch(name string, patch map[string]any, options ...string) {
	h.t.Helper()
	data, err := json.Marshal(patch)
	if err != nil {
		h.t.Fatal(err)
	}
	c := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if len(options) > 0 {
		err = h.Status().Patch(h.t.Context(), c, client.RawPatch("application/merge-patch+json", data))
	} else {
		err = h.Patch(h.t.Context(), c, client.RawPatch("application/merge-patch+json", data))
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *hub) accept(name string, accepts bool) {
	h.t.Helper()
	h.patch(name, map[string]any{"spec": map[string]any{"hubAcceptsClient": accepts}})
}

// expect waits until a condition of a cluster has a status.
func (h *hub) expect(name, condition string, status metav1.ConditionStatus) {
	h.t.Helper()
	eventually(h.t, func() string {
		c := meta.FindStatusCondition(h.cluster(name).Status.Conditions, condition)
		switch {
		case c == nil:
			return condition + " is missing"
		case c.Status != status:
			return condition + " is " + string(c.Status) + ": " + c.Message
		}
		return ""
	})
}

// patience is how long something is waited for; it is no expectation of speed: a loaded machine takes its time.
const patience = 3 * time.Minute

// eventually waits until there is nothing wrong.
func eventually(t *testing.T, wrong func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		text := wrong()
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still wrong after %s: %s", patience, text)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("the test ends and still: %s", text)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func managed(name string, change ...func(*clusterv1.ManagedCluster)) *clusterv1.ManagedCluster {
	c := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, f := range change {
		f(c)
	}
	return c
}

func acceptedCluster(c *clusterv1.ManagedCluster) { c.Spec.HubAcceptsClient = true }

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}
