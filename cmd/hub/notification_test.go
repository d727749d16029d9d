package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// TestPeopleAreNotified: with the rights that the hub has in production, a Notification from Git tells what is delivered and held, and
// answers a test.
func TestPeopleAreNotified(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	answer := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(body))
		w.WriteHeader(answer)
	}))
	t.Cleanup(server.Close)
	f := newFleet(t, tenant+clusterFile("one", "tier: edge, site: a")+clusterFile("two", "tier: edge, site: b")+placementFile("shops", everyEdge)+
		applicationFile("shop", "shops", "manifests/shop", "guard", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red")+
		`-- tenants/notify.yaml --
apiVersion: muster.dev/v1alpha1
kind: Notification
metadata: {name: oncall, namespace: muster-system}
spec: {type: Slack, secretRef: {name: oncall}, events: [Delivered, Held], group: {wait: 0s}}
`)
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "oncall"}, StringData: map[string]string{"url": server.URL + "/s3cret\n"}})
	f.deliver()
	f.push("")
	f.available("one", true)
	f.available("two", true)
	told := func(parts ...string) {
		t.Helper()
		f.eventually(func() string {
			mu.Lock()
			defer mu.Unlock()
			return has("told", strings.Join(got, "\n"), parts...)
		})
	}
	f.eventually(func() string {
		if n := len(f.worksOf("retail/shop")); n != 2 {
			return fmt.Sprintf("%d works", n)
		}
		return ""
	})
	revision := f.push(placementFile("shops", `{predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {site: a}}}}]}`))
	told("delivered "+revision[:7], "Held: retail/shop", "would leave 1 of 2 clusters")

	n := &musterv1alpha1.Notification{}
	read := func() {
		if err := f.client.Get(f.ctx, client.ObjectKey{Namespace: "muster-system", Name: "oncall"}, n); err != nil {
			f.t.Fatal(err)
		}
	}
	for id, code := range []int{http.StatusOK, http.StatusForbidden, http.StatusOK} {
		id := fmt.Sprint("test-", id)
		mu.Lock()
		answer = code
		mu.Unlock()
		read()
		f.annotate(n, musterv1alpha1.TestNotificationAnnotation, id)
		f.eventually(func() string {
			read()
			if n.Status.Test == nil || n.Status.Test.ID != id || (n.Status.Test.Error == "") != (code == http.StatusOK) {
				return fmt.Sprintf("test %s: %+v", id, n.Status)
			}
			return ""
		})
	}
	f.eventually(func() string {
		read()
		if n.Status.Sent == 0 || len(n.Status.Conditions) != 1 || n.Status.Conditions[0].Status != metav1.ConditionTrue {
			return fmt.Sprintf("status %+v", n.Status)
		}
		return ""
	})
	if strings.Contains(fmt.Sprintf("%+v", n.Status), "s3cret") {
		t.Error("the receiver's URL is in the status")
	}
}
