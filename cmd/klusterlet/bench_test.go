package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/test"
)

// BenchmarkIdle is what an agent costs that has nothing to do, with 100 works of 10 objects: memory, CPU, and requests in an hour to
// hub and cluster, which are two API servers. It looks for a minute.
func BenchmarkIdle(b *testing.B) {
	const works, objects, window = 100, 10, time.Minute
	program := filepath.Join(b.TempDir(), "klusterlet")
	if out, err := exec.Command("go", "build", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	hub, cluster := test.Hub(b), test.Clusters(b, 1)[0]
	dir := b.TempDir()
	for name, cp := range map[string]interface{ Kubeconfig() ([]byte, error) }{"hub": hub, "cluster": cluster} {
		kubeconfig, err := cp.Kubeconfig()
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), kubeconfig, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	scheme := runtime.NewScheme()
	if err := workv1.AddToScheme(scheme); err != nil {
		b.Fatal(err)
	}
	c, err := client.New(hub.Config(), client.Options{Scheme: scheme})
	if err != nil {
		b.Fatal(err)
	}
	namespace, target := test.Namespace(b, hub), test.Namespace(b, cluster)
	for i := range works {
		if err := c.Create(b.Context(), idleWork(namespace, target, i, objects)); err != nil {
			b.Fatal(err)
		}
	}
	address := freeAddress(b)
	agent := exec.Command(program, "--roles=work", "--spoke-kubeconfig="+filepath.Join(dir, "cluster"), "--hub-kubeconfig="+filepath.Join(dir, "hub"),
		"--spoke-cluster-name="+namespace, "--namespace="+target, "--metrics-address="+address)
	agent.Stderr = io.Discard
	if err := agent.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = agent.Process.Kill(); _ = agent.Wait() }()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		var list workv1.ManifestWorkList
		if err := c.List(b.Context(), &list, client.InNamespace(namespace)); err != nil {
			b.Fatal(err)
		}
		applied := 0
		for _, w := range list.Items {
			if meta.IsStatusConditionTrue(w.Status.Conditions, workv1.WorkApplied) {
				applied++
			}
		}
		if applied == works {
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d works are applied", applied, works)
		}
	}
	time.Sleep(15 * time.Second) // what was just applied is reported
	cpu, before := cpuOf(b, agent.Process.Pid), requestsOf(b, address)
	time.Sleep(window)
	after := requestsOf(b, address)
	perHour := float64(time.Hour / window)
	b.ReportMetric(memoryOf(b, agent.Process.Pid, "VmRSS"), "MB-RSS")
	b.ReportMetric(memoryOf(b, agent.Process.Pid, "RssAnon"), "MB-anonymous") // the rest is the program's file, which can be dropped
	b.ReportMetric((cpuOf(b, agent.Process.Pid)-cpu)/window.Seconds()*1000, "milli-cores")
	host := func(url string) string { return strings.TrimPrefix(url, "https://") }
	b.ReportMetric((after[host(hub.URL())]-before[host(hub.URL())])*perHour, "hub-requests/h")
	b.ReportMetric((after[host(cluster.URL())]-before[host(cluster.URL())])*perHour, "cluster-requests/h")
	b.ReportMetric(0, "ns/op")
}

func idleWork(namespace, target string, number, objects int) *workv1.ManifestWork {
	w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("idle-%d", number),
		Annotations: map[string]string{musterv1alpha1.DriftAnnotation: "Correct"}}}
	for i := range objects {
		raw := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c-%d-%d","namespace":%q,"labels":{%q:"0123456789"}},"data":{"k":%q}}`,
			number, i, target, musterv1alpha1.HubLabel, strings.Repeat("x", 500))
		w.Spec.Workload.Manifests = append(w.Spec.Workload.Manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: []byte(raw)}})
	}
	w.Spec.ManifestConfigs = []workv1.ManifestConfigOption{{ResourceIdentifier: workv1.ResourceIdentifier{Resource: "configmaps", Namespace: "*", Name: "*"},
		UpdateStrategy: &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeServerSideApply}}}
	return w
}

// memoryOf gives a line of a process's status, in MB.
func memoryOf(b *testing.B, pid int, line string) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	match := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(data)
	kilobytes, _ := strconv.ParseFloat(string(match[1]), 64)
	return kilobytes / 1024
}

// cpuOf gives the seconds of CPU that a process has used.
func cpuOf(b *testing.B, pid int) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100 // clock ticks in a second
}

// requestsOf gives how many requests the agent has made, by host.
func requestsOf(b *testing.B, address string) map[string]float64 {
	b.Helper()
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	counts := map[string]float64{}
	for _, match := range regexp.MustCompile(`rest_client_requests_total\{[^}]*host="([^"]+)"[^}]*\} (\S+)`).FindAllStringSubmatch(string(body), -1) {
		n, _ := strconv.ParseFloat(match[2], 64)
		counts[match[1]] += n
	}
	return counts
}
