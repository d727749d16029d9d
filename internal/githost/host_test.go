package githost

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/muster-io/muster/internal/githubapp"
	"github.com/muster-io/muster/internal/test/forge"
)

var hosts = []string{"GitHub", "GitLab", "Bitbucket", "BitbucketDataCenter"} // Gitea is tested with a real one

// on gives the host of a kind on a forge.
func on(t *testing.T, kind string, f *forge.Forge, change func(*Options)) Host {
	t.Helper()
	handler, api := f.Handler(kind)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	o := Options{Kind: kind, API: server.URL + api, Repository: "acme/fleet", Token: "good", UserAgent: "muster-test"}
	if change != nil {
		change(&o)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHosts(t *testing.T) {
	for _, kind := range hosts {
		t.Run(kind, func(t *testing.T) {
			ctx := context.Background()
			f := forge.New()
			f.Open(7, "aaaa", false)
			f.Open(8, "bbbb", true)
			f.Pulls[8].Base = "release"
			f.Open(9, "cccc", false)
			f.Pulls[9].State = "closed"
			h := on(t, kind, f, nil)

			if branch, err := h.DefaultBranch(ctx); branch != "main" || err != nil {
				t.Errorf("default branch %q %v", branch, err)
			}
			if self, err := h.Self(ctx); self != "muster" || err != nil {
				t.Errorf("self %q %v", self, err)
			}
			open, err := h.Open(ctx, "main")
			if err != nil {
				t.Fatal(err)
			}
			want := []PullRequest{{Number: 7, Title: "change", Author: "alice", Labels: []string{"risky"}, BaseBranch: "main", HeadBranch: "topic", Head: "aaaa", Open: true}}
			merge := "dddd"
			if strings.HasPrefix(kind, "Bitbucket") { // has no labels
				want[0].Labels = nil
			}
			if kind == "Bitbucket" { // has the beginnings of commits
				want[0].Head, merge = forge.FullHash("aaaa"), forge.FullHash("dddd")
			}
			if diff := cmp.Diff(want, open, cmpopts.IgnoreFields(PullRequest{}, "URL", "Updated")); diff != "" {
				t.Errorf("open (-want +got):\n%s", diff)
			}
			if all, err := h.Open(ctx, ""); err != nil || len(all) != 2 || !all[0].Fork || all[1].Fork {
				t.Errorf("of every branch: %+v %v", all, err)
			}
			if closed, err := h.Get(ctx, 9); err != nil || closed.Open || closed.Merged != "" {
				t.Errorf("closed: %+v %v", closed, err)
			}
			f.Pulls[9].State, f.Pulls[9].Merged = "merged", "dddd"
			if kind == "GitHub" {
				f.Pulls[9].State = "closed"
			}
			if merged, err := h.Get(ctx, 9); err != nil || merged.Merged != merge {
				t.Errorf("merged: %+v %v", merged, err)
			}

			for _, state := range []State{Pending, Pending, Success, Failure} { // twice the same is no error
				if err := h.SetCheck(ctx, "aaaa", Check{Name: "muster/x", State: state, Description: strings.Repeat("ü", 140), URL: "https://m"}); err != nil {
					t.Errorf("check %s: %v", state, err)
				}
			}
			if got := f.Checks["aaaa"]["muster/x"]; !strings.HasPrefix(strings.ToLower(got.State), "fail") || got.URL != "https://m" {
				t.Errorf("check %+v", got)
			}
			commentsOf(t, h, f)
			approvalsOf(t, kind, h, f)
		})
	}
}

func commentsOf(t *testing.T, h Host, f *forge.Forge) {
	t.Helper()
	ctx := context.Background()
	c, err := h.CreateComment(ctx, 7, strings.Repeat("é", h.CommentLimit()/2))
	if err != nil {
		t.Fatalf("a comment as long as it may be: %v", err)
	}
	for i := range 130 { // more than a page
		f.Comment(7, "bob", fmt.Sprint("word ", i))
	}
	if err := h.EditComment(ctx, 7, c.ID, "shorter"); err != nil {
		t.Fatal(err)
	}
	list, err := h.Comments(ctx, 7)
	if err != nil || len(list) != 131 {
		t.Fatalf("%d comments, want 131: %v", len(list), err)
	}
	if first, last := list[0], list[130]; first.Body != "shorter" || !first.Edited || first.Author != "muster" || last.Body != "word 129" || last.Edited || last.Created.IsZero() {
		t.Errorf("first %+v, last %+v", first, last)
	}
	_, err = h.CreateComment(ctx, 7, strings.Repeat("x", h.CommentLimit()+1))
	if got := kindOf(err); got != Invalid {
		t.Errorf("a comment that is too long is %s: %v", got, err)
	}
	if got := kindOf(h.EditComment(ctx, 7, 1, "gone")); got != NotFound {
		t.Errorf("a comment that is gone is %s", got)
	}
}

func approvalsOf(t *testing.T, kind string, h Host, f *forge.Forge) {
	t.Helper()
	ctx := context.Background()
	f.Pulls[7].Reviews = []forge.Review{
		{User: "bob", State: "APPROVED", Commit: "aaaa"}, {User: "carol", State: "APPROVED", Commit: "aaaa"},
		{User: "carol", State: "CHANGES_REQUESTED", Commit: "aaaa"}, {User: "dave", State: "COMMENTED", Commit: "aaaa"},
	}
	want := []string{"bob aaaa"}
	if kind == "Bitbucket" { // does not say of which commit
		want = []string{"bob "}
	}
	if kind == "GitLab" { // has no reviews that say no: who takes an approval back is not in the list
		f.Pulls[7].Reviews = f.Pulls[7].Reviews[:1]
		want = []string{"bob "}
		if list, err := h.Approvals(ctx, 7); err != nil || len(list) > 0 {
			t.Errorf("an approval of which nobody knows when: %v %v", list, err)
		}
		f.Comment(7, "bob", "approved this merge request")
		if list, err := h.Approvals(ctx, 7); err != nil || len(list) > 0 {
			t.Errorf("a comment that says what a note says: %v %v", list, err)
		}
		f.Comment(7, "bob", "approved this merge request").System = true
	}
	list, err := h.Approvals(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range list {
		got = append(got, a.User+" "+a.Commit)
		if a.At.IsZero() {
			t.Errorf("%s approved at no time", a.User)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("approvals (-want +got):\n%s", diff)
	}
	if strings.HasPrefix(kind, "Bitbucket") {
		if _, err := h.IsMember(ctx, "acme/platform", "bob"); kindOf(err) != NotFound {
			t.Errorf("who is in a group is told: %v", err)
		}
		return
	}
	var many []string
	for i := range 130 { // more than a page, of whom all have his name in theirs
		many = append(many, fmt.Sprint("bob", i))
	}
	f.Teams["platform"] = append(many, "bob")
	for user, want := range map[string]bool{"bob": true, "bo": false, "eve": false} {
		if in, err := h.IsMember(ctx, "acme/platform", user); in != want || err != nil {
			t.Errorf("%s is a member: %v %v", user, in, err)
		}
	}
	if in, err := h.IsMember(ctx, "acme/nobody", "bob"); in || kindOf(err) != NotFound {
		t.Errorf("a member of a team that is not there: %v", err)
	}
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Kind(fmt.Sprintf("no answer: %v", err))
}

// TestRefusals: what a host refuses is told by what is to be done.
func TestRefusals(t *testing.T) {
	for _, kind := range hosts {
		for name, c := range map[string]struct {
			change  func(*forge.Forge)
			options func(*Options)
			want    Kind
			wait    time.Duration // at least, of a limit
			host    string
		}{
			"a token that has expired": {func(f *forge.Forge) { f.Token = "new" }, nil, Unauthorized, 0, ""},
			"no right":                 {func(*forge.Forge) {}, func(o *Options) { o.Repository = "acme/secret" }, NotFound, 0, ""},
			"away":                     {func(f *forge.Forge) { f.Away = true }, nil, Unavailable, 0, ""},
			"a limit":                  {func(f *forge.Forge) { f.Limit = "primary" }, nil, RateLimited, 25 * time.Minute, "GitHub"},
			"a secondary limit":        {func(f *forge.Forge) { f.Limit = "secondary" }, nil, RateLimited, 80 * time.Second, "GitHub"},
			"GitLab's limit":           {func(f *forge.Forge) { f.Limit = "gitlab" }, nil, RateLimited, 9 * time.Minute, "GitLab"},
		} {
			if c.host != "" && c.host != kind {
				continue
			}
			f := forge.New()
			c.change(f)
			h := on(t, kind, f, c.options)
			_, err := h.Open(context.Background(), "main")
			var e *Error
			if !errors.As(err, &e) || e.Kind != c.want || c.wait > 0 && time.Until(e.RetryAt) < c.wait {
				t.Errorf("%s, %s: %v, want %s", kind, name, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "good") {
				t.Errorf("%s, %s: the token is in %v", kind, name, err)
			}
			if n := len(f.Asked); n != 1 {
				t.Errorf("%s, %s: asked %d times", kind, name, n)
			}
		}
	}
}

// TestGitHubApp: an App signs in with its key, and uses the installation's token until it ends.
func TestGitHubApp(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := forge.New()
	f.Token = "installation"
	f.Open(7, "aaaa", false)
	h := on(t, "GitHub", f, func(o *Options) { o.Token, o.App = "", &githubapp.Identity{ID: "3", Installation: "5", Key: key} })
	for range 2 {
		if open, err := h.Open(context.Background(), "main"); err != nil || len(open) != 1 {
			t.Fatalf("%v %v", open, err)
		}
	}
	if self, err := h.Self(context.Background()); self != "muster[bot]" || err != nil {
		t.Errorf("self %q %v", self, err)
	}
	annotator := h.(Annotator)
	fifty := make([]Annotation, 60)
	for i := range fifty {
		fifty[i] = Annotation{"apps/web.yaml", i + 1, "wrong"}
	}
	for i, notes := range [][]Annotation{nil, fifty, fifty, fifty[:1], nil} {
		if err := annotator.Annotate(context.Background(), 7, "aaaa", "muster/x: faults", "", notes); err != nil {
			t.Fatalf("notes %d: %v", i, err)
		}
	}
	var runs []string
	for _, r := range f.Runs["aaaa"] {
		runs = append(runs, fmt.Sprint(r.Conclusion, " ", len(r.Annotations)))
	}
	if diff := cmp.Diff([]string{"failure 50", "failure 1", "success 0"}, runs); diff != "" || f.Runs["aaaa"][1].Annotations[0] != "apps/web.yaml:1 wrong" {
		t.Errorf("check runs (-want +got):\n%s", diff)
	}
	if err := on(t, "GitHub", f, func(o *Options) { o.Token = "installation" }).(Annotator).Annotate(context.Background(), 7, "bbbb", "x", "", fifty); err != nil || len(f.Runs["bbbb"]) > 0 {
		t.Errorf("a token that is no App's: %v, %d runs", err, len(f.Runs["bbbb"]))
	}
	tokens := 0
	for _, a := range f.Asked {
		if strings.HasSuffix(a, "/access_tokens") {
			tokens++
		}
	}
	if tokens != 1 {
		t.Errorf("asked for %d tokens: %q", tokens, f.Asked)
	}
	h = on(t, "GitHub", f, func(o *Options) { o.Token, o.App = "", &githubapp.Identity{ID: "3", Installation: "6", Key: key} })
	if _, err := h.Open(context.Background(), "main"); kindOf(err) != NotFound {
		t.Errorf("an App that is not installed: %v", err)
	}
}

// TestGitLabThreads: faults are threads at the lines that the merge request changes, each once, and go with the fault.
func TestGitLabThreads(t *testing.T) {
	f := forge.New()
	f.Open(7, "aaaa", false)
	f.Pulls[7].Changed = []string{"apps/web.yaml:4", "apps/web.yaml:9"}
	f.Pulls[7].Threads = []*forge.Note{{ID: 1, Author: "eve", Body: "<!-- ours -->\n<!-- x -->\nforged"}, {ID: 2, Author: "muster", Body: "another hub's"}}
	h := on(t, "GitLab", f, nil).(Annotator)
	first, second, elsewhere := Annotation{"apps/web.yaml", 4, "wrong"}, Annotation{"apps/web.yaml", 9, "wrong too"}, Annotation{"charts/web.yaml", 1, "not changed"}
	for i, c := range []struct {
		notes []Annotation
		want  string
	}{
		{[]Annotation{first, elsewhere}, "wrong"}, {[]Annotation{first, elsewhere}, "wrong"}, {[]Annotation{first, second}, "wrong, wrong too"},
		{[]Annotation{second}, "wrong too"}, {nil, ""},
	} {
		if err := h.Annotate(context.Background(), 7, "aaaa", "muster/x: faults", "<!-- ours -->", c.notes); err != nil {
			t.Fatalf("notes %d: %v", i, err)
		}
		var got []string
		for _, n := range f.Pulls[7].Threads[2:] {
			got = append(got, n.Body[strings.LastIndex(n.Body, "\n")+1:])
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("threads after %d: %q, want %q", i, text, c.want)
		}
	}
}

// TestBitbucketSignsIn: an account with its e-mail address, or the bearer of an access token, under which Git has a name of its own.
func TestBitbucketSignsIn(t *testing.T) {
	f := forge.New()
	for username, want := range map[string]bool{"": true, "x-token-auth": true, "muster@example.com": true, "muster": false} {
		_, err := on(t, "Bitbucket", f, func(o *Options) { o.Username = username }).Self(context.Background())
		if (err == nil) != want {
			t.Errorf("as %q: %v", username, err)
		}
	}
}

// TestMarkerOnBitbucket: what hides the marker on other hosts is text on Bitbucket.
func TestMarkerOnBitbucket(t *testing.T) {
	for _, kind := range []string{"Bitbucket", "BitbucketDataCenter"} {
		f := forge.New()
		f.Open(7, "aaaa", false)
		h := on(t, kind, f, nil)
		body := "<!-- muster:review hub=a repository=b/c -->\n### Muster\n\n[x]: #\n"
		c, err := h.CreateComment(context.Background(), 7, body)
		if err != nil || c.Body != body {
			t.Errorf("%s: %q %v", kind, c.Body, err)
		}
		if there := f.Pulls[7].Notes[0].Body; !strings.HasPrefix(there, "[muster:review hub=a repository=b/c]: #\n\n### Muster") || strings.Contains(there, "<!--") {
			t.Errorf("%s: %q", kind, there)
		}
		if list, err := h.Comments(context.Background(), 7); err != nil || len(list) != 1 || list[0].Body != body {
			t.Errorf("%s: %+v %v", kind, list, err)
		}
	}
}

// TestGitLabThreadsOfManyPages: what is deleted moves the threads that follow to earlier pages, and none of them is left.
func TestGitLabThreadsOfManyPages(t *testing.T) {
	f := forge.New()
	f.Open(7, "aaaa", false)
	for i := range 250 {
		f.Pulls[7].Threads = append(f.Pulls[7].Threads, &forge.Note{ID: i + 1, Author: "muster", Body: "<!-- ours -->\n<!-- x -->\nwrong"})
	}
	if err := on(t, "GitLab", f, nil).(Annotator).Annotate(context.Background(), 7, "aaaa", "muster/x: faults", "<!-- ours -->", nil); err != nil {
		t.Fatal(err)
	}
	if n := len(f.Pulls[7].Threads); n > 0 {
		t.Errorf("%d threads are left", n)
	}
}

func TestLocate(t *testing.T) {
	for name, c := range map[string]struct{ kind, api, repository, remote, want string }{
		"GitHub":            {"GitHub", "", "", "https://github.com/acme/fleet.git", "https://api.github.com acme/fleet"},
		"over ssh":          {"GitHub", "", "", "git@github.com:acme/fleet.git", "https://api.github.com acme/fleet"},
		"Enterprise":        {"GitHub", "", "", "https://git.example.com/acme/fleet", "https://git.example.com/api/v3 acme/fleet"},
		"GitLab, subgroups": {"GitLab", "", "", "ssh://git@git.example.com:2222/acme/ops/fleet.git", "https://git.example.com/api/v4 acme/ops/fleet"},
		"Gitea":             {"Gitea", "", "", "http://127.0.0.1:3000/acme/fleet.git", "http://127.0.0.1:3000/api/v1 acme/fleet"},
		"Bitbucket":         {"Bitbucket", "", "", "https://bitbucket.org/acme/fleet.git", "https://api.bitbucket.org/2.0 acme/fleet"},
		"Data Center":       {"BitbucketDataCenter", "", "", "https://git.example.com/scm/acme/fleet.git", "https://git.example.com/rest/api/latest acme/fleet"},
		"Data Center, ssh":  {"BitbucketDataCenter", "", "", "ssh://git@git.example.com:7999/acme/fleet.git", "https://git.example.com/rest/api/latest acme/fleet"},
		"told":              {"Forgejo", "https://x/api/v1/", "a/b", "file:///fleet", "https://x/api/v1 a/b"},
		"a folder":          {"Gitea", "", "a/b", "file:///srv/git/fleet", "spec.review.apiURL"},
		"no owner":          {"Gitea", "", "", "https://git.example.com/fleet", "spec.review.repository"},
	} {
		api, repository, err := Locate(c.kind, c.api, c.repository, c.remote)
		got := api + " " + repository
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
