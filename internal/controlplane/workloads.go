package controlplane

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

const (
	fieldManager = "muster-controlplane"
	nodeName     = "node-1"

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
	return c.site.run(ctx, controllerManagerProgram, []string{
		"--kubeconfig=" + kubeconfig,
		"--controllers=*,-node-ipam-controller",
		"--leader-elect=false",
		"--node-monitor-grace-period=" + nodeGrace.String(),
		"--secure-port=0",
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		"--service-account-private-key-file=" + tokens.keyFile,
		"--root-ca-file=" + c.serverCA.certFile,
		"--cluster-signing-cert-file=" + c.clientCA.certFile,
		"--cluster-signing-key-file=" + c.clientCA.keyFile,
		"--profiling=false",
	}, func(ctx context.Context) error {
		return get(ctx, client, c.URL()+"/api/v1/namespaces/default/serviceaccounts/default")
	})
}

// startWorkloads starts the scheduler, then a Node, and KWOK in place of its kubelet. It returns when the Node is ready.
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
	kwok, err := c.component(kwokProgram)
	if err != nil {
		return err
	}
	clients, err := dynamic.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	nodes := clients.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
	if _, err := nodes.Apply(ctx, nodeName, fakeNode(), metav1.ApplyOptions{FieldManager: fieldManager, Force: true}); err != nil {
		return fmt.Errorf("apply node %s: %w", nodeName, err)
	}
	return c.site.run(ctx, kwokProgram, []string{
		"--kubeconfig=" + kwok,
		"--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
		"--node-lease-duration-seconds=40",
	}, func(ctx context.Context) error {
		node, err := nodes.Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return schedulable(node)
	})
}

func fakeNode() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Node",
		"metadata": map[string]any{
			"name":        nodeName,
			"annotations": map[string]any{"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
			"labels": map[string]any{
				"kubernetes.io/hostname":        nodeName,
				"kubernetes.io/os":              "linux",
				"kubernetes.io/arch":            "amd64",
				"node-role.kubernetes.io/agent": "",
			},
		},
	}}
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
