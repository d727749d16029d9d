package hollow_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"code.gitea.io/sdk/gitea"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/internal/test/archive"
)

const (
	// reviewRounds is how many pushes to a pull request are measured.
	reviewRounds = 7
	// maxReview is what the median of them may take.
	maxReview = 2 * time.Second
)

// BenchmarkReview is APPLICATIONS (20) applications, each with a chart of its own, on CLUSTERS hollow clusters, and a pull request on a real
// Gitea that changes one of them. Warm is the time from the moment when Gitea's webhook reaches the hub until Gitea has taken the last of what
// the hub writes: the list of pull requests, the fetch over HTTP, both plans in the live world, comment, notes and check. Cold is the time
// from the start of a hub with a warm disk, which lists all works and renders everything before.
func BenchmarkReview(tb *testing.B) {
	clusters, applications := size(tb, "CLUSTERS", 200), size(tb, "APPLICATIONS", 20)
	git := test.NewGitea(tb)
	var files strings.Builder
	files.WriteString(archive.Retail)
	for i := range applications {
		files.WriteString(chartFiles(fmt.Sprintf("app-%03d", i)))
	}
	b := newBench(tb, clusters, files.String())
	r := b.newReviewed(git)
	must(b, b.clusters.Create(b.ctx))
	b.startHub()
	must(b, b.clusters.WaitForNamespaces(b.ctx))
	b.waitForQuiet(0)
	r.follow()
	b.waitForWorks(clusters * applications)
	b.waitForQuiet(applications)

	r.push("1") // opens it
	var took []time.Duration
	for i := range reviewRounds {
		b.waitForQuiet(0)
		b.profile("profile", fmt.Sprintf("review-%d.pprof", i), 3)
		took = append(took, r.push(fmt.Sprint(i+2)))
	}
	b.stopHub()
	began := time.Now()
	r.change("cold")
	b.startHub()
	cold := r.expectCheck().Sub(began)
	now, peak, err := b.hub.Memory()
	must(b, err)
	tb.ReportMetric(median(took).Seconds(), "warm-s")
	tb.ReportMetric(cold.Seconds(), "cold-s")
	b.say("%d applications on %d clusters, one changed: a pull request on Gitea has its comment and its check %v after the webhook (rounds %v), and %v after the start of a hub, which holds %d MiB, at most %d MiB; argocd-diff-preview says 1m40s for 92 applications",
		applications, clusters, median(took).Round(time.Millisecond), took, cold.Round(time.Millisecond), mib(now), mib(peak))
	if median(took) > maxReview {
		tb.Errorf("%v is more than %v", median(took), maxReview)
	}
}

// chartFiles are an application on all clusters, with its chart.
func chartFiles(name string) string {
	return archive.Placement(name, "{}") + archive.Application(name, name, "charts/"+name, name, "") + values(name, "0") + strings.ReplaceAll(`-- charts/NAME/Chart.yaml --
{apiVersion: v2, name: NAME, version: 1.0.0}
-- charts/NAME/templates/web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 2
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - name: web
        image: "registry.example.com/NAME:{{ .Values.tag }}"
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80}]}
`, "NAME", name)
}

func values(name, tag string) string {
	return fmt.Sprintf("-- charts/%s/values.yaml --\ntag: %q\n", name, tag)
}

// reviewed is a pull request on Gitea, and what passes between Gitea and the hub.
type reviewed struct {
	*bench
	git    *test.Gitea
	api    *httptest.Server // Gitea, as the hub reaches it
	number int64
	head   string

	mu       sync.Mutex
	arrivals map[string]time.Time // of the first webhook that announces a head: Gitea also announces, seconds later, what the hub itself wrote
	checks   map[string]time.Time // when Gitea had answered, by commit
	asked    []asked
}

// asked is a request of the hub to Gitea.
type asked struct {
	what      string
	at, until time.Time
}

const reviewedRepository = "acme/fleet"

// newReviewed puts the repository of a bench on Gitea, between which and the hub both directions are watched.
func (b *bench) newReviewed(git *test.Gitea) *reviewed {
	b.Helper()
	r := &reviewed{bench: b, git: git, arrivals: map[string]time.Time{}, checks: map[string]time.Time{}}
	git.Users("acme", "muster")
	admin := git.As("acme")
	_, _, err := admin.CreateRepo(gitea.CreateRepoOption{Name: "fleet", DefaultBranch: "main"})
	must(b, err)
	write := gitea.AccessModeWrite
	_, err = admin.AddCollaborator("acme", "fleet", "muster", gitea.AddCollaboratorOption{Permission: &write})
	must(b, err)
	r.api = b.between(git.URL, nil, func(request *http.Request, body []byte, at time.Time) {
		r.mu.Lock()
		r.asked = append(r.asked, asked{request.Method + " " + request.URL.Path, at, time.Now()})
		r.mu.Unlock()
		commit := request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:]
		if strings.Contains(request.URL.Path, "/statuses/") && bytes.Contains(body, []byte(`"success"`)) && bytes.Contains(body, []byte(`"muster/muster-system/fleet"`)) {
			r.mu.Lock()
			r.checks[commit] = time.Now()
			r.mu.Unlock()
		}
	})
	hooks := b.between("http://"+b.webhooks, func(request *http.Request, body []byte) {
		what, head := announced(request, body)
		now := time.Now()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked = append(r.asked, asked{"/" + what, now, now})
		if _, before := r.arrivals[head]; !before {
			r.arrivals[head] = now
		}
	}, nil)
	_, _, err = admin.CreateRepoHook("acme", "fleet", gitea.CreateHookOption{
		Type: "gitea", Active: true, Events: []string{"pull_request", "pull_request_sync"},
		Config: map[string]string{"url": hooks.URL + "/webhook/muster-system/fleet", "content_type": "json", "secret": webhookToken},
	})
	must(b, err)
	b.repository.Git("remote", "add", "origin", git.Remote("acme", reviewedRepository))
	b.repository.Git("push", "--quiet", "origin", "main")
	return r
}

// announced names what a webhook of Gitea says, and the head of the pull request if that is what it is about.
func announced(request *http.Request, body []byte) (what, head string) {
	var hook struct {
		Action      string
		PullRequest struct{ Head struct{ Sha string } } `json:"pull_request"`
	}
	if err := json.Unmarshal(body, &hook); err != nil {
		return err.Error(), ""
	}
	event := request.Header.Get("X-Gitea-Event")
	if head = hook.PullRequest.Head.Sha; event != "pull_request" {
		head = ""
	}
	return fmt.Sprintf("%s! %s %.7s", event, hook.Action, hook.PullRequest.Head.Sha), head
}

// between stands before a server: it is told of a request when it comes, and when it is answered.
func (b *bench) between(server string, comes func(*http.Request, []byte), answered func(*http.Request, []byte, time.Time)) *httptest.Server {
	b.Helper()
	target, err := url.Parse(server)
	must(b, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		at := time.Now()
		body, err := io.ReadAll(request.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if comes != nil {
			comes(request, body)
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, request)
		if answered != nil {
			answered(request, body, at)
		}
	}))
	b.Cleanup(s.Close)
	return s
}

// follow makes the hub follow and review the repository. Only webhooks make it look again.
func (r *reviewed) follow() {
	r.Helper()
	must(r, r.client.Create(r.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "reviewed"},
		StringData: map[string]string{"username": "muster", "password": r.git.Token("muster"), "webhookToken": webhookToken},
	}))
	must(r, r.client.Create(r.ctx, &musterv1alpha1.FleetRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"},
		Spec: musterv1alpha1.FleetRepositorySpec{
			URL: r.api.URL + "/" + reviewedRepository + ".git", Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "root",
			SecretRef: &musterv1alpha1.LocalReference{Name: "reviewed"}, Interval: metav1.Duration{Duration: time.Hour},
			Review: &musterv1alpha1.ReviewSpec{Host: musterv1alpha1.HostGitea},
		},
	}))
}

// change pushes a change of one application to the pull request, and opens it the first time.
func (r *reviewed) change(tag string) {
	r.Helper()
	r.repository.Git("checkout", "--quiet", "-B", "topic")
	r.head = r.repository.Commit(values("app-000", tag))
	r.repository.Git("push", "--quiet", "origin", "topic")
	if r.number != 0 {
		return
	}
	r.wait(50*time.Millisecond, func() string {
		pr, _, err := r.git.As("acme").CreatePullRequest("acme", "fleet", gitea.CreatePullRequestOption{Head: "topic", Base: "main", Title: "change"})
		if err != nil {
			return err.Error()
		}
		r.number = pr.Index
		return ""
	})
}

// push changes an application, and gives the time from the webhook that announces it until the check is there.
func (r *reviewed) push(tag string) time.Duration {
	r.Helper()
	r.change(tag)
	began := time.Time{}
	r.wait(time.Millisecond, func() string {
		r.mu.Lock()
		defer r.mu.Unlock()
		var ok bool
		if began, ok = r.arrivals[r.head]; !ok {
			return "Gitea has sent no webhook for " + r.head
		}
		return ""
	})
	took := r.expectCheck().Sub(began).Round(time.Millisecond)
	r.sayPhases(began)
	return took
}

// sayPhases says what the hub asked Gitea since a moment, and when: what lies between is the hub's own.
func (r *reviewed) sayPhases(began time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var parts []string
	for _, a := range r.asked {
		if !a.at.Before(began) {
			what := a.what[strings.LastIndex(a.what, "/")+1:]
			parts = append(parts, fmt.Sprintf("%s at %d+%d", what[:min(len(what), 40)], a.at.Sub(began).Milliseconds(), a.until.Sub(a.at).Milliseconds()))
		}
	}
	r.asked = nil
	r.say("what was asked of Gitea, at+for ms: %s", strings.Join(parts, ", "))
}

// expectCheck waits until the head has its check, and looks whether the one comment is of it. It gives the time of the check.
func (r *reviewed) expectCheck() (at time.Time) {
	r.Helper()
	r.wait(5*time.Millisecond, func() string {
		r.mu.Lock()
		defer r.mu.Unlock()
		var ok bool
		if at, ok = r.checks[r.head]; !ok {
			return "no check of " + r.head
		}
		return ""
	})
	comments, _, err := r.git.As("acme").ListIssueComments("acme", "fleet", r.number, gitea.ListIssueCommentOptions{})
	must(r, err)
	if len(comments) != 1 || !strings.Contains(comments[0].Body, r.head[:7]) || !strings.Contains(comments[0].Body, "app-000") {
		r.Fatalf("%d comments, of which the first does not speak of %s", len(comments), r.head)
	}
	return at
}
