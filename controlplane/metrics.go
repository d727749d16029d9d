package main

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

const (
	metricsWindow   = 10 * time.Second // of a sample; an autoscaler believes one that begins when the pod was ready
	metricsPath     = "/apis/metrics.k8s.io/v1beta1"
	metricsInterval = 10 * time.Second // between two looks whether the API is registered

	// Annotations of pods by which KWOK's configurations say what each container of a pod uses.
	usageCPU, usageMemory = "kwok.x-k8s.io/usage-cpu", "kwok.x-k8s.io/usage-memory"
)

//go:embed stages/metrics.yaml
var metricsObjects string

// register registers the metrics API, and again when what somebody has registered in its place is gone: the chart of a metrics server, whose
// APIService is answered as this one is.
func register(ctx context.Context, api rest.Interface) error {
	service, apiService, _ := strings.Cut(metricsObjects, "\n---\n")
	attempt := func(ctx context.Context) error {
		for _, object := range []struct{ path, text string }{
			{"/api/v1/namespaces/kube-system/services", service}, {"/apis/apiregistration.k8s.io/v1/apiservices", apiService},
		} {
			err := api.Post().AbsPath(object.path).SetHeader("Content-Type", "application/yaml").Body([]byte(object.text)).Do(ctx).Error()
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("register the metrics API: %w", err)
			}
		}
		return nil
	}
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) { // the API server may have just begun
		err := attempt(ctx)
		if err != nil {
			complain(err)
		}
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	go wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := attempt(ctx); err != nil && ctx.Err() == nil {
			complain(err)
		}
	}, metricsInterval)
	return nil
}

// metrics answers what pods and nodes use, for autoscalers and `kubectl top`: KWOK has numbers for a metrics server to scrape, and no server.
type metrics struct {
	pods  corelisters.PodLister
	nodes corelisters.NodeLister
}

func (m metrics) handle(mux *http.ServeMux) {
	mux.HandleFunc("GET "+metricsPath, func(w http.ResponseWriter, _ *http.Request) {
		verbs := metav1.Verbs{"get", "list"}
		answerKinds(w, v1beta1.SchemeGroupVersion.String(),
			metav1.APIResource{Name: "nodes", SingularName: "node", Kind: "NodeMetrics", Verbs: verbs},
			metav1.APIResource{Name: "pods", SingularName: "pod", Kind: "PodMetrics", Namespaced: true, Verbs: verbs})
	})
	mux.HandleFunc("GET "+metricsPath+"/nodes", m.answerNodes)
	mux.HandleFunc("GET "+metricsPath+"/nodes/{name}", m.answerNodes)
	mux.HandleFunc("GET "+metricsPath+"/pods", m.answerPods)
	mux.HandleFunc("GET "+metricsPath+"/namespaces/{namespace}/pods", m.answerPods)
	mux.HandleFunc("GET "+metricsPath+"/namespaces/{namespace}/pods/{name}", m.answerPods)
}

func (m metrics) answerPods(w http.ResponseWriter, r *http.Request) {
	items := []v1beta1.PodMetrics{}
	for _, pod := range m.running() {
		if !asked(r, &pod.ObjectMeta) {
			continue
		}
		item := v1beta1.PodMetrics{TypeMeta: typeMeta("PodMetrics"), ObjectMeta: sampleOf(&pod.ObjectMeta), Timestamp: metav1.Now(), Window: metav1.Duration{Duration: metricsWindow}}
		for _, c := range pod.Spec.Containers {
			item.Containers = append(item.Containers, v1beta1.ContainerMetrics{Name: c.Name, Usage: usage(pod)})
		}
		items = append(items, item)
	}
	answerSamples(w, r, items, v1beta1.PodMetricsList{TypeMeta: typeMeta("PodMetricsList"), Items: items})
}

// answerNodes answers for each node the sum of what its pods use.
func (m metrics) answerNodes(w http.ResponseWriter, r *http.Request) {
	used := map[string]corev1.ResourceList{}
	for _, pod := range m.running() {
		for range pod.Spec.Containers {
			used[pod.Spec.NodeName] = sum(used[pod.Spec.NodeName], usage(pod))
		}
	}
	nodes, err := m.nodes.List(labels.Everything())
	if err != nil {
		complain(err)
	}
	items := []v1beta1.NodeMetrics{}
	for _, node := range nodes {
		if asked(r, &node.ObjectMeta) {
			items = append(items, v1beta1.NodeMetrics{
				TypeMeta: typeMeta("NodeMetrics"), ObjectMeta: sampleOf(&node.ObjectMeta), Timestamp: metav1.Now(), Window: metav1.Duration{Duration: metricsWindow},
				Usage: sum(used[node.Name], nil),
			})
		}
	}
	answerSamples(w, r, items, v1beta1.NodeMetricsList{TypeMeta: typeMeta("NodeMetricsList"), Items: items})
}

// answerSamples answers the one that the path names, or the list.
func answerSamples[T any](w http.ResponseWriter, r *http.Request, items []T, list any) {
	name := r.PathValue("name")
	switch {
	case name == "":
		answer(w, list)
	case len(items) > 0:
		answer(w, items[0])
	default:
		http.Error(w, "no metrics of "+name, http.StatusNotFound)
	}
}

// asked says whether a request is about an object: by its path, or by the selectors of a list.
func asked(r *http.Request, object *metav1.ObjectMeta) bool {
	namespace, name := r.PathValue("namespace"), r.PathValue("name")
	if namespace != "" && object.Namespace != namespace || name != "" && object.Name != name {
		return false
	}
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	return err == nil && selector.Matches(labels.Set(object.Labels))
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1beta1.SchemeGroupVersion.String(), Kind: kind}
}

func sampleOf(object *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: object.Namespace, Name: object.Name, Labels: object.Labels, CreationTimestamp: metav1.Now()}
}

func (m metrics) running() []*corev1.Pod {
	pods, err := m.pods.List(labels.Everything())
	if err != nil {
		complain(err)
	}
	return slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil })
}

// usage is what each container of a pod uses: what KWOK's annotations say, else as little as KWOK takes.
func usage(pod *corev1.Pod) corev1.ResourceList {
	amount := func(annotation, otherwise string) resource.Quantity {
		if q, err := resource.ParseQuantity(pod.Annotations[annotation]); err == nil {
			return q
		}
		return resource.MustParse(otherwise)
	}
	return corev1.ResourceList{corev1.ResourceCPU: amount(usageCPU, "1m"), corev1.ResourceMemory: amount(usageMemory, "1Mi")}
}

func sum(one, other corev1.ResourceList) corev1.ResourceList {
	total := corev1.ResourceList{}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		q := one[name].DeepCopy()
		q.Add(other[name])
		total[name] = q
	}
	return total
}
