package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/test/charts"
)

// TestClientCertificate: a repository that wants one gets the Secret's tls.crt and tls.key.
func TestClientCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	own, err := x509.ParseCertificate(der)
	must(t, err)

	repo := charts.New(t)
	repo.Publish("web", "1.0.0", webChart)
	server := httptest.NewUnstartedServer(repo)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	server.TLS.ClientCAs.AddCert(own)
	server.StartTLS()
	defer server.Close()
	s := newShelf(t)
	s.secrets["retail/certificate"] = map[string][]byte{
		"ca.crt": repo.CA(), "tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
	s.secrets["retail/none"] = map[string][]byte{"ca.crt": repo.CA()}
	of := func(secret string) *fleet.Reference {
		return fleet.ReferenceOf("retail", musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{
			Repo: server.URL, Name: "web", Version: "1.0.0", SecretRef: &musterv1alpha1.LocalReference{Name: secret},
		}})
	}
	s.finds(of("certificate"), "1.0.0")
	if found, err := newShelfWith(s).look(of("none")); err == nil {
		t.Errorf("without a certificate: %+v", found)
	}
}

// newShelfWith is an empty shelf with the same Secrets.
func newShelfWith(s *shelf) *shelf {
	again := newShelf(s.t)
	again.secrets = s.secrets
	return again
}

// TestProxy: the proxy of the environment is used. A process reads it once: another one does so.
func TestProxy(t *testing.T) {
	if ca := os.Getenv("MUSTER_TEST_PROXIED"); ca != "" {
		data, err := base64.StdEncoding.DecodeString(ca)
		must(t, err)
		s := newShelf(t)
		s.secrets["retail/ca"] = map[string][]byte{"ca.crt": data}
		s.finds(fleet.ReferenceOf("retail", musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{
			Repo: "https://example.com/", Name: "web", Version: "1.0.0", SecretRef: &musterv1alpha1.LocalReference{Name: "ca"},
		}}), "1.0.0")
		return
	}
	repo := charts.New(t) // its certificate is for example.com
	repo.Publish("web", "1.0.0", webChart)
	var connected atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "example.com:443" {
			http.Error(w, "only example.com", http.StatusForbidden)
			return
		}
		connected.Add(1)
		to, err := net.Dial("tcp", repo.Listener.Addr().String())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer to.Close()
		w.WriteHeader(http.StatusOK)
		from, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		go func() { _, _ = io.Copy(to, from) }() // until one side ends
		_, _ = io.Copy(from, to)
	}))
	defer proxy.Close()
	command := exec.Command(os.Args[0], "-test.run=^TestProxy$")
	command.Env = append(os.Environ(), "MUSTER_TEST_PROXIED="+base64.StdEncoding.EncodeToString(repo.CA()), "HTTPS_PROXY="+proxy.URL, "NO_PROXY=")
	if out, err := command.CombinedOutput(); err != nil || connected.Load() == 0 || !strings.Contains(string(out), "PASS") {
		t.Errorf("through the proxy, %d connections: %v\n%s", connected.Load(), err, out)
	}
}
