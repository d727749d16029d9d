package registration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

func addOnRequest(t *testing.T, subject pkix.Name) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject, DNSNames: []string{AddOnDNSName("metrics")}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "addon-edge-1-metrics-x", Labels: map[string]string{
			clusterv1.ClusterNameLabelKey: "edge-1", addonv1alpha1.AddonNameLabel: "metrics",
		}},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: addonv1alpha1.KubeClientSigner,
			Username: UserName("edge-1", "a1"), Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		},
	}
}

func customSigner(name string, subject addonv1alpha1.Subject) addonv1alpha1.RegistrationSpec {
	return addonv1alpha1.RegistrationSpec{
		Type: addonv1alpha1.RegistrationCustomSigner,
		CustomSigner: &addonv1alpha1.CustomSignerRegistrationConfig{
			RegistrationConfig: addonv1alpha1.RegistrationConfig{SignerName: name, Subject: subject}, SigningCA: addonv1alpha1.SigningCARef{Name: "ca"},
		},
	}
}

func TestDecideAddOn(t *testing.T) {
	standard := pkix.Name{CommonName: AddOnUser("edge-1", "metrics", "metrics-agent"), Organization: AddOnGroups("edge-1", "metrics")}
	custom := pkix.Name{CommonName: "collector", Organization: []string{"collectors"}}
	for name, test := range map[string]struct {
		why     string
		subject pkix.Name
		change  func(*certificatesv1.CertificateSigningRequest, *AddOnAgents)
		refused string // empty: approved
	}{
		"as asked for": {why: "it is what the template says", subject: standard},
		"another name": {
			why: "OCM's hubs look at the name first", subject: standard, refused: "not the request of an add-on",
			change: func(csr *certificatesv1.CertificateSigningRequest, _ *AddOnAgents) { csr.Name = "edge-1-metrics" },
		},
		"a cluster whose name begins so": {
			why: "edge-10 is another cluster than edge-1", subject: standard, refused: "no agent of cluster edge-1",
			change: func(csr *certificatesv1.CertificateSigningRequest, _ *AddOnAgents) {
				csr.Spec.Username = UserName("edge-10", "a1")
			},
		},
		"the add-on for itself": {
			why: "an add-on's agent that was stolen must not live for ever", subject: standard, refused: "no agent of cluster edge-1",
			change: func(csr *certificatesv1.CertificateSigningRequest, _ *AddOnAgents) {
				csr.Spec.Username = standard.CommonName
			},
		},
		"a cluster that was denied": {
			why: "its agent has no business here", subject: standard, refused: "no accepted cluster",
			change: func(_ *certificatesv1.CertificateSigningRequest, k *AddOnAgents) {
				k.Cluster.Spec.HubAcceptsClient = false
			},
		},
		"an add-on that is not there": {
			why: "nobody installed it", subject: standard, refused: "is not on cluster",
			change: func(_ *certificatesv1.CertificateSigningRequest, k *AddOnAgents) { k.AddOn = nil },
		},
		"one group more": {
			why: "the groups are exact", refused: "the organizations",
			subject: pkix.Name{CommonName: standard.CommonName, Organization: append(AddOnGroups("edge-1", "metrics"), "admins")},
		},
		"one group less": {
			why: "the groups are exact", refused: "the organizations",
			subject: pkix.Name{CommonName: standard.CommonName, Organization: AddOnGroups("edge-1", "metrics")[:2]},
		},
		"another user": {
			why: "the user is exact", refused: "the common name",
			subject: pkix.Name{CommonName: AddOnUser("edge-1", "metrics", "other"), Organization: standard.Organization},
		},
		"another cluster's groups": {
			why: "labels are hints", refused: "the organizations",
			subject: pkix.Name{CommonName: standard.CommonName, Organization: AddOnGroups("edge-2", "metrics")},
		},
		"a server's certificate": {
			why: "an agent is a client", subject: standard, refused: "the usage",
			change: func(csr *certificatesv1.CertificateSigningRequest, _ *AddOnAgents) {
				csr.Spec.Usages = append(csr.Spec.Usages, certificatesv1.UsageServerAuth)
			},
		},
		"of a custom signer": {
			why: "the registration says the subject", subject: custom,
			change: func(csr *certificatesv1.CertificateSigningRequest, _ *AddOnAgents) {
				csr.Spec.SignerName = "example.com/signer"
			},
		},
		"another subject of a custom signer": {
			why: "OCM's hub approves any; ours compares", subject: standard, refused: "the organizations",
			change: func(csr *certificatesv1.CertificateSigningRequest, _ *AddOnAgents) {
				csr.Spec.SignerName = "example.com/signer"
			},
		},
		"an unknown signer": {
			why: "no registration asks for it", subject: standard, refused: "asks for no certificate of signer",
			change: func(csr *certificatesv1.CertificateSigningRequest, _ *AddOnAgents) {
				csr.Spec.SignerName = "example.com/other"
			},
		},
		"a node's certificate": {
			why: "a template does not make its agents nodes", subject: custom, refused: "asks for no certificate of signer",
			change: func(csr *certificatesv1.CertificateSigningRequest, _ *AddOnAgents) {
				csr.Spec.SignerName = certificatesv1.KubeAPIServerClientKubeletSignerName
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			csr := addOnRequest(t, test.subject)
			known := AddOnAgents{
				Cluster: &clusterv1.ManagedCluster{Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}}, AddOn: &addonv1alpha1.ManagedClusterAddOn{},
				Registrations: []addonv1alpha1.RegistrationSpec{
					{Type: addonv1alpha1.RegistrationKubeClient},
					customSigner("example.com/signer", addonv1alpha1.Subject{User: "collector", Groups: []string{"collectors"}}),
					customSigner(certificatesv1.KubeAPIServerClientKubeletSignerName, addonv1alpha1.Subject{User: "collector", Groups: []string{"collectors"}}),
				},
			}
			if test.change != nil {
				test.change(csr, &known)
			}
			err := DecideAddOn(csr, known)
			if (test.refused == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%s: got %v, want %q", test.why, err, test.refused)
			}
		})
	}
}

func TestWantAddOnBindings(t *testing.T) {
	addon := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "edge-1", Name: "metrics", UID: "u"}}
	current := func(role string) addonv1alpha1.HubPermissionConfig {
		return addonv1alpha1.HubPermissionConfig{
			Type: addonv1alpha1.HubPermissionCurrentCluster, CurrentCluster: &addonv1alpha1.CurrentClusterBindingConfig{ClusterRoleName: role},
		}
	}
	spec := []addonv1alpha1.RegistrationSpec{{
		Type: addonv1alpha1.RegistrationKubeClient,
		KubeClient: &addonv1alpha1.KubeClientRegistrationConfig{HubPermissions: []addonv1alpha1.HubPermissionConfig{
			current("reader"), current("writer"), current("reader"), {
				Type: addonv1alpha1.HubPermissionSingleNamespace, SingleNamespace: &addonv1alpha1.SingleNamespaceBindingConfig{
					Namespace: "shared", RoleRef: addonv1alpha1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "shared"},
				},
			},
		}},
	}}
	addon.Status.Registrations = RegistrationsOf("edge-1", "metrics", spec)
	bindings, err := WantAddOnBindings(addon, spec)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, b := range bindings {
		got[b.Namespace+"/"+b.Name] = b.RoleRef.Kind + " " + b.RoleRef.Name
		if owned := len(b.OwnerReferences) == 1; owned != (b.Namespace == "edge-1") {
			t.Errorf("%s/%s has owners %v", b.Namespace, b.Name, b.OwnerReferences)
		}
		for _, s := range b.Subjects {
			if !ofAddOnAgent(s, "edge-1", "metrics") {
				t.Errorf("%s/%s names %s, which agents of other clusters are too", b.Namespace, b.Name, s.Name)
			}
		}
	}
	if diff := cmp.Diff(map[string]string{
		"edge-1/open-cluster-management:metrics:clusterrole:agent":        "ClusterRole reader",
		"edge-1/open-cluster-management:metrics:clusterrole:agent:writer": "ClusterRole writer",
		"shared/open-cluster-management:metrics:role:agent":               "Role shared",
	}, got); diff != "" {
		t.Error(diff)
	}
	others := []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: AddOnUser("edge-10", "metrics", "metrics-agent")}, {Kind: rbacv1.UserKind, Name: AddOnTokenUser("edge-1", "metrics")}}
	if got := Share(others, "edge-1", "metrics", nil); len(got) != 1 || got[0] != others[0] {
		t.Errorf("without edge-1 there are %v", got)
	}
}

func TestTokenAccount(t *testing.T) {
	addon := &addonv1alpha1.ManagedClusterAddOn{}
	if _, ready, err := TokenAccount(addon); ready || err != nil {
		t.Errorf("without a condition: %v, %v", ready, err)
	}
	addon.Status.Conditions = []metav1.Condition{TokenReady("edge-1", "metrics", "8c5f")}
	if got := addon.Status.Conditions[0].Message; got != "ServiceAccount edge-1/metrics-agent (UID: 8c5f) is ready" {
		t.Errorf("OCM's agents parse the message: %q", got)
	}
	if uid, ready, err := TokenAccount(addon); uid != types.UID("8c5f") || !ready || err != nil {
		t.Errorf("got %q, %v, %v", uid, ready, err)
	}
	addon.Status.Conditions[0].Message = "ready"
	if _, _, err := TokenAccount(addon); err == nil {
		t.Error("a message without a UID is no error")
	}
}

// TestSign: a certificate is of the request, lasts a day, and not longer than its authority.
func TestSign(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		life time.Duration // of the CA
		isCA bool
		want time.Duration
	}{
		"a day": {life: 1000 * time.Hour, isCA: true, want: 24 * time.Hour}, "as the authority": {life: time.Minute, isCA: true, want: time.Minute},
		"expired": {life: -time.Minute, isCA: true}, "no authority": {life: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			ca := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(test.life), IsCA: test.isCA, BasicConstraintsValid: true}
			der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			issued, err := Sign(addOnRequest(t, pkix.Name{CommonName: "collector"}), map[string][]byte{
				"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
			}, now)
			if test.want == 0 {
				if err == nil {
					t.Error("it signs")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(issued)
			leaf, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if leaf.Subject.CommonName != "collector" || !leaf.NotAfter.Equal(now.Add(test.want)) || len(leaf.DNSNames) != 1 {
				t.Errorf("%s until %s for %v", leaf.Subject.CommonName, leaf.NotAfter, leaf.DNSNames)
			}
		})
	}
}

// TestAddOnAgentOf: of which add-on on which cluster a subject is the agent.
func TestAddOnAgentOf(t *testing.T) {
	for name, want := range map[string]string{
		AddOnGroup("one", "metrics"):                     "one/metrics",
		AddOnUser("one", "metrics", "a"):                 "one/metrics",
		AddOnTokenUser("one", "metrics"):                 "one/metrics",
		Group("one"):                                     "",
		UserName("one", "a"):                             "",
		AddOnGroups("one", "metrics")[1]:                 "", // those of all clusters
		"system:serviceaccount:one:default":              "",
		"system:open-cluster-management:cluster:one":     "",
		"system:open-cluster-management:cluster::addon:": "",
		"jane": "",
	} {
		cluster, addon, ok := AddOnAgentOf(rbacv1.Subject{Name: name})
		if got := cluster + "/" + addon; ok != (want != "") || ok && got != want {
			t.Errorf("%s is %q, %v; want %q", name, got, ok, want)
		}
	}
}
