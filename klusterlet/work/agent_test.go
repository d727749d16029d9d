package work_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/work"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

const (
	patience = 5 * time.Minute // until a test gives up: a loaded machine takes its time
	glance   = 20 * time.Millisecond
	manager  = "work-agent-0123456789"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	test.Main(m, test.Environment{
		Hub:     controlplane.Options{Controllers: true}, // with a garbage collector
		HubCRDs: append(crds.Hub(), crds.Agent()...), ClusterCRDs: crds.Agent(),
	})
}

// site is a hub with one cluster and its agent.
type site struct {
	testing.TB
	hub, spoke client.Client
	agent      work.Agent
	namespace  string // of the works
	target     string // of the objects
	stop       func()
}

func clientOf(t testing.TB, config *rest.Config) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := workv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newSite has the hub as its own cluster unless another one is given. No agent runs yet. The test runs in parallel with others,
// which share the control planes: its namespaces are its own, and its cluster-scoped objects have names of their own.
func newSite(t testing.TB, cluster ...*controlplane.ControlPlane) *site {
	t.Helper()
	if single, ok := t.(*testing.T); ok {
		single.Parallel()
	}
	hub := test.Hub(t)
	spoke := hub
	if len(cluster) > 0 {
		spoke = cluster[0]
	}
	hash := sha256.Sum256([]byte(t.Name() + time.Now().String()))
	s := &site{TB: t, hub: clientOf(t, hub.Config()), spoke: clientOf(t, spoke.Config()),
		namespace: test.Namespace(t, hub), target: test.Namespace(t, spoke), stop: func() {}}
	s.agent = work.Agent{Hub: hub.Config(), Spoke: spoke.Config(), ClusterName: s.namespace, HubHash: hex.EncodeToString(hash[:]),
		StatusInterval: 50 * time.Millisecond, SyncInterval: 200 * time.Millisecond, RetryDelay: time.Second, ResyncInterval: time.Minute}
	return s
}

// start runs the agent until the test ends or stop is called.
func (s *site) start() {
	s.Helper()
	s.run(s.agent)
}

func (s *site) run(agent work.Agent) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.logged())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	ended := false
	s.stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				s.Errorf("agent: %v", err)
			}
		case <-time.After(patience):
			s.Error("the agent does not stop")
		}
	}
	s.Cleanup(s.stop)
}

func (s *site) logged() context.Context {
	if os.Getenv("TEST_LOG") == "" {
		return context.Background()
	}
	return logr.NewContext(context.Background(), funcr.New(func(prefix, args string) { fmt.Println(s.Name(), prefix, args) },
		funcr.Options{LogTimestamp: true, Verbosity: 2}))
}

// runUntil runs an agent that is killed at the n-th time it comes to a step, and waits for its end.
func (s *site) runUntil(step string, n int32) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.logged())
	defer cancel()
	agent := s.agent
	var times atomic.Int32
	agent.OnStep(func(at string) {
		if at == step && times.Add(1) == n {
			cancel()
		}
	})
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			s.Fatalf("agent: %v", err)
		}
	case <-time.After(patience):
		s.Fatalf("the agent never came to %q", step)
	}
}

// eventually waits until f has nothing to complain about.
func (s *site) eventually(what string, f func() error) {
	s.Helper()
	deadline := time.After(patience)
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			s.Fatalf("%s: %v", what, err)
		case <-ticker.C:
		}
	}
}

// option changes a work before it is written.
type option func(*workv1.ManifestWork)

func mode(m string) option {
	return func(w *workv1.ManifestWork) {
		metav1.SetMetaDataAnnotation(&w.ObjectMeta, musterv1alpha1.DriftAnnotation, m)
	}
}

func serverSide(force bool, ignore ...workv1.IgnoreField) option {
	return config(func(c *workv1.ManifestConfigOption) {
		c.UpdateStrategy = &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeServerSideApply,
			ServerSideApply: &workv1.ServerSideApplyConfig{Force: force, FieldManager: manager, IgnoreFields: ignore}}
	})
}

func strategy(kind workv1.UpdateStrategyType) option {
	return config(func(c *workv1.ManifestConfigOption) { c.UpdateStrategy = &workv1.UpdateStrategy{Type: kind} })
}

// config changes the options of every resource that the tests use.
func config(change func(*workv1.ManifestConfigOption)) option {
	return func(w *workv1.ManifestWork) {
		if len(w.Spec.ManifestConfigs) == 0 {
			for _, r := range []workv1.ResourceIdentifier{{Resource: "configmaps"}, {Resource: "secrets"}, {Group: "apps", Resource: "deployments"},
				{Group: "example.com", Resource: "widgets"}, {Group: "rbac.authorization.k8s.io", Resource: "roles"}} {
				r.Name, r.Namespace = "*", "*"
				w.Spec.ManifestConfigs = append(w.Spec.ManifestConfigs, workv1.ManifestConfigOption{ResourceIdentifier: r})
			}
		}
		for i := range w.Spec.ManifestConfigs {
			change(&w.Spec.ManifestConfigs[i])
		}
	}
}

func deletion(d workv1.DeleteOption) option {
	return func(w *workv1.ManifestWork) { w.Spec.DeleteOption = &d }
}

func executor(namespace, name string) option {
	return func(w *workv1.ManifestWork) {
		w.Spec.Executor = &workv1.ManifestWorkExecutor{Subject: workv1.ManifestWorkExecutorSubject{
			Type: workv1.ExecutorSubjectTypeServiceAccount, ServiceAccount: &workv1.ManifestWorkSubjectServiceAccount{Namespace: namespace, Name: name}}}
	}
}

// put creates or replaces a work.
func (s *site) put(name string, objects []map[string]any, options ...option) {
	s.Helper()
	wanted := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	for _, o := range objects {
		raw, err := json.Marshal(o)
		if err != nil {
			s.Fatal(err)
		}
		wanted.Spec.Workload.Manifests = append(wanted.Spec.Workload.Manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: raw}})
	}
	for _, o := range options {
		o(wanted)
	}
	s.eventually("put work "+name, func() error {
		live := s.work(name)
		if live == nil {
			return s.hub.Create(context.Background(), wanted.DeepCopy())
		}
		live.Spec, live.Annotations, live.Labels = wanted.Spec, wanted.Annotations, wanted.Labels
		return s.hub.Update(context.Background(), live)
	})
}

func (s *site) work(name string) *workv1.ManifestWork {
	s.Helper()
	w := &workv1.ManifestWork{}
	err := s.hub.Get(context.Background(), client.ObjectKey{Namespace: s.namespace, Name: name}, w)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.Fatal(err)
	}
	return w
}

func (s *site) record(name string) *workv1.AppliedManifestWork {
	s.Helper()
	r := &workv1.AppliedManifestWork{}
	err := s.spoke.Get(context.Background(), client.ObjectKey{Name: s.agent.HubHash + "-" + name}, r)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// expectWork waits until a condition of the current generation has a status.
func (s *site) expectWork(name, kind string, status metav1.ConditionStatus) {
	s.Helper()
	s.eventually("work "+name, func() error {
		w := s.work(name)
		if w == nil {
			return fmt.Errorf("is not there")
		}
		c := meta.FindStatusCondition(w.Status.Conditions, kind)
		if c == nil || c.Status != status || c.ObservedGeneration != w.Generation {
			return fmt.Errorf("want %s %s at generation %d, have %s", kind, status, w.Generation, told(w))
		}
		return nil
	})
}

func (s *site) expectApplied(names ...string) {
	s.Helper()
	for _, name := range names {
		s.expectWork(name, workv1.WorkApplied, metav1.ConditionTrue)
	}
}

// expectManifest waits until a condition of a manifest is as f wants it.
func (s *site) expectManifest(name string, ordinal int, kind string, f func(c metav1.Condition, m workv1.ManifestCondition) error) {
	s.Helper()
	s.eventually(fmt.Sprintf("%s of manifest %d of %s", kind, ordinal, name), func() error {
		w := s.work(name)
		if w == nil || len(w.Status.ResourceStatus.Manifests) <= ordinal {
			return fmt.Errorf("is not there")
		}
		m := w.Status.ResourceStatus.Manifests[ordinal]
		c := meta.FindStatusCondition(m.Conditions, kind)
		if c == nil {
			return fmt.Errorf("is not there: %s", told(w))
		}
		return f(*c, m)
	})
}

func says(status metav1.ConditionStatus, reason string, parts ...string) func(metav1.Condition, workv1.ManifestCondition) error {
	return func(c metav1.Condition, _ workv1.ManifestCondition) error {
		if c.Status != status || (reason != "" && c.Reason != reason) {
			return fmt.Errorf("is %s/%s: %s", c.Status, c.Reason, c.Message)
		}
		for _, part := range parts {
			if !strings.Contains(c.Message, part) {
				return fmt.Errorf("message %q does not say %q", c.Message, part)
			}
		}
		return nil
	}
}

func told(w *workv1.ManifestWork) string {
	raw, _ := json.Marshal(w.Status)
	return string(raw)
}

// configMap is a labelled object, as those of planned works are.
func (s *site) configMap(name string, data map[string]any) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": data, "metadata": map[string]any{
		"namespace": s.target, "name": name, "labels": map[string]any{musterv1alpha1.HubLabel: "0123456789"}}}
}

func (s *site) secret(name string, data map[string]any) map[string]any {
	o := s.configMap(name, nil)
	delete(o, "data")
	o["kind"], o["stringData"] = "Secret", data
	return o
}

func (s *site) deployment(name string, replicas int64) map[string]any {
	labels := map[string]any{"app": name}
	o := s.configMap(name, nil)
	delete(o, "data")
	o["apiVersion"], o["kind"] = "apps/v1", "Deployment"
	o["spec"] = map[string]any{"replicas": replicas, "selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{"metadata": map[string]any{"labels": labels},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "web", "image": "web:1"}}}}}
	return o
}

// live reads an object; nil when it is not there.
func (s *site) live(o map[string]any) *unstructured.Unstructured {
	s.Helper()
	u := &unstructured.Unstructured{Object: o}
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(u.GroupVersionKind())
	err := s.spoke.Get(context.Background(), client.ObjectKeyFromObject(u), found)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		s.Fatal(err)
	}
	return found
}

func (s *site) expectGone(o map[string]any) {
	s.Helper()
	s.eventually("object is gone", func() error {
		if live := s.live(o); live != nil {
			return fmt.Errorf("%s %s is there", live.GetKind(), live.GetName())
		}
		return nil
	})
}

// edit changes a live object as a person would.
func (s *site) edit(o map[string]any, value any, path ...string) {
	s.Helper()
	s.eventually("edit", func() error {
		live := s.live(o)
		if err := unstructured.SetNestedField(live.Object, value, path...); err != nil {
			s.Fatal(err)
		}
		return s.spoke.Update(context.Background(), live, client.FieldOwner("kubectl-edit"))
	})
}

func (s *site) remove(o map[string]any) {
	s.Helper()
	if err := s.spoke.Delete(context.Background(), &unstructured.Unstructured{Object: o}); err != nil {
		s.Fatal(err)
	}
}

func (s *site) deleteWork(name string) {
	s.Helper()
	if err := s.hub.Delete(context.Background(), &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}); err != nil {
		s.Fatal(err)
	}
}

func (s *site) expectWorkGone(name string) {
	s.Helper()
	s.eventually("work "+name+" is gone", func() error {
		if w := s.work(name); w != nil {
			return fmt.Errorf("is there: %v %s", w.Finalizers, told(w))
		}
		if r := s.record(name); r != nil {
			return fmt.Errorf("its record is there: %v", r.Status)
		}
		return nil
	})
}

// expectValue waits until an object has a value.
func (s *site) expectValue(o map[string]any, want any, path ...string) {
	s.Helper()
	s.eventually(strings.Join(path, "."), func() error {
		live := s.live(o)
		if live == nil {
			return fmt.Errorf("the object is not there")
		}
		have, _, _ := unstructured.NestedFieldCopy(live.Object, path...)
		if fmt.Sprint(have) != fmt.Sprint(want) {
			return fmt.Errorf("is %v, want %v", have, want)
		}
		return nil
	})
}
