package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/charts"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/registration"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	test.Main(m, test.Environment{HubCRDs: append(crds.Hub(), crds.Agent()...), ClusterCRDs: append(ocmOnly(), crds.Agent()...)})
}

// ocmOnly are the definitions that OCM has too.
func ocmOnly() [][]byte {
	var all [][]byte
	for _, crd := range crds.Hub() {
		if !strings.Contains(string(crd), "group: muster.dev") {
			all = append(all, crd)
		}
	}
	return all
}

const patience = 2 * time.Minute

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// agents is one API server that is hub and managed cluster, with the options of agents for it.
type agents struct {
	*testing.T
	client.Client
	options Options
}

func newAgents(t *testing.T, cp *controlplane.ControlPlane) *agents {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, workv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(cp.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := cp.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	a := &agents{T: t, Client: c}
	flags := pflag.NewFlagSet("klusterlet", pflag.ContinueOnError)
	a.options.flags(flags)
	if err := flags.Parse([]string{"--roles=work", "--kubeconfig=" + file, "--workload-source-config=" + file,
		"--cluster-name=" + test.Namespace(t, cp), "--namespace=" + test.Namespace(t, cp), "--feature-gates=RawFeedbackJsonString=true"}); err != nil {
		t.Fatal(err)
	}
	return a
}

// start runs an agent until the test ends or the result is called. serving is closed when it begins to apply.
func (a *agents) start(change func(*Options)) (stop func(), serving <-chan struct{}) {
	a.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	o, began, done := a.options, make(chan struct{}), make(chan error, 1)
	o.serving = func() { close(began) }
	if change != nil {
		change(&o)
	}
	go func() { done <- Run(ctx, o) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			a.Errorf("agent: %v", err)
		}
	}
	a.Cleanup(stop)
	return stop, began
}

func (a *agents) put(name string) {
	a.Helper()
	manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"namespace":%q}}`, name, a.options.Namespace)
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: a.options.ClusterName, Name: name}}
	w.Spec.Workload.Manifests = []workv1.Manifest{{RawExtension: runtime.RawExtension{Raw: []byte(manifest)}}}
	if err := a.Create(a.Context(), w); err != nil {
		a.Fatal(err)
	}
}

func (a *agents) expectApplied(name string) {
	a.Helper()
	eventually(a.T, "work "+name, func() error {
		var w workv1.ManifestWork
		if err := a.Get(a.Context(), client.ObjectKey{Namespace: a.options.ClusterName, Name: name}, &w); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(w.Status.Conditions, workv1.WorkApplied) {
			return fmt.Errorf("%v", w.Status.Conditions)
		}
		return nil
	})
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers says what an agent answers to a request.
func answers(address, path string, status int, parts ...string) error {
	response, err := http.Get("http://" + address + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != status {
		return fmt.Errorf("%s answers %d: %s", path, response.StatusCode, body)
	}
	for _, part := range parts {
		if !strings.Contains(string(body), part) {
			return fmt.Errorf("%s does not say %q", path, part)
		}
	}
	return nil
}

// TestStandby: of two agents one works; the other is live and ready, and works when the first is gone.
func TestStandby(t *testing.T) {
	a := newAgents(t, test.Hub(t))
	health, metrics, standbyHealth := freeAddress(t), freeAddress(t), freeAddress(t)
	stop, serving := a.start(func(o *Options) { o.HealthAddress, o.MetricsAddress = health, metrics })
	<-serving
	a.put("first")
	a.expectApplied("first")
	for path, part := range map[string]string{"/healthz": "ok", "/readyz": "ok"} {
		eventually(t, path, func() error { return answers(health, path, http.StatusOK, part) })
	}
	eventually(t, "metrics", func() error {
		return answers(metrics, "/metrics", http.StatusOK, `muster_klusterlet_applies_total{result="applied"}`, "muster_klusterlet_works",
			`workqueue_depth{controller="manifestworks"`)
	})

	_, second := a.start(func(o *Options) { o.HealthAddress = standbyHealth })
	eventually(t, "the standby is live", func() error { return answers(standbyHealth, "/healthz", http.StatusOK) })
	eventually(t, "the standby is ready", func() error { return answers(standbyHealth, "/readyz", http.StatusOK) })
	var lease coordinationv1.Lease
	if err := a.Get(t.Context(), client.ObjectKey{Namespace: a.options.Namespace, Name: a.options.leaseName()}, &lease); err != nil {
		t.Fatal(err)
	}
	a.put("second")
	a.expectApplied("second")
	select {
	case <-second:
		t.Fatal("both agents work")
	default:
	}
	stop()
	<-second
	a.put("third")
	a.expectApplied("third")
}

// TestNotReady: an agent that leads and cannot read its works yet is live and not ready.
func TestNotReady(t *testing.T) {
	a := newAgents(t, test.Hub(t))
	health := freeAddress(t)
	nowhere := strings.ReplaceAll(string(read(t, a.options.HubKubeconfig)), test.Hub(t).URL(), "https://127.0.0.1:1")
	a.options.HubKubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(a.options.HubKubeconfig, []byte(nowhere), 0o600); err != nil {
		t.Fatal(err)
	}
	a.start(func(o *Options) { o.HealthAddress = health })
	eventually(t, "healthz", func() error { return answers(health, "/healthz", http.StatusOK) })
	eventually(t, "readyz", func() error { return answers(health, "/readyz", http.StatusInternalServerError, "work failed") })
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestEvictionAllowed: on a hub of ours a missing work is proof that it is gone once the hub has planned for the cluster; on
// another hub it is at once.
func TestEvictionAllowed(t *testing.T) {
	for name, cp := range map[string]*controlplane.ControlPlane{"a hub of ours": test.Hub(t), "another hub": test.Clusters(t, 1)[0]} {
		t.Run(name, func(t *testing.T) {
			a := newAgents(t, cp)
			hash := registration.HubHash(cp.Config().Host)
			record := &workv1.AppliedManifestWork{ObjectMeta: metav1.ObjectMeta{Name: hash + "-" + a.options.ClusterName},
				Spec: workv1.AppliedManifestWorkSpec{HubHash: hash, AgentID: hash, ManifestWorkName: a.options.ClusterName}}
			if err := a.Create(t.Context(), record); err != nil {
				t.Fatal(err)
			}
			long := metav1.NewTime(time.Now().Add(-24 * time.Hour))
			record.Status.EvictionStartTime = &long
			if err := a.Status().Update(t.Context(), record); err != nil {
				t.Fatal(err)
			}
			get := func() error { return a.Get(t.Context(), client.ObjectKeyFromObject(record), record) }
			gone := func() error {
				err := get()
				if err == nil {
					return errors.New("the record is there")
				}
				return client.IgnoreNotFound(err)
			}
			stop, _ := a.start(nil)
			if name == "another hub" {
				eventually(t, "eviction", gone)
				return
			}
			eventually(t, "the eviction stops", func() error {
				if err := get(); err != nil {
					t.Fatalf("evicted before the first plan: %v", err)
				}
				if record.Status.EvictionStartTime != nil {
					return fmt.Errorf("it began at %v", record.Status.EvictionStartTime)
				}
				return nil
			})
			stop()
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.options.ClusterName}}
			mark := fmt.Sprintf(`{"metadata":{"annotations":{%q:"now"}}}`, musterv1alpha1.FirstPlanAnnotation)
			if err := a.Patch(t.Context(), namespace, client.RawPatch("application/merge-patch+json", []byte(mark))); err != nil {
				t.Fatal(err)
			}
			a.start(func(o *Options) { o.EvictionGrace = time.Millisecond })
			eventually(t, "eviction", gone)
		})
	}
}

// TestFlags: what cannot be run is refused, with what can.
func TestFlags(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"--roles=work,cook", `no role "cook"`},
		{"--roles=", `--roles names none`},
		{"--feature-gates=Nonsense=true", "RawFeedbackJsonString"},
		{"--feature-gates=RawFeedbackJsonString=maybe", "true or false"},
		{"--feature-gates=MultipleHubs=true", "MultipleHubs=false only"},
		{"--addon-kubeclient-registration-auth=grpc", "takes csr or token"},
		{"--addon-token-expiration-seconds=60", "less than 600 seconds"},
		{"--workload-source-driver=mqtt", "driver kube"},
		{"--feature-gates=ExecutorValidatingCaches=true,RawFeedbackJsonString=true --spoke-kubeconfig=x --spoke-cluster-name=c --hub-kubeconfig=y " +
			"--max-json-raw-length=10 --max-feedback-watch=1 --status-sync-interval=1s --appliedmanifestwork-eviction-grace-period=1s", ""},
	} {
		var o Options
		flags := pflag.NewFlagSet("klusterlet", pflag.ContinueOnError)
		o.flags(flags)
		err := flags.Parse(strings.Fields(row.args))
		if err == nil {
			err = o.check()
		}
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.args, err, row.want)
		}
	}
}

// TestRolesOfTheChart: the chart takes every role, and runs those that the agent runs by default.
func TestRolesOfTheChart(t *testing.T) {
	type list struct{ Items struct{ Enum []string } }
	var schema struct {
		Properties struct {
			Roles list
			Hubs  struct {
				Items struct{ Properties struct{ Roles list } }
			}
		}
	}
	var values struct{ Roles []string }
	for file, into := range map[string]any{"values.schema.json": &schema, "values.yaml": &values} {
		data, err := charts.FS.ReadFile(charts.Klusterlet + "/" + file)
		if err == nil {
			err = yaml.Unmarshal(data, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, difference := range map[string]string{
		"roles of the schema":         cmp.Diff(roles, schema.Properties.Roles.Items.Enum),
		"roles of hubs in the schema": cmp.Diff(roles, schema.Properties.Hubs.Items.Properties.Roles.Items.Enum),
		"roles of the values":         cmp.Diff(defaultRoles, values.Roles),
	} {
		if difference != "" {
			t.Errorf("%s (-agent +chart):\n%s", what, difference)
		}
	}
}

// TestLeaseName: which agents for one hub on one cluster work one at a time.
func TestLeaseName(t *testing.T) {
	const work, both = "klusterlet-work-", "klusterlet-registration-"
	for _, row := range []struct{ roles, want, why string }{
		{"registration,work,addon", both, "an agent as it is by default"},
		{"registration,work,addon,proxy", both, "the same agent with one role more does not work beside its predecessor"},
		{"proxy,registration", both, "the order of the flag says nothing"},
		{"work,addon", work, "agents that divide the roles work side by side"},
		{"proxy", "klusterlet-proxy-", "the same"},
	} {
		o := Options{Roles: strings.Split(row.roles, ",")}
		if got := o.leaseName(); !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: roles %s have Lease %s, want %s...", row.why, row.roles, got, row.want)
		}
	}
}
