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
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
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

// TestCredentialsStayAtTheirHost: a redirect to another port or host does not take them along, one on the same does.
func TestCredentialsStayAtTheirHost(t *testing.T) {
	repo := charts.New(t)
	repo.Publish("web", "1.0.0", webChart)
	var elsewhere, home atomic.Value
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Store(r.Header.Get("Authorization"))
		repo.Config.Handler.ServeHTTP(w, r)
	}))
	defer other.Close()
	mine := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/charts/index.yaml" {
			http.Redirect(w, r, "/moved/index.yaml", http.StatusFound)
			return
		}
		home.Store(r.Header.Get("Authorization"))
		http.Redirect(w, r, other.URL+"/index.yaml", http.StatusFound)
	}))
	defer mine.Close()
	c := credentials(t, "username", "ann", "password", "hunter2", "ca.crt", string(repo.CA()))
	at, err := url.Parse(mine.URL + "/charts/index.yaml")
	must(t, err)
	w := &web{client: new(clients).of(c, false), credentials: c, home: at}
	_, err = w.get(t.Context(), at, nil, 1<<20)
	must(t, err)
	if home.Load() == "" || elsewhere.Load() != "" {
		t.Errorf("the same host gets %q, another port %q", home.Load(), elsewhere.Load())
	}
}

// TestInsecureGit: a source that asks for it takes a certificate that nobody vouches for, where the hub allows it, and no other source does.
func TestInsecureGit(t *testing.T) {
	root := t.TempDir()
	repo := newRepository(t, root+"/charts.git")
	want := repo.push("main", repo.commit(map[string]file{"Chart.yaml": text("name: web")}))
	server := httptest.NewTLSServer(gitHandler(t, root, nil))
	defer server.Close()
	of := func(insecure bool) *fleet.Reference {
		return fleet.ReferenceOf("retail", musterv1alpha1.Source{Git: &musterv1alpha1.GitSource{URL: server.URL + "/charts.git", Insecure: insecure}})
	}
	s := newShelf(t)
	if found, err := s.look(of(true)); err == nil || !strings.Contains(err.Error(), "--insecure-sources") {
		t.Errorf("the hub does not allow it: %+v, %v", found, err)
	}
	s.Insecure = true
	if found, err := s.look(of(true)); err != nil || found.Digest != want {
		t.Errorf("the hub allows it: %+v, %v", found, err)
	}
	if found, err := s.look(of(false)); err == nil || !strings.Contains(err.Error(), "is not trusted") {
		t.Errorf("the source does not ask for it: %+v, %v", found, err)
	}
}

// TestWhatSparesAHost: one address that misbehaves, or one Secret, does not keep others from being asked.
func TestWhatSparesAHost(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/plain":
			http.Redirect(w, r, "http://"+r.Host+"/", http.StatusFound)
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/break":
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	wanting := httptest.NewUnstartedServer(http.NotFoundHandler())
	wanting.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	wanting.StartTLS()
	defer wanting.Close()
	away := httptest.NewTLSServer(nil)
	away.Close()
	c := credentials(t, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	for address, spares := range map[string]bool{
		server.URL + "/loop": false, server.URL + "/plain": false, wanting.URL + "/": false,
		server.URL + "/busy": true, server.URL + "/break": true, away.URL + "/": true,
	} {
		at, err := url.Parse(address)
		must(t, err)
		w := &web{client: new(clients).of(c, false), credentials: c, home: at}
		_, err = w.get(t.Context(), at, nil, 1<<20)
		var busy *busyError
		if err == nil || errors.As(err, &busy) != spares {
			t.Errorf("%s: %v; it spares the host: %v", address, err, !spares)
		}
	}
	var busy *busyError
	if err := unreachable("the tags of oci://h/x", "h", c, errors.New("it has more than 20000 tags")); errors.As(err, &busy) {
		t.Errorf("%v spares the host", err)
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
		from, sent, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		go func() { _, _ = io.Copy(to, sent) }() // what was read already too, until one side ends
		_, _ = io.Copy(from, to)
	}))
	defer proxy.Close()
	command := exec.Command(os.Args[0], "-test.run=^TestProxy$")
	command.Env = append(os.Environ(), "MUSTER_TEST_PROXIED="+base64.StdEncoding.EncodeToString(repo.CA()), "HTTPS_PROXY="+proxy.URL, "NO_PROXY=")
	if out, err := command.CombinedOutput(); err != nil || connected.Load() == 0 || !strings.Contains(string(out), "PASS") {
		t.Errorf("through the proxy, %d connections: %v\n%s", connected.Load(), err, out)
	}
}
