package test_test

import (
	"context"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
	_, err := clients(t, cp).Resource(widgets.GroupVersion().WithResource(resource)).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
	return err
}

// TestPool: what a test leaves on a control plane of its own is not there for the next test, and what was there still is.
func TestPool(t *testing.T) {
	pool := test.Pool{Prepare: func(ctx context.Context, cp *controlplane.ControlPlane) error {
		return controlplane.Install(ctx, cp.Config(), []byte(crd))
	}}
	var first string
	t.Run("a test leaves things", func(t *testing.T) {
		cp := pool.Borrow(t)
		first = cp.URL()
		if second := pool.Borrow(t); second == cp {
			t.Error("two have one control plane at the same time")
		}
		apply(t, cp, namespaces, object("v1", "Namespace", "", "left"))
		apply(t, cp, widgets, object("example.com/v1", "Widget", "left", "held", "example.com/finalizer"))
		apply(t, cp, widgets, object("example.com/v1", "Widget", "default", "loose"))
		gadgets := strings.NewReplacer("widget", "gadget", "Widget", "Gadget").Replace(crd)
		if err := controlplane.Install(t.Context(), cp.Config(), []byte(gadgets)); err != nil {
			t.Fatal(err)
		}
		changed := object("v1", "Namespace", "", "default")
		changed.SetLabels(map[string]string{"changed": "yes"})
		apply(t, cp, namespaces, changed)
		if err := clients(t, cp).Resource(roles).Delete(t.Context(), "view", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the next one finds nothing of it", func(t *testing.T) {
		cp := pool.Borrow(t)
		if cp.URL() != first {
			cp = pool.Borrow(t)
		}
		if cp.URL() != first {
			t.Fatal("no control plane is used again")
		}
		for _, namespace := range []string{"left", "default"} {
			found, err := clients(t, cp).Resource(widgets).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil || len(found.Items) > 0 {
				t.Errorf("%d widgets are left in %s: %v", len(found.Items), namespace, err)
			}
		}
		if _, err := clients(t, cp).Resource(namespaces).Get(t.Context(), "left", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("a namespace is left: %v", err)
		}
		if err := list(t, cp, "gadgets", "default"); !apierrors.IsNotFound(err) {
			t.Errorf("a kind is left: %v", err)
		}
		if o, err := clients(t, cp).Resource(namespaces).Get(t.Context(), "default", metav1.GetOptions{}); err != nil || o.GetLabels()["changed"] != "" {
			t.Errorf("a change is left: %v, %v", o.GetLabels(), err)
		}
		if _, err := clients(t, cp).Resource(roles).Get(t.Context(), "view", metav1.GetOptions{}); err != nil {
			t.Errorf("what was deleted is not there again: %v", err)
		}
	})
}

var (
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	widgets    = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	roles      = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
)

func object(version, kind, namespace, name string, finalizers ...string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(version)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	o.SetFinalizers(finalizers)
	return o
}

func clients(t *testing.T, cp *controlplane.ControlPlane) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func apply(t *testing.T, cp *controlplane.ControlPlane, resource schema.GroupVersionResource, o *unstructured.Unstructured) {
	t.Helper()
	if _, err := clients(t, cp).Resource(resource).Namespace(o.GetNamespace()).Apply(t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "test"}); err != nil {
		t.Fatal(err)
	}
}
