package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is how long authorities and the control plane's own certificates are valid. Nothing renews them, and a directory has to
// be usable for as long as it is kept.
const lifetime = 10 * 365 * 24 * time.Hour

// pair is a certificate with its key, in memory as PEM and, where the control plane's programs read it, in two files.
type pair struct {
	cert, key         []byte
	certFile, keyFile string
}

// authority signs certificates. Its files are made once and then stay.
type authority struct {
	pair
	certificate *x509.Certificate
	signer      *ecdsa.PrivateKey
}

// subject is what a certificate says about its holder.
type subject struct {
	name     string
	groups   []string
	hosts    []string // names and addresses that it serves
	usages   []x509.ExtKeyUsage
	lifetime time.Duration // negative: already expired for as long
}

// newAuthority reads the authority of that name in dir, or makes it.
func newAuthority(dir, name string) (*authority, error) {
	made, err := stored(dir, name, func() ([]byte, []byte, error) { return selfSigned(name) })
	if err != nil {
		return nil, err
	}
	return parseAuthority(made)
}

// readAuthority reads the authority of that name in dir.
func readAuthority(dir, name string) (*authority, error) {
	read, err := readPair(dir, name)
	if err != nil {
		return nil, err
	}
	return parseAuthority(read)
}

func parseAuthority(p pair) (*authority, error) {
	certificate, err := parsePEM(p.cert, x509.ParseCertificate)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.certFile, err)
	}
	signer, err := parsePEM(p.key, x509.ParseECPrivateKey)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.keyFile, err)
	}
	return &authority{pair: p, certificate: certificate, signer: signer}, nil
}

func parsePEM[T any](data []byte, parse func([]byte) (T, error)) (T, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		var none T
		return none, fmt.Errorf("no PEM block")
	}
	return parse(block.Bytes)
}

// stored reads the pair of that name in dir, or makes it and keeps it there.
//
// The key is written first, so that a certificate always has its key, even when the program is killed in between.
func stored(dir, name string, make func() (cert, key []byte, err error)) (pair, error) {
	p, err := readPair(dir, name)
	if err == nil || !os.IsNotExist(err) {
		return p, err
	}
	if p.cert, p.key, err = make(); err != nil {
		return pair{}, fmt.Errorf("make certificate %s: %w", name, err)
	}
	if err := writeFile(p.keyFile, p.key); err != nil {
		return pair{}, err
	}
	return p, writeFile(p.certFile, p.cert)
}

func readPair(dir, name string) (pair, error) {
	p := pair{certFile: filepath.Join(dir, name+".crt"), keyFile: filepath.Join(dir, name+".key")}
	var err error
	if p.cert, err = os.ReadFile(p.certFile); err != nil {
		return p, err
	}
	p.key, err = os.ReadFile(p.keyFile)
	return p, err
}

func selfSigned(name string) (cert, key []byte, err error) {
	signer, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "muster-" + name},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	cert, err = sign(template, template, signer, signer, lifetime)
	return cert, key, err
}

// issue signs a new certificate with a new key.
func (a *authority) issue(s subject) (cert, key []byte, err error) {
	signer, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: s.name, Organization: s.groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: s.usages,
	}
	for _, host := range s.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, err = sign(template, a.certificate, signer, a.signer, s.lifetime)
	return cert, key, err
}

func sign(template, parent *x509.Certificate, holder, signer *ecdsa.PrivateKey, lifetime time.Duration) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template.SerialNumber = serial
	template.NotBefore = now.Add(min(lifetime, 0) - time.Hour) // clocks may differ by an hour
	template.NotAfter = now.Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &holder.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// newTokenKey makes the pair with which service account tokens are signed: a public key in place of a certificate.
func newTokenKey() (public, key []byte, err error) {
	signer, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&signer.PublicKey)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), key, nil
}
