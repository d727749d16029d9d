package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/source"
	"github.com/muster-io/muster/internal/test/charts"
)

// TestTrigger: who has the token of a Secret has looked at what is named with it, and at nothing else.
func TestTrigger(t *testing.T) {
	read := 0
	library := &source.Library{Dir: t.TempDir(), Git: &source.Store{Dir: t.TempDir()}, Secret: func(_ context.Context, namespace, name string) (map[string][]byte, error) {
		read++
		if namespace+"/"+name != "retail/registry" {
			return nil, errors.New("not found")
		}
		return map[string][]byte{"username": []byte("ann"), "password": []byte("hunter2"), "webhookPlainToken": []byte("s3cret\n")}, nil
	}}
	s := New(library)
	for _, secret := range []string{"registry", "other"} {
		for _, name := range []string{"web", "shop"} {
			_, _ = library.Sources().Find(fleet.ReferenceOf("retail", musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{
				Repo: "oci://registry.example.com/charts", Name: name, Version: "1.0.0", SecretRef: &musterv1alpha1.LocalReference{Name: secret},
			}})) // it is not there yet
		}
	}
	for range s.queue.Len() {
		remote, _ := s.queue.Get()
		s.queue.Done(remote)
	}
	s.Trigger("retail", "registry")
	if got := s.queue.Len(); got != 2 {
		t.Errorf("%d remotes are looked at, want 2", got)
	}
	s.Trigger("other", "registry")
	s.Trigger("retail", "")
	if got := s.queue.Len(); got != 2 {
		t.Errorf("%d remotes are looked at after triggers of nothing, want 2", got)
	}
	if key, ok := library.WebhookKey(t.Context(), "retail", "registry"); !ok || string(key.Token) != "s3cret" || !key.Plain {
		t.Errorf("the key is %q, %v, %v", key.Token, key.Plain, ok)
	}
	read = 0
	for _, stranger := range [][2]string{{"other", "registry"}, {"retail", "unused"}, {"retail", ""}} {
		if _, ok := library.WebhookKey(t.Context(), stranger[0], stranger[1]); ok {
			t.Errorf("%q has a key", stranger)
		}
	}
	if read > 0 {
		t.Errorf("%d Secrets were read that no source names", read)
	}
}

// TestOneNamespaceDoesNotHoldTheOthers: sources of a namespace that never answer do not keep those of another one from being fetched.
func TestOneNamespaceDoesNotHoldTheOthers(t *testing.T) {
	ended := make(chan struct{})
	asked := make(chan string, 100)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		<-ended
	}))
	defer silent.Close()
	defer close(ended)
	repo := charts.New(t)
	repo.Publish("web", "1.0.0", "")
	library := &source.Library{Dir: t.TempDir(), Git: &source.Store{Dir: t.TempDir()}, Insecure: true}
	s := New(library)
	name := func(namespace, repo string) *fleet.Reference {
		r := fleet.ReferenceOf(namespace, musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{Repo: repo, Name: "web", Version: "1.0.0", Insecure: true}})
		_, _ = library.Sources().Find(r) // it is not there yet
		return r
	}
	for i := range 50 {
		name("slow", fmt.Sprintf("%s/%d", silent.URL, i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Errorf("the looks end with %v", err)
		}
	}()
	for range maxNamespaceLooks {
		<-asked
	}
	r, late := name("other", repo.URL), time.After(time.Minute)
	for {
		found, err := library.Sources().Find(r)
		if err == nil && found.Version == "1.0.0" {
			break
		}
		select {
		case <-late:
			t.Fatalf("the other namespace has nothing: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if more := len(asked); more > 0 {
		t.Errorf("%d more of the one namespace are asked at a time", more)
	}
}

// TestTurns: of those that wait the namespace with the fewest looks is next, and none has more than its share.
func TestTurns(t *testing.T) {
	var turns turns
	for i := range 20 {
		turns.add(fmt.Sprintf("a%d", i), []string{"a"})
	}
	turns.add("shared", []string{"a", "b"})
	turns.add("c0", []string{"c"})
	turns.add("nobody's", nil)
	var began []look
	for next, ok := turns.next(); ok; next, ok = turns.next() {
		began = append(began, next)
	}
	want := []look{{"a0", "a"}, {"shared", "b"}, {"c0", "c"}, {"nobody's", ""}, {"a1", "a"}, {"a2", "a"}}
	if diff := cmp.Diff(want, began, cmp.AllowUnexported(look{})); diff != "" {
		t.Fatalf("begun (-want +got):\n%s", diff)
	}
	turns.add("c1", []string{"c"})
	turns.end(began[0])
	next, _ := turns.next()
	if next.remote != "c1" {
		t.Errorf("next is %v, although namespace c has fewer looks", next)
	}
	if next, _ = turns.next(); next.remote != "a3" {
		t.Errorf("next is %v", next)
	}
	for i := range 2 * maxLooks {
		turns.add("x", []string{fmt.Sprint(i)})
	}
	for _, ok := turns.next(); ok; _, ok = turns.next() {
	}
	if turns.running != maxLooks {
		t.Errorf("%d looks run at a time", turns.running)
	}
}
