package test_test

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/test"
)

const crd = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
`

func TestMain(m *testing.M) {
	test.Main(m, test.Environment{HubCRDs: [][]byte{[]byte(crd)}})
}

// TestEnvironment: the hub has its definitions, clusters are apart from it, and everybody gets the same ones.
func TestEnvironment(t *testing.T) {
	hub := test.Hub(t)
	if test.Hub(t) != hub {
		t.Error("a second hub")
	}
	cluster := test.Clusters(t, 1)[0]
	if test.Clusters(t, 1)[0] != cluster {
		t.Error("a second first cluster")
	}
	namespace := test.Namespace(t, hub)
	if !strings.HasPrefix(namespace, "t-testenvironment-") {
		t.Errorf("namespace %q is not named after the test", namespace)
	}
	if err := list(t, hub, "widgets", namespace); err != nil {
		t.Errorf("on the hub: %v", err)
	}
	if err := list(t, cluster, "widgets", namespace); !apierrors.IsNotFound(err) {
		t.Errorf("on the cluster, without the definition: %v, want NotFound", err)
	}
	alone := test.ControlPlane(t, controlplane.Options{})
	if alone.URL() == hub.URL() || alone.URL() == cluster.URL() {
		t.Error("a control plane of one test is not its own")
	}
}

func list(t *testing.T, cp *controlplane.ControlPlane, resource, namespace string) error {
	t.Helper()
	client, err := dynamic.NewForConfig(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	widgets := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: resource}
	_, err = client.Resource(widgets).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
	return err
}
