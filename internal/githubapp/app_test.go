package githubapp

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTokenIsShared: many who ask at once cause one request, and one that gives up waiting does so although GitHub does not answer.
func TestTokenIsShared(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	asked, goOn := make(chan struct{}, 10), make(chan struct{})
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		asked <- struct{}{}
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token":"ghs","expires_at":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339))
	}))
	t.Cleanup(server.Close)
	app := &App{Identity: Identity{"1", "2", key}, API: server.URL, Transport: http.DefaultTransport}

	impatient, give := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := app.Token(impatient); first <- err }()
	<-asked
	give()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatalf("who gave up got %v", err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if token, err := app.Token(t.Context()); token != "ghs" || err != nil {
				t.Errorf("%q %v", token, err)
			}
		})
	}
	close(goOn) // the request of the one that gave up serves the others
	all.Wait()
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests, want one", n)
	}
}

func TestIdentityOf(t *testing.T) {
	for want, c := range map[string][3]string{
		`"githubAppID" is no number`:             {"x", "2", "key"},
		`"githubAppInstallationID" is no number`: {"1", "2/../3", "key"},
		`"githubAppPrivateKey" is no RSA key`:    {"1", "2", "secret"},
	} {
		if _, err := IdentityOf(c[0], c[1], c[2]); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
