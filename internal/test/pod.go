package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/muster-io/muster/internal/controlplane"
)

// Program builds a program of this module, by the name of its folder in cmd, and returns its path.
func Program(t testing.TB, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", file, "github.com/muster-io/muster/cmd/"+name)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return file
}

// Pod is a container that runs as a process of this machine, as a kubelet would run it: with the arguments, the environment,
// the mounted Secrets, ConfigMaps and empty folders of its pod, and with the token of the pod's service account.
//
// What a process cannot have is put in its place: a mount is a temporary folder, whose path replaces the mount's in the
// arguments; a port is a free one on the loopback address; the connection to the API server is named by --kubeconfig.
type Pod struct {
	t       testing.TB
	command *exec.Cmd
	exited  chan struct{}
	err     error // of the process, once it has exited
	mu      sync.Mutex
	output  bytes.Buffer
	stop    sync.Once
	stopped atomic.Bool // by Stop, and not by itself
}

// RunDeployment waits for the pods of a Deployment on a control plane with controllers, runs the first container of one of them,
// and reports all of them ready while the process runs; when it exits by itself, what a kubelet says of a crash. The process
// ends with the test, or by Stop.
func RunDeployment(t testing.TB, cp *controlplane.ControlPlane, namespace, name, program string) *Pod {
	t.Helper()
	clients := clientset(t, cp)
	var pods []corev1.Pod
	await(t, fmt.Sprintf("pods of Deployment %s/%s", namespace, name), func() (err error) {
		var want int
		if pods, want, err = podsOf(t, clients, namespace, name); err != nil {
			return err
		}
		if len(pods) < want || len(pods) == 0 {
			return fmt.Errorf("%d pods", len(pods))
		}
		return nil
	})
	p := start(t, cp, pods[0].ObjectMeta, pods[0].Spec, program)
	reportRunning(t, clients, pods...)
	go func() {
		<-p.exited
		if p.stopped.Load() {
			return
		}
		report(t, clients, pods, corev1.ConditionFalse, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: int32(p.command.ProcessState.ExitCode()), Reason: "Error", Message: tail(p.Output())}})
	}()
	return p
}

// podsOf are the pods of a Deployment, and how many it wants.
func podsOf(t testing.TB, clients kubernetes.Interface, namespace, name string) ([]corev1.Pod, int, error) {
	deployment, err := clients.AppsV1().Deployments(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil, 0, err
	}
	list, err := clients.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(deployment.Spec.Selector)})
	if err != nil {
		return nil, 0, err
	}
	return list.Items, int(*deployment.Spec.Replicas), nil
}

func reportRunning(t testing.TB, clients kubernetes.Interface, pods ...corev1.Pod) {
	report(t, clients, pods, corev1.ConditionTrue, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}, corev1.ContainerState{})
}

// report writes what a kubelet says of pods.
func report(t testing.TB, clients kubernetes.Interface, pods []corev1.Pod, ready corev1.ConditionStatus, state, last corev1.ContainerState) {
	for i := range pods {
		pod := pods[i].DeepCopy()
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{
			{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.Now()}, {Type: corev1.ContainersReady, Status: ready},
		}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: pod.Spec.Containers[0].Name, Image: pod.Spec.Containers[0].Image, Ready: ready == corev1.ConditionTrue, State: state, LastTerminationState: last,
		}}
		pod.ResourceVersion = ""
		if _, err := clients.CoreV1().Pods(pod.Namespace).UpdateStatus(context.Background(), pod, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			t.Logf("report pod %s: %v", pod.Name, err)
		}
	}
}

// Kubelet runs the pods of Deployments as processes and follows them, where [RunDeployment] runs the pods that are there. A test calls
// Sync while it waits for something.
type Kubelet struct {
	T            testing.TB
	ControlPlane *controlplane.ControlPlane
	Programs     map[string]string // by the Deployment's namespace/name
	pods         map[types.UID]*Pod
}

// Sync starts the pods that are new and those that have exited, reports them ready, and ends the processes of pods that are gone.
func (k *Kubelet) Sync() {
	k.T.Helper()
	clients, there, running := clientset(k.T, k.ControlPlane), map[types.UID]bool{}, map[types.UID]*Pod{}
	for key, program := range k.Programs {
		namespace, name, _ := strings.Cut(key, "/")
		pods, _, err := podsOf(k.T, clients, namespace, name)
		if err != nil && !apierrors.IsNotFound(err) {
			k.T.Fatalf("list the pods of %s: %v", key, err)
		}
		for _, pod := range pods {
			there[pod.UID] = true
			if p := k.pods[pod.UID]; p != nil && !p.hasExited() {
				running[pod.UID] = p
				continue
			}
			running[pod.UID] = start(k.T, k.ControlPlane, pod.ObjectMeta, pod.Spec, program)
			reportRunning(k.T, clients, pod)
		}
	}
	for uid, p := range k.pods {
		if !there[uid] {
			p.Stop()
		}
	}
	k.pods = running
}

func (p *Pod) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// RunPod runs the first container of a pod until it exits, as a Job does, and returns what it wrote and how it ended.
func RunPod(t testing.TB, cp *controlplane.ControlPlane, namespace string, spec corev1.PodSpec, program string) (string, error) {
	t.Helper()
	p := start(t, cp, metav1.ObjectMeta{Namespace: namespace, Name: "pod"}, spec, program)
	<-p.exited
	return p.Output(), p.err
}

func start(t testing.TB, cp *controlplane.ControlPlane, pod metav1.ObjectMeta, spec corev1.PodSpec, program string) *Pod {
	t.Helper()
	clients, dir, container := clientset(t, cp), t.TempDir(), spec.Containers[0]
	mounts := map[string]string{}
	for _, m := range container.VolumeMounts {
		i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			t.Fatalf("container %s mounts %s, and the pod has no such volume", container.Name, m.Name)
		}
		mounts[m.MountPath] = filepath.Join(dir, "volumes", m.Name)
		if err := fill(t.Context(), clients, pod.Namespace, spec.Volumes[i], mounts[m.MountPath]); err != nil {
			t.Fatalf("mount %s: %v", m.Name, err)
		}
	}
	args := []string{"--kubeconfig=" + accountKubeconfig(t, cp, clients, pod.Namespace, spec.ServiceAccountName, dir)}
	for i, arg := range container.Args {
		arg = inPlace(t, arg, mounts)
		if i == 0 && !strings.HasPrefix(arg, "-") { // a subcommand comes first
			args = append([]string{arg}, args...)
			continue
		}
		args = append(args, arg)
	}
	p := &Pod{t: t, exited: make(chan struct{}), command: exec.Command(program, args...)}
	for _, e := range container.Env {
		if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
			e.Value = map[string]string{"metadata.name": pod.Name, "metadata.namespace": pod.Namespace}[e.ValueFrom.FieldRef.FieldPath]
		}
		p.command.Env = append(p.command.Env, e.Name+"="+e.Value)
	}
	p.command.Dir, p.command.Stdout, p.command.Stderr = dir, (*output)(p), (*output)(p)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.command.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s %q wrote at its end:\n%s", filepath.Base(program), args, tail(p.Output()))
		}
	})
	return p
}

// inPlace replaces what an argument says of mounts and ports.
func inPlace(t testing.TB, arg string, mounts map[string]string) string {
	t.Helper()
	if _, value, _ := strings.Cut(arg, "="); strings.HasPrefix(value, os.TempDir()+"/") {
		if _, err := os.Stat(value); err == nil {
			return arg // a folder of the test itself, and not of the pod
		}
	}
	for _, path := range slices.Backward(slices.Sorted(maps.Keys(mounts))) {
		if flag, value, _ := strings.Cut(arg, "="); value == path || strings.HasPrefix(value, path+"/") {
			return flag + "=" + mounts[path] + strings.TrimPrefix(value, path)
		}
	}
	if flag, value, _ := strings.Cut(arg, "="); strings.HasPrefix(value, ":") {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		return flag + "=" + listener.Addr().String()
	}
	return arg
}

// fill makes the folder of a volume.
func fill(ctx context.Context, clients kubernetes.Interface, namespace string, v corev1.Volume, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files := map[string][]byte{}
	switch {
	case v.EmptyDir != nil, v.Projected != nil: // the service account's token is named by --kubeconfig
	case v.Secret != nil:
		secret, err := clients.CoreV1().Secrets(namespace).Get(ctx, v.Secret.SecretName, metav1.GetOptions{})
		if err != nil && (!apierrors.IsNotFound(err) || v.Secret.Optional == nil || !*v.Secret.Optional) {
			return err
		}
		files = secret.Data
	case v.ConfigMap != nil:
		configMap, err := clients.CoreV1().ConfigMaps(namespace).Get(ctx, v.ConfigMap.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for name, text := range configMap.Data {
			files[name] = []byte(text)
		}
	default:
		return errors.New("a test's pod has Secrets, ConfigMaps and empty folders only")
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// accountKubeconfig writes a kubeconfig with a token of the pod's service account.
func accountKubeconfig(t testing.TB, cp *controlplane.ControlPlane, clients kubernetes.Interface, namespace, account, dir string) string {
	t.Helper()
	token, err := clients.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make a token of the pod's service account: %v", err)
	}
	config := rest.AnonymousClientConfig(cp.Config())
	config.BearerToken = token.Status.Token
	data, err := controlplane.Kubeconfig("cluster", config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "account.kubeconfig")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Stop ends the process as a kubelet does, and waits for it.
func (p *Pod) Stop() {
	p.stop.Do(func() {
		p.stopped.Store(true)
		_ = p.command.Process.Signal(syscall.SIGTERM) // it may have exited
		select {
		case <-p.exited:
		case <-time.After(30 * time.Second):
			_ = p.command.Process.Kill()
			<-p.exited
			p.t.Errorf("%s did not end within 30 s of SIGTERM", filepath.Base(p.command.Path))
		}
	})
}

// Output is what the process has written so far.
func (p *Pod) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

type output Pod

func (o *output) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.output.Write(data)
}

func clientset(t testing.TB, cp *controlplane.ControlPlane) kubernetes.Interface {
	t.Helper()
	clients, err := kubernetes.NewForConfig(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

// await tries again until there is no error.
func await(t testing.TB, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) || t.Context().Err() != nil {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// tail are the last lines.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
