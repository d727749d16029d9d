// Package authority keeps the authorities that vouch for what the hub serves over TLS.
package authority

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/registration"
)

// Authority signs the certificate of a server. It is in a Secret of Muster's namespace, so that what clients trust outlives a hub and
// is the same for all replicas; the certificate itself is in the memory of each, and is signed again before it expires.
type Authority struct {
	// CA is the authority's certificate, as PEM.
	CA []byte

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	options     Options

	mu      sync.Mutex
	serving *tls.Certificate
}

// Options of an authority.
type Options struct {
	// Secret that it is in, which is the name of its certificates too.
	Secret string
	// Host is the name or address that the server is reached by.
	Host string
	// Life of the server's certificate, which is signed again when a third of it is left; zero is 90 days.
	Life time.Duration
}

const servingLife = 90 * 24 * time.Hour

// Load reads the authority, or makes it.
func Load(ctx context.Context, reader client.Reader, writer client.Writer, o Options) (*Authority, error) {
	o.Life = cmp.Or(o.Life, servingLife)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: registration.SystemNamespace, Name: o.Secret}, Type: corev1.SecretTypeTLS}
	err := reader.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	if apierrors.IsNotFound(err) {
		if secret.Data, err = newAuthority(o.Secret); err == nil {
			err = writer.Create(ctx, secret)
		}
		if apierrors.IsAlreadyExists(err) { // another hub was faster
			err = reader.Get(ctx, client.ObjectKeyFromObject(secret), secret)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("keep an authority in Secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	a, err := parseAuthority(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("read the authority in Secret %s/%s: %w; delete the Secret to have a new one made", secret.Namespace, secret.Name, err)
	}
	a.options = o
	return a, nil
}

func newAuthority(name string) (map[string][]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: name}, key)
	if err != nil {
		return nil, err
	}
	encodedKey, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, err
	}
	encoded, err := cert.EncodeCertificates(certificate)
	return map[string][]byte{corev1.TLSCertKey: encoded, corev1.TLSPrivateKeyKey: encodedKey}, err
}

func parseAuthority(data map[string][]byte) (*Authority, error) {
	certificates, err := cert.ParseCertsPEM(data[corev1.TLSCertKey])
	if err != nil {
		return nil, err
	}
	key, err := keyutil.ParsePrivateKeyPEM(data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, err
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key is a %T, not an ECDSA key", key)
	}
	return &Authority{CA: data[corev1.TLSCertKey], certificate: certificates[0], key: signer}, nil
}

// GetCertificate gives the server's certificate, for a tls.Config.
func (a *Authority) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.serving == nil || time.Until(a.serving.Leaf.NotAfter) < a.options.Life/3 {
		signed, err := a.sign(time.Now())
		if err != nil {
			return nil, fmt.Errorf("sign the certificate of %s: %w", a.options.Host, err)
		}
		a.serving = signed
	}
	return a.serving, nil
}

func (a *Authority) sign(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: a.options.Secret}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(a.options.Life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(a.options.Host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{a.options.Host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
