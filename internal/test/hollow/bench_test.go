package hollow_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/install"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/internal/test/archive"
	"github.com/muster-io/muster/internal/test/hollow"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	if kubeconfig := os.Getenv(bareInformer); kubeconfig != "" {
		runBareInformer(kubeconfig)
		return
	}
	test.Main(m, test.Environment{Hub: controlplane.Options{}, HubCRDs: crds.Hub()})
}

// size reads a size of the fleet from the environment, as `make bench-fleet CLUSTERS=1000` sets it.
func size(tb testing.TB, variable string, otherwise int) int {
	tb.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		tb.Fatalf("%s=%s: want a number above 0", variable, text)
	}
	return n
}

// benchTime is how long a benchmark may run.
const benchTime = 90 * time.Minute

// bench is a hub as a process of its own, with its API server, one repository and hollow clusters.
type bench struct {
	testing.TB
	ctx        context.Context
	config     *rest.Config
	client     client.Client
	clusters   *hollow.Clusters
	repository *test.Repository
	dir        string
	program    string
	webhooks   string
	metrics    string
	profiles   string
	hub        *hollow.Process
}

// hubProgram names, in the environment, the hub to measure; without it the present one is built.
const hubProgram = "MUSTER_BENCH_HUB"

const webhookToken = "bench"

// newBench prepares all of it. The hub is built, and not started.
func newBench(tb testing.TB, clusters int, archive string) *bench {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), benchTime)
	tb.Cleanup(cancel)
	b := &bench{TB: tb, ctx: ctx, dir: tb.TempDir(), repository: test.NewRepository(tb, archive)}
	cp := test.ControlPlane(tb, controlplane.Options{Name: "bench"})
	b.config = cp.Config()
	b.config.QPS = -1
	must(tb, install.Hub(ctx, b.config))
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, clusterv1.AddToScheme, workv1.AddToScheme, musterv1alpha1.AddToScheme,
	} {
		must(tb, add(scheme))
	}
	var err error
	b.client, err = client.New(b.config, client.Options{Scheme: scheme})
	must(tb, err)
	b.clusters, err = hollow.New(b.config, clusters, map[string]string{"cluster.open-cluster-management.io/clusterset": "edge"})
	must(tb, err)
	for _, o := range []client.Object{
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "bench-root"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "muster-system", Name: "root"}},
		},
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "git"}, StringData: map[string]string{"webhookToken": webhookToken},
		},
	} {
		must(tb, b.client.Create(ctx, o))
	}
	b.program = os.Getenv(hubProgram)
	if b.program == "" {
		b.program = filepath.Join(b.dir, "hub")
		build := exec.Command("go", "build", "-o", b.program, "github.com/muster-io/muster/cmd/hub")
		if out, err := build.CombinedOutput(); err != nil {
			tb.Fatalf("build the hub: %v\n%s", err, out)
		}
	}
	b.writeKubeconfig(cp)
	b.webhooks, b.metrics, b.profiles = freeAddress(tb), freeAddress(tb), freeAddress(tb)
	tb.Cleanup(b.stopHub)
	return b
}

// newAcceptedBench starts the hub, which follows the repository, and returns when it has accepted all clusters, and how long that took.
func newAcceptedBench(tb testing.TB, clusters int) (b *bench, took time.Duration) {
	tb.Helper()
	b = newBench(tb, clusters, archive.Retail)
	must(b, b.clusters.Create(b.ctx))
	began := time.Now()
	b.startHub()
	must(b, b.clusters.WaitForAcceptance(b.ctx))
	took = time.Since(began)
	b.follow()
	return b, took
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	defer l.Close()
	return l.Addr().String()
}

func (b *bench) kubeconfig() string { return filepath.Join(b.dir, "kubeconfig") }

// writeKubeconfig gives the hub the account that it has in production.
func (b *bench) writeKubeconfig(cp *controlplane.ControlPlane) {
	b.Helper()
	config, err := cp.User(hub.User, hub.Groups()...)
	must(b, err)
	kubeconfig, err := controlplane.Kubeconfig("hub", config)
	must(b, err)
	must(b, os.WriteFile(b.kubeconfig(), kubeconfig, 0o600))
}

// startHub starts the hub as a person would, with the defaults of its flags.
func (b *bench) startHub() {
	b.Helper()
	var err error
	b.hub, err = hollow.Start(b.program, "--kubeconfig", b.kubeconfig(), "--state-dir", filepath.Join(b.dir, "state"),
		"--local-repositories", filepath.Dir(b.repository.Dir), "--webhook-address", b.webhooks, "--metrics-address", b.metrics, "--profiling-address", b.profiles)
	must(b, err)
}

// startControllers starts a hub with some controllers only.
func (b *bench) startControllers(names string) {
	b.Helper()
	var err error
	b.hub, err = hollow.Start(b.program, "--kubeconfig", b.kubeconfig(), "--state-dir", b.dir, "--controllers", names, "--profiling-address", b.profiles)
	must(b, err)
}

func (b *bench) stopHub() {
	if b.hub != nil {
		if err := b.hub.Stop(); err != nil {
			b.Error(err)
		}
	}
	b.hub = nil
}

// follow makes the hub follow the repository. Only webhooks make it look again.
func (b *bench) follow() {
	b.Helper()
	must(b, b.client.Create(b.ctx, &musterv1alpha1.FleetRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"},
		Spec: musterv1alpha1.FleetRepositorySpec{
			URL: b.repository.URL(), Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "root",
			SecretRef: &musterv1alpha1.LocalReference{Name: "git"}, Interval: metav1.Duration{Duration: time.Minute},
		},
	}))
}

// push commits, and tells the hub by a webhook.
func (b *bench) push(archive string) (revision string) {
	b.Helper()
	revision = b.repository.Commit(archive)
	body := `{"ref":"refs/heads/main"}`
	mac := hmac.New(sha256.New, []byte(webhookToken))
	mac.Write([]byte(body))
	request, err := http.NewRequestWithContext(b.ctx, http.MethodPost, "http://"+b.webhooks+"/webhook/muster-system/fleet", strings.NewReader(body))
	must(b, err)
	request.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	answer, err := http.DefaultClient.Do(request)
	must(b, err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		b.Fatalf("the webhook is answered %s", answer.Status)
	}
	return revision
}

// wait asks until the answer is "".
func (b *bench) wait(period time.Duration, unmet func() string) {
	b.Helper()
	for {
		problem := unmet()
		if problem == "" {
			return
		}
		if b.hub != nil {
			must(b, b.hub.Ended())
		}
		select {
		case <-b.ctx.Done():
			b.Fatalf("after %s: %s", benchTime, problem)
		case <-time.After(period):
		}
	}
}

// waitForWorks waits until so many works are on the hub.
func (b *bench) waitForWorks(n int) {
	b.Helper()
	b.wait(200*time.Millisecond, func() string {
		list := firstWorks()
		must(b, b.client.List(b.ctx, list, client.Limit(1)))
		have := int64(len(list.Items))
		if more := list.GetRemainingItemCount(); more != nil {
			have += *more
		}
		if have < int64(n) {
			return fmt.Sprintf("%d works, want %d", have, n)
		}
		return ""
	})
}

func firstWorks() *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(workv1.GroupVersion.WithKind("ManifestWorkList"))
	return list
}

// waitForHealthy waits until an application is healthy at a revision on so many clusters.
func (b *bench) waitForHealthy(name, revision string, n int) {
	b.Helper()
	b.wait(20*time.Millisecond, func() string {
		var app musterv1alpha1.Application
		if err := b.client.Get(b.ctx, client.ObjectKey{Namespace: "retail", Name: name}, &app); err != nil {
			return err.Error()
		}
		if s := app.Status; s.Revision != revision || int(s.Summary.Healthy) != n {
			return fmt.Sprintf("application %s: revision %.7s, want %.7s; %+v", name, s.Revision, revision, s.Summary)
		}
		return ""
	})
}

// waitForQuiet waits until the hub's controllers have nothing to do, and at least so many applications were reconciled.
func (b *bench) waitForQuiet(applications int) {
	b.Helper()
	b.wait(100*time.Millisecond, func() string {
		busy, reconciled, err := b.queues()
		if err != nil {
			return err.Error()
		}
		if busy > 0 || reconciled < float64(applications) {
			return fmt.Sprintf("%g requests are queued or running, %g applications are reconciled", busy, reconciled)
		}
		return ""
	})
}

// queues reads from the hub's metrics how many requests wait or run, and how many applications were reconciled.
func (b *bench) queues() (busy, reconciled float64, err error) {
	answer, err := http.Get("http://" + b.metrics + "/metrics")
	if err != nil {
		return 0, 0, err
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		metric, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		name, labels, _ := strings.Cut(metric, "{")
		switch {
		case err != nil:
		case name == "workqueue_depth" || name == "controller_runtime_active_workers":
			busy += value
		case name == "controller_runtime_reconcile_total" && strings.Contains(labels, `"application"`):
			reconciled += value
		}
	}
	return busy, reconciled, nil
}

// say prints a result as soon as it is there: a benchmark runs for minutes.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "    "+format+"\n", args...)
}

// cpuDuring is the processor time that a process takes while a function runs.
func (b *bench) cpuDuring(p *hollow.Process, do func()) time.Duration {
	b.Helper()
	before, err := p.CPU()
	must(b, err)
	do()
	after, err := p.CPU()
	must(b, err)
	return after - before
}

// profileDir names, in the environment, a folder for profiles of the hub while it is measured.
const profileDir = "MUSTER_BENCH_PROFILES"

// profile saves a profile of the hub, if somebody wants it; a processor profile is of the next seconds.
func (b *bench) profile(kind, name string, seconds int) {
	dir := os.Getenv(profileDir)
	if dir == "" {
		return
	}
	go func() {
		url := fmt.Sprintf("http://%s/debug/pprof/%s", b.profiles, kind)
		if seconds > 0 {
			url += fmt.Sprintf("?seconds=%d", seconds)
		}
		answer, err := http.Get(url)
		if err != nil {
			b.Log(err)
			return
		}
		defer answer.Body.Close()
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			b.Log(err)
			return
		}
		defer file.Close()
		if _, err := io.Copy(file, answer.Body); err != nil {
			b.Log(err)
		}
	}()
}

// inBackground runs a function until the returned one is called.
func (b *bench) inBackground(do func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			b.Error(err)
		}
	}
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func mib(bytes int64) int64 { return bytes >> 20 }

// applicationFiles are an application on all clusters, and its content of about so many bytes.
func applicationFiles(name, line string, bytes int) string {
	return archive.Placement(name, "{}") + archive.Application(name, name, "manifests/"+name, name, "") + contentFile(name, line, bytes)
}

func contentFile(name, line string, bytes int) string {
	return fmt.Sprintf("-- manifests/%[1]s/config.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %[1]s}\ndata:\n  line: %[2]s\n  rest: %[3]s\n",
		name, line, strings.Repeat("x", bytes))
}
