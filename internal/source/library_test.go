package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/test/charts"
)

// shelf is a library of a test, with the Secrets that it may read.
type shelf struct {
	*Library
	t       testing.TB
	secrets map[string]map[string][]byte
	wanted  []string
}

func newShelf(t testing.TB) *shelf {
	s := &shelf{t: t, secrets: map[string]map[string][]byte{}}
	s.Library = &Library{
		Dir: t.TempDir(), Git: &Store{Dir: t.TempDir()}, Wanted: func(remote string) { s.wanted = append(s.wanted, remote) },
		Secret: func(_ context.Context, namespace, name string) (map[string][]byte, error) {
			data, ok := s.secrets[namespace+"/"+name]
			if !ok {
				return nil, errors.New("not found")
			}
			return data, nil
		},
	}
	return s
}

// restart is the library of a hub that starts anew with the same folder.
func (s *shelf) restart() *shelf {
	again := newShelf(s.t)
	again.Dir, again.Git.Dir, again.secrets = s.Dir, s.Git.Dir, s.secrets
	return again
}

func chartOf(r *charts.Repository, namespace, version, secret string) *fleet.Reference {
	source := musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{Repo: r.URL, Name: "web", Version: version}}
	if secret != "" {
		source.Chart.SecretRef = &musterv1alpha1.LocalReference{Name: secret}
	}
	return fleet.ReferenceOf(namespace, source)
}

// look looks at the remote of a reference, as a plan that names it would have it done, and finds the reference.
func (s *shelf) look(r *fleet.Reference) (*fleet.Found, error) {
	s.t.Helper()
	_, _ = s.Sources().Find(r)
	s.Look(s.t.Context(), remoteName(r))
	return s.Sources().Find(r)
}

// finds looks and expects a version.
func (s *shelf) finds(r *fleet.Reference, version string) *fleet.Found {
	s.t.Helper()
	found, err := s.look(r)
	if err != nil || found.Version != version {
		s.t.Fatalf("%s is %+v, %v; want %s", r, found, err, version)
	}
	return found
}

const webChart = `
-- values.yaml --
color: red
-- templates/config.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {color: {{ .Values.color }}}
`

func TestChartsOfARepository(t *testing.T) {
	repo := charts.New(t)
	repo.Change(func(s *charts.State) { s.User, s.Password = "ann", "hunter2" })
	repo.Publish("web", "4.11.2", webChart)
	repo.Publish("web", "4.12.0", webChart)
	repo.Publish("web", "5.0.0-rc.1", webChart)
	s := newShelf(t)
	s.secrets["retail/charts"] = map[string][]byte{"username": []byte("ann"), "password": []byte("hunter2"), "ca.crt": repo.CA()}
	exact, ranged := chartOf(repo, "retail", "4.11.2", "charts"), chartOf(repo, "retail", "^4.11", "charts")

	if _, err := s.Known().Find(exact); err == nil || len(s.wanted) > 0 {
		t.Errorf("what must ask nobody gives %v and wants %q", err, s.wanted)
	}
	if _, err := s.Sources().Find(exact); err == nil || !strings.Contains(err.Error(), "is being fetched") {
		t.Errorf("before the first look: %v", err)
	}
	if len(s.wanted) != 1 {
		t.Errorf("wanted is %q: a plan that asks has it fetched", s.wanted)
	}
	found := s.finds(exact, "4.11.2")
	if data, err := fs.ReadFile(found.Tree, "templates/config.yaml"); err != nil || !strings.Contains(string(data), "ConfigMap") {
		t.Errorf("the chart's template is %q, %v", data, err)
	}
	s.finds(ranged, "4.12.0")
	want := []string{"GET /index.yaml 200", "GET /charts/web/4.11.2.tgz 200", "GET /index.yaml 304", "GET /charts/web/4.12.0.tgz 200"}
	if diff := cmp.Diff(want, repo.Seen()); diff != "" {
		t.Errorf("requests (-want +got)\n%s", diff)
	}

	repo.Publish("web", "4.13.0", webChart)
	looked := s.Look(t.Context(), remoteName(exact))
	if !slices.Equal(looked.Changed, []string{ranged.Key()}) {
		t.Errorf("a version was published: changed is %q", looked.Changed)
	}
	s.finds(ranged, "4.13.0")
	if looked = s.Look(t.Context(), remoteName(exact)); len(looked.Changed) > 0 || looked.Again < DefaultInterval || looked.Again > DefaultInterval*12/10 {
		t.Errorf("nothing was published: %+v", looked)
	}

	repo.Close()
	if found, err := s.restart().Sources().Find(ranged); err != nil || found.Version != "4.13.0" || found.Digest != s.finds(ranged, "4.13.0").Digest {
		t.Errorf("after a restart without the repository: %+v, %v", found, err)
	}
}

// TestWhatWasFetchedStays: whatever goes wrong has a plain fault, and what was fetched before stays.
func TestWhatWasFetchedStays(t *testing.T) {
	cases := map[string]struct {
		breaks func(*charts.Repository, *shelf)
		want   string
	}{
		"away":            {func(r *charts.Repository, _ *shelf) { r.Close() }, "cannot be read: check the address"},
		"credentials":     {func(r *charts.Repository, _ *shelf) { r.Change(func(s *charts.State) { s.Password = "other" }) }, "refuses the credentials (basic, HTTP 401)"},
		"busy":            {func(r *charts.Repository, _ *shelf) { r.Change(func(s *charts.State) { s.Status = 429 }) }, "has no answer now (HTTP 429)"},
		"half":            {func(r *charts.Repository, _ *shelf) { r.Change(func(s *charts.State) { s.Cut = true }) }, "the answer broke off"},
		"Secret is gone":  {func(_ *charts.Repository, s *shelf) { delete(s.secrets, "retail/charts") }, "read Secret retail/charts"},
		"Secret is wrong": {func(_ *charts.Repository, s *shelf) { s.secrets["retail/charts"]["passwrod"] = []byte("x") }, `"passwrod" is unknown`},
		"digest": {func(r *charts.Repository, _ *shelf) {
			r.Change(func(s *charts.State) { s.Digests = map[string]string{"4.12.0": strings.Repeat("ab", 32)} })
		}, "is not what the index of its repository says"},
		"no version": {func(r *charts.Repository, _ *shelf) { r.Withdraw("web") }, "no version is in the range ^4.11: the newest is 5.0.0"},
		"no chart": {func(r *charts.Repository, _ *shelf) {
			r.PublishArchive("web", "4.12.0", charts.Archive(map[string]string{"web/values.yaml": ""}))
		}, "has no Chart.yaml"},
		"large": {func(r *charts.Repository, _ *shelf) { r.PublishArchive("web", "4.12.0", largeChart()) }, "has more than the 20 MiB that are fetched"},
		"bomb":  {func(r *charts.Repository, _ *shelf) { r.PublishArchive("web", "4.12.0", bomb()) }, "more than 100 MiB of files"},
		"leads out": {func(r *charts.Repository, _ *shelf) {
			r.PublishArchive("web", "4.12.0", charts.Archive(map[string]string{"web/../../etc/passwd": ""}))
		}, "which leads out of it"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			repo := charts.New(t)
			repo.Change(func(s *charts.State) { s.User, s.Password = "ann", "hunter2" })
			repo.Publish("web", "4.11.2", webChart)
			s := newShelf(t)
			s.secrets["retail/charts"] = map[string][]byte{"username": []byte("ann"), "password": []byte("hunter2"), "ca.crt": repo.CA()}
			ranged := chartOf(repo, "retail", "^4.11", "charts")
			before := s.finds(ranged, "4.11.2")

			repo.Publish("web", "4.12.0", webChart)
			c.breaks(repo, s)
			looked := s.Look(t.Context(), remoteName(ranged))
			if !slices.Equal(looked.Changed, []string{ranged.Key()}) || looked.Err == nil || looked.Again > DefaultInterval {
				t.Errorf("the look: %+v", looked)
			}
			found, err := s.Sources().Find(ranged)
			if err != nil || found.Digest != before.Digest {
				t.Fatalf("what was fetched: %+v, %v", found, err)
			}
			if !strings.Contains(found.Problem, c.want) || strings.Contains(found.Problem, "hunter2") {
				t.Errorf("the problem is %q, want %q", found.Problem, c.want)
			}
		})
	}
}

func TestVersionThatIsPublishedAnewIsNotTaken(t *testing.T) {
	repo := charts.New(t)
	repo.Publish("web", "4.11.2", webChart)
	s := newShelf(t)
	s.secrets["retail/ca"] = map[string][]byte{"ca.crt": repo.CA()}
	exact, follows := chartOf(repo, "retail", "4.11.2", "ca"), chartOf(repo, "retail", "=4.11.2", "ca")
	before := s.finds(exact, "4.11.2")
	s.finds(follows, "4.11.2")

	repo.Publish("web", "4.11.2", webChart+"-- NEW --\n")
	s.Look(t.Context(), remoteName(exact))
	found, err := s.Sources().Find(exact)
	if err != nil || found.Digest != before.Digest || !strings.Contains(found.Problem, "when it was fetched and is") {
		t.Errorf("an exact version: %+v, %v", found, err)
	}
	if found, err = s.Sources().Find(follows); err != nil || found.Digest == before.Digest || found.Problem != "" {
		t.Errorf("a range: %+v, %v", found, err)
	}
}

func TestTenantsDoNotSeeEachOthersSources(t *testing.T) {
	repo := charts.New(t)
	repo.Change(func(s *charts.State) { s.User, s.Password = "ann", "hunter2" })
	repo.Publish("web", "4.11.2", webChart)
	s := newShelf(t)
	s.secrets["retail/charts"] = map[string][]byte{"username": []byte("ann"), "password": []byte("hunter2"), "ca.crt": repo.CA()}
	s.secrets["other/charts"] = map[string][]byte{"ca.crt": repo.CA()}
	mine := s.finds(chartOf(repo, "retail", "4.11.2", "charts"), "4.11.2")

	for _, stranger := range []*fleet.Reference{chartOf(repo, "other", "4.11.2", "charts"), chartOf(repo, "other", "4.11.2", "")} {
		if found, err := s.look(stranger); err == nil {
			t.Errorf("%s of namespace other is %+v", stranger, found)
		}
	}

	// A repository of one's own that names the digest of another's chart gives nothing away.
	own := charts.New(t)
	s.secrets["other/own"] = map[string][]byte{"ca.crt": own.CA()}
	own.Publish("web", "1.0.0", webChart)
	own.Change(func(s *charts.State) {
		s.Digests = map[string]string{"1.0.0": strings.TrimPrefix(mine.Digest, "sha256:")}
	})
	if found, err := s.look(chartOf(own, "other", "1.0.0", "own")); err == nil || !strings.Contains(err.Error(), "is not what the index") {
		t.Errorf("with another's digest: %+v, %v", found, err)
	}
}

func TestAHostThatIsBusyIsLeftInPeace(t *testing.T) {
	repo := charts.New(t)
	repo.Publish("web", "4.11.2", webChart)
	s := newShelf(t)
	s.secrets["retail/ca"] = map[string][]byte{"ca.crt": repo.CA()}
	r := chartOf(repo, "retail", "^4", "ca")
	s.finds(r, "4.11.2")
	repo.Change(func(s *charts.State) { s.Status, s.RetryAfter = 429, "1800" })
	if looked := s.Look(t.Context(), remoteName(r)); looked.Again < 30*time.Minute {
		t.Errorf("it asks for half an hour: %+v", looked)
	}
	repo.Seen()
	looked := s.Look(t.Context(), remoteName(r))
	if seen := repo.Seen(); len(seen) > 0 || looked.Again < 29*time.Minute {
		t.Errorf("it was asked %q, again in %v", seen, looked.Again)
	}
}

// TestAHostIsAskedAsOne: of several addresses of a host that is away or asks for patience one is asked, whatever fetches from it.
func TestAHostIsAskedAsOne(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Retry-After", "1800")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer server.Close()
	s := newShelf(t)
	s.Insecure, s.Hosts = true, &Hosts{}
	chart := func(path string) *fleet.Reference {
		return fleet.ReferenceOf("retail", musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{Repo: server.URL + path, Name: "web", Version: "^1", Insecure: true}})
	}
	if _, err := s.look(chart("/one")); err == nil || !strings.Contains(err.Error(), "HTTP 429") || asked != 1 {
		t.Fatalf("the first: %v, asked %d times", err, asked)
	}
	git := fleet.ReferenceOf("retail", musterv1alpha1.Source{Git: &musterv1alpha1.GitSource{URL: server.URL + "/two.git", Insecure: true}})
	for _, r := range []*fleet.Reference{chart("/two"), git} {
		_, err := s.look(r)
		if err == nil || !strings.Contains(err.Error(), "has no answer now, as it had none for another address") {
			t.Errorf("%s: %v", r, err)
		}
		if looked := s.Look(t.Context(), remoteName(r)); looked.Again < 29*time.Minute {
			t.Errorf("%s is asked again in %v", r, looked.Again)
		}
	}
	// A fleet repository of the same host is not asked either.
	store := &Store{Dir: t.TempDir(), Hosts: s.Hosts}
	if _, err := store.Fetch(t.Context(), Remote{URL: server.URL + "/fleet.git"}); err == nil || !strings.Contains(err.Error(), "has no answer now, as it had none") {
		t.Errorf("the fleet repository: %v", err)
	}
	if asked != 1 {
		t.Errorf("the host was asked %d times", asked)
	}
}

// TestAnotherHostIsNoReason: an index names archives anywhere. That their host asks for patience says nothing of the index's.
func TestAnotherHostIsNoReason(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone" {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Retry-After", "1800")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer other.Close()
	mine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy/index.yaml":
			fmt.Fprintf(w, "{apiVersion: v1, entries: {web: [{name: web, version: 1.0.0, urls: [%s/web.tgz]}]}}", other.URL)
		case "/gone/index.yaml":
			fmt.Fprintf(w, "{apiVersion: v1, entries: {web: [{name: web, version: 1.0.0, urls: [%s/gone]}]}}", other.URL)
		default:
			http.Redirect(w, r, other.URL+"/index.yaml", http.StatusFound)
		}
	}))
	defer mine.Close()
	s := newShelf(t)
	s.Insecure, s.Hosts = true, &Hosts{}
	for _, path := range []string{"/busy", "/gone", "/moved"} {
		r := fleet.ReferenceOf("retail", musterv1alpha1.Source{Chart: &musterv1alpha1.ChartSource{Repo: mine.URL + path, Name: "web", Version: "1.0.0", Insecure: true}})
		if _, err := s.look(r); err == nil {
			t.Errorf("%s: no error", path)
		}
		if wait := s.Hosts.patience(strings.TrimPrefix(mine.URL, "http://")); wait > 0 {
			t.Errorf("%s: the host of the index is left in peace for %v", path, wait)
		}
	}
}

// TestAGitHostThatIsBusyIsLeftInPeace: what a Git host answers counts for all of its addresses, and an answer ends the patience.
func TestAGitHostThatIsBusyIsLeftInPeace(t *testing.T) {
	root, asked, busy := t.TempDir(), 0, true
	gitRun(t, root, "init", "--quiet", "--bare", "-b", "main", "fleet.git")
	fastCommit(t, filepath.Join(root, "fleet.git"))
	backend := gitHandler(t, root, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; busy {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	defer server.Close()
	s := &Store{Dir: t.TempDir(), Hosts: &Hosts{}}
	for _, name := range []string{"/fleet.git", "/other.git", "/fleet.git"} {
		if _, err := s.Fetch(t.Context(), Remote{URL: server.URL + name}); err == nil || asked != 1 {
			t.Errorf("%s: %v, asked %d times", name, err, asked)
		}
	}
	busy = false
	host := strings.TrimPrefix(server.URL, "http://")
	if wait := s.Hosts.patience(host); wait <= 0 || wait > longestBackOff {
		t.Errorf("it waits %v", wait)
	}
	s.Hosts.by[host].until = time.Now() // it has waited
	if _, err := s.Fetch(t.Context(), Remote{URL: server.URL + "/fleet.git"}); err != nil || s.Hosts.by[host] != nil {
		t.Errorf("after the wait: %v", err)
	}
}

// TestHostsWaitLonger: a host that stays away is asked less and less often, at least once a minute.
func TestHostsWaitLonger(t *testing.T) {
	h := &Hosts{}
	var last time.Duration
	for n := range 8 {
		wait := h.note("host", &busyError{err: errors.New("away")})
		if wait < last-time.Second || wait > longestBackOff {
			t.Errorf("after %d failures it waits %v, before %v", n+1, wait, last)
		}
		last = wait
	}
	if last < 50*time.Second {
		t.Errorf("it waits %v at last", last)
	}
	if h.note("host", errors.New("the chart is not there")); h.patience("host") == 0 {
		t.Error("an error of one address ends the patience")
	}
	if h.note("host", nil); h.patience("host") != 0 {
		t.Error("an answer does not end the patience")
	}
}

func TestChoose(t *testing.T) {
	versions := []string{"1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "v0.9.0", "nonsense"}
	cases := map[string]struct{ wanted, want, why string }{
		"exact":            {"1.2.0", "1.2.0", ""},
		"with a v":         {"v1.2.0", "1.2.0", "both are written"},
		"without its v":    {"0.9.0", "v0.9.0", "both are written"},
		"caret":            {"^1.0", "1.10.0", "the newest, not the last in the alphabet"},
		"tilde":            {"~1.2", "1.2.0", ""},
		"any":              {"*", "1.10.0", "no pre-release"},
		"pre-release":      {">=1.0.0-0", "2.0.0-rc.1", "the range names one"},
		"pre-release only": {"2.0.0-rc.1", "2.0.0-rc.1", ""},
		"no match":         {"^3", "no version is in the range ^3: the newest is 1.10.0", ""},
		"no such version":  {"1.2.1", "there is no version 1.2.1: the newest is 1.10.0", "a version is not a range: 1.2.0 is no 1.2.1"},
		"no range":         {"newest", `"newest" is no version and no range`, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := choose(c.wanted, versions)
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s is %s, want %s: %s", c.wanted, got, c.want, c.why)
			}
		})
	}
}
