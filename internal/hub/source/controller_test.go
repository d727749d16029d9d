package source

import (
	"context"
	"errors"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/source"
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
