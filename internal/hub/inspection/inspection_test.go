package inspection

import (
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestCollector: an Inspection goes when its time is over, and not before.
func TestCollector(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := musterv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	made := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	i := &musterv1alpha1.Inspection{ObjectMeta: metav1.ObjectMeta{Namespace: "edge-1", Name: "question", UID: "1", CreationTimestamp: metav1.NewTime(made)}}
	hub := fake.NewClientBuilder().WithScheme(scheme).WithObjects(i).Build()
	now := made.Add(Lifetime - 30*time.Second)
	c := &Collector{Client: hub, Now: func() time.Time { return now }}
	request := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "edge-1", Name: "question"}}
	if got, err := c.Reconcile(t.Context(), request); err != nil || got.RequeueAfter != 30*time.Second {
		t.Fatalf("before its end: %v %v, want a look in 30s", got, err)
	}
	if err := hub.Get(t.Context(), request.NamespacedName, i); err != nil {
		t.Fatalf("it has gone before its end: %v", err)
	}
	now = made.Add(Lifetime)
	for range 2 { // once more when it is gone
		if got, err := c.Reconcile(t.Context(), request); err != nil || got.RequeueAfter != 0 {
			t.Fatalf("at its end: %v %v", got, err)
		}
	}
	if err := hub.Get(t.Context(), client.ObjectKeyFromObject(i), i); !apierrors.IsNotFound(err) {
		t.Fatalf("it is still there: %v", err)
	}
}
