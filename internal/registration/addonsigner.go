package registration

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// signedFor is the life of certificates of custom signers, as in OCM.
const signedFor = 24 * time.Hour

// Sign issues the certificate of a request with a CA, the data of a Secret of type kubernetes.io/tls. It does not outlive the CA.
func Sign(csr *certificatesv1.CertificateSigningRequest, secret map[string][]byte, now time.Time) ([]byte, error) {
	ca, err := tls.X509KeyPair(secret[corev1.TLSCertKey], secret[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("read %s and %s: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	if !ca.Leaf.IsCA {
		return nil, errors.New("its certificate is not one of a certificate authority")
	}
	if !now.Before(ca.Leaf.NotAfter) {
		return nil, fmt.Errorf("the authority expired at %s", ca.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	x, err := parseX509(csr.Spec.Request)
	if err != nil {
		return nil, err
	}
	end := now.Add(signedFor)
	if seconds := csr.Spec.ExpirationSeconds; seconds != nil && time.Duration(*seconds)*time.Second < signedFor {
		end = now.Add(time.Duration(*seconds) * time.Second)
	}
	if end.After(ca.Leaf.NotAfter) {
		end = ca.Leaf.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject: x.Subject, DNSNames: x.DNSNames, IPAddresses: x.IPAddresses, EmailAddresses: x.EmailAddresses, URIs: x.URIs,
		NotBefore: now, NotAfter: end, KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca.Leaf, x.PublicKey, ca.PrivateKey.(crypto.Signer))
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
