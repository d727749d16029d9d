package charthost

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/source"
)

// TestServe: what the hub fetches with the password is the newest version of a range, from the repository and from the registry;
// nobody gets anything without it.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, dir) }()
	a := served(t, dir, ended)
	for _, chart := range []musterv1alpha1.ChartSource{
		{Repo: a.Repository(), Name: Metrics, Version: "~1.4"},
		{Repo: a.Registry(), Name: Logs, Version: "^0.9"},
	} {
		chart.SecretRef = &musterv1alpha1.LocalReference{Name: "charts"}
		r := fleet.ReferenceOf("platform", musterv1alpha1.Source{Chart: &chart})
		found, err := fetch(t, a, r)
		want := map[string]string{Metrics: "1.4.2", Logs: "0.9.1"}[chart.Name]
		if err != nil || found.Version != want || !strings.HasPrefix(found.Digest, "sha256:") {
			t.Errorf("%s: %+v, %v; want %s", r, found, err, want)
		}
		a := a
		a.Password = "guessed"
		if found, err := fetch(t, a, r); err == nil || found != nil {
			t.Errorf("%s with a wrong password: %+v, %v", r, found, err)
		}
	}
	for _, path := range []string{"/charts/index.yaml", "/v2/"} {
		response, err := a.client().Get("https://" + a.Address + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a password: %s", path, response.Status)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the end of serving: %v", err)
	}
}

// served waits until the host says how to reach it.
func served(t *testing.T, dir string, ended <-chan error) Access {
	for {
		a, err := Read(dir)
		if err == nil {
			return a
		}
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// fetch is what a hub with an empty volume does.
func fetch(t *testing.T, a Access, r *fleet.Reference) (*fleet.Found, error) {
	l := &source.Library{Dir: t.TempDir(), Git: &source.Store{Dir: t.TempDir()}, Secret: func(context.Context, string, string) (map[string][]byte, error) {
		return map[string][]byte{"username": []byte(User), "password": []byte(a.Password), "ca.crt": a.CA}, nil
	}}
	_, _ = l.Sources().Find(r) // asks for it
	l.Look(t.Context(), l.RemoteOf(r))
	return l.Sources().Find(r)
}
