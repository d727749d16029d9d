// Package test is what the tests share: builders, expectations, an environment of one hub with several managed clusters.
package test

import (
	"context"
	"errors"
	"fmt"
	"os"
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
func Main(m *testing.M, e Environment) {
	shared.Environment = e
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintf(os.Stderr, "stop the test environment: %v\n", err)
		code = max(code, 1)
	}
	os.Exit(code)
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

// ControlPlane starts a control plane for one test alone, in the shared etcd unless the options say another one or a
// directory, and stops it when the test ends.
func ControlPlane(t testing.TB, o controlplane.Options) *controlplane.ControlPlane {
	t.Helper()
	cp, err := shared.start(o, nil)
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

// environment is what [Hub] and its siblings have started. A hub that did not come up is not tried again by each test.
type environment struct {
	Environment

	mu       sync.Mutex
	etcd     *controlplane.Etcd
	theHub   *controlplane.ControlPlane
	hubErr   error
	clusters []*controlplane.ControlPlane
	alone    int // control planes of single tests so far
}

var shared environment

func (e *environment) hub() (*controlplane.ControlPlane, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.theHub == nil && e.hubErr == nil {
		e.theHub, e.hubErr = e.locked("hub", e.Hub, e.HubCRDs)
	}
	return e.theHub, e.hubErr
}

func (e *environment) managed(n int) ([]*controlplane.ControlPlane, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.clusters) < n {
		cluster, err := e.locked(fmt.Sprintf("cluster%d", len(e.clusters)+1), e.Clusters, e.ClusterCRDs)
		if err != nil {
			return nil, err
		}
		e.clusters = append(e.clusters, cluster)
	}
	return e.clusters[:n:n], nil
}

// start starts a control plane of one test.
func (e *environment) start(o controlplane.Options, crds [][]byte) (*controlplane.ControlPlane, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.alone++
	if o.Name == "" {
		o.Name = "alone"
	}
	if o.Dir != "" || o.Etcd != nil {
		return controlplane.Start(context.Background(), o)
	}
	return e.locked(fmt.Sprintf("%s-%d", o.Name, e.alone), o, crds)
}

// locked starts a control plane in the shared etcd; e.mu is held.
func (e *environment) locked(name string, o controlplane.Options, crds [][]byte) (*controlplane.ControlPlane, error) {
	ctx := context.Background() // a test's context would take the control plane from the tests after it
	if e.etcd == nil {
		etcd, err := controlplane.StartEtcd(ctx, controlplane.Options{Ephemeral: true})
		if err != nil {
			return nil, err
		}
		e.etcd = etcd
	}
	o.Name, o.Etcd, o.Ephemeral = name, e.etcd, true
	cp, err := controlplane.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := controlplane.Install(ctx, cp.Config(), crds...); err != nil {
		return nil, errors.Join(err, cp.Stop())
	}
	return cp, nil
}

// stop ends everything that was started, the etcd last.
func (e *environment) stop() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	if e.theHub != nil {
		errs = append(errs, e.theHub.Stop())
	}
	for _, cluster := range e.clusters {
		errs = append(errs, cluster.Stop())
	}
	if e.etcd != nil {
		errs = append(errs, e.etcd.Stop())
	}
	return errors.Join(errs...)
}
