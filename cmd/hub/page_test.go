package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/inspection"
)

// TestPageOfTheHub: people log in to the page of a hub with tokens of its API server, see what their own rights let them list, and
// approve with their own rights.
func TestPageOfTheHub(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	base := "http://" + address
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+placementFile("edge", everyEdge)+
		applicationFile("shop", "edge", "manifests/shop", "page", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red"),
		func(o *Options) { o.UIAddress = address })
	f.deliver()
	f.join("one")
	f.expectReady("retail/shop")
	rule := func(resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{"muster.dev"}, Resources: []string{resource}, Verbs: verbs}
	}
	retail := f.token("retail", "viewer", rule("applications", "list"))
	stranger := f.token("default", "stranger", rule("applications", "list"))

	names := func(token string) (status int, list string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/api/v1/applications", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err.Error()
		}
		defer answer.Body.Close()
		var page struct {
			Items []struct{ Namespace, Name string } `json:"items"`
		}
		_ = json.NewDecoder(answer.Body).Decode(&page) // an error is no list
		for _, item := range page.Items {
			list += item.Namespace + "/" + item.Name + " "
		}
		return answer.StatusCode, list
	}
	f.eventually(func() string {
		if status, list := names(retail); status != http.StatusOK || list != "retail/shop " {
			return fmt.Sprintf("the team sees %d %q", status, list)
		}
		return ""
	})
	if status, list := names(stranger); status != http.StatusOK || list != "" {
		t.Errorf("a stranger sees %d %q", status, list)
	}
	if status, _ := names("no token of this server"); status != http.StatusUnauthorized {
		t.Errorf("a wrong token gives %d", status)
	}

	// The form: a browser without a token is sent to it, and comes back to where it wanted to go.
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	visit := func(answer *http.Response, err error) (string, string, int) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.Request.URL.Path, string(body), answer.StatusCode
	}
	if path, _, _ := visit(browser.Get(base + "/applications/retail/shop")); path != "/login" {
		t.Fatalf("without a token the browser is at %s", path)
	}
	if _, body, status := visit(browser.PostForm(base+"/login", url.Values{"token": {"wrong"}, "next": {"/applications"}})); status != http.StatusUnauthorized || !strings.Contains(body, "does not accept this token") {
		t.Errorf("a wrong token in the form gives %d\n%s", status, body)
	}
	path, body, _ := visit(browser.PostForm(base+"/login", url.Values{"token": {retail}, "next": {"/applications/retail/shop"}}))
	if path != "/applications/retail/shop" || !strings.Contains(body, "system:serviceaccount:retail:viewer") || !strings.Contains(body, "Log out") {
		t.Errorf("after the login the browser is at %s\n%s", path, body)
	}
	if _, _, status := visit(browser.Get(base + "/clusters/one")); status != http.StatusForbidden {
		t.Errorf("a team that may not list clusters gets %d of one", status)
	}

	// What is held is approved by who may, and by nobody else.
	f.push(placementFile("edge", `{clusterSets: [nowhere]}`))
	plan := ""
	f.eventually(func() string {
		if held := f.application("retail/shop").Status.Held; held != nil {
			plan = held.Plan
			return ""
		}
		return "nothing is held"
	})
	if _, _, status := visit(browser.PostForm(base+"/approve", url.Values{"plan": {plan}})); status != http.StatusForbidden {
		t.Errorf("a person who may only list approves with %d", status)
	}
	shop := url.Values{
		"namespace": {"retail"}, "name": {"shop"}, "reason": {"mine"}, "revision": {f.application("retail/shop").Status.Revision}, "to": {strings.Repeat("a", 40)},
		"hold": {"retail/pause-shop"}, "cluster": {"one"}, "step": {"one"},
	}
	for _, action := range []string{"/pause", "/resume", "/rollback", "/retry", "/abort", "/step", "/accept"} {
		if _, body, status := visit(browser.PostForm(base+action, shop)); status != http.StatusForbidden {
			t.Errorf("a person who may only list does %s with %d\n%s", action, status, body)
		}
	}
	repository := url.Values{"namespace": {"muster-system"}, "name": {"fleet"}}
	if _, _, status := visit(browser.PostForm(base+"/sync", repository)); status != http.StatusForbidden {
		t.Errorf("a person who may only list syncs with %d", status)
	}

	// What a cluster says now is told to who may ask it, and see the application.
	ask := func() (int, string) {
		_, body, status := visit(browser.Get(base + "/applications/retail/shop/clusters/one/live"))
		return status, body
	}
	if status, body := ask(); status != http.StatusForbidden {
		t.Errorf("who may not ask a cluster gets %d\n%s", status, body)
	}
	f.permit("one", "viewer", "retail", rule("inspections", "create", "get", "delete"))
	f.eventually(func() string {
		if status, body := ask(); status != http.StatusForbidden || !strings.Contains(body, "may not get application retail/shop") {
			return fmt.Sprintf("who may ask, and not get the application, gets %d\n%s", status, body)
		}
		return ""
	})
	sum := sha256.Sum256([]byte(f.url + "one"))
	agent := &inspection.Agent{Hub: f.cp.Config(), Spoke: f.spokes["one"].Config(), Cluster: "one", HubHash: hex.EncodeToString(sum[:])}
	stop := f.inBackground("the agent that answers", agent.Run)
	defer stop()
	f.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "gets"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "gets"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "retail", Name: "viewer"}},
	})
	f.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "gets"}, Rules: []rbacv1.PolicyRule{rule("applications", "get")}})
	f.eventually(func() string {
		if status, body := ask(); status != http.StatusOK || !strings.Contains(body, `<span class="kind">ConfigMap</span>`) || strings.Contains(body, `class="problem"`) {
			return fmt.Sprintf("who may ask gets %d\n%s", status, body)
		}
		return ""
	})
	if _, body, status := visit(browser.Get(base + "/applications/retail/shop/clusters/one/logs")); status != http.StatusForbidden || !strings.Contains(body, "may not read logs") {
		t.Errorf("who may not read logs gets %d\n%s", status, body)
	}
	if path, _, _ := visit(browser.PostForm(base+"/logout", nil)); path != "/login" {
		t.Errorf("after logging out the browser is at %s", path)
	}
	if path, _, _ := visit(browser.Get(base + "/")); path != "/login" {
		t.Errorf("who has logged out sees %s", path)
	}
}

// token makes an account with rights in its namespace, and gives a token of it.
func (f *theFleet) token(namespace, name string, rules ...rbacv1.PolicyRule) string {
	f.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	f.create(account)
	f.permit(namespace, name, namespace, rules...)
	request := &authenticationv1.TokenRequest{}
	if err := f.client.SubResource("token").Create(f.ctx, account, request); err != nil {
		f.t.Fatal(err)
	}
	return request.Status.Token
}

// permit gives an account of a namespace rights in one.
func (f *theFleet) permit(namespace, name, of string, rules ...rbacv1.PolicyRule) {
	f.t.Helper()
	f.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules})
	f.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: of, Name: name}},
	})
}

// read asks the hub's page for a path with a token, and gives the status and the answer as one text.
func (f *reviewed) read(path, token string) string {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.ctx, http.MethodGet, "http://"+f.page+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(answer.StatusCode, "\n", string(body))
}

// loginProvider is an OpenID Connect provider with one client, at which everybody is logged in already. Its ID token is one that the hub's
// API server accepts.
type loginProvider struct {
	*httptest.Server
	token     string // that it gives
	challenge string // of the login on its way
	code      string
}

const (
	pageClient = "page"
	pageSecret = "s3cret"
)

func newLoginProvider(t *testing.T, token string) *loginProvider {
	p := &loginProvider{token: token}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token"})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("client_id") != pageClient || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("scope") != "openid groups" {
			http.Error(w, "wrong request: "+r.URL.RawQuery, http.StatusBadRequest)
			return
		}
		p.challenge, p.code = q.Get("code_challenge"), rand.Text()
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {p.code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		w.Header().Set("Content-Type", "application/json")
		if id != pageClient || secret != pageSecret || p.code == "" || r.PostFormValue("code") != p.code || base64.RawURLEncoding.EncodeToString(sum[:]) != p.challenge {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
			return
		}
		p.code = ""
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "unused", "token_type": "Bearer", "id_token": p.token})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// TestLoginAtProvider: people log in at an OpenID Connect provider, come back to the page that they wanted, and see what their own rights let
// them; a way back that did not begin in the browser, and an ID token that the API server does not accept, let nobody in.
func TestLoginAtProvider(t *testing.T) {
	t.Parallel()
	address := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	base := "http://" + address
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "client-secret"), []byte(pageSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	provider := newLoginProvider(t, "")
	f := newFleet(t, tenant, func(o *Options) {
		o.UIAddress, o.UIURL = address, base
		o.UIOIDC = OIDCOptions{Issuer: provider.URL, ClientID: pageClient, Scopes: []string{"groups"}, Dir: dir}
	})
	f.deliver()
	good := f.token("default", "viewer", rbacv1.PolicyRule{APIGroups: []string{"muster.dev"}, Resources: []string{"applications"}, Verbs: []string{"list"}})
	browse := func(address string) (*http.Client, string, string) {
		t.Helper()
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := &http.Client{Jar: jar}
		answer, err := browser.Get(address)
		if err != nil {
			return nil, "", err.Error()
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return browser, answer.Request.URL.Path, string(body)
	}
	f.eventually(func() string {
		_, path, body := browse(base + "/applications?q=shop")
		return has(path, body, `href="/login/oidc?next=%2fapplications%3fq%3dshop"`)
	})
	provider.token = good
	_, path, body := browse(base + "/login/oidc?next=" + url.QueryEscape("/applications?q=shop"))
	if path != "/applications" || !strings.Contains(body, "system:serviceaccount:default:viewer") {
		t.Errorf("who has logged in is at %s\n%s", path, body)
	}
	if _, _, body := browse(base + "/login/oidc/callback?code=x&state=y"); !strings.Contains(body, "did not begin in this browser") {
		t.Errorf("a way back without a login gives\n%s", body)
	}
	provider.token = "no token of this server"
	if _, path, body := browse(base + "/login/oidc"); !strings.Contains(body, "does not accept this token") {
		t.Errorf("an ID token that the API server does not know ends at %s\n%s", path, body)
	}
}
