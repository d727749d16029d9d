package main

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestTreeAndLogs: what an agent answers is drawn as a tree, with events, and the end of a log.
func TestTreeAndLogs(t *testing.T) {
	hub := newTestHub(t)
	hub.make(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "inspected"}})
	uiAgent(t, hub, "inspected")
	tree := hub.muster(t, 0, "tree", "ui-shop/storefront", "--cluster", "inspected")
	for _, want := range []string{
		"ui-shop/storefront on inspected", "Deployment shop/storefront", "└─ ReplicaSet storefront-6c9d7", "   ├─ Pod storefront-6c9d7-x2b4q", "0/1 ready, 6 restarts, web CrashLoopBackOff",
		"Back-off restarting failed container web", "Pod storefront-6c9d7-x2b4q",
	} {
		if !strings.Contains(tree, want) {
			t.Errorf("the tree does not say %q:\n%s", want, tree)
		}
	}
	var answer musterv1alpha1.InspectionStatus
	if err := json.Unmarshal([]byte(hub.muster(t, 0, "tree", "ui-shop/storefront", "--cluster", "inspected", "-o", "json")), &answer); err != nil || len(answer.Objects) != 7 {
		t.Errorf("as JSON: %d objects, %v", len(answer.Objects), err)
	}
	if log := hub.muster(t, 0, "logs", "ui-shop/storefront", "--cluster", "inspected", "--lines", "40"); !strings.Contains(log, "container web of pod shop/storefront-6c9d7-x2b4q\n") ||
		!strings.HasSuffix(log, "panic: no connection to payments:8443\n") {
		t.Errorf("the log is\n%s", log)
	}
	if object := hub.muster(t, 0, "tree", "ui-shop/storefront", "--cluster", "inspected", "--object", "ConfigMap/shop/page"); !strings.Contains(object, "data:\n  color: purple\n") || strings.Contains(object, "└─") {
		t.Errorf("the object is\n%s", object)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"tree", "ui-shop/storefront"}, "--cluster names the cluster"},
		{[]string{"logs", "storefront", "--cluster", "inspected"}, "NAMESPACE/NAME"},
		{[]string{"tree", "ui-shop/storefront", "--cluster", "inspected", "--object", "page"}, "KIND/NAMESPACE/NAME"},
		{[]string{"tree", "ui-shop/storefront", "--cluster", "nowhere"}, `namespaces "nowhere" not found`},
		{[]string{"logs", "ui-shop/storefront", "--cluster", "inspected", "--lines", "100000"}, "less than or equal to 2000"},
	} {
		if out := hub.muster(t, 1, tc.args...); !strings.Contains(out, tc.want) {
			t.Errorf("muster %s says %q, want %q", strings.Join(tc.args, " "), out, tc.want)
		}
	}
	var left musterv1alpha1.InspectionList
	if err := hub.List(t.Context(), &left); err != nil || len(left.Items) > 0 {
		t.Errorf("%d questions stay: %v", len(left.Items), err)
	}
}

// TestObjectOf: an object is named by kind and name, with the group and the namespace of those that have them.
func TestObjectOf(t *testing.T) {
	for text, want := range map[string]musterv1alpha1.InspectionObject{
		"ConfigMap/shop/page":               {Kind: "ConfigMap", Namespace: "shop", Name: "page"},
		"Deployment.apps/shop/web":          {Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		"Ingress.networking.k8s.io/shop/a":  {Group: "networking.k8s.io", Kind: "Ingress", Namespace: "shop", Name: "a"},
		"ClusterRole.rbac.authorization/it": {Group: "rbac.authorization", Kind: "ClusterRole", Name: "it"},
	} {
		if got, err := objectOf(text); err != nil || got != want {
			t.Errorf("%s is %+v (%v), want %+v", text, got, err, want)
		}
	}
}
