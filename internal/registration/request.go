package registration

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/fleet"
)

// Request is a certificate signing request in the words of registration: who asks to be which agent of which cluster.
type Request struct {
	Name    string // of the CertificateSigningRequest
	Cluster string
	Agent   string
	// User who asks, as the hub authenticated it.
	User string
	// CommonName that is asked for.
	CommonName string
	// Key identifies the public key. The request is signed with its private half, so whoever made the request holds it.
	Key string
}

// Renewal is true when the agent asks for itself, with the certificate that it has.
func (r Request) Renewal() bool { return r.User == r.CommonName }

// ParseRequest reads a signing request. An error says what is wrong with a request that carries a cluster's name and is
// not one that an agent of this cluster would make; such requests are never approved.
func ParseRequest(csr *certificatesv1.CertificateSigningRequest) (Request, error) {
	r := Request{Name: csr.Name, Cluster: csr.Labels[clusterv1.ClusterNameLabelKey], User: csr.Spec.Username}
	if r.Cluster == "" {
		return r, fmt.Errorf("no label %s", clusterv1.ClusterNameLabelKey)
	}
	if reserved := fleet.ReservedName(r.Cluster); reserved != "" {
		return r, fmt.Errorf("%s: %s", r.Cluster, reserved)
	}
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return r, fmt.Errorf("the signer is %s, not %s", csr.Spec.SignerName, certificatesv1.KubeAPIServerClientSignerName)
	}
	x, err := parseX509(csr.Spec.Request)
	if err != nil {
		return r, err
	}
	r.CommonName, r.Key = x.Subject.CommonName, KeyOf(x.RawSubjectPublicKeyInfo)
	orgs := slices.DeleteFunc(slices.Clone(x.Subject.Organization), func(o string) bool {
		return o == clusterv1.ManagedClustersGroup
	})
	if len(orgs) != 1 || orgs[0] != Group(r.Cluster) {
		return r, fmt.Errorf("the organizations %q are not those of cluster %s", x.Subject.Organization, r.Cluster)
	}
	cluster, agent, ok := ParseUserName(r.CommonName)
	if !ok || cluster != r.Cluster {
		return r, fmt.Errorf("the common name %q is not that of an agent of cluster %s", r.CommonName, r.Cluster)
	}
	r.Agent = agent
	return r, nil
}

func parseX509(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("no PEM block CERTIFICATE REQUEST")
	}
	x, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the request: %w", err)
	}
	if err := x.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the request is not signed with its own key: %w", err)
	}
	return x, nil
}

// KeyOf identifies a public key, given in its DER form: equal values, equal keys.
func KeyOf(publicKeyInfo []byte) string {
	sum := sha256.Sum256(publicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// Unanswered is true when nobody decided about a signing request yet.
func Unanswered(csr *certificatesv1.CertificateSigningRequest) bool {
	return !decided(csr, certificatesv1.CertificateApproved) && !decided(csr, certificatesv1.CertificateDenied) &&
		!decided(csr, certificatesv1.CertificateFailed)
}

// Approved is true when a signing request is, whether or not its certificate is issued yet.
func Approved(csr *certificatesv1.CertificateSigningRequest) bool {
	return decided(csr, certificatesv1.CertificateApproved)
}

// Denied is true when a person or a program refused a signing request, or its signer did.
func Denied(csr *certificatesv1.CertificateSigningRequest) bool {
	return decided(csr, certificatesv1.CertificateDenied) || decided(csr, certificatesv1.CertificateFailed)
}

func decided(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(csr.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == kind && c.Status != corev1.ConditionFalse
	})
}

// OfAgent is true for the signing requests of klusterlets, and false for those of addons or of others.
func OfAgent(labels map[string]string) bool {
	return labels[clusterv1.ClusterNameLabelKey] != "" && labels[clusterv1.AddOnNameLabelKey] == ""
}
