package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	metricsInterval = 5 * time.Second
	metricsWindow   = 10 * time.Second // of a sample; an autoscaler believes one that begins when the pod was ready
	metricsAge      = 10 * time.Minute // of a sample that does not change, at most
	metricsManager  = "muster-metrics"

	// Annotations of pods by which KWOK's configurations say what each container of a pod uses.
	usageCPU, usageMemory = "kwok.x-k8s.io/usage-cpu", "kwok.x-k8s.io/usage-memory"
)

// metricsKinds are the kinds of the metrics API as CustomResourceDefinitions: KWOK has numbers for a metrics server to scrape, and
// no server. Clients find pods and nodes of metrics.k8s.io where metrics-server would serve them.
//
//go:embed stages/metrics.yaml
var metricsKinds []byte

var (
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	podMetrics  = schema.GroupVersionResource{Group: "metrics.k8s.io", Version: "v1beta1", Resource: "pods"}
	nodeMetrics = schema.GroupVersionResource{Group: "metrics.k8s.io", Version: "v1beta1", Resource: "nodes"}
)

// metrics writes what pods and nodes use, for autoscalers and `kubectl top`.
type metrics struct {
	objects dynamic.Interface
	pods    corelisters.PodLister
	samples map[types.UID]sample
	nodes   map[string]string // what was written last
}

// sample is what was written last about a pod.
type sample struct {
	cpu, memory string
	at          time.Time
	settled     bool // it was written when the pod had been ready for a window
}

// runMetrics runs until ctx ends. It tries again whatever fails: the API server may be down for a while.
func runMetrics(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	m := &metrics{samples: map[types.UID]sample{}, nodes: map[string]string{}}
	if m.objects, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(clients, 0)
	m.pods = factory.Core().V1().Pods().Lister()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	served := false
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		err := error(nil)
		if !served {
			err = m.serve(ctx)
			served = err == nil
		} else {
			err = m.write(ctx)
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "metrics: %v\n", err)
		}
	}, metricsInterval)
	return nil
}

// serve defines the kinds.
func (m *metrics) serve(ctx context.Context) error {
	for _, document := range bytes.Split(metricsKinds, []byte("\n---\n")) {
		var definition unstructured.Unstructured
		if err := yaml.Unmarshal(document, &definition.Object); err != nil {
			return err
		}
		_, err := m.objects.Resource(definitions).Apply(ctx, definition.GetName(), &definition, metav1.ApplyOptions{FieldManager: metricsManager, Force: true})
		if err != nil {
			return fmt.Errorf("define %s: %w", definition.GetName(), err)
		}
	}
	return nil
}

// write writes the samples that are new, have changed or are old, and for each node the sum of its pods'.
func (m *metrics) write(ctx context.Context) error {
	pods, err := m.pods.List(labels.Everything())
	if err != nil {
		return err
	}
	now, here := time.Now(), map[types.UID]bool{}
	var errs []error
	used := map[string]corev1.ResourceList{}
	for node := range m.nodes {
		used[node] = nil // unless a pod of it follows
	}
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
			continue
		}
		here[pod.UID] = true
		cpu, memory := usage(pod)
		n := int64(len(pod.Spec.Containers))
		used[pod.Spec.NodeName] = add(used[pod.Spec.NodeName], cpu, memory, n)
		next := sample{cpu: cpu.String(), memory: memory.String(), at: now, settled: pod.Status.StartTime != nil && now.Sub(pod.Status.StartTime.Time) > metricsWindow+metricsInterval}
		last, written := m.samples[pod.UID]
		if written && last.cpu == next.cpu && last.memory == next.memory && last.settled == next.settled && now.Sub(last.at) < metricsAge {
			continue
		}
		if err := m.writePod(ctx, pod, next); err != nil {
			errs = append(errs, err) // the others have theirs
			continue
		}
		m.samples[pod.UID] = next
	}
	maps.DeleteFunc(m.samples, func(uid types.UID, _ sample) bool { return !here[uid] }) // the garbage collector takes its object
	return errors.Join(append(errs, m.writeNodes(ctx, used, now))...)
}

// usage is what each container of a pod uses: what KWOK's annotations say, else as little as KWOK takes.
func usage(pod *corev1.Pod) (cpu, memory resource.Quantity) {
	amount := func(annotation, otherwise string) resource.Quantity {
		if q, err := resource.ParseQuantity(pod.Annotations[annotation]); err == nil {
			return q
		}
		return resource.MustParse(otherwise)
	}
	return amount(usageCPU, "1m"), amount(usageMemory, "1Mi")
}

func add(sum corev1.ResourceList, cpu, memory resource.Quantity, containers int64) corev1.ResourceList {
	if sum == nil {
		sum = corev1.ResourceList{}
	}
	for name, q := range map[corev1.ResourceName]resource.Quantity{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
		total := sum[name]
		for range containers {
			total.Add(q)
		}
		sum[name] = total
	}
	return sum
}

func (m *metrics) writePod(ctx context.Context, pod *corev1.Pod, s sample) error {
	var containers []any
	for _, c := range pod.Spec.Containers {
		containers = append(containers, map[string]any{"name": c.Name, "usage": map[string]any{"cpu": s.cpu, "memory": s.memory}})
	}
	object := metricsObject("PodMetrics", pod.Name, s.at)
	object.SetNamespace(pod.Namespace)
	object.SetLabels(pod.Labels) // autoscalers select by them
	object.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}})
	object.Object["containers"] = containers
	_, err := m.objects.Resource(podMetrics).Namespace(pod.Namespace).Apply(ctx, pod.Name, object, metav1.ApplyOptions{FieldManager: metricsManager, Force: true})
	if err != nil {
		return fmt.Errorf("write what pod %s/%s uses: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

func (m *metrics) writeNodes(ctx context.Context, used map[string]corev1.ResourceList, now time.Time) error {
	for node, sum := range used {
		cpu, memory := sum[corev1.ResourceCPU], sum[corev1.ResourceMemory]
		if text := cpu.String() + " " + memory.String(); node == "" || m.nodes[node] == text {
			continue
		}
		object := metricsObject("NodeMetrics", node, now)
		object.Object["usage"] = map[string]any{"cpu": cpu.String(), "memory": memory.String()}
		if _, err := m.objects.Resource(nodeMetrics).Apply(ctx, node, object, metav1.ApplyOptions{FieldManager: metricsManager, Force: true}); err != nil {
			return fmt.Errorf("write what node %s uses: %w", node, err)
		}
		m.nodes[node] = cpu.String() + " " + memory.String()
	}
	return nil
}

func metricsObject(kind, name string, at time.Time) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "metrics.k8s.io/v1beta1", "kind": kind, "metadata": map[string]any{"name": name},
		"timestamp": at.UTC().Format(time.RFC3339), "window": metricsWindow.String(),
	}}
}
