package githost

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"code.gitea.io/sdk/gitea"

	"github.com/muster-io/muster/internal/test"
)

// TestGitea asks a real one, and what it refuses is told as of the others.
func TestGitea(t *testing.T) {
	g := test.NewGitea(t)
	g.Users("muster", "bob", "eve")
	ctx := context.Background()
	admin := g.As(test.GiteaAdmin)
	if _, _, err := admin.CreateOrg(gitea.CreateOrgOption{Name: "acme"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := admin.CreateOrgRepo("acme", gitea.CreateRepoOption{Name: "fleet", DefaultBranch: "main", AutoInit: true}); err != nil {
		t.Fatal(err)
	}
	team, _, err := admin.CreateTeam("acme", gitea.CreateTeamOption{Name: "platform", Permission: gitea.AccessModeWrite, IncludesAllRepositories: true, Units: []gitea.RepoUnitType{gitea.RepoUnitCode, gitea.RepoUnitPulls}})
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"muster", "bob"} {
		if _, err := admin.AddTeamMember(team.ID, user); err != nil {
			t.Fatal(err)
		}
	}
	bob := g.As("bob")
	file := gitea.CreateFileOptions{FileOptions: gitea.FileOptions{BranchName: "main", NewBranchName: "topic", Message: "m"}, Content: "eA=="}
	if _, _, err := bob.CreateFile("acme", "fleet", "x.txt", file); err != nil {
		t.Fatal(err)
	}
	pr, _, err := bob.CreatePullRequest("acme", "fleet", gitea.CreatePullRequestOption{Head: "topic", Base: "main", Title: "change"})
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Options{Kind: "Gitea", API: g.URL + "/api/v1", Repository: "acme/fleet", Token: g.Token("muster")})
	if err != nil {
		t.Fatal(err)
	}
	if self, err := h.Self(ctx); self != "muster" || err != nil {
		t.Errorf("self %q %v", self, err)
	}
	if branch, err := h.DefaultBranch(ctx); branch != "main" || err != nil {
		t.Errorf("default branch %q %v", branch, err)
	}
	open, err := h.Open(ctx, "main")
	if err != nil || len(open) != 1 || open[0].Number != pr.Index || open[0].Author != "bob" || open[0].Fork || !open[0].Open || open[0].Head != pr.Head.Sha {
		t.Fatalf("open: %+v %v", open, err)
	}
	if err := h.SetCheck(ctx, open[0].Head, Check{Name: "muster/x", State: Success, Description: strings.Repeat("ü", 140), URL: "https://m.example.com"}); err != nil {
		t.Error(err)
	}
	c, err := h.CreateComment(ctx, pr.Index, strings.Repeat("é", h.CommentLimit()/2))
	if err != nil {
		t.Fatalf("a comment as long as it may be: %v", err)
	}
	if err := h.EditComment(ctx, pr.Index, c.ID, "shorter"); err != nil {
		t.Error(err)
	}
	if list, err := h.Comments(ctx, pr.Index); err != nil || len(list) != 1 || list[0].Body != "shorter" || list[0].Author != "muster" {
		t.Errorf("comments: %+v %v", list, err)
	}
	if got := kindOf(h.EditComment(ctx, pr.Index, 99999, "gone")); got != NotFound {
		t.Errorf("a comment that is gone is %s", got)
	}
	annotate := func(notes []Annotation, want ...string) {
		t.Helper()
		for range 2 { // the second time nothing changes
			if err := h.(Annotator).Annotate(ctx, pr.Index, open[0].Head, "muster/x: faults", "<!-- ours -->", notes); err != nil {
				t.Fatal(err)
			}
		}
		reviews, _, err := bob.ListPullReviews("acme", "fleet", pr.Index, gitea.ListPullReviewsOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range reviews {
			comments, _, err := bob.ListPullReviewComments("acme", "fleet", pr.Index, r.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range comments {
				got = append(got, fmt.Sprintf("%s:%d %s", c.Path, c.LineNum, c.Body))
			}
		}
		slices.Sort(got) // Gitea goes through the files of a review in any order
		if !slices.Equal(got, want) {
			t.Errorf("notes beside the lines: %q, want %q", got, want)
		}
	}
	annotate([]Annotation{{"x.txt", 1, "wrong"}, {"README.md", 1, "not of the change"}}, "README.md:1 not of the change", "x.txt:1 wrong")
	annotate([]Annotation{{"x.txt", 1, "other"}}, "x.txt:1 other")
	if list, err := h.Approvals(ctx, pr.Index); err != nil || len(list) > 0 {
		t.Errorf("notes approve: %+v %v", list, err)
	}
	annotate(nil)
	for user, want := range map[string]bool{"bob": true, "eve": false} {
		if in, err := h.IsMember(ctx, "acme/platform", user); in != want || err != nil {
			t.Errorf("%s is a member: %v %v", user, in, err)
		}
	}
	other, _, err := admin.CreateTeam("acme", gitea.CreateTeamOption{Name: "other", Permission: gitea.AccessModeRead, Units: []gitea.RepoUnitType{gitea.RepoUnitCode}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.AddTeamMember(other.ID, "bob"); err != nil {
		t.Fatal(err)
	}
	for _, team := range []string{"acme/other", "acme/nobody"} { // of one, muster is no member
		if in, err := h.IsMember(ctx, team, "bob"); in || kindOf(err) != NotFound {
			t.Errorf("%s: %v %v", team, in, err)
		}
	}
	for name, o := range map[string]Options{
		string(Unauthorized): {Token: "wrong", Repository: "acme/fleet"}, string(NotFound): {Token: g.Token("eve"), Repository: "acme/other"},
	} {
		o.Kind, o.API = "Forgejo", g.URL+"/api/v1"
		other, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Open(ctx, "main"); string(kindOf(err)) != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}
