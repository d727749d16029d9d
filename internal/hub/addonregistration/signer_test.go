package addonregistration_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterhub "github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/addonregistration"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/addon"
)

// authority makes a CA that lasts for a while, as the data of a Secret.
func authority(t *testing.T, life time.Duration) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: now, NotAfter: now.Add(life), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
	}
}

func leafOf(t *testing.T, s *corev1.Secret) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(s.Data[corev1.TLSCertKey])
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// TestCustomSigner: the hub signs for the CA that the template names, once it may read it, and certificates of 30 seconds are renewed
// before they expire.
func TestCustomSigner(t *testing.T) {
	f := started(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: addonregistration.CANamespace}}
	f.must(client.IgnoreAlreadyExists(f.hub.Create(t.Context(), namespace)))
	f.addOn("metrics", addonv1alpha1.RegistrationSpec{
		Type: addonv1alpha1.RegistrationCustomSigner,
		CustomSigner: &addonv1alpha1.CustomSignerRegistrationConfig{
			RegistrationConfig: addonv1alpha1.RegistrationConfig{
				SignerName: "example.com/metrics", Subject: addonv1alpha1.Subject{User: "collector", Groups: []string{"collectors"}, OrganizationUnits: []string{f.name}},
			},
			SigningCA: addonv1alpha1.SigningCARef{Name: f.name},
		},
	})
	f.create(f.hub, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: f.name + "-signer", Labels: map[string]string{musterhub.PermissionLabel: "true"}},
		Rules:      []rbacv1.PolicyRule{rules.NamedRule("example.com/metrics", certificatesv1.GroupName, "signers", "approve", "sign")},
	})
	f.agent()
	f.expect("metrics", addonv1alpha1.ConditionRegistrationApplied, metav1.ConditionTrue, addonv1alpha1.ReasonSetPermissionApplied)
	f.eventually(func() string { // approved, and nobody may sign it yet
		var list certificatesv1.CertificateSigningRequestList
		f.must(f.hub.List(t.Context(), &list, client.MatchingLabels{clusterv1.ClusterNameLabelKey: f.name, addonv1alpha1.AddonNameLabel: "metrics"}))
		return unless(len(list.Items) == 1 && rules.Approved(&list.Items[0]), "no request is approved")
	})
	f.ahead.Store(int64(2 * time.Minute))
	f.expect("metrics", addonv1alpha1.ConditionClusterCertificateRotated, metav1.ConditionFalse, clusterv1.ReasonCertificateUpdateFailed)
	f.ahead.Store(0)
	ca := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: f.name}, Type: corev1.SecretTypeTLS, Data: authority(t, 30*time.Second),
	}
	f.create(f.hub, ca, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: f.name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: musterhub.SignerRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: rules.SystemNamespace, Name: musterhub.Account}},
	})
	first := f.secret("metrics-example.com-metrics-client-cert", corev1.TLSCertKey)
	leaf := leafOf(t, first)
	if s := leaf.Subject; s.CommonName != "collector" || len(s.Organization) != 1 || len(s.OrganizationalUnit) != 1 {
		t.Errorf("the certificate is of %s", s)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 30*time.Second {
		t.Errorf("the certificate lasts %s, longer than its authority", life)
	}
	if first.Data["kubeconfig"] != nil {
		t.Error("a certificate of a custom signer leads nowhere, and its Secret has a kubeconfig")
	}
	ca.Data = authority(t, time.Hour)
	f.must(f.hub.Update(t.Context(), ca))
	f.eventually(func() string {
		now := f.secret(first.Name, corev1.TLSCertKey)
		return unless(!bytes.Equal(now.Data[corev1.TLSCertKey], first.Data[corev1.TLSCertKey]), "the certificate is not renewed")
	})
	if renewed := leafOf(t, f.secret(first.Name, corev1.TLSCertKey)); renewed.NotBefore.After(leaf.NotAfter) {
		t.Errorf("the certificate expired at %s and was renewed at %s", leaf.NotAfter, renewed.NotBefore)
	}
}

// TestHosted: the Secret of a hosted add-on lies where its agent runs, and moves with it.
func TestHosted(t *testing.T) {
	f := started(t)
	management := test.Clusters(t, 2)[1]
	there := f.client(management.Config())
	f.create(there, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.name}})
	f.addOn("metrics", withoutRights)
	f.eventually(func() string {
		a := f.get("metrics")
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, addonv1alpha1.HostingClusterAnnotation, "hosting")
		return text(f.hub.Update(t.Context(), a))
	})
	f.agent(func(a *addon.Agent) { a.Management = management.Config() })
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: "metrics-hub-kubeconfig"}}
	f.eventually(func() string { return text(there.Get(t.Context(), client.ObjectKeyFromObject(secret), secret)) })
	f.eventually(func() string {
		a := f.get("metrics")
		a.Annotations = nil
		return text(f.hub.Update(t.Context(), a))
	})
	f.secret(secret.Name, corev1.TLSCertKey)
	f.gone(there, secret)
}

// TestSharedPermission: the agents of all clusters are in one binding of a namespace that they share, and an agent leaves it with its
// add-on; a role that the hub does not hold is refused, with the next step.
func TestSharedPermission(t *testing.T) {
	f := started(t)
	shared := f.name + "-shared"
	f.create(f.hub, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shared}})
	role := f.reader().KubeClient.HubPermissions[0].CurrentCluster.ClusterRoleName
	spec := withoutRights
	spec.KubeClient = &addonv1alpha1.KubeClientRegistrationConfig{HubPermissions: []addonv1alpha1.HubPermissionConfig{{
		Type: addonv1alpha1.HubPermissionSingleNamespace,
		SingleNamespace: &addonv1alpha1.SingleNamespaceBindingConfig{
			Namespace: shared, RoleRef: addonv1alpha1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		},
	}}}
	other := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: rules.AddOnUser("elsewhere", "metrics", "metrics-agent")}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: shared, Name: "open-cluster-management:metrics:clusterrole:agent", Labels: map[string]string{
			addonv1alpha1.AddonNameLabel: "metrics", addonv1alpha1.AddonTemplateNameLabel: "",
		}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: []rbacv1.Subject{other},
	}
	f.create(f.hub, binding)
	f.addOn("metrics", spec)
	f.expect("metrics", addonv1alpha1.ConditionRegistrationApplied, metav1.ConditionTrue, addonv1alpha1.ReasonSetPermissionApplied)
	f.must(f.hub.Get(t.Context(), client.ObjectKeyFromObject(binding), binding))
	if len(binding.Subjects) != 3 {
		t.Errorf("the binding has %v: want the other cluster's agent, and user and group of this one's", binding.Subjects)
	}
	f.must(f.hub.Delete(t.Context(), f.get("metrics")))
	f.eventually(func() string {
		f.must(f.hub.Get(t.Context(), client.ObjectKeyFromObject(binding), binding))
		return unless(len(binding.Subjects) == 1 && binding.Subjects[0] == other, "the agent is still in the binding")
	})

	spec.KubeClient.HubPermissions[0].SingleNamespace.RoleRef.Name = "cluster-admin"
	f.addOn("greedy", spec)
	f.expect("greedy", addonv1alpha1.ConditionRegistrationApplied, metav1.ConditionFalse, addonv1alpha1.ReasonSetPermissionFailed)
}
