// Package test is shared by the tests: an environment of one hub with several managed clusters, Git repositories, pods as processes.
package test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/muster-io/muster/internal/controlplane"
)

// Environment says how the control planes of a test binary are started. Each is started when a test first asks for it,
// shared by all tests of the binary, and stopped by [Main]. All of them keep their data in one etcd.
type Environment struct {
	Hub      controlplane.Options // Controllers, Workloads, Encrypt are used
	Clusters controlplane.Options // the same, for each managed cluster

	HubCRDs     [][]byte // YAML, installed into the hub
	ClusterCRDs [][]byte // YAML, installed into each managed cluster
}

// Main runs the tests of a package that uses the environment, for its TestMain. It stops the control planes and exits.
//
//	func TestMain(m *testing.M) { test.Main(m, test.Environment{HubCRDs: crds.Hub(), ClusterCRDs: crds.Agent()}) }
//
// In a Ginkgo suite the tests are one Go test, and BeforeSuite calls Hub(GinkgoTB()). A package that has no TestMain gets
// bare control planes, which die with the test binary.
func Main(m *testing.M, e Environment) { os.Exit(Tests{m, e}.Run()) }

// Tests are the tests of a package that uses the environment, for a TestMain that does more than [Main]. It is a testscript.TestingM.
type Tests struct {
	M *testing.M
	Environment
}

// Run runs the tests, stops the control planes, and returns the exit code.
func (t Tests) Run() int {
	shared.Environment = t.Environment
	if err := runManyAtATime(); err != nil {
		fmt.Fprintf(os.Stderr, "set up the tests: %v\n", err)
		return 1
	}
	code := t.M.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintf(os.Stderr, "stop the test environment: %v\n", err)
		code = max(code, 1)
	}
	return code
}

// parallelTests is how many parallel tests run at a time by default. They wait for API servers and controllers most of the time:
// with one test per core, which is Go's default, the cores are idle.
const parallelTests = 6

// runManyAtATime raises the number of parallel tests unless -parallel was given.
func runManyAtATime() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	given = given || flag.Lookup("ginkgo.seed") != nil // a Ginkgo suite is one Go test, and refuses -parallel
	if given {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(max(parallelTests, runtime.GOMAXPROCS(0))))
}

// Hub is the hub that the tests of this binary share. The test fails when it cannot be started, with the next step
// where there is one: a test that needs a control plane is never skipped.
func Hub(t testing.TB) *controlplane.ControlPlane {
	t.Helper()
	hub, err := shared.hub()
	if err != nil {
		t.Fatalf("start the test hub: %v", err)
	}
	return hub
}

// Clusters are the first n managed clusters that the tests of this binary share: API servers only, no agent is in them.
func Clusters(t testing.TB, n int) []*controlplane.ControlPlane {
	t.Helper()
	clusters, err := shared.managed(n)
	if err != nil {
		t.Fatalf("start the test clusters: %v", err)
	}
	return clusters
}

// ControlPlane starts a control plane of one test, in the shared etcd unless the options name another one or a directory, and
// stops it when the test ends. Where several tests of a package need one, a [Pool] is faster.
func ControlPlane(t testing.TB, o controlplane.Options) *controlplane.ControlPlane {
	t.Helper()
	cp, err := shared.startOwn(o)
	if err != nil {
		t.Fatalf("start a control plane for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Errorf("stop control plane %s: %v", cp.Name(), err)
		}
	})
	return cp
}

// Namespace creates a namespace for one test, named after it, and deletes it when the test ends. On a control plane without
// controllers its content stays.
func Namespace(t testing.TB, cp *controlplane.ControlPlane) string {
	t.Helper()
	clients, err := dynamic.NewForConfig(cp.Config())
	if err != nil {
		t.Fatalf("create a namespace for the test: %v", err)
	}
	namespaces := clients.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	created, err := namespaces.Create(context.Background(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"generateName": namespacePrefix(t.Name())},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create a namespace for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := namespaces.Delete(context.Background(), created.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete the test's namespace: %v", err)
		}
	})
	return created.GetName()
}

// namespacePrefix makes a test's name the beginning of a namespace's.
func namespacePrefix(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else {
			b.WriteByte('-')
		}
	}
	prefix := strings.Trim(b.String(), "-")
	return "t-" + prefix[:min(len(prefix), 40)] + "-"
}

// environment starts each control plane at most once: when one does not start, every test that needs it fails with the same error.
// Tests run in parallel, so that no control plane waits for another one to start.
type environment struct {
	Environment
	etcd func() (*controlplane.Etcd, error)
	hub  func() (*controlplane.ControlPlane, error)

	mu       sync.Mutex
	clusters []func() (*controlplane.ControlPlane, error)
	own      int                          // control planes of single tests so far
	started  []*controlplane.ControlPlane // shared, or of a pool: to be stopped
	stopEtcd func() error
}

var shared = newEnvironment()

func newEnvironment() *environment {
	e := &environment{}
	e.etcd = sync.OnceValues(func() (*controlplane.Etcd, error) {
		// A test's context would end the etcd of the tests after it.
		etcd, err := controlplane.StartEtcd(context.Background(), controlplane.Options{Ephemeral: true})
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.stopEtcd = etcd.Stop
		return etcd, nil
	})
	e.hub = sync.OnceValues(func() (*controlplane.ControlPlane, error) { return e.startShared("hub", e.Hub, e.HubCRDs) })
	return e
}

// managed starts the first n managed clusters, those that do not run yet at the same time.
func (e *environment) managed(n int) ([]*controlplane.ControlPlane, error) {
	e.mu.Lock()
	for i := len(e.clusters); i < n; i++ {
		e.clusters = append(e.clusters, sync.OnceValues(func() (*controlplane.ControlPlane, error) {
			return e.startShared(fmt.Sprintf("cluster%d", i+1), e.Clusters, e.ClusterCRDs)
		}))
	}
	starts := e.clusters[:n:n]
	e.mu.Unlock()
	clusters, errs := make([]*controlplane.ControlPlane, n), make([]error, n)
	var all sync.WaitGroup
	for i, start := range starts {
		all.Go(func() { clusters[i], errs[i] = start() })
	}
	all.Wait()
	return clusters, errors.Join(errs...)
}

// startShared starts a control plane that runs until the tests end.
func (e *environment) startShared(name string, o controlplane.Options, crds [][]byte) (*controlplane.ControlPlane, error) {
	o.Name = name
	cp, err := e.startInEtcd(o)
	if err != nil {
		return nil, err
	}
	if err := controlplane.Install(context.Background(), cp.Config(), crds...); err != nil {
		return nil, errors.Join(err, cp.Stop())
	}
	e.add(cp)
	return cp, nil
}

// add makes a control plane one that is stopped when the tests end.
func (e *environment) add(cp *controlplane.ControlPlane) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.started = append(e.started, cp)
}

// stopOne stops such a control plane earlier.
func (e *environment) stopOne(cp *controlplane.ControlPlane) error {
	e.mu.Lock()
	e.started = slices.DeleteFunc(e.started, func(x *controlplane.ControlPlane) bool { return x == cp })
	e.mu.Unlock()
	return cp.Stop()
}

// startOwn starts a control plane of one test.
func (e *environment) startOwn(o controlplane.Options) (*controlplane.ControlPlane, error) {
	if o.Name == "" {
		o.Name = "own"
	}
	if o.Dir != "" || o.Etcd != nil {
		return controlplane.Start(context.Background(), o)
	}
	e.mu.Lock()
	e.own++
	o.Name = fmt.Sprintf("%s-%d", o.Name, e.own)
	e.mu.Unlock()
	return e.startInEtcd(o)
}

// startInEtcd starts a control plane in the shared etcd, under its name.
func (e *environment) startInEtcd(o controlplane.Options) (*controlplane.ControlPlane, error) {
	etcd, err := e.etcd()
	if err != nil {
		return nil, err
	}
	o.Etcd, o.Ephemeral = etcd, true
	return controlplane.Start(context.Background(), o)
}

// stop ends everything that was started, the etcd last.
func (e *environment) stop() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, cp := range e.started {
		errs = append(errs, cp.Stop())
	}
	if e.stopEtcd != nil {
		errs = append(errs, e.stopEtcd())
	}
	return errors.Join(errs...)
}
