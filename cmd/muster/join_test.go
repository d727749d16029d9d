package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/embedded"
	"github.com/muster-io/muster/internal/hub/cluster"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/registration"
)

// joinHub is a hub as people run it: an API server that muster up knows nothing of, with Muster's controllers.
type joinHub struct {
	testHub
	cp *controlplane.ControlPlane
}

func newJoinHub(t *testing.T) joinHub {
	t.Helper()
	ctrllog.SetLogger(logr.Discard())
	cp := test.ControlPlane(t, controlplane.Options{Name: "joins", Controllers: true})
	if err := controlplane.Install(t.Context(), cp.Config(), append(crds.Hub(), crds.Agent()...)...); err != nil {
		t.Fatal(err)
	}
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, clusterv1.AddToScheme, clusterv1beta2.AddToScheme, workv1.AddToScheme, musterv1alpha1.AddToScheme,
	} {
		if err := add(all); err != nil {
			t.Fatal(err)
		}
	}
	mgr, err := ctrl.NewManager(cp.Config(), ctrl.Options{Scheme: all, Metrics: server.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cp.Config(), client.Options{Scheme: all})
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Install(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Setup(mgr, cluster.Options{CheckPeriod: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	background(t, "the controllers", mgr.Start)
	h := joinHub{testHub{c, cp.KubeconfigPath()}, cp}
	h.namespace(t, embedded.SystemNamespace)
	return h
}

// background runs something until the test ends.
func background(t *testing.T, what string, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	})
}

// agent runs the klusterlet's registration agent with a bootstrap kubeconfig that muster join wrote; its cluster is the hub.
func (h joinHub) agent(t *testing.T, name, bootstrap string) {
	t.Helper()
	a := &registration.Agent{
		Cluster: h.cp.Config(), BootstrapKubeconfig: bootstrap, HubDir: t.TempDir(), ClusterName: name, AgentName: "a1",
		Periods: registration.Periods{Health: 500 * time.Millisecond, HealthRetry: 50 * time.Millisecond, Retry: 100 * time.Millisecond},
	}
	background(t, "the agent of "+name, a.Run)
}

func (h joinHub) cluster(t *testing.T, name string) *clusterv1.ManagedCluster {
	t.Helper()
	c := &clusterv1.ManagedCluster{}
	if err := h.Get(t.Context(), client.ObjectKey{Name: name}, c); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return c
}

func (h joinHub) expect(t *testing.T, name, condition string, status metav1.ConditionStatus) {
	t.Helper()
	eventually(t, func() string {
		if !meta.IsStatusConditionPresentAndEqual(h.cluster(t, name).Status.Conditions, condition, status) {
			return fmt.Sprintf("%s: %s is not %s", name, condition, status)
		}
		return ""
	})
}

// asked waits for the request of a cluster's agent that nobody answered yet.
func (h joinHub) asked(t *testing.T, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	var found *certificatesv1.CertificateSigningRequest
	eventually(t, func() string {
		var list certificatesv1.CertificateSigningRequestList
		if err := h.List(t.Context(), &list, client.MatchingLabels{clusterv1.ClusterNameLabelKey: name}); err != nil {
			return err.Error()
		}
		for i := range list.Items {
			if rules.Unanswered(&list.Items[i]) {
				found = &list.Items[i]
				return ""
			}
		}
		return name + " has not asked"
	})
	return found
}

func (h joinHub) patch(t *testing.T, name, patch string) {
	t.Helper()
	c := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := h.Patch(t.Context(), c, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until there is nothing wrong.
func eventually(t *testing.T, wrong func() string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		text := wrong()
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute: %s", text)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(text)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestJoinAndAccept takes clusters in with the commands that people type, against a hub that its kubeconfig alone names.
func TestJoinAndAccept(t *testing.T) {
	t.Parallel()
	h := newJoinHub(t)
	t.Run("joins, is denied, leaves and comes back", func(t *testing.T) { comesAndGoes(t, h) })
	t.Run("not asked, denied request, another identity", func(t *testing.T) { isNotLetIn(t, h) })
}

func comesAndGoes(t *testing.T, h joinHub) {
	file := filepath.Join(t.TempDir(), "bootstrap")
	expect(t, h.muster(t, 1, "accept", "edge-1"), "there is no cluster")
	expect(t, h.muster(t, 0, "join", "edge-1", "--out", file), "join-edge-1", "--bootstrap-kubeconfig "+file, "muster accept edge-1")
	h.agent(t, "edge-1", file)
	h.asked(t, "edge-1")
	expect(t, h.muster(t, 0, "accept", "edge-1"), "edge-1 accepted; agent a1 let in")
	h.expect(t, "edge-1", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)

	expect(t, h.muster(t, 0, "accept", "edge-1"), "edge-1 has joined already as agent a1; nothing waits")
	var answer []struct {
		Cluster, Before string
		Joined, Changed bool
	}
	if err := json.Unmarshal([]byte(h.muster(t, 0, "accept", "edge-1", "-o", "json")), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer) != 1 || answer[0].Cluster != "edge-1" || answer[0].Before != "a1" || !answer[0].Joined || answer[0].Changed {
		t.Errorf("programs are told %+v", answer)
	}

	h.patch(t, "edge-1", `{"spec":{"hubAcceptsClient":false}}`)
	h.expect(t, "edge-1", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionFalse)
	expect(t, h.muster(t, 0, "accept", "edge-1"), "edge-1 accepted again: it has joined as agent a1, and has its rights back")
	h.expect(t, "edge-1", clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionTrue)

	for _, how := range []string{"--clean", "--keep-workloads"} {
		h.expect(t, "edge-1", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)
		before := h.cluster(t, "edge-1").UID
		h.muster(t, 0, "detach", "edge-1", how)
		eventually(t, func() string {
			if h.cluster(t, "edge-1").UID == before {
				return "edge-1 is still there"
			}
			return ""
		})
		expect(t, h.muster(t, 1, "accept", "edge-1"), "there is no cluster")
		h.muster(t, 0, "join", "edge-1", "--out", file)
		h.asked(t, "edge-1")
		expect(t, h.muster(t, 0, "accept", "edge-1"), "agent a1 let in")
	}
	h.expect(t, "edge-1", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)
}

func isNotLetIn(t *testing.T, h joinHub) {
	h.make(t, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "edge-2"}})
	expect(t, h.muster(t, 0, "accept", "edge-2"), "edge-2 accepted; its agent has not asked yet: muster accept edge-2 again")
	expect(t, h.muster(t, 0, "accept", "edge-2"), "edge-2 was accepted before; its agent has not asked yet")

	file := filepath.Join(t.TempDir(), "bootstrap")
	h.muster(t, 0, "join", "edge-3", "--out", file)
	h.agent(t, "edge-3", file)
	csr := h.asked(t, "edge-3")
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
		Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue, Reason: "Test", Message: "a person says no",
	}}
	if err := h.SubResource("approval").Update(t.Context(), csr); err != nil {
		t.Fatal(err)
	}
	expect(t, h.muster(t, 1, "accept", "edge-3"), "request "+csr.Name+" of agent a1", "delete that CertificateSigningRequest")
	if h.cluster(t, "edge-3").Spec.HubAcceptsClient {
		t.Error("a cluster is accepted whose agent is not let in")
	}
	h.patch(t, "edge-3", `{"metadata":{"annotations":{"muster.dev/join-identity":"system:serviceaccount:muster-system:join-other"}}}`)
	if err := h.Delete(t.Context(), csr); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	h.asked(t, "edge-3")
	expect(t, h.muster(t, 1, "accept", "edge-3"), embedded.JoinIdentity("edge-3")+" asks", "names system:serviceaccount:muster-system:join-other", "--requesters")
	expect(t, h.muster(t, 0, "accept", "edge-3", "--requesters", embedded.JoinIdentity("edge-3")), "edge-3 accepted; agent a1 let in")
	h.expect(t, "edge-3", clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue)
}

// TestUpLeavesADenialAlone: what a person denied on the hub is not accepted again because the fleet is started.
func TestUpLeavesADenialAlone(t *testing.T) {
	h := newTestHub(t)
	c := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "no-thanks"}}
	c.Status.Conditions = []metav1.Condition{{
		Type: clusterv1.ManagedClusterConditionHubAccepted, Status: metav1.ConditionFalse,
		Reason: clusterv1.ReasonHubClusterAdminDenied, LastTransitionTime: metav1.Now(),
	}}
	h.make(t, c)
	state, err := admitted(t.Context(), h, c.Name)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, state, "denied", "muster accept no-thanks")
	if err := h.Get(t.Context(), client.ObjectKeyFromObject(c), c); err != nil || c.Spec.HubAcceptsClient {
		t.Errorf("the cluster is accepted: %v, %v", c.Spec.HubAcceptsClient, err)
	}
}
