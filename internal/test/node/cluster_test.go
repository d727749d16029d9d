package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"helm.sh/helm/v4/pkg/action"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/test"
)

// patience bounds a wait for a condition. It is long: containers start slowly on a machine that is busy.
const patience = 4 * time.Minute

// realCluster is an embedded control plane with a real node.
type realCluster struct {
	*controlplane.ControlPlane
	t       *testing.T
	api     client.Client
	clients kubernetes.Interface
	version string // of the images of hub and klusterlet
}

func newCluster(t *testing.T) *realCluster {
	t.Helper()
	programs := nodePrograms(t)
	ctrllog.SetLogger(logr.Discard())
	version := os.Getenv("MUSTER_VERSION")
	images, err := filepath.Glob(filepath.Join(programs, "images", "*-"+version+".tar"))
	if err != nil || len(images) != 2 {
		t.Fatalf("%d images of version %q in %s (%v): make node-test builds them", len(images), version, programs, err)
	}
	cp, err := controlplane.Start(t.Context(), controlplane.Options{
		Name: "real", Workloads: true, Ephemeral: true, Node: &controlplane.RealNode{Programs: programs, Images: images},
		Progress: func(line string) { t.Log(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &realCluster{ControlPlane: cp, t: t, version: version}
	t.Cleanup(func() {
		if t.Failed() {
			c.describe()
		}
		if err := cp.Stop(); err != nil {
			t.Errorf("stop the node: %v", err)
		}
	})
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, certificatesv1.AddToScheme, coordinationv1.AddToScheme, clusterv1.AddToScheme, workv1.AddToScheme, musterv1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	if c.api, err = client.New(cp.Config(), client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	if c.clients, err = kubernetes.NewForConfig(cp.Config()); err != nil {
		t.Fatal(err)
	}
	return c
}

// nodePrograms is where the programs of a node are. The test is skipped where there are none, and on a machine on which no node can run.
func nodePrograms(t *testing.T) string {
	t.Helper()
	programs := os.Getenv("MUSTER_NODE")
	if programs == "" {
		t.Skip("the programs of a node are not named by MUSTER_NODE: make node-test builds them and runs this")
	}
	if err := (controlplane.RealNode{Programs: programs}).Missing(); err != nil {
		t.Skipf("no real node runs here: %v", err)
	}
	return programs
}

// describe logs what a person would look at first.
func (c *realCluster) describe() {
	ctx := context.Background()
	pods, err := c.clients.CoreV1().Pods("").List(ctx, listAll)
	if err != nil {
		c.t.Logf("list pods: %v", err)
		return
	}
	for _, p := range pods.Items {
		var states []string
		for _, s := range p.Status.ContainerStatuses {
			states = append(states, fmt.Sprintf("%s %+v restarts %d", s.Name, s.State, s.RestartCount))
		}
		c.t.Logf("pod %s/%s %s %s %s", p.Namespace, p.Name, p.Status.Phase, p.Status.Reason, states)
		lines := int64(15)
		data, err := c.clients.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{TailLines: &lines}).DoRaw(ctx)
		c.t.Logf("its log (%v):\n%s", err, data)
	}
	events, err := c.clients.CoreV1().Events("").List(ctx, listAll)
	if err != nil {
		return
	}
	for _, e := range events.Items {
		if e.Type == corev1.EventTypeWarning {
			c.t.Logf("event on %s %s/%s: %s %s", e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
}

// eventually waits until check gives no error.
func (c *realCluster) eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	deadline, begin := time.Now().Add(patience), time.Now()
	for {
		err := check(t.Context())
		if err == nil {
			t.Logf("%s: after %s", what, time.Since(begin).Round(100*time.Millisecond))
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// gitServer is git's own, which can be held in the middle of a fetch.
type gitServer struct {
	http.Handler
	mu       sync.Mutex
	fetching chan struct{}   // told of a fetch that is held
	released <-chan struct{} // nil: fetches are answered
}

// hold lets the fetches that begin from now on wait until they are released, and tells of the first one.
func (g *gitServer) hold() (fetching <-chan struct{}, release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	released := make(chan struct{})
	g.fetching, g.released = make(chan struct{}, 1), released
	return g.fetching, sync.OnceFunc(func() { close(released) })
}

// ServeHTTP implements http.Handler.
func (g *gitServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	fetching, released := g.fetching, g.released
	g.mu.Unlock()
	if released != nil && strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
		select {
		case fetching <- struct{}{}:
		default: // it was told of one
		}
		select {
		case <-released:
		case <-r.Context().Done():
			return
		}
	}
	g.Handler.ServeHTTP(w, r)
}

// serveGit serves a repository over HTTP, where pods reach it: at the address of the API server.
func (c *realCluster) serveGit(r *test.Repository, g *gitServer) string {
	c.t.Helper()
	api, err := url.Parse(c.URL())
	if err != nil {
		c.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(api.Hostname(), "0"))
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		c.t.Fatal(err)
	}
	g.Handler = &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + filepath.Dir(r.Dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
		Stderr: io.Discard,
	}
	server := httptest.NewUnstartedServer(g)
	if err := server.Listener.Close(); err != nil {
		c.t.Fatal(err)
	}
	server.Listener = listener
	server.Start()
	c.t.Cleanup(server.Close)
	return server.URL + "/" + filepath.Base(r.Dir) + "/.git"
}

// helm is Helm's library, in a namespace.
func (c *realCluster) helm(namespace string) *action.Configuration {
	c.t.Helper()
	flags := genericclioptions.NewConfigFlags(false)
	file := c.KubeconfigPath()
	flags.KubeConfig, flags.Namespace = &file, &namespace
	config := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := config.Init(flags, namespace, "secret"); err != nil {
		c.t.Fatal(err)
	}
	return config
}

// load reads a chart: a packed one, or the folder of one.
func (c *realCluster) load(path string) *chart.Chart {
	c.t.Helper()
	loaded, err := loader.Load(path)
	if err != nil {
		c.t.Fatal(err)
	}
	return loaded
}

// loadLast reads a chart as that of the last release.
func (c *realCluster) loadLast(path string) *chart.Chart {
	c.t.Helper()
	loaded := c.load(path)
	loaded.Metadata.Version = lastVersion
	return loaded
}

func (c *realCluster) install(t *testing.T, name, namespace string, ch *chart.Chart, values map[string]any) {
	t.Helper()
	i := action.NewInstall(c.helm(namespace))
	i.ReleaseName, i.Namespace, i.CreateNamespace, i.Timeout, i.WaitStrategy = name, namespace, true, patience, kube.StatusWatcherStrategy
	if _, err := i.RunWithContext(t.Context(), ch, values); err != nil {
		t.Fatalf("helm install %s: %v", name, err)
	}
}

func (c *realCluster) upgrade(t *testing.T, name, namespace string, ch *chart.Chart, values map[string]any) {
	t.Helper()
	u := action.NewUpgrade(c.helm(namespace))
	u.Namespace, u.Timeout, u.WaitStrategy = namespace, patience, kube.StatusWatcherStrategy
	if _, err := u.RunWithContext(t.Context(), name, ch, values); err != nil {
		t.Fatalf("helm upgrade %s: %v", name, err)
	}
}

func (c *realCluster) uninstall(t *testing.T, name, namespace string) {
	t.Helper()
	u := action.NewUninstall(c.helm(namespace))
	u.Timeout, u.WaitStrategy, u.DeletionPropagation = patience, kube.StatusWatcherStrategy, "background"
	if _, err := u.Run(name); err != nil {
		t.Fatalf("helm uninstall %s: %v", name, err)
	}
}

// kill ends the program of a pod as a crash does.
func (c *realCluster) kill(t *testing.T, pod, program string) {
	t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		line, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(folder, "environ"))
		if !bytes.HasPrefix(line, []byte(program+"\x00")) || !bytes.Contains(append([]byte{0}, env...), []byte("\x00HOSTNAME="+pod+"\x00")) {
			continue
		}
		if out, err := exec.Command("kill", "-KILL", filepath.Base(folder)).CombinedOutput(); err != nil {
			t.Fatalf("kill %s: %v: %s", pod, err, out)
		}
		return
	}
	t.Fatalf("no process of pod %s runs %s", pod, program)
}
