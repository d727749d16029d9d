package source

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

func TestOtherRepositoriesAreSources(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "charts.git"))
	first := r.push("main", r.commit(map[string]file{"ingress/config.yaml": text("color: red")}))
	r.tag("v1", first)
	server := serveHTTP(t, root, basic("ann", "hunter2"))
	host := serveSSH(t)
	of := func(url, secret string, ref musterv1alpha1.GitRef) *fleet.Reference {
		return fleet.ReferenceOf("retail", musterv1alpha1.Source{Git: &musterv1alpha1.GitSource{
			URL: url, Ref: &ref, Path: "ingress", SecretRef: &musterv1alpha1.LocalReference{Name: secret}, Insecure: strings.HasPrefix(url, "http://"),
		}})
	}
	s := newShelf(t)
	s.secrets["retail/basic"] = map[string][]byte{"username": []byte("ann"), "password": []byte("hunter2")}
	s.secrets["retail/key"] = map[string][]byte{"identity": host.identity, "known_hosts": host.knownHosts}
	branch := of(server.URL+"/charts.git", "basic", musterv1alpha1.GitRef{Branch: "main"})
	if _, err := s.look(branch); err == nil || !strings.Contains(err.Error(), "the hub does not allow it") {
		t.Errorf("plain HTTP: %v", err)
	}
	s.Insecure = true
	tag := of("ssh://git@"+host.address+r.dir, "key", musterv1alpha1.GitRef{Tag: "v1"})
	for _, reference := range []*fleet.Reference{branch, tag} {
		found := s.finds(reference, reference.Wants())
		data, err := fs.ReadFile(found.Tree, "ingress/config.yaml")
		if err != nil || string(data) != "color: red" || found.Digest != first || found.Name != "charts@"+first[:7] {
			t.Errorf("%s is %s at %s with %q, %v", reference, found.Name, found.Digest, data, err)
		}
	}
	second := r.push("main", r.commit(map[string]file{"ingress/config.yaml": text("color: blue")}, first))
	if found := s.finds(branch, "main"); found.Digest != second {
		t.Errorf("the branch is at %s, want %s", found.Digest, second)
	}
	if found := s.finds(tag, "v1"); found.Digest != first {
		t.Errorf("the tag is at %s, want %s", found.Digest, first)
	}
	server.Close()
	must(t, os.RemoveAll(r.dir))
	if found, err := s.restart().Sources().Find(branch); err != nil || found.Digest != second {
		t.Errorf("after a restart without the repository: %+v, %v", found, err)
	}
	if found, err := s.look(branch); err != nil || found.Digest != second || !strings.Contains(found.Problem, "cannot be reached") {
		t.Errorf("without the repository: %+v, %v", found, err)
	}
}

// TestWhatNobodyUsesGoes: a reference that no plan has asked for in a while takes no room, and its remote is not asked.
func TestWhatNobodyUsesGoes(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "charts.git"))
	r.push("main", r.commit(map[string]file{"a": text("b")}))
	s := newShelf(t)
	s.Git.Local = []string{root}
	reference := fleet.ReferenceOf("retail", musterv1alpha1.Source{Git: &musterv1alpha1.GitSource{URL: "file://" + r.dir}})
	found := s.finds(reference, "")
	age := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held[reference.Key()].wantedAt = s.held[reference.Key()].wantedAt.Add(-2 * unusedAfter)
	}
	s.Use("Application retail/web", []fleet.UsedSource{{Reference: reference, Found: found}})
	age()
	if looked := s.Look(t.Context(), remoteName(reference)); looked.Again == 0 {
		t.Errorf("somebody uses it: %+v", looked)
	}
	s.Use("Application retail/web", nil)
	if looked := s.Look(t.Context(), remoteName(reference)); looked.Again != 0 {
		t.Errorf("nobody uses it: %+v", looked)
	}
	if left, err := os.ReadDir(s.Git.Dir); err != nil || len(left) > 0 {
		t.Errorf("mirrors that are left: %v, %v", left, err)
	}
	if files, err := filepath.Glob(filepath.Join(s.Dir, "*", "*")); err != nil || len(files) > 0 {
		t.Errorf("files that are left: %q, %v", files, err)
	}
}
