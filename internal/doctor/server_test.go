package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/doctor"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/install"
	"github.com/muster-io/muster/internal/test"
)

// TestMain stops the control planes of the tests.
func TestMain(m *testing.M) { test.Main(m, test.Environment{}) }

// TestHubOnAServer breaks one thing after the other on a real API server; the doctor finds each.
func TestHubOnAServer(t *testing.T) {
	cp := test.ControlPlane(t, controlplane.Options{Name: "doctor"})
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, clusterv1.AddToScheme, musterv1alpha1.AddToScheme} {
		if err := add(all); err != nil {
			t.Fatal(err)
		}
	}
	api, err := client.New(cp.Config(), client.Options{Scheme: all})
	if err != nil {
		t.Fatal(err)
	}
	find := func(check string) doctor.Finding {
		t.Helper()
		findings := doctor.Hub(t.Context(), cp.Config(), time.Now())
		i := slices.IndexFunc(findings, func(f doctor.Finding) bool { return f.Check == check })
		if i < 0 {
			t.Fatalf("no finding about %s: %+v", check, findings)
		}
		return findings[i]
	}
	expect := func(check string, state doctor.State, says, next string) {
		t.Helper()
		findings := doctor.Hub(t.Context(), cp.Config(), time.Now())
		if !slices.ContainsFunc(findings, func(f doctor.Finding) bool {
			return f.Check == check && f.State == state && strings.Contains(f.Message, says) && strings.Contains(f.Next, next)
		}) {
			t.Errorf("no %s of %s: %q, next %q in %+v", state, check, says, next, findings)
		}
	}
	expect("hub: kinds", doctor.Problem, "are missing", "muster hub install")
	expect("hub: admission policies", doctor.Problem, "missing: muster-", "muster hub install")
	expect("hub: rights", doctor.Problem, "account muster-system/muster-hub may not", "muster hub install")
	must(t, install.Hub(t.Context(), cp.Config()))
	for _, check := range []string{"hub: kinds", "hub: admission policies", "hub: rights", "hub: requests", "hub: clusters", "hub: Kubernetes"} {
		expect(check, doctor.OK, "", "")
	}
	expect("hub: controllers", doctor.Problem, "they have never run", "start the hub")
	expect("hub: repositories", doctor.Problem, "follows no repository", "muster init DIR --hub")

	t.Run("kinds that are older than the program", func(t *testing.T) {
		definition := &apiextensionsv1.CustomResourceDefinition{}
		must(t, api.Get(t.Context(), client.ObjectKey{Name: "applications.muster.dev"}, definition))
		spec := definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		delete(spec.Properties, "rollout")
		definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = spec
		must(t, api.Update(t.Context(), definition))
		expect("hub: kinds", doctor.Problem, "applications.muster.dev has no v1alpha1 .spec.rollout", "muster hub install")
	})
	t.Run("a right that is missing", func(t *testing.T) {
		role := &rbacv1.ClusterRole{}
		must(t, api.Get(t.Context(), client.ObjectKey{Name: hub.HubRole}, role))
		role.Rules = slices.DeleteFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "manifestworks") })
		must(t, api.Update(t.Context(), role))
		eventually(t, func() bool { return find("hub: rights").State == doctor.Problem }) // the authorizer reads roles from its cache
		expect("hub: rights", doctor.Problem, "manifestworks", "muster hub install")
	})
	t.Run("a cluster that is not accepted, and the request of its agent", func(t *testing.T) {
		must(t, api.Create(t.Context(), &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{
			Name: "edge-1", Annotations: map[string]string{musterv1alpha1.JoinIdentityAnnotation: "joins-edge-1"},
		}}))
		joins, err := cp.User("joins-edge-1", "system:masters")
		must(t, err)
		agent, err := client.New(joins, client.Options{Scheme: all})
		must(t, err)
		must(t, agent.Create(t.Context(), request(t, "edge-1", "one")))
		expect("hub: clusters", doctor.Problem, "edge-1 is not accepted", "muster accept edge-1")
		expect("hub: requests", doctor.Problem, "the agent of cluster edge-1 waits to be let in", "muster accept edge-1")
	})
	t.Run("a name that a stranger asks for", func(t *testing.T) {
		must(t, api.Create(t.Context(), &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "edge-2"}}))
		must(t, api.Create(t.Context(), request(t, "edge-2", "two")))
		expect("hub: requests", doctor.Problem, "cluster edge-2", "once you know whose request it is")
	})
	t.Run("an agent that is older than the hub supports", func(t *testing.T) {
		must(t, api.Create(t.Context(), &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: hub.HeartbeatKey.Namespace, Name: hub.HeartbeatKey.Name, Annotations: map[string]string{musterv1alpha1.VersionAnnotation: "1.4.0"}},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To("hub"), LeaseDurationSeconds: ptr.To(int32(10)), RenewTime: &metav1.MicroTime{Time: time.Now()}},
		}))
		expect("hub: controllers", doctor.OK, "they run (hub)", "")
		cluster := &clusterv1.ManagedCluster{}
		must(t, api.Get(t.Context(), client.ObjectKey{Name: "edge-1"}, cluster))
		cluster.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: musterv1alpha1.AgentVersionClaim, Value: "1.2.0"}}
		must(t, api.Status().Update(t.Context(), cluster))
		expect("hub: agents", doctor.Problem, "edge-1 has 1.2.0, older than hub 1.4.0 supports", "muster join NAME --install")
	})
	t.Run("a repository that cannot be fetched", func(t *testing.T) {
		r := &musterv1alpha1.FleetRepository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"},
			Spec:       musterv1alpha1.FleetRepositorySpec{URL: "https://git.example.com/fleet.git", Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "fleet", Interval: metav1.Duration{Duration: time.Minute}},
		}
		must(t, api.Create(t.Context(), r))
		r.Status.Conditions = []metav1.Condition{{Type: "Fetched", Status: metav1.ConditionFalse, Reason: "SourceUnavailable", Message: "no such host", LastTransitionTime: metav1.Now()}}
		must(t, api.Status().Update(t.Context(), r))
		expect("hub: repositories", doctor.Problem, "muster-system/fleet cannot be fetched: no such host", "its url and its Secret")
	})
}

// request is that of an agent to join under a name.
func request(t *testing.T, cluster, agent string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{
		CommonName: "system:open-cluster-management:" + cluster + ":" + agent, Organization: []string{"system:open-cluster-management:" + cluster, "system:open-cluster-management:managed-clusters"},
	}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: cluster + "-" + agent, Labels: map[string]string{clusterv1.ClusterNameLabelKey: cluster}},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: certificatesv1.KubeAPIServerClientSignerName, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: data}),
		},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatal("not within a minute")
		case <-time.After(50 * time.Millisecond):
		}
	}
}
