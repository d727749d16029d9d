package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/muster-io/muster/internal/embedded"
)

// TestUpWithARealNode: a cluster of `muster up --real` runs containers, and has its address and its data after muster down and
// another up, which is not told again that it is real. Nothing of it is left when it has ended.
func TestUpWithARealNode(t *testing.T) {
	node := nodePrograms(t)
	o := embedded.Options{Dir: t.TempDir(), Programs: t.TempDir(), Clusters: []string{"edge"}, Real: true, Progress: func(line string) { t.Log(line) }}
	built := filepath.Join(filepath.Dir(node), "programs", "linux_"+runtime.GOARCH)
	for name, target := range map[string]string{"hub": filepath.Join(built, "hub"), "klusterlet": filepath.Join(built, "klusterlet"), "node": node} {
		if err := os.Symlink(target, filepath.Join(o.Programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	url := upAndRun(t, o, func(ctx context.Context, pods podClient) error {
		_, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "hello"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "hello", Image: "ghcr.io/muster-io/muster-pause:1", ImagePullPolicy: corev1.PullNever, Args: []string{"hello from the edge"},
		}}}}, metav1.CreateOptions{})
		return err
	})
	o.Real, o.Clusters = false, nil
	again := upAndRun(t, o, func(context.Context, podClient) error { return nil })
	if url != again {
		t.Errorf("the cluster was at %s and is at %s", url, again)
	}
	owners, err := filepath.Glob("/run/muster-node-*/owner")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range owners {
		if owner, _ := os.ReadFile(file); string(owner) == filepath.Join(o.Dir, "clusters", "edge") {
			t.Errorf("%s is left", file)
		}
	}
}

type podClient interface {
	Create(context.Context, *corev1.Pod, metav1.CreateOptions) (*corev1.Pod, error)
}

// upAndRun starts the fleet, does something with the pods of its cluster, waits until pod hello runs, and stops the fleet.
func upAndRun(t *testing.T, o embedded.Options, do func(context.Context, podClient) error) (url string) {
	t.Helper()
	fleet, err := embedded.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := fleet.Stop(); err != nil {
			t.Errorf("stop the fleet: %v", err)
		}
	}()
	edge := fleet.Clusters["edge"]
	clients, err := kubernetes.NewForConfig(edge.Config())
	if err != nil {
		t.Fatal(err)
	}
	pods := clients.CoreV1().Pods("default")
	if err := do(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	c := &realCluster{ControlPlane: edge, t: t}
	c.eventually(t, "the pod runs and is heard", func(ctx context.Context) error {
		pod, err := pods.Get(ctx, "hello", metav1.GetOptions{})
		if err != nil {
			return err
		}
		log, err := pods.GetLogs("hello", &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil || pod.Status.Phase != corev1.PodRunning || string(log) != "hello from the edge\n" {
			return fmt.Errorf("it is %s and says %q (%w)", pod.Status.Phase, log, err)
		}
		return nil
	})
	return edge.URL()
}
