package githost

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-github/v74/github"

	"github.com/muster-io/muster/internal/githubapp"
)

// gitHub is a repository of GitHub, or of GitHub Enterprise.
type gitHub struct {
	sdk         *github.Client
	app         *githubapp.App
	asApp       *github.Client // of the App itself
	owner, name string
}

func newGitHub(o Options, client *http.Client, owner, name string) (Host, error) {
	h := &gitHub{owner: owner, name: name}
	if o.App != nil {
		h.app = &githubapp.App{Identity: *o.App, API: o.API, Transport: client.Transport}
		h.asApp = github.NewClient(&http.Client{Transport: h.app.AsApp(), Timeout: client.Timeout})
		if err := setAPI(h.asApp, o.API); err != nil {
			return nil, err
		}
		client = &http.Client{Transport: h.app.Installed(), Timeout: client.Timeout}
	}
	h.sdk = github.NewClient(client)
	if o.App == nil {
		h.sdk = h.sdk.WithAuthToken(o.Token)
	}
	return h, setAPI(h.sdk, o.API)
}

func setAPI(sdk *github.Client, api string) error {
	base, err := sdk.BaseURL.Parse(strings.TrimSuffix(api, "/") + "/")
	if err != nil {
		return fmt.Errorf("spec.review.apiURL: %w", err)
	}
	sdk.BaseURL = base
	return nil
}

func (h *gitHub) CommentLimit() int { return 65536 }
func (h *gitHub) ShowsTags() bool   { return false }

func (h *gitHub) Open(ctx context.Context, branch string) ([]PullRequest, error) {
	list, _, err := h.sdk.PullRequests.List(ctx, h.owner, h.name, &github.PullRequestListOptions{
		State: "open", Base: branch, Sort: "updated", Direction: "desc", ListOptions: github.ListOptions{PerPage: maxOpen},
	})
	if err != nil {
		return nil, h.plain(err)
	}
	var all []PullRequest
	for _, p := range list {
		all = append(all, gitHubPullRequest(p))
	}
	return all, nil
}

func (h *gitHub) Get(ctx context.Context, number int64) (PullRequest, error) {
	p, _, err := h.sdk.PullRequests.Get(ctx, h.owner, h.name, int(number))
	if err != nil {
		return PullRequest{}, h.plain(err)
	}
	return gitHubPullRequest(p), nil
}

// plain makes an Error of the one that the SDK has of its own: it asks nothing while it knows of a limit.
func (h *gitHub) plain(err error) error {
	var limit *github.RateLimitError
	var secondary *github.AbuseRateLimitError
	switch {
	case errors.As(err, &limit):
		return &Error{Kind: RateLimited, Status: http.StatusForbidden, Message: limit.Message, RetryAt: limit.Rate.Reset.Time, Request: "requests"}
	case errors.As(err, &secondary):
		retry := time.Now().Add(time.Minute)
		if secondary.RetryAfter != nil {
			retry = time.Now().Add(*secondary.RetryAfter)
		}
		return &Error{Kind: RateLimited, Status: http.StatusForbidden, Message: secondary.Message, RetryAt: retry, Request: "requests"}
	}
	return err
}

func gitHubPullRequest(p *github.PullRequest) PullRequest {
	out := PullRequest{
		Number: int64(p.GetNumber()), Title: p.GetTitle(), Author: p.GetUser().GetLogin(), URL: p.GetHTMLURL(),
		BaseBranch: p.GetBase().GetRef(), HeadBranch: p.GetHead().GetRef(), Head: p.GetHead().GetSHA(),
		Fork:    p.GetHead().GetRepo().GetID() == 0 || p.GetHead().GetRepo().GetID() != p.GetBase().GetRepo().GetID(),
		Updated: p.GetUpdatedAt().Time, Open: p.GetState() == "open",
	}
	for _, l := range p.Labels {
		out.Labels = append(out.Labels, l.GetName())
	}
	if p.GetMerged() {
		out.Merged = p.GetMergeCommitSHA()
	}
	return out
}

func (h *gitHub) SetCheck(ctx context.Context, commit string, c Check) error {
	state := map[State]string{Pending: "pending", Success: "success", Failure: "failure"}[c.State]
	status := &github.RepoStatus{State: &state, Description: &c.Description, Context: &c.Name}
	if c.URL != "" {
		status.TargetURL = &c.URL
	}
	_, _, err := h.sdk.Repositories.CreateStatus(ctx, h.owner, h.name, commit, status)
	return h.plain(err)
}

func (h *gitHub) Comments(ctx context.Context, number int64) ([]Comment, error) {
	var all []Comment
	options := &github.IssueListCommentsOptions{ListOptions: github.ListOptions{PerPage: 100}}
	for range 20 {
		list, answer, err := h.sdk.Issues.ListComments(ctx, h.owner, h.name, int(number), options)
		if err != nil {
			return nil, h.plain(err)
		}
		for _, c := range list {
			all = append(all, gitHubComment(c))
		}
		if answer.NextPage == 0 {
			break
		}
		options.Page = answer.NextPage
	}
	return all, nil
}

func gitHubComment(c *github.IssueComment) Comment {
	return Comment{
		ID: c.GetID(), Author: c.GetUser().GetLogin(), Body: c.GetBody(), URL: c.GetHTMLURL(), Created: c.GetCreatedAt().Time,
		Edited: c.GetUpdatedAt().After(c.GetCreatedAt().Time),
	}
}

func (h *gitHub) CreateComment(ctx context.Context, number int64, body string) (Comment, error) {
	c, _, err := h.sdk.Issues.CreateComment(ctx, h.owner, h.name, int(number), &github.IssueComment{Body: &body})
	if err != nil {
		return Comment{}, h.plain(err)
	}
	return gitHubComment(c), nil
}

func (h *gitHub) EditComment(ctx context.Context, _, id int64, body string) error {
	_, _, err := h.sdk.Issues.EditComment(ctx, h.owner, h.name, id, &github.IssueComment{Body: &body})
	return h.plain(err)
}

func (h *gitHub) Approvals(ctx context.Context, number int64) ([]Approval, error) {
	last := lastWords{}
	options := &github.ListOptions{PerPage: 100}
	for range 20 {
		list, answer, err := h.sdk.PullRequests.ListReviews(ctx, h.owner, h.name, int(number), options)
		if err != nil {
			return nil, h.plain(err)
		}
		for _, r := range list {
			a := Approval{r.GetUser().GetLogin(), r.GetCommitID(), r.GetSubmittedAt().Time}
			switch r.GetState() {
			case "APPROVED":
				last.say(a, true)
			case "CHANGES_REQUESTED", "DISMISSED":
				last.say(a, false)
			}
		}
		if answer.NextPage == 0 {
			break
		}
		options.Page = answer.NextPage
	}
	return last.approvals(), nil
}

func (h *gitHub) IsMember(ctx context.Context, team, user string) (bool, error) {
	organization, slug, _ := strings.Cut(team, "/")
	m, _, err := h.sdk.Teams.GetTeamMembershipBySlug(ctx, organization, slug, user)
	var answer *Error
	if errors.As(err, &answer) && answer.Kind == NotFound { // the user is not in it, or there is none that the token may see
		_, _, err := h.sdk.Teams.GetTeamBySlug(ctx, organization, slug)
		if errors.As(err, &answer) && answer.Kind == NotFound {
			return false, unseen(team)
		}
		return false, h.plain(err)
	}
	return err == nil && m.GetState() == "active", h.plain(err)
}

func (h *gitHub) Self(ctx context.Context) (string, error) {
	if h.app != nil {
		app, _, err := h.asApp.Apps.Get(ctx, "")
		if err != nil {
			return "", h.plain(err)
		}
		return app.GetSlug() + "[bot]", nil
	}
	u, _, err := h.sdk.Users.Get(ctx, "")
	if err != nil {
		return "", h.plain(err)
	}
	return u.GetLogin(), nil
}

func (h *gitHub) DefaultBranch(ctx context.Context) (string, error) {
	r, _, err := h.sdk.Repositories.Get(ctx, h.owner, h.name)
	if err != nil {
		return "", h.plain(err)
	}
	return r.GetDefaultBranch(), nil
}
