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
	"github.com/muster-io/muster/internal/test/registry"
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
	proxy, connected := proxyTo(t, "example.com:443", repo.Listener.Addr().String(), "")
	command := exec.Command(os.Args[0], "-test.run=^TestProxy$")
	command.Env = append(os.Environ(), "MUSTER_TEST_PROXIED="+base64.StdEncoding.EncodeToString(repo.CA()), "HTTPS_PROXY="+proxy, "NO_PROXY=")
	if out, err := command.CombinedOutput(); err != nil || connected.Load() == 0 || !strings.Contains(string(out), "PASS") {
		t.Errorf("through the proxy, %d connections: %v\n%s", connected.Load(), err, out)
	}
}

// proxyTo runs a proxy that connects to one host only, which is at an address of this machine; login is user:password, empty for none.
func proxyTo(t *testing.T, host, address, login string) (proxy string, connected *atomic.Int64) {
	t.Helper()
	connected = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if login != "" && r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(login)) {
			http.Error(w, "who are you?", http.StatusProxyAuthRequired)
			return
		}
		if r.Method != http.MethodConnect || r.Host != host {
			http.Error(w, "only "+host, http.StatusForbidden)
			return
		}
		connected.Add(1)
		to, err := net.Dial("tcp", address)
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
	t.Cleanup(server.Close)
	if login != "" {
		return strings.Replace(server.URL, "http://", "http://"+login+"@", 1), connected
	}
	return server.URL, connected
}

// TestProxyOfASecret: charts, artifacts and Git repositories are fetched through the proxy that the Secret names, and one that is away says
// nothing of the host that others ask.
func TestProxyOfASecret(t *testing.T) {
	repo := charts.New(t) // the certificates of tests are for example.com
	repo.Publish("web", "1.0.0", webChart)
	artifacts := registry.New(t)
	artifacts.Push("web", "1.0.0", registry.Chart, charts.Pack("web", "1.0.0", webChart))
	root := t.TempDir()
	git := newRepository(t, root+"/charts.git")
	head := git.push("main", git.commit(map[string]file{"Chart.yaml": text("name: web")}))
	gitServer := httptest.NewTLSServer(gitHandler(t, root, nil))
	defer gitServer.Close()
	named := &musterv1alpha1.LocalReference{Name: "proxied"}
	for name, c := range map[string]struct {
		address, ca string
		source      musterv1alpha1.Source
		want        string // version or commit
	}{
		"charts":   {repo.Listener.Addr().String(), string(repo.CA()), musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{Repo: "https://example.com/", Name: "web", Version: "1.0.0", SecretRef: named}}, "1.0.0"},
		"registry": {artifacts.Host(), string(artifacts.CA()), musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{Repo: "oci://example.com", Name: "web", Version: "1.0.0", SecretRef: named}}, "1.0.0"},
		"git": {gitServer.Listener.Addr().String(), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: gitServer.Certificate().Raw})),
			musterv1alpha1.Source{Git: &musterv1alpha1.GitSource{URL: "https://example.com/charts.git", SecretRef: named}}, head},
	} {
		t.Run(name, func(t *testing.T) {
			proxy, connected := proxyTo(t, "example.com:443", c.address, "ann:hunter2")
			s := newShelf(t)
			s.secrets["retail/proxied"] = map[string][]byte{"ca.crt": []byte(c.ca), "proxy": []byte(proxy + "\n")}
			r := fleet.ReferenceOf("retail", c.source)
			found, err := s.look(r)
			if err != nil || found.Version != c.want && found.Digest != c.want || connected.Load() == 0 {
				t.Fatalf("%+v, %v, %d connections", found, err, connected.Load())
			}
			s.secrets["retail/proxied"]["proxy"] = []byte("http://ann:hunter2@127.0.0.1:1")
			found, err = s.look(r)
			if err != nil || found.Problem == "" || strings.Contains(found.Problem, "hunter2") {
				t.Errorf("with a proxy that is away: %+v, %v", found, err)
			}
			if wait := s.Hosts.patience("example.com"); wait > 0 {
				t.Errorf("the host is left in peace for %v because of somebody's proxy", wait)
			}
		})
	}
	for value, says := range map[string]string{
		"ftp://hunter2": "is no address of a proxy", "hunter2": "is no address of a proxy", "http://": "is no address of a proxy", "http://hunter2:x:y": "is no address of a proxy",
	} {
		if _, err := CredentialsFromSecret(map[string][]byte{"proxy": []byte(value)}); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", value, err)
		}
	}
	c := credentials(t, "proxy", "http://proxy:3128")
	if _, err := (Remote{URL: "ssh://git@example.com/x", Credentials: c}).check(); err == nil || !strings.Contains(err.Error(), `"proxy" is for https`) {
		t.Errorf("ssh through a proxy: %v", err)
	}
}
