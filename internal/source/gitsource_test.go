package source

import (
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
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

// TestRefsOfOneRepositoryAreOneLook: however many refs of a repository are named, it is asked for them once, over HTTP and over SSH, and brings
// what is new of all of them at once. A ref that cannot be fetched keeps the others from nothing.
func TestRefsOfOneRepositoryAreOneLook(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "charts.git"))
	commit := func(color string) string { return r.commit(map[string]file{"a": text(color)}) }
	main, old := r.push("main", commit("red")), r.push("old", commit("blue"))
	r.tag("v1", r.push("release", commit("green")))
	var requests []string
	backend := gitHandler(t, root, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method+" "+r.URL.Path)
		backend.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := serveSSH(t)
	for url, secret := range map[string]string{server.URL + "/charts.git": "", "ssh://git@" + host.address + r.dir: "key"} {
		s := newShelf(t)
		s.Insecure = true
		s.secrets["retail/key"] = map[string][]byte{"identity": host.identity, "known_hosts": host.knownHosts}
		var all []*fleet.Reference
		for _, ref := range []*musterv1alpha1.GitRef{nil, {Branch: "main"}, {Branch: "old"}, {Tag: "v1"}, {Commit: old}, {Branch: "gone"}} {
			source := &musterv1alpha1.GitSource{URL: url, Ref: ref, Insecure: secret == ""}
			if secret != "" {
				source.SecretRef = &musterv1alpha1.LocalReference{Name: secret}
			}
			all = append(all, fleet.ReferenceOf("retail", musterv1alpha1.Source{Git: source}))
			_, _ = s.Sources().Find(all[len(all)-1]) // it is not there yet
		}
		requests = nil
		host.connected.Store(0)
		s.Look(t.Context(), remoteName(all[0]))
		if secret == "" && !slices.Equal(requests, []string{"GET /charts.git/info/refs", "POST /charts.git/git-upload-pack"}) || secret != "" && host.connected.Load() != 1 {
			t.Errorf("%s: %d refs are asked for with %q, %d connections", url, len(all), requests, host.connected.Load())
		}
		release, err := r.repo.ResolveRevision("release")
		must(t, err)
		for i, want := range []string{main, main, old, release.String(), old, ""} {
			found, err := s.Sources().Find(all[i])
			if want == "" && (err == nil || !strings.Contains(err.Error(), "has no branch gone")) || want != "" && (err != nil || found.Digest != want) {
				t.Errorf("%s is %+v, %v; want %s", all[i], found, err, want)
			}
		}
	}
}

// TestARefThatIsTooLargeIsAlone: what is too large of one ref is fetched for no other.
func TestARefThatIsTooLargeIsAlone(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "charts.git"))
	main := r.push("main", r.commit(map[string]file{"a": text("b")}))
	large := make([]byte, 1<<20)
	_, err := rand.Read(large)
	must(t, err)
	r.push("large", r.commit(map[string]file{"a": text(string(large))}))
	url := serveHTTP(t, root, nil).URL + "/charts.git"
	s := newStore(t, root)
	s.MaxFetch = 1 << 18
	found := s.FetchAll(t.Context(), []Remote{{URL: url, Ref: Ref{Branch: "large"}, Owner: "a"}, {URL: url, Ref: Ref{Branch: "main"}, Owner: "b"}, {URL: url, Ref: Ref{Branch: "gone"}}})
	if fault, ok := fleet.AsFault(found[0].Err); !ok || fault.Reason != fleet.ContentRefused {
		t.Errorf("the large one: %+v", found[0])
	}
	if found[1].Err != nil || found[1].Revision != main {
		t.Errorf("the small one: %+v", found[1])
	}
	if found[2].Err == nil || !strings.Contains(found[2].Err.Error(), "has no branch gone") {
		t.Errorf("the one that is not there: %+v", found[2])
	}
}

// TestAServerThatSendsNothingIsNotAskedForEachRef: when it is not a ref that is at fault, a few are tried alone and not all.
func TestAServerThatSendsNothingIsNotAskedForEachRef(t *testing.T) {
	root, asked := t.TempDir(), 0
	r := newRepository(t, filepath.Join(root, "charts.git"))
	var remotes []Remote
	backend := gitHandler(t, root, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			asked++
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	defer server.Close()
	for i := range 20 {
		name := fmt.Sprint("branch-", i)
		r.push(name, r.commit(map[string]file{"a": text(name)}))
		remotes = append(remotes, Remote{URL: server.URL + "/charts.git", Ref: Ref{Branch: name}})
	}
	for i, found := range newStore(t, root).FetchAll(t.Context(), remotes) {
		if found.Err == nil {
			t.Errorf("branch %d is %+v", i, found)
		}
	}
	if asked != 1+maxAlone {
		t.Errorf("it was asked %d times", asked)
	}
}

// gitSite is a Git server that can misbehave.
type gitSite struct {
	*httptest.Server
	*repository
	backend  http.Handler
	password string
	status   int  // that it answers to everything; 0 is what there is
	cut      bool // ends packs after half of them
}

func newGitSite(t *testing.T) *gitSite {
	root := t.TempDir()
	g := &gitSite{repository: newRepository(t, filepath.Join(root, "charts.git")), password: "hunter2", backend: gitHandler(t, root, nil)}
	g.Server = httptest.NewTLSServer(g)
	t.Cleanup(g.Close)
	return g
}

// ServeHTTP implements http.Handler.
func (g *gitSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case g.status != 0:
		w.WriteHeader(g.status)
	case !basic("ann", g.password)(r):
		w.WriteHeader(http.StatusUnauthorized)
	case g.cut && r.Method == http.MethodPost:
		whole := httptest.NewRecorder()
		g.backend.ServeHTTP(whole, r)
		for name, values := range whole.Header() {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Length", fmt.Sprint(whole.Body.Len()))
		_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2]) // and no more
	default:
		g.backend.ServeHTTP(w, r)
	}
}

// TestWhatAGitSourceBroughtStays: whatever goes wrong has a plain fault, and what was fetched before stays, over a restart too.
func TestWhatAGitSourceBroughtStays(t *testing.T) {
	branch, tag := musterv1alpha1.GitRef{Branch: "main"}, musterv1alpha1.GitRef{Tag: "v1"}
	for name, c := range map[string]struct {
		ref    musterv1alpha1.GitRef
		breaks func(*gitSite, *shelf)
		reason fleet.Reason
		want   string
	}{
		"away":           {branch, func(g *gitSite, _ *shelf) { g.Close() }, fleet.SourceUnavailable, "cannot be reached"},
		"credentials":    {branch, func(g *gitSite, _ *shelf) { g.password = "other" }, fleet.SourceUnavailable, "refuses the credentials (basic)"},
		"busy":           {branch, func(g *gitSite, _ *shelf) { g.status = http.StatusTooManyRequests }, fleet.SourceUnavailable, "429"},
		"half":           {branch, func(g *gitSite, _ *shelf) { g.cut = true }, fleet.SourceUnavailable, "unexpected EOF"},
		"large":          {branch, func(_ *gitSite, s *shelf) { s.Git.MaxFetch = 1 }, fleet.ContentRefused, "larger than"},
		"branch is gone": {branch, func(g *gitSite, _ *shelf) { must(t, g.repo.Storer.RemoveReference("refs/heads/main")) }, fleet.SourceUnavailable, "has no branch main"},
		"Secret is gone": {branch, func(_ *gitSite, s *shelf) { delete(s.secrets, "retail/charts") }, fleet.SourceUnavailable, "read Secret retail/charts"},
		"tag has moved":  {tag, func(*gitSite, *shelf) {}, fleet.SourceMoved, "tag v1 named commit"},
		"tag is gone":    {tag, func(g *gitSite, _ *shelf) { must(t, g.repo.Storer.RemoveReference("refs/tags/v1")) }, fleet.SourceUnavailable, "has no tag v1"},
	} {
		t.Run(name, func(t *testing.T) {
			g, s := newGitSite(t), newShelf(t)
			s.secrets["retail/charts"] = map[string][]byte{
				"username": []byte("ann"), "password": []byte("hunter2"), "ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.Certificate().Raw}),
			}
			first := g.push("main", g.commit(map[string]file{"a": text("red")}))
			g.push("other", g.commit(map[string]file{"a": text("green")}))
			g.tag("v1", first)
			r := fleet.ReferenceOf("retail", musterv1alpha1.Source{Git: &musterv1alpha1.GitSource{URL: g.URL + "/charts.git", Ref: &c.ref, SecretRef: &musterv1alpha1.LocalReference{Name: "charts"}}})
			if found := s.finds(r, r.Wants()); found.Digest != first {
				t.Fatalf("found %+v", found)
			}
			second := g.push("main", g.commit(map[string]file{"a": text("blue")}))
			g.tag("v1", second)
			c.breaks(g, s)
			looked := s.Look(t.Context(), remoteName(r))
			fault, _ := fleet.AsFault(s.held[r.Key()].fault)
			if !slices.Equal(looked.Changed, []string{r.Key()}) || fault.Reason != c.reason {
				t.Errorf("the look: %+v", looked)
			}
			found, err := s.Sources().Find(r)
			if err != nil || found.Digest != first || !strings.Contains(found.Problem, c.want) || strings.Contains(found.Problem, "hunter2") {
				t.Errorf("%+v, %v; want the problem %q", found, err, c.want)
			}
			s = s.restart()
			if found, err := s.Sources().Find(r); err != nil || found.Digest != first {
				t.Errorf("after a restart: %+v, %v", found, err)
			}
		})
	}
}

// TestATagThatHasMovedIsNotFollowed: its commit stays however often it moves, until the tag is back or something else is named.
func TestATagThatHasMovedIsNotFollowed(t *testing.T) {
	root := t.TempDir()
	r := newRepository(t, filepath.Join(root, "charts.git"))
	first := r.commit(map[string]file{"a": text("red")})
	r.tag("v1", first)
	s := newShelf(t)
	s.Git.Local = []string{root}
	of := func(ref musterv1alpha1.GitRef) *fleet.Reference {
		return fleet.ReferenceOf("retail", musterv1alpha1.Source{Git: &musterv1alpha1.GitSource{URL: "file://" + r.dir, Ref: &ref}})
	}
	tag := of(musterv1alpha1.GitRef{Tag: "v1"})
	s.finds(tag, "v1")
	var last string
	for i := range maxKept + 5 {
		last = r.commit(map[string]file{"a": text(fmt.Sprint(i))})
		r.tag("v1", last)
		if found, err := s.look(tag); err != nil || found.Digest != first || !strings.Contains(found.Problem, "tag v1 named commit "+first[:7]) || !strings.Contains(found.Problem, "names "+last[:7]) {
			t.Fatalf("after %d moves: %+v, %v", i+1, found, err)
		}
	}
	if found, err := s.restart().Sources().Find(tag); err != nil || found.Digest != first {
		t.Errorf("after a restart: %+v, %v", found, err)
	}
	if found := s.finds(of(musterv1alpha1.GitRef{Commit: last}), last); found.Digest != last {
		t.Errorf("the commit itself is %+v", found)
	}
	r.tag("v1", first)
	if found := s.finds(tag, "v1"); found.Problem != "" {
		t.Errorf("the tag is back: %+v", found)
	}
}
