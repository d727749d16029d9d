package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/charts"
	"github.com/muster-io/muster/internal/chart"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/embedded"
	hubapi "github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/install"
	"github.com/muster-io/muster/internal/test"
)

// realClusters are two API servers with nothing of Muster on them, and the programs that the charts' pods run.
type realClusters struct {
	t                *testing.T
	hub, cluster     *controlplane.ControlPlane
	other            *controlplane.ControlPlane // a second hub, then another cluster
	hubProgram       string
	klusterlet       string
	hubAPI, clusterC client.Client
}

func newRealClusters(t *testing.T) *realClusters {
	ctrllog.SetLogger(logr.Discard())
	r := &realClusters{
		t: t, hub: test.ControlPlane(t, controlplane.Options{Name: "hub", Controllers: true}), cluster: test.ControlPlane(t, controlplane.Options{Name: "cluster", Controllers: true}),
		hubProgram: test.Program(t, "hub"), klusterlet: test.Program(t, "klusterlet"),
	}
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, corev1.AddToScheme, batchv1.AddToScheme, coordinationv1.AddToScheme, clusterv1.AddToScheme, workv1.AddToScheme, musterv1alpha1.AddToScheme,
	} {
		if err := add(all); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if r.hubAPI, err = client.New(r.hub.Config(), client.Options{Scheme: all}); err != nil {
		t.Fatal(err)
	}
	if r.clusterC, err = client.New(r.cluster.Config(), client.Options{Scheme: all}); err != nil {
		t.Fatal(err)
	}
	return r
}

// muster runs the program, with the hub's kubeconfig.
func (r *realClusters) muster(args ...string) (code int, out, errs string) {
	r.t.Helper()
	var o, e bytes.Buffer
	code = run(r.t.Context(), append([]string{"--kubeconfig", r.hub.KubeconfigPath()}, args...), &o, &e)
	return code, o.String(), e.String()
}

// while runs the program, and something beside it that what the program waits for needs.
func (r *realClusters) while(beside func(), args ...string) (code int, out, errs string) {
	r.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		code, out, errs = r.muster(args...)
	}()
	beside()
	<-done
	return code, out, errs
}

func expectOutput(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s does not say %q:\n%s", what, part, text)
		}
	}
}

// TestInstallAndJoin installs hub and agent from the program's charts on two real API servers, whose pods run as processes with
// the arguments, mounts and accounts of the charts' Deployments.
func TestInstallAndJoin(t *testing.T) {
	t.Parallel()
	r := newRealClusters(t)
	repositories := t.TempDir()
	var hub *test.Pod
	code, out, errs := r.while(func() {
		hub = test.RunDeployment(t, r.hub, embedded.SystemNamespace, "muster-hub", r.hubProgram)
	}, "hub", "install", "--timeout", "2m", "--set", "extraArgs={--local-repositories="+repositories+"}")
	if code != 0 {
		t.Fatalf("muster hub install: exit code %d\n%s\n%s", code, out, errs)
	}
	expectOutput(t, "muster hub install", out, "the hub runs")
	expectOutput(t, "its progress", errs, "kinds are served", "objects applied", "its controllers run")

	join := []string{"join", "one", "--install", "--cluster-kubeconfig", r.cluster.KubeconfigPath(), "--timeout", "2m", "--set", "uninstall.workloads=Keep"}
	var agent *test.Pod
	code, out, errs = r.while(func() {
		agent = test.RunDeployment(t, r.cluster, "muster-agent", "klusterlet", r.klusterlet)
	}, join...)
	if code != 0 {
		t.Fatalf("muster join: exit code %d\n%s\n%s", code, out, errs)
	}
	expectOutput(t, "muster join", out, "one has joined and is available")
	expectOutput(t, "its progress", errs, "let in; the agent waits for its certificate", "available")

	if code, out, errs = r.muster(join...); code != 0 {
		t.Errorf("a second muster join: exit code %d\n%s\n%s", code, out, errs)
	}
	if code, out, errs = r.muster("hub", "install", "--set", "extraArgs={--local-repositories="+repositories+"}"); code != 0 {
		t.Errorf("a second muster hub install: exit code %d\n%s\n%s", code, out, errs)
	}
	t.Run("an upgrade whose pods do not start fails, while those of before run", func(t *testing.T) {
		hubInstall := []string{"hub", "install", "--set", "extraArgs={--local-repositories=" + repositories + "}"}
		for _, upgrade := range [][]string{join, hubInstall} {
			code, _, errs := r.muster(append(slices.Clone(upgrade), "--set", "image.tag=nowhere", "--timeout", "3s")...)
			if code == 0 {
				t.Errorf("muster %s: exit code 0\n%s", upgrade[0], errs)
			}
			expectOutput(t, "muster "+upgrade[0], errs, "is being rolled out")
			if code, _, errs := r.muster(upgrade...); code != 0 {
				t.Errorf("muster %s with the image of before: exit code %d\n%s", upgrade[0], code, errs)
			}
		}
	})
	t.Run("doctor finds nothing but that no repository is followed", func(t *testing.T) { r.healthy(t) })
	t.Run("the pod of the hub that leads is labelled", func(t *testing.T) {
		var pods corev1.PodList
		if err := r.hubAPI.List(t.Context(), &pods, client.MatchingLabels{musterv1alpha1.LeaderLabel: "true"}); err != nil || len(pods.Items) != 1 {
			t.Errorf("%d pods are labelled (%v), want one of two", len(pods.Items), err)
		}
	})
	t.Run("versions of all parts are shown", func(t *testing.T) {
		r.eventually(t, "the agent's version", func(context.Context) bool {
			_, out, _ := r.muster("version")
			return strings.Contains(out, "hub     ") && strings.Contains(out, "agents  unknown: 1 cluster (one)")
		})
	})
	t.Run("one release serves a second hub", func(t *testing.T) { r.secondHub(t, join) })
	t.Run("a name that is taken is refused", func(t *testing.T) { r.taken(t) })
	t.Run("a cluster joins under one name", func(t *testing.T) {
		code, _, errs := r.muster("join", "two", "--install", "--cluster-kubeconfig", r.cluster.KubeconfigPath())
		if code == 0 {
			t.Fatal("it is installed")
		}
		expectOutput(t, "muster join", errs, "has joined as one already", "muster detach one")
	})
	t.Run("a starter repository is delivered", func(t *testing.T) { r.starter(t, filepath.Join(repositories, "fleet")) })
	t.Run("the hub's own cluster is managed by the two charts", func(t *testing.T) { r.localCluster(t) })
	t.Run("what keeps an agent from joining is named", func(t *testing.T) { r.givesUp(t) })
	t.Run("an uninstall keeps the workloads and leaves no finalizer", func(t *testing.T) { r.uninstall(t, agent) })
	hub.Stop()
	t.Run("a hub that ends takes its label away", func(t *testing.T) {
		var pods corev1.PodList
		if err := r.hubAPI.List(t.Context(), &pods, client.MatchingLabels{musterv1alpha1.LeaderLabel: "true"}); err != nil || len(pods.Items) != 0 {
			t.Errorf("%d pods are labelled (%v)", len(pods.Items), err)
		}
	})
	t.Run("doctor says that the hub does not run", func(t *testing.T) {
		var lease coordinationv1.Lease
		if err := r.hubAPI.Get(t.Context(), hubapi.HeartbeatKey, &lease); err != nil {
			t.Fatal(err)
		}
		lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now().Add(-5 * time.Minute)}
		if err := r.hubAPI.Update(t.Context(), &lease); err != nil {
			t.Fatal(err)
		}
		_, out, _ := r.muster("doctor")
		expectOutput(t, "doctor", out, "PROBLEM  hub: controllers: the hub", "was last heard 5m", "logs deployment/muster-hub")
	})
}

func (r *realClusters) healthy(t *testing.T) {
	code, out, errs := r.muster("doctor", "--cluster-kubeconfig", r.cluster.KubeconfigPath())
	if code != exitChanges {
		t.Errorf("exit code %d, want %d: no repository is followed\n%s", code, exitChanges, errs)
	}
	for _, line := range strings.Split(out, "\n") {
		if strings.HasPrefix(line, "PROBLEM") && !strings.Contains(line, "follows no repository") {
			t.Errorf("doctor finds: %s\n%s", line, out)
		}
	}
	expectOutput(t, "doctor", out, "hub: kinds: all", "hub: rights: account muster-system/muster-hub has all that it needs", "hub: signing: client certificates are signed",
		"agent: certificate: it is good until", "agent's hub: address", "agent: rights: account muster-agent/klusterlet may apply everything")
}

// starter writes a repository and lets the hub follow it; nothing else is needed until something runs on the cluster.
func (r *realClusters) starter(t *testing.T, dir string) {
	code, out, errs := r.muster("init", dir, "--hub", "--url", "file://"+dir)
	if code != 0 {
		t.Fatalf("muster init: exit code %d\n%s\n%s", code, out, errs)
	}
	expectOutput(t, "muster init", out, "the hub follows file://"+dir+" as muster-system/fleet")
	page := &corev1.ConfigMap{}
	r.eventually(t, "the application is delivered", func(ctx context.Context) bool {
		return r.clusterC.Get(ctx, client.ObjectKey{Namespace: "hello", Name: "hello"}, page) == nil
	})
	expectOutput(t, "the page", page.Data["index.html"], "Hello from one")
	for args, want := range map[string]string{
		"status ": "demo/hello", "status cluster ": "one", "why demo/hello ": "one", "why placement ": "demo/everywhere", "accept o": "one", "drift --cluster ": "one",
	} {
		_, out, _ := r.muster(append([]string{"__complete"}, strings.Split(args, " ")...)...)
		expectOutput(t, "the completion of "+args, out, want+"\n")
	}
	if code, out, errs = r.muster("init", dir, "--hub", "--url", "file://"+dir); code != 0 {
		t.Errorf("a second muster init: exit code %d\n%s\n%s", code, out, errs)
	}
}

// localCluster installs the agent beside the hub, with rights by rules, and delivers to it what the rules allow.
func (r *realClusters) localCluster(t *testing.T) {
	code, out, errs := r.while(func() {
		test.RunDeployment(t, r.hub, "muster-agent", "klusterlet", r.klusterlet)
	}, "join", "local-cluster", "--install", "--cluster-kubeconfig", r.hub.KubeconfigPath(), "--timeout", "2m", "--set", "rights.type=Rules",
		"--set-json", `rights.rules=[{"apiGroups":["","apps"],"resources":["configmaps","services","deployments"],"verbs":["*"]}]`)
	if code != 0 {
		t.Fatalf("muster join local-cluster: exit code %d\n%s\n%s", code, out, errs)
	}
	r.eventually(t, "the application is delivered beside the hub", func(ctx context.Context) bool {
		return r.hubAPI.Get(ctx, client.ObjectKey{Namespace: "hello", Name: "hello"}, &corev1.ConfigMap{}) == nil
	})
}

// secondHub adds a hub to the agent's release, which then has a second agent, with a way of its own and the first one's account.
func (r *realClusters) secondHub(t *testing.T, join []string) {
	r.other = test.ControlPlane(r.t, controlplane.Options{Name: "other", Controllers: true})
	if err := install.Hub(t.Context(), r.other.Config()); err != nil {
		t.Fatal(err)
	}
	token, err := embedded.JoinToken(t.Context(), r.other.Config(), "uno")
	if err != nil {
		t.Fatal(err)
	}
	hubs, err := json.Marshal([]map[string]any{{"name": "second", "clusterName": "uno", "bootstrap": map[string]any{"server": r.other.URL(), "ca": string(r.other.CA()), "token": token}}})
	if err != nil {
		t.Fatal(err)
	}
	if code, out, errs := r.muster(append(slices.Clone(join), "--set-json", "hubs="+string(hubs))...); code != 0 {
		t.Fatalf("muster join with a second hub: exit code %d\n%s\n%s", code, out, errs)
	}
	agent := test.RunDeployment(t, r.cluster, "muster-agent", "klusterlet-second", r.klusterlet)
	defer agent.Stop()
	second, err := client.New(r.other.Config(), client.Options{Scheme: r.hubAPI.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	r.eventually(t, "the second hub knows the cluster", func(ctx context.Context) bool {
		return second.Get(ctx, client.ObjectKey{Name: "uno"}, &clusterv1.ManagedCluster{}) == nil
	})
	if code, out, errs := r.muster(join...); code != 0 { // the first hub's agent is as it was
		t.Errorf("muster join: exit code %d\n%s\n%s", code, out, errs)
	}
}

// taken: a third API server asks for the name of the second.
func (r *realClusters) taken(t *testing.T) {
	r.eventually(t, "the cluster's id", func(ctx context.Context) bool {
		var m clusterv1.ManagedCluster
		return r.hubAPI.Get(ctx, client.ObjectKey{Name: "one"}, &m) == nil && claimOf(&m, "id.k8s.io") != ""
	})
	code, _, errs := r.muster("join", "one", "--install", "--cluster-kubeconfig", r.hub.KubeconfigPath())
	if code == 0 {
		t.Fatal("another cluster is installed under the name")
	}
	expectOutput(t, "muster join", errs, "the name one is taken", "muster detach one")
}

// givesUp: an agent without pods, one whose image cannot be pulled, one whose way to the hub is wrong.
func (r *realClusters) givesUp(t *testing.T) {
	other := r.other
	c, err := client.New(other.Config(), client.Options{Scheme: r.clusterC.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	join := func(args ...string) string {
		t.Helper()
		code, _, errs := r.muster(append([]string{"join", "other", "--install", "--cluster-kubeconfig", other.KubeconfigPath(), "--timeout", "3s"}, args...)...)
		if code == 0 {
			t.Fatal("it has joined")
		}
		return errs
	}
	expectOutput(t, "an agent without a node", join(), "other is not available after 3s", "no pod of Deployment muster-agent/klusterlet is ready", "next: kubectl -n muster-agent describe pods")

	setPods(t, c, corev1.ContainerStatus{Name: "klusterlet", Image: "registry.example.com/k:1", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}}})
	expectOutput(t, "an image that cannot be pulled", join(), "image registry.example.com/k:1 cannot be pulled: not found", "image.repository names a mirror")

	setPods(t, c, corev1.ContainerStatus{Name: "klusterlet", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, Ready: true})
	expectOutput(t, "a hub's address that nobody listens at", join("--hub-server", "https://127.0.0.1:1"), "agent's hub: address: nobody listens at https://127.0.0.1:1", "--hub-server")
	expectOutput(t, "a hub's name that DNS does not know", join("--hub-server", "https://no.such.host.invalid:6443"), "the name no.such.host.invalid cannot be resolved")
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, other.Config().CAData, 0o600); err != nil {
		t.Fatal(err)
	}
	expectOutput(t, "a CA that does not match", join("--hub-ca-file", file), "agent's hub: certificate", "unknown authority", "--hub-ca-file")

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-agent", Name: "klusterlet-bootstrap"}}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := controlplane.Kubeconfig("hub", &rest.Config{Host: r.hub.URL(), BearerToken: "eyJhbGciOiJub25lIn0.eyJleHAiOjF9.x", TLSClientConfig: rest.TLSClientConfig{CAData: r.hub.Config().CAData}})
	if err != nil {
		t.Fatal(err)
	}
	secret.Data["kubeconfig"] = kubeconfig
	if err := c.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	_, out, _ := r.muster("doctor", "--cluster-kubeconfig", other.KubeconfigPath())
	expectOutput(t, "an expired token", out, "agent: token: the token that the agent joins with expired on 1970-01-01", "agent's hub: credential: "+r.hub.URL()+" rejected the credential")
}

// setPods is what a kubelet says of the agent's pods.
func setPods(t *testing.T, c client.Client, status corev1.ContainerStatus) {
	t.Helper()
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace("muster-agent")); err != nil || len(pods.Items) == 0 {
		t.Fatalf("%d pods (%v)", len(pods.Items), err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		ready := corev1.ConditionFalse
		if status.Ready {
			ready = corev1.ConditionTrue
		}
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{status}
		if err := c.Status().Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *realClusters) eventually(t *testing.T, what string, holds func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !holds(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within a minute", what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// uninstall delivers an object, runs the Job of the chart as Helm would, and looks at what is left.
func (r *realClusters) uninstall(t *testing.T, agent *test.Pod) {
	work := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "w"}}
	work.Spec.Workload.Manifests = []workv1.Manifest{{RawExtension: runtime.RawExtension{
		Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"delivered","namespace":"default"},"data":{"a":"b"}}`),
	}}}
	if err := r.hubAPI.Create(t.Context(), work); err != nil {
		t.Fatal(err)
	}
	delivered := &corev1.ConfigMap{}
	r.eventually(t, "the object is applied and owned", func(ctx context.Context) bool {
		err := r.clusterC.Get(ctx, client.ObjectKey{Namespace: "default", Name: "delivered"}, delivered)
		return err == nil && len(delivered.OwnerReferences) == 1
	})
	r.eventually(t, "the record lists it", func(ctx context.Context) bool {
		var records workv1.AppliedManifestWorkList
		err := r.clusterC.List(ctx, &records)
		return err == nil && slices.ContainsFunc(records.Items, func(a workv1.AppliedManifestWork) bool {
			return a.Spec.ManifestWorkName == "w" && len(a.Status.AppliedResources) == 1 && a.Status.AppliedResources[0].UID != ""
		})
	})
	agent.Stop()
	rendering, err := chart.Render(chart.Release{Chart: charts.Klusterlet, Name: "klusterlet", Namespace: "muster-agent", Values: map[string]any{
		"clusterName": "one", "bootstrap": map[string]any{"existingSecret": "klusterlet-bootstrap"}, "uninstall": map[string]any{"workloads": "Keep"},
	}}, chart.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	var job batchv1.Job
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(rendering.Hooks[0].Object, &job); err != nil {
		t.Fatal(err)
	}
	if out, err := test.RunPod(t, r.cluster, "muster-agent", job.Spec.Template.Spec, r.klusterlet); err != nil {
		t.Fatalf("the Job fails: %v\n%s", err, out)
	}
	if err := r.clusterC.Get(t.Context(), client.ObjectKeyFromObject(delivered), delivered); err != nil || len(delivered.OwnerReferences) > 0 {
		t.Errorf("the object is %v (%v), want it there and owned by nobody", delivered.OwnerReferences, err)
	}
	var records workv1.AppliedManifestWorkList
	if err := r.clusterC.List(t.Context(), &records); err != nil || len(records.Items) > 0 {
		t.Errorf("%d AppliedManifestWorks are left (%v)", len(records.Items), err)
	}
	secret := &corev1.Secret{}
	if err := r.clusterC.Get(t.Context(), client.ObjectKey{Namespace: "muster-agent", Name: "hub-kubeconfig-secret"}, secret); !apierrors.IsNotFound(err) {
		t.Errorf("the agent's certificate is left (%v)", err)
	}
}
