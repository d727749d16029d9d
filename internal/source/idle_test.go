package source

import (
	"bytes"
	"container/heap"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/test/charts"
	"github.com/muster-io/muster/internal/test/registry"
)

// idle is a library with what a company's applications name: charts of a repository, charts of a registry, other Git repositories.
type idle struct {
	*shelf
	charts   *charts.Repository
	registry *registry.Registry
	git      atomic.Int64 // requests
	used     []fleet.UsedSource
}

func newIdle(t testing.TB, applications, gitRepositories int) *idle {
	s := &idle{shelf: newShelf(t), charts: charts.New(t), registry: registry.New(t)}
	s.registry.Change(func(s *registry.State) { s.User, s.Password = "ann", "hunter2" })
	s.secrets["retail/ca"] = map[string][]byte{"ca.crt": s.charts.CA()}
	s.secrets["retail/registry"] = map[string][]byte{"ca.crt": s.registry.CA(), "username": []byte("ann"), "password": []byte("hunter2")}
	root := t.TempDir()
	backend := gitHandler(t, root, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.git.Add(1)
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.Insecure = true
	for i := range gitRepositories {
		dir := filepath.Join(root, fmt.Sprintf("%d.git", i))
		gitRun(t, root, "init", "--quiet", "--bare", "-b", "main", dir)
		fastCommit(t, dir)
	}
	for i := range applications {
		var source musterv1alpha1.Source
		name := fmt.Sprintf("app%d", i)
		switch i % 3 {
		case 0:
			s.charts.Publish(name, "1.0.0", webChart)
			source.Chart = &musterv1alpha1.ChartSource{Repo: s.charts.URL, Name: name, Version: "^1", SecretRef: &musterv1alpha1.LocalReference{Name: "ca"}}
		case 1:
			s.registry.Push("charts/"+name, "1.0.0", registry.Chart, charts.Pack(name, "1.0.0", webChart))
			source.Chart = &musterv1alpha1.ChartSource{Repo: "oci://" + s.registry.Host() + "/charts", Name: name, Version: "1.0.0", SecretRef: &musterv1alpha1.LocalReference{Name: "registry"}}
		default:
			source.Git = &musterv1alpha1.GitSource{URL: fmt.Sprintf("%s/%d.git", server.URL, i%gitRepositories), Path: name, Insecure: true}
		}
		r := fleet.ReferenceOf("retail", source)
		found, err := s.look(r)
		if err != nil {
			t.Fatal(err)
		}
		s.used = append(s.used, fleet.UsedSource{Reference: r, Found: found})
	}
	s.Use("everybody", s.used)
	s.seen()
	return s
}

// seen are the requests since the last call, by kind and answer.
func (s *idle) seen() map[string]int {
	n := map[string]int{}
	for _, request := range s.charts.Seen() {
		n["charts "+strings.Fields(request)[2]]++
	}
	for _, request := range s.registry.Seen() {
		f := strings.Fields(request)
		n["registry "+f[0]+" "+f[2]]++
	}
	if git := s.git.Swap(0); git > 0 {
		n["git"] = int(git)
	}
	return n
}

// hour has the library look as its controller does, for an hour of a clock that nobody waits for.
func (s *idle) hour(t testing.TB) {
	due := &schedule{}
	for _, remote := range s.Remotes() {
		heap.Push(due, turn{0, remote})
	}
	for due.Len() > 0 {
		next := heap.Pop(due).(turn)
		if next.at >= time.Hour {
			continue
		}
		looked := s.Look(t.Context(), next.remote)
		if looked.Err != nil || len(looked.Changed) > 0 || looked.Again <= 0 {
			t.Fatalf("%s: %+v", next.remote, looked)
		}
		heap.Push(due, turn{next.at + looked.Again, next.remote})
	}
}

type turn struct {
	at     time.Duration
	remote string
}

type schedule []turn

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].at < s[j].at }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)        { *s = append(*s, x.(turn)) }
func (s *schedule) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	*s = slices.Delete(*s, last, last+1)
	return x
}

// fastCommit puts one commit into an empty bare repository.
func fastCommit(t testing.TB, dir string) {
	t.Helper()
	fastImport(t, dir, bytes.NewBufferString("commit refs/heads/main\ncommitter Ann <ann@example.com> 1700000000 +0000\ndata 5\nfirst\nM 100644 inline a.yaml\ndata 5\na: b\n\n"))
}

// TestIdleHour: when nothing changes, each address is asked once an interval, however many applications name it, and sends no content.
func TestIdleHour(t *testing.T) {
	s := newIdle(t, 12, 2)
	s.hour(t)
	seen := s.seen()
	if n := seen["charts 304"]; n < 10 || n > 12 {
		t.Errorf("the repository of 4 charts was asked %d times, want once in 5 minutes", n)
	}
	if n := seen["registry HEAD 200"]; n < 4*10 || n > 4*12 {
		t.Errorf("the 4 charts of the registry were asked for %d times", n)
	}
	if n := seen["git"]; n < 2*10 || n > 2*12 {
		t.Errorf("the 2 repositories were asked %d times", n)
	}
	if seen["registry HEAD 401"] != seen["registry HEAD 200"] || seen["registry GET 200"] != seen["registry HEAD 200"] {
		t.Errorf("a look at a registry is more than its refusal, a token and a digest: %v", seen)
	}
	for _, known := range []string{"charts 304", "registry HEAD 401", "registry GET 200", "registry HEAD 200", "git"} {
		delete(seen, known)
	}
	if len(seen) > 0 {
		t.Errorf("and there were other requests: %v", seen)
	}
}

// BenchmarkIdleHour counts what a company of 40 applications asks of others in an hour in which nothing changes.
func BenchmarkIdleHour(b *testing.B) {
	const applications, repositories = 40, 3
	s := newIdle(b, applications, repositories)
	remotes := len(s.Remotes())
	b.ResetTimer()
	seen := map[string]int{}
	for range b.N {
		s.hour(b)
		for what, n := range s.seen() {
			seen[what] += n
		}
	}
	looks, requests := 0, 0
	for what, n := range seen {
		if requests += n; what == "charts 304" || what == "registry HEAD 200" || what == "git" {
			looks += n
		}
	}
	perHour := float64(looks) / float64(b.N)
	b.ReportMetric(perHour, "fetches/h")
	b.Logf("fetches per hour idle: %.0f for %d applications at %d addresses, %.1f an address, in %.0f requests with those for tokens; all of them conditional, of digests, or of refs",
		perHour, applications, remotes, perHour/float64(remotes), float64(requests)/float64(b.N))
	if most := float64(remotes * int(time.Hour/DefaultInterval)); perHour > most {
		b.Errorf("more than the %.0f of one look at each address in 5 minutes", most)
	}
}
