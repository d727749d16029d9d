package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log" //nolint:depguard // the test reads what a library logs there
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/onsi/gomega/gbytes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/internal/access"
	"github.com/muster-io/muster/internal/hub/proxy"
	agent "github.com/muster-io/muster/klusterlet/proxy"
)

// people are who asks, by token. Clusters are known by the name in their agents' certificates.
var people = map[string]user.DefaultInfo{
	"jane": {Name: "jane", Groups: []string{"shop", "system:authenticated"}},
	"joe":  {Name: "joe", Groups: []string{"system:authenticated"}},
	"bot":  {Name: "system:serviceaccount:ci:bot", Groups: []string{"system:serviceaccounts", "system:authenticated"}},
}

func authenticate(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		cluster := r.TLS.PeerCertificates[0].DNSNames[0]
		return &authenticator.Response{User: &user.DefaultInfo{
			Name: "system:open-cluster-management:" + cluster + ":a1", Groups: []string{"system:open-cluster-management:" + cluster},
		}}, true, nil
	}
	who, ok := people[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	return &authenticator.Response{User: &who}, ok, nil
}

// authorize lets everybody but joe reach every cluster.
func authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetVerb() == "get" && a.GetAPIGroup() == clusterv1.GroupName && a.GetResource() == "managedclusters" && a.GetSubresource() == "proxy" && a.GetName() != "" && a.GetUser().GetName() != "joe" {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// hub is a proxy with a relay in front of it that can be cut, and what agents ask of the hub's API server.
type hub struct {
	t        *testing.T
	clusters client.Client
	tls      *httptest.Server
	api      *httptest.Server
	relay    net.Listener
	mu       sync.Mutex
	open     []net.Conn
}

func newHub(t *testing.T, clusters ...string) *hub {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clusterv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	var objects []client.Object
	for _, name := range clusters {
		objects = append(objects, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true}})
	}
	h := &hub{t: t, clusters: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()}
	p := &proxy.Proxy{Authenticator: authenticator.RequestFunc(authenticate), Authorizer: authorizer.AuthorizerFunc(authorize), Clusters: h.clusters, Log: logr.Discard()}
	ctx, cancel := context.WithCancel(context.Background())
	p.Start(ctx)
	h.tls = httptest.NewUnstartedServer(p)
	h.tls.EnableHTTP2 = true
	h.tls.StartTLS()
	h.tls.TLS.ClientAuth = 1 // a certificate is asked for
	var err error
	if h.relay, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go h.serveRelay()
	h.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/muster-system/configmaps/muster-proxy" {
			http.NotFound(w, r)
			return
		}
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.tls.Certificate().Raw})
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Data: map[string]string{access.URLKey: "https://" + h.relay.Addr().String(), access.CAKey: string(ca)},
		})
	}))
	t.Cleanup(func() {
		cancel()
		_ = h.relay.Close()
		h.cut()
		h.tls.CloseClientConnections()
		h.tls.Close()
		h.api.Close()
	})
	return h
}

// serveRelay carries bytes between agents and the proxy.
func (h *hub) serveRelay() {
	for {
		from, err := h.relay.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", h.tls.Listener.Addr().String())
		if err != nil {
			_ = from.Close()
			continue
		}
		h.mu.Lock()
		h.open = append(h.open, from, to)
		h.mu.Unlock()
		go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
		go func() { _, _ = io.Copy(from, to); _ = from.Close() }()
	}
}

// cut breaks every connection of an agent.
func (h *hub) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.open {
		_ = c.Close()
	}
	h.open = nil
}

// join runs an agent whose certificate is of a cluster until the test ends.
func (h *hub) join(cluster string, spoke http.Handler) {
	h.t.Helper()
	api := httptest.NewServer(spoke)
	certificate, key, err := cert.GenerateSelfSignedCertKey(cluster, nil, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	a := &agent.Agent{
		Hub:   &rest.Config{Host: h.api.URL, TLSClientConfig: rest.TLSClientConfig{CertData: certificate, KeyData: key}},
		Spoke: &rest.Config{Host: api.URL, BearerToken: "the agent's of " + cluster},
		Look:  50 * time.Millisecond, Retry: 20 * time.Millisecond,
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("agent: %v", err)
		}
		api.CloseClientConnections()
		api.Close()
	})
}

func (h *hub) request(method, path, who string) *http.Request {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.tls.URL+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+who)
	return r
}

// get asks until the tunnel is there, and gives status and body.
func (h *hub) get(path, who string, change ...func(*http.Request)) (int, string) {
	h.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		r := h.request(http.MethodGet, path, who)
		for _, c := range change {
			c(r)
		}
		response, err := h.tls.Client().Do(r)
		if err != nil {
			h.t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err == nil && response.StatusCode != http.StatusServiceUnavailable || time.Now().After(deadline) {
			return response.StatusCode, string(body)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// echo tells what reached the API server of a cluster.
func echo(cluster string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		groups := slices.Sorted(slices.Values(r.Header.Values("Impersonate-Group")))
		fmt.Fprintf(w, "%s %s %s as %s %v with %s", cluster, r.Method, r.URL.RequestURI(), r.Header.Get("Impersonate-User"), groups, r.Header.Get("Authorization"))
	}
}

func TestRequestsReachTheirCluster(t *testing.T) {
	t.Parallel()
	h := newHub(t, "one", "two")
	h.join("one", echo("one"))
	h.join("two", echo("two"))
	tests := map[string]struct {
		why, path, who string
		change         func(*http.Request)
		code           int
		body           string
	}{
		"a person":          {"as herself, with the agent's credentials and not with hers", "/one/api/v1/pods?limit=5", "jane", nil, 200, "one GET /api/v1/pods?limit=5 as jane [shop] with Bearer the agent's of one"},
		"another cluster":   {"the path says which", "/two/version", "jane", nil, 200, "two GET /version as jane [shop] with Bearer the agent's of two"},
		"an escaped path":   {"it stays escaped", "/one/apis/x/a%2Fb", "jane", nil, 200, "one GET /apis/x/a%2Fb as jane [shop] with Bearer the agent's of one"},
		"a service account": {"it is not the cluster's account of that name", "/one/version", "bot", nil, 200, "one GET /version as cluster:hub:system:serviceaccount:ci:bot [cluster:hub:system:serviceaccounts] with Bearer the agent's of one"},
		"who may not":       {"the hub's RBAC decides", "/one/version", "joe", nil, 403, `user \"joe\" cannot get managedclusters/proxy one on the hub`},
		"nobody":            {"without a token there is no answer", "/one/version", "", nil, 401, "Unauthorized"},
		"as somebody else": {"--as is a right that the hub has not checked", "/one/version", "jane", func(r *http.Request) { r.Header.Set("Impersonate-User", "root") },
			403, "leave --as away"},
		"an unknown cluster for who may not": {"who may not learns nothing", "/three/version", "joe", nil, 403, "cannot get"},
		"no cluster":                         {"the path has to name one", "/", "jane", nil, 400, "name of a managed cluster"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			code, body := h.get(tc.path, tc.who, func(r *http.Request) {
				if tc.change != nil {
					tc.change(r)
				}
			})
			if code != tc.code || !strings.Contains(body, tc.body) {
				t.Errorf("%s: %d %s\nwant %d %s", tc.why, code, body, tc.code, tc.body)
			}
		})
	}
}

func TestClustersThatAreNotAccepted(t *testing.T) {
	t.Parallel()
	h := newHub(t, "one")
	h.join("one", echo("one"))
	if code, body := h.get("/one/version", "jane"); code != http.StatusOK {
		t.Fatal(code, body)
	}
	var one clusterv1.ManagedCluster
	if err := h.clusters.Get(t.Context(), client.ObjectKey{Name: "one"}, &one); err != nil {
		t.Fatal(err)
	}
	one.Spec.HubAcceptsClient = false
	if err := h.clusters.Update(t.Context(), &one); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/one/version": "does not accept cluster one", "/two/version": "no managed cluster two"} {
		response, err := h.tls.Client().Do(h.request(http.MethodGet, path, "jane"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), want) {
			t.Errorf("%d %s, want %s", response.StatusCode, body, want)
		}
	}
}

// TestBrokenBody: an answer that breaks off in the middle is no news of the hub's log.
func TestBrokenBody(t *testing.T) {
	t.Parallel()
	h := newHub(t, "one")
	h.join("one", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/broken" {
			return
		}
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	}))
	h.get("/one/version", "jane")
	response, err := h.tls.Client().Do(h.request(http.MethodGet, "/one/broken", "jane"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err == nil || string(body) != "half" {
		t.Errorf("the user reads %q, %v", body, err)
	}
	if said := string(standardLog.Contents()); strings.Contains(said, "ReverseProxy") {
		t.Errorf("the log has %s", said)
	}
}

// standardLog is what the package log has written.
var standardLog = gbytes.NewBuffer()

func TestMain(m *testing.M) {
	log.SetOutput(standardLog)
	os.Exit(m.Run())
}

// TestStreams: what a cluster tells bit by bit arrives bit by bit, and a connection that changes its protocol, as exec does, goes
// both ways.
func TestStreams(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	h := newHub(t, "one")
	h.join("one", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			for i := range 3 {
				fmt.Fprintf(w, "event %d\n", i)
				w.(http.Flusher).Flush()
				<-next
			}
			return
		}
		conn, buffer, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := buffer.ReadString('\n')
		_, _ = io.WriteString(conn, r.Header.Get("Impersonate-User")+" says "+line)
	}))
	wait := func(path string) {
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			response, err := h.tls.Client().Do(h.request(http.MethodGet, path, "jane"))
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode == http.StatusOK {
				lines := bufio.NewScanner(response.Body)
				for i := range 3 { // each before the cluster says the next
					if !lines.Scan() || lines.Text() != fmt.Sprintf("event %d", i) {
						t.Fatalf("%q, want event %d", lines.Text(), i)
					}
					next <- struct{}{}
				}
				_ = response.Body.Close()
				return
			}
			_ = response.Body.Close()
		}
		t.Fatal("there is no tunnel")
	}
	wait("/one/api/v1/pods?watch=true")

	transport := h.tls.Client().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2, transport.TLSClientConfig.NextProtos = false, []string{"http/1.1"}
	defer transport.CloseIdleConnections()
	r := h.request(http.MethodPost, "/one/api/v1/namespaces/shop/pods/web/exec", "jane")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s", response.Status)
	}
	both := response.Body.(io.ReadWriteCloser)
	if _, err := io.WriteString(both, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(both).ReadString('\n'); line != "jane says hello\n" {
		t.Errorf("%q, %v", line, err)
	}
}

// TestAgentsComeBack: after every connection has broken the agent opens its tunnel again by itself.
func TestAgentsComeBack(t *testing.T) {
	t.Parallel()
	h := newHub(t, "one")
	h.join("one", echo("one"))
	for range 3 {
		if code, body := h.get("/one/version", "jane"); code != http.StatusOK {
			t.Fatal(code, body)
		}
		h.cut()
	}
	if code, body := h.get("/one/version", "jane"); code != http.StatusOK {
		t.Error(code, body)
	}
}
