// Package certificate makes the keys and signing requests of the agent's certificates, and says when they are renewed.
package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// MaxRequests of one client may lie on a hub before its agent stops making more.
const MaxRequests = 10

// NewKey makes a key, and its PEM form.
func NewKey() (crypto.Signer, []byte, error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(signer)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	return signer, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads the PEM form of a key.
func ParseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", parsed)
	}
	return signer, nil
}

// Usages of a client's certificate.
var Usages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth}

// Request is what a signing request asks for, in its PEM form.
func Request(subject pkix.Name, names []string, signer crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject, DNSNames: names}, signer)
	if err != nil {
		return nil, fmt.Errorf("make a certificate signing request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// Of reads a certificate, and makes sure that the key is its own.
func Of(certificate, key []byte) (*x509.Certificate, error) {
	if certificate == nil {
		return nil, errors.New("there is no certificate yet")
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be used: %w", err)
	}
	return pair.Leaf, nil
}

// Leaf reads the first certificate of a chain.
func Leaf(chain []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}

// backdated is how much earlier than it is made a certificate of kube-controller-manager begins, for clocks that are behind. Those that last no
// longer than short are not shorter for that: the time before is no part of their life.
const (
	backdated = 5 * time.Minute
	short     = 8 * time.Hour
)

// RenewalDue is when a certificate is renewed: when the share of its life that is left falls below part.
func RenewalDue(leaf *x509.Certificate, part float64) time.Time {
	from := leaf.NotBefore
	if lasts := leaf.NotAfter.Sub(from); lasts > backdated && lasts <= short+backdated {
		from = from.Add(backdated)
	}
	return Due(from, leaf.NotAfter, part)
}

// Due is when what is good from a time to another one is renewed.
func Due(from, to time.Time, part float64) time.Time {
	return to.Add(-time.Duration(float64(to.Sub(from)) * part))
}
