package controlplane_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/internal/controlplane"
)

const widgetCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
`

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: registry.example.com/web:1}]}
`

var (
	widgets     = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
)

// TestControlPlane takes one control plane with all its programs through a life: used, restarted, stopped, started again.
func TestControlPlane(t *testing.T) {
	options := controlplane.Options{
		Dir:       t.TempDir(),
		Name:      "hub",
		Workloads: true,
		Encrypt:   []string{"secrets", "widgets.example.com"},
		Progress:  func(line string) { t.Log(line) },
	}
	cp := start(t, options)

	t.Run("a Deployment becomes Available", func(t *testing.T) { deploymentBecomesAvailable(t, cp) })
	t.Run("an image of tag bad is never ready", func(t *testing.T) { badImageIsNeverReady(t, cp) })
	t.Run("a claim is bound, and its volume goes with it", func(t *testing.T) { claimIsBound(t, cp) })
	t.Run("services of type LoadBalancer have addresses", func(t *testing.T) { loadBalancersHaveAddresses(t, cp) })
	t.Run("pods that must not share a node have one each", func(t *testing.T) { podsAreApart(t, cp) })
	t.Run("a Deployment is scaled by what its pods use", func(t *testing.T) { isScaled(t, cp) })
	t.Run("the APIs of charts are answered", func(t *testing.T) { apisOfCharts(t, cp) })
	t.Run("a CSR is signed", func(t *testing.T) { csrIsSigned(t, cp) })
	t.Run("a user is what RBAC says", func(t *testing.T) { userIsWhatRBACSays(t, cp) })
	t.Run("what an API server warns about kinds is not told", func(t *testing.T) { installIsQuiet(t, cp) })
	t.Run("named resources are encrypted at rest", func(t *testing.T) { encryptedAtRest(t, cp, options.Dir) })
	t.Run("a directory has one master", func(t *testing.T) {
		if _, err := controlplane.Start(t.Context(), options); !errors.Is(err, controlplane.ErrInUse) {
			t.Errorf("second start: %v, want ErrInUse", err)
		}
	})
	t.Run("a restart of the API server keeps URL and data", func(t *testing.T) {
		if err := cp.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		get(t, cp.Config(), deployments, "web")
	})

	url, ca, admin, processes := cp.URL(), cp.CA(), cp.Config(), cp.Processes()
	if err := cp.Stop(); err != nil {
		t.Fatal(err)
	}
	if len(processes) != 5 {
		t.Errorf("ran %d processes, want 5: %v", len(processes), processes)
	}
	neverGivesUpNodes(t, processes)
	for _, p := range processes {
		if p.Alive() {
			t.Errorf("%s runs on after Stop", p.Program)
		}
	}

	options.Workloads = false
	again := start(t, options)
	if diff := cmp.Diff(url, again.URL()); diff != "" {
		t.Errorf("URL after a new start (-before +after):\n%s", diff)
	}
	if !bytes.Equal(ca, again.CA()) {
		t.Error("a new start made a new authority")
	}
	get(t, admin, widgets, "gear") // with the credentials of before, and decrypted

	opened, err := controlplane.Open(options.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(again.Processes(), opened.Processes()); diff != "" {
		t.Errorf("processes as another program sees them (-running +opened):\n%s", diff)
	}
	get(t, opened.Config(), widgets, "gear")
}

// neverGivesUpNodes: a crash that lasts longer than any kubelet may be silent must not make the Pods of a node unready for good.
func neverGivesUpNodes(t *testing.T, processes []controlplane.Process) {
	const flag = "--node-monitor-grace-period="
	for _, p := range processes {
		for _, arg := range p.Args {
			value, ok := strings.CutPrefix(arg, flag)
			if grace, err := time.ParseDuration(value); ok && err == nil && p.Program == "kube-controller-manager" && grace > 365*24*time.Hour {
				return
			}
		}
	}
	t.Errorf("no kube-controller-manager has a %s of years: %v", flag, processes)
}

func deploymentBecomesAvailable(t *testing.T, cp *controlplane.ControlPlane) {
	client := dynamicClient(t, cp.Config()).Resource(deployments).Namespace("default")
	if _, err := client.Create(t.Context(), parse(t, deployment), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		d, err := client.Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if n, _, _ := unstructured.NestedInt64(d.Object, "status", "availableReplicas"); n != 3 {
			return fmt.Errorf("%d replicas are available", n)
		}
		return nil
	})
}

// badImageIsNeverReady: a Deployment whose containers crash is not ready, and becomes so with another image.
func badImageIsNeverReady(t *testing.T, cp *controlplane.ControlPlane) {
	clients := clientset(t, cp.Config())
	client := clients.AppsV1().Deployments("default")
	crashing := parse(t, strings.NewReplacer("name: web", "name: crashes", "app: web", "app: crashes", "replicas: 3", "replicas: 1", "web:1", "web:bad").Replace(deployment))
	if _, err := dynamicClient(t, cp.Config()).Resource(deployments).Namespace("default").Create(t.Context(), crashing, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ready := func(want int32) error {
		d, err := client.Get(t.Context(), "crashes", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s := d.Status; s.ReadyReplicas != want || s.UpdatedReplicas != 1 || s.ObservedGeneration != d.Generation {
			return fmt.Errorf("want %d ready: %+v", want, s)
		}
		return nil
	}
	eventually(t, func() error {
		list, err := clients.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=crashes"})
		if err != nil {
			return err
		}
		for _, pod := range list.Items {
			for _, s := range pod.Status.ContainerStatuses {
				if s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff" {
					return ready(0)
				}
			}
		}
		return fmt.Errorf("no container of %d pods crashes", len(list.Items))
	})
	patch := []byte(`[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "registry.example.com/web:badge"}]`)
	if _, err := client.Patch(t.Context(), "crashes", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return ready(1) })
}

// claimIsBound: a claim without a class has the default one's volume, and a pod that mounts it and wants ephemeral storage runs.
func claimIsBound(t *testing.T, cp *controlplane.ControlPlane) {
	core := clientset(t, cp.Config()).CoreV1()
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}},
		},
	}
	if _, err := core.PersistentVolumeClaims("default").Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PodSpec{
		Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
		Containers: []corev1.Container{{
			Name: "db", Image: "registry.example.com/db:1", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("1Gi")}},
		}},
	}}
	if _, err := core.Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	volume := ""
	eventually(t, func() error {
		c, err := core.PersistentVolumeClaims("default").Get(t.Context(), "data", metav1.GetOptions{})
		if err != nil {
			return err
		}
		p, err := core.Pods("default").Get(t.Context(), "data", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if size := c.Status.Capacity[corev1.ResourceStorage]; c.Status.Phase != corev1.ClaimBound || size.String() != "5Gi" || p.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("the claim is %s with %s, the pod %s", c.Status.Phase, size.String(), p.Status.Phase)
		}
		volume = c.Spec.VolumeName
		return nil
	})
	if err := core.Pods("default").Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := core.PersistentVolumeClaims("default").Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		v, err := core.PersistentVolumes().Get(t.Context(), volume, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the volume is %s (%w)", v.Status.Phase, err)
	})
}

func loadBalancersHaveAddresses(t *testing.T, cp *controlplane.ControlPlane) {
	services := clientset(t, cp.Config()).CoreV1().Services("default")
	for _, name := range []string{"shop", "ingress"} {
		if _, err := services.Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 443}}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		addresses := map[string]bool{}
		for _, name := range []string{"shop", "ingress"} {
			s, err := services.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, ingress := range s.Status.LoadBalancer.Ingress {
				addresses[ingress.IP] = net.ParseIP(ingress.IP) != nil && ingress.IP != s.Spec.ClusterIP
			}
		}
		if len(addresses) != 2 || slices.Contains(slices.Collect(maps.Values(addresses)), false) {
			return fmt.Errorf("two services have the addresses %v", addresses)
		}
		return nil
	})
}

// podsAreApart: two pods that want one port of their node are on two nodes.
func podsAreApart(t *testing.T, cp *controlplane.ControlPlane) {
	pods := clientset(t, cp.Config()).CoreV1().Pods("default")
	for _, name := range []string{"first", "second"} {
		if _, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "proxy", Image: "registry.example.com/proxy:1", Ports: []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}}},
		}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		nodes := map[string]bool{}
		for _, name := range []string{"first", "second"} {
			p, err := pods.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if p.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("pod %s is %s: %+v", name, p.Status.Phase, p.Status.Conditions)
			}
			nodes[p.Spec.NodeName] = true
		}
		if len(nodes) != 2 {
			return fmt.Errorf("both are on %v", nodes)
		}
		return nil
	})
}

// isScaled: two containers' worth of a request in use with a target of a half makes four pods, and top has the numbers.
func isScaled(t *testing.T, cp *controlplane.ControlPlane) {
	busy := parse(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}, annotations: {kwok.x-k8s.io/usage-cpu: 200m, kwok.x-k8s.io/usage-memory: 64Mi}}
    spec: {containers: [{name: busy, image: "registry.example.com/busy:1", resources: {requests: {cpu: 100m}}}]}
`)
	scaler := parse(t, `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  maxReplicas: 4
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
`)
	client := dynamicClient(t, cp.Config())
	if _, err := client.Resource(deployments).Namespace("default").Create(t.Context(), busy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	scalers := schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	if _, err := client.Resource(scalers).Namespace("default").Create(t.Context(), scaler, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		d, err := client.Resource(deployments).Namespace("default").Get(t.Context(), "busy", metav1.GetOptions{})
		if err != nil {
			return err
		}
		pods, err := client.Resource(podMetrics).Namespace("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=busy"})
		if err != nil {
			return err
		}
		if n, _, _ := unstructured.NestedInt64(d.Object, "status", "readyReplicas"); n != 4 || len(pods.Items) != 4 {
			return fmt.Errorf("%d replicas, metrics of %d pods", n, len(pods.Items))
		}
		return nil
	})
	topHasNumbers(t, client)
}

var (
	podMetrics  = schema.GroupVersionResource{Group: "metrics.k8s.io", Version: "v1beta1", Resource: "pods"}
	nodeMetrics = podMetrics.GroupVersion().WithResource("nodes")
	apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
)

// topHasNumbers asks what `kubectl top` asks: each pod of the Deployment has what its annotations say, and both nodes have a sum.
func topHasNumbers(t *testing.T, client dynamic.Interface) {
	t.Helper()
	var pods *unstructured.UnstructuredList
	eventually(t, func() (err error) { // the API server has just learned whom to ask
		pods, err = client.Resource(podMetrics).List(t.Context(), metav1.ListOptions{LabelSelector: "app=busy"})
		return err
	})
	if len(pods.Items) != 4 {
		t.Errorf("metrics of %d pods, want 4", len(pods.Items))
	}
	for _, listed := range pods.Items {
		pod, err := client.Resource(podMetrics).Namespace("default").Get(t.Context(), listed.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		containers, _, _ := unstructured.NestedSlice(pod.Object, "containers")
		if diff := cmp.Diff([]any{map[string]any{"name": "busy", "usage": map[string]any{"cpu": "200m", "memory": "64Mi"}}}, containers); diff != "" {
			t.Errorf("metrics of pod %s (-want +got):\n%s", pod.GetName(), diff)
		}
	}
	nodes, err := client.Resource(nodeMetrics).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cpu := resource.Quantity{}
	for _, node := range nodes.Items {
		text, _, _ := unstructured.NestedString(node.Object, "usage", "cpu")
		cpu.Add(resource.MustParse(text))
	}
	if len(nodes.Items) != 2 || cpu.Cmp(resource.MustParse("800m")) < 0 {
		t.Errorf("%d nodes use %s, want two that use 800m and what other pods do", len(nodes.Items), cpu.String())
	}
	if _, err := client.Resource(podMetrics).Namespace("default").Get(t.Context(), "nobody", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("metrics of a pod that is not there: %v, want NotFound", err)
	}
}

// apisOfCharts: an APIService that a chart brings is available when its pods are, whether the chart has a certificate or
// not, and keeps nobody from learning the kinds of the API server. One in place of the metrics API has its numbers.
func apisOfCharts(t *testing.T, cp *controlplane.ControlPlane) {
	client, clients := dynamicClient(t, cp.Config()), clientset(t, cp.Config())
	pem, key, err := cert.GenerateSelfSignedCertKey("signed.charts.svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clients.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "charts"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "serving"}, Data: map[string][]byte{"tls.crt": pem, "tls.key": key}}
	if _, err := clients.CoreV1().Secrets("charts").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	apis := map[string]string{ // by their service
		"signed":         "{group: signed.example.com, version: v1, caBundle: " + base64.StdEncoding.EncodeToString(pem) + ", ",
		"metrics-server": "{group: metrics.k8s.io, version: v1beta1, insecureSkipTLSVerify: true, ",
	}
	for name, spec := range apis {
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "charts"}, Ports: []corev1.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromInt32(8443)}}},
		}
		if _, err := clients.CoreV1().Services("charts").Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		object := parse(t, "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, spec: "+spec+
			"groupPriorityMinimum: 100, versionPriority: 100, service: {namespace: charts, name: "+name+", port: 443}}}")
		group, _, _ := unstructured.NestedString(object.Object, "spec", "group")
		version, _, _ := unstructured.NestedString(object.Object, "spec", "version")
		object.SetName(version + "." + group)
		if _, err := client.Resource(apiServices).Apply(t.Context(), object.GetName(), object, metav1.ApplyOptions{FieldManager: "chart", Force: true}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return apiIs(t, client, object.GetName(), "False") }) // no pod is ready
	}
	pods := parse(t, strings.NewReplacer("name: web", "name: charts", "app: web", "app: charts", "namespace: default", "namespace: charts", "replicas: 3", "replicas: 1").Replace(deployment))
	if _, err := client.Resource(deployments).Namespace("charts").Create(t.Context(), pods, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"v1.signed.example.com", "v1beta1.metrics.k8s.io"} {
		eventually(t, func() error { return apiIs(t, client, name, "True") })
	}
	eventually(t, func() error { // all of it, with no group that failed
		_, _, err := clients.Discovery().ServerGroupsAndResources()
		return err
	})
	topHasNumbers(t, client)

	// The metrics API comes back when the chart goes, and no namespace waits for an API that is not there.
	for _, name := range []string{"v1.signed.example.com", "v1beta1.metrics.k8s.io"} {
		if err := client.Resource(apiServices).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := clients.CoreV1().Namespaces().Delete(t.Context(), "charts", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if _, err := clients.CoreV1().Namespaces().Get(t.Context(), "charts", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("namespace charts is there (%w)", err)
		}
		return apiIs(t, client, "v1beta1.metrics.k8s.io", "True")
	})
	topHasNumbers(t, client)
}

// apiIs says when an APIService has another condition.
func apiIs(t *testing.T, client dynamic.Interface, name, status string) error {
	service, err := client.Resource(apiServices).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	conditions, _, _ := unstructured.NestedSlice(service.Object, "status", "conditions")
	for _, c := range conditions {
		if c, _ := c.(map[string]any); c["type"] == "Available" && c["status"] == status {
			return nil
		}
	}
	return fmt.Errorf("APIService %s has %v, want Available %s", name, conditions, status)
}

func csrIsSigned(t *testing.T, cp *controlplane.ControlPlane) {
	client := clientset(t, cp.Config()).CertificatesV1().CertificateSigningRequests()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "agent", Organization: []string{"agents"}}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := client.Create(t.Context(), &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certificatesv1.KubeAPIServerClientSignerName,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test",
	}}
	if _, err := client.UpdateApproval(t.Context(), "agent", csr, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		csr, err := client.Get(t.Context(), "agent", metav1.GetOptions{})
		if err == nil && len(csr.Status.Certificate) == 0 {
			err = errors.New("no certificate")
		}
		if err != nil {
			return err
		}
		keyDER, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return err
		}
		agent := cp.Config()
		agent.CertData = csr.Status.Certificate
		agent.KeyData = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
		_, err = clientset(t, agent).Discovery().ServerVersion()
		return err // the API server knows the certificate's authority
	})
}

func userIsWhatRBACSays(t *testing.T, cp *controlplane.ControlPlane) {
	user := func(valid time.Duration, groups ...string) error {
		cfg, err := cp.UserFor(valid, "jane", groups...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = clientset(t, cfg).CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
		return err
	}
	if err := user(time.Hour); !apierrors.IsForbidden(err) {
		t.Errorf("a user without a role: %v, want Forbidden", err)
	}
	if err := user(time.Hour, "system:masters"); err != nil {
		t.Errorf("a user in system:masters: %v", err)
	}
	if err := user(-time.Hour, "system:masters"); !apierrors.IsUnauthorized(err) {
		t.Errorf("a user whose certificate has expired: %v, want Unauthorized", err)
	}
}

// installIsQuiet installs a kind with a version that is deprecated, as some of OCM's are.
func installIsQuiet(t *testing.T, cp *controlplane.ControlPlane) {
	var told recorder
	rest.SetDefaultWarningHandler(&told)
	defer rest.SetDefaultWarningHandler(rest.WarningLogger{})
	deprecated := strings.NewReplacer("widget", "relic", "Widget", "Relic").Replace(widgetCRD) + `
  - name: v1beta1
    served: true
    storage: false
    deprecated: true
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
`
	if err := controlplane.Install(t.Context(), cp.Config(), []byte(deprecated)); err != nil {
		t.Fatal(err)
	}
	if len(told.texts) > 0 {
		t.Errorf("it is told that %v", told.texts)
	}
}

// recorder of the warnings of an API server.
type recorder struct{ texts []string }

func (r *recorder) HandleWarningHeader(_ int, _, text string) { r.texts = append(r.texts, text) }

func encryptedAtRest(t *testing.T, cp *controlplane.ControlPlane, dir string) {
	if err := controlplane.Install(t.Context(), cp.Config(), []byte(widgetCRD)); err != nil {
		t.Fatal(err)
	}
	core := clientset(t, cp.Config()).CoreV1()
	meta := metav1.ObjectMeta{Name: "gear"}
	_, err := core.Secrets("default").Create(t.Context(),
		&corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"x": "marker-of-secret"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = core.ConfigMaps("default").Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"x": "marker-of-configmap"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	widget := parse(t, "{apiVersion: example.com/v1, kind: Widget, metadata: {name: gear}, x: marker-of-widget}")
	_, err = dynamicClient(t, cp.Config()).Resource(widgets).Namespace("default").Create(t.Context(), widget, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, kind := range []string{"secret", "configmap", "widget"} {
		got[kind] = written(t, filepath.Join(dir, "etcd"), "marker-of-"+kind)
	}
	want := map[string]bool{"secret": false, "configmap": true, "widget": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("readable in etcd's files (-want +got):\n%s", diff)
	}
}

// written says whether any file below dir has the text.
func written(t *testing.T, dir, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || bytes.Contains(data, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestSharedEtcd: control planes in one etcd are apart, and one whose API server dies says how it ended.
func TestSharedEtcd(t *testing.T) {
	etcd, err := controlplane.StartEtcd(t.Context(), controlplane.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, etcd.Stop()) })
	one := start(t, controlplane.Options{Name: "one", Etcd: etcd, Ephemeral: true})
	two := start(t, controlplane.Options{Name: "two", Etcd: etcd, Ephemeral: true})

	meta := metav1.ObjectMeta{Name: "only-in-one"}
	_, err = clientset(t, one.Config()).CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: meta}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = clientset(t, two.Config()).CoreV1().ConfigMaps("default").Get(t.Context(), meta.Name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("an object of another control plane: %v, want NotFound", err)
	}
	kubeconfig, err := clientcmd.BuildConfigFromFlags("", one.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clientset(t, kubeconfig).Discovery().ServerVersion(); err != nil {
		t.Errorf("with the kubeconfig: %v", err)
	}

	died := make(chan error, 1)
	go func() { died <- one.Wait(t.Context()) }()
	if err := syscall.Kill(one.Processes()[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var failure *controlplane.ProgramError
	if err := <-died; !errors.As(err, &failure) {
		t.Fatalf("Wait after the API server was killed: %v, want a ProgramError", err)
	}
	if failure.Program != "kube-apiserver" || !strings.Contains(failure.Error(), "signal: killed") || failure.Tail == "" {
		t.Errorf("Wait after the API server was killed:\n%v", failure)
	}
}

// TestDetached: a start of what runs already takes all of it over, a start with more adds to it, and Stop ends the lot.
func TestDetached(t *testing.T) {
	options := controlplane.Options{Dir: t.TempDir(), Name: "hub", Controllers: true, Detached: true, Encrypt: []string{"secrets"}}
	t.Cleanup(func() { check(t, controlplane.Stop(options.Dir)) })
	first, err := controlplane.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	options.Workloads = true
	second, err := controlplane.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	processes := second.Processes()
	if len(processes) != 5 {
		t.Fatalf("runs %v, want five programs", processes)
	}
	if diff := cmp.Diff(first.Processes(), processes[:3]); diff != "" {
		t.Errorf("processes after a second start (-before +after):\n%s", diff)
	}
	if err := controlplane.Stop(options.Dir); err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if p.Alive() {
			t.Errorf("%s runs on after Stop", p.Program)
		}
	}
}

// TestPortTaken: a control plane does not move away from the port that its clients know.
func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = controlplane.Start(t.Context(), controlplane.Options{Name: "hub", Port: port, Ephemeral: true})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("start at a port that is taken: %v, want EADDRINUSE", err)
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("port %d", port)) {
		t.Errorf("the error does not name the port: %v", err)
	}
}

// TestEtcdPortTaken: a port that only the control plane's own programs know is another one then.
func TestEtcdPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	state := fmt.Sprintf(`{"etcdPort": %d}`, l.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	etcd, err := controlplane.StartEtcd(t.Context(), controlplane.Options{Dir: dir, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	check(t, etcd.Stop())
}

func start(t *testing.T, o controlplane.Options) *controlplane.ControlPlane {
	t.Helper()
	begin := time.Now()
	cp, err := controlplane.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s started in %s", cp.Name(), time.Since(begin).Round(time.Millisecond))
	t.Cleanup(func() { check(t, cp.Stop()) })
	return cp
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, cfg *rest.Config, resource schema.GroupVersionResource, name string) {
	t.Helper()
	eventually(t, func() error {
		_, err := dynamicClient(t, cfg).Resource(resource).Namespace("default").Get(t.Context(), name, metav1.GetOptions{})
		return err
	})
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(3 * time.Minute) // a loaded machine takes its time
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-timeout:
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		t.Fatal(err)
	}
	return object
}

func clientset(t *testing.T, cfg *rest.Config) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func dynamicClient(t *testing.T, cfg *rest.Config) dynamic.Interface {
	t.Helper()
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}
