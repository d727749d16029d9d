package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/install"
	"github.com/muster-io/muster/internal/renderworker"
	"github.com/muster-io/muster/internal/test"
	agent "github.com/muster-io/muster/klusterlet/work"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == renderworker.Subcommand || os.Getenv(asHub) != "" {
		main()
		return
	}
	logger := logr.Discard()
	if os.Getenv("MUSTER_TEST_LOG") != "" {
		logger = zap.New(zap.UseDevMode(true))
	}
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	test.Main(m, test.Environment{
		Hub:         controlplane.Options{Controllers: true},
		HubCRDs:     crds.Hub(),
		ClusterCRDs: crds.Agent(),
	})
}

// patience is how long a condition is waited for; it is no expectation of speed: a loaded machine takes its time.
const patience = 3 * time.Minute

// theFleet is a hub of one test: its own control plane, the real controllers, one repository, and clusters with the real work
// agent, which are all namespaces apart on one API server or API servers of their own.
type theFleet struct {
	t      testing.TB
	ctx    context.Context
	cp     *controlplane.ControlPlane
	client client.Client
	repo   *test.Repository
	state  string
	url    string // that agents know the hub by; another one for each test, since tests share clusters
	stop   func() // of the hub's controllers
	kill   func() // the same without a word, of a hub that is a program
	agents map[string]func()
	spokes map[string]*controlplane.ControlPlane
	// serverIn is the namespace on clusters, which tests share, of the Deployment that a test looks at.
	serverIn string
	// controllers that startHub runs, and what else it is told.
	controllers []string
	options     []func(*Options)
	// wrap is around what the hub asks of its API server; nil is nothing.
	wrap func(http.RoundTripper) http.RoundTripper
	// program makes startHub run the hub's program, with all controllers, in a process of its own.
	program bool
}

// run is a subtest on the same fleet. After one that failed the fleet is in no known state: the others are not run.
func (f *theFleet) run(name string, do func(f *theFleet)) {
	f.t.Helper()
	ok := f.t.(*testing.T).Run(name, func(t *testing.T) {
		outer := f.t
		f.t = t
		defer func() { f.t = outer }()
		do(f)
	})
	if !ok {
		f.t.FailNow()
	}
}

// hubs are the API servers of the fleets, with all that a hub counts on.
var hubs = test.Pool{Options: controlplane.Options{Name: "hub"}, Prepare: prepareHub}

// newFleet starts a hub whose repository has the given files, and delivers nothing yet.
func newFleet(t testing.TB, archive string, options ...func(*Options)) *theFleet {
	t.Helper()
	return fleetOn(t, hubs.Borrow(t), archive, options...)
}

// newShops starts a fleet of clusters, each written as name and site, such as "one: a", and returns when they have joined. The placement shops
// chooses them all, and those of site c are its canaries. The Deployments that the test looks at are in a namespace of its own.
func newShops(t testing.TB, namespace string, clusters ...string) *theFleet {
	t.Helper()
	return newFleet(t, shopFiles(clusters)).joinShops(namespace, clusters)
}

// newShopsOfPrograms is newShops with a hub that is a process of its own.
func newShopsOfPrograms(t testing.TB, namespace string, clusters ...string) *theFleet {
	t.Helper()
	return newFleetOfPrograms(t, shopFiles(clusters)).joinShops(namespace, clusters)
}

func shopFiles(clusters []string) string {
	files := tenant
	for _, c := range clusters {
		name, site, _ := strings.Cut(c, ": ")
		files += clusterFile(name, "tier: edge, site: "+site)
	}
	return files + placementFile("shops", byCanary)
}

func (f *theFleet) joinShops(namespace string, clusters []string) *theFleet {
	f.t.Helper()
	f.serverIn = namespace
	f.deliver()
	for _, c := range clusters {
		name, _, _ := strings.Cut(c, ": ")
		f.join(name)
	}
	return f
}

// newFleetOn chooses the control plane: where a garbage collector matters it runs kube-controller-manager.
func newFleetOn(t testing.TB, o controlplane.Options, archive string, options ...func(*Options)) *theFleet {
	t.Helper()
	cp := test.ControlPlane(t, o)
	if err := prepareHub(t.Context(), cp); err != nil {
		t.Fatal(err)
	}
	return fleetOn(t, cp, archive, options...)
}

// newFleetOfPrograms has a hub that is a process of its own, which a test can kill.
func newFleetOfPrograms(t testing.TB, archive string) *theFleet {
	t.Helper()
	f := stoppedFleet(t, hubs.Borrow(t), archive)
	f.program = true
	f.connect()
	f.startHub()
	t.Cleanup(f.end)
	return f
}

func fleetOn(t testing.TB, cp *controlplane.ControlPlane, archive string, options ...func(*Options)) *theFleet {
	t.Helper()
	f := stoppedFleet(t, cp, archive, options...)
	f.connect()
	f.startHub()
	t.Cleanup(f.end)
	return f
}

// stoppedFleet is one whose hub does not run yet, on a control plane with nothing on it.
func stoppedFleet(t testing.TB, cp *controlplane.ControlPlane, archive string, options ...func(*Options)) *theFleet {
	t.Helper()
	return &theFleet{
		t: t, ctx: context.Background(), cp: cp, controllers: []string{"*"}, url: cp.URL() + "/" + t.Name(),
		options: options, repo: test.NewRepository(t, archive), state: t.TempDir(), agents: map[string]func(){}, spokes: map[string]*controlplane.ControlPlane{},
	}
}

// prepareHub puts on an empty API server what a hub counts on.
func prepareHub(ctx context.Context, cp *controlplane.ControlPlane) error {
	if err := install.Hub(ctx, cp.Config()); err != nil {
		return err
	}
	c, err := client.New(cp.Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		return err
	}
	return c.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "muster-root"},
		RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "muster-system", Name: "root"}},
	})
}

// connect makes the administrator's client.
func (f *theFleet) connect() {
	f.t.Helper()
	var err error
	if f.client, err = client.New(f.cp.Config(), client.Options{Scheme: Scheme()}); err != nil {
		f.t.Fatal(err)
	}
}

// end stops the agents and the hub's controllers.
func (f *theFleet) end() {
	for _, stop := range f.agents {
		stop()
	}
	f.stop()
}

// lose takes the hub away with all that it knew, and starts an empty one under the same name. The agents are stopped.
func (f *theFleet) lose() {
	f.t.Helper()
	f.end()
	f.cp = hubs.Borrow(f.t)
	f.t.Cleanup(f.end)
	f.state = f.t.TempDir()
	f.connect()
	f.startHub()
}

func (f *theFleet) create(o client.Object) {
	f.t.Helper()
	if err := f.client.Create(f.ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
		f.t.Fatal(err)
	}
}

// hubConfig is how the hub reaches its API server: with the account and the rights that it is given in production.
func (f *theFleet) hubConfig() *rest.Config {
	f.t.Helper()
	config, err := f.cp.User(hub.User, hub.Groups()...)
	if err != nil {
		f.t.Fatal(err)
	}
	return config
}

// startHub runs the controllers; f.stop ends them.
func (f *theFleet) startHub() {
	if f.program {
		f.startHubProgram()
		return
	}
	config := f.hubConfig()
	ctx, cancel := context.WithCancel(f.ctx)
	done := make(chan error, 1)
	if f.wrap != nil {
		config.Wrap(f.wrap)
	}
	o := Options{
		Config: config, Controllers: f.controllers, StateDir: f.state, LocalRepositories: []string{filepath.Dir(f.repo.Dir)},
		RenderCache: 64, Writers: 8, StatusInterval: 50 * time.Millisecond, DecisionTimeout: 5 * time.Second,
		SeveralHubs: true, anyControllers: true,
	}
	for _, change := range f.options {
		change(&o)
	}
	go func() { done <- Run(ctx, o) }()
	f.stop = func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("hub: %v", err)
		}
		f.stop = func() {}
	}
}

// startHubProgram runs the hub's program, with an account's rights as in production.
func (f *theFleet) startHubProgram() {
	f.t.Helper()
	data, err := controlplane.Kubeconfig("hub", f.hubConfig())
	if err != nil {
		f.t.Fatal(err)
	}
	kubeconfig := filepath.Join(f.t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	p := startProgram(f.t, "--kubeconfig", kubeconfig, "--state-dir", f.state, "--local-repositories", filepath.Dir(f.repo.Dir), "--leader-elect=false",
		"--render-workers", "1", "--render-cache", "64", "--writers", "8", "--status-interval", "50ms", "--decision-timeout", "5s")
	f.stop, f.kill = p.stop, p.kill
}

// deliver creates the FleetRepository.
func (f *theFleet) deliver() {
	f.t.Helper()
	f.create(&musterv1alpha1.FleetRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"},
		Spec: musterv1alpha1.FleetRepositorySpec{
			URL: f.repo.URL(), Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "root",
			Interval: metav1.Duration{Duration: time.Second},
		},
	})
}

// push commits and waits until the hub has delivered it.
func (f *theFleet) push(archive string) string {
	f.t.Helper()
	revision := f.repo.Commit(archive)
	f.expectDelivered(revision)
	return revision
}

func (f *theFleet) repository() *musterv1alpha1.FleetRepository {
	f.t.Helper()
	var r musterv1alpha1.FleetRepository
	if err := f.client.Get(f.ctx, types.NamespacedName{Namespace: "muster-system", Name: "fleet"}, &r); err != nil {
		f.t.Fatal(err)
	}
	return &r
}

func (f *theFleet) application(key string) *musterv1alpha1.Application {
	f.t.Helper()
	namespace, name, _ := strings.Cut(key, "/")
	var a musterv1alpha1.Application
	if err := f.client.Get(f.ctx, types.NamespacedName{Namespace: namespace, Name: name}, &a); client.IgnoreNotFound(err) != nil {
		f.t.Fatal(err)
	}
	return &a
}

// eventually waits until the check says "".
func (f *theFleet) eventually(check func() string) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		problem := check()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("after %s: %s\n%s", patience, problem, f.describe())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// describe tells what the hub says, for a test that failed.
func (f *theFleet) describe() string {
	var b strings.Builder
	var r musterv1alpha1.FleetRepository
	_ = f.client.Get(f.ctx, types.NamespacedName{Namespace: "muster-system", Name: "fleet"}, &r) // a hub without one says so
	fmt.Fprintf(&b, "repository: revision %s, held %v\n", r.Status.Revision, r.Status.Held)
	for _, c := range r.Status.Conditions {
		fmt.Fprintf(&b, "  %s %s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	var apps musterv1alpha1.ApplicationList
	_ = f.client.List(f.ctx, &apps)
	for _, a := range apps.Items {
		fmt.Fprintf(&b, "application %s/%s: revision %s %+v held %v\n", a.Namespace, a.Name, a.Status.Revision, a.Status.Summary, a.Status.Held)
		for _, c := range a.Status.Conditions {
			fmt.Fprintf(&b, "  %s %s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
		}
		for _, c := range a.Status.Clusters {
			fmt.Fprintf(&b, "    %+v\n", c)
		}
	}
	var list workv1.ManifestWorkList
	_ = f.client.List(f.ctx, &list)
	for i := range list.Items {
		w := hub.LiveWork(&list.Items[i])
		fmt.Fprintf(&b, "work %s/%s: generation %d revision %.7s set %.7s deleting %v %+v\n", w.Cluster, w.Name, w.Generation, w.Revision, w.SetDigest, w.Deleting, w.Status)
	}
	return b.String()
}

func (f *theFleet) expectDelivered(revision string) {
	f.t.Helper()
	f.eventually(func() string {
		if got := f.repository().Status.Revision; got != revision {
			return fmt.Sprintf("delivered %q, want %s", got, revision)
		}
		return ""
	})
}

// expectHealthy waits until the application is planned at the revision and healthy on exactly n clusters.
func (f *theFleet) expectHealthy(key, revision string, n int) {
	f.t.Helper()
	f.eventually(func() string {
		a := f.application(key)
		s := a.Status.Summary
		if a.Status.Revision != revision || int(s.Clusters) != n || int(s.Healthy) != n {
			return fmt.Sprintf("%s: at %q %+v, want %s healthy on %d", key, a.Status.Revision, s, revision, n)
		}
		return ""
	})
}

// join makes a cluster available and starts its work agent against an API server of its own.
func (f *theFleet) join(name string) *controlplane.ControlPlane {
	f.t.Helper()
	spoke := test.Clusters(f.t, len(f.spokes)+1)[len(f.spokes)]
	f.spokes[name] = spoke
	f.available(name, true)
	f.startAgent(name)
	return spoke
}

// available sets the condition that the registration agent would.
func (f *theFleet) available(name string, yes bool) {
	f.t.Helper()
	f.eventually(func() string {
		var c clusterv1.ManagedCluster
		if err := f.client.Get(f.ctx, types.NamespacedName{Name: name}, &c); err != nil {
			return err.Error()
		}
		condition := metav1.Condition{Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionTrue, Reason: "Test", Message: "set by the test"}
		if !yes {
			condition.Status = metav1.ConditionUnknown
		}
		meta.SetStatusCondition(&c.Status.Conditions, condition)
		c.Status.Version.Kubernetes = "v1.36.3"
		if err := f.client.Status().Update(f.ctx, &c); err != nil {
			return err.Error()
		}
		return ""
	})
}

// expectReachable waits until the hub has seen that a cluster is available.
func (f *theFleet) expectReachable(name string) {
	f.t.Helper()
	f.eventually(func() string {
		for _, taint := range f.cluster(name).Spec.Taints {
			if taint.Key == clusterv1.ManagedClusterTaintUnreachable {
				return "the hub has not seen that " + name + " is available"
			}
		}
		return ""
	})
}

func (f *theFleet) startAgent(name string) { f.startAgentWith(name, func(*agent.Agent) {}) }

// startAgentWith starts a cluster's agent with other options.
func (f *theFleet) startAgentWith(name string, change func(*agent.Agent)) {
	sum := sha256.Sum256([]byte(f.url + name))
	a := &agent.Agent{
		Hub: f.cp.Config(), Spoke: f.spokes[name].Config(), ClusterName: name, HubHash: hex.EncodeToString(sum[:]),
		StatusInterval: 100 * time.Millisecond, SyncInterval: time.Second, RetryDelay: time.Second,
	}
	change(a)
	stop := f.inBackground("agent of "+name, a.Run)
	f.agents[name] = func() {
		stop()
		delete(f.agents, name)
	}
}

// inBackground runs something until it is stopped.
func (f *theFleet) inBackground(what string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(f.ctx)
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("%s: %v", what, err)
		}
	}
}

// works of an application on a cluster.
func (f *theFleet) works(cluster string) []workv1.ManifestWork {
	f.t.Helper()
	var list workv1.ManifestWorkList
	if err := f.client.List(f.ctx, &list, client.InNamespace(cluster)); err != nil {
		f.t.Fatal(err)
	}
	return list.Items
}

// on reads an object of a cluster; false when it is not there.
func (f *theFleet) on(cluster string, o client.Object, namespace, name string) bool {
	f.t.Helper()
	c, err := client.New(f.spokes[cluster].Config(), client.Options{Scheme: Scheme()})
	if err != nil {
		f.t.Fatal(err)
	}
	err = c.Get(f.ctx, types.NamespacedName{Namespace: namespace, Name: name}, o)
	if client.IgnoreNotFound(err) != nil {
		f.t.Fatal(err)
	}
	return err == nil
}
