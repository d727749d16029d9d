package addon

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	"github.com/muster-io/muster/klusterlet/registration"
)

// TestKubeconfigOfTheHub: only a client of the hub has its kubeconfig in the Secret, and only it waits for the agent's.
func TestKubeconfigOfTheHub(t *testing.T) {
	hub := fake.NewClientBuilder().WithScheme(Scheme).Build()
	r := &registrations{
		Agent:     &Agent{Hub: registration.HubConfig{Kubeconfig: "/is/not/there"}, Now: time.Now},
		hubClient: hubClient{Client: hub, live: hub}, cluster: "one", requests: pending{all: map[place]*waiting{}},
	}
	mca := &addonv1alpha1.ManagedClusterAddOn{}
	mca.Name = "metrics"
	mca.Status.Registrations = []addonv1alpha1.RegistrationConfig{{SignerName: addonv1alpha1.KubeClientSigner}, {SignerName: "example.com/metrics"}}
	for i, want := range []string{"/is/not/there", ""} {
		reg := needsOf(mca, "one", "a")[i]
		o := r.certificate(t.Context(), reg, &corev1.Secret{})
		if says := o.err; (says == nil) != (want == "") || says != nil && !strings.Contains(says.Error(), want) {
			t.Errorf("signer %s: %v, want %q", reg.signer, says, want)
		}
	}
	var requests certificatesv1.CertificateSigningRequestList
	if err := hub.List(t.Context(), &requests); err != nil {
		t.Fatal(err)
	}
	if len(requests.Items) != 1 || requests.Items[0].Spec.SignerName != "example.com/metrics" {
		t.Fatalf("requests: %+v", requests.Items)
	}
	// As OCM's agents ask.
	csr := requests.Items[0]
	if csr.GenerateName != "addon-one-metrics-" || csr.Labels["open-cluster-management.io/cluster-name"] != "one" || csr.Labels["open-cluster-management.io/addon-name"] != "metrics" {
		t.Errorf("request %s has labels %v", csr.GenerateName, csr.Labels)
	}
	block, _ := pem.Decode(csr.Spec.Request)
	asked, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if asked.Subject.CommonName != "system:open-cluster-management:cluster:one:addon:metrics:agent:a" || !slices.Equal(asked.DNSNames, []string{"metrics.addon.open-cluster-management.io"}) {
		t.Errorf("a certificate of %s for %v is asked for", asked.Subject, asked.DNSNames)
	}
}

// TestNoMoreRequests: an agent that nobody answers does not fill the hub.
func TestNoMoreRequests(t *testing.T) {
	hub := fake.NewClientBuilder().WithScheme(Scheme).Build()
	r := &registrations{Agent: &Agent{Now: time.Now}, hubClient: hubClient{Client: hub, live: hub}, cluster: "one", requests: pending{all: map[place]*waiting{}}}
	mca := &addonv1alpha1.ManagedClusterAddOn{}
	mca.Name, mca.Status.Registrations = "metrics", []addonv1alpha1.RegistrationConfig{{SignerName: "example.com/metrics"}}
	var err error
	for range 12 {
		_, err = r.request(t.Context(), needsOf(mca, "one", "a")[0])
	}
	var requests certificatesv1.CertificateSigningRequestList
	if lerr := hub.List(t.Context(), &requests); lerr != nil || len(requests.Items) != 10 {
		t.Errorf("%d requests lie on the hub: %v", len(requests.Items), lerr)
	}
	if err == nil || !strings.Contains(err.Error(), "10 certificate signing requests of the add-on lie on the hub") {
		t.Errorf("the eleventh: %v", err)
	}
}

// TestCustomizedHealth: of an add-on whose manager says how it is, no lease is looked for.
func TestCustomizedHealth(t *testing.T) {
	mca := &addonv1alpha1.ManagedClusterAddOn{}
	mca.Status.HealthCheck.Mode = addonv1alpha1.HealthCheckCustomized
	if result, err := (&leases{}).Reconcile(t.Context(), mca); err != nil || result.RequeueAfter > 0 { // neither hub nor cluster is there to be asked
		t.Errorf("%v, %v", result, err)
	}
}
