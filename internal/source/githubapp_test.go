package source

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestGitHubApp: an App's key is exchanged for a token of its installation, which opens the repository for an hour.
func TestGitHubApp(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "fleet.git"))
	first := r.push("main", r.commit(map[string]file{"a": text("b")}))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	var tokens atomic.Int32
	var life atomic.Int64
	life.Store(int64(time.Hour))
	token := func() string { return fmt.Sprintf("ghs_%d", tokens.Load()) }
	git := gitHandler(t, root, func(r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		return user == "x-access-token" && password == token()
	})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !strings.HasPrefix(request.URL.Path, "/api/v3/app/installations/") {
			git.ServeHTTP(w, request)
			return
		}
		bearer := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
		claims := jwt.RegisteredClaims{}
		_, err := jwt.ParseWithClaims(bearer, &claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil }, jwt.WithIssuer("123"), jwt.WithExpirationRequired())
		switch {
		case err != nil:
			w.WriteHeader(http.StatusUnauthorized)
		case request.URL.Path != "/api/v3/app/installations/456/access_tokens" || request.Method != http.MethodPost:
			w.WriteHeader(http.StatusNotFound)
		default:
			tokens.Add(1)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"token":%q,"expires_at":%q}`, token(), time.Now().Add(time.Duration(life.Load())).UTC().Format(time.RFC3339))
		}
	}))
	t.Cleanup(server.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	of := func(id, installation string) Remote {
		return Remote{URL: server.URL + "/fleet.git", Ref: Ref{Branch: "main"}, Credentials: credentials(t, "ca.crt", ca,
			"githubAppID", id, "githubAppInstallationID", installation, "githubAppPrivateKey", private, "githubAppBaseURL", server.URL+"/api/v3")}
	}
	s := &Store{Dir: t.TempDir()}
	for range 2 {
		revision, err := s.Fetch(t.Context(), of("123", "456"))
		if err != nil || revision != first {
			t.Fatalf("fetched %s, %v", revision, err)
		}
	}
	if tokens.Load() != 1 {
		t.Errorf("%d tokens for two fetches within its hour", tokens.Load())
	}
	life.Store(int64(time.Minute)) // from the next one on
	other := &Store{Dir: t.TempDir()}
	for range 2 {
		if _, err := other.Fetch(t.Context(), of("123", "456")); err != nil {
			t.Fatal(err)
		}
	}
	if tokens.Load() != 3 {
		t.Errorf("%d tokens: one that is about to end is not used again", tokens.Load())
	}
	for want, remote := range map[string]Remote{
		"does not accept the key of GitHub App 999 (HTTP 401)": of("999", "456"),
		"GitHub App 123 has no installation 789 (HTTP 404)":    of("123", "789"),
	} {
		_, err := s.Fetch(t.Context(), remote)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for want, secret := range map[string]map[string][]byte{
		`"githubAppID" needs "githubAppInstallationID"`: {"githubAppID": []byte("1"), "githubAppPrivateKey": []byte(private)},
		`"githubAppPrivateKey" is no RSA key`:           {"githubAppID": []byte("1"), "githubAppInstallationID": []byte("2"), "githubAppPrivateKey": []byte("x")},
		`exclude each other`:                            {"githubAppID": []byte("1"), "githubAppInstallationID": []byte("2"), "githubAppPrivateKey": []byte(private), "bearerToken": []byte("x")},
		`is no https:// address`: {"githubAppID": []byte("1"), "githubAppInstallationID": []byte("2"), "githubAppPrivateKey": []byte(private),
			"githubAppBaseURL": []byte("http://x")},
	} {
		if _, err := CredentialsFromSecret(secret); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
