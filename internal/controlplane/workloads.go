package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

const (
	fieldManager = "muster-controlplane"
	nodeName     = "node-1" // of a real node; the first of KWOK's

	// nodeGrace is how long the node may be silent before its Pods are set to not Ready: ten years, so that it never happens. A node of
	// KWOK is silent only while KWOK does not run, after a crash or when the machine was off. A kubelet would then set the Pods to
	// Ready again, but no stage of KWOK does.
	nodeGrace = 10 * 365 * 24 * time.Hour
)

// startControllers starts kube-controller-manager with all controllers but the one that wants cloud or pod networks. It
// is ready when namespace default has its service account.
func (c *ControlPlane) startControllers(ctx context.Context) error {
	kubeconfig, err := c.component(controllerManagerProgram)
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c.Config())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	tokens, err := readPair(c.site.in("pki"), "service-account")
	if err != nil {
		return err
	}
	grace := nodeGrace.String()
	if c.site.Node != nil {
		grace = "40s"
	}
	arguments := []string{
		"--kubeconfig=" + kubeconfig,
		"--controllers=*,-node-ipam-controller",
		"--leader-elect=false",
		"--node-monitor-grace-period=" + grace,
		"--secure-port=0",
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		"--service-account-private-key-file=" + tokens.keyFile,
		"--root-ca-file=" + c.serverCA.certFile,
		"--cluster-signing-cert-file=" + c.clientCA.certFile,
		"--cluster-signing-key-file=" + c.clientCA.keyFile,
		"--profiling=false",
	}
	if life := c.site.CertificateLife; life > 0 {
		arguments = append(arguments, "--cluster-signing-duration="+life.String())
	}
	return c.site.run(ctx, controllerManagerProgram, arguments, func(ctx context.Context) error {
		return get(ctx, client, c.URL()+"/api/v1/namespaces/default/serviceaccounts/default")
	})
}

// startWorkloads starts the scheduler, then a real node, or a Node with KWOK in place of its kubelet. It returns when the Node is ready.
func (c *ControlPlane) startWorkloads(ctx context.Context) error {
	scheduler, err := c.component(schedulerProgram)
	if err != nil {
		return err
	}
	if err := c.site.run(ctx, schedulerProgram, []string{
		"--kubeconfig=" + scheduler,
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		"--profiling=false",
	}, func(context.Context) error { return nil }); err != nil { // the scheduler has no endpoint for readiness; Pods wait until it runs
		return err
	}
	if c.site.Node != nil {
		return c.startRealNode(ctx)
	}
	kwok, err := c.component(kwokProgram)
	if err != nil {
		return err
	}
	clients, err := dynamic.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	nodes := clients.Resource(nodeResource)
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	for _, node := range fakeNodes() {
		if _, err := nodes.Apply(ctx, node.GetName(), node, options); err != nil {
			return fmt.Errorf("apply node %s: %w", node.GetName(), err)
		}
		if _, err := nodes.ApplyStatus(ctx, node.GetName(), node, options); err != nil {
			return fmt.Errorf("apply the status of node %s: %w", node.GetName(), err)
		}
	}
	classes := clients.Resource(schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"})
	if _, err := classes.Apply(ctx, storageClass, standardClass(), options); err != nil {
		return fmt.Errorf("apply storage class %s: %w", storageClass, err)
	}
	path, err := c.site.Assets.path(kwokProgram)
	if err != nil {
		return err
	}
	return c.site.execute(ctx, execution{program: kwokProgram, path: path, args: []string{
		"--kubeconfig=" + kwok,
		"--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
		"--node-lease-duration-seconds=40",
	}, env: []string{"CONTROLPLANE_SERVICES_SOCKET=" + servicesSocket}}, func(ctx context.Context) error {
		errs := []error{metricsAvailable(ctx, clients)}
		for _, fake := range fakeNodes() {
			node, err := nodes.Get(ctx, fake.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			errs = append(errs, schedulable(node))
		}
		return errors.Join(errs...)
	})
}

// metricsAvailable is nil when the metrics API is served, where it is registered. Until then, clients would not learn all kinds of the API server.
func metricsAvailable(ctx context.Context, clients dynamic.Interface) error {
	services := clients.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	metrics, err := services.Get(ctx, "v1beta1.metrics.k8s.io", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil && !hasCondition(metrics, "Available") {
		err = errors.New("the metrics API is not available")
	}
	return err
}

// storageClass is the default one. The stages of KWOK in the control plane's program know its name.
const storageClass = "standard"

func standardClass() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "storage.k8s.io/v1",
		"kind":       "StorageClass",
		"metadata": map[string]any{
			"name": storageClass, "annotations": map[string]any{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		"provisioner": "muster.dev/volume", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate", "allowVolumeExpansion": false,
	}}
}

var nodeResource = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

// fakeNodes are two, in two zones, so that pods that must not share a node have one each. They offer what a large node of a cloud does.
func fakeNodes() []*unstructured.Unstructured {
	var nodes []*unstructured.Unstructured
	for i, zone := range []string{"a", "b"} {
		name := fmt.Sprintf("node-%d", i+1)
		offer := map[string]any{"cpu": "64", "memory": "256Gi", "ephemeral-storage": "500Gi", "pods": "1000", "hugepages-1Gi": "0", "hugepages-2Mi": "0"}
		nodes = append(nodes, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1",
			"kind":       "Node",
			"metadata": map[string]any{
				"name":        name,
				"annotations": map[string]any{"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
				"labels": map[string]any{
					"kubernetes.io/hostname":        name,
					"kubernetes.io/os":              "linux",
					"kubernetes.io/arch":            "amd64",
					"node-role.kubernetes.io/agent": "",
					"topology.kubernetes.io/region": "local",
					"topology.kubernetes.io/zone":   "local-" + zone,
				},
			},
			"status": map[string]any{"capacity": offer, "allocatable": offer},
		}})
	}
	return nodes
}

// schedulable is nil when the node is Ready and has no taints.
func schedulable(node *unstructured.Unstructured) error {
	if !hasCondition(node, "Ready") {
		return fmt.Errorf("node %s is not Ready", node.GetName())
	}
	if taints, _, _ := unstructured.NestedSlice(node.Object, "spec", "taints"); len(taints) > 0 {
		return fmt.Errorf("node %s is tainted: %v", node.GetName(), taints)
	}
	return nil
}

// hasCondition says whether the object's condition of that type is True.
func hasCondition(object *unstructured.Unstructured, kind string) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == kind {
			return m["status"] == "True"
		}
	}
	return false
}

// component is the path of a kubeconfig for one of the control plane's programs, under a user name of its own.
func (c *ControlPlane) component(program string) (string, error) {
	p, err := stored(c.site.in("pki"), program, func() ([]byte, []byte, error) {
		return c.clientCA.issue(client(lifetime, "system:"+program, "system:masters"))
	})
	if err != nil {
		return "", err
	}
	kubeconfig, err := Kubeconfig(c.site.Name, c.config(p))
	if err != nil {
		return "", err
	}
	path := c.site.in("pki", program+".kubeconfig")
	return path, writeFile(path, kubeconfig)
}
