package generated

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// ascii are the characters that can be printed.
var ascii = func() string {
	var b strings.Builder
	for c := ' '; c <= '~'; c++ {
		b.WriteRune(c)
	}
	return b.String()
}()

// maxLength bounds a random text.
const maxLength = 64 << 10

// errUnknown is a call of a newer hub.
var errUnknown = errors.New("this agent does not know how to make it: upgrade the agent")

// Make makes what a call gives, by part. The arguments hold no placeholders any more; of genSignedCert the last two are the
// certificate and the key of its authority.
func Make(c Call) (map[string]string, error) {
	switch c.Function {
	case "genCA", "genSelfSignedCert", "genSignedCert":
		return makeCertificate(c)
	}
	value, err := makeValue(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Function, err)
	}
	return map[string]string{Value: value}, nil
}

func makeValue(c Call) (string, error) {
	alphabets := map[string]string{"randAlphaNum": letters + digits, "randAlpha": letters, "randNumeric": digits, "randAscii": ascii}
	if len(c.Args) == 0 && c.Function != "uuidv4" {
		return "", errUnknown
	}
	switch c.Function {
	case "randAlphaNum", "randAlpha", "randNumeric", "randAscii":
		return random(alphabets[c.Function], c.Args[0])
	case "randBytes":
		n, err := strconv.Atoi(c.Args[0])
		if err != nil || n < 0 || n > maxLength {
			return "", errUnknown
		}
		data := make([]byte, n)
		_, _ = rand.Read(data) // it never fails
		return base64.StdEncoding.EncodeToString(data), nil
	case "uuidv4":
		var u [16]byte
		_, _ = rand.Read(u[:]) // it never fails
		u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
		return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), nil
	case "bcrypt":
		hash, err := bcrypt.GenerateFromPassword([]byte(c.Args[0]), bcrypt.DefaultCost)
		if err != nil {
			return "", errors.New("the text is longer than the 72 bytes that bcrypt takes")
		}
		return string(hash), nil
	case "genPrivateKey":
		key, err := newKey(c.Args[0])
		if err != nil {
			return "", err
		}
		return encodeKey(key)
	}
	return "", errUnknown
}

func random(alphabet, length string) (string, error) {
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 || n > maxLength {
		return "", errUnknown
	}
	text := make([]byte, n)
	for i := range text {
		at, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", err
		}
		text[i] = alphabet[at.Int64()]
	}
	return string(text), nil
}

// newKey makes a key of the kinds that sprig knows, but for DSA.
func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "", "rsa":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "ecdsa":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, errUnknown
}

// encodeKey writes a key as sprig does.
func encodeKey(key crypto.Signer) (string, error) {
	block := &pem.Block{}
	var err error
	switch key := key.(type) {
	case *rsa.PrivateKey:
		block.Type, block.Bytes = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)
	case *ecdsa.PrivateKey:
		block.Type = "EC PRIVATE KEY"
		block.Bytes, err = x509.MarshalECPrivateKey(key)
	default:
		block.Type = "PRIVATE KEY"
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
	}
	return string(pem.EncodeToMemory(block)), err
}

// makeCertificate makes a certificate and its key, as sprig does: an authority, one that is signed by itself, or by an authority. The
// arguments are the common name and the days, then addresses and names apart by commas, then the authority.
func makeCertificate(c Call) (map[string]string, error) {
	want := map[string]int{"genCA": 2, "genSelfSignedCert": 4, "genSignedCert": 6}[c.Function]
	if len(c.Args) != want {
		return nil, fmt.Errorf("%s: %w", c.Function, errUnknown)
	}
	days, err := strconv.Atoi(c.Args[1])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Function, errUnknown)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: c.Args[0]}, NotBefore: now, NotAfter: now.Add(time.Duration(days) * 24 * time.Hour),
		KeyUsage:    x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if c.Function == "genCA" {
		template.KeyUsage |= x509.KeyUsageCertSign
		template.IsCA = true
	} else if err := addNames(template, c.Args[2], c.Args[3]); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Function, err)
	}
	key, err := newKey("rsa")
	if err != nil {
		return nil, err
	}
	parent, signer := template, key
	if c.Function == "genSignedCert" {
		if parent, signer, err = authority(c.Args[4], c.Args[5]); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Function, err)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Function, err)
	}
	encodedKey, err := encodeKey(key)
	return map[string]string{Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), Key: encodedKey}, err
}

func addNames(template *x509.Certificate, addresses, names string) error {
	for _, text := range split(addresses) {
		ip := net.ParseIP(text)
		if ip == nil {
			return errors.New("an address of the certificate is none")
		}
		template.IPAddresses = append(template.IPAddresses, ip)
	}
	template.DNSNames = split(names)
	return nil
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func authority(cert, key string) (*x509.Certificate, crypto.Signer, error) {
	bad := errors.New("its authority cannot be read")
	certBlock, _ := pem.Decode(bytes.TrimSpace([]byte(cert)))
	keyBlock, _ := pem.Decode(bytes.TrimSpace([]byte(key)))
	if certBlock == nil || keyBlock == nil {
		return nil, nil, bad
	}
	parent, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, bad
	}
	signer, err := x509.ParsePKCS1PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, nil, bad
	}
	return parent, signer, nil
}
